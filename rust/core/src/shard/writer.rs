//! Writes documents of token ids as a dataset of shards.
//!
//! Ids are checked against the vocabulary, narrowed and checksummed while they pass through one 1 MiB buffer, so
//! memory does not depend on the size of a shard. A document never crosses shards: when it does not fit any more the
//! shard is closed, and a document longer than a whole shard gets one of its own.
//!
//! Each shard is published by itself (sidecar, then tokens) as soon as it is full, the manifest last; see
//! [`crate::publish`]. Nothing in the files depends on time, chance or machine: the same documents and options give
//! the same bytes. That is also what resuming rests on. A writer created with `resume` keeps the shards that a
//! killed run of the same work finished, checks them to the last byte, and says how many documents they hold; the
//! caller leaves those out and goes on. It cannot see whether the input is still the same: the caller says so by
//! passing `resume`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use super::format::{BLOCK_BYTES, HEADER_BYTES, Header, MAX_SHARD_TOKENS, Sidecar, TokenType, hex};
use super::manifest::{MANIFEST_NAME, Manifest, ManifestParts, ShardEntry, TOKENIZER_NAME};
use super::verify::check_shard_files;
use crate::publish::{
    FolderLock, atomic_write, begin_to_store, create_new, io_error, remove_quietly, rename,
    sync_folder,
};
use crate::{Error, Result};

/// Tokens per shard unless said otherwise: 256 MiB of u16, 512 MiB of u32.
pub const DEFAULT_SHARD_TOKENS: u64 = 1 << 27;

/// After so many blocks the disk begins to store them, so that little is left to wait for at the end of a shard.
const STORED_BLOCKS: usize = 4;

/// What a dataset is to be.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// One more than the largest id allowed.
    pub vocab_size: u32,
    /// The tokenizer's fingerprint; zeros where there is none to state.
    pub fingerprint: [u8; 32],
    /// The tokenizer as `tokenizer.json`, to be stored beside the shards.
    pub tokenizer_json: Option<Vec<u8>>,
    /// A token to put in front of every document.
    pub bos: Option<u32>,
    /// A token to put after every document.
    pub eos: Option<u32>,
    /// A shard is closed before it would exceed this many tokens.
    pub shard_tokens: u64,
    /// How the documents came to be, in words; stored in the manifest, and part of what resuming compares.
    pub options: BTreeMap<String, String>,
    /// Keep what a killed run with the same options wrote.
    pub resume: bool,
    /// Replace a dataset that is already in the folder.
    pub force: bool,
}

impl WriterOptions {
    /// Options for ids below `vocab_size`, with no separators.
    pub fn new(vocab_size: u32) -> Self {
        Self {
            vocab_size,
            fingerprint: [0; 32],
            tokenizer_json: None,
            bos: None,
            eos: None,
            shard_tokens: DEFAULT_SHARD_TOKENS,
            options: BTreeMap::new(),
            resume: false,
            force: false,
        }
    }

    /// The key of the work: equal keys and equal documents give equal bytes.
    fn work(&self) -> [u8; 16] {
        let words = format!(
            "{:?} {} {:?} {:?} {}",
            self.options, self.vocab_size, self.bos, self.eos, self.shard_tokens
        );
        let mut bytes = self.fingerprint.to_vec();
        bytes.extend(words.bytes());
        xxh3_128(&bytes).to_le_bytes()
    }

    fn validate(&self) -> Result<()> {
        let wrong = |name, found: u64, expected: String| Error::ShardArgument {
            name,
            found: found.to_string(),
            expected,
        };
        if self.vocab_size == 0 || self.vocab_size > i32::MAX as u32 {
            let expected = format!("1 to {}", i32::MAX);
            return Err(wrong("vocab_size", self.vocab_size.into(), expected));
        }
        if self.shard_tokens == 0 || self.shard_tokens > MAX_SHARD_TOKENS {
            let expected = format!("1 to {MAX_SHARD_TOKENS}");
            return Err(wrong("shard_tokens", self.shard_tokens, expected));
        }
        for (name, id) in [("bos", self.bos), ("eos", self.eos)] {
            if let Some(id) = id.filter(|&id| id >= self.vocab_size) {
                return Err(wrong(
                    name,
                    id.into(),
                    format!("below the vocabulary's {}", self.vocab_size),
                ));
            }
        }
        Ok(())
    }
}

