//! Where documents end in running text.

use std::ops::Range;

use aho_corasick::{AhoCorasick, Input, PatternID};
use memchr::memmem::Finder;

use crate::error::SpecialTokenProblem;
use crate::special::finder;
use crate::{Error, Result};

/// What ends documents in running text.
#[derive(Debug, Clone)]
pub struct Separators(Kind);

#[derive(Debug, Clone)]
enum Kind {
    None,
    Line(Box<Finder<'static>>),
    AnyOf {
        finder: AhoCorasick,
        longest: usize,
        /// The one with which a line break may go.
        line: Option<PatternID>,
    },
}

/// What is found where a separator is looked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Separator {
        start: usize,
        /// Where the next document begins.
        end: usize,
        /// Whether the next document begins on a line of its own.
        line_start: bool,
    },
    /// No separator begins before this place. What follows the text decides whether one does there.
    NoneBefore(usize),
}

impl Separators {
    /// Nothing ends a document but its end.
    pub fn none() -> Self {
        Self(Kind::None)
    }

    /// The string `mark`, wherever it stands. If it is a line of its own, its line break goes with
    /// it. An empty mark is never found.
    pub fn line(mark: &[u8]) -> Self {
        if mark.is_empty() {
            return Self::none();
        }
        Self(Kind::Line(Box::new(Finder::new(mark).into_owned())))
    }

    /// Any of these strings; the longest of those that begin at one place. Line breaks are text.
    pub fn any_of<S: AsRef<str>>(marks: &[S]) -> Result<Self> {
        Self::any_of_or_line(marks, None)
    }

    /// Any of these strings, and `line` as in [`Separators::line`].
    pub fn any_of_or_line<S: AsRef<str>>(marks: &[S], line: Option<&str>) -> Result<Self> {
        let line = line.filter(|line| !line.is_empty());
        let marks = line.into_iter().chain(marks.iter().map(AsRef::as_ref));
        let marks: Vec<&str> = marks.filter(|mark| !mark.is_empty()).collect();
        let Some(longest) = marks.iter().max_by_key(|mark| mark.len()) else {
            return Ok(Self::none());
        };
        let finder = finder(marks.iter().copied()).ok_or_else(|| Error::SpecialToken {
            content: (*longest).to_owned(),
            id: 0,
            problem: SpecialTokenProblem::TooLongTogether,
        })?;
        Ok(Self(Kind::AnyOf {
            finder,
            longest: longest.len(),
            line: line.map(|_| PatternID::ZERO),
        }))
    }

    /// The first separator that begins at `from` or later. The document before it begins at
    /// `begin`, on a line of its own or not; more text may follow unless the text has `ended`.
    pub(super) fn find(
        &self,
        text: &[u8],
        begin: usize,
        line_start: bool,
        from: usize,
        ended: bool,
    ) -> Found {
        // The last place at which a separator of this length is whole in the text.
        let none = |longest: usize| {
            let place = if ended {
                text.len()
            } else {
                (text.len() + 1).saturating_sub(longest)
            };
            Found::NoneBefore(place.max(from))
        };
        match &self.0 {
            Kind::None => Found::NoneBefore(text.len()),
            Kind::Line(finder) => {
                let Some(at) = finder.find(&text[from..]) else {
                    return none(finder.needle().len());
                };
                let mark = from + at..from + at + finder.needle().len();
                line(text, begin, line_start, mark, ended)
            }
            Kind::AnyOf {
                finder,
                longest,
                line: own_line,
            } => {
                match finder.find(Input::new(text).range(from..)) {
                    None => none(*longest),
                    // It may yet become a longer one.
                    Some(found) if !ended && found.start() + longest > text.len() => {
                        Found::NoneBefore(found.start())
                    }
                    Some(found) if *own_line == Some(found.pattern()) => {
                        line(text, begin, line_start, found.range(), ended)
                    }
                    Some(found) => Found::Separator {
                        start: found.start(),
                        end: found.end(),
                        line_start: false,
                    },
                }
            }
        }
    }
}

/// A separator at `mark`, with its line break if it is a line of its own.
fn line(text: &[u8], begin: usize, line_start: bool, mark: Range<usize>, ended: bool) -> Found {
    let (start, after) = (mark.start, mark.end);
    if after + 2 > text.len() && !ended {
        return Found::NoneBefore(start); // a line break may follow
    }
    let after_line = if start == begin {
        line_start
    } else {
        text[start - 1] == b'\n'
    };
    let line_break = match &text[after..] {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let is_line = after_line && (line_break > 0 || after == text.len());
    Found::Separator {
        start,
        end: after + if is_line { line_break } else { 0 },
        line_start: is_line,
    }
}
