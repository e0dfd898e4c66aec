//! The order of samples.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// The sizes of units in the golden vectors.
const BLOCK: Order = Order::Block {
    io: 256,
    window: 512,
};

#[test]
fn units_have_so_many_bytes_whatever_a_row_has() {
    let units = |io| Order::Block { io, window: 32 };
    assert_eq!(Order::blocks(4096), units(16_384));
    assert_eq!(Order::blocks(32), units(1 << 20));
    assert_eq!(Order::blocks(100 << 20), units(1));
    let _ = [0, 1, u64::MAX].map(Order::blocks);
}

/// Shards of the given lengths in which every token is its own number in the dataset.
fn numbered(lengths: &[u64]) -> (Dataset, Arc<ShardReader>) {
    let folder = tempfile::tempdir().unwrap();
    let mut next = 0u32;
    let documents: Vec<Vec<u32>> = lengths
        .iter()
        .map(|&length| {
            let document = (next..next + length as u32).collect();
            next += length as u32;
            document
        })
        .collect();
    let options = WriterOptions {
        shard_tokens: 1,
        ..WriterOptions::new(1 << 20)
    };
    write(folder.path(), options, &documents).unwrap();
    let data = Dataset { folder };
    let reader = Arc::new(data.reader(Verify::Lazy).unwrap());
    (data, reader)
}

fn batch(sampler: &Sampler, first: u64, count: u64) -> (Vec<i64>, Vec<i64>) {
    let length = (count * sampler.options().sequence_length) as usize;
    let (mut inputs, mut targets) = (vec![7; length], vec![7; length]);
    sampler.fill(first, &mut inputs, &mut targets).unwrap();
    (inputs, targets)
}

/// Rows that the Python tests read, too; a twin in plain Python made them.
#[test]
fn recorded_windows_come_out() {
    #[derive(serde::Deserialize)]
    struct File {
        plan: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        name: String,
        shards: Vec<u64>,
        sequence_length: u64,
        stride: u64,
        seed: u64,
        order: String,
        samples: Vec<u64>,
        windows: Vec<(usize, u64)>,
    }
    let file = include_str!("../../../../../tests/data/sampler.toml");
    for row in toml::from_str::<File>(file).unwrap().plan {
        let (_data, reader) = numbered(&row.shards);
        let options = SamplerOptions {
            stride: row.stride,
            seed: row.seed,
            order: match row.order.as_str() {
                "global" => Order::Global,
                "block" => BLOCK,
                _ => Order::Sequential,
            },
            ..SamplerOptions::new(row.sequence_length)
        };
        let sampler = Sampler::new(reader, options).unwrap();
        let window = |&sample| {
            let window = sampler.window(sample).unwrap();
            (window.shard, window.start)
        };
        let found: Vec<_> = row.samples.iter().map(window).collect();
        assert_eq!(found, row.windows, "{}", row.name);
    }
}

#[test]
fn targets_are_inputs_shifted_by_one() {
    let (_data, reader) = numbered(&[1000, 50, 8, 9, 700]);
    for order in [
        Order::Global,
        BLOCK,
        Order::Block { io: 4, window: 3 },
        Order::Sequential,
    ] {
        let sampler = Sampler::new(
            reader.clone(),
            SamplerOptions {
                order,
                ..SamplerOptions::new(8)
            },
        )
        .unwrap();
        assert_eq!(sampler.len(), 124 + 6 + 1 + 87);
        let (inputs, targets) = batch(&sampler, 3, 2 * sampler.len());
        assert!(
            inputs
                .iter()
                .zip(&targets)
                .all(|(input, target)| input + 1 == *target)
        );
    }
}

#[test]
fn an_epoch_reads_every_window_once() {
    let (_data, reader) = numbered(&[1000, 50, 9, 700]);
    for order in [
        Order::Global,
        Order::Block { io: 4, window: 3 },
        Order::Block {
            io: 1000,
            window: 2,
        },
        Order::Sequential,
    ] {
        for stride in [1, 3, 8, 20] {
            let options = SamplerOptions {
                order,
                stride,
                ..SamplerOptions::new(8)
            };
            let sampler = Sampler::new(reader.clone(), options).unwrap();
            for epoch in 0..3 {
                let mut windows: Vec<_> = (epoch * sampler.len()..(epoch + 1) * sampler.len())
                    .map(|number| sampler.window(number).unwrap())
                    .map(|window| (window.shard, window.start))
                    .collect();
                windows.sort_unstable();
                let ordered: Vec<_> = (0..sampler.len())
                    .map(|index| sampler.window_at_for_test(epoch, index))
                    .collect();
                assert_eq!(windows, ordered);
                if epoch == 0 || order == Order::Sequential {
                    let starts = ordered
                        .iter()
                        .filter(|(shard, _)| *shard == 0)
                        .map(|(_, start)| *start);
                    assert!(starts.eq((0..=1000 - 9).step_by(stride as usize)));
                }
            }
        }
    }
}

