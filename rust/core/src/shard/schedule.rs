//! Weights become exact quotas: how many samples of each source stand in each block of a mixture?
//!
//! Weights are turned once into whole quotas that add up to the block, by largest remainders. Every block has the quotas of its
//! stage, so the share of a source is exact over any number of blocks, and its samples are numbered without a gap: block k of a
//! stage has the source's numbers `base + k * quota` up to `base + (k + 1) * quota`. A stage begins at the edge of a block, so what
//! each source has given until then is known in closed form and nothing is repeated or left out where weights change.
//!
//! A source may have a cap. The block in which it would exceed the cap takes what is left of it, and the others share the rest of
//! the block by their weights; from then on they share everything ([`Exhausted::Renormalise`]), or the mixture ends
//! before that block ([`Exhausted::Stop`]). A schedule is a list of such segments, a few for each stage and source.

use crate::{Error, Result};

/// What happens when a source has given all that its cap allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The mixture ends before the block that it could not fill.
    Stop,
    /// The others take its share.
    Renormalise,
}

/// Weights from a sample on.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The first sample that has them; the edge of a block.
    pub start: u64,
    /// One for each source, 0 or more; their sum need not be 1.
    pub weights: Vec<f64>,
}

/// Blocks of equal composition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its first sample.
    pub(crate) start: u64,
    /// Samples per block.
    pub(crate) block: u64,
    /// The number of its first block, counted over all segments.
    pub(crate) first_block: u64,
    /// Samples of each source per block: those of source `s` are the slots `slots[s]..slots[s + 1]`.
    pub(crate) slots: Vec<u64>,
    /// Samples that each source has given before.
    pub(crate) bases: Vec<u64>,
}

/// What every sample of a mixture is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) segments: Vec<Segment>,
    /// Samples in all; `u64::MAX` for a mixture without an end.
    pub(crate) length: u64,
}

impl Schedule {
    /// The segments of stages; `caps` are the samples that each source may give, `u64::MAX` for any number.
    pub(crate) fn new(
        stages: &[Stage],
        block: u64,
        caps: &[u64],
        exhausted: Exhausted,
    ) -> Result<Self> {
        (0..stages.len()).try_for_each(|number| check(stages, number, block, caps.len()))?;
        let mut plan = Planner {
            block,
            caps,
            segments: Vec::new(),
            given: vec![0; caps.len()],
            at: 0,
            blocks: 0,
        };
        for (number, stage) in stages.iter().enumerate() {
            let end = stages.get(number + 1).map_or(u64::MAX, |next| next.start);
            if !plan.stage(&stage.weights, end, exhausted) {
                return Ok(plan.finish());
            }
        }
        plan.at = u64::MAX;
        Ok(plan.finish())
    }
}

/// The quotas of weights: they add up to `block`, and each is less than 1 off the exact share.
pub(crate) fn quotas(weights: &[f64], block: u64) -> Vec<u64> {
    let total: f64 = weights.iter().sum();
    if total <= 0.0 {
        return vec![0; weights.len()];
    }
    let exact: Vec<f64> = weights
        .iter()
        .map(|weight| weight / total * block as f64)
        .collect();
    #[allow(clippy::cast_sign_loss)] // weights are not negative
    let mut quotas: Vec<u64> = exact.iter().map(|share| share.floor() as u64).collect();
    let mut by_remainder: Vec<usize> = (0..weights.len()).filter(|&s| weights[s] > 0.0).collect();
    by_remainder.sort_by(|&a, &b| (exact[b].fract()).total_cmp(&exact[a].fract())); // stable: the first of equals
    let mut missing = block.saturating_sub(quotas.iter().sum());
    for source in by_remainder.into_iter().cycle() {
        if missing == 0 {
            break;
        }
        quotas[source] += 1;
        missing -= 1;
    }
    quotas
}

fn check(stages: &[Stage], number: usize, block: u64, sources: usize) -> Result<()> {
    let wrong = |name, found: String, expected: String| {
        Err(Error::ShardArgument {
            name,
            found,
            expected,
        })
    };
    let stage = &stages[number];
    let weights = &stage.weights;
    let valid = |weight: &f64| weight.is_finite() && *weight >= 0.0;
    if weights.len() != sources || !weights.iter().all(valid) || weights.iter().sum::<f64>() <= 0.0
    {
        return wrong(
            "weights",
            format!("{weights:?}"),
            format!("{sources} numbers of 0 or more, not all of them 0"),
        );
    }
    let before = number.checked_sub(1).map(|before| stages[before].start);
    let steps = before.and_then(|before| stage.start.checked_sub(before));
    let at_an_edge = match (before, steps) {
        (None, _) => stage.start == 0,
        (_, Some(steps)) => steps > 0 && steps % block == 0,
        _ => false,
    };
    if !at_an_edge {
        let expected = match (before, steps) {
            (None, _) => "0 for the first stage".to_owned(),
            (Some(before), Some(steps)) if steps > 0 => {
                let below = before + steps / block * block;
                let above = below.saturating_add(block);
                format!("the edge of a block of {block} samples, such as {below} or {above}")
            }
            (Some(before), _) => format!("more than {before}, where the stage before it begins"),
        };
        return wrong("start", stage.start.to_string(), expected);
    }
    let quotas = quotas(weights, block);
    let lost = weights
        .iter()
        .zip(&quotas)
        .position(|(&weight, &quota)| weight > 0.0 && quota == 0);
    if let Some(source) = lost {
        return wrong(
            "weights",
            format!("{weights:?}"),
            format!(
                "a weight for source {source} that gives it a sample in a block of {block}, or a larger block"
            ),
        );
    }
    Ok(())
}

