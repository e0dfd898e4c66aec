//! Vocabularies: tokens, merges, and the two rules by which files mean them.
//!
//! *Merge lists* (Hugging Face, GPT-2's `merges.txt`, our own training) name the
//! pairs and their order. *Ranks* (tiktoken) name only tokens in order; `ranks`
//! turns them into pairs. After that both are the same thing: a table from
//! pairs to priorities, and one flag, `whole_first`: tiktoken, and Hugging
//! Face's `ignore_merges`, look a whole pre-token up before they merge.
//!
//! Invariants of a built [`Vocab`]: all 256 bytes have tokens; tokens are
//! distinct and not empty; ids may have holes; every merge joins two tokens to
//! a third; no pair is merged twice. A vocabulary that would break one is an
//! error, so nothing that uses it checks again. Tokens that no merge
//! reaches are kept: they decode, and with `whole_first` they also encode.

mod ranks;
mod tokens;
mod used;

pub use tokens::{GREATEST_ID, TOKEN_BYTES};

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::error::ShrinkProblem;
use crate::merge::{Buffers, MergeRules, NumberedMerge, merge_piece};
use crate::{Error, Result};
use tokens::Tokens;

/// Two tokens and the token that they make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Merge {
    /// The left token.
    pub left: u32,
    /// The right token.
    pub right: u32,
    /// Their bytes joined.
    pub id: u32,
}

/// A byte-level BPE vocabulary. See the module's invariants.
#[derive(Debug)]
pub struct Vocab {
    tokens: Tokens,
    merges: Vec<Merge>,
    rules: MergeRules,
    whole_first: bool,
    whole_first_matters: OnceLock<bool>,
}

impl Vocab {
    /// The numbering of our own training: byte `b` has id `b`, merge `k` makes id `256 + k`.
    pub fn from_merges(merges: &[(u32, u32)]) -> Result<Self> {
        let bytes = std::array::from_fn(|byte| byte as u32);
        Self::from_numbered_merges(&bytes, merges, 256.., false)
    }

    /// Any numbering: the ids of the 256 bytes, and of what each merge makes.
    pub(crate) fn from_numbered_merges(
        byte_ids: &[u32; 256],
        merges: &[(u32, u32)],
        made: impl IntoIterator<Item = u32>,
        whole_first: bool,
    ) -> Result<Self> {
        let mut tokens = Tokens::with_capacity(256 + merges.len());
        for (byte, &id) in (0..=u8::MAX).zip(byte_ids) {
            tokens.push(id, &[byte])?;
        }
        let mut named = Vec::with_capacity(merges.len());
        for (merge, (&(left, right), id)) in merges.iter().zip(made).enumerate() {
            check_parts(&tokens, merge, left, right)?;
            // A pair that is merged twice would make one token twice, an error too.
            tokens.push_joined(id, left, right)?;
            named.push(Merge { left, right, id });
        }
        let rules = rules_of(&tokens, &named)?;
        Ok(Self::of(tokens, named, rules, whole_first))
    }

    /// Tokens with ids of their own and a merge list over these ids, Hugging Face's way.
    ///
    /// `whole_first` is Hugging Face's `ignore_merges`.
    pub fn from_tokens<'a>(
        entries: impl IntoIterator<Item = (u32, &'a [u8])>,
        merges: &[(u32, u32)],
        whole_first: bool,
    ) -> Result<Self> {
        Self::from_lists(collect(entries)?, merges, whole_first)
    }

