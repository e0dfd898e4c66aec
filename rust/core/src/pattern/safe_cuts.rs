//! Places where a long text may be cut before it is split.
//!
//! Splitting the two sides of a cut must give the pieces of the whole text. Every recognised pattern takes
//! words, digits, punctuation and white space for classes of their own, looks at most at the white space that follows,
//! and never behind. So these two places always end a piece, and nothing after them changes what comes before:
//!
//! - before a space that stands between an ASCII letter or digit and an ASCII letter: `lower| lower`;
//! - after a line feed that stands between a character that is no white space and a letter: `。\n|你好`. (One line feed:
//!   where a text *ends* in several, `\s+(?!\S)` and `\s++$` take them together.)
//!
//! Of any other pattern nothing is known, and its texts are not cut. A property test in `scan` holds this to the splitters.

use super::Pattern;
use super::grammar::{SetRuns, Shape, Whitespace};
use super::recognise::Recognised;
use crate::Result;
use crate::unicode::{LETTER, NEWLINE, SPACE};

/// What a stage does at the places where [`Cuts`] cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cutting {
    /// It always begins a new piece there.
    Splits,
    /// No match goes on over them, but text that nothing matches may.
    Neutral,
    Unknown,
}

/// Where texts of a pattern may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    known: bool,
}

impl Cuts {
    /// The places for `pattern`; none unless the scanner takes it.
    pub fn of(pattern: &Pattern) -> Self {
        let regexes = pattern.regexes().iter();
        let stages = regexes.map(|regex| Recognised::read(regex));
        let stages: Result<Vec<Recognised>> = stages.collect();
        Self::of_stages(&stages.unwrap_or_default())
    }

    /// What the stages before the one that splits leave whole, it takes apart;
    /// what the stages after it get is the same either way.
    fn of_stages(stages: &[Recognised]) -> Self {
        let deciding = stages
            .iter()
            .map(Recognised::cutting)
            .find(|&cutting| cutting != Cutting::Neutral);
        Self {
            known: deciding == Some(Cutting::Splits),
        }
    }

    /// Whether `at` is such a place in `text`.
    pub(crate) fn holds(self, text: &[u8], at: usize) -> bool {
        self.known
            && (1..text.len()).contains(&at)
            && (is_between_words(text, at) || is_after_line(text, at))
    }

    /// The last such place in `text`, always with text on both sides.
    pub fn last(self, text: &[u8]) -> Option<usize> {
        if !self.known {
            return None;
        }
        // Most places are found within a few words of the end.
        (1..text.len())
            .rev()
            .find(|&at| is_between_words(text, at) || is_after_line(text, at))
    }
}

impl Recognised {
    fn cutting(&self) -> Cutting {
        match self {
            Self::Shape(shape) => shape.cutting(),
            Self::SetRuns(runs) => runs.cutting(),
            Self::No => Cutting::Unknown,
        }
    }
}

impl SetRuns {
    fn cutting(&self) -> Cutting {
        let holds = |c: char| {
            let mut ranges = self.set.ranges().iter();
            ranges.any(|range| (range.start()..=range.end()).contains(&c))
        };
        if holds(' ') || holds('\n') {
            Cutting::Unknown
        } else {
            Cutting::Neutral
        }
    }
}

impl Shape {
    /// If nothing holds a space or line feed after its first character, begins
    /// with a line feed, or goes on from one to a letter, then a piece ends
    /// before a space and after a line feed, where white space is taken at all.
    fn cutting(&self) -> Cutting {
        let runs = self.runs.iter();
        let inside = self.tag.body | self.cased.upper | self.cased.lower;
        let inside = runs
            .clone()
            .fold(inside, |all, run| all | run.body | run.tail & SPACE);
        let first = runs
            .clone()
            .fold(self.tag.head | self.cased.prefix, |all, run| {
                all | run.prefix
            });
        let tail = runs.fold(0, |all, run| all | run.tail);
        let crosses = inside & (SPACE | NEWLINE) | first & NEWLINE | tail & LETTER;
        match self.whitespace {
            _ if crosses != 0 => Cutting::Unknown,
            Whitespace::None => Cutting::Neutral,
            Whitespace::One | Whitespace::Run => Cutting::Splits,
        }
    }
}

fn is_between_words(text: &[u8], at: usize) -> bool {
    text[at] == b' '
        && text[at - 1].is_ascii_alphanumeric()
        && text.get(at + 1).is_some_and(u8::is_ascii_alphabetic)
}

fn is_after_line(text: &[u8], at: usize) -> bool {
    text[at - 1] == b'\n'
        && first_character(&text[at..]).is_some_and(is_plain_letter)
        && last_character(&text[..at - 1]).is_some_and(|before| !before.is_whitespace())
}

/// Letters (`\p{L}`) of the scripts in which whole paragraphs have no space; no marks, no modifiers.
fn is_plain_letter(character: char) -> bool {
    matches!(character,
        'A'..='Z' | 'a'..='z' | 'А'..='я' | 'अ'..='ह' | 'ก'..='ฮ' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | '一'..='鿿' | '가'..='힣')
}

fn first_character(text: &[u8]) -> Option<char> {
    text[..text.len().min(4)]
        .utf8_chunks()
        .next()?
        .valid()
        .chars()
        .next()
}

fn last_character(text: &[u8]) -> Option<char> {
    let begin = (1..=text.len().min(4))
        .map(|back| text.len() - back)
        .find(|&at| text[at] & 0xC0 != 0x80)?;
    let character = std::str::from_utf8(&text[begin..]).ok()?;
    character.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places() {
        let cuts = Cuts::of(&Pattern::default());
        assert_eq!(cuts.last(b"low lower"), Some(3));
        assert_eq!(cuts.last(b"low lower "), Some(3));
        assert_eq!(cuts.last(b"low  lower"), None);
        assert_eq!(cuts.last("好。\n你".as_bytes()), Some(7));
        assert_eq!(cuts.last("好。\n\n你".as_bytes()), None);
        assert_eq!(cuts.last(b""), None);
        let other = Cuts::of(&Pattern::regex(".{3}|."));
        assert_eq!(other.last(b"low lower"), None);
        assert_eq!(Cuts::of(&Pattern::none()).last(b"low lower"), None);
    }
}
