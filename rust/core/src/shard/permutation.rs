//! A random order of 0..n that is computed, not stored: where does position `i` go?
//!
//! Above 65,536 a Feistel network over the smallest 2^b ≥ n permutes b-bit numbers, and a result outside 0..n is
//! permuted again until it lies inside (fewer than two rounds on average, because 2^b < 2n). The number is split into a
//! right half of ⌈b/2⌉ bits and a left one of ⌊b/2⌋; six rounds replace in turn
//! `left ^= F(right, key)` and `right ^= F(left, key)`, where F xors its input with a 64-bit round key, spreads every
//! bit over all others by two multiplications between xor-shifts by 32, and keeps the low bits.
//! That spreading is the point. With `(x · odd + key) & mask` bit i of the result depends on bits 0..i of the
//! input only; that order is a bijection, too, but puts indices of one parity in a whole batch. The statistics in the
//! tests reject it and accept this one.
//!
//! Up to 65,536 a Fisher–Yates table is exactly uniform over all orders, where a network is weakest; 128 KiB at most.
//!
//! Keys come from splitmix64 seeded with (seed, source, epoch, level), so every epoch has an order of its own.
//! `tests/data/permutation.toml` fixes the results, for this and any other program that wants the same order.

/// Orders up to this length are tables.
pub const TABLE_LIMIT: u64 = 1 << 16;
const ROUNDS: usize = 6;
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What an order depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The user's number.
    pub seed: u64,
    /// Which dataset of a mixture.
    pub source: u64,
    /// Which pass over it.
    pub epoch: u64,
    /// Which of several orders within an epoch.
    pub level: u64,
}

impl Key {
    /// The random numbers that belong to this key.
    pub fn stream(&self) -> SplitMix {
        let words = [self.source, self.epoch, self.level];
        let start = mix(self.seed.wrapping_add(GOLDEN));
        // For a fixed past each step is a bijection of the next word, so keys that differ in one word never meet.
        SplitMix(words.iter().fold(start, |state, word| {
            mix((state ^ word).wrapping_add(GOLDEN))
        }))
    }
}

/// The splitmix64 generator of Steele, Lea and Flood (2014).
#[derive(Clone, Debug)]
pub struct SplitMix(u64);

