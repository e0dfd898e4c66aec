//! The header and the trailer of a run, and the numbers in its blocks. The format is documented in the parent module.

use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use crate::error::SpecialTokenProblem;
use crate::fingerprint;
use crate::pattern::Pattern;
use crate::{Error, Result};

/// How the words of a run were made. Runs whose headers differ are not added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunHeader {
    /// The pattern that split the text.
    pub pattern: Pattern,
    /// The strings that ended documents and were not counted, in the order of the ids that they are to have.
    pub special_tokens: Vec<String>,
}

/// What a run says of itself in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunTotals {
    /// Bytes of text that were counted.
    pub text_bytes: u64,
    /// Documents in that text.
    pub documents: u64,
    /// Different words.
    pub words: u64,
    /// The sum of their counts.
    pub pretokens: u128,
    /// One more than the greatest place; 0 without words.
    pub places: u64,
}

pub(super) const MAGIC: [u8; 8] = *b"\x89PCN\r\n\x1a\n";
pub(super) const VERSION: u32 = 1;
/// What every version keeps: magic, version and the length of the header.
pub(super) const PREFIX_BYTES: usize = 16;
pub(super) const MOST_HEADER_BYTES: usize = 1 << 24;
/// Magic to fingerprint, two empty lists, checksum.
const LEAST_HEADER_BYTES: usize = 48 + 4 + 4 + SUM_BYTES;
pub(super) const SUM_BYTES: usize = 8;
pub(super) const TRAILER_BYTES: usize = 80;
pub(super) const BLOCK_HEADER_BYTES: usize = 16;
/// Only a block of a single word is longer.
pub(super) const BLOCK_BYTES: usize = 1 << 16;
/// Two lengths, a byte, a count and a place.
pub(super) const LEAST_WORD_BYTES: usize = 5;

impl RunHeader {
    /// A number for the pattern: equal for patterns that are known to split every text alike.
    pub fn pattern_fingerprint(&self) -> [u8; 32] {
        fingerprint::of_pattern(&self.pattern)
    }

    /// The bytes of the header.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 4]); // the length, below
        out.extend(self.pattern_fingerprint());
        put_texts(&mut out, self.pattern.regexes());
        put_texts(&mut out, &self.special_tokens);
        let length = out.len() + SUM_BYTES;
        if length > MOST_HEADER_BYTES {
            return Err(Error::SpecialToken {
                content: self.special_tokens.first().cloned().unwrap_or_default(),
                id: 0,
                problem: SpecialTokenProblem::TooLongTogether,
            });
        }
        out[12..16].copy_from_slice(&(length as u32).to_le_bytes());
        let sum = xxh3_64(&out);
        out.extend(sum.to_le_bytes());
        Ok(out)
    }

    /// The length of the header that begins with `prefix`, in a file of `file_bytes` bytes.
    pub(super) fn length(
        prefix: &[u8; PREFIX_BYTES],
        file_bytes: u64,
        path: &Path,
    ) -> Result<usize> {
        if prefix[..8] != MAGIC {
            return Err(damaged(path, 0, "expected the mark of a file of counts"));
        }
        let length = u32_at(prefix, 12) as usize;
        let fits = length as u64 <= file_bytes.saturating_sub(TRAILER_BYTES as u64);
        if !(LEAST_HEADER_BYTES..=MOST_HEADER_BYTES).contains(&length) || !fits {
            let what = format!("its header cannot have {length} bytes");
            return Err(damaged(path, 12, &what));
        }
        Ok(length)
    }

    /// Reads a whole header; `path` is named in errors.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let (content, sum) = bytes.split_at(bytes.len() - SUM_BYTES);
        if xxh3_64(content) != u64_at(sum, 0) {
            return Err(damaged(
                path,
                0,
                "the header's bytes contradict its checksum",
            ));
        }
        let version = u32_at(content, 8);
        if version != VERSION {
            return Err(Error::CountsVersion {
                path: path.to_path_buf(),
                found: version,
                supported: VERSION,
            });
        }
        // With a valid checksum the rest can only fail in a file that somebody forged or a program wrote wrongly.
        let mut rest = &content[48..];
        let texts = texts(&mut rest).zip(texts(&mut rest));
        let (Some((regexes, special_tokens)), true) = (texts, rest.is_empty()) else {
            return Err(damaged(path, 48, "the lists of the header do not fill it"));
        };
        // The fingerprint is for other programs: a version that recognises more patterns gives others.
        let pattern = Pattern::sequence(regexes);
        Ok(Self {
            pattern,
            special_tokens,
        })
    }

    /// Refuses counts that were made in another way. Both files are named; `path` and `other_path` have these headers.
    pub(super) fn expect_same(&self, path: &Path, other: &Self, other_path: &Path) -> Result<()> {
        let mismatch = |what, first, second| Error::CountsMismatch {
            first: path.to_path_buf(),
            second: other_path.to_path_buf(),
            what,
            first_has: first,
            second_has: second,
        };
        if self.pattern_fingerprint() != other.pattern_fingerprint() {
            let (first, second) = (shown_pattern(&self.pattern), shown_pattern(&other.pattern));
            return Err(mismatch("pattern", first, second));
        }
        if self.special_tokens != other.special_tokens {
            let (first, second) = (
                shown(&self.special_tokens, "none"),
                shown(&other.special_tokens, "none"),
            );
            return Err(mismatch("special tokens", first, second));
        }
        Ok(())
    }
}

