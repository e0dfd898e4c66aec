//! A small binary form, for the encodings that travel in the package.
//!
//! In a vocabulary that merges make whole, a token is the pair it was made of: two
//! ids, about four bytes, whatever its length. Layout: magic; sha256 of all that follows;
//! then, as LEB128 numbers and length-prefixed strings, whether whole pre-tokens are looked
//! up first (0: no; 1: yes; 2: yes, and it makes no difference), the split pattern, the special tokens, the ids of the 256 bytes, the ids that the
//! merges make as runs (first, length), and the merges. Loading is one pass that joins
//! bytes; nothing is recovered or sorted. The checksum means a damaged package is an error, not
//! another tokenizer.

use sha2::{Digest, Sha256};

use super::{broken, byte_level, of_file};
use crate::error::{FormatProblem, Inexpressible};
use crate::pattern::Pattern;
use crate::special::SpecialToken;
use crate::vocab::Vocab;
use crate::{Error, Result, Tokenizer};

const LOOK_UP: u32 = 1;
const LOOK_UP_FOR_NOTHING: u32 = 2;
const FORMAT: &str = "compact encoding";
const MAGIC: &[u8; 8] = b"gptbpe\0\x01";
const BODY: usize = MAGIC.len() + 32;

/// Reads the compact form.
pub fn read(bytes: &[u8], origin: &str) -> Result<Tokenizer> {
    let fail = |place: &str, problem| broken(FORMAT, origin, place, problem);
    let body = bytes.get(BODY..).filter(|_| bytes.starts_with(MAGIC));
    let body = body.ok_or_else(|| fail("start", FormatProblem::NoMark))?;
    if Sha256::digest(body).as_slice() != &bytes[MAGIC.len()..BODY] {
        return Err(fail("checksum", FormatProblem::Checksum));
    }
    let mut reader = Reader { body, at: 0 };
    let parts = reader.parts();
    let parts = parts.ok_or_else(|| {
        fail(
            &format!("byte {}", BODY + reader.at),
            FormatProblem::UnexpectedEnd,
        )
    })?;
    if reader.at != body.len() {
        return Err(fail(
            &format!("byte {}", BODY + reader.at),
            FormatProblem::TrailingBytes,
        ));
    }
    let made = parts
        .runs
        .iter()
        .flat_map(|&(first, length)| first..first.saturating_add(length));
    let whole_first = parts.look_up != 0;
    Vocab::from_numbered_merges(&parts.byte_ids, &parts.merges, made, whole_first)
        .and_then(|vocab| {
            if parts.look_up == LOOK_UP_FOR_NOTHING {
                vocab.all_tokens_are_reached();
            }
            Tokenizer::from_vocab(vocab, Pattern::sequence(parts.regexes), parts.special)
        })
        .map_err(of_file(origin))
}

/// Writes the compact form; only of vocabularies in which each token but the bytes
/// is made by one merge of earlier ones.
pub fn write(tokenizer: &Tokenizer) -> Result<Vec<u8>> {
    let vocab = byte_level(tokenizer, FORMAT)?;
    if !tokenizer.template().is_empty() {
        return Err(Error::NotExpressible {
            format: FORMAT,
            problem: Inexpressible::Pipeline { what: "a template" },
        });
    }
    let merges: Vec<(u32, u32)> = vocab.merges().iter().map(|m| (m.left, m.right)).collect();
    let made = vocab.merges().iter().map(|merge| merge.id);
    let rebuilt =
        Vocab::from_numbered_merges(vocab.byte_ids(), &merges, made.clone(), vocab.whole_first());
    if !rebuilt
        .is_ok_and(|rebuilt| rebuilt.len() == vocab.len() && rebuilt.merges() == vocab.merges())
    {
        return Err(Error::NotExpressible {
            format: FORMAT,
            problem: Inexpressible::SeveralMerges,
        });
    }
    let mut body = Vec::new();
    let look_up = match (vocab.whole_first(), vocab.whole_first_matters()) {
        (false, _) => 0,
        (true, true) => LOOK_UP,
        (true, false) => LOOK_UP_FOR_NOTHING,
    };
    number(&mut body, look_up);
    number(&mut body, tokenizer.pattern().regexes().len() as u32);
    for regex in tokenizer.pattern().regexes() {
        string(&mut body, regex);
    }
    number(&mut body, tokenizer.special_tokens().len() as u32);
    for token in tokenizer.special_tokens() {
        string(&mut body, &token.content);
        number(&mut body, token.id);
        let flags = [
            token.special,
            token.normalized,
            token.single_word,
            token.lstrip,
            token.rstrip,
        ];
        let flags = (0..).zip(flags).map(|(bit, flag)| u32::from(flag) << bit);
        number(&mut body, flags.sum());
    }
    for &id in vocab.byte_ids() {
        number(&mut body, id);
    }
    let runs = runs(made);
    number(&mut body, runs.len() as u32);
    for (first, length) in runs {
        number(&mut body, first);
        number(&mut body, length);
    }
    number(&mut body, merges.len() as u32);
    for (left, right) in merges {
        number(&mut body, left);
        number(&mut body, right);
    }
    Ok([&MAGIC[..], &Sha256::digest(&body), &body].concat())
}

