//! Reading a pattern as a [`Shape`].
//!
//! Sets are compared as sets and contractions as lists of texts, so the
//! spelling does not matter: `[\p{L}]+`, `\p{L}++` and `\p{L}+` are one. The
//! alternatives must come in the order of the shape's fields, since it decides
//! what wins; a pattern that is anything else is left to the regex.

use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::ast::{Alternative, Element, Node};
use super::grammar::{
    Cased, Contraction, NO_CASED, NO_RUN, NO_TAG, Run, SetRuns, Shape, Tag, Whitespace,
};
use super::parser;
use crate::Result;
use crate::unicode::{Mask, NEWLINE, TABLE, WHITESPACE};

/// What a pattern was recognised as; equal ones split every text alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recognised {
    Shape(Shape),
    SetRuns(SetRuns),
    No,
}

impl Recognised {
    /// Parses `regex` and recognises it.
    pub(crate) fn read(regex: &str) -> Result<Self> {
        Ok(Self::new(&parser::parse(regex)?))
    }

    pub(crate) fn new(alternatives: &[Alternative]) -> Self {
        if let Some(shape) = Shape::recognise(alternatives) {
            Self::Shape(shape)
        } else if let Some(runs) = SetRuns::recognise(alternatives) {
            Self::SetRuns(runs)
        } else {
            Self::No
        }
    }

    /// Whether both are recognised, and as the same.
    pub(crate) fn splits_like(&self, other: &Self) -> bool {
        *self != Self::No && self == other
    }
}

impl SetRuns {
    /// Reads `alternatives` as the runs of a set, if they are that.
    pub(crate) fn recognise(alternatives: &[Alternative]) -> Option<Self> {
        let [Alternative { elements }] = alternatives else {
            return None;
        };
        let [element] = elements.as_slice() else {
            return None;
        };
        match &element.node {
            Node::Set(set) if element.greedy && element.min == 1 => Some(Self {
                set: set.clone(),
                max: element.max,
            }),
            _ => None,
        }
    }
}

impl Shape {
    /// Reads `alternatives` as a shape, if they are one.
    pub(crate) fn recognise(alternatives: &[Alternative]) -> Option<Self> {
        let mut cursor = Cursor { alternatives };
        let contraction = cursor.contraction()?;
        let tag = cursor.tag();
        let cased = cursor.cased();
        let runs = [cursor.run(), cursor.run(), cursor.run()];
        let end_first = cursor.whitespace_at_end();
        let newlines = cursor.newlines();
        let end_again = newlines && cursor.whitespace_at_end();
        let look_ahead = cursor.look_ahead();
        // Where the look-ahead takes all white space at the end of the text, a
        // rule for just that changes nothing unless a line break comes between.
        if end_again && !look_ahead {
            return None;
        }
        let mut whitespace = cursor.whitespace();
        if look_ahead && whitespace == Whitespace::One {
            whitespace = Whitespace::Run; // what the look-ahead refuses is one character
        }
        // Whoever reads a whole run of white space must take it, or the scanner
        // would read it again from each of its characters.
        let reads_runs = end_first || newlines || look_ahead;
        if reads_runs && whitespace != Whitespace::Run {
            return None;
        }
        cursor.alternatives.is_empty().then_some(Self {
            contraction,
            tag,
            cased,
            runs,
            end_first: end_first && (newlines || !look_ahead),
            newlines,
            look_ahead,
            whitespace,
        })
    }
}

struct Cursor<'a> {
    alternatives: &'a [Alternative],
}

impl Cursor<'_> {
    fn next(&self) -> &[Element] {
        self.alternatives
            .first()
            .map_or(&[], |alternative| &alternative.elements)
    }

    fn advance(&mut self, by: usize) {
        self.alternatives = &self.alternatives[by..];
    }

    /// All leading alternatives that are literal and begin with an apostrophe;
    /// `None` if they are other contractions than the usual ones.
    fn contraction(&mut self) -> Option<Contraction> {
        let mut literals = Vec::new();
        while let Some(alternative) = self.alternatives.first() {
            match literals_of(alternative) {
                Some(more) if more.iter().all(|literal| literal.starts_with(b"'")) => {
                    literals.extend(more);
                    self.advance(1);
                }
                _ => break,
            }
        }
        if literals.is_empty() {
            return Some(Contraction::None);
        }
        contraction_of(literals)
    }

    fn tag(&mut self) -> Tag {
        if let [head, body] = self.next()
            && let (Some((head, 1, Some(1))), Some((body, 1, None))) =
                (counted(head), counted(body))
        {
            self.advance(1);
            return Tag { head, body };
        }
        NO_TAG
    }

    fn cased(&mut self) -> Cased {
        let found = match self.alternatives {
            [first, second, ..] => cased_of(&first.elements, &second.elements),
            _ => None,
        };
        if found.is_some() {
            self.advance(2);
        }
        found.unwrap_or(NO_CASED)
    }

    fn run(&mut self) -> Run {
        let found = run_of(self.next());
        if found.is_some() {
            self.advance(1);
        }
        found.unwrap_or(NO_RUN)
    }

    fn whitespace_at_end(&mut self) -> bool {
        let found = matches!(self.next(), [space, Element { node: Node::End, .. }] if counted(space) == Some((WHITESPACE, 1, None)));
        self.advance(usize::from(found));
        found
    }

    fn newlines(&mut self) -> bool {
        let found = matches!(self.next(), [space, newline]
            if counted(space) == Some((WHITESPACE, 0, None))
                && matches!(counted(newline), Some((NEWLINE, 1, Some(1) | None))));
        self.advance(usize::from(found));
        found
    }

    fn look_ahead(&mut self) -> bool {
        let found = matches!(self.next(), [space, Element { node: Node::NotAhead(_), .. }] if counted(space) == Some((WHITESPACE, 1, None)));
        self.advance(usize::from(found));
        found
    }

    fn whitespace(&mut self) -> Whitespace {
        let found = match self.next() {
            [space] => match counted(space) {
                Some((WHITESPACE, 1, None)) => Whitespace::Run,
                Some((WHITESPACE, 1, Some(1))) => Whitespace::One,
                _ => Whitespace::None,
            },
            _ => Whitespace::None,
        };
        self.advance(usize::from(found != Whitespace::None));
        found
    }
}

