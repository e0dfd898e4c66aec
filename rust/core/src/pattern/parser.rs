//! Finding the atoms and quantifiers of a pattern's text.
//!
//! Only as much of the syntax as it takes to know where an atom ends; what the
//! atom means is `regex-syntax`'s business.

use super::ast::{Alternative, Element, Node, greedy_is_possessive};
use crate::error::shortened;
use crate::unicode::{set, set_of};
use crate::{Error, Result};

/// The longest pattern in bytes and the most look-aheads that are read: far above every
/// pattern in use, and low enough that no pattern exhausts memory or patience. How deep
/// groups and classes nest is bounded by regex-syntax; what walks them here is a loop.
pub(crate) const LONGEST: usize = 1 << 16;
const MOST_LOOK_AHEADS: usize = 16;

/// Reads `pattern`; an error says what cannot be supported, and where.
pub(crate) fn parse(pattern: &str) -> Result<Vec<Alternative>> {
    let reader = Reader::new(pattern);
    if pattern.len() > LONGEST {
        return reader.refuse(LONGEST, &format!("a pattern of more than {LONGEST} bytes"));
    }
    let error = match reader.alternatives() {
        Ok(alternatives) => return Ok(alternatives),
        Err(error) => error,
    };
    if reader.needs_care() {
        return Err(error);
    }
    // Inline flags and the like: fine as a whole when no element needs care.
    let hir = regex_syntax::parse(pattern).map_err(|error| unsupported(pattern, 0, &error))?;
    let element = Element {
        node: Node::Group(hir),
        min: 1,
        max: Some(1),
        greedy: true,
        possessive: false,
        text: pattern.to_owned(),
    };
    Ok(vec![Alternative {
        elements: vec![element],
    }])
}

/// The openings of groups that regex-syntax has no words for.
const CARE: [&str; 5] = ["(?=", "(?!", "(?<=", "(?<!", "(?>"];

struct Quantifier {
    min: u32,
    max: Option<u32>,
    greedy: bool,
    possessive: bool,
    end: usize,
}

struct Reader<'p> {
    pattern: &'p str,
}

impl<'p> Reader<'p> {
    fn new(pattern: &'p str) -> Self {
        Self { pattern }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.pattern.as_bytes().get(at).copied()
    }

    fn refuse<T>(&self, at: usize, reason: &str) -> Result<T> {
        Err(unsupported(self.pattern, at, &reason))
    }

    /// Whether a possessive quantifier or a look-around stands anywhere.
    fn needs_care(&self) -> bool {
        let mut at = 0;
        while at < self.pattern.len() {
            let rest = &self.pattern[at..];
            if CARE.iter().any(|opening| rest.starts_with(opening)) {
                return true;
            }
            at = match rest.as_bytes()[0] {
                b'(' => self.group_start(at),
                b')' | b'|' => at + 1,
                _ => match self.atom_end(at) {
                    Ok(end) => end,
                    Err(_) => return true,
                },
            };
            match self.quantifier(at) {
                Ok(quantifier) if quantifier.possessive => return true,
                Ok(quantifier) => at = quantifier.end,
                Err(_) => at += 1,
            }
        }
        false
    }

    fn alternatives(&self) -> Result<Vec<Alternative>> {
        let mut alternatives = Vec::new();
        let mut elements = Vec::new();
        let mut look_aheads = 0;
        let mut start = 0;
        let mut at = 0;
        loop {
            match self.byte(at) {
                None | Some(b'|') => {
                    let elements = std::mem::take(&mut elements);
                    let alternative = self.alternative(elements, start)?;
                    look_aheads += usize::from(alternative.is_look_ahead());
                    if look_aheads > MOST_LOOK_AHEADS {
                        let reason = format!("more than {MOST_LOOK_AHEADS} look-aheads");
                        return self.refuse(start, &reason);
                    }
                    alternatives.push(alternative);
                    if at == self.pattern.len() {
                        return Ok(alternatives);
                    }
                    at += 1;
                    start = at;
                }
                Some(_) => {
                    let (element, end) = self.element(at)?;
                    elements.push(element);
                    at = end;
                }
            }
        }
    }

