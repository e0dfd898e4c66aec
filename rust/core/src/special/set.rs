//! Looking for special tokens in text.
//!
//! Each stage is one Aho-Corasick automaton with leftmost-longest matches. The crate
//! puts a prefilter before it: substring search for a single content, `memchr` for
//! contents with at most three different first (or rare) bytes, a packed search for a
//! few contents of other kinds. Nearly all special tokens begin with `<`, so text
//! without `<` is passed at the speed of `memchr`. Where all contents begin with the same byte we look for
//! it ourselves before the automaton is asked: calling that takes as long as encoding a word, and
//! most texts are short and have no such byte.
//!
//! Cost of all matches of a text: every byte is searched once by each stage. A match
//! of the first stage is remembered until the iterator passes it; the second stage
//! only searches the gaps. To know that a match is the longest, an automaton may read
//! on for as many bytes as the longest content has.

use std::iter::FusedIterator;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use memchr::memchr;

use super::{SpecialToken, refuse};
use crate::Result;
use crate::error::SpecialTokenProblem;

/// Longer contents, added up, get no DFA: it has up to 1 KiB for each of their bytes.
const DFA_BYTES: usize = 1 << 14;

/// A special token found in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: u32,
    /// Byte at which it starts.
    pub start: usize,
    /// Byte after its end.
    pub end: usize,
}

/// Some of a tokenizer's special tokens, ready to be looked for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SpecialSet {
    /// Without tokens there is nothing.
    stages: Option<Arc<Stages>>,
}

/// Tokens that are looked for first, and those that are looked for in the gaps.
#[derive(Debug)]
struct Stages {
    plain: Option<Stage>,
    normalized: Option<Stage>,
    hold_white_space: bool,
}

#[derive(Debug)]
struct Stage {
    /// The byte with which all contents begin, if there is one.
    first: Option<u8>,
    finder: AhoCorasick,
    ids: Vec<u32>,
}

impl SpecialSet {
    /// The empty set: nothing is special.
    pub fn none() -> Self {
        Self::default()
    }

    pub(super) fn new<'a>(tokens: impl IntoIterator<Item = &'a SpecialToken>) -> Result<Self> {
        #[cfg(test)]
        work::count_built();
        let (normalized, plain): (Vec<_>, Vec<_>) =
            tokens.into_iter().partition(|token| token.normalized);
        if plain.is_empty() && normalized.is_empty() {
            return Ok(Self::none());
        }
        let mut all = plain.iter().chain(&normalized);
        let hold_white_space = all.any(|token| token.content.contains([' ', '\n']));
        Ok(Self {
            stages: Some(Arc::new(Stages {
                hold_white_space,
                plain: Stage::new(&plain)?,
                normalized: Stage::new(&normalized)?,
            })),
        })
    }

    /// Whether nothing is special.
    pub fn is_empty(&self) -> bool {
        self.stages.is_none()
    }

    /// Whether a special token may have a space or a line feed in it.
    pub(crate) fn may_hold_white_space(&self) -> bool {
        let stages = self.stages.as_deref();
        stages.is_some_and(|stages| stages.hold_white_space)
    }

    /// The special tokens in a text, from left to right. They do not overlap.
    pub fn matches<'a>(&'a self, text: &'a [u8]) -> Matches<'a> {
        self.matches_from(text, 0)
    }

    /// The first special token at or after byte `from`.
    ///
    /// To get all of them call [`SpecialSet::matches`], which searches nothing twice.
    pub fn find(&self, text: &[u8], from: usize) -> Option<Found> {
        self.matches_from(text, from).next()
    }

    fn matches_from<'a>(&'a self, text: &'a [u8], from: usize) -> Matches<'a> {
        Matches {
            stages: self.stages.as_deref(),
            text,
            from: from.min(text.len()),
            ahead: Ahead::Unasked,
        }
    }
}

