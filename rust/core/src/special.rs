//! Special tokens: strings that stand for ids of their own, outside the merges.
//!
//! Text from a user must never become one by accident, so nothing is recognised
//! unless the caller passes a [`SpecialSet`] of what is allowed. Finding is
//! one Aho-Corasick pass, leftmost first and, where several start at one
//! place, the longest. That is Hugging Face's rule. tiktoken tries them there in
//! the order of a hash table, so it has no rule where one special token is a prefix of
//! another; everywhere else the two agree.
//!
//! Hugging Face looks for tokens marked `normalized: false` first, and for the others in
//! what lies between; with no normalizer that order is all the mark does, and
//! it is kept.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, Input, MatchKind};

use crate::vocab::GREATEST_ID;
use crate::{Error, Result};

/// One special token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialToken {
    /// The text it stands for.
    pub content: String,
    /// Its id.
    pub id: u32,
    /// Hugging Face's `special`: decoding with `skip_special_tokens` leaves it out.
    pub special: bool,
    /// Hugging Face's `normalized`: looked for after those that are not.
    pub normalized: bool,
}

impl SpecialToken {
    /// A special token in the usual sense.
    pub fn new(content: impl Into<String>, id: u32) -> Self {
        Self {
            content: content.into(),
            id,
            special: true,
            normalized: false,
        }
    }
}

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

/// The special tokens of a tokenizer, by id.
#[derive(Debug)]
pub(crate) struct SpecialTokens {
    tokens: Vec<SpecialToken>,
    all: SpecialSet,
}

impl SpecialTokens {
    /// Checks and sorts them. `ordinary` gives the bytes of an ordinary token.
    pub(crate) fn new<'a>(
        mut tokens: Vec<SpecialToken>,
        ordinary: impl Fn(u32) -> Option<&'a [u8]>,
    ) -> Result<Self> {
        tokens.sort_by(|a, b| (a.id, &a.content).cmp(&(b.id, &b.content)));
        for token in &tokens {
            if token.content.is_empty() {
                return Err(problem(token, "is empty"));
            }
            if token.id > GREATEST_ID {
                return Err(problem(token, "has too large an id"));
            }
            if ordinary(token.id).is_some_and(|bytes| bytes != token.content.as_bytes()) {
                return Err(problem(token, "has the id of another token"));
            }
        }
        if let Some(at) = (1..tokens.len()).find(|&at| tokens[at].id == tokens[at - 1].id) {
            return Err(problem(&tokens[at], "has the id of another special token"));
        }
        let mut contents: Vec<&SpecialToken> = tokens.iter().collect();
        contents.sort_by_key(|token| &token.content);
        if let Some(pair) = contents.windows(2).find(|p| p[0].content == p[1].content) {
            return Err(problem(pair[1], "is given twice, with two ids"));
        }
        let all = SpecialSet::new(&tokens)?;
        Ok(Self { tokens, all })
    }

    pub(crate) fn as_slice(&self) -> &[SpecialToken] {
        &self.tokens
    }

    pub(crate) fn all(&self) -> &SpecialSet {
        &self.all
    }

    pub(crate) fn by_id(&self, id: u32) -> Option<&SpecialToken> {
        let at = self.tokens.binary_search_by_key(&id, |token| token.id);
        Some(&self.tokens[at.ok()?])
    }

    pub(crate) fn by_content(&self, content: &str) -> Option<&SpecialToken> {
        self.tokens.iter().find(|token| token.content == content)
    }

    /// Whether the order of looking for them can matter: some are normalized, some not.
    pub(crate) fn has_two_stages(&self) -> bool {
        let normalized = self.tokens.iter().filter(|token| token.normalized).count();
        normalized != 0 && normalized != self.tokens.len()
    }
}

fn problem(token: &SpecialToken, problem: &'static str) -> Error {
    Error::SpecialToken {
        content: token.content.clone(),
        id: token.id,
        problem,
    }
}