/// Writes one dataset. Dropping it before [`ShardWriter::finish`] leaves the shards that are complete, and no manifest.
pub struct ShardWriter {
    folder: PathBuf,
    options: WriterOptions,
    work: [u8; 16],
    done: Vec<ShardEntry>,
    open: Option<OpenShard>,
    /// The document of which parts were written, but not the last.
    document: Option<OpenDocument>,
    resumed_documents: u64,
    /// Of the tokenizer that is stored.
    tokenizer_sha256: Option<[u8; 32]>,
    /// The dataset was there already, whole.
    finished: Option<Manifest>,
    /// A write failed, so what follows would leave a hole.
    broken: bool,
    _lock: FolderLock,
}

impl ShardWriter {
    /// Begins a dataset in a folder, which is made if it is not there.
    pub fn create(folder: &Path, options: WriterOptions) -> Result<Self> {
        options.validate()?;
        if !folder.is_dir() {
            std::fs::create_dir_all(folder).map_err(|source| io_error("create", folder, source))?;
            let _ = sync_folder(&folder.join("..")); // a missing folder is noticed, so this is no promise to keep
        }
        let mut writer = Self {
            folder: folder.to_path_buf(),
            work: options.work(),
            _lock: FolderLock::take(folder)?,
            options,
            done: Vec::new(),
            open: None,
            document: None,
            resumed_documents: 0,
            tokenizer_sha256: None,
            finished: None,
            broken: false,
        };
        writer.remove_files(is_temporary)?;
        writer.take_stock()?;
        Ok(writer)
    }

    /// Documents that are already on disk, complete and verified; the caller starts after them.
    pub fn resumed_documents(&self) -> u64 {
        self.resumed_documents
    }

    /// The manifest, if the whole dataset was already there; then there is nothing to write.
    pub fn finished(&self) -> Option<&Manifest> {
        self.finished.as_ref()
    }

    /// Appends a document that stands for `source_bytes` bytes of text. When this fails nothing more can be written.
    pub fn write<I: Copy + Ord + Into<u32>>(&mut self, ids: &[I], source_bytes: u64) -> Result<()> {
        self.write_part(ids, source_bytes, true)
    }

    /// Appends a part of a document; the document ends with the part that says so.
    ///
    /// The files are those that [`ShardWriter::write`] makes of the whole document, which is never in memory: where
    /// it turns out that the document does not fit in its shard any more, what is there of it moves to the next one.
    pub fn write_part<I: Copy + Ord + Into<u32>>(
        &mut self,
        ids: &[I],
        source_bytes: u64,
        ends: bool,
    ) -> Result<()> {
        self.writable()?;
        let before = self.document.as_ref().map(|document| document.tokens);
        let greatest = self.check_range(ids, before.unwrap_or(0))?;
        let (bos, eos) = (self.options.bos, self.options.eos);
        let bos = bos.filter(|_| before.is_none());
        let eos = eos.filter(|_| ends);
        let more = ids.len() as u64 + u64::from(bos.is_some()) + u64::from(eos.is_some());
        let tokens = before.unwrap_or(0) + more;
        if tokens > MAX_SHARD_TOKENS {
            return Err(Error::DocumentTooLong {
                tokens,
                limit: MAX_SHARD_TOKENS,
            });
        }
        let full = self.open.as_ref().is_some_and(|shard| {
            let filled = shard.tokens + more > self.options.shard_tokens;
            // Document ends are 32-bit and so is their number; only empty documents could exceed it.
            (filled && shard.documents() > 0) || shard.documents() == u64::from(u32::MAX)
        });
        self.broken = true; // until all of the part is written
        if full {
            match self.document.take() {
                None => self.close_shard()?,
                Some(document) => self.move_document(document)?,
            }
        }
        let shard = match &mut self.open {
            Some(shard) => shard,
            None => self.open.insert(OpenShard::create(
                &self.folder,
                self.done.len() as u32,
                TokenType::for_vocabulary(self.options.vocab_size),
            )?),
        };
        if !ends && before.is_none() {
            self.document = Some(OpenDocument::begin(shard));
        }
        shard.push(bos.as_slice())?;
        shard.push(ids)?;
        shard.push(eos.as_slice())?;
        let others = bos.max(eos).unwrap_or(0);
        shard.max_token = shard.max_token.max(greatest).max(others);
        shard.source_bytes += source_bytes;
        if ends {
            shard.doc_ends.push(shard.tokens as u32);
            self.document = None;
        } else if let Some(document) = &mut self.document {
            document.tokens = tokens;
        }
        self.broken = false;
        Ok(())
    }