/// The mask and bounds of a greedy set.
fn counted(element: &Element) -> Option<(Mask, u32, Option<u32>)> {
    match &element.node {
        Node::Set(set) if element.greedy => Some((TABLE.mask(set)?, element.min, element.max)),
        _ => None,
    }
}

/// Takes a leading `set?`.
fn prefix_of(elements: &[Element]) -> Option<(Mask, &[Element])> {
    let (first, rest) = elements.split_first()?;
    match counted(first)? {
        (prefix, 0, Some(1)) => Some((prefix, rest)),
        _ => Some((0, elements)),
    }
}

fn run_of(elements: &[Element]) -> Option<Run> {
    let (prefix, elements) = prefix_of(elements)?;
    let (body, rest) = elements.split_first()?;
    let (body, 1, max) = counted(body)? else {
        return None;
    };
    let tail = match rest {
        [] => 0,
        [tail] => match counted(tail)? {
            (tail, 0, None) => tail,
            _ => return None,
        },
        _ => return None,
    };
    // White space has rules of its own.
    (body & WHITESPACE == 0).then_some(Run {
        prefix,
        body,
        max: max.unwrap_or(u32::MAX),
        tail,
    })
}

fn cased_of(first: &[Element], second: &[Element]) -> Option<Cased> {
    let one = |elements: &[Element], bounds: [u32; 2]| {
        let (prefix, rest) = prefix_of(elements)?;
        let (upper, rest) = rest.split_first()?;
        let (lower, rest) = rest.split_first()?;
        let ((upper, least, None), (lower, least_lower, None)) = (counted(upper)?, counted(lower)?)
        else {
            return None;
        };
        let suffix = match rest {
            [] => Contraction::None,
            [
                Element {
                    node: Node::Group(hir),
                    min: 0,
                    max: Some(1),
                    greedy: true,
                    ..
                },
            ] => contraction_of(finite(hir)?)?,
            _ => return None,
        };
        ([least, least_lower] == bounds).then_some(Cased {
            prefix,
            upper,
            lower,
            suffix,
        })
    };
    let found = one(first, [0, 1])?;
    (one(second, [1, 0])? == found).then_some(found)
}

fn literals_of(alternative: &Alternative) -> Option<Vec<Vec<u8>>> {
    let consumes = |element: &Element| matches!(element.node, Node::Set(_) | Node::Group(_));
    if !alternative.elements.iter().all(consumes) {
        return None;
    }
    finite(&alternative.hir())
}

/// All texts that an expression matches, if they are few.
fn finite(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    if !hir.properties().look_set().is_empty() {
        return None;
    }
    let mut extractor = Extractor::new();
    extractor
        .kind(ExtractKind::Prefix)
        .limit_class(16)
        .limit_total(100);
    let found = extractor.extract(hir);
    if !found.is_exact() {
        return None;
    }
    let literals = found.literals()?.iter();
    Some(
        literals
            .map(|literal| literal.as_bytes().to_vec())
            .collect(),
    )
}

/// Which contractions these are. None begins another, so order is nothing.
fn contraction_of(mut literals: Vec<Vec<u8>>) -> Option<Contraction> {
    literals.sort_unstable();
    literals.dedup();
    let usual = |group: &str| -> Option<Vec<Vec<u8>>> {
        let mut all = finite(&regex_syntax::parse(group).ok()?)?;
        all.sort_unstable();
        Some(all)
    };
    if usual("'(?:[sdmt]|ll|ve|re)")? == literals {
        Some(Contraction::Exact)
    } else if usual("'(?i:[sdmt]|ll|ve|re)")? == literals {
        Some(Contraction::Folded)
    } else {
        None
    }
}
