//! Executions of the second kind: encoding against tiktoken's rule.
//!
//! One execution is one text, or one division of a text into two, encoded with one vocabulary on one
//! kernel and one size of table, with all ids compared. The tokenizers of a vocabulary are kept from
//! text to text, so that what they remember counts too.

use std::collections::HashMap;

use gptbpe_core::{EncodeOptions, Kernel, SpecialSet, Tokenizer};

use crate::oracle::Splitter;
use crate::report::{Report, caught, escaped, shrunk};
use crate::splitting::Twins;
use crate::texts::{Texts, damage};
use crate::vocabularies::{self, Made};

/// Texts for each vocabulary.
const TEXTS: usize = 600;
/// The same for a pattern that the core searches for as a regular expression, which is slow.
const TEXTS_OF_REGEX: usize = 60;
/// One text in so many is divided at every byte.
const DIVIDED: usize = 60;
/// One vocabulary in so many encodes megabytes.
const LARGE: usize = 200;
/// More than two parts of a batch.
const LARGE_BYTES: usize = 5 << 19;

struct Case<'p> {
    made: Made,
    pattern: &'p str,
    splitter: &'p mut Splitter,
    tokenizers: Vec<Tokenizer>,
    /// What pieces became.
    known: HashMap<Vec<u8>, Vec<u32>>,
}

impl<'p> Case<'p> {
    fn random(texts: &mut Texts, twins: &'p mut Twins) -> Self {
        let splitter = &mut twins.slow;
        let made = vocabularies::random(texts, splitter, &twins.pattern);
        let kernels = Kernel::ALL
            .into_iter()
            .filter(|kernel| kernel.is_available());
        let default = EncodeOptions::default().table_bytes;
        let options = kernels.flat_map(|kernel| {
            [0, 1 << 10, default].map(|table_bytes| EncodeOptions {
                kernel,
                table_bytes,
            })
        });
        let tokenizers = options
            .map(|options| made.tokenizer.with_options(options))
            .collect();
        Self {
            made,
            pattern: &twins.name,
            splitter,
            tokenizers,
            known: HashMap::new(),
        }
    }

    fn expected(&mut self, text: &[u8], ids: &mut Vec<u32>) {
        ids.clear();
        let mut pieces = Vec::new();
        self.splitter.pieces(text, &mut pieces);
        for piece in pieces {
            if let Some(known) = self.known.get(piece) {
                ids.extend(known);
                continue;
            }
            let first = ids.len();
            self.made.merging.encode(piece, ids);
            if piece.len() <= 32 {
                self.known.insert(piece.to_vec(), ids[first..].to_vec());
            }
        }
    }

    fn report(&mut self, tokenizer: &Tokenizer, way: &str, text: &[u8]) -> Report {
        let options = tokenizer.encode_options();
        let fresh = || self.made.tokenizer.with_options(options);
        let again = fresh();
        let mut ids = Vec::new();
        self.expected(text, &mut ids);
        let alone = encode(&again, text).as_ref() != Ok(&ids);
        let text = if alone {
            shrunk(text, |text| {
                let mut ids = Vec::new();
                self.expected(text, &mut ids);
                encode(&self.made.tokenizer.with_options(options), text).as_ref() != Ok(&ids)
            })
        } else {
            text.to_vec()
        };
        self.expected(&text, &mut ids);
        let found = encode(if alone { &again } else { tokenizer }, &text);
        format!(
            "encoding differs from the rule: {way}{}\n pattern: {}\n  kernel: {}, table of {} bytes\n    text: {}\nexpected: {ids:?}\n   found: {found:?}\n   vocabulary: {}",
            if alone {
                ""
            } else {
                ", and only after other texts"
            },
            self.pattern,
            options.kernel.name(),
            options.table_bytes,
            escaped(&text),
            self.made.description,
        )
    }

    /// Encodes a text in all ways.
    fn check(&mut self, text: &[u8], ids: &mut Vec<u32>) -> Result<u64, Report> {
        self.expected(text, ids);
        for at in 0..self.tokenizers.len() {
            let tokenizer = self.tokenizers[at].clone();
            if encode(&tokenizer, text).as_ref() != Ok(ids) {
                return Err(self.report(&tokenizer, "encode_ordinary", text));
            }
        }
        Ok(self.tokenizers.len() as u64)
    }

    /// The same for what is made like encoding: counting, offsets and text that is known to be UTF-8.
    fn check_likes(
        &mut self,
        tokenizer: &Tokenizer,
        text: &[u8],
        ids: &[u32],
    ) -> Result<(), Report> {
        let none = SpecialSet::none();
        let found = caught(|| {
            let count = tokenizer.count(text, &none);
            if count.as_ref().ok() != Some(&ids.len()) {
                return Some(format!("count is {count:?}"));
            }
            if let Ok(text) = std::str::from_utf8(text)
                && tokenizer.encode_ordinary(text).ok().as_deref() != Some(ids)
            {
                return Some("encode_ordinary of a str".to_owned());
            }
            let decoded = tokenizer.decode(ids);
            if decoded.as_deref().ok() != Some(text) {
                return Some("decode".to_owned());
            }
            None
        });
        match found {
            Ok(None) => Ok(()),
            Ok(Some(way)) | Err(way) => Err(self.report(tokenizer, &way, text)),
        }
    }

