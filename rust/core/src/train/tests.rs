//! Training against the oracle, and its contracts.

use proptest::prelude::*;

use super::*;
use crate::oracle;
use crate::pattern::Pattern;
use crate::scan::Pretokenizer;

const RULES: [TieBreak; 4] = [
    TieBreak::SmallestIds,
    TieBreak::HuggingFace,
    TieBreak::Bytes,
    TieBreak::FirstSeen,
];

fn quiet(_: u32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn counts(words: &[(Vec<u8>, u64)]) -> WordCounts {
    let mut counts = WordCounts::new();
    for (word, count) in words {
        counts.add(word, *count).unwrap();
    }
    counts
}

fn options(merges: u32) -> TrainOptions {
    TrainOptions {
        merges,
        ..TrainOptions::default()
    }
}

/// Few symbols, so that pairs overlap and tie; 0xA0 and 0x20 change places in
/// Hugging Face's order.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let symbol = prop::sample::select(b"aaabc \xA0\xFF\0".to_vec());
    prop_oneof![
        8 => prop::collection::vec(symbol.clone(), 1..12),
        3 => prop::collection::vec(symbol.clone(), 12..40),
        1 => prop::collection::vec(prop::sample::select(b"ab".to_vec()), 190..420),
        1 => (symbol, 1_usize..300).prop_map(|(symbol, len)| vec![symbol; len]),
    ]
}

