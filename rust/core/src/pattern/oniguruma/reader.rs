//! What Oniguruma makes of a pattern, in the spelling of the regex crate.
//!
//! A grammar of what is known, read in one loop: each construct is copied where the regex crate reads it alike, respelled
//! where there is a spelling, and named otherwise. The rules that are not obvious:
//!
//! - `{n}?` is an optional `{n}`, and `{n,m}+` repeats `{n,m}`;
//! - where case is ignored, some pairs of letters are one letter: ss is ß, st is ﬆ, ff, fi and fl are ﬀ, ﬁ and ﬂ;
//! - a repetition of what may be empty ends by rules of its own;
//! - `(?m:…)` lets the dot take line feeds; `^` and `$` are those of any line whatever the options.

use std::iter::Peekable;
use std::str::CharIndices;

use regex_syntax::hir::ClassUnicode;

use super::sets::{Speller, negated, same};
use super::{ASSERTIONS, Doubt, properties};
use crate::pattern::parser::LONGEST;
use crate::unicode::set;

/// The regex that means to the regex crate what `regex` means to Oniguruma: the same text where they agree.
pub(crate) fn read(regex: &str) -> Result<String, Doubt> {
    if regex.len() > LONGEST {
        return Err(Doubt {
            at: LONGEST,
            construct: format!("more than {LONGEST} bytes"),
        });
    }
    let mut reader = Reader {
        regex,
        rest: regex.char_indices().peekable(),
        open: vec![Group::default()],
        out: String::with_capacity(regex.len()),
        atom: 0,
        speller: Speller::default(),
    };
    reader.read()?;
    Ok(reader.out)
}

/// What is known of an open group, or of the whole.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools)] // each is known of a branch, or of those before it
struct Group {
    kind: Kind,
    /// Where it begins in what was written.
    start: usize,
    /// Whether the branch being read may be empty but for the atom read last.
    filled: bool,
    /// Whether a branch before it may be empty.
    empty: bool,
    /// Whether the branch being read has anything but assertions, and whether it has one.
    takes: bool,
    asserts: bool,
    /// Whether a branch before it has nothing else.
    only_asserts: bool,
    /// A `^` after which nothing was read yet that takes a character.
    line_start: Option<usize>,
    /// The atom before, in a group that ignores case, by its letters in lower case.
    before: Vec<char>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[default]
    Plain,
    /// `(?i:…)`
    IgnoresCase,
    /// `(?!…)`
    LookAhead,
}

/// What was read last, as far as what may follow depends on it.
enum Atom {
    /// It takes a character.
    Character,
    /// It takes none: an assertion.
    Nothing,
    Group {
        ignores_case: bool,
        empty: bool,
        /// Whether a branch has nothing but assertions.
        only_asserts: bool,
    },
}

/// What an escape or a member of a class stands for.
pub(super) enum Member {
    Character(char),
    Class(ClassUnicode),
}

pub(super) struct Reader<'r> {
    regex: &'r str,
    rest: Peekable<CharIndices<'r>>,
    open: Vec<Group>,
    out: String,
    /// Where the atom read last begins in what was written.
    atom: usize,
    speller: Speller,
}

impl<'r> Reader<'r> {
    pub(super) fn at(&mut self) -> usize {
        self.rest.peek().map_or(self.regex.len(), |&(at, _)| at)
    }

