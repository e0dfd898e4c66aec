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
//! Of any other pattern nothing is known, and its texts are not cut. A property test holds this to the splitters.

use super::{Cutting, Pattern, Stage};
use crate::Result;

/// Where texts of a pattern may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    known: bool,
}

impl Cuts {
    /// The places for `pattern`; none unless the scanner takes it.
    pub fn of(pattern: &Pattern) -> Self {
        let stages = pattern.regexes().iter().map(|regex| Stage::new(regex));
        let stages: Result<Vec<Stage>> = stages.collect();
        Self::of_stages(&stages.unwrap_or_default())
    }

    /// What the stages before the one that splits leave whole, it takes apart;
    /// what the stages after it get is the same either way.
    pub(super) fn of_stages(stages: &[Stage]) -> Self {
        let cutting = stages.iter().map(|stage| stage.split.cutting());
        let deciding = cutting
            .into_iter()
            .find(|&cutting| cutting != Cutting::Neutral);
        Self {
            known: deciding == Some(Cutting::Splits),
        }
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
    #![allow(clippy::unwrap_used)]

    use super::super::{NAMES, Pretokenizer};
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static KNOWN: LazyLock<Vec<(&str, Cuts, Pretokenizer)>> = LazyLock::new(|| {
        let known = |name| {
            let pattern = Pattern::named(name).unwrap();
            (
                name,
                Cuts::of(&pattern),
                Pretokenizer::new(&pattern).unwrap(),
            )
        };
        NAMES.into_iter().map(known).collect()
    });

    fn pieces(pretokenizer: &Pretokenizer, text: &[u8]) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        pretokenizer.for_each(text, |piece| pieces.push(piece.to_vec()));
        pieces
    }

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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn pieces_of_the_sides_are_pieces_of_the_whole(
            text in "[aZs1 '\n\t\r/!。中あйก\u{301}\u{a0}\u{3000}Ⅷ²]{0,24}[a1。中!] ?\n?[a中йあก'][a \n'。re]{0,6}"
        ) {
            for (name, cuts, pretokenizer) in KNOWN.iter() {
                let text = text.as_bytes();
                if let Some(at) = cuts.last(text) {
                    let mut sides = pieces(pretokenizer, &text[..at]);
                    sides.extend(pieces(pretokenizer, &text[at..]));
                    prop_assert_eq!(&sides, &pieces(pretokenizer, text), "{} cut at {}", name, at);
                }
            }
        }
    }
}
