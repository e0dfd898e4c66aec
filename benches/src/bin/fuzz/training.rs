//! Executions of the third kind: training against the oracle.
//!
//! One execution is one small corpus of counted words, from which every tie rule learns. The oracle counts
//! all pairs anew at every step, so corpora are small; but words have few symbols, which makes pairs overlap
//! and tie, and some words are as long as what the trainer stores in another way.

use gptbpe_benches::Random;
use gptbpe_core::oracle;
use gptbpe_core::train::{TieBreak, TrainOptions, Trained, WordCounts, train};
use std::fmt::Write as _;
use std::ops::ControlFlow;

use crate::report::{Report, caught, escaped};
use crate::texts::Texts;

/// Corpora for each look at the progress of all.
const CORPORA: u64 = 64;
const RULES: [TieBreak; 4] = [
    TieBreak::SmallestIds,
    TieBreak::HuggingFace,
    TieBreak::Bytes,
    TieBreak::FirstSeen,
];
/// What corpora are made of: 0x20, 0xA0 and 0xFF change places in Hugging Face's order.
const SYMBOLS: &[u8] = b"abcdeAZ09 \0\n\x7F\x80\xA0\xAD\xC3\xFF";
/// A corpus has fewer merges than this, or all that it can have.
const MERGES: usize = 50;

type Words = Vec<(Vec<u8>, u64)>;

/// Random corpora, each with every tie rule, until one differs.
pub(crate) fn round(texts: &mut Texts) -> Result<u64, Report> {
    let random = texts.random();
    for _ in 0..CORPORA {
        let words = corpus(random);
        let options = options(random, &words);
        for tie_break in RULES {
            let options = TrainOptions {
                tie_break,
                ..options.clone()
            };
            if difference(&words, &options).is_some() {
                return Err(report(words, options));
            }
        }
    }
    Ok(CORPORA)
}

fn corpus(random: &mut Random) -> Words {
    let symbols: Vec<u8> = (0..2 + random.below(4))
        .map(|_| SYMBOLS[random.below(SYMBOLS.len())])
        .collect();
    let greatest = [1, 3, 100, 1 << 20, 1 << 40][random.below(5)];
    // The oracle takes its time: few corpora are of many words, or of words longer than the 200 symbols at
    // which the trainer goes from records to links.
    let (number, length) = match random.below(100) {
        0 => (random.below(100), 18),
        1 => (1 + random.below(3), 260),
        2..12 => (random.below(5), 70),
        _ => (random.below(13), 12),
    };
    (0..number)
        .map(|_| {
            let length = 1 + random.below(length);
            let count = 1 + random.below(greatest) as u64;
            (word(random, &symbols, length), count)
        })
        .collect()
}

fn word(random: &mut Random, symbols: &[u8], length: usize) -> Vec<u8> {
    let period = match random.below(8) {
        0 => 1,
        1 => 1 + random.below(5),
        _ => length,
    };
    let unit: Vec<u8> = (0..period)
        .map(|_| symbols[random.below(symbols.len())])
        .collect();
    unit.into_iter().cycle().take(length).collect()
}

fn options(random: &mut Random, words: &Words) -> TrainOptions {
    let merges = match random.below(8) {
        0 => u32::MAX,
        _ => random.below(MERGES) as u32,
    };
    let min_count = match random.below(4) {
        0 => random.below(6) as u64,
        1 => words
            .get(random.below(words.len() + 1))
            .map_or(0, |word| word.1),
        _ => 1,
    };
    let max_token_bytes = (random.below(3) == 0).then(|| 1 + random.below(9));
    let initial_merges = match random.below(6) {
        0 => learned(random, words),
        1 => {
            let foreign = corpus(random);
            learned(random, &foreign)
        }
        _ => Vec::new(),
    };
    TrainOptions {
        merges,
        min_count,
        max_token_bytes,
        initial_merges,
        ..TrainOptions::default()
    }
}