fn words() -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
    let weight = prop_oneof![4 => 1_u64..4, 1 => 1_u64..1 << 40];
    prop::collection::vec((word(), weight), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn training_is_counting_anew_at_every_step(
        words in words(),
        merges in 0_u32..60,
        min_count in 0_u64..5,
        max_token_bytes in prop::option::of(2_usize..9),
    ) {
        let counts = counts(&words);
        let in_order: Vec<_> = counts.iter_first_seen().map(|(word, count)| (word.to_vec(), count)).collect();
        for tie_break in RULES {
            let options = TrainOptions { merges, tie_break, min_count, max_token_bytes, ..options(0) };
            let trained = train(counts.clone(), &options, &mut quiet).unwrap();
            prop_assert_eq!(trained, oracle::train(&in_order, &options), "{:?}", tie_break);
        }
    }

    #[test]
    fn every_kernel_and_width_learns_the_same(words in words(), merges in 0_u32..60) {
        let counts = counts(&words);
        for tie_break in [TieBreak::SmallestIds, TieBreak::Bytes] {
            let options = TrainOptions { tie_break, ..options(merges) };
            let trained = train(counts.clone(), &options, &mut quiet).unwrap();
            for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()) {
                let narrow = learn::<u16>(kernel, counts.clone(), merges as usize, &options, Tuning::default(), &mut quiet);
                prop_assert_eq!(&narrow.unwrap(), &trained, "{:?}", kernel);
                let wide = learn::<u32>(kernel, counts.clone(), merges as usize, &options, Tuning::default(), &mut quiet);
                prop_assert_eq!(&wide.unwrap(), &trained, "{:?}", kernel);
            }
        }
    }

    #[test]
    fn room_for_few_postings_changes_nothing(words in words(), merges in 0_u32..60, postings in 0_usize..200) {
        let counts = counts(&words);
        for tie_break in RULES {
            let options = TrainOptions { tie_break, ..options(merges) };
            let trained = train(counts.clone(), &options, &mut quiet).unwrap();
            let learned = learn::<u16>(Kernel::best(), counts.clone(), merges as usize, &options, Tuning { postings: Some(postings), ..Tuning::default() }, &mut quiet);
            prop_assert_eq!(learned.unwrap(), trained, "{:?}", tie_break);
        }
    }

    #[test]
    fn threads_change_nothing(words in words(), merges in 0_u32..60, threads in 2_usize..5, postings in prop::option::of(0_usize..200)) {
        let counts = counts(&words);
        for tie_break in RULES {
            let options = TrainOptions { tie_break, ..options(merges) };
            let trained = train(counts.clone(), &options, &mut quiet).unwrap();
            let options = TrainOptions { threads, ..options };
            for heavy in [0, 4] {
                let tuning = Tuning { postings, shared: Some(0), heavy: Some(heavy), dense: Some(heavy) };
                let narrow = learn::<u16>(Kernel::best(), counts.clone(), merges as usize, &options, tuning, &mut quiet);
                prop_assert_eq!(&narrow.unwrap(), &trained, "{:?}", tie_break);
                let wide = learn::<u32>(Kernel::best(), counts.clone(), merges as usize, &options, tuning, &mut quiet);
                prop_assert_eq!(&wide.unwrap(), &trained, "{:?}", tie_break);
            }
        }
    }

    #[test]
    fn training_goes_on_where_it_stopped(
        words in words(),
        first in 0_u32..30,
        more in 0_u32..30,
        max_token_bytes in prop::option::of(2_usize..9),
    ) {
        let counts = counts(&words);
        for tie_break in RULES {
            let whole = TrainOptions { merges: first + more, tie_break, max_token_bytes, ..options(0) };
            let begun = TrainOptions { merges: first, ..whole.clone() };
            let initial_merges = train(counts.clone(), &begun, &mut quiet).unwrap().merges;
            let rest = TrainOptions { initial_merges, ..whole.clone() };
            let trained = train(counts.clone(), &rest, &mut quiet).unwrap();
            prop_assert_eq!(trained, train(counts.clone(), &whole, &mut quiet).unwrap());
        }
    }

    #[test]
    fn foreign_merges_to_begin_with_are_kept(words in words(), other in words(), merges in 0_u32..40) {
        let foreign = train(counts(&other), &options(20), &mut quiet).unwrap().merges;
        let counts = counts(&words);
        let in_order: Vec<_> = counts.iter_first_seen().map(|(word, count)| (word.to_vec(), count)).collect();
        for tie_break in RULES {
            let options = TrainOptions { tie_break, min_count: 2, max_token_bytes: Some(4), initial_merges: foreign.clone(), ..options(merges) };
            let trained = train(counts.clone(), &options, &mut quiet).unwrap();
            prop_assert_eq!(trained, oracle::train(&in_order, &options));
        }
    }

    #[test]
    fn order_of_texts_and_number_of_threads_do_not_matter(
        texts in prop::collection::vec("[ab c\u{e9}\n'1]{0,40}", 0..12),
        seed in any::<prop::sample::Index>(),
    ) {
        let pretokenizer = Pretokenizer::new(&Pattern::default()).unwrap();
        let documents: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        let mut shuffled = documents.clone();
        shuffled.rotate_left(seed.index(documents.len() + 1));
        shuffled.reverse();
        for tie_break in RULES {
            let options = TrainOptions { tie_break, ..options(30) };
            let train_on = |documents: &[&[u8]], threads| {
                let counts = count_documents(&pretokenizer, documents, threads).unwrap();
                train(counts.clone(), &options, &mut quiet).unwrap()
            };
            let one = train_on(&documents, 1);
            prop_assert_eq!(&train_on(&documents, 2), &one);
            prop_assert_eq!(&train_on(&documents, 7), &one);
            if tie_break != TieBreak::FirstSeen {
                prop_assert_eq!(&train_on(&shuffled, 3), &one);
            }
        }
    }
}

/// Works by hand, one row per rule: `ab` and `bc` tie, as do later pairs.
#[test]
fn tie_rules() {
    let mut words = WordCounts::new();
    for word in [&b"b "[..], b"ab", b" b"] {
        words.add(word, 1).unwrap();
    }
    let (a, b, space) = (97, 98, 32);
    let rows = [
        (TieBreak::SmallestIds, [(space, b), (a, b), (b, space)]),
        (TieBreak::HuggingFace, [(a, b), (b, space), (space, b)]),
        (TieBreak::Bytes, [(b, space), (a, b), (space, b)]),
        (TieBreak::FirstSeen, [(b, space), (a, b), (space, b)]),
    ];
    for (tie_break, merges) in rows {
        let options = TrainOptions {
            tie_break,
            ..options(9)
        };
        let trained = train(words.clone(), &options, &mut quiet).unwrap();
        assert_eq!(trained.merges, merges, "{tie_break:?}");
    }
}

#[test]
fn stops_early_when_no_pair_is_left() {
    let words = counts(&[(b"abc".to_vec(), 2), (b"x".to_vec(), 9)]);
    assert_eq!(
        train(words.clone(), &options(u32::MAX), &mut quiet)
            .unwrap()
            .counts,
        [2, 2]
    );
    assert_eq!(
        train(WordCounts::new(), &options(9), &mut quiet).unwrap(),
        Trained::default()
    );
}

