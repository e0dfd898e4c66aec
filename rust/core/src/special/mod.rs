//! Added tokens: strings that stand for ids of their own, outside the merges.
//!
//! There are two kinds, as in Hugging Face's `tokenizers`:
//!
//! - *Special* tokens. Text from a user must never become one by accident, so none is recognised
//!   unless the caller passes a [`SpecialSet`] of what is allowed. What a call allows
//!   and what it refuses is decided by a [`SpecialPolicy`].
//! - The others are *always matched*: they are words that somebody added to the vocabulary. They need no
//!   permission and nothing refuses them. Every set of a tokenizer that has such tokens holds them, and
//!   an empty set stands for them alone.
//!
//! The rules of matching:
//!
//! - The leftmost token wins and, where several start at one place, the
//!   longest. That is Hugging Face's rule. tiktoken tries them there in the order of
//!   a hash table, so it has no rule where one special token is a prefix of another;
//!   everywhere else the two agree.
//! - Hugging Face looks for tokens marked `normalized: false` first, and for the
//!   others in what lies between: see `set`. What `single_word`, `lstrip` and `rstrip` do is in `stage`.
//! - A special token that is not allowed is as if it were not there. Only where a tokenizer also has
//!   tokens that are always matched, it still hides those that begin inside of it, as in `tokenizers` with
//!   `encode_special_tokens`.
//!
//! `SpecialTokens` owns the tokens of a tokenizer. Looking one up by id or by
//! content is a binary search. Matchers for some of them are built on demand, and the
//! last few are kept, because a caller usually names the same tokens in every call.

mod beside;
mod kept;
mod policy;
mod set;
mod stage;

pub use policy::{SpecialNames, SpecialPolicy};
pub use set::{Found, Matches, SpecialSet};
pub(crate) use stage::finder;

use std::collections::HashMap;

use crate::error::SpecialTokenProblem;
use crate::vocab::GREATEST_ID;
use crate::{Error, Result};
use kept::Kept;
use policy::{Others, Usual};
use set::Contents;

/// One added token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Hugging Face's fields
pub struct SpecialToken {
    /// The text it stands for.
    pub content: String,
    /// Its id.
    pub id: u32,
    /// Hugging Face's `special`: matched by permission only. Without it always.
    pub special: bool,
    /// Hugging Face's `normalized`: looked for after those that are not, in normalised text.
    pub normalized: bool,
    /// Matched only where no word character stands beside it.
    pub single_word: bool,
    /// Takes the white space before it.
    pub lstrip: bool,
    /// Takes the white space after it.
    pub rstrip: bool,
}

impl SpecialToken {
    /// A special token in the usual sense.
    pub fn new(content: impl Into<String>, id: u32) -> Self {
        Self {
            content: content.into(),
            id,
            special: true,
            normalized: false,
            single_word: false,
            lstrip: false,
            rstrip: false,
        }
    }

    /// Whether matching it is nothing but finding its content, by permission.
    pub(crate) fn is_plain(&self) -> bool {
        self.special && !(self.single_word || self.lstrip || self.rstrip)
    }
}

/// The added tokens of a tokenizer.
#[derive(Debug)]
pub(crate) struct SpecialTokens {
    /// By id.
    tokens: Vec<SpecialToken>,
    /// Places in `tokens`, by content.
    by_content: Vec<u32>,
    /// The ids of the special ones, in ascending order.
    special: Vec<u32>,
    contents: Contents,
    /// With all special tokens allowed.
    all: SpecialSet,
    /// With none allowed.
    always: SpecialSet,
    /// The contents of the special tokens, wherever they stand.
    strings: SpecialSet,
    usual: Usual,
    sets: Kept<Chosen, SpecialSet>,
    others: Kept<Vec<String>, Others>,
}

/// A part of the added tokens, by ids in ascending order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Chosen {
    /// These special tokens, and those that are always matched.
    Allowed(Vec<u32>),
    /// Their contents as mere strings.
    Strings(Vec<u32>),
    /// The contents of all special tokens but these.
    StringsBut(Vec<u32>),
}

