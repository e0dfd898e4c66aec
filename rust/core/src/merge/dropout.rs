//! BPE-dropout: merging in which candidates are skipped at random, so that a model meets a word in
//! several segmentations (Provilkov, Emelianenko and Voita, *BPE-Dropout: Simple and Effective Subword
//! Regularization*, ACL 2020).
//!
//! At each step the pairs that could merge stand in the order of `short` and `heap`, by number and then
//! by place. Each of them is skipped with the same probability, independently of all
//! others and of earlier steps. The first that is not skipped merges; when all are skipped, the piece is done.
//! That is the paper's definition. Hugging Face's `tokenizers` differs a little: its queue also holds
//! pairs that are out of date, and each of these that is not skipped gives all that were skipped before it
//! another chance, so fewer merges are lost there with the same probability.
//!
//! How many pairs are skipped before the first that is not has a geometric distribution. One random
//! number a step decides it, instead of one for each pair: `k` or more are skipped if the number
//! is at most the `k`-th power of the probability. The powers are products of squares, not results of a
//! library's logarithm, which could differ in the last bit between systems.
//!
//! The numbers come from `SplitMix64` (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number
//! Generators*, 2014), whose state is the seed at first.
//!
//! Cost for `n` bytes: O(n (log n + s)), where `s` pairs are skipped in a step: 1 / (1 - probability) on
//! average, and no more than there are.

use std::collections::BTreeSet;

use super::heap::{self, Symbol};
use super::{Asking, MergeRules, short};
use crate::simd::NO_MERGE;
use crate::{Error, Result};

/// The skipping of merge candidates, and the state of its random numbers.
#[derive(Debug, Clone)]
pub struct Dropout {
    /// The probability to the power of 1, 2, 4, 8 and so on. A piece has fewer than 2^32 candidates.
    powers: [f64; 32],
    state: u64,
}

impl Dropout {
    /// Candidates are skipped with `probability`: no merge is lost with 0, and all are with 1.
    pub fn new(probability: f64, seed: u64) -> Result<Self> {
        if !(0.0..=1.0).contains(&probability) {
            return Err(Error::Probability { found: probability });
        }
        let mut powers = [probability; 32];
        for index in 1..powers.len() {
            powers[index] = powers[index - 1] * powers[index - 1];
        }
        Ok(Self {
            powers,
            state: seed,
        })
    }

    /// Whether nothing is ever skipped.
    pub fn is_zero(&self) -> bool {
        self.powers[0] == 0.0
    }

    /// How many candidates are skipped in the next step, if there are so many.
    fn skipped(&mut self) -> usize {
        let number = self.random();
        if number > self.powers[0] {
            return 0;
        }
        let mut skipped = 0;
        let mut weight = 1.0;
        for (bit, power) in self.powers.iter().enumerate().rev() {
            if number <= weight * power {
                weight *= power;
                skipped |= 1 << bit;
            }
        }
        skipped
    }