    /// Tokens whose ids are their ranks, tiktoken's way.
    pub fn from_ranks<'a>(entries: impl IntoIterator<Item = (u32, &'a [u8])>) -> Result<Self> {
        let tokens = collect(entries)?;
        let recovered = ranks::recover(&tokens)?;
        let vocab = Self::of(tokens, recovered.merges, recovered.rules, true);
        if let Some(all) = recovered.all_are_reached {
            vocab.whole_first_matters.get_or_init(|| !all);
        }
        Ok(vocab)
    }

    fn from_lists(tokens: Tokens, merges: &[(u32, u32)], whole_first: bool) -> Result<Self> {
        let mut named = Vec::with_capacity(merges.len());
        for (merge, &(left, right)) in merges.iter().enumerate() {
            check_parts(&tokens, merge, left, right)?;
            let id = tokens
                .id(&tokens.joined(left, right))
                .ok_or(Error::MergeWithoutToken { merge, left, right })?;
            named.push(Merge { left, right, id });
        }
        let mut rules = rules_of(&tokens, &named)?;
        // Without the merges that are never used the rules do the same, and each token has one.
        if let Cow::Owned(used) = used::used(&named, &rules, &tokens) {
            rules = rules_of(&tokens, &used)?;
        }
        Ok(Self::of(tokens, named, rules, whole_first))
    }

    fn of(tokens: Tokens, merges: Vec<Merge>, rules: MergeRules, whole_first: bool) -> Self {
        Self {
            tokens,
            merges,
            rules,
            whole_first,
            whole_first_matters: OnceLock::new(),
        }
    }

    /// The bytes of a token.
    #[inline]
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        self.tokens.get(id)
    }

    /// The token that is exactly these bytes.
    pub fn id(&self, bytes: &[u8]) -> Option<u32> {
        self.tokens.id(bytes)
    }

    /// All tokens in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> + Clone {
        self.tokens.iter()
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.tokens.count()
    }

    /// Never: a vocabulary has at least the 256 bytes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// One more than the greatest id.
    pub fn limit(&self) -> u32 {
        self.tokens.limit()
    }

    /// The merges in the order in which they apply.
    pub fn merges(&self) -> &[Merge] {
        &self.merges
    }

    /// The ids of the single bytes.
    pub fn byte_ids(&self) -> &[u32; 256] {
        self.rules.byte_ids()
    }

    /// Whether a whole pre-token that is a token is taken as that token without merging.
    pub fn whole_first(&self) -> bool {
        self.whole_first
    }

    /// Whether `whole_first` changes any result: it does when some token is not
    /// what merging its own bytes gives. Costs one merge of every token, once.
    pub fn whole_first_matters(&self) -> bool {
        *self.whole_first_matters.get_or_init(|| {
            let mut buffers = Buffers::default();
            let mut parts = Vec::new();
            self.iter()
                .any(|(id, bytes)| !self.is_reached(id, bytes, &mut buffers, &mut parts))
        })
    }

    /// Notes that merging the bytes of every token gives that token, for a vocabulary of which
    /// that was found out before.
    pub(crate) fn all_tokens_are_reached(&self) {
        self.whole_first_matters.get_or_init(|| false);
    }

    /// Whether a whole pre-token must be looked up before it is merged, as far as is known
    /// without merging every token.
    pub(crate) fn whole_first_may_matter(&self) -> bool {
        self.whole_first && self.whole_first_matters.get() != Some(&false)
    }

    /// Whether looking up a part of a pre-token, cut off between two characters beyond
    /// ASCII, gives what merging it gives.
    pub(crate) fn parts_may_be_looked_up(&self) -> bool {
        if !self.whole_first_may_matter() {
            return true;
        }
        let mut buffers = Buffers::default();
        let mut parts = Vec::new();
        let beyond_ascii = |bytes: &[u8]| bytes.iter().any(|&byte| byte >= 0x80);
        self.iter()
            .filter(|(_, bytes)| beyond_ascii(bytes))
            .all(|(id, bytes)| self.is_reached(id, bytes, &mut buffers, &mut parts))
    }

    fn is_reached(
        &self,
        id: u32,
        bytes: &[u8],
        buffers: &mut Buffers,
        parts: &mut Vec<u32>,
    ) -> bool {
        parts.clear();
        let merged = merge_piece(&self.rules, bytes, buffers, parts);
        merged.is_ok() && matches!(parts[..], [symbol] if self.rules.id(symbol) == id)
    }

    /// The merges as pairs, if the numbering is that of our own training; they
    /// are then what training can go on from.
    pub fn trained_merges(&self) -> Option<Vec<(u32, u32)>> {
        let bytes = (0..).zip(self.byte_ids()).all(|(byte, &id)| byte == id);
        let merges = (256..).zip(&self.merges).all(|(id, merge)| merge.id == id);
        (bytes && merges && self.len() == 256 + self.merges.len())
            .then(|| self.merges.iter().map(|m| (m.left, m.right)).collect())
    }

    /// The first `limit` ids and the merges that make them.
    ///
    /// An error when the merges of those ids are not the first ones, or use other ids.
    pub(crate) fn prefix(&self, limit: u32) -> Result<Self, ShrinkProblem> {
        if self.byte_ids().iter().any(|&id| id >= limit) {
            return Err(ShrinkProblem::Bytes);
        }
        let kept = self.merges.iter().take_while(|merge| merge.id < limit);
        let kept: Vec<(u32, u32)> = kept.map(|merge| (merge.left, merge.right)).collect();
        let stray = self.merges[kept.len()..]
            .iter()
            .any(|merge| merge.id < limit);
        if stray || kept.iter().any(|&(left, right)| left.max(right) >= limit) {
            return Err(ShrinkProblem::Order);
        }
        let entries = self.iter().take_while(|&(id, _)| id < limit);
        Self::from_tokens(entries, &kept, self.whole_first).map_err(|_| ShrinkProblem::Rest)
    }

    #[inline]
    pub(crate) fn rules(&self) -> &MergeRules {
        &self.rules
    }
}

