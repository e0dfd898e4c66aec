//! Reads a dataset: our own with all its checks, llm.c's token files, and raw arrays of ids.
//!
//! Opening reads the manifest and nothing else; a shard is opened when it is first needed (`source`).
//!
//! Tokens are copied out of a map of the file, or with `pread`, and checked after they were copied. So whatever happens to a
//! file while it is open, a caller gets the right number of ids, each inside the vocabulary, or an error: a file that
//! was cut off is [`Error::ShardTruncated`]. What another program writes into an open shard without changing its
//! length is found by a checksum only where the block is touched for the first time.
//!
//! [`Verify::Lazy`] checks each 1 MiB block against its checksum when it is first touched, once per reader
//! (16 GB/s, so unnoticeable beside training; but the first touch of a block on a cold disk reads all of it).
//! [`Verify::Open`] trusts the tokens, [`Verify::Full`] reads everything at once.
//!
//! Every id that is copied out is compared with the vocabulary, whatever was verified: an id out of range would
//! end as an assertion inside a GPU kernel, far from here.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::disk::read_whole;
use super::format::{TokenType, corrupt, hex};
use super::ids::{ID_LIMIT, greatest, widen};
use super::manifest::{Manifest, TOKENIZER_NAME};
use super::sidecar::Sidecar;
use super::source::{Kind, OpenFiles, Source};
use super::verify::{check_shard_files, read_sidecar};
use crate::{Error, Result};

pub use super::disk::Io;
pub use super::ids::{Id, Tokens};
pub use super::source::Verify;

/// How to read a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderOptions {
    /// What to check.
    pub verify: Verify,
    /// How to read tokens.
    pub io: Io,
    /// The vocabulary of files that do not state one (llm.c's); ignored for our own.
    pub vocab_size: Option<u32>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self {
            verify: Verify::Lazy,
            io: Io::Map,
            vocab_size: None,
        }
    }
}

/// A dataset that is open for reading; can be shared among threads, and used after a fork.
#[derive(Debug)]
pub struct ShardReader {
    pub(super) path: PathBuf,
    pub(super) verify: Verify,
    pub(super) manifest: Option<Manifest>,
    pub(super) token_type: TokenType,
    pub(super) vocab_size: Option<u32>,
    pub(super) fingerprint: Option<[u8; 32]>,
    pub(super) digest: [u8; 32],
    pub(super) sources: Vec<Source>,
    pub(super) files: OpenFiles,
}

impl ShardReader {
    /// The folder or file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest, where there is one.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Width of a token on disk.
    pub fn token_type(&self) -> TokenType {
        self.token_type
    }

    /// One more than the largest id allowed, where it is known.
    pub fn vocab_size(&self) -> Option<u32> {
        self.vocab_size
    }

