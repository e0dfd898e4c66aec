//! Random small vocabularies of every kind, each with the rule that its ids must follow.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::ops::ControlFlow;

use gptbpe_benches::Random;
use gptbpe_core::pattern::Pattern;
use gptbpe_core::train::{TrainOptions, WordCounts, train};
use gptbpe_core::vocab::{GREATEST_ID, Vocab};
use gptbpe_core::{SpecialToken, Tokenizer};

use crate::oracle::{Merging, Splitter};
use crate::report::escaped;
use crate::texts::Texts;

/// A tokenizer, what it must do, and what it is made of.
pub(crate) struct Made {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) merging: Merging,
    pub(crate) description: String,
}

/// Tokens by id, with merges over these ids.
struct Parts {
    /// The 256 bytes come first.
    tokens: Vec<(u32, Vec<u8>)>,
    merges: Vec<(u32, u32)>,
}

/// A vocabulary that suits texts like these.
pub(crate) fn random(texts: &mut Texts, splitter: &mut Splitter, pattern: &Pattern) -> Made {
    let mut words: Vec<Vec<u8>> = Vec::new();
    for _ in 0..=texts.random().below(60) {
        let text = texts.next().as_bytes().to_vec();
        let mut pieces = Vec::new();
        splitter.pieces(&text, &mut pieces);
        words.extend(
            pieces
                .iter()
                .flat_map(|piece| piece.chunks(60))
                .map(<[u8]>::to_vec),
        );
    }
    let random = texts.random();
    let wanted = [0, 8, 60, 300][random.below(4)];
    let merges = learned(&words, random.below(wanted + 1) as u32);
    match random.below(6) {
        0 => own(merges, pattern, None),
        1 => own(merges, pattern, Some(70_000 + random.below(1 << 20) as u32)),
        2 | 3 => listed(&merges, &words, pattern, random),
        _ => ranked(&merges, &words, pattern, random),
    }
}

fn learned(words: &[Vec<u8>], merges: u32) -> Vec<(u32, u32)> {
    let mut counts = WordCounts::default();
    for word in words {
        counts
            .add(word, 1)
            .expect("a few words do not overflow 64 bits");
    }
    let options = TrainOptions {
        merges,
        ..TrainOptions::default()
    };
    let trained = train(counts.clone(), &options, &mut |_| ControlFlow::Continue(()));
    trained.expect("nothing cancels this").merges
}

/// Our own numbering, with a greatest id that decides how wide ids are.
fn own(merges: Vec<(u32, u32)>, pattern: &Pattern, special: Option<u32>) -> Made {
    let named: Vec<_> = special
        .iter()
        .map(|&id| ("<|special|>".to_owned(), id))
        .collect();
    let tokenizer = Tokenizer::from_merges(&merges, pattern.clone(), &named)
        .expect("learned merges are a vocabulary");
    let description =
        format!("Tokenizer::from_merges, special token {special:?}, merges {merges:?}");
    let ranked = merges.into_iter().zip(0..);
    let pairs = ranked.map(|(pair, rank)| (pair, (rank, 256 + rank)));
    let merging = Merging {
        bytes: (0..256).collect(),
        pairs: pairs.collect(),
        ..Merging::default()
    };
    Made {
        tokenizer,
        merging,
        description,
    }
}

/// Ids in any order, with holes; for `dense` none is left out at the beginning.
fn ids(count: usize, random: &mut Random) -> Vec<u32> {
    let (first, step) = match random.below(5) {
        0 => (0, 1),
        1 => (random.below(70_000), 1),
        2 => (65_536 - random.below(600), 1),
        3 => ((1 << 18) - random.below(600), 1),
        _ => (0, 1 + random.below(2_000)),
    };
    let mut ids: Vec<u32> = (0..count)
        .map(|number| (first + number * step) as u32)
        .collect();
    // One id alone is large: the greatest that fit in something, and the first that do not.
    if random.below(3) == 0 {
        let large = LARGE_IDS[random.below(LARGE_IDS.len())];
        if let Some(last) = ids.last_mut() {
            *last = large.max(*last);
        }
        // That of a frequent byte, or of the last token.
        if random.below(2) == 0 {
            ids.swap(usize::from(b"a e\n1\x80"[random.below(6)]), count - 1);
        }
    }
    ids
}

/// Around the greatest ids of 16 bits, of 18 bits and of all.
const LARGE_IDS: [u32; 8] = [
    (1 << 16) - 2,
    (1 << 16) - 1,
    1 << 16,
    (1 << 18) - 2,
    (1 << 18) - 1,
    1 << 18,
    GREATEST_ID - 1,
    GREATEST_ID,
];

fn shuffle<T>(values: &mut [T], random: &mut Random) {
    for at in (1..values.len()).rev() {
        values.swap(at, random.below(at + 1));
    }
}

/// The tokens of learned merges, bytes included, in their order.
fn tokens_of(merges: &[(u32, u32)]) -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    for &(left, right) in merges {
        tokens.push([tokens[left as usize].as_slice(), &tokens[right as usize]].concat());
    }
    tokens
}

/// Adds pieces of words that are no tokens yet.
fn add_unlearned(tokens: &mut Vec<Vec<u8>>, words: &[Vec<u8>], random: &mut Random) {
    let mut known: HashSet<Vec<u8>> = tokens.iter().cloned().collect();
    for _ in 0..random.below(100) {
        let word = &words[random.below(words.len())];
        let start = random.below(word.len());
        let end = (start + 2 + random.below(5)).min(word.len());
        let token = if random.below(8) == 0 {
            word.clone()
        } else {
            word[start..end].to_vec()
        };
        if token.len() > 1 && known.insert(token.clone()) {
            tokens.push(token);
        }
    }
}