    /// Checks what only shows in the whole branch.
    fn alternative(&self, elements: Vec<Element>, at: usize) -> Result<Alternative> {
        for (index, element) in elements.iter().enumerate() {
            if element.possessive && !greedy_is_possessive(element, &elements[index + 1..]) {
                let text = shortened(&element.text);
                return self.refuse(
                    at,
                    &format!("the possessive quantifier of {text} differs from a greedy one here"),
                );
            }
            let Node::NotAhead(ahead) = &element.node else {
                continue;
            };
            let mut complement = ahead.clone();
            complement.negate();
            let simple = index == 1
                && elements.len() == 2
                && matches!(&elements[0], Element { node: Node::Set(set), min: 1, max: None, greedy: true, possessive: false, .. } if *set == complement);
            if !simple {
                return self.refuse(at, r"of look-aheads only the form \s+(?!\S) is supported");
            }
        }
        Ok(Alternative { elements })
    }

    fn element(&self, at: usize) -> Result<(Element, usize)> {
        let end = self.atom_end(at)?;
        let text = &self.pattern[at..end];
        let node = self.node(text, at)?;
        let quantifier = self.quantifier(end)?;
        let counted = (quantifier.min, quantifier.max) != (1, Some(1));
        if counted && matches!(node, Node::End | Node::NotAhead(_)) {
            return self.refuse(at, "a quantifier on an assertion");
        }
        let element = Element {
            node,
            min: quantifier.min,
            max: quantifier.max,
            greedy: quantifier.greedy,
            possessive: quantifier.possessive,
            text: text.to_owned(),
        };
        Ok((element, quantifier.end))
    }

    fn node(&self, text: &str, at: usize) -> Result<Node> {
        if text == "$" || text == r"\z" {
            return Ok(Node::End);
        }
        let ahead = text.strip_prefix("(?!");
        if let Some(inner) = ahead.and_then(|inner| inner.strip_suffix(')')) {
            return match set(inner) {
                Some(set) => Ok(Node::NotAhead(set)),
                None => self.refuse(at, "a look-ahead at more than one character"),
            };
        }
        if CARE.iter().any(|opening| text.starts_with(opening)) {
            return self.refuse(at, r"of look-arounds only \s+(?!\S) is supported");
        }
        if text.starts_with('(') {
            let flags_only = text.starts_with("(?") && !text.contains([':', '>']);
            if flags_only || Reader::new(text).needs_care() {
                return self.refuse(
                    at,
                    "a look-around, a possessive quantifier or inline flags inside a group",
                );
            }
        }
        let hir =
            regex_syntax::parse(text).map_err(|error| unsupported(self.pattern, at, &error))?;
        match set_of(&hir) {
            Some(set) if !text.starts_with('(') => Ok(Node::Set(set)),
            _ => Ok(Node::Group(hir)),
        }
    }

    /// Where the atom that starts at `at` ends.
    fn atom_end(&self, at: usize) -> Result<usize> {
        match self.byte(at) {
            None => Ok(at),
            Some(b'\\') => Ok(self.escape_end(at)),
            Some(b'[') => self.set_end(at),
            Some(b'(') => self.group_end(at),
            Some(_) => Ok(at + self.char_len(at)),
        }
    }

    fn group_end(&self, at: usize) -> Result<usize> {
        let mut depth = 1;
        let mut inner = self.group_start(at);
        while depth > 0 {
            inner = match self.byte(inner) {
                None => return self.refuse(at, "unclosed group"),
                Some(b')') => {
                    depth -= 1;
                    inner + 1
                }
                Some(b'(') => {
                    depth += 1;
                    self.group_start(inner)
                }
                Some(_) => self.atom_end(inner)?,
            };
        }
        Ok(inner)
    }

    /// The end of `(`, `(?:`, `(?i:`, `(?P<name>`, `(?!` and their like at `at`. Where it
    /// is none of these, regex-syntax refuses the group wherever it begins.
    fn group_start(&self, at: usize) -> usize {
        let rest = &self.pattern[at..];
        let Some(after) = rest.strip_prefix("(?") else {
            return at + 1;
        };
        let opening = CARE.iter().find(|opening| rest.starts_with(**opening));
        if let Some(opening) = opening {
            return at + opening.len();
        }
        let word = after.trim_start_matches(|c: char| c.is_alphanumeric() || "<_-.[]".contains(c));
        let end = self.pattern.len() - word.len();
        end + usize::from(word.starts_with([':', '>']))
    }

