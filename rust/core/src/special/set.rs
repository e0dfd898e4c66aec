//! Looking for added tokens in text, in two stages.
//!
//! Tokens that are not `normalized` are looked for first, in the whole text. The others are looked for
//! in each gap between those, as if the gap were a text by itself: `single_word`, `lstrip` and `rstrip`
//! do not see beyond it. With no normalizer that order is all that `normalized` means; with one, the
//! gaps are normalised before the second stage, and so are the contents that it looks for.
//!
//! Cost of all matches of a text: every byte is searched once by each stage. A match
//! of the first stage is remembered until the iterator passes it; the second stage
//! only searches the gaps.

use std::collections::HashMap;
use std::iter::FusedIterator;
use std::sync::Arc;

use super::SpecialToken;
use super::stage::{Stage, StageMatches};
use crate::Result;

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

/// Some of a tokenizer's added tokens, ready to be looked for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SpecialSet {
    /// Without tokens there is nothing.
    stages: Option<Arc<Stages>>,
    /// The special tokens that are found, by ids in ascending order; none: all of them.
    allowed: Option<Arc<[u32]>>,
}

/// What the tokens' contents are after the normalizer, where it changes them; by id.
pub(super) type Contents = HashMap<u32, String>;

/// Tokens that are looked for first, and those that are looked for in the gaps.
#[derive(Debug)]
struct Stages {
    plain: Option<Stage>,
    normalized: Option<Stage>,
    reach_over_cuts: bool,
    strip: bool,
}

impl SpecialSet {
    /// The empty set. Tokens that are always matched are matched under it too.
    pub fn none() -> Self {
        Self::default()
    }

    pub(super) fn new<'a>(
        tokens: impl IntoIterator<Item = &'a SpecialToken>,
        contents: &'a Contents,
    ) -> Result<Self> {
        #[cfg(test)]
        work::count_built();
        let content = |token: &'a SpecialToken| match contents.get(&token.id) {
            Some(content) if token.normalized => content.as_str(),
            _ => token.content.as_str(),
        };
        let tokens = tokens.into_iter().map(|token| (content(token), token));
        // The normalizer may leave nothing of a content; then it is never found.
        let tokens = tokens.filter(|(content, _)| !content.is_empty());
        let (normalized, plain): (Vec<_>, Vec<_>) = tokens.partition(|(_, token)| token.normalized);
        if plain.is_empty() && normalized.is_empty() {
            return Ok(Self::none());
        }
        let all = || plain.iter().chain(&normalized);
        let strips = |token: &SpecialToken| token.lstrip || token.rstrip;
        let reaches = |content: &str, token| strips(token) || may_stand_on_a_cut(content);
        let no_options = all().all(|(_, token)| token.is_plain());
        let stages = Stages {
            reach_over_cuts: all().any(|&(content, token)| reaches(content, token)),
            strip: all().any(|(_, token)| strips(token)),
            plain: Stage::new(&plain, no_options)?,
            normalized: Stage::new(&normalized, no_options)?,
        };
        Ok(Self {
            stages: Some(Arc::new(stages)),
            allowed: None,
        })
    }

    /// The same tokens, of which the special ones are passed over unless their ids are in `allowed`,
    /// which ascends. Nothing is built.
    pub(super) fn with_allowed(&self, allowed: Vec<u32>) -> Self {
        Self {
            stages: self.stages.clone(),
            allowed: Some(allowed.into()),
        }
    }

    /// Whether there are no tokens in the set.
    pub fn is_empty(&self) -> bool {
        self.stages.is_none()
    }

    /// Whether a token may hold or take white space where long texts are cut.
    pub(crate) fn may_reach_over_cuts(&self) -> bool {
        let stages = self.stages.as_deref();
        stages.is_some_and(|stages| stages.reach_over_cuts)
    }

    /// Whether a token may take white space beside it, and so be longer in a text than its content.
    pub(crate) fn may_strip(&self) -> bool {
        let stages = self.stages.as_deref();
        stages.is_some_and(|stages| stages.strip)
    }

    /// The tokens in a text, from left to right.
    ///
    /// What lies between the end of one and the start of the next is the rest of the text. They do not
    /// overlap, but that a token may be found in the white space which the one before took.
    pub fn matches<'a>(&'a self, text: &'a [u8]) -> Matches<'a> {
        let stages = self.stages.as_deref();
        Matches {
            set: self,
            text,
            first: self.before_normalizing(text),
            has_second: stages.is_some_and(|stages| stages.normalized.is_some()),
            gap: None,
            ahead: None,
            ended: false,
        }
    }

    /// The first token of a text.
    ///
    /// To get all of them call [`SpecialSet::matches`], which searches nothing twice.
    pub fn find(&self, text: &[u8]) -> Option<Found> {
        self.matches(text).next()
    }

    /// The first stage alone: the tokens that are looked for in the text as it is given.
    pub(crate) fn before_normalizing<'a>(&'a self, text: &'a [u8]) -> StageMatches<'a> {
        self.stage(|stages| stages.plain.as_ref(), text)
    }

    /// The second stage alone: the tokens that are looked for in a gap after it was normalised.
    pub(crate) fn after_normalizing<'a>(&'a self, gap: &'a [u8]) -> StageMatches<'a> {
        self.stage(|stages| stages.normalized.as_ref(), gap)
    }

    fn stage<'a>(
        &'a self,
        stage: impl FnOnce(&'a Stages) -> Option<&'a Stage>,
        text: &'a [u8],
    ) -> StageMatches<'a> {
        match self.stages.as_deref().and_then(stage) {
            Some(stage) => stage.matches(text, self.allowed.as_deref()),
            None => StageMatches::none(text),
        }
    }
}

