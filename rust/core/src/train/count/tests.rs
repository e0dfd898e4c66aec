//! Counting against a map, and on threads.

use super::*;
use crate::Error;
use crate::documents::{DocumentBuffer, Separators};
use crate::pattern::Pattern;
use proptest::prelude::*;

#[test]
fn counts_are_checked() {
    for word in [&b"short"[..], b"longer than sixteen bytes"] {
        let mut words = WordCounts::new();
        words.add(word, u64::MAX).unwrap();
        assert!(matches!(words.add(word, 1), Err(Error::CountOverflow)));
        assert!(matches!(
            words.merge(&words.clone()),
            Err(Error::CountOverflow)
        ));
    }
    let mut words = WordCounts::new();
    words.add(b"", 3).unwrap();
    words.add(b"x", 0).unwrap();
    assert!(words.is_empty());
}

#[test]
fn a_long_document_is_shared_among_threads() {
    let pretokenizer = Pretokenizer::new(&Pattern::default()).unwrap();
    let text = "It's a long, long way\nto 12345 Tipperary  — 你好。\n".repeat(100_000);
    let documents = [text.as_bytes(), b"", b"end", text.as_bytes()];
    let mut one = WordCounts::new();
    for document in documents {
        one.add_text(&pretokenizer, document).unwrap();
    }
    for threads in [0, 1, 2, 7] {
        let words = count_documents(&pretokenizer, &documents, threads).unwrap();
        assert!(
            words.iter_first_seen().eq(one.iter_first_seen()),
            "{threads}"
        );
    }
    assert!(count_documents(&pretokenizer, &[], 2).unwrap().is_empty());
}

proptest! {
    #[test]
    fn counting_is_that_of_a_map(
        words in prop::collection::vec((prop::collection::vec(0_u8..4, 0..20), 0_u64..1 << 40), 0..3000),
        at in any::<prop::sample::Index>(),
    ) {
        let mut counts = WordCounts::new();
        let (mut left, mut right) = (WordCounts::new(), WordCounts::new());
        let mut seen: Vec<(&[u8], u64)> = Vec::new();
        let mut index = std::collections::HashMap::new();
        let cut = at.index(words.len() + 1);
        for (number, (word, count)) in words.iter().enumerate() {
            counts.add(word, *count).unwrap();
            if number < cut { &mut left } else { &mut right }.add(word, *count).unwrap();
            if !word.is_empty() && *count > 0 {
                let at = *index.entry(word).or_insert(seen.len());
                if at == seen.len() {
                    seen.push((word, 0));
                }
                seen[at].1 += count;
            }
        }
        left.merge(&right).unwrap();
        prop_assert_eq!(&left, &counts);
        prop_assert!(left.iter_first_seen().eq(seen.iter().copied()));
        prop_assert!(counts.iter_first_seen().eq(seen.iter().copied()));
        seen.sort_unstable();
        prop_assert!(counts.iter().eq(seen));
    }
}

/// Words that look like nothing to a table: zeros, bytes that pad keys, and words at the limits of length.
#[test]
fn odd_words_are_counted() {
    let zeros = [0_u8; 40];
    let ones = [0xFF_u8; 40];
    let lengths = [1, 2, 15, 16, 17, 33];
    let odd = lengths
        .iter()
        .flat_map(|&length| [&zeros[..length], &ones[..length]]);
    let odd: Vec<&[u8]> = odd.chain([&b"\0a"[..], b"a\0", b"a\xFF"]).collect();
    let mut words = WordCounts::new();
    for (number, word) in odd.iter().chain(&odd).enumerate() {
        words
            .add(word, 1 + number as u64 / odd.len() as u64)
            .unwrap();
    }
    assert!(
        words
            .iter_first_seen()
            .eq(odd.iter().map(|&word| (word, 3)))
    );
    let mut twice = words.clone();
    twice.merge(&words).unwrap();
    assert!(
        twice
            .iter_first_seen()
            .eq(odd.iter().map(|&word| (word, 6)))
    );
}

/// Sixteen zeros are the key that empty places of the table have.
#[test]
fn a_word_of_zeros_is_one_word() {
    let pretokenizer = Pretokenizer::new(&Pattern::default()).unwrap();
    let text = [&b"a"[..], &[0; 16]].concat().repeat(5000);
    let mut words = WordCounts::new();
    words.add_text(&pretokenizer, &text).unwrap();
    let expected = [(&b"a"[..], 5000), (&[0; 16][..], 5000)];
    assert_eq!(words.len(), 2);
    assert!(words.iter_first_seen().eq(expected));
}