/// The rules of merges in their order.
fn rules_of(tokens: &Tokens, merges: &[Merge]) -> Result<MergeRules> {
    let numbered = (0..).zip(merges).map(|(number, merge)| NumberedMerge {
        left: merge.left,
        right: merge.right,
        made: merge.id,
        number,
    });
    let numbered: Vec<NumberedMerge> = numbered.collect();
    MergeRules::of_ids(&*tokens.byte_ids()?, &numbered, tokens.limit())
}

fn check_parts(tokens: &Tokens, merge: usize, left: u32, right: u32) -> Result<()> {
    match [left, right]
        .into_iter()
        .find(|&id| tokens.get(id).is_none())
    {
        Some(id) => Err(Error::MergeOfUnknownToken { merge, id }),
        None => Ok(()),
    }
}

fn collect<'a>(entries: impl IntoIterator<Item = (u32, &'a [u8])>) -> Result<Tokens> {
    let entries = entries.into_iter();
    let mut tokens = Tokens::with_capacity(entries.size_hint().0);
    for (id, bytes) in entries {
        tokens.push(id, bytes)?;
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes() -> Vec<(u32, Vec<u8>)> {
        (0..256).map(|byte| (byte, vec![byte as u8])).collect()
    }

    fn with(extra: &[(u32, &str)]) -> Vec<(u32, Vec<u8>)> {
        let mut all = bytes();
        all.extend(extra.iter().map(|&(id, t)| (id, t.as_bytes().to_vec())));
        all
    }

    fn borrowed(all: &[(u32, Vec<u8>)]) -> impl Iterator<Item = (u32, &[u8])> {
        all.iter().map(|(id, bytes)| (*id, bytes.as_slice()))
    }

    const A: u32 = b'a' as u32;

    #[test]
    fn merges_may_only_use_what_is_there() {
        assert!(Vocab::from_merges(&[(A, A + 1), (256, A)]).is_ok());
        assert!(matches!(
            Vocab::from_merges(&[(A, 256)]),
            Err(Error::MergeOfUnknownToken { merge: 0, id: 256 })
        ));
        assert!(matches!(
            Vocab::from_merges(&[(A, A), (A, A)]),
            Err(Error::DuplicateToken {
                first: 256,
                second: 257,
                ..
            })
        ));
    }

    #[test]
    fn proper_ranks_have_one_pair_a_token() {
        let all = with(&[(256, "ab"), (257, "bc"), (258, "abc"), (259, "xyz")]);
        let vocab = Vocab::from_ranks(borrowed(&all)).unwrap();
        let ids: Vec<u32> = vocab.merges().iter().map(|merge| merge.id).collect();
        assert_eq!(ids, [256, 257, 258]);
        assert_eq!(
            vocab.merges()[2],
            Merge {
                left: 256,
                right: A + 2,
                id: 258
            }
        );
        assert!(vocab.whole_first_matters(), "xyz is not reached by merges");
    }

    #[test]
    fn improper_ranks_keep_the_split_that_is_used() {
        // "abc" comes before "ab" and "bc", of which it could be made.
        let all = with(&[(256, "abc"), (257, "ab"), (258, "bc")]);
        let vocab = Vocab::from_ranks(borrowed(&all)).unwrap();
        let made: Vec<_> = vocab.merges().iter().map(|m| (m.left, m.right)).collect();
        assert_eq!(made, [(257, A + 2), (A, A + 1), (A + 1, A + 2)]);
        assert!(vocab.rules().words().is_some(), "one merge a token");
    }

    #[test]
    fn lists_are_checked() {
        let all = with(&[(300, "ab")]);
        assert!(matches!(
            Vocab::from_tokens(borrowed(&all), &[(A, A)], false),
            Err(Error::MergeWithoutToken { merge: 0, .. })
        ));
        assert!(matches!(
            Vocab::from_tokens(borrowed(&all), &[(A, A + 1), (A, A + 1)], false),
            Err(Error::DuplicateMerge { merge: 1, .. })
        ));
        assert!(matches!(
            Vocab::from_tokens(borrowed(&all[1..]), &[], false),
            Err(Error::MissingByte { byte: 0 })
        ));
    }

    #[test]
    fn prefix_is_the_shorter_training() {
        let long = Vocab::from_merges(&[(A, A + 1), (256, A), (257, 257)]).unwrap();
        let short = long.prefix(258).unwrap();
        assert_eq!(short.trained_merges().unwrap(), [(A, A + 1), (256, A)]);
        assert!(long.prefix(255).is_err());
    }
}