impl SpecialTokens {
    /// Checks and sorts them. `ordinary` gives the bytes of an ordinary token, and `normalize` what the
    /// normalizer makes of a content.
    pub(crate) fn new<'a>(
        mut tokens: Vec<SpecialToken>,
        ordinary: impl Fn(u32) -> Option<&'a [u8]>,
        normalize: impl Fn(&str) -> String,
    ) -> Result<Self> {
        tokens.sort_by(|a, b| (a.id, &a.content).cmp(&(b.id, &b.content)));
        for token in &tokens {
            if token.content.is_empty() {
                return Err(refuse(token, SpecialTokenProblem::Empty));
            }
            if token.id > GREATEST_ID {
                return Err(refuse(token, SpecialTokenProblem::IdTooLarge));
            }
            if ordinary(token.id).is_some_and(|bytes| bytes != token.content.as_bytes()) {
                return Err(refuse(token, SpecialTokenProblem::IdOfToken));
            }
        }
        if let Some(at) = (1..tokens.len()).find(|&at| tokens[at].id == tokens[at - 1].id) {
            return Err(refuse(&tokens[at], SpecialTokenProblem::IdOfSpecialToken));
        }
        // Distinct ids up to `GREATEST_ID`: the places fit in 32 bits.
        let mut by_content: Vec<u32> = (0..tokens.len() as u32).collect();
        let content = |at: u32| &tokens[at as usize].content;
        by_content.sort_by_key(|&at| content(at));
        let repeated = by_content
            .windows(2)
            .find(|pair| content(pair[0]) == content(pair[1]));
        if let Some(pair) = repeated {
            let token = &tokens[pair[1] as usize];
            return Err(refuse(token, SpecialTokenProblem::Repeated));
        }
        let contents = normalized_contents(&tokens, normalize)?;
        let all = SpecialSet::new(&tokens, &contents)?;
        let special = tokens.iter().filter(|token| token.special);
        let special: Vec<u32> = special.map(|token| token.id).collect();
        let always = if special.len() == tokens.len() {
            SpecialSet::none()
        } else {
            all.with_allowed(Vec::new())
        };
        let one_stage = || {
            tokens
                .windows(2)
                .all(|two| two[0].normalized == two[1].normalized)
        };
        let strings =
            if tokens.iter().all(SpecialToken::is_plain) && one_stage() && contents.is_empty() {
                all.clone()
            } else {
                strings(tokens.iter().filter(|token| token.special))?
            };
        Ok(Self {
            usual: Usual::new(&all, &always),
            all,
            always,
            strings,
            special,
            contents,
            tokens,
            by_content,
            sets: Kept::default(),
            others: Kept::default(),
        })
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
        let token = |at: u32| &self.tokens[at as usize];
        let at = self
            .by_content
            .binary_search_by(|&at| token(at).content.as_str().cmp(content));
        Some(token(self.by_content[at.ok()?]))
    }

    /// What is always matched: what there is when nothing is allowed.
    pub(crate) fn always(&self) -> &SpecialSet {
        &self.always
    }

    /// Whether the order of looking for them can matter: some are normalized, some not.
    pub(crate) fn has_two_stages(&self) -> bool {
        let normalized = self.tokens.iter().filter(|token| token.normalized).count();
        normalized != 0 && normalized != self.tokens.len()
    }

    /// The named ones of the special tokens, with those that are always matched, ready to be looked for.
    pub(crate) fn named<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<SpecialSet> {
        self.allowed(self.ids(names, true))
    }

    /// The ids of those of the named tokens that there are, in ascending order, each once.
    fn ids<'a>(&self, names: impl IntoIterator<Item = &'a str>, only_special: bool) -> Vec<u32> {
        let known = names.into_iter().filter_map(|name| self.by_content(name));
        let known = known.filter(|token| token.special || !only_special);
        let mut ids: Vec<u32> = known.map(|token| token.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// What is looked for when these special tokens are allowed.
    fn allowed(&self, ids: Vec<u32>) -> Result<SpecialSet> {
        if ids.is_empty() {
            return Ok(self.always.clone());
        }
        if ids.len() == self.special.len() {
            return Ok(self.all.clone());
        }
        if !self.always.is_empty() {
            return Ok(self.all.with_allowed(ids));
        }
        self.set(Chosen::Allowed(ids))
    }

    fn set(&self, chosen: Chosen) -> Result<SpecialSet> {
        self.sets.get_or_build(chosen, |chosen| match chosen {
            Chosen::Allowed(ids) => {
                let tokens = ids.iter().filter_map(|&id| self.by_id(id));
                SpecialSet::new(tokens, &self.contents)
            }
            Chosen::Strings(ids) => strings(ids.iter().filter_map(|&id| self.by_id(id))),
            Chosen::StringsBut(ids) => {
                let tokens = self.tokens.iter().filter(|token| token.special);
                strings(tokens.filter(|token| ids.binary_search(&token.id).is_err()))
            }
        })
    }
}

/// What the normalizer makes of the contents that it changes.
fn normalized_contents(
    tokens: &[SpecialToken],
    normalize: impl Fn(&str) -> String,
) -> Result<Contents> {
    let mut contents = Contents::new();
    let mut known = HashMap::new();
    for token in tokens.iter().filter(|token| token.normalized) {
        let content = normalize(&token.content);
        if !content.is_empty() && known.insert(content.clone(), token.id).is_some() {
            return Err(refuse(token, SpecialTokenProblem::NormalizedAlike));
        }
        if content != token.content {
            contents.insert(token.id, content);
        }
    }
    Ok(contents)
}

/// The contents of tokens, whatever the tokens' options are.
fn strings<'a>(tokens: impl Iterator<Item = &'a SpecialToken>) -> Result<SpecialSet> {
    let tokens = tokens.map(|token| SpecialToken::new(token.content.clone(), token.id));
    SpecialSet::new(&tokens.collect::<Vec<_>>(), &Contents::new())
}

