//! Encoding against the oracle, and against itself in other ways.

use proptest::prelude::*;

use super::*;
use crate::oracle;
use crate::pattern::Pattern;
use crate::scan::Pretokenizer;
use crate::train::{TrainOptions, WordCounts, train};
use crate::{Error, SpecialSet};

/// Random text of few letters, so that merges meet in many ways.
fn few_letters() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(proptest::sample::select(&b"aab b.1\n\xC3\xA9"[..]), 0..300)
}

/// The merges that training on `text` finds without splitting it much.
fn merges(text: &[u8], wanted: u32) -> Vec<(u32, u32)> {
    let mut words = WordCounts::default();
    for chunk in text.chunks(40) {
        words.add(chunk, 1).unwrap();
    }
    let options = TrainOptions {
        merges: wanted,
        ..TrainOptions::default()
    };
    train(&words, &options, &mut |_| {
        std::ops::ControlFlow::Continue(())
    })
    .unwrap()
    .merges
}

fn tokenizer(merges: &[(u32, u32)], pattern: Pattern) -> Tokenizer {
    let end = 256 + merges.len() as u32;
    let special = [("ab".to_owned(), end), ("a b".to_owned(), end + 1)];
    Tokenizer::from_merges(merges, pattern, &special).unwrap()
}

fn ordinary(tokenizer: &Tokenizer, text: &[u8]) -> Vec<u32> {
    let mut ids = Vec::new();
    tokenizer
        .encode_ordinary(text, &mut Scratch::new(), &mut ids)
        .unwrap();
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_oracle_agrees(corpus in few_letters(), text in few_letters(), wanted in 0u32..60) {
        let merges = merges(&corpus, wanted);
        for pattern in [Pattern::none(), Pattern::named("gpt2").unwrap()] {
            let mut expected = Vec::new();
            Pretokenizer::new(&pattern)
                .unwrap()
                .for_each(&text, |piece| expected.extend(oracle::encode(piece, &merges)));
            let tokenizer = tokenizer(&merges, pattern);
            let ids = ordinary(&tokenizer, &text);
            prop_assert_eq!(&ids, &expected);
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.clone());
        }
    }

    #[test]
    fn ranks_and_merges_agree(corpus in few_letters(), text in few_letters()) {
        let listed = Vocab::from_merges(&merges(&corpus, 40)).unwrap();
        let ranked = Vocab::from_ranks(listed.iter()).unwrap();
        prop_assert_eq!(ranked.merges(), listed.merges());
        let [listed, ranked] = [listed, ranked]
            .map(|vocab| Tokenizer::from_vocab(vocab, Pattern::default(), Vec::new()).unwrap());
        prop_assert_eq!(ordinary(&listed, &text), ordinary(&ranked, &text));
    }

    #[test]
    fn any_ranks_follow_the_rule(tokens: std::collections::BTreeSet<String>, text in few_letters(), seed: u64) {
        let text = String::from_utf8_lossy(&text).into_owned().into_bytes();
        // Tokens in an arbitrary order, most of them not made of earlier ones.
        let mut tokens: Vec<Vec<u8>> = (1..text.len())
            .flat_map(|at| [2, 3, 5].map(|length| text[at..text.len().min(at + length)].to_vec()))
            .chain(tokens.into_iter().map(String::into_bytes))
            .filter(|token| token.len() > 1)
            .collect();
        tokens.sort_by_key(|token| xxhash_rust::xxh3::xxh3_64_with_seed(token, seed));
        tokens.dedup();
        let all: Vec<Vec<u8>> = (0..=255u8).map(|byte| vec![byte]).chain(tokens).collect();
        let vocab = Vocab::from_ranks((0..).zip(all.iter().map(Vec::as_slice))).unwrap();
        let tokenizer = Tokenizer::from_vocab(vocab, Pattern::none(), Vec::new()).unwrap();
        prop_assert_eq!(ordinary(&tokenizer, &text), by_rank(&all, &text));
    }

    #[test]
    fn strategies_agree(corpus in few_letters(), text in few_letters()) {
        let vocab = Vocab::from_merges(&merges(&corpus, 50)).unwrap();
        let piece = &text[..text.len().min(short::LONGEST)];
        let (mut scanned, mut heaped) = (Vec::new(), Vec::new());
        short::merge(vocab.rules(), piece, &mut scanned);
        long::merge(vocab.rules(), piece, &mut MergeBuffers::default(), &mut heaped).unwrap();
        prop_assert_eq!(scanned, heaped);
    }

    #[test]
    fn batches_threads_and_caches_change_nothing(
        corpus in few_letters(),
        texts in proptest::collection::vec(few_letters(), 0..40),
    ) {
        let tokenizer = tokenizer(&merges(&corpus, 30), Pattern::default());
        for allowed in [&SpecialSet::none(), tokenizer.all_special()] {
            let mut expected = Vec::new();
            for text in &texts {
                let mut ids = Vec::new();
                tokenizer.encode(text, allowed, &mut Scratch::without_cache(), &mut ids).unwrap();
                expected.push(ids);
            }
            for threads in [0, 1, 2, 7] {
                let batch = tokenizer.encode_batch(&texts, allowed, threads).unwrap();
                prop_assert!(batch.iter().eq(expected.iter().map(Vec::as_slice)));
            }
        }
    }

    #[test]
    fn offsets_cover_the_text(corpus in few_letters(), text in few_letters()) {
        let tokenizer = tokenizer(&merges(&corpus, 30), Pattern::default());
        let all = tokenizer.all_special();
        let (ids, mut starts) =
            tokenizer.encode_with_offsets(&text, all, &mut Scratch::new()).unwrap();
        starts.push(text.len());
        for (id, span) in ids.iter().zip(starts.windows(2)) {
            prop_assert_eq!(tokenizer.token_bytes(*id).unwrap(), &text[span[0]..span[1]]);
        }
        prop_assert_eq!(starts[0], 0);
        prop_assert_eq!(tokenizer.count(&text, all, &mut Scratch::new()).unwrap(), ids.len());
        for most in [0, 1, 2, ids.len() / 2, ids.len()] {
            let (cut, end) = tokenizer.truncate(&text, most, all, &mut Scratch::new()).unwrap();
            prop_assert!(cut.len() <= most && ids.starts_with(&cut));
            prop_assert_eq!(starts[cut.len()], end);
        }
    }

    #[test]
    fn truncation_keeps_whole_characters(text: String, most in 0usize..30) {
        let tokenizer = tokenizer(&[], Pattern::default());
        let none = SpecialSet::none();
        let (ids, end) =
            tokenizer.truncate(text.as_bytes(), most, &none, &mut Scratch::new()).unwrap();
        prop_assert!(text.is_char_boundary(end) && end <= most);
        prop_assert!(most >= text.len() || end + 4 > most);
        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.as_bytes()[..end].to_vec());
    }
}

