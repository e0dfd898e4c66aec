//! Split patterns read into alternatives of simple elements.
//!
//! GPT-style patterns use two things that linear-time engines lack: possessive
//! quantifiers (`\p{L}++`) and the look-ahead `\s+(?!\S)`. `regex-syntax` reads
//! the first as a repeated repetition and refuses the second, so the top level
//! of a pattern is read here, and only sets and groups are handed to it.
//!
//! A possessive quantifier is accepted where it means the same as the greedy
//! one, which is when giving a character back could never help: nothing
//! mandatory follows, or what follows cannot begin with a character of the
//! repeated set. Every possessive quantifier in the published patterns is of
//! that kind. Backtracking is therefore never needed, and everything else that
//! would need it (other look-arounds, atomic groups, back-references) is an
//! error with its place.

use regex_syntax::hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition};

use super::reader::{Reader, needs_care};
use crate::{Error, Result};

/// One branch of the top-level alternation.
#[derive(Debug, Clone)]
pub(super) struct Alternative {
    pub(super) elements: Vec<Element>,
}

/// One atom with its quantifier.
#[derive(Debug, Clone)]
pub(super) struct Element {
    pub(super) node: Node,
    pub(super) min: u32,
    /// `None` is unbounded.
    pub(super) max: Option<u32>,
    pub(super) greedy: bool,
    pub(super) possessive: bool,
    /// The atom as written, without its quantifier.
    pub(super) text: String,
}

/// What an element matches once.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// One character of a set; literals are sets of one.
    Set(ClassUnicode),
    /// Anything in parentheses, and anchors other than the end of the text.
    Group(Hir),
    /// The end of the text: `$` or `\z`.
    End,
    /// `(?!set)`: the next character, if any, is not in the set.
    NotAhead(ClassUnicode),
}

impl Element {
    fn hir(&self) -> Hir {
        let sub = match &self.node {
            Node::Set(set) => Hir::class(Class::Unicode(set.clone())),
            Node::Group(hir) => hir.clone(),
            Node::End => Hir::look(Look::End),
            Node::NotAhead(_) => Hir::empty(),
        };
        if (self.min, self.max) == (1, Some(1)) {
            return sub;
        }
        Hir::repetition(Repetition {
            min: self.min,
            max: self.max,
            greedy: self.greedy,
            sub: Box::new(sub),
        })
    }

    fn optional(&self) -> bool {
        match &self.node {
            Node::Set(_) => self.min == 0,
            Node::Group(hir) => self.min == 0 || hir.properties().minimum_len() == Some(0),
            Node::End | Node::NotAhead(_) => false,
        }
    }
}

impl Alternative {
    /// The branch as an expression, without its look-ahead.
    pub(super) fn hir(&self) -> Hir {
        Hir::concat(self.elements.iter().map(Element::hir).collect())
    }

    /// Whether this is `set+(?!not set)`, the one look-ahead that is supported.
    pub(super) fn is_look_ahead(&self) -> bool {
        matches!(
            self.elements.last(),
            Some(Element {
                node: Node::NotAhead(_),
                ..
            })
        )
    }
}

/// Reads `pattern`; an error says what cannot be supported, and where.
pub(super) fn parse(pattern: &str) -> Result<Vec<Alternative>> {
    match Reader::new(pattern).alternatives() {
        Ok(alternatives) => Ok(alternatives),
        // Inline flags and the like: fine as a whole when no element needs care.
        Err(_) if !needs_care(pattern) => {
            let hir =
                regex_syntax::parse(pattern).map_err(|error| unsupported(pattern, 0, &error))?;
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
        Err(error) => Err(error),
    }
}

/// The same pattern in the spelling that Oniguruma, `fancy-regex` and `regex`
/// read alike: greedy for possessive quantifiers (Oniguruma reads `{1,3}+` as a
/// repetition of a repetition), `\z` for `$` (there the end of any line).
pub(super) fn portable(pattern: &str) -> Result<String> {
    let alternatives = parse(pattern)?;
    let elements = || alternatives.iter().flat_map(|a| &a.elements);
    if !elements().any(|e| e.possessive || matches!(e.node, Node::End)) {
        return Ok(pattern.to_owned());
    }
    let branch =
        |alternative: &Alternative| -> String { alternative.elements.iter().map(spell).collect() };
    let branches: Vec<String> = alternatives.iter().map(branch).collect();
    Ok(branches.join("|"))
}

fn spell(element: &Element) -> String {
    let atom = match element.node {
        Node::End => r"\z",
        _ => element.text.as_str(),
    };
    let quantifier = match (element.min, element.max) {
        (1, Some(1)) => String::new(),
        (0, Some(1)) => "?".to_owned(),
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (min, None) => format!("{{{min},}}"),
        (min, Some(max)) if min == max => format!("{{{min}}}"),
        (min, Some(max)) => format!("{{{min},{max}}}"),
    };
    let lazy = if element.greedy { "" } else { "?" };
    format!("{atom}{quantifier}{lazy}")
}

/// The set of characters that `text`, one atom, matches.
pub(super) fn set(text: &str) -> Option<ClassUnicode> {
    set_of(&regex_syntax::parse(text).ok()?)
}

pub(super) fn set_of(hir: &Hir) -> Option<ClassUnicode> {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => Some(class.clone()),
        HirKind::Class(Class::Bytes(class)) => class.to_unicode_class(),
        HirKind::Literal(literal) => {
            let mut chars = std::str::from_utf8(&literal.0).ok()?.chars();
            let only = chars.next()?;
            let range = ClassUnicodeRange::new(only, only);
            chars.next().is_none().then(|| ClassUnicode::new([range]))
        }
        _ => None,
    }
}

pub(super) fn unsupported(pattern: &str, at: usize, reason: &dyn ToString) -> Error {
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

/// Whether giving back what `element` took could never make `rest` match.
pub(super) fn greedy_is_possessive(element: &Element, rest: &[Element]) -> bool {
    if rest.iter().all(Element::optional) {
        return true;
    }
    let Node::Set(taken) = &element.node else {
        return false;
    };
    for next in rest {
        match &next.node {
            Node::End => return true,
            Node::Set(first) => {
                let mut shared = taken.clone();
                shared.intersect(first);
                if !shared.ranges().is_empty() {
                    return false;
                }
            }
            Node::Group(_) | Node::NotAhead(_) => return false,
        }
        if !next.optional() {
            return true;
        }
    }
    true
}