    fn char_len(&self, at: usize) -> usize {
        self.pattern[at..].chars().next().map_or(0, char::len_utf8)
    }

    fn escape_end(&self, at: usize) -> usize {
        let letter = at + 1;
        let Some(byte) = self.byte(letter) else {
            return letter;
        };
        let braced = self.byte(letter + 1) == Some(b'{');
        let end = match byte {
            b'p' | b'P' | b'x' | b'u' | b'U' if braced => {
                return self.pattern[letter..]
                    .find('}')
                    .map_or(self.pattern.len(), |close| letter + close + 1);
            }
            b'p' | b'P' => letter + 2,
            b'x' => letter + 3,
            b'u' => letter + 5,
            b'U' => letter + 9,
            _ => letter + self.char_len(letter),
        };
        // A truncated escape may end inside a character: step to its end.
        (end.min(self.pattern.len())..=self.pattern.len())
            .find(|&end| self.pattern.is_char_boundary(end))
            .unwrap_or(self.pattern.len())
    }

    fn set_end(&self, at: usize) -> Result<usize> {
        let mut depth = 0;
        let mut inner = at;
        loop {
            inner = match self.byte(inner) {
                None => return self.refuse(at, "unclosed character class"),
                Some(b'[') => {
                    depth += 1;
                    let negated = self.byte(inner + 1) == Some(b'^');
                    let first = inner + 1 + usize::from(negated);
                    // A bracket that comes first is a member.
                    first + usize::from(self.byte(first) == Some(b']'))
                }
                Some(b']') if depth == 1 => return Ok(inner + 1),
                Some(b']') => {
                    depth -= 1;
                    inner + 1
                }
                Some(b'\\') => self.escape_end(inner),
                Some(_) => inner + self.char_len(inner),
            };
        }
    }

    fn quantifier(&self, at: usize) -> Result<Quantifier> {
        let (min, max, end) = match self.byte(at) {
            Some(b'?') => (0, Some(1), at + 1),
            Some(b'*') => (0, None, at + 1),
            Some(b'+') => (1, None, at + 1),
            Some(b'{') => self.bounds(at)?,
            _ => {
                return Ok(Quantifier {
                    min: 1,
                    max: Some(1),
                    greedy: true,
                    possessive: false,
                    end: at,
                });
            }
        };
        let possessive = self.byte(end) == Some(b'+');
        let lazy = self.byte(end) == Some(b'?');
        Ok(Quantifier {
            min,
            max,
            greedy: !lazy,
            possessive,
            end: end + usize::from(possessive || lazy),
        })
    }

    fn bounds(&self, at: usize) -> Result<(u32, Option<u32>, usize)> {
        let rest = &self.pattern[at + 1..];
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ',');
        let inner = &rest[..rest.len() - digits.len()];
        let parsed = digits.strip_prefix('}').and_then(|rest| {
            let end = self.pattern.len() - rest.len();
            let (low, high) = inner.split_once(',').unwrap_or((inner, inner));
            let min = low.parse().ok()?;
            let max = if high.is_empty() {
                None
            } else {
                Some(high.parse().ok()?)
            };
            Some((min, max, end))
        });
        match parsed {
            Some(bounds @ (min, max, _)) if max.is_none_or(|max| min <= max && max > 0) => {
                Ok(bounds)
            }
            _ => self.refuse(at, "expected {n}, {n,} or {n,m}"),
        }
    }
}

fn unsupported(pattern: &str, at: usize, reason: &dyn ToString) -> Error {
    Error::UnsupportedPattern {
        pattern: pattern.to_owned(),
        at,
        reason: last_line(&reason.to_string()),
    }
}

/// `regex-syntax` draws the place first and says what is wrong in the last line.
fn last_line(reason: &str) -> String {
    let line = reason.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}
