//! Reads a dataset: our own with all its checks, llm.c's token files, and raw arrays of ids.
//!
//! Opening reads the manifest and nothing else. A shard is opened when it is first needed: its size must be exact,
//! its header must be the one that the manifest lists, its sidecar must have the digest in that header. Tokens come either
//! from a memory map ([`Io::Map`]) or by reading ([`Io::Read`]).
//!
//! A map costs nothing per token and shares the page cache, but a program dies of SIGBUS when it touches a part of
//! the map whose file was cut off meanwhile. Our writer never cuts a file: it replaces by renaming, and a map keeps
//! the old file alive. Before tokens are handed out the file's length is compared once more, which turns
//! a file cut earlier into an error; what is left is a cut in the instant between check and touch, or under a view that the
//! caller keeps. Where somebody may do that, and on network file systems, use [`Io::Read`]: it never dies.
//!
//! [`Verify::Lazy`] checks each 1 MiB block against its checksum when it is first touched, once per reader
//! (16 GB/s, so unnoticeable beside training; but the first touch of a block on a cold disk reads all of it).
//! [`Verify::Open`] trusts the tokens, [`Verify::Full`] reads everything at once.
//!
//! Every id that is copied out is compared with the vocabulary, whatever was verified: an id out of range would
//! end as an assertion inside a GPU kernel, far from here.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use memmap2::Mmap;
use sha2::{Digest, Sha256};

use super::format::{
    BLOCK_BYTES, HEADER_BYTES, Header, Parsed, Sidecar, TokenType, check_block, corrupt, hex,
};
use super::manifest::{MANIFEST_NAME, Manifest, ShardEntry, TOKENIZER_NAME};
use super::verify::{check_length, check_shard_files, read_sidecar};
use crate::publish::io_error;
use crate::{Error, Result};

/// How much of the tokens is checked against their checksums, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Headers, sidecars and sizes only.
    Open,
    /// Each block of tokens when it is first touched.
    Lazy,
    /// Everything, when the reader is made.
    Full,
}

/// Where tokens come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// A memory map.
    Map,
    /// Positioned reads, which survive whatever happens to the file.
    Read,
}

/// How to read a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderOptions {
    /// What to check.
    pub verify: Verify,
    /// Map or read.
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

/// A dataset that is open for reading; can be shared among threads.
#[derive(Debug)]
pub struct ShardReader {
    path: PathBuf,
    options: ReaderOptions,
    manifest: Option<Manifest>,
    token_type: TokenType,
    vocab_size: Option<u32>,
    fingerprint: Option<[u8; 32]>,
    digest: [u8; 32],
    sources: Vec<Source>,
    files: Mutex<Vec<(usize, Arc<File>)>>,
}

/// One shard before and after it is opened.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    tokens: u64,
    /// Bytes before the first token.
    offset: u64,
    kind: Kind,
    opened: OnceLock<Arc<Opened>>,
}

#[derive(Debug)]
enum Kind {
    /// Listed in a manifest.
    Listed(ShardEntry),
    /// One of ours, by itself.
    Single(Box<Header>),
    /// Tokens without checksums.
    Plain,
}

#[derive(Debug)]
struct Opened {
    map: Option<Mmap>,
    /// Device and number of the file when it was mapped.
    file_id: Option<(u64, u64)>,
    checks: Option<Checks>,
}

#[derive(Debug)]
struct Checks {
    header: Box<Header>,
    block_sums: Vec<u64>,
    /// A bit for each block that has been found right.
    checked: Vec<AtomicU64>,
}

/// Tokens as they stand in the map, which lives as long as this does.
#[derive(Debug, Clone)]
pub struct MappedTokens {
    opened: Arc<Opened>,
    start: usize,
    stop: usize,
}

impl MappedTokens {
    /// The bytes of the tokens, aligned for their type.
    pub fn bytes(&self) -> &[u8] {
        self.opened
            .map
            .as_ref()
            .map_or(&[], |map| &map[self.start..self.stop])
    }
}