/// The iterator that [`SpecialSet::matches`] returns.
#[derive(Debug, Clone)]
pub struct Matches<'a> {
    stages: Option<&'a Stages>,
    text: &'a [u8],
    /// End of the last match.
    from: usize,
    ahead: Ahead,
}

/// What the plain stage finds at or after the end of the last match.
#[derive(Debug, Clone, Copy)]
enum Ahead {
    Unasked,
    Nothing,
    At(Found),
}

impl Iterator for Matches<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let Stages {
            plain, normalized, ..
        } = self.stages?;
        let all = self.text.len();
        if matches!(self.ahead, Ahead::Unasked) {
            let found = plain.as_ref();
            let found = found.and_then(|stage| stage.find(self.text, self.from, all));
            self.ahead = found.map_or(Ahead::Nothing, Ahead::At);
        }
        let ahead = match self.ahead {
            Ahead::At(found) => Some(found),
            Ahead::Unasked | Ahead::Nothing => None,
        };
        let gap = ahead.map_or(all, |found| found.start);
        let found = normalized.as_ref();
        let found = found.and_then(|stage| stage.find(self.text, self.from, gap));
        if found.is_none() && ahead.is_some() {
            self.ahead = Ahead::Unasked;
        }
        let found = found.or(ahead);
        self.from = found.map_or(all, |found| found.end);
        found
    }
}

impl FusedIterator for Matches<'_> {}

impl Stage {
    /// None of no tokens.
    fn new(tokens: &[&SpecialToken]) -> Result<Option<Self>> {
        let Some(first) = tokens.first() else {
            return Ok(None);
        };
        let bytes: usize = tokens.iter().map(|token| token.content.len()).sum();
        let kind = (bytes > DFA_BYTES).then_some(AhoCorasickKind::ContiguousNFA);
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(kind)
            .build(tokens.iter().map(|token| &token.content))
            .map_err(|_| refuse(first, SpecialTokenProblem::TooLongTogether))?;
        let first = first.content.bytes().next();
        let is_first = |token: &&SpecialToken| token.content.bytes().next() == first;
        Ok(Some(Self {
            first: first.filter(|_| tokens.iter().all(is_first)),
            finder,
            ids: tokens.iter().map(|token| token.id).collect(),
        }))
    }

    #[inline]
    fn find(&self, text: &[u8], from: usize, to: usize) -> Option<Found> {
        let from = match self.first {
            Some(first) => {
                let found = memchr(first, &text[from..to]);
                #[cfg(test)]
                work::count_searched(found.unwrap_or(to - from));
                from + found?
            }
            None if from == to => return None,
            None => from,
        };
        self.find_from(text, from, to)
    }

    fn find_from(&self, text: &[u8], from: usize, to: usize) -> Option<Found> {
        let found = self.finder.find(Input::new(text).range(from..to));
        #[cfg(test)]
        work::count_searched(found.map_or(to, |found| found.end()) - from);
        let found = found?;
        Some(Found {
            id: self.ids[found.pattern().as_usize()],
            start: found.start(),
            end: found.end(),
        })
    }
}

/// Counts of work, by which tests tell linear from quadratic.
#[cfg(test)]
pub(super) mod work {
    use std::cell::Cell;

