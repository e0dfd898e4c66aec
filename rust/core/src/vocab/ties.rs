//! Whether merges that share a priority can be told from the same merges one after another.
//!
//! Ranks that keep every split of a token (see `ranks`) give all of them one priority: of those in a text the leftmost
//! merges first. A merge list puts one before the other. Where that changes no result, a rank file and a merge list of
//! the same merges are one tokenizer; here that is proved, or not.
//!
//! *Proof.* Let no pair of a rank below that of `p` be left, and look at the occurrences of splits of `p`. Both rules
//! merge them all, in different orders, and after each whatever it makes possible at lower ranks. They end alike if
//! no two occurrences overlap, and no occurrence reaches another by what follows it:
//!
//! 1. no split of `p` ends with the token with which another begins;
//! 2. with `U` the tokens that can grow out of `p` at ranks below that of `p`, and `L` and `R` those that they take in on
//!    their left and right: no token is in both `L` and `R`, none of `R` is in `U` or begins a split of `p`, and none of `L` is in `U`
//!    or ends one.
//!
//! New occurrences of `p` do not arise meanwhile, since all of `U` is longer than the parts of `p`. So after `p` all is as
//! it would be under the other rule, and so on to the last rank. The conditions suffice; where they do not hold the
//! tokenizers may still be equal, and are taken for different.

use std::collections::{HashMap, HashSet};

use super::{Merge, Vocab};

impl Vocab {
    /// Whether merges that share a priority are not proved to do what the same merges do one after another.
    pub(crate) fn ties_matter(&self) -> bool {
        let priority = |merge: &Merge| self.rules.pairs.priority(merge.left, merge.right);
        let mut groups = self.merges.chunk_by(|a, b| priority(a) == priority(b));
        if groups.all(|group| group.len() == 1) {
            return false;
        }
        let uses = Uses::of(&self.merges);
        let mut groups = self.merges.chunk_by(|a, b| priority(a) == priority(b));
        groups.any(|group| group.len() > 1 && (overlaps(group) || uses.reach_another(group)))
    }
}

fn overlaps(splits: &[Merge]) -> bool {
    let lefts: HashMap<u32, u32> = splits.iter().map(|s| (s.left, s.right)).collect();
    splits.iter().any(|s| {
        lefts
            .get(&s.right)
            .is_some_and(|&right| (s.right, right) != (s.left, s.right))
    })
}

/// The merges by their left and by their right token.
struct Uses<'m> {
    left: HashMap<u32, Vec<&'m Merge>>,
    right: HashMap<u32, Vec<&'m Merge>>,
}

impl<'m> Uses<'m> {
    fn of(merges: &'m [Merge]) -> Self {
        let mut uses = Self {
            left: HashMap::new(),
            right: HashMap::new(),
        };
        for merge in merges {
            uses.left.entry(merge.left).or_default().push(merge);
            uses.right.entry(merge.right).or_default().push(merge);
        }
        uses
    }

    /// Whether what follows one occurrence of these splits can reach another: the second condition.
    fn reach_another(&self, splits: &[Merge]) -> bool {
        let made = splits[0].id;
        let below = |merge: &&&Merge| merge.id < made;
        let all = |uses: &HashMap<u32, Vec<&'m Merge>>, token: u32| {
            let found = uses.get(&token).into_iter().flatten();
            found.filter(below).copied().collect::<Vec<&Merge>>()
        };
        let mut grown = HashSet::from([made]);
        let (mut on_left, mut on_right) = (HashSet::new(), HashSet::new());
        let mut waiting = vec![made];
        while let Some(token) = waiting.pop() {
            let (as_left, as_right) = (all(&self.left, token), all(&self.right, token));
            on_right.extend(as_left.iter().map(|merge| merge.right));
            on_left.extend(as_right.iter().map(|merge| merge.left));
            for merge in as_left.into_iter().chain(as_right) {
                if grown.insert(merge.id) {
                    waiting.push(merge.id);
                }
            }
        }
        let begins = |token: &u32| splits.iter().any(|split| split.left == *token);
        let ends = |token: &u32| splits.iter().any(|split| split.right == *token);
        let mut right = on_right.iter();
        right.any(|t| on_left.contains(t) || grown.contains(t) || begins(t))
            || on_left.iter().any(|t| grown.contains(t) || ends(t))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::{MergeBuffers, merge_piece};

    fn ranks(extra: &[&str]) -> Vocab {
        let bytes: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).collect();
        let tokens = bytes
            .into_iter()
            .chain(extra.iter().map(|t| t.as_bytes().to_vec()));
        let tokens: Vec<(u32, Vec<u8>)> = (0..).zip(tokens).collect();
        Vocab::from_ranks(tokens.iter().map(|(id, bytes)| (*id, bytes.as_slice()))).unwrap()
    }

    /// The same merges, one after another.
    fn listed(vocab: &Vocab) -> Vocab {
        let merges: Vec<(u32, u32)> = vocab.merges().iter().map(|m| (m.left, m.right)).collect();
        Vocab::from_tokens(vocab.iter(), &merges, true).unwrap()
    }

    fn merged(vocab: &Vocab, piece: &[u8]) -> Vec<u32> {
        let mut out = Vec::new();
        merge_piece(vocab.rules(), piece, &mut MergeBuffers::default(), &mut out).unwrap();
        out
    }

    #[test]
    fn the_two_rules_where_they_differ() {
        // "aba" is ab+a or a+ba, and comes before both.
        let vocab = ranks(&["aba", "ba", "ab"]);
        assert!(vocab.ties_matter());
        assert!(!listed(&vocab).ties_matter());
        // One pair a token, and splits that never meet.
        assert!(!ranks(&["ab", "abc"]).ties_matter());
        assert!(!ranks(&["abc", "ab", "bc"]).ties_matter());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Small alphabets, so that tokens overlap in every way.
        #[test]
        fn what_is_proved_is_so(
            tokens in prop::collection::vec("[ab]{2,5}|[abc]{2,4}", 1..12),
            pieces in prop::collection::vec("[ab]{1,14}|[abc]{1,14}", 60),
        ) {
            let mut seen = HashSet::new();
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).filter(|t| seen.insert(*t)).collect();
            let vocab = ranks(&tokens);
            let listed = listed(&vocab);
            if !vocab.ties_matter() {
                for piece in &pieces {
                    let piece = piece.as_bytes();
                    prop_assert_eq!(merged(&vocab, piece), merged(&listed, piece), "{:?}", tokens);
                }
            }
        }
    }
}