    /// Encodes a text divided at every byte, as one batch.
    fn check_divided(
        &mut self,
        tokenizer: &Tokenizer,
        text: &[u8],
        threads: usize,
    ) -> Result<u64, Report> {
        let halves = (0..=text.len()).flat_map(|at| [&text[..at], &text[at..]]);
        let batch = self.batch(halves.collect());
        self.check_batch(tokenizer, &batch, threads)?;
        Ok(text.len() as u64 + 1)
    }

    fn batch<'t>(&mut self, texts: Vec<&'t [u8]>) -> Batch<'t> {
        let expected = texts.iter().map(|text| {
            let mut ids = Vec::new();
            self.expected(text, &mut ids);
            ids
        });
        let expected = expected.collect();
        Batch { texts, expected }
    }

    fn check_batch(
        &mut self,
        tokenizer: &Tokenizer,
        batch: &Batch,
        threads: usize,
    ) -> Result<(), Report> {
        let Batch { texts, expected } = batch;
        let way = format!("encode_batch of {} texts on {threads} threads", texts.len());
        let found = caught(|| tokenizer.encode_batch(texts, &SpecialSet::none(), threads));
        let problem = match found {
            Ok(Ok(found)) => {
                let mut each = expected.iter().zip(found.iter());
                match each.position(|(expected, found)| *expected != found) {
                    Some(at) => return Err(self.report(tokenizer, &way, texts[at])),
                    None if found.iter().count() == texts.len() => return Ok(()),
                    None => "another number of results".to_owned(),
                }
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic,
        };
        Err(self.report(tokenizer, &format!("{way}: {problem}"), texts[0]))
    }

    /// Megabytes: many texts, and all of them joined, on several threads.
    fn check_large(&mut self, texts: &mut Texts) -> Result<u64, Report> {
        let mut many: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        while bytes < LARGE_BYTES {
            let mut text = texts.next().as_bytes().to_vec();
            if texts.once_in(20) {
                damage(&mut text, texts.random());
            }
            // The rule takes seconds for such a piece.
            if texts.once_in(100_000) {
                let pairs = 33_000 + texts.random().below(8_000);
                text.extend(std::iter::repeat_n(b"ab", pairs).flatten());
            }
            bytes += text.len();
            many.push(text);
        }
        let joined = many.concat();
        let mut batches = vec![self.batch(many.iter().map(Vec::as_slice).collect())];
        // Minutes, where a text is one piece.
        if self.pattern != "none" {
            let half = &joined[joined.len() / 2..];
            batches.push(self.batch(vec![&joined, b"a", half]));
        }
        let mut executions = 0;
        for at in 0..self.tokenizers.len() {
            let tokenizer = self.tokenizers[at].clone();
            for batch in &batches {
                let threads = 1 + texts.random().below(3);
                self.check_batch(&tokenizer, batch, threads)?;
                executions += 1;
            }
        }
        Ok(executions)
    }
}

/// Texts and what they become.
struct Batch<'t> {
    texts: Vec<&'t [u8]>,
    expected: Vec<Vec<u32>>,
}

fn encode(tokenizer: &Tokenizer, text: &[u8]) -> Result<Vec<u32>, String> {
    caught(|| {
        tokenizer
            .encode_ordinary(text)
            .map_err(|error| error.to_string())
    })?
}

/// Encodes texts with one random vocabulary and one of the patterns. Returns how many executions that were.
pub(crate) fn round(texts: &mut Texts, patterns: &mut [Twins]) -> Result<u64, Report> {
    let at = texts.random().below(patterns.len());
    let wanted = if patterns[at].is_regex() {
        TEXTS_OF_REGEX
    } else {
        TEXTS
    };
    let mut case = Case::random(texts, &mut patterns[at]);
    let mut executions = 0;
    let mut ids = Vec::new();
    for _ in 0..wanted {
        let mut text = texts.next().as_bytes().to_vec();
        if texts.once_in(3) {
            damage(&mut text, texts.random());
        }
        executions += case.check(&text, &mut ids)?;
        let at = texts.random().below(case.tokenizers.len());
        let tokenizer = case.tokenizers[at].clone();
        case.check_likes(&tokenizer, &text, &ids)?;
        if texts.once_in(DIVIDED) && text.len() <= 200 {
            let threads = 1 + texts.random().below(3);
            executions += case.check_divided(&tokenizer, &text, threads)?;
        }
    }
    // A regular expression takes too long for thousands of texts.
    if wanted == TEXTS && texts.once_in(LARGE) {
        executions += case.check_large(texts)?;
    }
    Ok(executions)
}