/// A table that grows many times while blocks are counted.
#[test]
fn new_words_in_every_block_are_counted() {
    let pretokenizer = Pretokenizer::new(&Pattern::default()).unwrap();
    let words: Vec<String> = (0..200_000)
        .map(|number| format!(" {}x", number % 70_000))
        .collect();
    let text = words.concat();
    for kernel in Kernel::ALL
        .into_iter()
        .filter(|kernel| kernel.is_available())
    {
        let mut table = WordTable::new(kernel);
        let mut room = Room::new();
        let mut go_on = || ControlFlow::Continue(());
        let mut counting =
            Counting::new(&pretokenizer, &mut room, &mut table, 1, &mut go_on).unwrap();
        counting.push(text.as_bytes()).unwrap();
        counting.flush().unwrap();
        let mut slow = std::collections::HashMap::new();
        pretokenizer.for_each(text.as_bytes(), |word| {
            *slow.entry(word.to_vec()).or_insert(0) += 1;
        });
        assert_eq!(table.len(), slow.len());
        for (word, tally) in table.iter() {
            assert_eq!(slow[word], tally.count);
        }
    }
}

#[test]
fn batches_and_threads_do_not_matter() {
    let pretokenizer = Pretokenizer::new(&Pattern::default()).unwrap();
    let texts: Vec<String> = (0..300)
        .map(|number| format!("some words, {number} and {}\n", number * 7 % 50))
        .collect();
    let batches = || {
        let separators = Separators::none();
        let mut buffer = DocumentBuffer::new(separators, Box::new(|_| None), 64);
        let mut batches = Vec::new();
        for text in &texts {
            buffer.push_document(text.as_bytes()).unwrap();
            while buffer.is_full() {
                batches.extend(buffer.take().unwrap());
            }
        }
        batches.extend(buffer.take().unwrap());
        batches
    };
    let mut one = WordCounts::new();
    for text in &texts {
        one.add_text(&pretokenizer, text.as_bytes()).unwrap();
    }
    let mut go_on = || ControlFlow::Continue(());
    for threads in [0, 1, 2, 5] {
        let mut counter = Counter::new(&pretokenizer, threads);
        for batch in batches() {
            counter.count(batch, 1, &mut go_on).unwrap();
        }
        let words = counter.take(&mut go_on).unwrap();
        assert!(
            words.iter_first_seen().eq(one.iter_first_seen()),
            "{threads}"
        );
    }
    let mut counter = Counter::new(&pretokenizer, 3);
    let mut words = WordCounts::new();
    for batch in batches() {
        counter.count(batch, 5, &mut go_on).unwrap();
        let counted = counter.take(&mut go_on).unwrap();
        words.merge(&counted).unwrap();
    }
    assert!(
        words
            .iter_first_seen()
            .eq(one.iter_first_seen().map(|(word, count)| (word, 5 * count)))
    );
}

#[test]
fn counting_on_threads_can_be_stopped() {
    let pretokenizer = Pretokenizer::new(&Pattern::default()).unwrap();
    let text = "more and more words".repeat(1000);
    let batch = || {
        let mut buffer = DocumentBuffer::new(Separators::none(), Box::new(|_| None), 1 << 20);
        buffer.push_document(text.as_bytes()).unwrap();
        buffer.take().unwrap().unwrap()
    };
    for threads in [1, 2] {
        let mut counter = Counter::new(&pretokenizer, threads);
        let mut stop = || ControlFlow::Break(());
        let mut stopped = (0..).map(|_| {
            counter.count(batch(), 1, &mut stop)?;
            counter.take(&mut stop).map(drop)
        });
        let error = stopped.find_map(Result::err);
        assert!(matches!(error, Some(Error::Cancelled)), "{threads}");
    }
}

#[test]
fn sorting_can_be_stopped() {
    let mut values: Vec<u32> = (0..300_000)
        .map(|number: u32| number.wrapping_mul(7919))
        .collect();
    let mut sorted = values.clone();
    sorted.sort_unstable();
    sort_while(&mut values, &|&value| value, &mut || {
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(values, sorted);
    let stopped = sort_while(&mut values, &|&value| value, &mut || ControlFlow::Break(()));
    assert!(matches!(stopped, Err(Error::Cancelled)));
}
