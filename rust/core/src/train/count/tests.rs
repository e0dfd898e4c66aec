//! Counting against a map, and on threads.

use super::*;
use crate::Error;
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