/// As many merges as narrow symbols have room for, and one more: the last id is never written.
#[test]
fn narrow_symbols_reach_their_limit() {
    let counts = counts(&[(b"low lower lowest".to_vec(), 3)]);
    let trained = train(counts.clone(), &options(99), &mut quiet).unwrap();
    let options = options(u32::MAX);
    for most in [MOST_NARROW, MOST_NARROW - 1] {
        let narrow = learn::<u16>(
            Kernel::best(),
            counts.clone(),
            most,
            &options,
            Tuning::default(),
            &mut quiet,
        );
        assert_eq!(narrow.unwrap(), trained);
    }
    let most = crate::vocab::GREATEST_ID as usize - 255;
    let wide = learn::<u32>(
        Kernel::best(),
        counts,
        most,
        &options,
        Tuning::default(),
        &mut quiet,
    );
    assert_eq!(wide.unwrap(), trained);
}

#[test]
fn can_be_cancelled() {
    let words = counts(&[(b"abcdef".to_vec(), 1)]);
    let mut heard = Vec::new();
    let result = train(words.clone(), &options(5), &mut |done| {
        heard.push(done);
        if done == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(heard, [1, 2]);
}

#[test]
fn impossible_requests_are_errors() {
    let huge = counts(&[(b"abc".to_vec(), u64::MAX / 2 + 1)]);
    assert!(matches!(
        train(huge.clone(), &options(1), &mut quiet),
        Err(Error::CountOverflow)
    ));
    let most = counts(&[(b"abc".to_vec(), u64::MAX / 2)]);
    assert_eq!(
        train(most.clone(), &options(1), &mut quiet).unwrap().counts,
        [u64::MAX / 2]
    );
    for (index, initial_merges) in [
        (0, vec![(256, 97)]),
        (1, vec![(97, 97), (97, 97)]),
        (1, vec![(97, 97), (97, u32::MAX)]),
    ] {
        let options = TrainOptions {
            initial_merges,
            ..options(9)
        };
        let result = train(most.clone(), &options, &mut quiet);
        assert!(matches!(result, Err(Error::InvalidMerge { index: at, .. }) if at == index));
    }
}

/// Words of a megabyte: in a record, each merge would read all of it.
#[test]
fn long_words_take_n_log_n() {
    let mut state = 1_u64;
    let random = (0..1_000_000).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        b'a' + (state >> 60) as u8
    });
    for word in [vec![b'a'; 1_000_000], random.collect()] {
        for tie_break in [TieBreak::SmallestIds, TieBreak::Bytes] {
            let options = TrainOptions {
                tie_break,
                ..options(500)
            };
            let trained = train(counts(&[(word.clone(), 1)]), &options, &mut quiet).unwrap();
            let lengths =
                trained
                    .merges
                    .iter()
                    .fold(vec![1; 256], |mut lengths, &(left, right)| {
                        lengths.push(lengths[left as usize] + lengths[right as usize]);
                        lengths
                    });
            assert!(*lengths.last().unwrap() >= 3);
        }
    }
}

/// Whoever stops is heard before anything is merged too, whatever the words look like.
#[test]
fn can_be_cancelled_while_words_are_laid_out() {
    let many = (0_u32..1 << 19).map(|number| (number.to_be_bytes().to_vec(), 1));
    let long = vec![(b"ab".repeat(1 << 19), 1)];
    for words in [counts(&many.collect::<Vec<_>>()), counts(&long)] {
        for threads in [1, 3] {
            let options = TrainOptions {
                threads,
                ..options(500)
            };
            let mut looks = 0;
            train(words.clone(), &options, &mut |done| {
                looks += u32::from(done == 0);
                ControlFlow::Continue(())
            })
            .unwrap();
            assert!(looks > 9, "{looks}");
            for stop in [0, looks / 2, looks - 1] {
                let mut heard = 0;
                let result = train(words.clone(), &options, &mut |_| {
                    heard += 1;
                    if heard > stop {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                });
                assert!(matches!(result, Err(Error::Cancelled)));
                assert_eq!(heard, stop + 1);
            }
        }
    }
}