/// Whether a content may stand where a long text is cut: before a single space between two words,
/// or after a single line feed. White space of several characters stands at neither place.
fn may_stand_on_a_cut(content: &str) -> bool {
    let all_white = content.chars().all(char::is_whitespace);
    content.contains([' ', '\n']) && !(all_white && content.chars().nth(1).is_some())
}

/// The iterator that [`SpecialSet::matches`] returns.
#[derive(Debug, Clone)]
pub struct Matches<'a> {
    set: &'a SpecialSet,
    text: &'a [u8],
    first: StageMatches<'a>,
    has_second: bool,
    /// What the second stage still finds in the present gap, and where the gap begins.
    gap: Option<(StageMatches<'a>, usize)>,
    /// What comes after the gap.
    ahead: Option<Found>,
    ended: bool,
}

impl Iterator for Matches<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if !self.has_second {
            return self.first.next();
        }
        loop {
            if let Some((gap, begin)) = &mut self.gap {
                if let Some(found) = gap.next() {
                    return Some(Found {
                        start: found.start + *begin,
                        end: found.end + *begin,
                        ..found
                    });
                }
                self.gap = None;
            }
            if let Some(found) = self.ahead.take() {
                return Some(found);
            }
            if self.ended {
                return None;
            }
            let begin = self.first.end();
            self.ahead = self.first.next();
            self.ended = self.ahead.is_none();
            let end = self.ahead.map_or(self.text.len(), |found| found.start);
            if begin < end {
                self.gap = Some((self.set.after_normalizing(&self.text[begin..end]), begin));
            }
        }
    }
}

impl FusedIterator for Matches<'_> {}

/// Counts of work, by which tests tell linear from quadratic.
#[cfg(test)]
pub(super) mod work {
    use std::cell::Cell;

    pub(in crate::special) use super::super::stage::work::searched;

