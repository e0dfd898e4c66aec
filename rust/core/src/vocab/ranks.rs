//! From ranks to merges.
//!
//! A rank file says only how early each token was made, not from which two.
//! tiktoken's rule needs no more: of all neighbours whose joined bytes are a
//! token, it merges those of the lowest rank first. Asking "are the joined
//! bytes a token?" at every step would hash strings in the inner loop, so the
//! rule is turned into pairs once.
//!
//! *Canonical pair.* Take a token `t` and merge its bytes by the tokens of lower
//! rank only. If exactly two parts are left, they are `t`'s pair. When every
//! token has one, no other split of any token ever meets in a merge: ranks
//! then rise throughout every merge sequence, so the state of a stretch of text
//! at rank `r` depends on the stretch alone, and just before `t` appears that
//! state is the canonical one. One pair a token: this holds for GPT-2,
//! p50k, cl100k, o200k and Qwen.
//!
//! *The used split.* Otherwise (Llama 3 has 678 tokens whose parts come later than
//! they do) every split into two tokens is a pair, with the priority of the
//! token it makes, shared by all its splits: that is tiktoken's rule word for word. Of these pairs at most one a token
//! is ever used (see `used`), and only that is kept.

use super::tokens::Tokens;
use super::used::used;
use super::{Merge, rules_of};
use crate::merge::{Buffers, MERGE_LIMIT, MergeRules, NumberedMerge, merge_piece};
use crate::{Error, Result};

/// The merges of a rank vocabulary, in order, and the rules made from them.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) merges: Vec<Merge>,
    pub(super) rules: MergeRules,
    /// Whether merging the bytes of every token gives that token, if that is known.
    pub(super) all_are_reached: Option<bool>,
}

pub(super) fn recover(tokens: &Tokens) -> Result<Recovered> {
    match canonical(tokens)? {
        Some(found) => Ok(found),
        None => used_splits(tokens),
    }
}

/// One pair per token, or `None` when some token has no canonical pair but
/// could be made by another split.
fn canonical(tokens: &Tokens) -> Result<Option<Recovered>> {
    let mut rules = MergeRules::of_bytes(&*tokens.byte_ids()?, tokens.count());
    let mut merges = Vec::with_capacity(tokens.count());
    let mut buffers = Buffers::default();
    let mut parts = Vec::new();
    let mut all_are_reached = true;
    let lengths = Lengths::of(tokens);
    for (id, bytes) in tokens.iter().filter(|(_, bytes)| bytes.len() > 1) {
        parts.clear();
        merge_piece(&rules, bytes, &mut buffers, &mut parts)?;
        if let [left, right] = parts[..] {
            let merge = Merge {
                left: rules.id(left),
                right: rules.id(right),
                id,
            };
            rules.add(left, right, id)?;
            merges.push(merge);
        } else if splits(tokens, &lengths, bytes).next().is_some() {
            return Ok(None);
        } else {
            all_are_reached = false;
        }
    }
    Ok(Some(Recovered {
        merges,
        rules,
        all_are_reached: Some(all_are_reached),
    }))
}

/// The splits that are ever used.
fn used_splits(tokens: &Tokens) -> Result<Recovered> {
    let (all, rules) = every_split(tokens)?;
    let merges = used(&all, &rules, tokens).into_owned();
    Ok(Recovered {
        rules: rules_of(tokens, &merges)?,
        merges,
        all_are_reached: None,
    })
}

fn every_split(tokens: &Tokens) -> Result<(Vec<Merge>, MergeRules)> {
    let lengths = Lengths::of(tokens);
    let mut merges = Vec::with_capacity(2 * tokens.count());
    let mut numbered = Vec::with_capacity(2 * tokens.count());
    let mut number = 0;
    for (id, bytes) in tokens.iter() {
        let first = merges.len();
        if first > MERGE_LIMIT {
            return Err(Error::TooManyMerges {
                merges: first,
                limit: MERGE_LIMIT,
            });
        }
        for (left, right) in splits(tokens, &lengths, bytes) {
            merges.push(Merge { left, right, id });
        }
        merges[first..].sort_unstable_by_key(|merge| (merge.left, merge.right));
        let splits = merges[first..].iter().map(|merge| NumberedMerge {
            left: merge.left,
            right: merge.right,
            made: id,
            number,
        });
        numbered.extend(splits);
        number += u32::from(merges.len() > first);
    }
    let rules = MergeRules::of_ids(&*tokens.byte_ids()?, &numbered, tokens.limit())?;
    Ok((merges, rules))
}

/// Every way to make `bytes` of two tokens.
fn splits<'a>(
    tokens: &'a Tokens,
    lengths: &'a Lengths,
    bytes: &'a [u8],
) -> impl Iterator<Item = (u32, u32)> + 'a {
    (1..bytes.len())
        .filter(|&at| lengths.has(at) && lengths.has(bytes.len() - at))
        .filter_map(|at| Some((tokens.id(&bytes[..at])?, tokens.id(&bytes[at..])?)))
}

/// Which lengths occur at all: keeps one very long token from being hashed at every place.
struct Lengths(Vec<bool>);

impl Lengths {
    fn of(tokens: &Tokens) -> Self {
        let mut lengths = Vec::new();
        for (_, bytes) in tokens.iter() {
            if lengths.len() <= bytes.len() {
                lengths.resize(bytes.len() + 1, false);
            }
            lengths[bytes.len()] = true;
        }
        Self(lengths)
    }

    fn has(&self, length: usize) -> bool {
        self.0.get(length).copied().unwrap_or(false)
    }
}
