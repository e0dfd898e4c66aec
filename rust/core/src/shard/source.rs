//! One shard as a source of tokens: opened when it is first needed, then read a range at a time.
//!
//! Opening checks that the file has exactly the size it should have, that its header is the one that the manifest
//! lists, and that its sidecar has the digest in that header. With [`Verify::Lazy`] each block is compared with its checksum
//! when it is first touched.
//!
//! Nothing here waits for a lock, so a process may fork while other threads read. Two threads that open a shard at
//! once both do the work, and one of the two equal results is dropped.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwapOption, Guard};

use super::block::{block_range, blocks, check_block};
use super::disk::{self, Identity, Io, read_range};
use super::format::{HEADER_BYTES, TokenType, corrupt, hex};
use super::header::{Header, Parsed};
use super::manifest::ShardEntry;
use super::map::{CutOff, Map};
use super::sidecar::Sidecar;
use super::verify::{check_length, read_sidecar};
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

/// What a shard is by what lists it.
#[derive(Debug)]
pub(super) enum Kind {
    /// Listed in a manifest, of a dataset with this vocabulary and this tokenizer.
    Listed {
        entry: ShardEntry,
        vocab_size: u32,
        fingerprint: [u8; 32],
    },
    /// One of ours, by itself.
    Single(Box<Header>),
    /// Tokens without checksums.
    Plain,
}

/// One shard before and after it is opened.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) tokens: u64,
    pub(super) kind: Kind,
    token_type: TokenType,
    /// Bytes before the first token.
    offset: u64,
    opened: ArcSwapOption<Opened>,
}

#[derive(Debug)]
struct Opened {
    identity: Identity,
    checks: Option<Checks>,
    map: Option<Map>,
}

impl Source {
    pub(super) fn new(
        path: PathBuf,
        token_type: TokenType,
        tokens: u64,
        offset: usize,
        kind: Kind,
    ) -> Self {
        Self {
            path,
            tokens,
            kind,
            token_type,
            offset: offset as u64,
            opened: ArcSwapOption::empty(),
        }
    }

    /// Bytes of tokens.
    fn bytes(&self) -> u64 {
        self.tokens * self.token_type.bytes() as u64
    }

    /// Where in the file a token stands.
    pub(super) fn place(&self, token: u64) -> u64 {
        self.offset + token * self.token_type.bytes() as u64
    }

    /// Reads tokens `start..stop`, which are there, into `scratch`; what has to be verified is verified on the way.
    pub(super) fn read<'a>(
        &self,
        number: usize,
        files: &OpenFiles,
        verify: Verify,
        (start, stop): (u64, u64),
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        let width = self.token_type.bytes() as u64;
        let (begin, end) = (start * width, stop * width);
        if begin == end {
            return Ok(&[]);
        }
        let opened = self.opened(number, files)?;
        let opened = opened.as_deref().expect("an opened shard");
        for block in blocks(begin, end) {
            let checks = opened.checks.as_ref();
            let Some(checks) =
                checks.filter(|checks| verify == Verify::Lazy && !checks.done(block))
            else {
                continue;
            };
            // With a system call, which reads a block at once from a cold disk.
            let range = block_range(block, self.bytes());
            self.pread(number, files, range, scratch)?;
            checks.check(block, scratch, &self.path)?;
            if range.0 <= begin && end <= range.1 {
                return Ok(&scratch[(begin - range.0) as usize..(end - range.0) as usize]);
            }
        }
        self.read_bytes(opened, number, files, (begin, end), scratch)?;
        Ok(scratch)
    }

    /// Lets the processor fetch tokens `start..stop`, which are there, if the shard is open and mapped.
    pub(super) fn prefetch(&self, start: u64, stop: u64) {
        let opened = self.opened.load();
        let map = opened.as_ref().and_then(|opened| opened.map.as_ref());
        let (begin, end) = (self.place(start), self.place(stop));
        if let Some(map) = map.filter(|map| map.holds(end)) {
            map.prefetch(begin, (end - begin) as usize);
        }
    }

    fn read_bytes(
        &self,
        opened: &Opened,
        number: usize,
        files: &OpenFiles,
        range: (u64, u64),
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (begin, end) = (self.offset + range.0, self.offset + range.1);
        match opened.map.as_ref().filter(|map| map.holds(end)) {
            Some(map) => {
                out.resize((end - begin) as usize, 0);
                map.copy(begin, out)
                    .map_err(|CutOff| Error::ShardTruncated {
                        path: self.path.clone(),
                        expected: self.offset + self.bytes(),
                        found: std::fs::metadata(&self.path).map_or(0, |found| found.len()),
                    })
            }
            None => self.pread(number, files, range, out),
        }
    }

    fn pread(
        &self,
        number: usize,
        files: &OpenFiles,
        range: (u64, u64),
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let range = (self.offset + range.0, self.offset + range.1);
        read_range(&*self.file(number, files)?, &self.path, range, out)
    }

    /// What is known of the shard since it was opened.
    fn opened(&self, number: usize, files: &OpenFiles) -> Result<Guard<Option<Arc<Opened>>>> {
        let opened = self.opened.load();
        if opened.is_some() {
            return Ok(opened);
        }
        self.file(number, files)?;
        Ok(self.opened.load())
    }

    /// The header, for shards that have one of ours.
    pub(super) fn header(&self, number: usize, files: &OpenFiles) -> Result<Option<Header>> {
        let opened = self.opened(number, files)?;
        let checks = opened.as_ref().and_then(|opened| opened.checks.as_ref());
        Ok(checks.map(|checks| (*checks.header).clone()))
    }

    /// The shard's file, which is known to be the right one.
    fn file(&self, number: usize, files: &OpenFiles) -> Result<Guarded> {
        if let Some(file) = files.get(number) {
            return Ok(file);
        }
        let (file, metadata) = disk::open(&self.path)?;
        match self.opened.load().as_ref() {
            None => {
                let opened = Some(Arc::new(self.check_opened(&file, &metadata, files)?));
                self.opened.compare_and_swap(&None::<Arc<Opened>>, opened);
            }
            Some(opened) if opened.identity != Identity::of(&metadata) => {
                let what =
                    "another file took its place after it was opened; open the dataset again";
                return Err(corrupt(&self.path, 0, what));
            }
            Some(_) => {}
        }
        Ok(files.put(number, file))
    }

    fn check_opened(&self, file: &File, metadata: &Metadata, files: &OpenFiles) -> Result<Opened> {
        let path = &self.path;
        let checks = match &self.kind {
            Kind::Plain => None,
            Kind::Single(header) => Some(Checks::read(header.clone(), path)?),
            Kind::Listed {
                entry,
                vocab_size,
                fingerprint,
            } => {
                let Parsed::Ours(header) = read_header(file, metadata, path)? else {
                    let what = "it is not the shard that the manifest lists";
                    return Err(corrupt(path, 12, what));
                };
                entry.check(&header, path)?;
                if header.vocab_size != *vocab_size || header.fingerprint != *fingerprint {
                    return Err(Error::FingerprintMismatch {
                        path: path.clone(),
                        what: "tokenizer",
                        expected: hex(fingerprint),
                        found: hex(&header.fingerprint),
                    });
                }
                Some(Checks::read(header, path)?)
            }
        };
        check_length(path, self.offset + self.bytes(), metadata.len())?;
        Ok(Opened {
            identity: Identity::of(metadata),
            checks,
            map: files.map(file, metadata.len()),
        })
    }
}

