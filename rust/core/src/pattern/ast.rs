//! A split pattern as alternatives of simple elements.
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

use regex_syntax::hir::{Class, ClassUnicode, Hir, Look, Repetition};

/// One branch of the top-level alternation.
#[derive(Debug, Clone)]
pub(crate) struct Alternative {
    pub(crate) elements: Vec<Element>,
}

/// One atom with its quantifier.
#[derive(Debug, Clone)]
pub(crate) struct Element {
    pub(crate) node: Node,
    pub(crate) min: u32,
    /// `None` is unbounded.
    pub(crate) max: Option<u32>,
    pub(crate) greedy: bool,
    pub(crate) possessive: bool,
    /// The atom as written, without its quantifier.
    pub(crate) text: String,
}

/// What an element matches once.
#[derive(Debug, Clone)]
pub(crate) enum Node {
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

    /// Whether it matches the empty text wherever it is tried.
    fn optional(&self) -> bool {
        match &self.node {
            Node::Set(_) => self.min == 0,
            // An assertion takes nothing, but it may fail.
            Node::Group(hir) => {
                let properties = hir.properties();
                let fails = !properties.look_set().is_empty();
                self.min == 0 || properties.minimum_len() == Some(0) && !fails
            }
            Node::End | Node::NotAhead(_) => false,
        }
    }
}

impl Alternative {
    /// The branch as an expression, without its look-ahead.
    pub(crate) fn hir(&self) -> Hir {
        Hir::concat(self.elements.iter().map(Element::hir).collect())
    }

    /// Whether this is `set+(?!not set)`, the one look-ahead that is supported.
    pub(crate) fn is_look_ahead(&self) -> bool {
        matches!(
            self.elements.last(),
            Some(Element {
                node: Node::NotAhead(_),
                ..
            })
        )
    }
}

/// The element as written, with `\z` for `$` and a greedy quantifier for a possessive one.
pub(crate) fn spell(element: &Element) -> String {
    let atom = match element.node {
        Node::End => r"\z",
        _ => element.text.as_str(),
    };
    let quantifier = quantifier(element.min, element.max, element.greedy);
    format!("{atom}{quantifier}")
}

/// The quantifier of so many.
pub(crate) fn quantifier(min: u32, max: Option<u32>, greedy: bool) -> String {
    let bounds = match (min, max) {
        (1, Some(1)) => return String::new(),
        (0, Some(1)) => "?".to_owned(),
        (0, None) => "*".to_owned(),
        (1, None) => "+".to_owned(),
        (min, None) => format!("{{{min},}}"),
        // What takes so many and no other number is neither greedy nor lazy.
        (min, Some(max)) if min == max => return format!("{{{min}}}"),
        (min, Some(max)) => format!("{{{min},{max}}}"),
    };
    format!("{bounds}{}", if greedy { "" } else { "?" })
}

/// Whether giving back what `element` took could never make `rest` match.
pub(crate) fn greedy_is_possessive(element: &Element, rest: &[Element]) -> bool {
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
