//! What a path holds: a dataset with its manifest, one shard of ours, token files of llm.c, or a bare array.

use std::fs::File;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::disk::{self, read_whole};
use super::format::{HEADER_BYTES, TokenType, corrupt, unhex};
use super::header::Parsed;
use super::manifest::{MANIFEST_NAME, Manifest};
use super::reader::{Io, ReaderOptions, ShardReader, Verify};
use super::source::{Kind, OpenFiles, Source, read_header};
use super::verify::check_length;
use crate::publish::io_error;
use crate::{Error, Result};

impl ShardReader {
    /// Opens the dataset in a folder, or a single `.bin` file.
    pub fn open(path: &Path, options: ReaderOptions) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|source| io_error("read", path, source))?;
        if !metadata.is_dir() {
            return Self::from_files(path, vec![path.to_path_buf()], options);
        }
        let manifest_path = path.join(MANIFEST_NAME);
        match read_whole(&manifest_path) {
            Ok(bytes) => {
                Self::from_manifest(path, Manifest::parse(&bytes, &manifest_path)?, options)
            }
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let files = token_files(path)?;
                if files.is_empty() {
                    return Err(io_error("read", &manifest_path, source));
                }
                Self::from_files(path, files, options)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a file that is nothing but ids, as nanoGPT writes them; what they are must be said.
    pub fn open_raw(path: &Path, token_type: TokenType, vocab_size: u32, io: Io) -> Result<Self> {
        let (_, metadata) = disk::open(path)?;
        let width = token_type.bytes() as u64;
        if metadata.len() % width != 0 {
            return Err(Error::ShardTruncated {
                path: path.to_path_buf(),
                expected: metadata.len().next_multiple_of(width),
                found: metadata.len(),
            });
        }
        let tokens = metadata.len() / width;
        let source = Source::new(path.to_path_buf(), token_type, tokens, 0, Kind::Plain);
        let sources = vec![source];
        let mut reader = Self::from_sources(path, token_type, sources, Verify::Open, io);
        reader.vocab_size = Some(vocab_size);
        Ok(reader)
    }

    fn from_manifest(path: &Path, manifest: Manifest, options: ReaderOptions) -> Result<Self> {
        let token_type = manifest.token_type();
        let sources = manifest.shards.iter().map(|entry| {
            let kind = Kind::Listed {
                entry: entry.clone(),
                vocab_size: manifest.vocab_size,
                fingerprint: manifest.fingerprint(),
            };
            let file = path.join(&entry.file);
            Source::new(file, token_type, entry.tokens, HEADER_BYTES, kind)
        });
        let mut reader = Self::from_sources(
            path,
            token_type,
            sources.collect(),
            options.verify,
            options.io,
        );
        reader.vocab_size = Some(manifest.vocab_size);
        reader.fingerprint = Some(manifest.fingerprint());
        reader.digest = unhex(&manifest.digest).expect("a parsed manifest has a sha256");
        reader.manifest = Some(manifest);
        reader.verified()
    }

    /// Token files without a manifest: one of ours, or any number of llm.c's.
    fn from_files(path: &Path, files: Vec<PathBuf>, options: ReaderOptions) -> Result<Self> {
        let alone = files.len() == 1 && files[0] == path;
        let mut sources = Vec::new();
        let mut token_type = None;
        let mut header_of_one = None;
        for name in files {
            let (file, metadata) = disk::open(&name)?;
            if alone && !may_be_token_file(&file, metadata.len()) {
                return Err(Error::NoTokenFile { path: name });
            }
            let (found, tokens, kind) = match read_header(&file, &metadata, &name)? {
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
            let expected = HEADER_BYTES as u64 + tokens * found.bytes() as u64;
            check_length(&name, expected, metadata.len())?;
            if *token_type.get_or_insert(found) != found {
                let what = "its tokens have another width than those of the files before it";
                return Err(corrupt(&name, 0, what));
            }
            sources.push(Source::new(name, found, tokens, HEADER_BYTES, kind));
        }
        let token_type = token_type.unwrap_or(TokenType::U16);
        let mut reader = Self::from_sources(path, token_type, sources, options.verify, options.io);
        reader.vocab_size = match &header_of_one {
            Some(header) => Some(header.vocab_size),
            None => options.vocab_size,
        };
        reader.fingerprint = header_of_one.map(|header| header.fingerprint);
        reader.verified()
    }

    fn from_sources(
        path: &Path,
        token_type: TokenType,
        sources: Vec<Source>,
        verify: Verify,
        io: Io,
    ) -> Self {
        // Without a manifest the names and lengths of the files have to stand for their content.
        let mut digest = Sha256::new();
        for source in &sources {
            let name = source.path.file_name();
            let name = name.expect("a file has a name").to_string_lossy();
            let (tokens, dtype) = (source.tokens, token_type.name());
            digest.update(format!("{name}\0{tokens}\0{dtype}\0"));
            if let Kind::Single(header) = &source.kind {
                digest.update(header.id);
            }
        }
        Self {
            path: path.to_path_buf(),
            verify,
            manifest: None,
            token_type,
            vocab_size: None,
            fingerprint: None,
            digest: digest.finalize().into(),
            files: OpenFiles::new(sources.len(), io),
            sources,
        }
    }

    fn verified(self) -> Result<Self> {
        if self.verify == Verify::Full {
            for shard in 0..self.shards() {
                self.check(shard)?;
            }
        }
        Ok(self)
    }
}

/// The `.bin` files of a folder, in the order of their names.
fn token_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| io_error("read", folder, source);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == "bin") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file begins as token files do, as far as it goes: it may have been cut.
fn may_be_token_file(file: &File, length: u64) -> bool {
    let mut start = [0; 8];
    let start = &mut start[..length.min(8) as usize];
    // What cannot be read is an error of whoever reads the header.
    disk::read_exact_at(file, start, 0).is_err()
        || [TokenType::U16, TokenType::U32].iter().any(|token_type| {
            let (word, version) = token_type.magic();
            [word.to_le_bytes(), version.to_le_bytes()]
                .concat()
                .starts_with(start)
        })
}