struct Planner<'a> {
    block: u64,
    caps: &'a [u64],
    segments: Vec<Segment>,
    given: Vec<u64>,
    at: u64,
    blocks: u64,
}

impl Planner<'_> {
    /// Adds the segments of a stage; false when the mixture ends in it.
    fn stage(&mut self, weights: &[f64], end: u64, exhausted: Exhausted) -> bool {
        loop {
            let mut open = weights.to_vec();
            for (source, weight) in open.iter_mut().enumerate() {
                if self.left(source) == 0 {
                    *weight = 0.0;
                }
            }
            let stops = exhausted == Exhausted::Stop && open != weights;
            if stops || open.iter().all(|&weight| weight <= 0.0) {
                return false;
            }
            let quotas = quotas(&open, self.block);
            let room = (end - self.at) / self.block;
            let filled = (0..quotas.len())
                .filter_map(|source| self.left(source).checked_div(quotas[source]))
                .min()
                .unwrap_or(room);
            if filled > 0 {
                let count = filled.min(room);
                self.push(self.block, &quotas, count);
                if count == room {
                    return true;
                }
                continue;
            }
            if exhausted == Exhausted::Stop {
                return false;
            }
            let last = self.capped(&open);
            let size = last.iter().sum();
            self.push(size, &last, 1);
            if size < self.block {
                return false; // all that have a weight are exhausted
            }
            if self.at == end {
                return true;
            }
        }
    }

    /// Quotas of a block in which some sources give all that they have left.
    fn capped(&self, weights: &[f64]) -> Vec<u64> {
        let mut fixed: Vec<Option<u64>> = vec![None; weights.len()];
        loop {
            let taken: u64 = fixed.iter().flatten().sum();
            let open: Vec<f64> = weights
                .iter()
                .zip(&fixed)
                .map(|(&weight, fixed)| if fixed.is_some() { 0.0 } else { weight })
                .collect();
            let shares = quotas(&open, self.block - taken);
            let short =
                |source: &usize| fixed[*source].is_none() && shares[*source] > self.left(*source);
            let over: Vec<usize> = (0..weights.len()).filter(short).collect();
            if over.is_empty() {
                return fixed
                    .iter()
                    .zip(shares)
                    .map(|(fixed, share)| fixed.unwrap_or(share))
                    .collect();
            }
            for source in over {
                fixed[source] = Some(self.left(source));
            }
        }
    }

    fn left(&self, source: usize) -> u64 {
        self.caps[source] - self.given[source]
    }

    fn push(&mut self, block: u64, quotas: &[u64], count: u64) {
        let mut slots = vec![0];
        for quota in quotas {
            slots.push(slots[slots.len() - 1] + quota);
        }
        self.segments.push(Segment {
            start: self.at,
            block,
            first_block: self.blocks,
            slots,
            bases: self.given.clone(),
        });
        self.at += block * count;
        self.blocks += count;
        for (given, quota) in self.given.iter_mut().zip(quotas) {
            *given += quota * count;
        }
    }

    fn finish(self) -> Schedule {
        Schedule {
            segments: self.segments,
            length: self.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANY: u64 = u64::MAX;

    fn stage(start: u64, weights: &[f64]) -> Stage {
        Stage {
            start,
            weights: weights.to_vec(),
        }
    }

    /// (start, samples per block, quotas, bases) of each segment.
    fn segments(schedule: &Schedule) -> Vec<(u64, u64, Vec<u64>, Vec<u64>)> {
        let row = |segment: &Segment| {
            let quotas = segment.slots.windows(2).map(|pair| pair[1] - pair[0]);
            (
                segment.start,
                segment.block,
                quotas.collect(),
                segment.bases.clone(),
            )
        };
        schedule.segments.iter().map(row).collect()
    }

    #[test]
    fn quotas_are_the_largest_remainders() {
        assert_eq!(quotas(&[3.0, 1.0], 8), [6, 2]);
        assert_eq!(quotas(&[1.0, 1.0, 1.0], 8), [3, 3, 2]);
        assert_eq!(quotas(&[0.2, 0.3, 0.5], 7), [1, 2, 4]);
        assert_eq!(quotas(&[0.0, 5.0], 4), [0, 4]);
        assert_eq!(quotas(&[1e-300, 1.0], 4), [0, 4]);
    }

    #[test]
    fn a_cap_is_used_up_exactly_and_then_the_others_go_on() {
        let stages = [stage(0, &[1.0, 1.0])];
        let made = Schedule::new(&stages, 8, &[10, ANY], Exhausted::Renormalise).unwrap();
        assert_eq!(made.length, ANY);
        assert_eq!(
            segments(&made),
            [
                (0, 8, vec![4, 4], vec![0, 0]),
                (16, 8, vec![2, 6], vec![8, 8]),
                (24, 8, vec![0, 8], vec![10, 14]),
            ]
        );
    }

    #[test]
    fn a_cap_can_end_the_mixture() {
        let stages = [stage(0, &[1.0, 1.0])];
        let made = Schedule::new(&stages, 8, &[10, ANY], Exhausted::Stop).unwrap();
        assert_eq!((made.length, made.segments.len()), (16, 1));
        let made = Schedule::new(&stages, 8, &[8, ANY], Exhausted::Stop).unwrap();
        assert_eq!((made.length, made.segments.len()), (16, 1));
        let made = Schedule::new(&stages, 8, &[10, 3], Exhausted::Renormalise).unwrap();
        assert_eq!(made.length, 13);
        assert_eq!(
            segments(&made),
            [
                (0, 8, vec![5, 3], vec![0, 0]),
                (8, 5, vec![5, 0], vec![5, 3])
            ]
        );
    }

    #[test]
    fn weights_change_without_a_gap() {
        let stages = [
            stage(0, &[1.0, 1.0]),
            stage(32, &[0.0, 1.0]),
            stage(40, &[3.0, 1.0]),
        ];
        let made = Schedule::new(&stages, 8, &[ANY, ANY], Exhausted::Stop).unwrap();
        assert_eq!(
            segments(&made),
            [
                (0, 8, vec![4, 4], vec![0, 0]),
                (32, 8, vec![0, 8], vec![16, 16]),
                (40, 8, vec![6, 2], vec![16, 24]),
            ]
        );
    }

    #[test]
    fn impossible_stages_are_refused() {
        for stages in [
            vec![stage(8, &[1.0, 1.0])],
            vec![stage(0, &[1.0])],
            vec![stage(0, &[1.0, -1.0])],
            vec![stage(0, &[1.0, f64::NAN])],
            vec![stage(0, &[0.0, 0.0])],
            vec![stage(0, &[1.0, 1000.0])],
            vec![stage(0, &[1.0, 1.0]), stage(9, &[1.0, 1.0])],
            vec![stage(0, &[1.0, 1.0]), stage(0, &[1.0, 1.0])],
            vec![
                stage(0, &[1.0, 1.0]),
                stage(16, &[1.0, 1.0]),
                stage(8, &[1.0, 1.0]),
            ],
        ] {
            let made = Schedule::new(&stages, 8, &[ANY, ANY], Exhausted::Stop);
            assert!(made.is_err(), "{stages:?}");
        }
    }

    proptest! {
        #[test]
        fn quotas_add_up(weights in prop::collection::vec(0.0f64..10.0, 1..9), block in 1u64..100_000) {
            prop_assume!(weights.iter().sum::<f64>() > 0.0);
            let total: f64 = weights.iter().sum();
            let found = quotas(&weights, block);
            prop_assert_eq!(found.iter().sum::<u64>(), block);
            for (quota, weight) in found.iter().zip(weights) {
                prop_assert!((*quota as f64 - weight / total * block as f64).abs() < 1.0 + 1e-6);
            }
        }

        /// Each source is numbered without a gap, and never beyond its cap.
        #[test]
        fn segments_follow_one_another(
            weights in prop::collection::vec(prop::collection::vec(0u32..5, 3), 1..4),
            caps in prop::collection::vec(prop_oneof![0u64..200, Just(ANY)], 3),
            block in 12u64..40,
            renormalise in any::<bool>(),
        ) {
            let stages: Vec<Stage> = (0u64..).zip(&weights)
                .map(|(number, weights)| Stage {
                    start: number * 5 * block,
                    weights: weights.iter().map(|&w| f64::from(w)).collect(),
                })
                .collect();
            let exhausted = if renormalise { Exhausted::Renormalise } else { Exhausted::Stop };
            let Ok(schedule) = Schedule::new(&stages, block, &caps, exhausted) else { return Ok(()) };
            let mut given = vec![0; 3];
            let mut at = 0;
            let mut blocks = 0;
            for (number, segment) in schedule.segments.iter().enumerate() {
                prop_assert_eq!((segment.start, segment.first_block), (at, blocks));
                prop_assert_eq!(&segment.bases, &given);
                let end = schedule.segments.get(number + 1).map_or(schedule.length, |next| next.start);
                if end == ANY {
                    break;
                }
                let count = (end - at) / segment.block;
                prop_assert_eq!(count * segment.block, end - at);
                for (source, pair) in segment.slots.windows(2).enumerate() {
                    given[source] += (pair[1] - pair[0]) * count;
                    prop_assert!(given[source] <= caps[source]);
                }
                (at, blocks) = (end, blocks + count);
            }
        }
    }
}
