//! One shard while it is being filled, in a hidden file of its own, and its publication.
//!
//! Tokens are narrowed into a buffer of one block. A full block gets its checksum and goes to the file, of which the
//! disk begins to store it at once. When the shard is full, its sidecar and its header are made, both files are flushed and get their
//! names; what has a name is whole.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::format::{BLOCK_BYTES, HEADER_BYTES, TokenType};
use super::header::Header;
use super::manifest::ShardEntry;
use super::names::temporary;
use super::sidecar::Sidecar;
use super::sums::{BlockSum, Sums};
use crate::Result;
use crate::publish::{AtomicFile, begin_to_store, create_new, io_error, remove_quietly, rename};

/// After so many blocks the disk begins to store them, so that little is left to wait for at the end of a shard.
const STORED_BLOCKS: usize = 4;

/// What all shards of a dataset say.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    pub(super) vocab_size: u32,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) fingerprint: [u8; 32],
    pub(super) work: [u8; 16],
}

/// A shard that is being filled, in a hidden file.
pub(super) struct OpenShard {
    path: PathBuf,
    temporary: PathBuf,
    pub(super) index: u32,
    pub(super) token_type: TokenType,
    file: File,
    /// Tokens not yet on their way to the disk; below one block.
    block: Vec<u8>,
    sums: Box<Sums>,
    /// Of the blocks that are full.
    blocks: Vec<BlockSum>,
    pub(super) doc_ends: Vec<u32>,
    pub(super) tokens: u64,
    pub(super) source_bytes: u64,
    published: bool,
    /// The process that began it: a forked child has a copy of this value and no right to the file.
    process: u32,
}

/// A document that is being written in parts: how much of it there is, and the shard as it was before.
pub(super) struct OpenDocument {
    /// Of the document so far.
    pub(super) tokens: u64,
    tokens_before: u64,
    block: Vec<u8>,
    blocks: usize,
    sums: Box<Sums>,
    source_bytes: u64,
}

impl OpenDocument {
    pub(super) fn begin(shard: &OpenShard) -> Self {
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        block.extend_from_slice(&shard.block);
        Self {
            tokens: 0,
            tokens_before: shard.tokens,
            block,
            blocks: shard.blocks.len(),
            sums: shard.sums.clone(),
            source_bytes: shard.source_bytes,
        }
    }
}

impl Drop for OpenShard {
    fn drop(&mut self) {
        if !self.published && self.process == std::process::id() {
            remove_quietly(&self.temporary);
        }
    }
}

