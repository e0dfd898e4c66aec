//! Classes in brackets, as Oniguruma reads them.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

use super::Doubt;
use super::properties;
use super::reader::{Member, Reader};
use super::sets::negated;

/// How deep classes may stand in classes.
const DEEPEST: usize = 32;

/// The characters of a class, and whether it is a plain list of them and of ranges.
pub(super) struct Class {
    pub(super) set: ClassUnicode,
    pub(super) plain: bool,
}

/// A class that is being read: what its operands so far have in common, and the one that is being read.
struct Open {
    common: Option<ClassUnicode>,
    union: ClassUnicode,
    /// Whether the operand has a member.
    filled: bool,
    negated: bool,
}

impl Open {
    fn operand_ends(&mut self) {
        let union = std::mem::replace(&mut self.union, ClassUnicode::empty());
        self.filled = false;
        match &mut self.common {
            Some(common) => common.intersect(&union),
            None => self.common = Some(union),
        }
    }
}

impl Reader<'_> {
    /// Reads the class whose bracket stands at `at`.
    pub(super) fn class(&mut self, at: usize) -> Result<Class, Doubt> {
        let mut plain = true;
        let mut open = vec![self.open_class()];
        while let Some(inner) = open.last_mut() {
            let place = self.at();
            let Some(character) = self.next() else {
                return self.doubt(at, "a class that nothing closes");
            };
            let first = !inner.filled;
            inner.filled = true;
            match character {
                ']' if first => return self.doubt(place, r"a bracket that comes first (write \])"),
                ']' => {
                    plain &= !inner.negated;
                    inner.operand_ends();
                    let closed = open.pop().and_then(|closed| {
                        let set = closed.common?;
                        Some(if closed.negated { negated(&set) } else { set })
                    });
                    let set = closed.unwrap_or_else(ClassUnicode::empty);
                    match open.last_mut() {
                        Some(outer) => outer.union.union(&set),
                        None => return Ok(Class { set, plain }),
                    }
                }
                '[' if self.peek() == Some(':') => {
                    plain = false;
                    let set = self.posix_bracket(place)?;
                    inner.union.union(&set);
                }
                '[' => {
                    plain = false;
                    if open.len() == DEEPEST {
                        return self.doubt(place, "a class that stands too deep in others");
                    }
                    let inner = self.open_class();
                    open.push(inner);
                }
                '&' if self.peek() == Some('&') => {
                    plain = false;
                    self.next();
                    if first || matches!(self.peek(), Some(']' | '&')) {
                        return self.doubt(place, "an intersection with nothing");
                    }
                    inner.operand_ends();
                }
                '-' if self.peek() == Some('-') || !first && self.peek() != Some(']') => {
                    self.next();
                    return self.doubt(place, r"a stray hyphen (write \-)");
                }
                _ => {
                    let found = self.range(place, character)?;
                    plain &= found.1;
                    inner.union.union(&found.0);
                }
            }
        }
        self.doubt(at, "a class that nothing closes")
    }

    fn open_class(&mut self) -> Open {
        Open {
            common: None,
            union: ClassUnicode::empty(),
            filled: false,
            negated: self.take('^'),
        }
    }

    /// One member with the range that it may begin, and whether it is a character or a range.
    fn range(&mut self, place: usize, first: char) -> Result<(ClassUnicode, bool), Doubt> {
        let low = self.member(place, first)?;
        if !self.begins_range() {
            return Ok(match low {
                Member::Character(only) => (range(only, only), true),
                Member::Class(set) => (set, false),
            });
        }
        self.next();
        let end = self.at();
        let high = match self.next() {
            Some('[' | ']') | None => None,
            Some(high) => Some(self.member(end, high)?),
        };
        let (Member::Character(low), Some(Member::Character(high))) = (low, high) else {
            return self.doubt(place, "a range without ends");
        };
        if low > high {
            return self.doubt(place, "a range that ends before it begins");
        }
        if self.begins_range() {
            return self.doubt(place, "a hyphen after a range");
        }
        Ok((range(low, high), true))
    }

    fn member(&mut self, place: usize, first: char) -> Result<Member, Doubt> {
        match first {
            '\\' => self.escape(place, false),
            _ => Ok(Member::Character(first)),
        }
    }

    /// Whether a hyphen comes next that is not the last of its class.
    fn begins_range(&mut self) -> bool {
        let mut next = self.rest().chars();
        next.next() == Some('-') && !matches!(next.next(), Some(']' | '-'))
    }

    /// `[:alpha:]`, which is only read within brackets.
    fn posix_bracket(&mut self, place: usize) -> Result<ClassUnicode, Doubt> {
        let rest = self.rest();
        let name = rest[1..].split_once(":]").map(|(name, _)| name);
        let found = name.and_then(|name| Some((name, properties::bracket(name)?)));
        let Some((name, set)) = found else {
            self.next();
            return self.doubt(place, "no class of POSIX");
        };
        let end = self.at() + name.len() + 3;
        self.skip_to(end);
        Ok(set)
    }
}

fn range(low: char, high: char) -> ClassUnicode {
    ClassUnicode::new([ClassUnicodeRange::new(low, high)])
}