#[test]
fn window_edges_move_between_epochs() {
    let (_data, reader) = numbered(&[100_000]);
    let sampler = Sampler::new(reader, SamplerOptions::new(100)).unwrap();
    let starts = |epoch: u64| (0..sampler.len()).map(move |index| (epoch, index));
    let phases: Vec<u64> = (0..6)
        .map(|epoch| {
            starts(epoch)
                .map(|(e, i)| sampler.window_at_for_test(e, i).1)
                .min()
                .unwrap()
        })
        .collect();
    assert_eq!(phases[0], 0);
    assert!(
        phases
            .iter()
            .collect::<std::collections::HashSet<_>>()
            .len()
            > 3,
        "{phases:?}"
    );
}

#[test]
fn epochs_and_seeds_have_orders_of_their_own() {
    let (_data, reader) = numbered(&[10_000]);
    let order = |seed, epoch: u64| -> Vec<u64> {
        let sampler = Sampler::new(
            reader.clone(),
            SamplerOptions {
                seed,
                ..SamplerOptions::new(10)
            },
        )
        .unwrap();
        (0..sampler.len())
            .map(|at| sampler.window(epoch * sampler.len() + at).unwrap().start / 10)
            .collect()
    };
    assert_eq!(order(0, 0), order(0, 0));
    assert_ne!(order(0, 0), order(0, 1));
    assert_ne!(order(0, 0), order(1, 0));
}

#[test]
fn the_block_order_reads_neighbours_together() {
    let (_data, reader) = numbered(&[100_000]);
    let options = SamplerOptions {
        order: Order::Block { io: 16, window: 8 },
        ..SamplerOptions::new(10)
    };
    let sampler = Sampler::new(reader, options).unwrap();
    for group in 0..sampler.len() / 128 {
        let mut units: Vec<u64> = (group * 128..(group + 1) * 128)
            .map(|number| sampler.window(number).unwrap().start / 160)
            .collect();
        units.sort_unstable();
        units.dedup();
        assert!(
            units.len() <= 16,
            "128 windows come from at most twice 8 units, the rotation cuts each in two"
        );
    }
}

#[test]
fn evaluation_scores_every_token_once() {
    for lengths in [&[1000u64, 50, 8, 9, 2, 1, 700][..], &[5]] {
        let (_data, reader) = numbered(lengths);
        for (length, stride) in [(8, 8), (8, 3), (8, 1), (100, 64), (2000, 5)] {
            let options = SamplerOptions {
                stride,
                order: Order::Sequential,
                mask_overlap: true,
                partial: Partial::Pad,
                ..SamplerOptions::new(length)
            };
            let sampler = Sampler::new(reader.clone(), options).unwrap();
            let (inputs, targets) = batch(&sampler, 0, sampler.len());
            let mut scored: Vec<i64> = targets
                .iter()
                .copied()
                .filter(|&target| target >= 0)
                .collect();
            assert!(
                inputs
                    .iter()
                    .zip(&targets)
                    .all(|(input, target)| *target == -1 || input + 1 == *target)
            );
            scored.sort_unstable();
            let mut expected = Vec::new();
            let mut first = 0;
            for &length in lengths {
                expected.extend(first + 1..first + length as i64);
                first += length as i64;
            }
            assert_eq!(scored, expected, "length {length} stride {stride}");
        }
    }
}

#[test]
fn reserved_tokens_are_in_no_window() {
    let (_data, reader) = numbered(&[100, 200]);
    for order in [Order::Global, Order::Sequential] {
        let options = SamplerOptions {
            order,
            reserve: 50,
            ..SamplerOptions::new(8)
        };
        let sampler = Sampler::new(reader.clone(), options).unwrap();
        let (_, targets) = batch(&sampler, 0, 5 * sampler.len());
        assert!(targets.into_iter().max().unwrap() < 250);
    }
    let all_of_the_last = SamplerOptions {
        reserve: 200,
        ..SamplerOptions::new(8)
    };
    assert_eq!(
        Sampler::new(reader.clone(), all_of_the_last).unwrap().len(),
        12
    );
    let some_of_each = SamplerOptions {
        reserve: 250,
        ..SamplerOptions::new(8)
    };
    let sampler = Sampler::new(reader.clone(), some_of_each).unwrap();
    let (_, targets) = batch(&sampler, 0, 5 * sampler.len());
    assert!(targets.into_iter().max().unwrap() < 50);
    let everything = SamplerOptions {
        reserve: 1000,
        ..SamplerOptions::new(8)
    };
    assert!(Sampler::new(reader, everything).is_err());
}