fn shown_pattern(pattern: &Pattern) -> String {
    match pattern.name() {
        Some(name) => name.to_owned(),
        None => shown(pattern.regexes(), "none"),
    }
}

/// A list of texts, for people.
fn shown(texts: &[String], nothing: &str) -> String {
    const MOST: usize = 8;
    if texts.is_empty() {
        return nothing.to_owned();
    }
    let mut shown: Vec<_> = texts.iter().take(MOST).map(|text| quoted(text)).collect();
    if texts.len() > MOST {
        shown.push(format!("{} more", texts.len() - MOST));
    }
    shown.join(", ")
}

fn quoted(text: &str) -> String {
    crate::error::shortened(text)
}

/// The end of a file of counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) totals: RunTotals,
    /// Of the checksums of all blocks.
    pub(super) blocks_sum: u64,
    pub(super) file_bytes: u64,
}

impl Trailer {
    pub(super) fn to_bytes(self, header_sum: u64) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        out[8..16].copy_from_slice(&self.totals.text_bytes.to_le_bytes());
        out[16..24].copy_from_slice(&self.totals.documents.to_le_bytes());
        out[24..32].copy_from_slice(&self.totals.words.to_le_bytes());
        out[32..48].copy_from_slice(&self.totals.pretokens.to_le_bytes());
        out[48..56].copy_from_slice(&self.totals.places.to_le_bytes());
        out[56..64].copy_from_slice(&self.blocks_sum.to_le_bytes());
        out[64..72].copy_from_slice(&self.file_bytes.to_le_bytes());
        let sum = Self::sum(&out, header_sum);
        out[72..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads the last bytes of a file of `file_bytes` bytes.
    pub(super) fn parse(
        bytes: &[u8; TRAILER_BYTES],
        header_sum: u64,
        file_bytes: u64,
        path: &Path,
    ) -> Result<Self> {
        let damaged = |at, what: &str| damaged(path, file_bytes - TRAILER_BYTES as u64 + at, what);
        if u64_at(bytes, 72) != Self::sum(bytes, header_sum) {
            return Err(damaged(
                0,
                "there is no valid trailer here: the file was cut, or is still being copied",
            ));
        }
        let trailer = Self {
            totals: RunTotals {
                text_bytes: u64_at(bytes, 8),
                documents: u64_at(bytes, 16),
                words: u64_at(bytes, 24),
                pretokens: u128::from(u64_at(bytes, 32)) | u128::from(u64_at(bytes, 40)) << 64,
                places: u64_at(bytes, 48),
            },
            blocks_sum: u64_at(bytes, 56),
            file_bytes: u64_at(bytes, 64),
        };
        if u64_at(bytes, 0) != 0 {
            return Err(damaged(0, "a trailer begins with zeros"));
        }
        if trailer.file_bytes != file_bytes {
            let what = format!(
                "the file has {file_bytes} bytes instead of {}",
                trailer.file_bytes
            );
            return Err(damaged(64, &what));
        }
        Ok(trailer)
    }

    fn sum(bytes: &[u8; TRAILER_BYTES], header_sum: u64) -> u64 {
        let mut sum = Xxh3::new();
        sum.update(&header_sum.to_le_bytes());
        sum.update(&bytes[..72]);
        sum.digest()
    }
}

/// The checksum of a block at `offset`: of its two sizes and its words.
pub(super) fn block_sum(offset: u64, sizes: [u8; 8], words: &[u8]) -> u64 {
    let mut sum = Xxh3::with_seed(offset);
    sum.update(&sizes);
    sum.update(words);
    sum.digest()
}

/// The sizes of a block.
pub(super) fn block_sizes(bytes: usize, words: u32) -> [u8; 8] {
    let mut sizes = [0; 8];
    sizes[..4].copy_from_slice(&(bytes as u32).to_le_bytes());
    sizes[4..].copy_from_slice(&words.to_le_bytes());
    sizes
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The bytes that [`put_varint`] writes.
pub(super) fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes a number off the front; `None` where there is none, or where it could be shorter.
#[inline]
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        if index == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            if byte == 0 && index > 0 {
                return None;
            }
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

fn put_texts(out: &mut Vec<u8>, texts: &[String]) {
    out.extend((texts.len() as u32).to_le_bytes());
    for text in texts {
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    }
}

/// Takes a list of texts off the front.
fn texts(bytes: &mut &[u8]) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for _ in 0..number(bytes)? {
        let length = number(bytes)? as usize;
        let (text, rest) = bytes.split_at_checked(length)?;
        all.push(std::str::from_utf8(text).ok()?.to_owned());
        *bytes = rest;
    }
    Some(all)
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |b| u32::from_le_bytes(*b))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..]
        .first_chunk()
        .map_or(0, |b| u64::from_le_bytes(*b))
}

/// The checksum of all blocks up to one, from that of those before it.
pub(super) fn chained(before: u64, sum: u64) -> u64 {
    xxh3_64_with_seed(&sum.to_le_bytes(), before)
}

pub(super) fn damaged(path: &Path, offset: u64, what: &str) -> Error {
    Error::CountsDamaged {
        path: path.to_path_buf(),
        offset,
        what: what.to_owned(),
    }
}
