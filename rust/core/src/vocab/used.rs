//! Which merges are ever used, where a token has several.
//!
//! Of all merges of one token at most one is ever used, whatever the text: the last one when the token's own bytes are
//! merged alone. For suppose that a token appears somewhere in a text. No merge before reached over the ends of its
//! stretch, so those within were made among the tokens of the stretch alone. Each of them had the lowest priority in the
//! text, the leftmost of equals, so it had that in the stretch too: within it, the merges were the ones, and in the
//! order, of the stretch alone.
//!
//! So the other merges can be left out, and nothing changes. That is how ranks become a list in which each token has
//! one merge and no two share a priority, and why two tokenizers whose used merges are equal are equal.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::tokens::Tokens;
use super::{Merge, Vocab};
use crate::merge::MergeRules;
use crate::simd::NO_MERGE;

impl Vocab {
    /// The merges without those that are never used because another makes their token. A token's only merge is kept.
    pub(crate) fn used_merges(&self) -> Cow<'_, [Merge]> {
        used(&self.merges, &self.rules, &self.tokens)
    }
}

/// `merges` without those that are never used because another makes their token.
pub(super) fn used<'m>(
    merges: &'m [Merge],
    rules: &MergeRules,
    tokens: &Tokens,
) -> Cow<'m, [Merge]> {
    let mut ways: HashMap<u32, u32> = HashMap::with_capacity(merges.len());
    for merge in merges {
        *ways.entry(merge.id).or_default() += 1;
    }
    if ways.len() == merges.len() {
        return Cow::Borrowed(merges);
    }
    let mut last: HashMap<u32, Option<(u32, u32)>> = HashMap::new();
    let mut is_used = |merge: &&Merge| {
        ways[&merge.id] == 1
            || *last.entry(merge.id).or_insert_with(|| {
                let bytes = tokens.get(merge.id).unwrap_or_default();
                last_merge(rules, bytes)
            }) == Some((merge.left, merge.right))
    };
    merges
        .iter()
        .filter(|merge| is_used(merge))
        .copied()
        .collect()
}

/// The last merge of all of `bytes`, if they end as one token.
fn last_merge(rules: &MergeRules, bytes: &[u8]) -> Option<(u32, u32)> {
    const GONE: u32 = u32::MAX;
    let mut symbols: Vec<u32> = bytes.iter().map(|&byte| u32::from(byte)).collect();
    let mut next: Vec<usize> = (1..=symbols.len()).collect();
    let mut before: Vec<usize> = (0..symbols.len()).map(|at| at.wrapping_sub(1)).collect();
    let mut waiting = BinaryHeap::new();
    let offer = |waiting: &mut BinaryHeap<_>, at: usize, left: u32, right: u32| {
        let number = rules.merge(left, right);
        if number != NO_MERGE {
            waiting.push(Reverse((number, at, left, right)));
        }
    };
    for (at, pair) in symbols.windows(2).enumerate() {
        offer(&mut waiting, at, pair[0], pair[1]);
    }
    let mut left_over = symbols.len();
    while let Some(Reverse((number, at, left, right))) = waiting.pop() {
        let second = next[at];
        if symbols[at] != left || symbols.get(second) != Some(&right) {
            continue; // one of them has merged otherwise
        }
        left_over -= 1;
        if left_over == 1 {
            return Some((rules.id(left), rules.id(right)));
        }
        let made = rules.made(number);
        symbols[at] = made;
        symbols[second] = GONE;
        next[at] = next[second];
        if let Some(&after) = symbols.get(next[at]) {
            before[next[at]] = at;
            offer(&mut waiting, at, made, after);
        }
        if let Some(&first) = symbols.get(before[at]) {
            offer(&mut waiting, before[at], first, made);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::merge::{Buffers, merge_piece};

    fn with_bytes(extra: &[&str]) -> Vec<(u32, Vec<u8>)> {
        let bytes = (0..=255u8).map(|byte| vec![byte]);
        let extra = extra.iter().map(|token| token.as_bytes().to_vec());
        (0..).zip(bytes.chain(extra)).collect()
    }

    fn borrowed(all: &[(u32, Vec<u8>)]) -> impl Iterator<Item = (u32, &[u8])> {
        all.iter().map(|(id, bytes)| (*id, bytes.as_slice()))
    }

    /// The plainest way: of all neighbours that merge, the first by `order`, the leftmost of equals.
    fn merged_by(
        tokens: &[(u32, Vec<u8>)],
        piece: &[u8],
        order: impl Fn(u32, u32) -> Option<usize>,
    ) -> Vec<u32> {
        let ids: HashMap<&[u8], u32> = borrowed(tokens).map(|(id, bytes)| (bytes, id)).collect();
        let mut ends: Vec<usize> = (0..=piece.len()).collect();
        loop {
            let parts: Vec<u32> = ends.windows(2).map(|w| ids[&piece[w[0]..w[1]]]).collect();
            let pairs = parts.windows(2).enumerate();
            let best = pairs
                .filter_map(|(at, pair)| Some((order(pair[0], pair[1])?, at)))
                .min();
            let Some((_, at)) = best else {
                return parts;
            };
            ends.remove(at + 1);
        }
    }

    fn merged(vocab: &Vocab, piece: &[u8]) -> Vec<u32> {
        let mut symbols = Vec::new();
        merge_piece(vocab.rules(), piece, &mut Buffers::default(), &mut symbols).unwrap();
        symbols
            .into_iter()
            .map(|symbol| vocab.rules().id(symbol))
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Small alphabets, so that tokens overlap in every way.
        #[test]
        fn the_used_merges_are_enough(
            tokens in prop::collection::vec("[ab]{2,6}|[abc]{2,4}", 1..14),
            pieces in prop::collection::vec("[ab]{1,14}|[abc]{1,14}", 40),
            order: u32,
        ) {
            let mut seen = HashSet::new();
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).filter(|t| seen.insert(*t)).collect();
            let all = with_bytes(&tokens);
            let ranks = Vocab::from_ranks(borrowed(&all)).unwrap();
            // Every split of every token: what a merge list may hold.
            let ids: HashMap<&[u8], u32> = borrowed(&all).map(|(id, bytes)| (bytes, id)).collect();
            let splits = all.iter().flat_map(|(_, bytes)| {
                let pair = |at| Some((*ids.get(&bytes[..at])?, *ids.get(&bytes[at..])?));
                (1..bytes.len()).filter_map(pair).collect::<Vec<_>>()
            });
            let mut splits: Vec<(u32, u32)> = splits.collect();
            let by_ranks = |left: u32, right: u32| {
                let joined = [all[left as usize].1.as_slice(), &all[right as usize].1].concat();
                ids.get(joined.as_slice()).map(|&rank| rank as usize)
            };
            for piece in &pieces {
                let piece = piece.as_bytes();
                prop_assert_eq!(merged(&ranks, piece), merged_by(&all, piece, by_ranks), "{:?}", tokens);
            }
            // In any order.
            splits.sort_by_key(|&(left, right)| left.wrapping_mul(order) ^ right.wrapping_mul(order >> 7));
            let list = Vocab::from_tokens(borrowed(&all), &splits, true).unwrap();
            prop_assert!(ranks.rules().words().is_some() && list.rules().words().is_some());
            prop_assert_eq!(list.merges().len(), splits.len());
            let by_list = |left, right| splits.iter().position(|&pair| pair == (left, right));
            for piece in &pieces {
                let piece = piece.as_bytes();
                prop_assert_eq!(merged(&list, piece), merged_by(&all, piece, by_list), "{:?}", tokens);
            }
        }
    }
}
