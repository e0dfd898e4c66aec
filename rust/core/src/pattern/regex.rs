//! Splitting by any other regular expression, in linear time per match.
//!
//! `regex-automata` searches with lazily built automata and never backtracks.
//! It has no look-ahead, so `\s+(?!\S)` is searched for as `\s+` and put right
//! afterwards: the match is maximal, hence it stands if it reaches the end of
//! the text, gives back its last character if it has two, and fails otherwise;
//! then the alternatives after it are tried at the same place. That is all a
//! backtracking engine would do.
//!
//! This is also the slow twin of the scanner: the property tests hold them
//! equal for every named pattern.

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};

use super::ast::Alternative;
use crate::{Error, Result};

/// A compiled pattern outside the scanner's grammar.
#[derive(Debug)]
pub(crate) struct RegexSplit {
    /// First all alternatives, then those after each look-ahead.
    tiers: Vec<Tier>,
}

#[derive(Debug)]
struct Tier {
    regex: Regex,
    /// For each alternative that is a look-ahead, the tier of those after it.
    after: Vec<Option<usize>>,
}

/// Room for the lazily built automaton: Unicode classes have many states.
const AUTOMATON_BYTES: usize = 16 << 20;

impl RegexSplit {
    pub(crate) fn new(pattern: &str, alternatives: &[Alternative]) -> Result<Self> {
        let fail = |reason: String| Error::UnsupportedPattern {
            pattern: pattern.to_owned(),
            at: 0,
            reason,
        };
        let mut tiers = Vec::new();
        let mut rest = alternatives;
        loop {
            tiers.push(Tier::new(rest, tiers.len()).map_err(fail)?);
            let Some(next) = rest.iter().position(Alternative::is_look_ahead) else {
                break;
            };
            rest = &rest[next + 1..];
        }
        Ok(Self { tiers })
    }

    /// The leftmost match at or after `from`.
    fn find(&self, text: &[u8], mut from: usize) -> Option<(usize, usize)> {
        while from < text.len() {
            let found = self.tiers[0]
                .regex
                .search(&Input::new(text).range(from..))?;
            let alternative = found.pattern().as_usize();
            let (start, end) = (found.start(), found.end());
            if let Some(end) = self.settle(text, 0, alternative, start, end) {
                return Some((start, end));
            }
            from = start + char_len(text[start]);
        }
        None
    }

    /// The end of the match once its look-ahead has been looked at.
    fn settle(
        &self,
        text: &[u8],
        tier: usize,
        alternative: usize,
        start: usize,
        end: usize,
    ) -> Option<usize> {
        let Some(next) = self.tiers[tier].after[alternative] else {
            return Some(end);
        };
        if end == text.len() {
            return Some(end);
        }
        let shorter = last_char_start(text, end);
        if shorter > start {
            return Some(shorter);
        }
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        let found = self.tiers[next].regex.search(&input)?;
        self.settle(text, next, found.pattern().as_usize(), start, found.end())
    }

    /// Writes the ends of the pieces that follow `start`, in order, and returns
    /// how many; zero only at the end of the text.
    pub(crate) fn fill(&self, text: &[u8], start: usize, ends: &mut [usize]) -> usize {
        let mut filled = 0;
        let mut at = start;
        while at < text.len() && filled < ends.len() {
            let (found, end) = self.find(text, at).unwrap_or((text.len(), text.len()));
            for boundary in [found, end] {
                if boundary > at && filled < ends.len() {
                    ends[filled] = boundary;
                    filled += 1;
                    at = boundary;
                }
            }
        }
        filled
    }
}

impl Tier {
    fn new(alternatives: &[Alternative], index: usize) -> Result<Self, String> {
        let expressions: Vec<_> = alternatives.iter().map(Alternative::hir).collect();
        if expressions
            .iter()
            .any(|hir| hir.properties().minimum_len() == Some(0))
        {
            return Err("it matches the empty text, so it does not say where to split".to_owned());
        }
        let regex = Regex::builder()
            .configure(Regex::config().hybrid_cache_capacity(AUTOMATON_BYTES))
            .build_many_from_hir(&expressions)
            .map_err(|error| error.to_string())?;
        let mut look_aheads = 0;
        let after = alternatives
            .iter()
            .map(|alternative| {
                alternative.is_look_ahead().then(|| {
                    look_aheads += 1;
                    index + look_aheads
                })
            })
            .collect();
        Ok(Self { regex, after })
    }
}

fn char_len(first: u8) -> usize {
    match first {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    }
}

fn last_char_start(text: &[u8], end: usize) -> usize {
    let continuation = |byte: &u8| byte & 0xC0 == 0x80;
    let trailing = text[..end]
        .iter()
        .rev()
        .take_while(|byte| continuation(byte));
    end - 1 - trailing.count()
}
