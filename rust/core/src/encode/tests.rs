//! Encoding against the oracle, and against itself in other ways.

use proptest::prelude::*;

use super::*;
use crate::oracle;
use crate::pattern::Pattern;
use crate::scan::Pretokenizer;
use crate::simd::Kernel;
use crate::train::{TrainOptions, WordCounts, train};
use crate::vocab::Vocab;
use crate::{Error, SpecialSet, Tokenizer};

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
    train(words.clone(), &options, &mut |_| {
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
    tokenizer.encode_ordinary(text).unwrap()
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
    fn batches_threads_and_caches_change_nothing(
        corpus in few_letters(),
        texts in proptest::collection::vec(few_letters(), 0..40),
    ) {
        let tokenizer = tokenizer(&merges(&corpus, 30), Pattern::default());
        let slow = tokenizer.with_options(EncodeOptions { kernel: Kernel::Portable, table_bytes: 0 });
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        for allowed in [&SpecialSet::none(), tokenizer.all_special()] {
            let mut expected = Vec::new();
            for &text in &texts {
                expected.push(slow.encode(text, allowed).unwrap());
            }
            for threads in [0, 1, 2, 7] {
                let batch = tokenizer.encode_batch(&texts, allowed, threads).unwrap();
                prop_assert!(batch.iter().eq(expected.iter().cloned()));
            }
        }
    }

    #[test]
    fn offsets_cover_the_text(corpus in few_letters(), text in few_letters()) {
        let tokenizer = tokenizer(&merges(&corpus, 30), Pattern::default());
        let all = tokenizer.all_special();
        let (ids, mut starts) =
            tokenizer.encode_with_offsets(text.as_slice(), all).unwrap();
        starts.push(text.len());
        for (id, span) in ids.iter().zip(starts.windows(2)) {
            prop_assert_eq!(tokenizer.token_bytes(*id).unwrap(), &text[span[0]..span[1]]);
        }
        prop_assert_eq!(starts[0], 0);
        prop_assert_eq!(tokenizer.count(text.as_slice(), all).unwrap(), ids.len());
        for most in [0, 1, 2, ids.len() / 2, ids.len()] {
            let (cut, end) = tokenizer.truncate(text.as_slice(), most, all).unwrap();
            prop_assert!(cut.len() <= most && ids.starts_with(&cut));
            prop_assert_eq!(starts[cut.len()], end);
        }
    }

    #[test]
    fn truncation_keeps_whole_characters(text: String, most in 0usize..30) {
        let tokenizer = tokenizer(&[], Pattern::default());
        let none = SpecialSet::none();
        let (ids, end) =
            tokenizer.truncate(text.as_str(), most, &none).unwrap();
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
fn the_first_bad_document_is_named_whatever_the_threads() {
    let tokenizer = Tokenizer::characters("ab".chars(), &["<e>".into()]).unwrap();
    let long = "ab".repeat(100_000);
    let mut texts = vec![long.as_str(); 20];
    texts[7] = "ab<e>aé";
    texts[11] = "c";
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

#[test]
fn every_call_ends_when_it_is_told_to() {
    let tokenizer = Tokenizer::from_merges(&[], Pattern::named("gpt2").unwrap(), &[]).unwrap();
    let none = SpecialSet::none();
    // Many pieces; a few that are long; one that is the whole text.
    let long = "a".repeat(20_000) + " ";
    let texts = ["a ".repeat(10_000), long.repeat(10), "a".repeat(200_000)];
    for (text, answers) in texts
        .iter()
        .flat_map(|text| [0, 1, 3].map(|answers| (text, answers)))
    {
        let text = || Text::from(&**text);
        let asked = std::cell::Cell::new(0);
        let go_on = || {
            asked.set(asked.get() + 1);
            asked.get() <= answers
        };
        let calls: [&dyn Fn() -> Option<Error>; 5] = [
            &|| tokenizer.encode_while(text(), &none, &go_on).err(),
            &|| tokenizer.count_while(text(), &none, &go_on).err(),
            &|| {
                tokenizer
                    .count_until_while(text(), 1 << 20, &none, &go_on)
                    .err()
            },
            &|| {
                tokenizer
                    .encode_with_offsets_while(text(), &none, &go_on)
                    .err()
            },
            &|| {
                tokenizer
                    .truncate_while(text(), 1 << 20, &none, &go_on)
                    .err()
            },
        ];
        for call in calls {
            asked.set(0);
            assert!(matches!(call(), Some(Error::Cancelled)));
            assert_eq!(asked.get(), answers + 1, "nothing is done after a no");
        }
    }
}

/// A worker is in use as long as a call lasts; a call within a call takes another one.
#[test]
fn calls_overlap() {
    let tokenizer = Tokenizer::from_merges(&[(97, 98)], Pattern::default(), &[]).unwrap();
    let none = SpecialSet::none();
    let inner = || tokenizer.encode_ordinary("abab").unwrap() == [256, 256];
    for _ in 0..2 {
        let deepest = || tokenizer.encode_while("ab".into(), &none, &inner).is_ok();
        let ids = tokenizer
            .encode_while("ab".into(), &none, &deepest)
            .unwrap();
        assert_eq!(ids.to_vec(), [256]);
    }
}

/// A tokenizer with merges of real letters, and texts of every kind of character.
mod every_way {
    use super::*;

    fn text() -> impl Strategy<Value = String> {
        let telling = prop::sample::select(
            "   \n\r\t\u{85}\u{A0}\u{3000}aAsStTdmMrRevVlLDſKßéÉǅªʰ你好中文カタ・\u{301}\u{200D}กขค0９²Ⅷ'’/!.,-+€😀\u{0}"
                .chars()
                .collect::<Vec<_>>(),
        );
        prop::collection::vec(prop_oneof![8 => telling, 1 => any::<char>()], 0..150)
            .prop_map(|characters| characters.into_iter().collect())
    }

    fn kernels() -> impl Iterator<Item = Kernel> {
        Kernel::ALL
            .into_iter()
            .filter(|kernel| kernel.is_available())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// All kernels, sizes of table, widths of ids, pieces of the text that were seen before.
        #[test]
        fn the_ids_are_the_oracles(corpus in text(), text in text(), wanted in 0..80_u32, wide: bool) {
            let mut words = WordCounts::default();
            for word in corpus.split_inclusive(' ') {
                words.add(word.as_bytes(), 1).unwrap();
            }
            let options = TrainOptions { merges: wanted, ..TrainOptions::default() };
            let trained = train(words.clone(), &options, &mut |_| std::ops::ControlFlow::Continue(()));
            let merges = trained.unwrap().merges;
            let special = wide.then(|| ("<e>".to_owned(), 70_000));
            for name in crate::pattern::NAMES {
                let pattern = Pattern::named(name).unwrap();
                let mut expected = Vec::new();
                Pretokenizer::new(&pattern)
                    .unwrap()
                    .for_each(text.as_bytes(), |piece| expected.extend(oracle::encode(piece, &merges)));
                let special: Vec<_> = special.iter().cloned().collect();
                let tokenizer = Tokenizer::from_merges(&merges, pattern, &special).unwrap();
                for kernel in kernels() {
                    for table_bytes in [0, 1 << 10, 16 << 20] {
                        let tokenizer = tokenizer.with_options(EncodeOptions { kernel, table_bytes });
                        for _ in 0..2 {
                            let ids = tokenizer.encode_ordinary(text.as_str()).unwrap();
                            prop_assert_eq!(&ids, &expected, "{} {:?}", name, kernel);
                        }
                        let none = SpecialSet::none();
                        prop_assert_eq!(tokenizer.count(text.as_str(), &none).unwrap(), expected.len());
                        let narrow = tokenizer.encode_while(text.as_str().into(), &none, &|| true).unwrap();
                        prop_assert_eq!(matches!(narrow, Ids::Wide(_)), wide);
                        prop_assert_eq!(narrow.to_vec(), expected.clone());
                    }
                }
            }
        }

        #[test]
        fn broken_text_is_encoded_whole(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x20_u8..0x7F, 0xE0..0xF0_u8], 0..300)) {
            let tokenizer = tokenizer(&merges(&bytes, 40), Pattern::named("gpt2").unwrap());
            let merges = tokenizer.vocab().unwrap().trained_merges().unwrap();
            let mut expected = Vec::new();
            Pretokenizer::new(tokenizer.pattern())
                .unwrap()
                .for_each(&bytes, |piece| expected.extend(oracle::encode(piece, &merges)));
            for kernel in kernels() {
                let tokenizer = tokenizer.with_options(EncodeOptions { kernel, ..EncodeOptions::default() });
                prop_assert_eq!(&tokenizer.encode_ordinary(bytes.as_slice()).unwrap(), &expected);
            }
        }
    }
}
