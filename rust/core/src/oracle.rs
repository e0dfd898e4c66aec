//! Training and encoding in the plainest way, to prove the fast ways against.
//!
//! Each step of [`train`] counts all pairs anew; each step of [`encode`] looks
//! for the lowest rank anew. Nothing is kept between steps, so there is nothing
//! to get wrong. Quadratic and worse: for tests only.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::train::{TieBreak, TrainOptions, Trained};

/// The merges that [`crate::train::train`] must find. `words` stand in the
/// order in which they were first seen; only [`TieBreak::FirstSeen`] looks.
pub fn train(words: &[(Vec<u8>, u64)], options: &TrainOptions) -> Trained {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let mut words: Vec<(Vec<u32>, u64)> = words
        .iter()
        .map(|(word, count)| (word.iter().map(|&byte| u32::from(byte)).collect(), *count))
        .collect();
    let mut trained = Trained::default();
    for step in 0..options.merges {
        let pairs = count_pairs(&words);
        let initial = options.initial_merges.get(step as usize).copied();
        let best = match initial {
            Some(pair) => Some((pair, pairs.get(&pair).map_or(0, |&(count, _)| count))),
            None => best_pair(&pairs, &tokens, options),
        };
        let Some((pair, count)) = best else { break };
        let token = [tokens[pair.0 as usize].as_slice(), &tokens[pair.1 as usize]].concat();
        tokens.push(token);
        for (symbols, _) in &mut words {
            *symbols = merge(symbols, pair, 256 + step);
        }
        trained.merges.push(pair);
        trained.counts.push(count);
    }
    trained
}

/// The ids of one pre-token: of all adjacent pairs that a merge joins, the
/// one of lowest rank is joined, leftmost first, until none is left.
pub fn encode(word: &[u8], merges: &[(u32, u32)]) -> Vec<u32> {
    let mut symbols: Vec<u32> = word.iter().map(|&byte| u32::from(byte)).collect();
    loop {
        let rank = |pair: &[u32]| merges.iter().position(|&merge| merge == (pair[0], pair[1]));
        let lowest = symbols
            .windows(2)
            .enumerate()
            .filter_map(|(at, pair)| Some((rank(pair)?, at)))
            .min();
        let Some((rank, at)) = lowest else {
            return symbols;
        };
        symbols.splice(at..at + 2, [256 + rank as u32]);
    }
}

/// Count and place of first occurrence of every adjacent pair.
type Pairs = HashMap<(u32, u32), (u64, usize)>;

fn count_pairs(words: &[(Vec<u32>, u64)]) -> Pairs {
    let mut pairs = Pairs::new();
    let mut place = 0;
    for (symbols, count) in words {
        for pair in symbols.windows(2) {
            pairs.entry((pair[0], pair[1])).or_insert((0, place)).0 += count;
            place += 1;
        }
    }
    pairs
}

fn best_pair(
    pairs: &Pairs,
    tokens: &[Vec<u8>],
    options: &TrainOptions,
) -> Option<((u32, u32), u64)> {
    let length = |id: u32| tokens[id as usize].len();
    let short_enough = |&(left, right): &(u32, u32)| {
        options
            .max_token_bytes
            .is_none_or(|max| length(left) + length(right) <= max)
    };
    let candidates = pairs
        .iter()
        .filter(|(pair, (count, _))| *count >= options.min_count.max(1) && short_enough(pair));
    let best = match options.tie_break {
        TieBreak::SmallestIds => {
            candidates.max_by_key(|(pair, (count, _))| (*count, Reverse(**pair)))
        }
        TieBreak::HuggingFace => candidates.max_by_key(|((left, right), (count, _))| {
            (
                *count,
                Reverse((hugging_face_order(*left), hugging_face_order(*right))),
            )
        }),
        TieBreak::Bytes => candidates.max_by_key(|((left, right), (count, _))| {
            (*count, &tokens[*left as usize], &tokens[*right as usize])
        }),
        TieBreak::FirstSeen => {
            candidates.max_by_key(|(_, (count, place))| (*count, Reverse(*place)))
        }
    };
    best.map(|(pair, (count, _))| (*pair, *count))
}

/// Hugging Face writes printable Latin-1 bytes as themselves, the others as the
/// characters from U+0100 on, and numbers its alphabet by code point.
fn hugging_face_order(id: u32) -> (bool, u32) {
    let itself = matches!(id, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..);
    (!itself || id > 255, id)
}

fn merge(symbols: &[u32], pair: (u32, u32), id: u32) -> Vec<u32> {
    let mut merged = Vec::with_capacity(symbols.len());
    let mut at = 0;
    while at < symbols.len() {
        if symbols[at..].starts_with(&[pair.0, pair.1]) {
            merged.push(id);
            at += 2;
        } else {
            merged.push(symbols[at]);
            at += 1;
        }
    }
    merged
}