impl SplitMix {
    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `bound`, all equally likely (Lemire 2019).
    pub fn below(&mut self, bound: u64) -> u64 {
        let threshold = bound.wrapping_neg() % bound.max(1);
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One order of 0..n.
#[derive(Clone, Debug)]
pub struct Permutation {
    n: u64,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Table(Box<[u16]>),
    Network(Network),
}

#[derive(Clone, Debug)]
struct Network {
    right_bits: u32,
    right_mask: u64,
    left_mask: u64,
    keys: [u64; ROUNDS],
    round: fn(u64, u64) -> u64,
}

impl Permutation {
    /// The order of `0..n` that belongs to a key.
    pub fn new(n: u64, key: &Key) -> Self {
        let mut random = key.stream();
        if n > TABLE_LIMIT {
            return Self::network(n, &mut random, spread);
        }
        let mut table: Box<[u16]> = (0..n).map(|i| i as u16).collect();
        for last in (1..table.len()).rev() {
            table.swap(last, random.below(last as u64 + 1) as usize);
        }
        Self {
            n,
            kind: Kind::Table(table),
        }
    }

    fn network(n: u64, random: &mut SplitMix, round: fn(u64, u64) -> u64) -> Self {
        let bits = 64 - n.saturating_sub(1).leading_zeros();
        let right_bits = bits.div_ceil(2);
        Self {
            n,
            kind: Kind::Network(Network {
                right_bits,
                right_mask: (1 << right_bits) - 1,
                left_mask: (1 << (bits - right_bits)) - 1,
                keys: std::array::from_fn(|_| random.next_u64()),
                round,
            }),
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.n
    }

    /// Whether there is nothing to order.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// What stands at position `index`, which must be below `n`.
    pub fn get(&self, index: u64) -> u64 {
        debug_assert!(index < self.n);
        match &self.kind {
            Kind::Table(table) => {
                let at = table.get(index as usize);
                u64::from(*at.expect("a position is below n"))
            }
            Kind::Network(network) => {
                let mut x = network.permute(index);
                while x >= self.n {
                    x = network.permute(x);
                }
                x
            }
        }
    }
}

impl Network {
    fn permute(&self, x: u64) -> u64 {
        let (mut left, mut right) = (x >> self.right_bits, x & self.right_mask);
        for keys in self.keys.chunks_exact(2) {
            left ^= (self.round)(right, keys[0]) & self.left_mask;
            right ^= (self.round)(left, keys[1]) & self.right_mask;
        }
        left << self.right_bits | right
    }
}

/// Every bit of the result depends on every bit of `x`.
fn spread(x: u64, key: u64) -> u64 {
    const ODD: u64 = 0xd6e8_feb8_6659_fd93;
    let mut x = x ^ key;
    x = (x ^ (x >> 32)).wrapping_mul(ODD);
    x = (x ^ (x >> 32)).wrapping_mul(ODD);
    x ^ (x >> 32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Key = Key {
        seed: 7,
        source: 0,
        epoch: 0,
        level: 0,
    };

    /// The round function that must fail: each bit of the result depends on lower bits only.
    fn multiply_and_mask(x: u64, key: u64) -> u64 {
        x.wrapping_mul(2_654_435_761).wrapping_add(key)
    }

    fn good(n: u64, epoch: u64) -> Permutation {
        // Through the network even where a table would be taken, so that small sizes test it, too.
        Permutation::network(n, &mut Key { epoch, ..KEY }.stream(), spread)
    }

    fn weak(n: u64, epoch: u64) -> Permutation {
        Permutation::network(n, &mut Key { epoch, ..KEY }.stream(), multiply_and_mask)
    }

    /// Rows that the Python tests read, too; a twin in plain Python made them.
    #[test]
    fn recorded_orders_come_out() {
        #[derive(serde::Deserialize)]
        struct File {
            order: Vec<Row>,
        }
        #[derive(serde::Deserialize)]
        struct Row {
            n: u64,
            seed: u64,
            source: u64,
            epoch: u64,
            level: u64,
            positions: Vec<u64>,
            values: Vec<u64>,
        }
        let file = include_str!("../../../../tests/data/permutation.toml");
        for row in toml::from_str::<File>(file).unwrap().order {
            let Row {
                seed,
                source,
                epoch,
                level,
                ..
            } = row;
            let key = Key {
                seed,
                source,
                epoch,
                level,
            };
            let permutation = Permutation::new(row.n, &key);
            let found: Vec<u64> = row
                .positions
                .iter()
                .map(|&at| permutation.get(at))
                .collect();
            assert_eq!(found, row.values, "n={} {key:?}", row.n);
        }
    }

    #[test]
    fn every_small_order_is_a_bijection() {
        for n in (0..300).chain([1 << 10, (1 << 10) + 1, 4095, 4097]) {
            for permutation in [Permutation::new(n, &KEY), good(n, 1)] {
                let mut seen = vec![false; n as usize];
                for i in 0..n {
                    let at = permutation.get(i) as usize;
                    assert!(!std::mem::replace(&mut seen[at], true), "n={n}: {at} twice");
                }
            }
        }
    }

    #[test]
    fn a_large_order_is_a_bijection() {
        for n in [TABLE_LIMIT + 1, 100_003, (1 << 18) - 1, (1 << 18) + 1] {
            let permutation = Permutation::new(n, &KEY);
            let mut seen = vec![false; n as usize];
            (0..n).for_each(|i| seen[permutation.get(i) as usize] = true);
            assert!(seen.into_iter().all(|hit| hit), "n={n}");
        }
    }

    proptest! {
        /// A bijection of 2^b that walks its cycles is one of 0..n; here the two halves are inverted one by one.
        #[test]
        fn huge_orders_are_bijections(n in (1u64 << 17)..(1 << 62), i in any::<u64>(), epoch in any::<u64>()) {
            let Kind::Network(network) = good(n, epoch).kind else { unreachable!() };
            let x = i % n;
            let y = network.permute(x);
            let (mut left, mut right) = (y >> network.right_bits, y & network.right_mask);
            for keys in network.keys.rchunks_exact(2) {
                right ^= spread(left, keys[1]) & network.right_mask;
                left ^= spread(right, keys[0]) & network.left_mask;
            }
            prop_assert_eq!(left << network.right_bits | right, x);
            prop_assert!(good(n, epoch).get(x) < n);
        }

        #[test]
        fn below_stays_below(seed in any::<u64>(), bound in 1u64..) {
            prop_assert!(SplitMix(seed).below(bound) < bound);
        }
    }

    /// Standard deviation of the share of odd numbers per batch, in units of what chance gives.
    fn parity(permutation: &Permutation, batch: u64) -> f64 {
        let batches = permutation.len() / batch;
        let deviations = (0..batches).map(|b| {
            let odd = (b * batch..(b + 1) * batch)
                .filter(|&i| permutation.get(i) % 2 == 1)
                .count();
            (odd as f64 / batch as f64 - 0.5).powi(2)
        });
        (deviations.sum::<f64>() / batches as f64).sqrt() / (0.5 / (batch as f64).sqrt())
    }

    /// Mean number of different residues mod `m` per batch.
    fn residues(permutation: &Permutation, batch: u64, m: usize) -> f64 {
        let batches = permutation.len() / batch;
        let counts = (0..batches).map(|b| {
            let mut seen = vec![false; m];
            (b * batch..(b + 1) * batch).for_each(|i| seen[permutation.get(i) as usize % m] = true);
            seen.into_iter().filter(|&hit| hit).count() as f64
        });
        counts.sum::<f64>() / batches as f64
    }

    /// Correlation of the parities (or of the values) of neighbours at a distance, times √n: standard normal by chance.
    fn autocorrelation(permutation: &Permutation, lag: u64, value: impl Fn(u64) -> f64) -> f64 {
        let n = permutation.len();
        let values: Vec<f64> = (0..n).map(|i| value(permutation.get(i))).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        let variance: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let pairs = values.iter().zip(&values[lag as usize..]);
        let covariance: f64 = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum();
        covariance / variance * (n as f64).sqrt()
    }

    /// Chi-square of (position, value) over 64 × 64 cells, as a deviation from its mean in standard deviations.
    fn cells(permutation: &Permutation) -> f64 {
        let n = permutation.len();
        let mut counts = vec![0u32; 64 * 64];
        for i in 0..n {
            let (row, column) = (i * 64 / n, permutation.get(i) * 64 / n);
            counts[(row * 64 + column) as usize] += 1;
        }
        let expected = n as f64 / 4096.0;
        let chi: f64 = counts
            .iter()
            .map(|&c| (f64::from(c) - expected).powi(2) / expected)
            .sum();
        let degrees = 63.0 * 63.0;
        (chi - degrees) / (2.0f64 * degrees).sqrt()
    }

    fn odd(v: u64) -> f64 {
        (v & 1) as f64
    }

    /// The statistics in which an order differs from one drawn by chance.
    fn complaints(permutation: &Permutation) -> Vec<String> {
        let mut found = Vec::new();
        let mut expect = |what: String, value: f64, mean: f64, slack: f64| {
            if (value - mean).abs() > slack {
                found.push(format!("{what} is {value}"));
            }
        };
        // 512 batches of 512: the relative deviation of a standard deviation is 1/sqrt(2 * 512) = 0.03.
        expect("parity".into(), parity(permutation, 512), 1.0, 0.12);
        // 256 (1 - (1 - 1/256)^512) = 221.5 of 256, and sqrt(34 / 512) = 0.26 around it.
        expect(
            "residues".into(),
            residues(permutation, 512, 256),
            221.5,
            1.0,
        );
        for lag in [1, 2, 3, 4, 8, 16, 64, 512, 1024] {
            expect(
                format!("parity at lag {lag}"),
                autocorrelation(permutation, lag, odd),
                0.0,
                4.0,
            );
            expect(
                format!("value at lag {lag}"),
                autocorrelation(permutation, lag, |v| v as f64),
                0.0,
                4.0,
            );
        }
        expect("cells".into(), cells(permutation), 0.0, 4.0);
        found
    }

    #[test]
    fn orders_look_random() {
        for n in [1 << 18, 300_007] {
            for epoch in 0..3 {
                assert_eq!(complaints(&good(n, epoch)), [""; 0], "n={n} epoch={epoch}");
            }
        }
    }

    /// Control: the same tests reject the round function whose bits depend on lower bits only, in every way.
    #[test]
    fn the_statistics_see_a_weak_network() {
        for n in [1 << 18, 300_007] {
            let found = complaints(&weak(n, 0)).join(", ");
            for what in ["parity is", "residues is", "parity at lag 1 is", "cells is"] {
                assert!(found.contains(what), "n={n}: {what}? {found}");
            }
        }
    }

    #[test]
    fn epochs_seeds_and_levels_are_independent() {
        let n = 1 << 17;
        let base = Permutation::new(n, &KEY);
        for key in [
            Key { epoch: 1, ..KEY },
            Key { seed: 8, ..KEY },
            Key { source: 1, ..KEY },
            Key { level: 1, ..KEY },
        ] {
            let other = Permutation::new(n, &key);
            // Fixed points between two independent orders: Poisson with mean 1.
            let same = (0..n).filter(|&i| base.get(i) == other.get(i)).count();
            assert!(same < 8, "{key:?}: {same}");
            let odd_together = (0..n)
                .filter(|&i| (base.get(i) ^ other.get(i)) & 1 == 1)
                .count() as f64;
            let deviation = (odd_together - n as f64 / 2.0) / (n as f64 / 4.0).sqrt();
            assert!(deviation.abs() < 4.5, "{key:?}: {deviation}");
        }
    }

    /// All orders of five, over many seeds: chi-square with 119 degrees of freedom.
    #[test]
    fn tables_are_uniform_over_all_orders() {
        let seeds = 24_000;
        let mut counts = std::collections::HashMap::new();
        for seed in 0..seeds {
            let permutation = Permutation::new(5, &Key { seed, ..KEY });
            let order: Vec<u64> = (0..5).map(|i| permutation.get(i)).collect();
            *counts.entry(order).or_insert(0u32) += 1;
        }
        let expected = seeds as f64 / 120.0;
        let chi: f64 = counts
            .values()
            .map(|&c| (f64::from(c) - expected).powi(2) / expected)
            .sum();
        assert_eq!(counts.len(), 120);
        assert!((60.0..190.0).contains(&chi), "{chi}");
    }
}