    /// The greatest id.
    fn check_range<I: Copy + Ord + Into<u32>>(&self, ids: &[I], before: u64) -> Result<u32> {
        let vocab_size = self.options.vocab_size;
        let greatest = ids.iter().copied().reduce(Ord::max).map_or(0, I::into);
        // One branch-free pass finds that there is nothing to find.
        if greatest >= vocab_size
            && let Some(index) = ids.iter().position(|&id| id.into() >= vocab_size)
        {
            return Err(Error::TokenOutOfRange {
                index: before + index as u64,
                id: u64::from(ids[index].into()),
                vocab_size,
            });
        }
        Ok(greatest)
    }

    /// Stores the tokenizer beside the shards now, if it was not known at the beginning.
    pub fn store_tokenizer(&mut self, json: &[u8]) -> Result<()> {
        self.writable()?;
        atomic_write(&self.folder.join(TOKENIZER_NAME), json)?;
        self.tokenizer_sha256 = Some(Sha256::digest(json).into());
        Ok(())
    }

    /// Publishes the last shard and the manifest, and removes shards of earlier runs that are not listed in it.
    pub fn finish(mut self) -> Result<Manifest> {
        if let Some(manifest) = self.finished.take() {
            return Ok(manifest);
        }
        self.writable()?;
        if self.document.is_some() {
            return Err(Error::ShardArgument {
                name: "writer",
                found: "in the middle of a document".into(),
                expected: "its last part before the end".into(),
            });
        }
        self.close_shard()?;
        if let Some(json) = self.options.tokenizer_json.take() {
            self.store_tokenizer(&json)?;
        }
        let parts = ManifestParts {
            token_type: TokenType::for_vocabulary(self.options.vocab_size),
            vocab_size: self.options.vocab_size,
            fingerprint: self.options.fingerprint,
            tokenizer_sha256: self.tokenizer_sha256,
            bos: self.options.bos,
            eos: self.options.eos,
            work: self.work,
            options: self.options.options.clone(),
        };
        let manifest = Manifest::new(parts, std::mem::take(&mut self.done));
        atomic_write(&self.folder.join(MANIFEST_NAME), &manifest.to_bytes())?;
        let count = manifest.shards.len() as u32;
        self.remove_files(|name| shard_number(name).is_some_and(|number| number >= count))?;
        Ok(manifest)
    }

    fn writable(&self) -> Result<()> {
        if self.broken || self.finished.is_some() {
            return Err(Error::ShardArgument {
                name: "writer",
                found: if self.broken {
                    "broken by an earlier error"
                } else {
                    "finished"
                }
                .into(),
                expected: "open; make a new one".into(),
            });
        }
        Ok(())
    }

    /// Closes the shard before the document that is being written, and goes on with it in the next one.
    fn move_document(&mut self, document: OpenDocument) -> Result<()> {
        let Some(mut shard) = self.open.take() else {
            return Ok(());
        };
        let index = self.done.len() as u32 + 1;
        let mut next = OpenShard::create(&self.folder, index, shard.token_type)?;
        let tokens = document.tokens;
        shard.move_tail(document, &mut next)?;
        self.open = Some(shard);
        self.close_shard()?;
        self.document = Some(OpenDocument {
            tokens,
            ..OpenDocument::begin(&next)
        });
        self.open = Some(next);
        Ok(())
    }

    fn close_shard(&mut self) -> Result<()> {
        if let Some(shard) = self.open.take() {
            let entry = shard.publish(&self.options, self.work)?;
            self.done.push(entry);
        }
        Ok(())
    }