/// tiktoken's rule in the plainest way.
fn by_rank(tokens: &[Vec<u8>], text: &[u8]) -> Vec<u32> {
    let ranks: std::collections::HashMap<&[u8], u32> =
        tokens.iter().map(Vec::as_slice).zip(0..).collect();
    if let Some(&id) = ranks.get(text) {
        return vec![id];
    }
    let mut parts: Vec<Vec<u8>> = text.iter().map(|&byte| vec![byte]).collect();
    loop {
        let rank = |pair: &[Vec<u8>]| ranks.get(pair.concat().as_slice()).copied();
        let pairs = parts.windows(2).enumerate();
        let best = pairs.filter_map(|(at, pair)| Some((rank(pair)?, at))).min();
        let Some((_, at)) = best else { break };
        let joined = parts[at..at + 2].concat();
        parts.splice(at..at + 2, [joined]);
    }
    parts.iter().map(|part| ranks[part.as_slice()]).collect()
}

#[test]
fn a_million_times_one_letter_takes_no_time() {
    let a = u32::from(b'a');
    let merges: Vec<(u32, u32)> = std::iter::once((a, a))
        .chain((256..262).map(|id| (id, id)))
        .collect();
    let ids = ordinary(&tokenizer(&merges, Pattern::none()), &vec![b'a'; 1_000_001]);
    assert_eq!(
        ids.len(),
        1_000_000 / 128 + 2,
        "7812 times 128 letters, 64 and one"
    );
}

#[test]
fn whole_pre_tokens_come_first_when_asked() {
    let entries: Vec<Vec<u8>> = (0..=255u8)
        .map(|byte| vec![byte])
        .chain([b"abc".to_vec()])
        .collect();
    for whole_first in [false, true] {
        let tokens = (0..).zip(entries.iter().map(Vec::as_slice));
        let vocab = Vocab::from_tokens(tokens, &[], whole_first).unwrap();
        let tokenizer = Tokenizer::from_vocab(vocab, Pattern::default(), Vec::new()).unwrap();
        assert_eq!(
            ordinary(&tokenizer, b"abc").len(),
            if whole_first { 1 } else { 3 }
        );
    }
}

#[test]
fn a_scratch_serves_any_tokenizer() {
    let mut scratch = Scratch::new();
    let a = u32::from(b'a');
    let tokenizers = [&[][..], &[(a, a)][..]].map(|merges| tokenizer(merges, Pattern::none()));
    for _ in 0..2 {
        for (tokenizer, expected) in tokenizers.iter().zip([2, 1]) {
            let mut ids = Vec::new();
            tokenizer
                .encode_ordinary(b"aa", &mut scratch, &mut ids)
                .unwrap();
            assert_eq!(ids.len(), expected);
        }
    }
}

#[test]
fn the_first_bad_document_is_named_whatever_the_threads() {
    let tokenizer = Tokenizer::characters("ab".chars(), &["<e>".into()]).unwrap();
    let mut texts = vec!["ab".repeat(100_000); 20];
    texts[7] = "ab<e>aé".into();
    texts[11] = "c".into();
    for threads in [1, 3] {
        let error = tokenizer
            .encode_batch(&texts, tokenizer.all_special(), threads)
            .unwrap_err();
        assert!(
            matches!(&error, Error::Document { index: 7, source }
                if matches!(**source, Error::UnknownCharacter { character: 'é', position: 6 })),
            "{error}"
        );
    }
}