impl OpenShard {
    /// Begins shard number `index`, whose file will have that name.
    pub(super) fn create(
        folder: &Path,
        name: &str,
        index: u32,
        token_type: TokenType,
    ) -> Result<Self> {
        let path = folder.join(name);
        let temporary = folder.join(temporary(name));
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
            sums: Box::new(Sums::new(token_type)),
            blocks: Vec::new(),
            doc_ends: Vec::new(),
            tokens: 0,
            source_bytes: 0,
            published: false,
            process: std::process::id(),
        })
    }

    pub(super) fn documents(&self) -> u64 {
        self.doc_ends.len() as u64
    }

    /// Appends tokens, which the caller has checked.
    pub(super) fn push<I: Copy + Into<u32>>(&mut self, mut ids: &[I]) -> Result<()> {
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
    pub(super) fn move_tail(&mut self, document: OpenDocument, next: &mut Self) -> Result<()> {
        let failed = |source| io_error("write", &self.path, source);
        let written = self.blocks.len() * BLOCK_BYTES;
        let kept = document.blocks * BLOCK_BYTES;
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
        self.blocks.truncate(document.blocks);
        self.tokens = document.tokens_before;
        self.source_bytes = document.source_bytes;
        self.sums = document.sums;
        self.block = document.block;
        Ok(())
    }

    /// Appends tokens as another shard of the same type has them.
    fn push_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match self.token_type {
            TokenType::U16 => {
                let ids = bytes.as_chunks().0.iter();
                self.push(&ids.map(|&id| u16::from_le_bytes(id)).collect::<Vec<_>>())
            }
            TokenType::U32 => {
                let ids = bytes.as_chunks().0.iter();
                self.push(&ids.map(|&id| u32::from_le_bytes(id)).collect::<Vec<_>>())
            }
        }
    }

    fn flush_block(&mut self) -> Result<()> {
        self.sums.update(&self.block);
        self.blocks.push(self.sums.end_block());
        self.file
            .write_all(&self.block)
            .map_err(|source| io_error("write", &self.path, source))?;
        self.block.clear();
        let blocks = self.blocks.len();
        if blocks.is_multiple_of(STORED_BLOCKS) {
            let bytes = STORED_BLOCKS * BLOCK_BYTES;
            let start = HEADER_BYTES + blocks * BLOCK_BYTES - bytes;
            begin_to_store(&self.file, start as u64, bytes as u64);
        }
        Ok(())
    }

    /// Gives the shard and its sidecar their names, after both are on the disk.
    pub(super) fn publish(mut self, stamp: &Stamp) -> Result<ShardEntry> {
        if !self.block.is_empty() {
            self.flush_block()?;
        }
        let (header, sidecar) = self.seal(stamp);
        let failed = |source| io_error("write", &self.path, source);
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        self.file.write_all(&header.to_bytes()).map_err(failed)?;
        // Both must be on the disk before either has its name; neither waits for the other.
        let (file, path) = (&self.file, self.path.with_extension("gbx"));
        let (stored, with_sidecar) = std::thread::scope(|scope| {
            let storing = std::thread::Builder::new().spawn_scoped(scope, || file.sync_all());
            let with_sidecar = AtomicFile::create_here(&path).and_then(|mut written| {
                written.write(&sidecar)?;
                written.commit_before_others()
            });
            let stored = match storing {
                Ok(storing) => storing
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => file.sync_all(), // no thread could be had
            };
            (stored, with_sidecar)
        });
        with_sidecar?;
        stored.map_err(failed)?;
        self.published = true; // `rename` cleans up after itself
        rename(&self.temporary, &self.path)?;
        let name = self.path.file_name().expect("the path ends in a name");
        Ok(ShardEntry::new(
            name.to_string_lossy().into_owned(),
            &header,
        ))
    }

    /// The header and the sidecar's bytes.
    fn seal(&mut self, stamp: &Stamp) -> (Header, Vec<u8>) {
        let sidecar = Sidecar {
            doc_ends: std::mem::take(&mut self.doc_ends),
            block_sums: self.blocks.iter().map(|block| block.sum).collect(),
        };
        let greatest = self.blocks.iter().map(|block| block.greatest).max();
        let mut header = Header {
            token_type: self.token_type,
            tokens: self.tokens,
            documents: sidecar.doc_ends.len() as u64,
            vocab_size: stamp.vocab_size,
            max_token: greatest.unwrap_or(0),
            bos: stamp.bos,
            eos: stamp.eos,
            id: [0; 16],
            index: self.index,
            fingerprint: stamp.fingerprint,
            tokens_digest: self.sums.digest(),
            sidecar_digest: [0; 16],
            source_bytes: self.source_bytes,
            work: stamp.work,
        };
        let sidecar = identify(&mut header, &sidecar);
        (header, sidecar)
    }
}

/// Gives a header the id and the digest that follow from the rest of it; returns the sidecar's bytes.
pub(super) fn identify(header: &mut Header, sidecar: &Sidecar) -> Vec<u8> {
    // The id names content and origin: the header before it has an id, and the sidecar before it has one.
    header.id = [0; 16];
    header.sidecar_digest = [0; 16];
    let mut content = header.to_bytes().to_vec();
    content.extend(sidecar.to_bytes(&[0; 16]));
    header.id = xxh3_128(&content).to_le_bytes();
    let sidecar = sidecar.to_bytes(&header.id);
    header.sidecar_digest = xxh3_128(&sidecar).to_le_bytes();
    sidecar
}