    /// Looks at what is in the folder, and decides what of it stays.
    fn take_stock(&mut self) -> Result<()> {
        let path = self.folder.join(MANIFEST_NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.take_unfinished(),
            Err(source) => return Err(io_error("read", &path, source)),
        };
        let mut resume = false;
        if self.options.resume && !self.options.force {
            match Manifest::parse(&bytes, &path) {
                Ok(manifest) if manifest.work == hex(&self.work) => {
                    if self.is_whole(&manifest) {
                        self.resumed_documents = manifest.documents;
                        self.finished = Some(manifest);
                        return Ok(());
                    }
                    resume = true;
                }
                Err(Error::ShardCorrupt { .. }) => resume = self.valid_shard(0).is_some(),
                _ => {}
            }
        }
        if !resume && !self.options.force {
            return self.exists();
        }
        // From here on no manifest may speak of shards that are being replaced.
        std::fs::remove_file(&path)
            .and_then(|()| sync_folder(&self.folder))
            .map_err(|source| io_error("replace", &path, source))?;
        self.take_unfinished()
    }

    fn is_whole(&self, manifest: &Manifest) -> bool {
        let stored = std::fs::read(self.folder.join(TOKENIZER_NAME)).ok();
        let sha256 = stored.as_ref().map(|json| hex(&Sha256::digest(json)));
        (manifest.tokenizer.sha256.is_none() || manifest.tokenizer.sha256 == sha256)
            && manifest.shards.iter().all(|entry| {
                let path = self.folder.join(&entry.file);
                check_shard_files(&path).is_ok_and(|header| entry.check(&header, &path).is_ok())
            })
    }

    /// The header of a shard of this same work that is on disk and whole.
    fn valid_shard(&self, index: u32) -> Option<Header> {
        let header = check_shard_files(&self.folder.join(shard_name(index))).ok()?;
        let ours = header.work == self.work && header.index == index;
        ours.then_some(header)
    }

    /// There is no manifest: keeps the complete shards of a killed run, if that is wanted and they are of this work.
    fn take_unfinished(&mut self) -> Result<()> {
        if !self.options.force && self.has_foreign_shards()? {
            return self.exists();
        }
        if !self.options.resume || self.options.force {
            // Nothing may be left for a later run to take for its own.
            return self.remove_files(|name| shard_number(name).is_some());
        }
        // The last shard of a run is closed because the documents end. It looks like a full one; but then nothing is
        // left to write except the manifest.
        while let Some(header) = self.valid_shard(self.done.len() as u32) {
            self.resumed_documents += header.documents;
            self.done
                .push(ShardEntry::new(shard_name(header.index), &header));
        }
        Ok(())
    }

