//! The texts that every benchmark runs over, and how a run is set up.
//!
//! Most texts are made here, the same bytes on every machine, so that a figure
//! can be repeated by anyone. Real corpora join them where `GPTBPE_CORPORA`, or
//! `~/.cache/gptbpe-corpora`, holds them: made text is more regular than real
//! text, which flatters caches, so claims are made from the corpora alone.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

use gptbpe_core::Tokenizer;
use gptbpe_core::pattern::Pattern;
use gptbpe_core::scan::Pretokenizer;
use gptbpe_core::train::{TrainOptions, count_documents, train};

/// Bytes of each text.
pub const SIZE: usize = 1 << 20;

/// Bytes of each made text that [`tokenizer`] learns from.
const LEARNED: usize = 64 << 10;

/// A text, and why it is here.
#[derive(Debug)]
pub struct Case {
    /// Its name in the results.
    pub name: &'static str,
    /// What it shows that the others do not.
    pub shows: &'static str,
    /// Its bytes, about [`SIZE`] of them; always UTF-8 for a made text.
    pub text: Vec<u8>,
}

/// Every text of this machine: the made ones, then the corpora found.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case(
            "prose",
            "words of a skewed vocabulary, as in most languages that use spaces",
            prose(),
        ),
        case(
            "code",
            "indentation, punctuation and short identifiers",
            code(),
        ),
        case(
            "chinese",
            "three bytes a character and no spaces: long pre-tokens",
            chinese(),
        ),
        case(
            "digits",
            "groups of at most three digits under most patterns",
            digits(),
        ),
        case(
            "one-piece",
            "a single pre-token: where a quadratic merge loop shows",
            vec![b'a'; SIZE],
        ),
    ];
    for (name, shows) in [
        ("enwiki_valid_5M", "English Wikipedia"),
        ("linux_60M", "C source"),
        ("zh_20M", "Chinese Wikipedia"),
    ] {
        if let Some(text) = corpus(name) {
            cases.push(case(name, shows, text));
        }
    }
    cases
}

/// A vocabulary of 2,048 ids learned from a little of every made text.
pub fn tokenizer() -> Tokenizer {
    let pattern = Pattern::named("gpt2").expect("a named pattern");
    let pretokenizer = Pretokenizer::new(&pattern).expect("named patterns compile");
    let made = [prose(), code(), chinese(), digits()];
    let samples: Vec<&[u8]> = made.iter().map(|text| &text[..LEARNED]).collect();
    let words = count_documents(&pretokenizer, &samples, 1).expect("small counts fit");
    let options = TrainOptions {
        merges: 2_048 - 256,
        ..TrainOptions::default()
    };
    let trained = train(words.clone(), &options, &mut |_| ControlFlow::Continue(()));
    let merges = trained.expect("nothing cancels this").merges;
    Tokenizer::from_merges(&merges, pattern, &[]).expect("what was trained is a vocabulary")
}

fn case(name: &'static str, shows: &'static str, text: Vec<u8>) -> Case {
    Case { name, shows, text }
}

/// The first [`SIZE`] bytes of a corpus, cut after a whole character.
fn corpus(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("GPTBPE_CORPORA")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache/gptbpe-corpora")))?;
    let file = File::open(folder.join(format!("{name}.txt"))).ok()?;
    let mut text = Vec::new();
    file.take(SIZE as u64).read_to_end(&mut text).ok()?;
    if let Err(error) = std::str::from_utf8(&text) {
        text.truncate(error.valid_up_to());
    }
    Some(text)
}

/// Marsaglia's xorshift: a few bits of arithmetic, equal everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `bound`, all alike.
    #[inline]
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }

    /// A number below `bound`, small ones far more often, as words are used.
    fn skewed(&mut self, bound: usize) -> usize {
        let upper = self.below(bound) + 1;
        let upper = self.below(upper) + 1;
        self.below(upper)
    }
}

fn word(number: usize) -> String {
    const SYLLABLES: [&str; 20] = [
        "the", "re", "an", "mo", "ti", "en", "o", "ca", "is", "lu", "er", "ba", "ing", "so", "pre",
        "ed", "ka", "u", "st", "ly",
    ];
    let mut word = String::new();
    let mut rest = number;
    loop {
        word.push_str(SYLLABLES[rest % SYLLABLES.len()]);
        rest /= SYLLABLES.len();
        if rest == 0 {
            return word;
        }
    }
}

fn prose() -> Vec<u8> {
    let mut random = Random::new(1);
    let mut text = String::with_capacity(SIZE + 64);
    while text.len() < SIZE {
        let mut sentence = String::new();
        for at in 0..4 + random.below(16) {
            let word = word(random.skewed(60_000));
            let separator = if at == 0 {
                ""
            } else if random.below(12) == 0 {
                ", "
            } else {
                " "
            };
            sentence.push_str(separator);
            sentence.push_str(&word);
        }
        sentence[..1].make_ascii_uppercase();
        text.push_str(&sentence);
        text.push_str(if random.below(6) == 0 { ".\n\n" } else { ". " });
    }
    text.into_bytes()
}

fn code() -> Vec<u8> {
    let mut random = Random::new(2);
    let mut text = String::with_capacity(SIZE + 64);
    while text.len() < SIZE {
        let indent = "    ".repeat(random.skewed(5));
        let (left, right) = (word(random.skewed(4_000)), word(random.skewed(4_000)));
        let number = random.below(300);
        // Writing to a `String` cannot fail.
        let _ = match random.below(5) {
            0 => writeln!(text, "{indent}if ({left}->{right} != {number}) {{"),
            1 => writeln!(text, "{indent}}}"),
            2 => writeln!(text, "{indent}{left}_{right}(&{right}, 0x{number:04x});"),
            3 => writeln!(text, "{indent}/* {left} {right} */"),
            _ => writeln!(text, "{indent}{left}[{number}] = {right};\n"),
        };
    }
    text.into_bytes()
}

fn chinese() -> Vec<u8> {
    let mut random = Random::new(3);
    let mut text = String::with_capacity(SIZE + 64);
    while text.len() < SIZE {
        for _ in 0..5 + random.below(25) {
            let character = char::from_u32(0x4E00 + random.skewed(6_000) as u32);
            text.push(character.unwrap_or('一'));
        }
        text.push(if random.below(4) == 0 { '。' } else { ',' });
    }
    text.into_bytes()
}

fn digits() -> Vec<u8> {
    let mut random = Random::new(4);
    let mut text = String::with_capacity(SIZE + 64);
    while text.len() < SIZE {
        let _ = write!(
            text,
            "{}",
            random.below(10_usize.pow(1 + random.0 as u32 % 9))
        );
        text.push(if random.below(8) == 0 { '\n' } else { ',' });
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_texts_are_the_same_everywhere() {
        let sums: Vec<u64> = cases()[..5]
            .iter()
            .map(|case| {
                assert!(std::str::from_utf8(&case.text).is_ok(), "{}", case.name);
                let step =
                    |sum: u64, &byte: &u8| sum.wrapping_mul(0x100_0000_01B3) ^ u64::from(byte);
                case.text.iter().fold(0xCBF2_9CE4_8422_2325, step)
            })
            .collect();
        assert_eq!(
            sums,
            [
                11_883_258_822_850_321_035,
                5_591_899_370_047_388_277,
                13_398_249_122_550_686_437,
                7_554_793_015_044_016_578,
                6_796_502_659_442_549_541,
            ]
        );
    }
}