/// A stretch of a shard.
#[derive(Debug)]
pub enum Tokens {
    /// No copy was made.
    Mapped(MappedTokens),
    /// Little-endian bytes that were read.
    Read(Vec<u8>),
}

/// Integers that a batch can be made of.
pub trait Id: Copy + Default + Send {
    /// From two bytes on disk.
    fn from_u16(id: u16) -> Self;
    /// From four bytes on disk.
    fn from_u32(id: u32) -> Self;
    /// The target that the loss leaves out.
    const IGNORED: Self;
}

macro_rules! impl_id {
    ($($t:ty),*) => {$(
        impl Id for $t {
            fn from_u16(id: u16) -> Self {
                id.into()
            }
            #[allow(clippy::cast_possible_wrap, clippy::cast_lossless)] // ids are below 2³¹
            fn from_u32(id: u32) -> Self {
                id as $t
            }
            const IGNORED: Self = -1;
        }
    )*};
}
impl_id!(i32, i64);

impl ShardReader {
    /// Opens the dataset in a folder, or a single `.bin` file.
    pub fn open(path: &Path, options: ReaderOptions) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|source| io_error("read", path, source))?;
        if !metadata.is_dir() {
            return Self::from_files(path, vec![path.to_path_buf()], options);
        }
        let manifest_path = path.join(MANIFEST_NAME);
        match std::fs::read(&manifest_path) {
            Ok(bytes) => {
                Self::from_manifest(path, Manifest::parse(&bytes, &manifest_path)?, options)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let failed = |source| io_error("read", path, source);
                let mut files = Vec::new();
                for entry in std::fs::read_dir(path).map_err(failed)? {
                    let file = entry.map_err(failed)?.path();
                    if file.extension().is_some_and(|extension| extension == "bin") {
                        files.push(file);
                    }
                }
                if files.is_empty() {
                    return Err(io_error("read", &manifest_path, error));
                }
                files.sort();
                Self::from_files(path, files, options)
            }
            Err(source) => Err(io_error("read", &manifest_path, source)),
        }
    }

    /// Opens a file that is nothing but ids, as nanoGPT writes them; what they are must be said.
    pub fn open_raw(path: &Path, token_type: TokenType, vocab_size: u32, io: Io) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|source| io_error("read", path, source))?;
        let width = token_type.bytes() as u64;
        if metadata.len() % width != 0 {
            return Err(Error::ShardTruncated {
                path: path.to_path_buf(),
                expected: metadata.len().next_multiple_of(width),
                found: metadata.len(),
            });
        }
        let source = Source {
            path: path.to_path_buf(),
            tokens: metadata.len() / width,
            offset: 0,
            kind: Kind::Plain,
            opened: OnceLock::new(),
        };
        let options = ReaderOptions {
            verify: Verify::Open,
            io,
            vocab_size: Some(vocab_size),
        };
        Ok(Self::from_sources(
            path,
            token_type,
            Some(vocab_size),
            vec![source],
            options,
        ))
    }

    fn from_manifest(path: &Path, manifest: Manifest, options: ReaderOptions) -> Result<Self> {
        let sources = manifest.shards.iter().map(|entry| Source {
            path: path.join(&entry.file),
            tokens: entry.tokens,
            offset: HEADER_BYTES as u64,
            kind: Kind::Listed(entry.clone()),
            opened: OnceLock::new(),
        });
        let mut reader = Self::from_sources(
            path,
            manifest.token_type(),
            Some(manifest.vocab_size),
            sources.collect(),
            options,
        );
        reader.fingerprint = Some(manifest.fingerprint());
        reader.digest = super::format::unhex(&manifest.digest).unwrap_or_default();
        reader.manifest = Some(manifest);
        reader.verified()
    }

    /// Token files without a manifest: one of ours, or any number of llm.c's.
    fn from_files(path: &Path, files: Vec<PathBuf>, options: ReaderOptions) -> Result<Self> {
        let alone = files.len() == 1 && files[0] == path;
        let mut sources = Vec::new();
        let mut token_type = None;
        let mut header_of_one = None;
        for file in files {
            let (parsed, length) = read_header(&file)?;
            let (found, tokens, kind) = match parsed {
                Parsed::Plain(token_type, tokens) => (token_type, tokens, Kind::Plain),
                Parsed::Ours(header) if alone => {
                    header_of_one = Some(header.clone());
                    (header.token_type, header.tokens, Kind::Single(header))
                }
                Parsed::Ours(_) => {
                    return Err(Error::ShardUnfinished {
                        path: path.to_path_buf(),
                    });
                }
            };
            check_length(
                &file,
                HEADER_BYTES as u64 + tokens * found.bytes() as u64,
                length,
            )?;
            if *token_type.get_or_insert(found) != found {
                return Err(corrupt(
                    &file,
                    0,
                    "its tokens have another width than those of the files before it",
                ));
            }
            sources.push(Source {
                path: file,
                tokens,
                offset: HEADER_BYTES as u64,
                kind,
                opened: OnceLock::new(),
            });
        }
        let vocab_size = header_of_one
            .as_ref()
            .map(|header| header.vocab_size)
            .or(options.vocab_size);
        let mut reader = Self::from_sources(
            path,
            token_type.unwrap_or(TokenType::U16),
            vocab_size,
            sources,
            options,
        );
        reader.fingerprint = header_of_one.map(|header| header.fingerprint);
        reader.verified()
    }

    fn from_sources(
        path: &Path,
        token_type: TokenType,
        vocab_size: Option<u32>,
        sources: Vec<Source>,
        options: ReaderOptions,
    ) -> Self {
        // Without a manifest the names and lengths of the files have to stand for their content.
        let mut digest = Sha256::new();
        for source in &sources {
            let name = source
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy();
            digest.update(format!(
                "{name}\0{}\0{}\0",
                source.tokens,
                token_type.name()
            ));
            if let Kind::Single(header) = &source.kind {
                digest.update(header.id);
            }
        }
        Self {
            path: path.to_path_buf(),
            options,
            manifest: None,
            token_type,
            vocab_size,
            fingerprint: None,
            digest: digest.finalize().into(),
            sources,
            files: Mutex::new(Vec::new()),
        }
    }

    fn verified(self) -> Result<Self> {
        if self.options.verify == Verify::Full {
            for shard in 0..self.shards() {
                self.check(shard)?;
            }
        }
        Ok(self)
    }

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
        let Some(checks) = &self.opened(shard, source)?.checks else {
            return Ok(None);
        };
        // Not kept in memory: a thousand shards would have a gigabyte of them.
        let bytes = read_sidecar(&source.path)?;
        let sidecar = Sidecar::parse(&bytes, &checks.header, &source.path.with_extension("gbx"))?;
        Ok(Some(sidecar.doc_ends))
    }

    /// Reads a shard from beginning to end and checks everything in it.
    pub fn check(&self, shard: usize) -> Result<()> {
        let source = self.source(shard)?;
        match &source.kind {
            Kind::Listed(entry) => entry.check(&check_shard_files(&source.path)?, &source.path),
            Kind::Single(_) => check_shard_files(&source.path).map(|_| ()),
            Kind::Plain => {
                let mut tokens = [0i64; 1024];
                for start in (0..source.tokens).step_by(tokens.len()) {
                    let count = (source.tokens - start).min(tokens.len() as u64) as usize;
                    self.copy(shard, start, &mut tokens[..count], &mut Vec::new())?;
                }
                Ok(())
            }
        }
    }

    /// The tokenizer stored beside the shards, checked against the manifest.
    pub fn tokenizer_json(&self) -> Result<Option<Vec<u8>>> {
        let Some(expected) = self
            .manifest
            .as_ref()
            .and_then(|manifest| manifest.tokenizer.sha256.as_ref())
        else {
            return Ok(None);
        };
        let path = self.path.join(TOKENIZER_NAME);
        let json = std::fs::read(&path).map_err(|source| io_error("read", &path, source))?;
        if hex(&Sha256::digest(&json)) != *expected {
            return Err(corrupt(
                &path,
                0,
                "its sha256 is not the one in manifest.json",
            ));
        }
        Ok(Some(json))
    }

    /// Tokens `start..stop` of a shard, without a copy where the shard is mapped.
    pub fn tokens(&self, shard: usize, start: u64, stop: u64) -> Result<Tokens> {
        let source = self.source(shard)?;
        if start > stop || stop > source.tokens {
            return Err(Error::ShardArgument {
                name: "start:stop",
                found: format!("{start}:{stop}"),
                expected: format!("a range within the shard's {} tokens", source.tokens),
            });
        }
        let opened = self.opened(shard, source)?;
        let width = self.token_type.bytes() as u64;
        let (begin, end) = (start * width, stop * width);
        if opened.map.is_none() {
            let mut bytes = Vec::new();
            self.read(shard, source, opened, begin, end, &mut bytes)?;
            return Ok(Tokens::Read(bytes));
        }
        let bytes = self.mapped(source, opened, begin, end)?;
        debug_assert_eq!(bytes.len() as u64, end - begin);
        Ok(Tokens::Mapped(MappedTokens {
            opened: Arc::clone(opened),
            start: (source.offset + begin) as usize,
            stop: (source.offset + end) as usize,
        }))
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
        let opened = self.opened(shard, source)?;
        let width = self.token_type.bytes() as u64;
        let (begin, end) = (start * width, stop * width);
        let bytes = if opened.map.is_some() {
            self.mapped(source, opened, begin, end)?
        } else {
            self.read(shard, source, opened, begin, end, scratch)?;
            scratch
        };
        let max = widen(self.token_type, bytes, out);
        match self.vocab_size {
            Some(vocab_size) if max >= vocab_size && !out.is_empty() => {
                let what = format!("a token of {max}, the vocabulary has {vocab_size}");
                Err(corrupt(&source.path, source.offset + begin, what))
            }
            _ => Ok(()),
        }
    }

    fn source(&self, shard: usize) -> Result<&Source> {
        self.sources.get(shard).ok_or_else(|| Error::ShardArgument {
            name: "shard",
            found: shard.to_string(),
            expected: format!("below {}", self.sources.len()),
        })
    }

    fn opened<'a>(&self, shard: usize, source: &'a Source) -> Result<&'a Arc<Opened>> {
        if let Some(opened) = source.opened.get() {
            return Ok(opened);
        }
        let opened = Arc::new(self.open_shard(shard, source)?);
        Ok(source.opened.get_or_init(|| opened)) // two threads at once: one of the two equal results is dropped
    }

    fn open_shard(&self, shard: usize, source: &Source) -> Result<Opened> {
        let path = &source.path;
        let failed = |error| io_error("read", path, error);
        let file = self.file(shard, source)?;
        let metadata = file.metadata().map_err(failed)?;
        let checks = match &source.kind {
            Kind::Plain => None,
            Kind::Single(header) => Some(Checks::read(header.clone(), path)?),
            Kind::Listed(entry) => {
                let (Parsed::Ours(header), _) = read_header(path)? else {
                    return Err(corrupt(
                        path,
                        12,
                        "it is not the shard that the manifest lists",
                    ));
                };
                entry.check(&header, path)?;
                if header.vocab_size != self.vocab_size.unwrap_or_default()
                    || Some(header.fingerprint) != self.fingerprint
                {
                    return Err(Error::FingerprintMismatch {
                        path: path.clone(),
                        what: "tokenizer",
                        expected: hex(&self.fingerprint.unwrap_or_default()),
                        found: hex(&header.fingerprint),
                    });
                }
                Some(Checks::read(header, path)?)
            }
        };
        let expected = source.offset + source.tokens * self.token_type.bytes() as u64;
        check_length(path, expected, metadata.len())?;
        let map = match self.options.io {
            Io::Read => None,
            // A file of length 0 cannot be mapped, and holds nothing to map.
            Io::Map if expected == 0 => None,
            Io::Map => {
                // SAFETY: the map is read-only and of a file that our writer never changes once it has its name.
                // Another program could still write into it; the bytes are only ever read as integers, for which every value
                // is valid, and a change is found by checksum or vocabulary check. Truncation: see the module's text.
                #[allow(unsafe_code)]
                let map = unsafe { Mmap::map(&*file) };
                Some(map.map_err(|error| io_error("map", path, error))?)
            }
        };
        if map.is_some() {
            self.forget(shard); // the map lives without the descriptor
        }
        Ok(Opened {
            map,
            file_id: file_id(&metadata),
            checks,
        })
    }

    /// Bytes `begin..end` of the tokens, from the map.
    fn mapped<'a>(
        &self,
        source: &Source,
        opened: &'a Opened,
        begin: u64,
        end: u64,
    ) -> Result<&'a [u8]> {
        let Some(map) = &opened.map else {
            return Ok(&[]);
        };
        // The same file, shorter than it was? A file of another number or none: the map keeps the old one alive.
        if let Ok(metadata) = std::fs::metadata(&source.path)
            && file_id(&metadata) == opened.file_id
        {
            check_length(&source.path, map.len() as u64, metadata.len())?;
        }
        let tokens = &map[source.offset as usize..];
        if let Some(checks) = self.lazy_checks(opened) {
            for number in blocks(begin, end) {
                let range = block_range(number, tokens.len() as u64);
                checks.check(number, &source.path, || {
                    let block = &tokens[range.0 as usize..range.1 as usize];
                    #[cfg(unix)]
                    let _ = map.advise_range(
                        memmap2::Advice::WillNeed,
                        (source.offset + range.0) as usize,
                        block.len(),
                    );
                    Ok(block)
                })?;
            }
        }
        Ok(&tokens[begin as usize..end as usize])
    }

    /// Reads bytes `begin..end` of the tokens into `out`.
    fn read(
        &self,
        shard: usize,
        source: &Source,
        opened: &Opened,
        begin: u64,
        end: u64,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let file = self.file(shard, source)?;
        let total = source.tokens * self.token_type.bytes() as u64;
        if let Some(checks) = self.lazy_checks(opened) {
            for number in blocks(begin, end) {
                let range = block_range(number, total);
                let out = &mut *out;
                checks.check(number, &source.path, || {
                    read_at(&file, source, range, out)?;
                    Ok(out)
                })?;
            }
        }
        read_at(&file, source, (begin, end), out)
    }

    fn lazy_checks<'a>(&self, opened: &'a Opened) -> Option<&'a Checks> {
        opened
            .checks
            .as_ref()
            .filter(|_| self.options.verify == Verify::Lazy)
    }

    /// The shard's file, from a small store of open ones: a dataset may have more shards than a process may open files.
    fn file(&self, shard: usize, source: &Source) -> Result<Arc<File>> {
        const MOST: usize = 64;
        let mut files = self
            .files
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(at) = files.iter().position(|(number, _)| *number == shard) {
            let found = files.remove(at);
            let file = Arc::clone(&found.1);
            files.push(found);
            return Ok(file);
        }
        let file =
            File::open(&source.path).map_err(|error| io_error("read", &source.path, error))?;
        let file = Arc::new(file);
        if files.len() == MOST {
            files.remove(0);
        }
        files.push((shard, Arc::clone(&file)));
        Ok(file)
    }

    fn forget(&self, shard: usize) {
        let mut files = self
            .files
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        files.retain(|(number, _)| *number != shard);
    }
}