/// The first merges of a corpus, by one of the rules.
fn learned(random: &mut Random, words: &Words) -> Vec<(u32, u32)> {
    let options = TrainOptions {
        merges: random.below(30) as u32,
        tie_break: RULES[random.below(RULES.len())],
        ..TrainOptions::default()
    };
    oracle::train(words, &options).merges
}

/// What the trainer learned and what it should have learned, where these are not the same.
fn difference(words: &Words, options: &TrainOptions) -> Option<(Result<Trained, String>, Trained)> {
    let found = caught(|| {
        let mut counts = WordCounts::new();
        for (word, count) in words {
            counts
                .add(word, *count)
                .map_err(|error| error.to_string())?;
        }
        train(counts, options, &mut |_| ControlFlow::Continue(()))
            .map_err(|error| error.to_string())
    })
    .and_then(|trained| trained);
    let mut together = Words::new();
    for (word, count) in words {
        match together.iter_mut().find(|(other, _)| other == word) {
            Some((_, sum)) => *sum += count,
            None => together.push((word.clone(), *count)),
        }
    }
    let expected = oracle::train(&together, options);
    (found.as_ref() != Ok(&expected)).then_some((found, expected))
}

/// The corpus with as little as possible of what it has, and what both make of it.
fn report(mut words: Words, mut options: TrainOptions) -> Report {
    let differs = |words: &Words, options: &TrainOptions| difference(words, options).is_some();
    loop {
        let simpler = simpler_options(&options)
            .into_iter()
            .find(|simpler| differs(&words, simpler));
        if let Some(simpler) = simpler {
            options = simpler;
            continue;
        }
        let fewer = simpler_words(&words)
            .into_iter()
            .find(|fewer| differs(fewer, &options));
        let Some(fewer) = fewer else { break };
        words = fewer;
    }
    let mut text = format!("training differs from the oracle\n  {options:?}\n");
    for (word, count) in &words {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "  {} x {count}", escaped(word));
    }
    if let Some((found, expected)) = difference(&words, &options) {
        let _ = write!(text, "found    {found:?}\nexpected {expected:?}");
    }
    text
}

fn simpler_options(options: &TrainOptions) -> Vec<TrainOptions> {
    let plain = TrainOptions {
        merges: options.merges,
        ..TrainOptions::default()
    };
    let mut found = Vec::new();
    let mut add = |simpler: TrainOptions| {
        if simpler != *options {
            found.push(simpler);
        }
    };
    add(TrainOptions {
        tie_break: plain.tie_break,
        ..options.clone()
    });
    add(TrainOptions {
        min_count: plain.min_count,
        ..options.clone()
    });
    add(TrainOptions {
        max_token_bytes: None,
        ..options.clone()
    });
    let shorter = options.initial_merges.len().saturating_sub(1);
    add(TrainOptions {
        initial_merges: options.initial_merges[..shorter].to_vec(),
        ..options.clone()
    });
    for merges in [options.merges / 2, options.merges.saturating_sub(1)] {
        add(TrainOptions {
            merges,
            ..options.clone()
        });
    }
    found
}

/// Without a word; with half of a word, or all but a symbol; with a lower count.
fn simpler_words(words: &Words) -> Vec<Words> {
    let mut found = Vec::new();
    for (at, (word, count)) in words.iter().enumerate() {
        let mut fewer = words.clone();
        fewer.remove(at);
        found.push(fewer);
        let mut with = |word: Vec<u8>, count: u64| {
            let mut simpler = words.clone();
            simpler[at] = (word, count);
            found.push(simpler);
        };
        let half = word.len() / 2;
        if half > 0 {
            with(word[..half].to_vec(), *count);
            with(word[half..].to_vec(), *count);
            for index in 0..word.len() {
                with([&word[..index], &word[index + 1..]].concat(), *count);
            }
        }
        for lower in [1, count / 2, count - 1] {
            if (1..*count).contains(&lower) {
                with(word.clone(), lower);
            }
        }
    }
    found
}