    /// Fingerprint of the tokenizer, where it is stated.
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.fingerprint
            .filter(|fingerprint| *fingerprint != [0; 32])
    }

    /// Refuses a dataset that another tokenizer made; one that does not say is accepted.
    pub fn expect_fingerprint(&self, expected: &[u8; 32]) -> Result<()> {
        match self.fingerprint() {
            Some(found) if found != *expected => Err(Error::FingerprintMismatch {
                path: self.path.clone(),
                what: "tokenizer",
                expected: hex(expected),
                found: hex(&found),
            }),
            _ => Ok(()),
        }
    }

    /// Names the dataset's content: the manifest's sha256.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.sources.len()
    }

    /// Tokens in a shard; 0 for one that is not there.
    pub fn shard_tokens(&self, shard: usize) -> u64 {
        self.sources.get(shard).map_or(0, |source| source.tokens)
    }

    /// The file of a shard.
    pub fn shard_path(&self, shard: usize) -> Option<&Path> {
        self.sources.get(shard).map(|source| source.path.as_path())
    }

    /// Tokens in all shards.
    pub fn total_tokens(&self) -> u64 {
        self.sources.iter().map(|source| source.tokens).sum()
    }

    /// Bytes of the text that the tokens stand for, where it is known.
    pub fn source_bytes(&self) -> Option<u64> {
        match (
            &self.manifest,
            self.sources.first().map(|source| &source.kind),
        ) {
            (Some(manifest), _) => Some(manifest.source_bytes),
            (None, Some(Kind::Single(header))) => Some(header.source_bytes),
            _ => None,
        }
    }

    /// Where each document of a shard ends, in tokens; nothing for files that do not say.
    pub fn documents(&self, shard: usize) -> Result<Option<Vec<u32>>> {
        let source = self.source(shard)?;
        let Some(header) = source.header(shard, &self.files)? else {
            return Ok(None);
        };
        // Not kept in memory: a thousand shards would have a gigabyte of them.
        let bytes = read_sidecar(&source.path)?;
        let sidecar = Sidecar::parse(&bytes, &header, &source.path.with_extension("gbx"))?;
        Ok(Some(sidecar.doc_ends))
    }

    /// Reads a shard from beginning to end and checks everything in it.
    pub fn check(&self, shard: usize) -> Result<()> {
        self.check_with(shard, |_| ())
    }

    /// The same, with a function that is told after each piece how many bytes it had.
    pub fn check_with(&self, shard: usize, mut report: impl FnMut(u64)) -> Result<()> {
        let source = self.source(shard)?;
        match &source.kind {
            Kind::Listed { entry, .. } => {
                let header = check_shard_files(&source.path, self.files.io, report)?;
                entry.check(&header, &source.path)
            }
            Kind::Single(_) => check_shard_files(&source.path, self.files.io, report).map(|_| ()),
            Kind::Plain => self.pieces(shard, 0, source.tokens, |bytes| report(bytes.len() as u64)),
        }
    }

    /// The tokenizer stored beside the shards, checked against the manifest.
    pub fn tokenizer_json(&self) -> Result<Option<Vec<u8>>> {
        let Some((tokenizer, expected)) = self.manifest.as_ref().and_then(|manifest| {
            let tokenizer = &manifest.tokenizer;
            tokenizer.sha256.as_ref().map(|sha256| (tokenizer, sha256))
        }) else {
            return Ok(None);
        };
        let name = tokenizer.file.as_deref().unwrap_or(TOKENIZER_NAME);
        let path = self.path.join(name);
        let json = read_whole(&path)?;
        if hex(&Sha256::digest(&json)) != *expected {
            let what = "its sha256 is not the one in manifest.json";
            return Err(corrupt(&path, 0, what));
        }
        Ok(Some(json))
    }

    /// A copy of tokens `start..stop` of a shard.
    pub fn tokens(&self, shard: usize, start: u64, stop: u64) -> Result<Tokens> {
        let source = self.source(shard)?;
        if start > stop || stop > source.tokens {
            return Err(Error::ShardArgument {
                name: "start:stop",
                found: format!("{start}:{stop}"),
                expected: format!("a range within the shard's {} tokens", source.tokens),
            });
        }
        let mut tokens = Tokens::with_room(self.token_type, (stop - start) as usize)?;
        self.pieces(shard, start, stop, |bytes| tokens.extend(bytes))?;
        Ok(tokens)
    }

    /// Hands out the bytes of tokens `start..stop` piece by piece, each after it was checked.
    fn pieces(
        &self,
        shard: usize,
        start: u64,
        stop: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<()> {
        const PIECE_BYTES: u64 = 1 << 18; // stays in the second-level cache between two passes
        let source = self.source(shard)?;
        let piece = PIECE_BYTES / self.token_type.bytes() as u64;
        let mut scratch = Vec::new();
        let mut at = start;
        while at < stop {
            let end = stop.min((at / piece + 1) * piece); // so that each lies in one block
            let bytes = source.read(shard, &self.files, self.verify, (at, end), &mut scratch)?;
            self.check_largest(source, at, greatest(self.token_type, bytes))?;
            take(bytes);
            at = end;
        }
        Ok(())
    }

    /// Copies tokens from `start` on into `out`, all of which must be there. `scratch` is reused between calls.
    pub fn copy<T: Id>(
        &self,
        shard: usize,
        start: u64,
        out: &mut [T],
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let source = self.source(shard)?;
        let stop = start
            .checked_add(out.len() as u64)
            .filter(|&stop| stop <= source.tokens);
        let Some(stop) = stop else {
            return Err(Error::ShardArgument {
                name: "start",
                found: format!("{start} with {} tokens to copy", out.len()),
                expected: format!("a range within the shard's {} tokens", source.tokens),
            });
        };
        let bytes = source.read(shard, &self.files, self.verify, (start, stop), scratch)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let largest = widen(self.token_type, bytes, out);
        self.check_largest(source, start, largest)
    }

    /// Tokens `start..start + count` of a shard as they stand on disk, read into `scratch`. They must be there, and are
    /// not compared with the vocabulary: [`Self::check_row`] does that with the largest of what was copied.
    pub(super) fn row<'s>(
        &self,
        shard: usize,
        start: u64,
        count: usize,
        scratch: &'s mut Vec<u8>,
    ) -> Result<&'s [u8]> {
        let range = (start, start + count as u64);
        self.source(shard)?
            .read(shard, &self.files, self.verify, range, scratch)
    }

    /// Lets the processor fetch what [`Self::row`] will be asked for next.
    pub(super) fn prefetch_row(&self, shard: usize, start: u64, count: u64) {
        if let Some(source) = self.sources.get(shard) {
            source.prefetch(start, start + count);
        }
    }

    /// Refuses the largest token of a row that begins at `start` if it is outside the vocabulary.
    pub(super) fn check_row(&self, shard: usize, start: u64, largest: u32) -> Result<()> {
        self.check_largest(self.source(shard)?, start, largest)
    }

    fn check_largest(&self, source: &Source, start: u64, largest: u32) -> Result<()> {
        let limit = self.vocab_size.unwrap_or(ID_LIMIT).min(ID_LIMIT);
        if largest < limit {
            return Ok(());
        }
        let what = match self.vocab_size {
            Some(vocab_size) => format!("a token of {largest}, the vocabulary has {vocab_size}"),
            None => format!("a token of {largest}, ids end at {}", ID_LIMIT - 1),
        };
        Err(corrupt(&source.path, source.place(start), what))
    }

    fn source(&self, shard: usize) -> Result<&Source> {
        self.sources.get(shard).ok_or_else(|| Error::ShardArgument {
            name: "shard",
            found: shard.to_string(),
            expected: format!("below {}", self.sources.len()),
        })
    }
}