impl Checks {
    fn read(header: Box<Header>, path: &Path) -> Result<Self> {
        let sidecar = Sidecar::parse(&read_sidecar(path)?, &header, &path.with_extension("gbx"))?;
        let words = sidecar.block_sums.len().div_ceil(64);
        Ok(Self {
            header,
            block_sums: sidecar.block_sums,
            checked: std::iter::repeat_with(AtomicU64::default)
                .take(words)
                .collect(),
        })
    }

    /// Checks a block unless that was done before.
    fn check<'a>(
        &self,
        number: usize,
        path: &Path,
        block: impl FnOnce() -> Result<&'a [u8]>,
    ) -> Result<()> {
        let (word, bit) = (&self.checked[number / 64], 1 << (number % 64));
        if word.load(Ordering::Relaxed) & bit == 0 {
            check_block(
                block()?,
                number,
                self.block_sums[number],
                &self.header,
                path,
            )?;
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The numbers of the blocks that bytes `begin..end` touch.
fn blocks(begin: u64, end: u64) -> std::ops::Range<usize> {
    let size = BLOCK_BYTES as u64;
    if begin == end {
        return 0..0;
    }
    (begin / size) as usize..end.div_ceil(size) as usize
}

fn block_range(number: usize, total: u64) -> (u64, u64) {
    let begin = (number * BLOCK_BYTES) as u64;
    (begin, total.min(begin + BLOCK_BYTES as u64))
}

fn read_header(path: &Path) -> Result<(Parsed, u64)> {
    let failed = |source| io_error("read", path, source);
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length < HEADER_BYTES as u64 {
        return Err(Error::ShardTruncated {
            path: path.to_path_buf(),
            expected: HEADER_BYTES as u64,
            found: length,
        });
    }
    let mut bytes = [0; HEADER_BYTES];
    std::io::Read::read_exact(&mut file, &mut bytes).map_err(failed)?;
    Ok((Header::parse(&bytes, path)?, length))
}

/// Reads a range of a shard's tokens; fewer bytes than there should be are an error, never silence.
fn read_at(file: &File, source: &Source, range: (u64, u64), out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    out.resize((range.1 - range.0) as usize, 0);
    match read_exact_at(file, out, source.offset + range.0) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(Error::ShardTruncated {
                path: source.path.clone(),
                expected: source.offset + range.1,
                found: file.metadata().map_or(0, |metadata| metadata.len()),
            })
        }
        other => other.map_err(|error| io_error("read", &source.path, error)),
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !out.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, out, offset)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        out = &mut out[count..];
        offset += count as u64;
    }
    Ok(())
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)] // elsewhere there is none
fn file_id(metadata: &std::fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn file_id(_: &std::fs::Metadata) -> Option<(u64, u64)> {
    None
}

/// Copies tokens into wider integers and returns the largest.
fn widen<T: Id>(token_type: TokenType, bytes: &[u8], out: &mut [T]) -> u32 {
    // Two plain loops over a piece that stays in the first-level cache: the compiler turns both into vector code.
    const PIECE: usize = 4096;
    let width = token_type.bytes();
    let mut largest = 0;
    for (bytes, out) in bytes.chunks(PIECE * width).zip(out.chunks_mut(PIECE)) {
        match token_type {
            TokenType::U16 => {
                let ids = bytes
                    .chunks_exact(2)
                    .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
                largest = largest.max(u32::from(ids.clone().fold(0, u16::max)));
                for (to, id) in out.iter_mut().zip(ids) {
                    *to = T::from_u16(id);
                }
            }
            TokenType::U32 => {
                let ids = bytes
                    .chunks_exact(4)
                    .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                largest = largest.max(ids.clone().fold(0, u32::max));
                for (to, id) in out.iter_mut().zip(ids) {
                    *to = T::from_u32(id);
                }
            }
        }
    }
    largest
}