#[test]
fn a_short_text_says_what_to_do() {
    let (_data, reader) = numbered(&[100]);
    Sampler::new(reader.clone(), SamplerOptions::new(99)).unwrap();
    let error = Sampler::new(reader, SamplerOptions::new(100))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("100 tokens") && error.contains("101") && error.contains("shorter"),
        "{error}"
    );
}

#[test]
fn impossible_plans_are_refused() {
    let (_data, reader) = numbered(&[100]);
    let options = SamplerOptions::new(8);
    for options in [
        SamplerOptions::new(0),
        SamplerOptions::new(1 << 40),
        SamplerOptions {
            stride: 0,
            ..options
        },
        SamplerOptions {
            mask_overlap: true,
            ..options
        },
        SamplerOptions {
            partial: Partial::Pad,
            ..options
        },
        SamplerOptions {
            order: Order::Block { io: 0, window: 5 },
            ..options
        },
        SamplerOptions {
            order: Order::Block { io: 5, window: 0 },
            ..options
        },
        SamplerOptions {
            order: Order::Sequential,
            stride: 9,
            mask_overlap: true,
            ..options
        },
        SamplerOptions {
            order: Order::Sequential,
            stride: 9,
            partial: Partial::Pad,
            ..options
        },
    ] {
        let made = Sampler::new(reader.clone(), options);
        assert!(
            matches!(made, Err(Error::ShardArgument { .. })),
            "{options:?}"
        );
    }
}

#[test]
fn a_plan_is_named_by_all_that_it_depends_on() {
    let (_data, reader) = numbered(&[100]);
    let (_other, other) = numbered(&[101]);
    let base = SamplerOptions {
        order: Order::Sequential,
        ..SamplerOptions::new(8)
    };
    let plans = [
        base,
        SamplerOptions { seed: 1, ..base },
        SamplerOptions {
            sequence_length: 9,
            ..base
        },
        SamplerOptions { stride: 7, ..base },
        SamplerOptions {
            mask_overlap: true,
            ..base
        },
        SamplerOptions {
            partial: Partial::Pad,
            ..base
        },
        SamplerOptions { reserve: 1, ..base },
        SamplerOptions {
            order: Order::Global,
            ..base
        },
        SamplerOptions {
            order: BLOCK,
            ..base
        },
        SamplerOptions {
            order: Order::Block {
                io: 256,
                window: 511,
            },
            ..base
        },
    ];
    let mut names: Vec<_> = plans
        .map(|plan| Sampler::new(reader.clone(), plan).unwrap().fingerprint())
        .into();
    names.push(Sampler::new(other, base).unwrap().fingerprint());
    let sampler = Sampler::new(reader, base).unwrap();
    sampler.expect_fingerprint(&names[0]).unwrap();
    assert!(matches!(
        sampler.expect_fingerprint(&names[1]),
        Err(Error::FingerprintMismatch { .. })
    ));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), plans.len() + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever batch size a program reads with, the samples come one after another as if read singly.
    #[test]
    fn batches_are_slices_of_one_sequence(lengths in prop::collection::vec(1u64..200, 1..6), length in 1u64..20,
                                         stride in 1u64..30, seed in any::<u64>(), first in 0u64..1000, size in 1u64..9,
                                         kind in 0..3usize) {
        let (_data, reader) = numbered(&lengths);
        let order = [Order::Global, Order::Block { io: 3, window: 2 }, Order::Sequential][kind];
        let options = SamplerOptions { stride, seed, order, ..SamplerOptions::new(length) };
        let Ok(sampler) = Sampler::new(reader, options) else {
            prop_assert!(lengths.iter().all(|&tokens| tokens <= length));
            return Ok(());
        };
        let (inputs, targets) = batch(&sampler, first, size);
        let single: Vec<_> = (first..first + size).map(|number| batch(&sampler, number, 1)).collect();
        prop_assert_eq!(inputs, single.iter().flat_map(|(inputs, _)| inputs.clone()).collect::<Vec<_>>());
        prop_assert_eq!(targets, single.iter().flat_map(|(_, targets)| targets.clone()).collect::<Vec<_>>());
    }
}