    /// A number above 0 and at most 1, in 53 bits.
    fn random(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// Appends the symbols that a piece becomes.
pub(super) fn merge(
    rules: &MergeRules,
    piece: &[u8],
    dropout: &mut Dropout,
    out: &mut Vec<u32>,
    asking: &mut Asking<'_>,
) -> Result<()> {
    if piece.len() <= short::LONGEST {
        merge_short(rules, piece, dropout, out);
        return Ok(());
    }
    merge_long(rules, piece, dropout, out, asking)
}

fn merge_short(rules: &MergeRules, piece: &[u8], dropout: &mut Dropout, out: &mut Vec<u32>) {
    let start = out.len();
    out.extend(piece.iter().map(|&byte| u32::from(byte)));
    loop {
        let mut candidates = [0; short::LONGEST];
        let mut count = 0;
        for (place, pair) in out[start..].windows(2).enumerate() {
            let number = rules.merge(pair[0], pair[1]);
            if number != NO_MERGE {
                candidates[count] = u64::from(number) << 32 | place as u64;
                count += 1;
            }
        }
        if count == 0 {
            return;
        }
        let skipped = dropout.skipped();
        if skipped >= count {
            return;
        }
        let (_, &mut chosen, _) = candidates[..count].select_nth_unstable(skipped);
        let place = start + chosen as u32 as usize;
        out[place] = rules.made((chosen >> 32) as u32);
        out.remove(place + 1);
    }
}

fn merge_long(
    rules: &MergeRules,
    piece: &[u8],
    dropout: &mut Dropout,
    out: &mut Vec<u32>,
    asking: &mut Asking<'_>,
) -> Result<()> {
    let mut symbols = Vec::new();
    heap::lay_out(rules, piece, &mut symbols, asking)?;
    let mut candidates = BTreeSet::new();
    for (at, symbol) in (0..).zip(&symbols) {
        candidates.extend(heap::entry(symbol.number, at));
        asking.worked(1)?;
    }
    while !candidates.is_empty() {
        let skipped = dropout.skipped();
        if skipped >= candidates.len() {
            break;
        }
        asking.worked(1 + skipped)?;
        let Some(&chosen) = candidates.iter().nth(skipped) else {
            break;
        };
        let (number, at) = ((chosen >> 32) as u32, chosen as u32);
        let Symbol { previous, next, .. } = symbols[at as usize];
        for place in [previous, at, next] {
            let symbol = symbols.get(place as usize);
            if let Some(gone) = symbol.and_then(|symbol| heap::entry(symbol.number, place)) {
                candidates.remove(&gone);
            }
        }
        heap::join(rules, &mut symbols, at, number);
        candidates.extend(heap::refresh(rules, &mut symbols, at));
        candidates.extend(heap::refresh(rules, &mut symbols, previous));
    }
    out.extend(heap::symbols(&symbols).map(|(_, symbol)| symbol));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::{Buffers, merge_piece};
    use proptest::prelude::*;

    /// The merges of `pairs`, of which number `k` makes symbol `256 + k`.
    fn rules(pairs: &[(u32, u32)]) -> MergeRules {
        let mut rules = MergeRules::of_bytes(&std::array::from_fn(|byte| byte as u32), 0);
        for (&(left, right), id) in pairs.iter().zip(256..) {
            rules.add(left, right, id).unwrap();
        }
        rules
    }

    const A: u32 = b'a' as u32;
    const B: u32 = b'b' as u32;
    const MERGES: [(u32, u32); 6] = [(A, B), (B, A), (256, 256), (A, A), (258, A), (259, 259)];

    fn merged(rules: &MergeRules, piece: &[u8], probability: f64, seed: u64) -> Vec<u32> {
        let mut out = vec![7];
        let mut dropout = Dropout::new(probability, seed).unwrap();
        merge(
            rules,
            piece,
            &mut dropout,
            &mut out,
            &mut Asking::new(&mut || true),
        )
        .unwrap();
        out.split_off(1)
    }

    #[test]
    fn a_probability_is_from_0_to_1() {
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(matches!(
                Dropout::new(wrong, 0),
                Err(Error::Probability { .. })
            ));
        }
    }

    /// As many as expected, within five standard deviations.
    fn assert_share(count: usize, of: usize, probability: f64) {
        let expected = probability * of as f64;
        let deviation = (expected * (1.0 - probability)).sqrt();
        assert!(
            (count as f64 - expected).abs() <= 5.0 * deviation.max(1.0),
            "{count} of {of}, expected {expected} and a deviation of {deviation}"
        );
    }

    #[test]
    fn skips_are_geometric() {
        const DRAWS: usize = 20_000;
        for probability in [0.0, 0.1, 0.5, 0.9, 0.999, 1.0] {
            let mut dropout = Dropout::new(probability, 1).unwrap();
            let skipped: Vec<usize> = (0..DRAWS).map(|_| dropout.skipped()).collect();
            for least in [1, 2, 3, 4, 7, 30, 1000] {
                let count = skipped.iter().filter(|&&skipped| skipped >= least).count();
                assert_share(count, DRAWS, probability.powf(least as f64));
            }
        }
    }

    #[test]
    fn a_step_skips_each_candidate_with_the_probability() {
        const SEEDS: usize = 20_000;
        let rules = rules(&MERGES[..2]);
        for probability in [0.1, 0.4, 0.8] {
            let count = |expected: &[u32]| {
                let seeds = 0..SEEDS as u64;
                let all = seeds.map(|seed| merged(&rules, b"aba", probability, seed));
                all.filter(|found| found == expected).count()
            };
            assert_share(count(&[256, A]), SEEDS, 1.0 - probability);
            let second = probability * (1.0 - probability);
            assert_share(count(&[A, 257]), SEEDS, second);
            assert_share(count(&[A, B, A]), SEEDS, probability * probability);
        }
    }

    #[test]
    fn the_ids_of_a_seed_never_change() {
        let rules = rules(&MERGES);
        let found: Vec<_> = (0..4)
            .map(|seed| merged(&rules, b"ababaabab", 0.5, seed))
            .collect();
        let expected: [&[u32]; 4] = [
            &[256, A, B, A, 256, A, B],
            &[260, 258],
            &[256, 256, A, 258],
            &[256, 256, A, A, B, 256],
        ];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn nothing_and_everything_skipped(piece in "[abc]{0,200}", seed: u64) {
            let rules = rules(&MERGES);
            let mut expected = Vec::new();
            merge_piece(&rules, piece.as_bytes(), &mut Buffers::default(), &mut expected).unwrap();
            prop_assert_eq!(merged(&rules, piece.as_bytes(), 0.0, seed), expected);
            let bytes: Vec<u32> = piece.bytes().map(u32::from).collect();
            prop_assert_eq!(merged(&rules, piece.as_bytes(), 1.0, seed), bytes);
        }

        #[test]
        fn both_strategies_choose_the_same(
            piece in "[abc]{1,64}", probability in 0.0..1.0, seed: u64,
        ) {
            let rules = rules(&MERGES);
            let mut dropout = Dropout::new(probability, seed).unwrap();
            let mut by_list = Vec::new();
            let go_on = &mut || true;
            let asking = &mut Asking::new(go_on);
            merge_long(&rules, piece.as_bytes(), &mut dropout, &mut by_list, asking).unwrap();
            prop_assert_eq!(merged(&rules, piece.as_bytes(), probability, seed), by_list);
        }
    }
}
