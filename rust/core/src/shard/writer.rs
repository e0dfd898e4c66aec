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

use std::path::Path;

use sha2::{Digest, Sha256};

use super::adopt::adopt;
use super::folder::Folder;
use super::format::{MAX_SHARD_TOKENS, TokenType};
use super::manifest::{MANIFEST_NAME, Manifest, ManifestParts, ShardEntry};
use super::names::Names;
use super::open_shard::{OpenDocument, OpenShard, Stamp};
use super::options::WriterOptions;
use super::publication::Publication;
use super::replace::settle;
use super::resume::{Request, Stock, find_whole, take_stock};
use crate::publish::{FolderLock, atomic_write_here, io_error, sync_folder};
use crate::{Error, Result};

/// Writes one dataset. Dropping it before [`ShardWriter::finish`] leaves the shards that are complete, and no manifest.
pub struct ShardWriter {
    folder: Folder,
    options: WriterOptions,
    work: [u8; 16],
    names: Names,
    /// Another dataset is there until this one is whole.
    replaces: bool,
    done: Vec<ShardEntry>,
    /// The shard before the open one, on its way to the disk.
    publication: Option<Publication>,
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
    /// None where nothing may be written, and nothing has to be.
    lock: Option<FolderLock>,
}

impl ShardWriter {
    /// Begins a dataset in a folder, which is made if it is not there.
    pub fn create(folder: &Path, options: WriterOptions) -> Result<Self> {
        options.validate()?;
        if !folder.is_dir() {
            std::fs::create_dir_all(folder).map_err(|source| io_error("create", folder, source))?;
            let _ = sync_folder(&folder.join("..")); // a missing folder is noticed, so this is no promise to keep
        }
        let work = options.work();
        let request = Request {
            work,
            resume: options.resume,
            journal: options.journal.as_deref(),
            force: options.force,
        };
        let name = folder;
        let folder = Folder(name.to_path_buf());
        // What is there is looked at by whoever has the lock: it changes until then.
        let (lock, stock) = match FolderLock::take(name) {
            Ok(lock) => (Some(lock), take_stock(&folder, &request)?),
            Err(error) if is_read_only(&error) => match find_whole(&folder, &request)? {
                Some(manifest) => (None, Stock::Finished(Box::new(manifest))),
                None => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let mut writer = Self {
            folder,
            options,
            work,
            names: Names::Final,
            replaces: false,
            done: Vec::new(),
            publication: None,
            open: None,
            document: None,
            resumed_documents: 0,
            tokenizer_sha256: None,
            finished: None,
            broken: false,
            lock,
        };
        match stock {
            Stock::Finished(manifest) => {
                writer.resumed_documents = manifest.documents;
                writer.finished = Some(match writer.lock {
                    Some(_) => settle(&writer.folder, *manifest)?,
                    None => *manifest,
                });
            }
            Stock::Unfinished {
                names,
                done,
                documents,
                replaces,
            } => {
                writer.names = names;
                writer.done = done;
                writer.resumed_documents = documents;
                writer.replaces = replaces;
            }
        }
        Ok(writer)
    }

    /// Stores which inputs these are; before this is done a killed run is not continued by its journal.
    pub fn begin(&mut self) -> Result<()> {
        self.writable()?;
        match &self.options.journal {
            Some(journal) => atomic_write_here(&self.folder.join(self.names.journal()), journal),
            None => Ok(()),
        }
    }

    /// Documents that are already on disk, complete and verified; the caller starts after them.
    pub fn resumed_documents(&self) -> u64 {
        self.resumed_documents
    }

    /// The manifest, if the whole dataset was already there; then there is nothing to write.
    pub fn finished(&self) -> Option<&Manifest> {
        self.finished.as_ref()
    }

    /// Appends several documents, of which number `i` is `ids[offsets[i]..offsets[i + 1]]`.
    ///
    /// Offsets and ids are checked before anything is written: an error other than one of the disk leaves the
    /// dataset as it was, and the writer usable. The last document goes on with the next call if it is `open`.
    pub fn write_batch<I: Copy + Ord + Into<u32>>(
        &mut self,
        ids: &[I],
        offsets: &[usize],
        source_bytes: &[u64],
        open: bool,
    ) -> Result<()> {
        self.writable()?;
        let begins = offsets.first() == Some(&0) && offsets.last() == Some(&ids.len());
        if !begins || !offsets.is_sorted() || offsets.len() != source_bytes.len() + 1 {
            return Err(Error::ShardArgument {
                name: "offsets",
                found: "something else".into(),
                expected: format!(
                    "{} numbers that ascend from 0 to the {} ids",
                    source_bytes.len() + 1,
                    ids.len()
                ),
            });
        }
        let parts = || offsets.windows(2).map(|range| &ids[range[0]..range[1]]);
        let separators = [self.options.bos, self.options.eos];
        let separators = separators.iter().flatten().count() as u64;
        self.check_range(ids, 0)?;
        let mut begun = self.document.as_ref().map_or(0, |document| document.tokens);
        for part in parts() {
            check_length(begun + part.len() as u64 + separators)?;
            begun = 0;
        }
        let last = source_bytes.len().saturating_sub(1);
        for (number, (part, &bytes)) in parts().zip(source_bytes).enumerate() {
            self.append(part, bytes, number < last || !open)?;
        }
        Ok(())
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
        let before = self.document.as_ref().map_or(0, |document| document.tokens);
        self.check_range(ids, before)?;
        self.append(ids, source_bytes, ends)
    }

    /// Appends a part of a document whose ids are right.
    fn append<I: Copy + Into<u32>>(
        &mut self,
        ids: &[I],
        source_bytes: u64,
        ends: bool,
    ) -> Result<()> {
        let before = self.document.as_ref().map(|document| document.tokens);
        let (bos, eos) = (self.options.bos, self.options.eos);
        let bos = bos.filter(|_| before.is_none());
        let eos = eos.filter(|_| ends);
        let more = ids.len() as u64 + u64::from(bos.is_some()) + u64::from(eos.is_some());
        let tokens = before.unwrap_or(0) + more;
        check_length(tokens)?;
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
        if self.open.is_none() {
            self.open = Some(self.begin_shard(self.next_index())?);
        }
        let shard = self.open.as_mut().expect("a shard was begun");
        if !ends && before.is_none() {
            self.document = Some(OpenDocument::begin(shard));
        }
        shard.push(bos.as_slice())?;
        shard.push(ids)?;
        shard.push(eos.as_slice())?;
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

    /// Makes a shard of another folder the next one of this dataset, without a copy of its tokens; that folder must be on the
    /// same file system, and its writer must have had the same options. See `adopt.rs`.
    pub fn adopt(&mut self, from: &Path) -> Result<()> {
        self.writable()?;
        self.between_documents()?;
        self.close_shard()?;
        self.end_publication()?;
        let (index, names) = (self.next_index(), self.names);
        let stamp = self.stamp();
        let entry = adopt(from, &self.folder, &names.shard(index), index, &stamp)?;
        self.done.push(entry);
        Ok(())
    }

    /// The number of the shard after those that are full.
    fn next_index(&self) -> u32 {
        self.done.len() as u32 + u32::from(self.publication.is_some())
    }

    fn begin_shard(&self, index: u32) -> Result<OpenShard> {
        let token_type = TokenType::for_vocabulary(self.options.vocab_size);
        OpenShard::create(&self.folder.0, &self.names.shard(index), index, token_type)
    }

    /// Refuses ids outside the vocabulary; the first of them is number `before`.
    fn check_range<I: Copy + Ord + Into<u32>>(&self, ids: &[I], before: u64) -> Result<()> {
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
        Ok(())
    }

    /// Stores the tokenizer beside the shards now, if it was not known at the beginning.
    pub fn store_tokenizer(&mut self, json: &[u8]) -> Result<()> {
        self.writable()?;
        atomic_write_here(&self.folder.join(self.names.tokenizer()), json)?;
        self.tokenizer_sha256 = Some(Sha256::digest(json).into());
        Ok(())
    }

    /// Publishes the last shard and the manifest, and removes shards of earlier runs that are not listed in it.
    pub fn finish(mut self) -> Result<Manifest> {
        if let Some(manifest) = self.finished.take() {
            return Ok(manifest);
        }
        self.writable()?;
        self.between_documents()?;
        self.close_shard()?;
        if let Some(json) = self.options.tokenizer_json.take() {
            self.store_tokenizer(&json)?;
        }
        self.end_publication()?;
        let names = self.names;
        let parts = ManifestParts {
            token_type: TokenType::for_vocabulary(self.options.vocab_size),
            vocab_size: self.options.vocab_size,
            fingerprint: self.options.fingerprint,
            tokenizer_sha256: self.tokenizer_sha256,
            tokenizer_file: self.tokenizer_sha256.and_then(|_| names.tokenizer_entry()),
            bos: self.options.bos,
            eos: self.options.eos,
            work: self.work,
            options: self.options.options.clone(),
        };
        let manifest = Manifest::new(parts, std::mem::take(&mut self.done));
        let bytes = manifest.to_bytes();
        let written = atomic_write_here(&self.folder.join(MANIFEST_NAME), &bytes);
        // An error may come after the manifest took its place; then the files that it lists stay.
        let is_old = |found: Option<Vec<u8>>| found.as_ref() != Some(&bytes);
        self.replaces &= written.is_err() && self.folder.read(MANIFEST_NAME).is_ok_and(is_old);
        written?;
        settle(&self.folder, manifest)
    }

    fn between_documents(&self) -> Result<()> {
        match self.document {
            None => Ok(()),
            Some(_) => Err(Error::ShardArgument {
                name: "writer",
                found: "in the middle of a document".into(),
                expected: "its last part first".into(),
            }),
        }
    }

    /// What all shards say.
    fn stamp(&self) -> Stamp {
        Stamp {
            vocab_size: self.options.vocab_size,
            bos: self.options.bos,
            eos: self.options.eos,
            fingerprint: self.options.fingerprint,
            work: self.work,
        }
    }

    fn writable(&self) -> Result<()> {
        let wrong = |found: &str| {
            Err(Error::ShardArgument {
                name: "writer",
                found: found.into(),
                expected: "open; make a new one".into(),
            })
        };
        match &self.lock {
            _ if self.broken => wrong("broken by an earlier error"),
            _ if self.finished.is_some() => wrong("finished"),
            Some(lock) if !lock.is_of_this_process() => wrong("another process's"),
            _ => Ok(()),
        }
    }

    /// Closes the shard before the document that is being written, and goes on with it in the next one.
    fn move_document(&mut self, document: OpenDocument) -> Result<()> {
        let Some(mut shard) = self.open.take() else {
            return Ok(());
        };
        let mut next = self.begin_shard(shard.index + 1)?;
        let tokens = document.tokens;
        shard.move_tail(document, &mut next)?;
        self.open = Some(shard);
        self.close_shard()?;
        let mut moved = OpenDocument::begin(&next);
        moved.tokens = tokens;
        self.document = Some(moved);
        self.open = Some(next);
        Ok(())
    }

    /// Sends the open shard to the disk. One at a time is on its way, so that what is whole has no gaps.
    fn close_shard(&mut self) -> Result<()> {
        self.end_publication()?;
        if let Some(shard) = self.open.take() {
            let stamp = self.stamp();
            self.publication = Some(Publication::begin(shard, stamp));
        }
        Ok(())
    }

    fn end_publication(&mut self) -> Result<()> {
        if let Some(publication) = self.publication.take() {
            self.done.push(publication.finish()?);
        }
        Ok(())
    }
}

impl Drop for ShardWriter {
    fn drop(&mut self) {
        self.open = None;
        self.publication = None; // waits for it
        let ours = self
            .lock
            .as_ref()
            .is_some_and(FolderLock::is_of_this_process);
        if self.replaces && ours {
            // Nobody would take them over, and the old dataset is there.
            let names = self.names;
            let left = [names.tokenizer(), names.journal()];
            let _ = self
                .folder
                .remove(|name| names.shard_number(name).is_some() || left.contains(&name));
        }
    }
}

fn check_length(tokens: u64) -> Result<()> {
    if tokens > MAX_SHARD_TOKENS {
        return Err(Error::DocumentTooLong {
            tokens,
            limit: MAX_SHARD_TOKENS,
        });
    }
    Ok(())
}

/// Whether nothing can be written in the folder, by anybody or by this user.
fn is_read_only(error: &Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error, Error::Io { source, .. }
             if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem))
}