    /// Files with the names of ours that some other program made.
    fn has_foreign_shards(&self) -> Result<bool> {
        for name in self.names()? {
            if shard_number(&name).is_some() && !name.ends_with(SIDECAR_ENDING) {
                let mut head = [0; HEADER_BYTES];
                let path = self.folder.join(&name);
                let read = File::open(&path).and_then(|mut file| file.read_exact(&mut head));
                if read.is_err() || head[12..16] != *b"GBT1" {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn exists(&self) -> Result<()> {
        Err(Error::ShardExists {
            path: self.folder.clone(),
        })
    }

    fn names(&self) -> Result<Vec<String>> {
        let failed = |source| io_error("read", &self.folder, source);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }

    fn remove_files(&self, unwanted: impl Fn(&str) -> bool) -> Result<()> {
        for name in self.names()?.into_iter().filter(|name| unwanted(name)) {
            let path = self.folder.join(name);
            std::fs::remove_file(&path).map_err(|source| io_error("remove", &path, source))?;
        }
        Ok(())
    }
}

/// What a killed writer left; the lock says that it is nobody's now.
fn is_temporary(name: &str) -> bool {
    let ours = [".shard-", ".manifest.json", ".tokenizer.json"];
    name.contains(".tmp") && ours.iter().any(|start| name.starts_with(start))
}

/// What the name of a sidecar ends with.
const SIDECAR_ENDING: &str = ".gbx";

fn shard_name(number: u32) -> String {
    format!("shard-{number:05}.bin")
}

/// The number in the name of a shard's `.bin` or `.gbx` file.
fn shard_number(name: &str) -> Option<u32> {
    let (stem, extension) = name.split_once('.')?;
    let number = stem.strip_prefix("shard-")?.parse().ok()?;
    let canonical = format!("shard-{number:05}") == stem && matches!(extension, "bin" | "gbx");
    canonical.then_some(number)
}

/// A shard that is being filled, in a hidden file.
struct OpenShard {
    path: PathBuf,
    temporary: PathBuf,
    index: u32,
    token_type: TokenType,
    file: File,
    /// Tokens not yet on their way to the disk; below one block.
    block: Vec<u8>,
    digest: Box<Xxh3>,
    sums: Vec<u64>,
    doc_ends: Vec<u32>,
    tokens: u64,
    max_token: u32,
    source_bytes: u64,
    published: bool,
}

/// A document that is being written in parts: how much of it there is, and the shard as it was before.
struct OpenDocument {
    /// Of the document so far.
    tokens: u64,
    tokens_before: u64,
    block: Vec<u8>,
    sums: usize,
    digest: Box<Xxh3>,
    max_token: u32,
    source_bytes: u64,
}

impl OpenDocument {
    fn begin(shard: &OpenShard) -> Self {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        block.extend_from_slice(&shard.block);
        Self {
            tokens: 0,
            tokens_before: shard.tokens,
            block,
            sums: shard.sums.len(),
            digest: shard.digest.clone(),
            max_token: shard.max_token,
            source_bytes: shard.source_bytes,
        }
    }
}

impl Drop for OpenShard {
    fn drop(&mut self) {
        if !self.published {
            remove_quietly(&self.temporary);
        }
    }
}

impl OpenShard {
    fn create(folder: &Path, index: u32, token_type: TokenType) -> Result<Self> {
        let name = shard_name(index);
        let path = folder.join(&name);
        let temporary = folder.join(format!(".{name}.tmp"));
        let failed = |source| io_error("write", &path, source);
        let mut file = create_new(&temporary).map_err(failed)?;
        // The header comes last: until then the file is recognisably no shard.
        if let Err(source) = file.write_all(&[0; HEADER_BYTES]) {
            remove_quietly(&temporary);
            return Err(failed(source));
        }
        Ok(Self {
            path,
            temporary,
            index,
            token_type,
            file,
            block: Vec::with_capacity(BLOCK_BYTES),
            digest: Box::new(Xxh3::new()),
            sums: Vec::new(),
            doc_ends: Vec::new(),
            tokens: 0,
            max_token: 0,
            source_bytes: 0,
            published: false,
        })
    }

    fn documents(&self) -> u64 {
        self.doc_ends.len() as u64
    }

    /// Appends tokens; `max_token` is seen to by the caller, who knows it.
    fn push<I: Copy + Into<u32>>(&mut self, mut ids: &[I]) -> Result<()> {
        while !ids.is_empty() {
            let width = self.token_type.bytes();
            let filled = self.block.len();
            let (now, later) = ids.split_at(ids.len().min((BLOCK_BYTES - filled) / width));
            self.block.resize(filled + now.len() * width, 0);
            let room = &mut self.block[filled..];
            match self.token_type {
                TokenType::U16 => {
                    for (bytes, &id) in room.as_chunks_mut().0.iter_mut().zip(now) {
                        *bytes = (id.into() as u16).to_le_bytes();
                    }
                }
                TokenType::U32 => {
                    for (bytes, &id) in room.as_chunks_mut().0.iter_mut().zip(now) {
                        *bytes = id.into().to_le_bytes();
                    }
                }
            }
            self.tokens += now.len() as u64;
            if self.block.len() == BLOCK_BYTES {
                self.flush_block()?;
            }
            ids = later;
        }
        Ok(())
    }

    /// Moves the tokens from the beginning of `document` on to another shard, as if they had been pushed there.
    fn move_tail(&mut self, document: OpenDocument, next: &mut Self) -> Result<()> {
        let failed = |source| io_error("write", &self.path, source);
        let written = self.sums.len() * BLOCK_BYTES;
        let kept = document.sums * BLOCK_BYTES;
        let mut at = kept + document.block.len();
        let mut buffer = vec![0; BLOCK_BYTES.min(written.saturating_sub(at))];
        let start = SeekFrom::Start((HEADER_BYTES + at) as u64);
        self.file.seek(start).map_err(failed)?;
        while at < written {
            let count = buffer.len().min(written - at);
            self.file.read_exact(&mut buffer[..count]).map_err(failed)?;
            next.push_bytes(&buffer[..count])?;
            at += count;
        }
        next.push_bytes(&self.block[at - written..])?;
        next.source_bytes = self.source_bytes - document.source_bytes;

        let end = (HEADER_BYTES + kept) as u64;
        self.file.set_len(end).map_err(failed)?;
        self.file.seek(SeekFrom::Start(end)).map_err(failed)?;
        self.sums.truncate(document.sums);
        self.tokens = document.tokens_before;
        self.max_token = document.max_token;
        self.source_bytes = document.source_bytes;
        self.digest = document.digest;
        self.block = document.block;
        Ok(())
    }

    /// Appends tokens as another shard of the same type has them.
    fn push_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match self.token_type {
            TokenType::U16 => {
                let ids = bytes.as_chunks().0.iter();
                self.push_all(&ids.map(|&id| u16::from_le_bytes(id)).collect::<Vec<_>>())
            }
            TokenType::U32 => {
                let ids = bytes.as_chunks().0.iter();
                self.push_all(&ids.map(|&id| u32::from_le_bytes(id)).collect::<Vec<_>>())
            }
        }
    }

    fn push_all<I: Copy + Ord + Into<u32>>(&mut self, ids: &[I]) -> Result<()> {
        let greatest = ids.iter().copied().reduce(Ord::max).map_or(0, I::into);
        self.max_token = self.max_token.max(greatest);
        self.push(ids)
    }

    fn flush_block(&mut self) -> Result<()> {
        self.sums.push(xxh3_64(&self.block));
        self.digest.update(&self.block);
        self.file
            .write_all(&self.block)
            .map_err(|source| io_error("write", &self.path, source))?;
        self.block.clear();
        let blocks = self.sums.len();
        if blocks.is_multiple_of(STORED_BLOCKS) {
            let bytes = STORED_BLOCKS * BLOCK_BYTES;
            let start = HEADER_BYTES + blocks * BLOCK_BYTES - bytes;
            begin_to_store(&self.file, start as u64, bytes as u64);
        }
        Ok(())
    }

    fn publish(mut self, options: &WriterOptions, work: [u8; 16]) -> Result<ShardEntry> {
        if !self.block.is_empty() {
            self.flush_block()?;
        }
        let sidecar = Sidecar {
            doc_ends: std::mem::take(&mut self.doc_ends),
            block_sums: std::mem::take(&mut self.sums),
        };
        let mut header = Header {
            token_type: self.token_type,
            tokens: self.tokens,
            documents: sidecar.doc_ends.len() as u64,
            vocab_size: options.vocab_size,
            max_token: self.max_token,
            bos: options.bos,
            eos: options.eos,
            id: [0; 16],
            index: self.index,
            fingerprint: options.fingerprint,
            tokens_digest: self.digest.digest128().to_le_bytes(),
            sidecar_digest: [0; 16],
            source_bytes: self.source_bytes,
            work,
        };
        // The id names content and origin: the header before it has an id, and the sidecar before it has one.
        let mut content = header.to_bytes().to_vec();
        content.extend(sidecar.to_bytes(&[0; 16]));
        header.id = xxh3_128(&content).to_le_bytes();
        let sidecar = sidecar.to_bytes(&header.id);
        header.sidecar_digest = xxh3_128(&sidecar).to_le_bytes();

        let failed = |source| io_error("write", &self.path, source);
        // Both must be on the disk before the header is; neither waits for the other.
        let (file, path) = (&self.file, self.path.with_extension("gbx"));
        let (stored, with_sidecar) = std::thread::scope(|scope| {
            let storing = scope.spawn(|| file.sync_data());
            let with_sidecar = atomic_write(&path, &sidecar);
            let stored = storing.join();
            (
                stored.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                with_sidecar,
            )
        });
        with_sidecar?;
        stored.map_err(failed)?;
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        self.file.write_all(&header.to_bytes()).map_err(failed)?;
        self.file.sync_all().map_err(failed)?;
        self.published = true; // `rename` cleans up after itself
        rename(&self.temporary, &self.path)?;
        Ok(ShardEntry::new(shard_name(self.index), &header))
    }
}