/// Hugging Face's kind: any ids, merges in any order, several merges for one token, tokens that no merge makes.
fn listed(
    learned: &[(u32, u32)],
    words: &[Vec<u8>],
    pattern: &Pattern,
    random: &mut Random,
) -> Made {
    let mut bytes = tokens_of(learned);
    if random.below(2) == 0 {
        add_unlearned(&mut bytes, words, random);
    }
    let mut numbers = ids(bytes.len(), random);
    if random.below(2) == 0 {
        shuffle(&mut numbers, random);
    }
    let mut merges: Vec<(u32, u32)> = learned
        .iter()
        .map(|&(left, right)| (numbers[left as usize], numbers[right as usize]))
        .collect();
    if random.below(2) == 0 {
        add_merges(&mut merges, &bytes, &numbers, random);
    }
    if random.below(3) == 0 {
        shuffle(&mut merges, random);
    }
    let whole_first = random.below(2) == 0;
    let parts = Parts {
        tokens: numbers.into_iter().zip(bytes).collect(),
        merges,
    };
    parts.made(pattern, whole_first)
}

/// Adds other ways to make tokens.
fn add_merges(
    merges: &mut Vec<(u32, u32)>,
    bytes: &[Vec<u8>],
    numbers: &[u32],
    random: &mut Random,
) {
    let id_of: HashMap<&[u8], u32> = bytes
        .iter()
        .map(Vec::as_slice)
        .zip(numbers.iter().copied())
        .collect();
    let mut known: HashSet<(u32, u32)> = merges.iter().copied().collect();
    for token in &bytes[256..] {
        for middle in 1..token.len() {
            if let (Some(&left), Some(&right)) =
                (id_of.get(&token[..middle]), id_of.get(&token[middle..]))
                && random.below(2) == 0
                && known.insert((left, right))
            {
                merges.insert(random.below(merges.len() + 1), (left, right));
            }
        }
    }
}

/// tiktoken's kind, in an order that learning would give or in another one.
fn ranked(
    learned: &[(u32, u32)],
    words: &[Vec<u8>],
    pattern: &Pattern,
    random: &mut Random,
) -> Made {
    let mut bytes = tokens_of(learned);
    if random.below(2) == 0 {
        add_unlearned(&mut bytes, words, random);
    }
    match random.below(3) {
        0 => {}
        1 => shuffle(&mut bytes[256..], random),
        _ => shuffle(&mut bytes, random),
    }
    let numbers = ids(bytes.len(), random);
    let tokens: Vec<(u32, Vec<u8>)> = numbers.into_iter().zip(bytes).collect();
    let entries = tokens.iter().map(|(id, token)| (*id, token.as_slice()));
    let tokenizer = Tokenizer::from_ranks(entries, pattern.clone(), &[]).expect("these are ranks");
    let merging = Merging {
        bytes: byte_ids(&tokens),
        ranks: Some(by_bytes(&tokens)),
        whole: Some(by_bytes(&tokens)),
        ..Merging::default()
    };
    let description = format!("Tokenizer::from_ranks, {}", described(&tokens));
    Made {
        tokenizer,
        merging,
        description,
    }
}

impl Parts {
    fn made(self, pattern: &Pattern, whole_first: bool) -> Made {
        let Self { tokens, merges } = self;
        let entries = tokens.iter().map(|(id, token)| (*id, token.as_slice()));
        let vocab =
            Vocab::from_tokens(entries, &merges, whole_first).expect("tokens and merges of them");
        let special: Vec<SpecialToken> = Vec::new();
        let tokenizer =
            Tokenizer::from_vocab(vocab, pattern.clone(), special).expect("a vocabulary");
        let by_bytes = by_bytes(&tokens);
        let by_id: HashMap<u32, &[u8]> = tokens
            .iter()
            .map(|(id, token)| (*id, token.as_slice()))
            .collect();
        let pairs = merges.iter().zip(0..).map(|(&(left, right), rank)| {
            let joined = [by_id[&left], by_id[&right]].concat();
            ((left, right), (rank, by_bytes[&joined]))
        });
        let merging = Merging {
            bytes: byte_ids(&tokens),
            pairs: pairs.collect(),
            whole: whole_first.then(|| by_bytes.clone()),
            ranks: None,
        };
        let description = format!(
            "Vocab::from_tokens, whole_first {whole_first}, merges {merges:?}, {}",
            described(&tokens)
        );
        Made {
            tokenizer,
            merging,
            description,
        }
    }
}

fn by_bytes(tokens: &[(u32, Vec<u8>)]) -> HashMap<Vec<u8>, u32> {
    tokens
        .iter()
        .map(|(id, token)| (token.clone(), *id))
        .collect()
}

fn byte_ids(tokens: &[(u32, Vec<u8>)]) -> Vec<u32> {
    let mut ids = vec![0; 256];
    for (id, token) in tokens {
        if let [byte] = token[..] {
            ids[usize::from(byte)] = *id;
        }
    }
    ids
}

fn described(tokens: &[(u32, Vec<u8>)]) -> String {
    let mut text = "tokens".to_owned();
    for (id, token) in tokens {
        // Writing to a `String` cannot fail.
        let _ = write!(text, " ({id}, {})", escaped(token));
    }
    text
}