    thread_local! {
        static BUILT: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count_built() {
        BUILT.set(BUILT.get() + 1);
    }

    /// Sets of tokens for which matchers were built.
    pub(in crate::special) fn built() -> usize {
        BUILT.get()
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

    fn set(tokens: &[SpecialToken]) -> SpecialSet {
        SpecialSet::new(tokens, &Contents::new()).unwrap()
    }

    fn all(contents: &[(&str, bool)], text: &str) -> Vec<(u32, usize, usize)> {
        found(&set(&tokens(contents)), text)
    }

    fn found(set: &SpecialSet, text: &str) -> Vec<(u32, usize, usize)> {
        let found: Vec<Found> = set.matches(text.as_bytes()).collect();
        assert_eq!(set.find(text.as_bytes()), found.first().copied());
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
    fn the_stages_can_be_asked_apart() {
        let mut tokens = tokens(&[("<A>", true), ("<p>", false), ("Q", true)]);
        tokens[0].lstrip = true;
        let contents = Contents::from([(100, "<a>".to_owned()), (102, String::new())]);
        let set = SpecialSet::new(&tokens, &contents).unwrap();
        let ids = |matches: StageMatches<'_>| matches.map(|f| (f.id, f.start)).collect::<Vec<_>>();
        assert_eq!(ids(set.before_normalizing(b"<A><a><p>")), [(101, 6)]);
        assert_eq!(ids(set.after_normalizing(b"<A> <a><p>Q")), [(100, 3)]);
        assert!(ids(SpecialSet::none().after_normalizing(b"<A>")).is_empty());
    }

    /// (options of the tokens "<a>" and "-", text, what is found)
    #[test]
    fn options_are_those_of_tokenizers() {
        let with = |change: fn(&mut SpecialToken)| {
            let mut tokens = tokens(&[("<a>", false), ("-", false)]);
            change(&mut tokens[0]);
            set(&tokens)
        };
        let lstrip = with(|token| token.lstrip = true);
        assert_eq!(
            found(&lstrip, "x \u{3000}<a> <a>"),
            [(100, 1, 8), (100, 8, 12)]
        );
        assert_eq!(found(&lstrip, "- <a>"), [(101, 0, 1), (100, 1, 5)]);
        let rstrip = with(|token| token.rstrip = true);
        assert_eq!(
            found(&rstrip, " <a> \n-<a>"),
            [(100, 1, 6), (101, 6, 7), (100, 7, 10)]
        );
        let word = with(|token| token.single_word = true);
        assert_eq!(
            found(&word, "<a>é<a>-<a>_ <a>"),
            [(101, 8, 9), (100, 14, 17)]
        );
    }

    /// `tokenizers` panics where a token would end before the white space that another took.
    #[test]
    fn tokens_in_white_space_that_is_gone() {
        let mut list = tokens(&[("<a>", false), (" ", false), ("\n!", false)]);
        (list[0].rstrip, list[1].lstrip, list[2].lstrip) = (true, true, true);
        assert_eq!(found(&set(&list), "<a> "), [(100, 0, 4)]);
        assert_eq!(found(&set(&list), "<a>  \n!"), [(100, 0, 6), (102, 6, 7)]);
        list[1].rstrip = true;
        assert_eq!(found(&set(&list), "   "), [(101, 0, 3)]);
    }

    /// A token in the white space that another took, and one of the first stage beside a gap.
    #[test]
    fn a_gap_is_a_text_by_itself() {
        let mut list = tokens(&[("<a>", false), ("  ", false), ("b", true)]);
        list[0].rstrip = true;
        assert_eq!(found(&set(&list), "<a>   x"), [(100, 0, 6), (101, 3, 5)]);
        list[2].single_word = true;
        list[2].lstrip = true;
        assert_eq!(
            found(&set(&list), "x b<a>b<a>xb"),
            [(102, 1, 3), (100, 3, 6), (102, 6, 7), (100, 7, 10)]
        );
    }

    #[test]
    fn special_tokens_that_are_not_allowed_are_passed_over_with_their_text() {
        let mut list = tokens(&[("<a>", false), ("a>", false), ("<b>", true)]);
        list[1].special = false;
        let all = set(&list);
        let none = all.with_allowed(Vec::new());
        assert_eq!(found(&none, "<a>a><b>"), [(101, 3, 5)]);
        let one = all.with_allowed(vec![102]);
        assert_eq!(found(&one, "<a>a><b>"), [(101, 3, 5), (102, 5, 8)]);
    }

    #[test]
    fn every_byte_is_searched_once_by_each_stage() {
        let few = "na".repeat(20_000) + "<plain>";
        let gaps = "na na <plain>".repeat(5_000);
        for text in [few, gaps] {
            let set = set(&tokens(&[("na", true), ("<plain>", false)]));
            let before = work::searched();
            assert!(set.matches(text.as_bytes()).count() >= 15_000);
            assert!(work::searched() - before <= 2 * text.len());
        }
    }

    #[test]
    fn white_space_is_looked_at_once_however_many_tokens_take_it() {
        let mut list = tokens(&[(" ", false)]);
        list[0].rstrip = true;
        let text = " ".repeat(20_000);
        let before = work::searched();
        assert_eq!(set(&list).matches(text.as_bytes()).count(), text.len());
        assert!(work::searched() - before <= 2 * text.len());
    }

    /// A DFA of 8,000 times x takes 2 s to build, and one of 40,000 over a minute.
    #[test]
    fn a_long_content_gets_no_dfa() {
        use aho_corasick::AhoCorasickKind::{ContiguousNFA, DFA};
        let finder_of = |contents: &[&str]| super::super::finder(contents.iter().copied()).unwrap();
        for length in [300, 8_000, 80_000] {
            let content = "x".repeat(length);
            assert_eq!(finder_of(&["y", &content]).kind(), ContiguousNFA);
        }
        assert_eq!(finder_of(&["<|a|>", "<|b|>"]).kind(), DFA);
    }

    #[test]
    fn a_long_content_does_not_take_a_thousand_times_its_memory() {
        let content: String = ('!'..='~').cycle().take(1 << 20).collect();
        let set = set(&tokens(&[(&content, false)]));
        let stage = set.stages.as_deref().unwrap().plain.as_ref().unwrap();
        assert!(stage.memory_usage() < 64 * content.len());
        let found = set.find(content.as_bytes()).unwrap();
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