fn refuse(token: &SpecialToken, problem: SpecialTokenProblem) -> Error {
    Error::SpecialToken {
        content: token.content.clone(),
        id: token.id,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn tokens(contents: &[&str]) -> SpecialTokens {
        let tokens = (100..).zip(contents);
        let tokens = tokens.map(|(id, &content)| SpecialToken::new(content, id));
        SpecialTokens::new(tokens.collect(), |_| None, str::to_owned).unwrap()
    }

    pub(super) fn many(count: usize) -> SpecialTokens {
        let tokens = (0..count).map(|n| SpecialToken::new(format!("<|{n}|>"), n as u32));
        SpecialTokens::new(tokens.collect(), |_| None, str::to_owned).unwrap()
    }

    #[test]
    fn impossible_ones_are_refused() {
        let refusal = |tokens: &[(&str, u32)]| {
            let tokens = tokens.iter().map(|&(c, id)| SpecialToken::new(c, id));
            let the = |id| (id < 3).then_some(b"the".as_slice());
            SpecialTokens::new(tokens.collect(), the, str::to_owned)
                .map(|_| ())
                .unwrap_err()
                .to_string()
        };
        assert!(refusal(&[("", 9)]).contains("is empty"));
        assert!(refusal(&[("x", 9), ("y", 9)]).contains("\"y\" (id 9) has the id of another"));
        assert!(refusal(&[("x", 9), ("x", 8)]).contains("\"x\" (id 9) is given twice"));
        assert!(refusal(&[("x", 2)]).contains("has the id of another token"));
        assert!(refusal(&[("x", u32::MAX)]).contains("too large"));
    }

    #[test]
    fn contents_that_the_normalizer_makes_alike_are_refused() {
        let new = |contents: &[&str], normalized| {
            let tokens = (100..).zip(contents);
            let tokens = tokens.map(|(id, &content)| SpecialToken {
                normalized,
                ..SpecialToken::new(content, id)
            });
            SpecialTokens::new(tokens.collect(), |_| None, str::to_lowercase)
        };
        let error = new(&["<A>", "<a>"], true).unwrap_err().to_string();
        assert!(error.contains("\"<a>\" (id 101) is the same as"), "{error}");
        assert!(new(&["<A>", "<a>"], false).is_ok());
        let tokens = new(&["<A>"], true).unwrap();
        assert!(tokens.all().after_normalizing(b"<a>").next().is_some());
    }

    #[test]
    fn found_by_id_and_by_content() {
        let tokens = tokens(&["<b>", "<a>", "<c>"]);
        let ids = |names: &[&str]| tokens.ids(names.iter().copied(), true);
        assert_eq!(ids(&["<c>", "<b>", "<x>", "", "<b>"]), [100, 102]);
        assert_eq!(tokens.by_id(101).unwrap().content, "<a>");
        assert!(tokens.by_id(99).is_none() && tokens.by_id(103).is_none());
    }

    /// Comparing every name with every token would be 10^10 comparisons of strings.
    #[test]
    fn a_name_is_found_without_comparing_it_with_all() {
        let tokens = many(100_000);
        let names: Vec<String> = (0..100_000).map(|n| format!("<|{n}|>")).collect();
        let ids = tokens.ids(names.iter().map(String::as_str), true);
        assert!(ids.iter().copied().eq(0..100_000));
    }

    #[test]
    fn the_same_names_build_one_matcher() {
        let tokens = tokens(&["<a>", "<b>", "<c>"]);
        let built = set::work::built();
        for _ in 0..3 {
            let set = tokens.named(["<b>", "<a>", "<a>"]).unwrap();
            assert_eq!(set.find(b"<c><b>").unwrap().id, 101);
            let rest = tokens.set(Chosen::StringsBut(vec![101])).unwrap();
            assert_eq!(rest.find(b"<b><c>").unwrap().id, 102);
        }
        assert_eq!(set::work::built() - built, 2);
        assert!(tokens.named(["<d>"]).unwrap().is_empty());
        tokens.named(["<a>", "<b>", "<c>"]).unwrap();
        assert_eq!(set::work::built() - built, 2);
    }
}