/// Reads the first bytes of a token file.
pub(super) fn read_header(file: &File, metadata: &Metadata, path: &Path) -> Result<Parsed> {
    let cut = |found| Error::ShardTruncated {
        path: path.to_path_buf(),
        expected: HEADER_BYTES as u64,
        found,
    };
    if metadata.len() < HEADER_BYTES as u64 {
        return Err(cut(metadata.len()));
    }
    let mut bytes = [0; HEADER_BYTES];
    match disk::read_exact_at(file, &mut bytes, 0) {
        // It was cut off since its length was asked for.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(cut(file.metadata().map_or(0, |metadata| metadata.len())));
        }
        other => other.map_err(|source| io_error("read", path, source))?,
    }
    Header::parse(&bytes, path)
}

/// Checksums of a shard's blocks, and which of them were compared.
#[derive(Debug)]
struct Checks {
    header: Box<Header>,
    block_sums: Vec<u64>,
    /// A bit for each block that has been found right.
    checked: Vec<AtomicU64>,
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

    fn done(&self, block: usize) -> bool {
        self.checked[block / 64].load(Ordering::Relaxed) & 1 << (block % 64) != 0
    }

    fn check(&self, block: usize, bytes: &[u8], path: &Path) -> Result<()> {
        check_block(bytes, block, self.block_sums[block], &self.header, path)?;
        self.checked[block / 64].fetch_or(1 << (block % 64), Ordering::Relaxed);
        Ok(())
    }
}

/// Files that stay open: a dataset may have more shards than a process may open files.
///
/// A shard has one slot, which it shares with others where there are more shards than slots.
#[derive(Debug)]
pub(super) struct OpenFiles {
    pub(super) io: Io,
    /// How many more files may be mapped.
    maps_left: AtomicUsize,
    slots: Box<[ArcSwapOption<(usize, File)>]>,
}

/// A file that stays open while it is looked at.
pub(super) struct Guarded(Guard<Option<Arc<(usize, File)>>>);

impl std::ops::Deref for Guarded {
    type Target = File;

    fn deref(&self) -> &File {
        let slot = self.0.as_ref();
        &slot.expect("only slots with a file are handed out").1
    }
}

impl OpenFiles {
    /// A quarter of the files that a process may usually have open.
    const MOST: usize = 256;

    /// A quarter of the maps that Linux usually lets a process have.
    const MOST_MAPS: usize = 1 << 14;

    pub(super) fn new(shards: usize, io: Io) -> Self {
        let slots = std::iter::repeat_with(ArcSwapOption::empty);
        Self {
            io,
            maps_left: AtomicUsize::new(Self::MOST_MAPS),
            slots: slots.take(shards.min(Self::MOST)).collect(),
        }
    }

    /// Maps a file that has this many bytes, where that is wanted and can be had.
    fn map(&self, file: &File, length: u64) -> Option<Map> {
        if self.io == Io::Pread {
            return None;
        }
        let take = |left: usize| left.checked_sub(1);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.maps_left.fetch_update(set, fetch, take).ok()?;
        Map::for_rows(file, length)
    }

    fn get(&self, shard: usize) -> Option<Guarded> {
        let slot = self.slots[shard % self.slots.len()].load();
        let there = slot.as_ref().is_some_and(|open| open.0 == shard);
        there.then(|| Guarded(slot))
    }

    fn put(&self, shard: usize, file: File) -> Guarded {
        let open = Some(Arc::new((shard, file)));
        self.slots[shard % self.slots.len()].store(open.clone());
        Guarded(Guard::from_inner(open))
    }
}
