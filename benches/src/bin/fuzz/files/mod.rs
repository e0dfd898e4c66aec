//! Executions of the fourth kind: files and patterns that somebody has changed.
//!
//! One execution is one changed file that is read (a tokenizer in any format, or the files of a dataset), one
//! changed pattern, or one list of ids that is decoded at once and as a stream. Each must end in an error or in
//! something that holds together: a tokenizer writes itself down as it is, gives ids that it knows, and what
//! it decodes is what it was given; a dataset gives ids of its vocabulary. Checksums are made anew
//! now and then, so that what lies behind them is reached.

mod datasets;
mod mutate;
mod samples;

use gptbpe_benches::Random;
use gptbpe_core::format::{compact, gpt2, json, tiktoken};
use gptbpe_core::pattern::Pattern;
use gptbpe_core::{Error, SpecialSet, StreamDecoder, Tokenizer};
use sha2::{Digest, Sha256};

use crate::oracle::Splitter;
use crate::patterns;
use crate::report::{Report, caught, escaped, shrunk};
use crate::texts::{Texts, damage};
use crate::vocabularies;
use datasets::Dataset;
use mutate::mutate;
use samples::{Format, Sample};

/// Changed files and lists of ids for each set of sound ones.
const EACH: usize = 400;
/// One changed pattern for so many of them: compiling one takes a millisecond.
const PATTERNS: usize = 10;
/// Bytes in front of the checksum of the compact form, and of the checksum itself.
const MARK: usize = 8;
const CHECKSUM: usize = 32;

/// Reads what was changed, in all the ways. Returns how many executions that were.
pub(crate) fn round(texts: &mut Texts) -> Result<u64, Report> {
    let (_, pattern) = patterns::any(texts.random());
    let made = vocabularies::random(texts, &mut Splitter::new(&pattern), &pattern);
    let mut sound = samples::of(&made.tokenizer);
    sound.extend((0..4).map(|_| samples::hugging_face(texts.random())));
    let text = texts.next().as_bytes().to_vec();
    let mut executions = 0;
    for number in 0..EACH {
        let sample = &sound[texts.random().below(sound.len())];
        let other = &sound[texts.random().below(sound.len())].bytes;
        let mut changed = sample.bytes.clone();
        mutate(&mut changed, other, texts.random());
        sign(sample.format, &mut changed, texts.random());
        check(&changed, |bytes| file(sample.format, bytes, &sound, &text))?;

        if number % PATTERNS == 0 {
            let [mut pattern, other] = [(); 2].map(|()| {
                let (_, pattern) = patterns::any(texts.random());
                pattern.regexes().join("|").into_bytes()
            });
            mutate(&mut pattern, &other, texts.random());
            check(&pattern, |bytes| regex(bytes, &text))?;
            executions += 1;
        }
        ids(&made.tokenizer, texts)?;
        executions += 2;
    }
    executions += Dataset::random(texts.random())?.round(texts.random())?;
    Ok(executions)
}

/// Makes the bytes smaller as long as something is wrong with them, and says what.
fn check(bytes: &[u8], wrong: impl Fn(&[u8]) -> Option<String>) -> Result<(), Report> {
    let found = |bytes: &[u8]| caught(|| wrong(bytes)).unwrap_or_else(Some);
    if found(bytes).is_none() {
        return Ok(());
    }
    let smaller = shrunk(bytes, |bytes| found(bytes).is_some());
    let problem = found(&smaller).unwrap_or_else(|| "only once".to_owned());
    Err(format!("{problem}\nbytes: {}", escaped(&smaller)))
}

/// Makes a checksum right again, so that something other than it has to notice.
fn sign(format: Format, bytes: &mut [u8], random: &mut Random) {
    if format == Format::Compact && bytes.len() >= MARK + CHECKSUM && random.below(8) != 0 {
        let (head, body) = bytes.split_at_mut(MARK + CHECKSUM);
        head[MARK..].copy_from_slice(&Sha256::digest(body));
    }
}

