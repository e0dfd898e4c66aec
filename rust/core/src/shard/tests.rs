//! Shards as a whole: what is written is read, and whatever is damaged is noticed.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_wrap,
    clippy::inconsistent_struct_constructor
)]

mod adopting;
mod cuts;
mod damage;
mod opening;
mod reading;
mod replacing;
mod resuming;
mod sampling;
mod verifying;
mod writing;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::format::{HEADER_BYTES, TokenType};
use super::*;
use crate::{Error, Result};

/// A dataset in a folder of its own.
struct Dataset {
    folder: TempDir,
}

impl Dataset {
    fn new(vocab_size: u32, shard_tokens: u64, documents: &[Vec<u32>]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = WriterOptions {
            shard_tokens,
            eos: Some(vocab_size - 1),
            fingerprint: [7; 32],
            ..WriterOptions::new(vocab_size)
        };
        write(folder.path(), options, documents).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn reader(&self, verify: Verify) -> Result<ShardReader> {
        self.reader_with(verify, Io::Map)
    }

    fn reader_with(&self, verify: Verify, io: Io) -> Result<ShardReader> {
        let options = ReaderOptions {
            verify,
            io,
            ..ReaderOptions::default()
        };
        ShardReader::open(self.path(), options)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

fn write(folder: &Path, options: WriterOptions, documents: &[Vec<u32>]) -> Result<Manifest> {
    let mut writer = ShardWriter::create(folder, options)?;
    for document in documents.iter().skip(writer.resumed_documents() as usize) {
        writer.write(document, 3 * document.len() as u64)?;
    }
    writer.finish()
}

fn read_all(reader: &ShardReader) -> Result<Vec<i64>> {
    let mut all = Vec::new();
    for shard in 0..reader.shards() {
        let mut ids = vec![0; reader.shard_tokens(shard) as usize];
        reader.copy(shard, 0, &mut ids, &mut Vec::new())?;
        all.extend(ids);
    }
    Ok(all)
}

fn some_documents(count: u32, vocab_size: u32) -> Vec<Vec<u32>> {
    (0..count)
        .map(|d| {
            (0..(d * 37) % 101)
                .map(|i| (i * 7919 + d * 31) % (vocab_size - 1))
                .collect()
        })
        .collect()
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    listed(folder).unwrap()
}

fn listed(folder: &Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        files.push((name, std::fs::read(&path)?));
    }
    files.sort();
    Ok(files)
}

fn typed(result: Result<()>, what: &str) {
    match result {
        Err(
            Error::ShardCorrupt { .. } | Error::ShardTruncated { .. } | Error::ShardVersion { .. },
        ) => {}
        other => panic!("{what}: {other:?}"),
    }
}

fn plain_file(token_type: TokenType, ids: &[u32]) -> Vec<u8> {
    let (magic, version): (i32, i32) = match token_type {
        TokenType::U16 => (20_240_520, 1),
        TokenType::U32 => (20_240_801, 7),
    };
    let mut bytes = [magic, version, ids.len() as i32]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect::<Vec<u8>>();
    bytes.resize(HEADER_BYTES, 0);
    for id in ids {
        bytes.extend(&id.to_le_bytes()[..token_type.bytes()]);
    }
    bytes
}