    thread_local! {
        static BUILT: Cell<usize> = const { Cell::new(0) };
        static SEARCHED: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count_built() {
        BUILT.set(BUILT.get() + 1);
    }

    pub(super) fn count_searched(bytes: usize) {
        SEARCHED.set(SEARCHED.get() + bytes);
    }

    /// Sets of tokens for which matchers were built.
    pub(in crate::special) fn built() -> usize {
        BUILT.get()
    }

    /// Bytes through which matchers went.
    pub(in crate::special) fn searched() -> usize {
        SEARCHED.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(tokens: &[(&str, bool)]) -> Vec<SpecialToken> {
        let tokens = (100..).zip(tokens);
        tokens
            .map(|(id, &(content, normalized))| SpecialToken {
                normalized,
                ..SpecialToken::new(content, id)
            })
            .collect()
    }

    fn all(contents: &[(&str, bool)], text: &str) -> Vec<(u32, usize, usize)> {
        let set = SpecialSet::new(&tokens(contents)).unwrap();
        let found: Vec<Found> = set.matches(text.as_bytes()).collect();
        let mut from = 0;
        for &next in &found {
            assert_eq!(set.find(text.as_bytes(), from), Some(next));
            from = next.end;
        }
        assert_eq!(set.find(text.as_bytes(), from), None);
        let found = found.iter();
        found.map(|next| (next.id, next.start, next.end)).collect()
    }

    #[test]
    fn leftmost_then_longest() {
        let contents = [("<a>", false), ("<a>bc", false), ("bcd", false)];
        assert_eq!(all(&contents, "x<a>bcd<a>b"), [(101, 1, 6), (100, 7, 10)]);
        assert!(all(&[], "<a>").is_empty());
    }

    #[test]
    fn normalized_tokens_are_looked_for_in_what_is_left() {
        let contents = [("ab", true), ("bc", false), ("d", true)];
        assert_eq!(
            all(&contents, "abcdab"),
            [(101, 1, 3), (102, 3, 4), (100, 4, 6)]
        );
    }

    #[test]
    fn every_byte_is_searched_once_by_each_stage() {
        let few = "na".repeat(20_000) + "<plain>";
        let gaps = "na na <plain>".repeat(5_000);
        for text in [few, gaps] {
            let set = SpecialSet::new(&tokens(&[("na", true), ("<plain>", false)])).unwrap();
            let before = work::searched();
            assert!(set.matches(text.as_bytes()).count() >= 15_000);
            assert!(work::searched() - before <= 2 * text.len());
        }
    }

    #[test]
    fn a_long_content_does_not_take_a_thousand_times_its_memory() {
        let content: String = ('!'..='~').cycle().take(1 << 20).collect();
        let set = SpecialSet::new(&tokens(&[(&content, false)])).unwrap();
        let stage = set.stages.as_deref().unwrap().plain.as_ref().unwrap();
        assert!(stage.finder.memory_usage() < 64 * content.len());
        let found = set.find(content.as_bytes(), 0).unwrap();
        assert_eq!((found.start, found.end), (0, content.len()));
    }

    /// The rule as its words say it: each stage at each place the longest.
    fn slow(contents: &[(&str, bool)], text: &str) -> Vec<(u32, usize, usize)> {
        let mut gaps = vec![(0, text.len())];
        let mut found = Vec::new();
        for stage in [false, true] {
            let mut left = Vec::new();
            for (mut start, end) in gaps {
                let mut at = start;
                while at < end {
                    let here = (100..)
                        .zip(contents)
                        .filter(|&(_, &(content, normalized))| {
                            normalized == stage
                                && text.as_bytes()[at..end].starts_with(content.as_bytes())
                        });
                    let Some((id, &(content, _))) =
                        here.max_by_key(|(_, (content, _))| content.len())
                    else {
                        at += 1;
                        continue;
                    };
                    found.push((id, at, at + content.len()));
                    left.push((start, at));
                    at += content.len();
                    start = at;
                }
                left.push((start, end));
            }
            gaps = left;
        }
        found.sort_by_key(|&(_, start, _)| start);
        found
    }

    proptest! {
        #[test]
        fn matches_are_those_of_the_rule(
            contents in prop::collection::btree_map("[ab<é]{1,4}", any::<bool>(), 0..6),
            text in "[ab<é]{0,40}",
        ) {
            let contents: Vec<(&str, bool)> =
                contents.iter().map(|(content, &normalized)| (content.as_str(), normalized)).collect();
            prop_assert_eq!(all(&contents, &text), slow(&contents, &text));
        }
    }
}