fn file(format: Format, bytes: &[u8], sound: &[Sample], text: &[u8]) -> Option<String> {
    let counterpart = |format| {
        let found = sound.iter().find(|sample| sample.format == format);
        found.map_or(&b""[..], |sample| &sample.bytes)
    };
    let pattern = Pattern::named("gpt2").expect("it is one of the names");
    let read = match format {
        Format::Json => json::read(bytes, "file"),
        Format::Tiktoken => tiktoken::read(bytes, "file", pattern, &[]),
        Format::Merges => gpt2::read(counterpart(Format::Vocab), bytes, "file", pattern),
        Format::Vocab => gpt2::read(bytes, counterpart(Format::Merges), "file", pattern),
        Format::Compact => compact::read(bytes, "file"),
    };
    match read {
        Ok(tokenizer) => used(&tokenizer, text),
        Err(error) => complaint(&error),
    }
}

fn regex(bytes: &[u8], text: &[u8]) -> Option<String> {
    let pattern = Pattern::regex(String::from_utf8_lossy(bytes));
    match Tokenizer::from_merges(&[], pattern, &[]) {
        Ok(tokenizer) => used(&tokenizer, text).or_else(|| {
            let ids = tokenizer.encode_ordinary(text).ok()?;
            let lost = tokenizer.decode(&ids).ok().as_deref() != Some(text);
            lost.then(|| "bytes outside of all pieces are lost".to_owned())
        }),
        Err(error) => complaint(&error),
    }
}

/// A message is short, whatever it is about.
fn complaint(error: &Error) -> Option<String> {
    let message = error.to_string();
    (message.is_empty() || message.len() > 2_000)
        .then(|| format!("a message of {} bytes", message.len()))
}

/// What does not hold together in a tokenizer that could be read.
fn used(tokenizer: &Tokenizer, text: &[u8]) -> Option<String> {
    if let Ok(written) = json::write(tokenizer) {
        match json::read(&written, "again") {
            Ok(again) if again.fingerprint() == tokenizer.fingerprint() => {}
            Ok(_) => return Some("what it writes is another tokenizer".to_owned()),
            Err(error) => return Some(format!("what it writes cannot be read: {error}")),
        }
    }
    let none = SpecialSet::none();
    let ids = tokenizer.encode_ordinary(text).ok()?;
    if tokenizer.count(text, &none).ok() != Some(ids.len()) {
        return Some("counts other than it encodes".to_owned());
    }
    if let Some(id) = ids.iter().find(|&&id| id >= tokenizer.vocab_size()) {
        return Some(format!("id {id} of {}", tokenizer.vocab_size()));
    }
    let decoded = tokenizer.decode(&ids);
    decoded.err().map(|error| format!("its own ids: {error}"))
}

/// Decodes ids of which some are unknown, at once and as a stream in random portions.
fn ids(tokenizer: &Tokenizer, texts: &mut Texts) -> Result<(), Report> {
    let mut text = texts.next().as_bytes().to_vec();
    damage(&mut text, texts.random());
    let random = texts.random();
    let limit = tokenizer.vocab_size();
    let ids: Vec<u32> = match (random.below(3), tokenizer.encode_ordinary(text.as_slice())) {
        (0, Ok(ids)) => ids,
        (1, _) => (0..random.below(40))
            .map(|_| random.below(limit as usize + 2) as u32)
            .collect(),
        _ => (0..random.below(40))
            .map(|_| random.below(300) as u32)
            .collect(),
    };
    let portions: Vec<usize> = (0..ids.len()).map(|_| 1 + random.below(5)).collect();
    let problem = caught(|| {
        let known = |&id: &u32| {
            tokenizer.token_bytes(id).is_some()
                || tokenizer
                    .special_tokens()
                    .iter()
                    .any(|token| token.id == id)
        };
        let whole = tokenizer.decode(&ids);
        if whole.is_ok() != ids.iter().all(known) {
            return Some(format!("decoding all of them: {whole:?}"));
        }
        let whole = whole.ok()?;
        let mut stream = StreamDecoder::new(tokenizer.clone());
        let (mut found, mut rest) = (String::new(), ids.as_slice());
        for portion in portions {
            let (first, others) = rest.split_at(portion.min(rest.len()));
            found += &stream.push_all(first).ok()?;
            rest = others;
        }
        found += &stream.finish();
        let expected = String::from_utf8_lossy(&whole);
        (found != expected).then(|| format!("a stream gives {found:?}, not {expected:?}"))
    });
    match problem.unwrap_or_else(Some) {
        None => Ok(()),
        Some(problem) => Err(format!("{problem}\nids: {ids:?}")),
    }
}