    pub(super) fn rest(&mut self) -> &'r str {
        let at = self.at();
        &self.regex[at..]
    }

    pub(super) fn peek(&mut self) -> Option<char> {
        self.rest.peek().map(|&(_, character)| character)
    }

    pub(super) fn next(&mut self) -> Option<char> {
        self.rest.next().map(|(_, character)| character)
    }

    pub(super) fn take(&mut self, wanted: char) -> bool {
        self.rest
            .next_if(|&(_, character)| character == wanted)
            .is_some()
    }

    /// Takes `text` where it is what comes next.
    fn take_all(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            let end = self.at() + text.len();
            self.skip_to(end);
        }
        found
    }

    pub(super) fn skip_to(&mut self, end: usize) {
        while self.rest.next_if(|&(at, _)| at < end).is_some() {}
    }

    /// Refuses what stands from `at` to the reader's place.
    pub(super) fn doubt<T>(&mut self, at: usize, why: &str) -> Result<T, Doubt> {
        let end = self.at().max(at);
        let text: String = self.regex[at..end].chars().take(20).collect();
        let construct = if why.is_empty() {
            format!("`{text}`")
        } else {
            format!("`{text}`, {why},")
        };
        Err(Doubt { at, construct })
    }

    fn group(&mut self) -> &mut Group {
        self.open.last_mut().expect("the whole is never closed")
    }

    /// Copies what was read from `at` on.
    fn copy(&mut self, at: usize) {
        let end = self.at();
        self.out.push_str(&self.regex[at..end]);
    }

    fn read(&mut self) -> Result<(), Doubt> {
        while let Some((at, character)) = self.rest.next() {
            let kind = self.group().kind;
            let start = self.out.len();
            let atom = match character {
                '|' if kind != Kind::LookAhead => {
                    self.branch_ends()?;
                    let group = self.group();
                    group.empty |= !group.filled;
                    group.filled = false;
                    group.only_asserts |= group.asserts && !group.takes;
                    group.asserts = false;
                    group.takes = false;
                    group.before.clear();
                    self.out.push('|');
                    continue;
                }
                '(' => {
                    let Some(assertion) = self.assertion(at) else {
                        self.open_group(at)?;
                        continue;
                    };
                    assertion
                }
                ')' => self.close_group(at)?,
                '[' => {
                    let class = self.class(at)?;
                    let listed = class.plain.then_some(&class.set);
                    self.check_case(at, listed)?;
                    self.set(at, &class.set);
                    Atom::Character
                }
                '\\' => self.escape_outside(at)?,
                '.' if kind != Kind::IgnoresCase => {
                    self.out.push('.');
                    Atom::Character
                }
                '$' if kind == Kind::Plain => {
                    self.out.push_str("(?m:$)");
                    Atom::Nothing
                }
                '^' if kind == Kind::Plain => {
                    self.out.push_str("(?m:^)");
                    self.group().line_start = Some(at);
                    Atom::Nothing
                }
                '.' | '*' | '+' | '?' | '{' | '}' | ']' | '|' | '^' | '$' => {
                    return self.doubt(at, "");
                }
                _ => {
                    self.check_case(at, Some(&one(character)))?;
                    self.out.push(character);
                    Atom::Character
                }
            };
            if character != ')' {
                self.atom = start;
            }
            self.quantifier(&atom)?;
        }
        self.branch_ends()
    }

    fn branch_ends(&mut self) -> Result<(), Doubt> {
        match self.group().line_start {
            Some(at) => self.doubt::<()>(at, "").map_err(|doubt| Doubt {
                construct: "`^` before what may be empty".to_owned(),
                ..doubt
            }),
            None => Ok(()),
        }
    }

    /// Writes the atom that was read from `at` on and matches the characters of `set`.
    fn set(&mut self, at: usize, set: &ClassUnicode) {
        let end = self.at();
        let text = &self.regex[at..end];
        if self::set(text).is_some_and(|ours| same(&ours, set)) {
            self.out.push_str(text);
        } else {
            self.out.push_str(self.speller.spell(set));
        }
    }

    /// Look-around that stands for an assertion of the regex crate.
    fn assertion(&mut self, at: usize) -> Option<Atom> {
        if self.group().kind != Kind::Plain {
            return None;
        }
        let rest = &self.regex[at..];
        let found = ASSERTIONS.iter().find(|assertion| {
            assertion.oniguruma.starts_with('(') && rest.starts_with(assertion.oniguruma)
        })?;
        self.skip_to(at + found.oniguruma.len());
        self.out.push_str(found.rust);
        Some(Atom::Nothing)
    }

    fn open_group(&mut self, at: usize) -> Result<(), Doubt> {
        if matches!(self.group().kind, Kind::IgnoresCase | Kind::LookAhead) {
            return self.doubt(at, "a group in one that ignores case or looks ahead");
        }
        let start = self.out.len();
        let kind = if self.take_all("?m:") {
            self.out.push_str("(?s:");
            Kind::Plain
        } else {
            let kind = if self.take_all("?:") {
                Kind::Plain
            } else if self.take_all("?i:") {
                Kind::IgnoresCase
            } else if self.take_all("?!") {
                Kind::LookAhead
            } else if self.peek() == Some('?') {
                let rest = &self.regex[at..];
                let end = rest[2..].find(|c: char| !c.is_alphanumeric() && c != '-');
                let end = end.map_or(self.regex.len(), |end| at + 2 + end);
                let wide = self.regex[end..].chars().next().map_or(0, char::len_utf8);
                self.skip_to(end + wide);
                return self.doubt(at, "");
            } else {
                Kind::Plain
            };
            self.copy(at);
            kind
        };
        self.open.push(Group {
            kind,
            start,
            ..Group::default()
        });
        Ok(())
    }

    fn close_group(&mut self, at: usize) -> Result<Atom, Doubt> {
        if self.open.len() == 1 {
            return self.doubt(at, "");
        }
        self.branch_ends()?;
        let closed = self.open.pop().unwrap_or_default();
        self.atom = closed.start;
        self.out.push(')');
        Ok(match closed.kind {
            Kind::LookAhead => Atom::Nothing,
            kind => Atom::Group {
                ignores_case: kind == Kind::IgnoresCase,
                empty: closed.empty || !closed.filled,
                only_asserts: closed.only_asserts || closed.asserts && !closed.takes,
            },
        })
    }

    /// Refuses what is not ASCII where case is ignored, and the pairs that are one letter there.
    /// `None` is a class of more than single characters and ranges.
    fn check_case(&mut self, at: usize, members: Option<&ClassUnicode>) -> Result<(), Doubt> {
        if self.group().kind != Kind::IgnoresCase {
            return Ok(());
        }
        let Some(members) = members.filter(|set| set.is_ascii()) else {
            return self.doubt(at, "not ASCII where case is ignored");
        };
        let members = members.iter().flat_map(|range| range.start()..=range.end());
        let now: Vec<char> = members.map(|c| c.to_ascii_lowercase()).collect();
        let before = std::mem::replace(&mut self.group().before, now.clone());
        let pair = |first: char, second: &str| {
            before.contains(&first) && now.iter().any(|&c| second.contains(c))
        };
        if pair('s', "st") || pair('f', "fil") {
            return self.doubt(at, "a pair that is one letter where case is ignored");
        }
        Ok(())
    }

    fn quantifier(&mut self, atom: &Atom) -> Result<(), Doubt> {
        let at = self.at();
        let ignores_case = self.group().kind == Kind::IgnoresCase;
        let next = self.peek();
        let (optional, repeated) = match next {
            Some('?') => (true, false),
            Some('*') => (true, true),
            Some('+') => (false, true),
            Some('{') => (self.interval(at)?, true),
            _ => (false, false),
        };
        let quantified = optional || repeated;
        if quantified {
            if next != Some('{') {
                self.rest.next();
                let _lazy_or_possessive = self.take('?') || self.take('+');
                self.copy(at);
            }
            if matches!(self.peek(), Some('?' | '*' | '+' | '{')) {
                self.rest.next();
                return self.doubt(at, "there a repetition of a repetition");
            }
            match atom {
                // Oniguruma refuses it, also where only one branch is an assertion.
                Atom::Nothing
                | Atom::Group {
                    only_asserts: true, ..
                } => return self.doubt(at, "a repeated assertion"),
                _ if ignores_case => return self.doubt(at, "a repetition where case is ignored"),
                Atom::Group {
                    ignores_case: true, ..
                } if repeated => {
                    return self.doubt(at, "a repetition of a group that ignores case");
                }
                Atom::Group { empty: true, .. } if repeated => {
                    return self.doubt(at, "a repetition of a group that may be empty");
                }
                _ => {}
            }
        }
        let group_before = matches!(
            atom,
            Atom::Group {
                ignores_case: true,
                ..
            }
        );
        if group_before && self.rest().starts_with("(?i:") {
            let at = self.at();
            self.skip_to(at + 4);
            return self.doubt(at, "a group that ignores case after another");
        }
        let takes = match atom {
            Atom::Character => !optional,
            Atom::Group { empty, .. } => !optional && !empty,
            Atom::Nothing => false,
        };
        let asserts = matches!(
            atom,
            Atom::Nothing
                | Atom::Group {
                    only_asserts: true,
                    ..
                }
        );
        let group = self.group();
        group.asserts |= asserts;
        group.takes |= !asserts;
        group.filled |= takes;
        if takes {
            group.line_start = None;
        }
        Ok(())
    }

    /// Takes `{n}`, `{n,}`, `{n,m}` or `{,m}` with what follows it; gives whether the whole may be empty.
    fn interval(&mut self, at: usize) -> Result<bool, Doubt> {
        let inner = self.regex[at + 1..].split_once('}').map(|(inner, _)| inner);
        let digits = |text: &str| text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        let parsed = inner.and_then(|inner| {
            let (least, most) = inner.split_once(',').unwrap_or((inner, inner));
            let valid = digits(least) && digits(most) && !(least.is_empty() && most.is_empty());
            let least: u32 = if least.is_empty() {
                0
            } else {
                least.parse().ok()?
            };
            let ordered = most.is_empty() || least <= most.parse().ok()?;
            (valid && ordered).then_some(least)
        });
        let (Some(inner), Some(least)) = (inner, parsed) else {
            self.rest.next();
            return self.doubt(at, "not {n}, {n,}, {n,m} or {,m}");
        };
        let end = at + inner.len() + 2;
        self.skip_to(end);
        let zero = if inner.starts_with(',') { "0" } else { "" };
        let interval = format!("{{{zero}{inner}}}");
        let fixed = !inner.contains(',');
        self.out.push_str(&interval);
        // `{n,m}?` takes as few as it can, but `{n}?` is there an optional `{n}`.
        if fixed && self.take('?') {
            self.out.insert_str(self.atom, "(?:");
            self.out.push_str(")?");
            return Ok(true);
        }
        if self.take('?') {
            self.out.push('?');
        } else if self.take('+') {
            if least == 0 {
                return self.doubt(at, "there a repetition of what may be empty");
            }
            self.out.insert_str(self.atom, "(?:");
            self.out.push_str(")+");
        }
        Ok(least == 0)
    }

    fn escape_outside(&mut self, at: usize) -> Result<Atom, Doubt> {
        match self.peek() {
            Some('z' | 'A') if self.group().kind == Kind::Plain => {
                self.rest.next();
                self.copy(at);
                return Ok(Atom::Nothing);
            }
            // `.` may be told to take line feeds.
            Some('N' | 'O') if self.group().kind != Kind::IgnoresCase => {
                let all = self.next() == Some('O');
                self.out.push_str(if all { r"\p{Any}" } else { r"[^\n]" });
                return Ok(Atom::Character);
            }
            _ => {}
        }
        match self.escape(at, true)? {
            Member::Character(character) => {
                let only = one(character);
                self.check_case(at, Some(&only))?;
                self.set(at, &only);
            }
            Member::Class(set) => {
                self.check_case(at, None)?;
                self.set(at, &set);
            }
        }
        Ok(Atom::Character)
    }

    /// What an escape stands for, in brackets or `alone`.
    pub(super) fn escape(&mut self, at: usize, alone: bool) -> Result<Member, Doubt> {
        let Some(letter) = self.next() else {
            return self.doubt(at, "");
        };
        let character = match letter {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'f' => '\u{C}',
            'v' => '\u{B}',
            'a' => '\u{7}',
            'e' => '\u{1B}',
            'p' | 'P' => return self.property(at, letter, alone),
            'x' | 'u' => return self.code_point(at, letter).map(Member::Character),
            'b' | 'B' => return self.doubt(at, "there a boundary of other words"),
            '<' | '>' => return self.doubt(at, ""),
            _ if letter.is_ascii_punctuation() => letter,
            _ => match properties::escape(letter, alone) {
                Some(set) => return Ok(Member::Class(set)),
                None => return self.doubt(at, ""),
            },
        };
        Ok(Member::Character(character))
    }

    fn property(&mut self, at: usize, letter: char, alone: bool) -> Result<Member, Doubt> {
        let rest = self.rest();
        let name = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
            .map(|(name, _)| name);
        let Some(name) = name else {
            return self.doubt(at, r"there a letter (write \p{…})");
        };
        let end = self.at() + name.len() + 2;
        self.skip_to(end);
        match properties::property(name, alone) {
            Some(mut set) => {
                if letter == 'P' {
                    set = negated(&set);
                }
                Ok(Member::Class(set))
            }
            None => self.doubt(at, ""),
        }
    }

    /// `\x41`, `\x{41}` or `\u0041`; beyond ASCII two digits are a byte there.
    fn code_point(&mut self, at: usize, letter: char) -> Result<char, Doubt> {
        let braced = letter == 'x' && self.take('{');
        let start = self.at();
        let most = match (letter, braced) {
            (_, true) => 6,
            ('u', _) => 4,
            _ => 2,
        };
        let digits = self.regex[start..].bytes();
        let digits = digits.take(most).take_while(u8::is_ascii_hexdigit).count();
        self.skip_to(start + digits);
        let code = u32::from_str_radix(&self.regex[start..start + digits], 16).ok();
        let complete = if braced {
            self.take('}')
        } else {
            digits == most
        };
        let character = code.and_then(char::from_u32);
        match character.filter(|c| complete && (letter == 'u' || braced || c.is_ascii())) {
            Some(character) => Ok(character),
            None => self.doubt(at, ""),
        }
    }
}

fn one(character: char) -> ClassUnicode {
    use regex_syntax::hir::ClassUnicodeRange;

    ClassUnicode::new([ClassUnicodeRange::new(character, character)])
}