/// What the body says, before it means anything.
struct Parts {
    look_up: u32,
    regexes: Vec<String>,
    special: Vec<SpecialToken>,
    byte_ids: [u32; 256],
    /// First id and length.
    runs: Vec<(u32, u32)>,
    merges: Vec<(u32, u32)>,
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn parts(&mut self) -> Option<Parts> {
        let look_up = self.number()?;
        let regexes = (0..self.count()?)
            .map(|_| self.string())
            .collect::<Option<_>>()?;
        let special = (0..self.count()?)
            .map(|_| self.special())
            .collect::<Option<_>>()?;
        let mut byte_ids = [0; 256];
        for id in &mut byte_ids {
            *id = self.number()?;
        }
        let runs: Vec<_> = (0..self.count()?)
            .map(|_| self.pair())
            .collect::<Option<_>>()?;
        let merges: Vec<_> = (0..self.count()?)
            .map(|_| self.pair())
            .collect::<Option<_>>()?;
        let named: u64 = runs.iter().map(|&(_, length)| u64::from(length)).sum();
        (named == merges.len() as u64).then_some(Parts {
            look_up,
            regexes,
            special,
            byte_ids,
            runs,
            merges,
        })
    }

    fn special(&mut self) -> Option<SpecialToken> {
        let content = self.string()?;
        let id = self.number()?;
        let flags = self.number()?;
        Some(SpecialToken {
            content,
            id,
            special: flags & 1 != 0,
            normalized: flags & 2 != 0,
            single_word: flags & 4 != 0,
            lstrip: flags & 8 != 0,
            rstrip: flags & 16 != 0,
        })
    }

    fn pair(&mut self) -> Option<(u32, u32)> {
        Some((self.number()?, self.number()?))
    }

    /// A number of things that follow, each of at least one byte.
    fn count(&mut self) -> Option<u32> {
        let count = self.number()?;
        (count as usize <= self.body.len() - self.at).then_some(count)
    }

    fn string(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        let bytes = self.body.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(std::str::from_utf8(bytes).ok()?.to_owned())
    }

    fn number(&mut self) -> Option<u32> {
        let mut value = 0u32;
        for shift in (0..).step_by(7) {
            let byte = *self.body.get(self.at)?;
            let part = u32::from(byte & 0x7F);
            // Shifted out bits would be lost.
            if shift > 28 || part > u32::MAX >> shift {
                return None;
            }
            self.at += 1;
            value |= part << shift;
            if byte < 0x80 {
                break;
            }
        }
        Some(value)
    }
}

fn number(body: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        body.push(value as u8 | 0x80);
        value >>= 7;
    }
    body.push(value as u8);
}

fn string(body: &mut Vec<u8>, text: &str) {
    number(body, text.len() as u32);
    body.extend_from_slice(text.as_bytes());
}

/// Neighbouring ids as (first, length).
fn runs(ids: impl Iterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for id in ids {
        match runs.last_mut() {
            Some((first, length)) if *first + *length == id => *length += 1,
            _ => runs.push((id, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: u32 = b'a' as u32;

    fn toy() -> Tokenizer {
        let byte_ids = std::array::from_fn(|byte| 255 - byte as u32);
        let merges = [(255 - A, 255 - A), (300, 255 - A), (301, 300)];
        let vocab = Vocab::from_numbered_merges(&byte_ids, &merges, [300, 301, 400], true).unwrap();
        let special = vec![
            SpecialToken::new("<e>", 350),
            SpecialToken {
                lstrip: true,
                special: false,
                ..SpecialToken::new("の", 2_000_000)
            },
        ];
        Tokenizer::from_vocab(vocab, Pattern::named("deepseek").unwrap(), special).unwrap()
    }

    fn sealed(body: &[u8]) -> Vec<u8> {
        [&MAGIC[..], &Sha256::digest(body), body].concat()
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = write(&toy()).unwrap();
        let again = read(&bytes, "x").unwrap();
        assert_eq!(again.fingerprint(), toy().fingerprint());
        assert_eq!(again.merges(), toy().merges());
        assert_eq!(again.special_tokens(), toy().special_tokens());
        assert_eq!(write(&again).unwrap(), bytes);
    }

    #[test]
    fn any_damage_is_noticed() {
        let bytes = write(&toy()).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(
                matches!(read(&damaged, "x"), Err(Error::Format { .. })),
                "{at}"
            );
            assert!(
                matches!(read(&bytes[..at], "x"), Err(Error::Format { .. })),
                "{at}"
            );
        }
    }

    #[test]
    fn unreached_tokens_are_refused() {
        let tokens: Vec<Vec<u8>> = (0..=255u8)
            .map(|b| vec![b])
            .chain([b"abc".to_vec()])
            .collect();
        let ranks = (0..).zip(tokens.iter().map(Vec::as_slice));
        let tokenizer = Tokenizer::from_ranks(ranks, Pattern::default(), &[]).unwrap();
        assert!(
            write(&tokenizer)
                .unwrap_err()
                .to_string()
                .contains("exactly one merge")
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// A forged checksum must not help: any answer will do, but an answer.
        #[test]
        fn forged_files_never_panic(cut in 0usize..2000, flips in proptest::collection::vec((0usize..2000, any::<u8>()), 0..4)) {
            let mut body = write(&toy()).unwrap().split_off(BODY);
            for (at, value) in flips {
                let at = at % body.len();
                body[at] = value;
            }
            let _ = read(&sealed(&body), "x");
            body.truncate(cut % body.len());
            let _ = read(&sealed(&body), "x");
        }
    }
}