/// Some of a tokenizer's special tokens, ready to be looked for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct SpecialSet {
    stages: Arc<Vec<Stage>>,
}

#[derive(Debug)]
struct Stage {
    finder: AhoCorasick,
    ids: Vec<u32>,
}

impl SpecialSet {
    /// The empty set: nothing is special.
    pub fn none() -> Self {
        Self::default()
    }

    pub(crate) fn new<'a>(tokens: impl IntoIterator<Item = &'a SpecialToken>) -> Result<Self> {
        let (late, first): (Vec<_>, Vec<_>) =
            tokens.into_iter().partition(|token| token.normalized);
        let mut stages = Vec::new();
        for tokens in [first, late] {
            if !tokens.is_empty() {
                stages.push(Stage::new(&tokens)?);
            }
        }
        Ok(Self {
            stages: Arc::new(stages),
        })
    }

    /// Whether nothing is special.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// The first special token at or after byte `from`.
    pub fn find(&self, text: &[u8], from: usize) -> Option<Found> {
        let mut found = None;
        let mut end = text.len();
        for stage in self.stages.iter() {
            if let Some(earlier) = stage.find(text, from, end) {
                end = earlier.start;
                found = Some(earlier);
            }
        }
        found
    }
}

impl Stage {
    fn new(tokens: &[&SpecialToken]) -> Result<Self> {
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(tokens.iter().map(|token| &token.content))
            .map_err(|_| problem(tokens[0], "and the others are too long together"))?;
        Ok(Self {
            finder,
            ids: tokens.iter().map(|token| token.id).collect(),
        })
    }

    fn find(&self, text: &[u8], from: usize, to: usize) -> Option<Found> {
        let found = self.finder.find(Input::new(text).range(from..to))?;
        Some(Found {
            id: self.ids[found.pattern().as_usize()],
            start: found.start(),
            end: found.end(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(tokens: &[(&str, bool)]) -> SpecialSet {
        let tokens: Vec<SpecialToken> = (100..)
            .zip(tokens)
            .map(|(id, &(content, normalized))| SpecialToken {
                normalized,
                ..SpecialToken::new(content, id)
            })
            .collect();
        SpecialSet::new(&tokens).unwrap()
    }

    fn all(set: &SpecialSet, text: &str) -> Vec<(u32, usize, usize)> {
        let (mut from, mut found) = (0, Vec::new());
        while let Some(next) = set.find(text.as_bytes(), from) {
            found.push((next.id, next.start, next.end));
            from = next.end;
        }
        found
    }

    #[test]
    fn leftmost_then_longest() {
        let set = set(&[("<a>", false), ("<a>bc", false), ("bcd", false)]);
        assert_eq!(all(&set, "x<a>bcd<a>b"), [(101, 1, 6), (100, 7, 10)]);
        assert!(all(&SpecialSet::none(), "<a>").is_empty());
    }

    #[test]
    fn normalized_tokens_are_looked_for_in_what_is_left() {
        let set = set(&[("ab", true), ("bc", false), ("d", true)]);
        assert_eq!(all(&set, "abcdab"), [(101, 1, 3), (102, 3, 4), (100, 4, 6)]);
    }

    #[test]
    fn impossible_ones_are_refused() {
        let refusal = |tokens: &[(&str, u32)]| {
            let tokens = tokens.iter().map(|&(c, id)| SpecialToken::new(c, id));
            SpecialTokens::new(tokens.collect(), |id| (id < 3).then_some(b"the".as_slice()))
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(refusal(&[("", 9)]).contains("is empty"));
        assert!(refusal(&[("x", 9), ("y", 9)]).contains("\"y\" (id 9) has the id of another"));
        assert!(refusal(&[("x", 9), ("x", 8)]).contains("given twice"));
        assert!(refusal(&[("x", 2)]).contains("has the id of another token"));
        assert!(refusal(&[("x", u32::MAX)]).contains("too large"));
    }
}
