//! `manifest.json`: the list of shards that belong together, written last.
//!
//! A dataset exists once its manifest does; shards without one are an unfinished run. The manifest binds each shard
//! by its id and by the checksum of its header, and so every byte of the dataset. Its own last line is the sha256 of
//! all bytes before that line, so a flipped bit or an edit by hand shows:
//!
//! ```text
//! head -c -N manifest.json | sha256sum        # N = 83, the length of the last line and the closing brace
//! ```
//!
//! Opening a dataset of 10,000 shards reads this one file and nothing else.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::format::{MAX_SHARD_TOKENS, TokenType, corrupt, hex, unhex};
use super::header::Header;
use crate::{Error, Result};

/// The file's name in the dataset's folder.
pub const MANIFEST_NAME: &str = "manifest.json";
/// The tokenizer's name there.
pub const TOKENIZER_NAME: &str = "tokenizer.json";

const FORMAT: &str = "gptbpe shards";
const VERSION: u32 = 1;
const DIGEST_PREFIX: &str = ",\n  \"digest\": \"";
const DIGEST_SUFFIX: &str = "\"\n}\n";

/// The whole dataset at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    version: u32,
    /// "uint16" or "uint32".
    pub dtype: String,
    /// One more than the largest id allowed.
    pub vocab_size: u32,
    /// Who made the ids.
    pub tokenizer: TokenizerEntry,
    /// The token in front of every document, if any.
    pub bos: Option<u32>,
    /// The token after every document, if any.
    pub eos: Option<u32>,
    /// Tokens in all shards.
    pub tokens: u64,
    /// Documents in all shards.
    pub documents: u64,
    /// Bytes of text that the tokens stand for (separators not counted): the denominator of bits per byte.
    pub source_bytes: u64,
    /// xxh3-128 of what was asked for, in hexadecimal.
    pub work: String,
    /// How the text was read, in words; not interpreted.
    pub options: BTreeMap<String, String>,
    /// The shards in order.
    pub shards: Vec<ShardEntry>,
    /// sha256 of the file up to this field, in hexadecimal.
    #[serde(skip)]
    pub digest: String,
}

/// The tokenizer of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerEntry {
    /// Fingerprint in hexadecimal; zeros where it was not stated.
    pub fingerprint: String,
    /// sha256 of `tokenizer.json` in the folder, in hexadecimal, where there is one.
    pub sha256: Option<String>,
    /// The name of that file where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// One shard of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// The `.bin` file's name; the sidecar's is the same with `.gbx`.
    pub file: String,
    /// The shard's id in hexadecimal.
    pub id: String,
    /// Tokens in it.
    pub tokens: u64,
    /// Documents in it.
    pub documents: u64,
    /// Bytes of text that it stands for.
    pub source_bytes: u64,
    /// Largest id that occurs.
    pub max_token: u32,
    /// crc32c of the header, in hexadecimal: it covers the digests of tokens and sidecar, and so every byte of both files.
    pub header_crc32c: String,
}

impl ShardEntry {
    pub(crate) fn new(file: String, header: &Header) -> Self {
        Self {
            file,
            id: hex(&header.id),
            tokens: header.tokens,
            documents: header.documents,
            source_bytes: header.source_bytes,
            max_token: header.max_token,
            header_crc32c: hex(&header.to_bytes()[1020..]),
        }
    }

    /// Says whether a header found on disk is the one listed here.
    pub(crate) fn check(&self, header: &Header, path: &Path) -> Result<()> {
        let found = Self::new(self.file.clone(), header);
        if found == *self {
            return Ok(());
        }
        let what = if found.id == self.id {
            "its header differs from the manifest".to_owned()
        } else {
            format!(
                "it is shard {} of another run, the manifest lists {}",
                found.id, self.id
            )
        };
        Err(corrupt(path, 0, what))
    }
}

/// What every version of the manifest has.
#[derive(Deserialize)]
struct Kind {
    format: String,
    version: u32,
}

/// What a manifest says besides its shards.
pub(crate) struct ManifestParts {
    pub(crate) token_type: TokenType,
    pub(crate) vocab_size: u32,
    pub(crate) fingerprint: [u8; 32],
    pub(crate) tokenizer_sha256: Option<[u8; 32]>,
    pub(crate) tokenizer_file: Option<String>,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) work: [u8; 16],
    pub(crate) options: BTreeMap<String, String>,
}

impl Manifest {
    pub(crate) fn new(parts: ManifestParts, shards: Vec<ShardEntry>) -> Self {
        let total = |count: fn(&ShardEntry) -> u64| shards.iter().map(count).sum();
        let mut manifest = Self {
            format: FORMAT.into(),
            version: VERSION,
            dtype: parts.token_type.name().into(),
            vocab_size: parts.vocab_size,
            tokenizer: TokenizerEntry {
                fingerprint: hex(&parts.fingerprint),
                sha256: parts.tokenizer_sha256.map(|digest| hex(&digest)),
                file: parts.tokenizer_file,
            },
            bos: parts.bos,
            eos: parts.eos,
            tokens: total(|shard| shard.tokens),
            documents: total(|shard| shard.documents),
            source_bytes: total(|shard| shard.source_bytes),
            work: hex(&parts.work),
            options: parts.options,
            shards,
            digest: String::new(),
        };
        manifest.seal();
        manifest
    }

    /// Makes the digest that of what stands before it.
    fn seal(&mut self) {
        self.digest = hex(&Sha256::digest(self.body()));
    }

    /// The manifest of the same dataset with files of other names.
    pub(crate) fn renamed(
        &self,
        shard: impl Fn(&str) -> String,
        tokenizer_file: Option<String>,
    ) -> Self {
        let mut manifest = self.clone();
        for entry in &mut manifest.shards {
            entry.file = shard(&entry.file);
        }
        manifest.tokenizer.file = tokenizer_file;
        manifest.seal();
        manifest
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.body();
        bytes.extend(DIGEST_PREFIX.bytes());
        bytes.extend(self.digest.bytes());
        bytes.extend(DIGEST_SUFFIX.bytes());
        bytes
    }

    /// Everything before the digest.
    fn body(&self) -> Vec<u8> {
        let mut text = serde_json::to_string_pretty(self)
            .expect("strings, numbers and maps with string keys are written to memory");
        let end = text.trim_end_matches('}').trim_end().len();
        text.truncate(end);
        text.into_bytes()
    }

    /// Reads the file; `path` is named in errors.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let corrupt = |what: String| corrupt(path, 0, what);
        let tail = DIGEST_PREFIX.len() + 64 + DIGEST_SUFFIX.len();
        let split = bytes.len().checked_sub(tail);
        let Some((body, tail)) = split.map(|split| bytes.split_at(split)) else {
            return Err(corrupt(format!(
                "{} bytes are too short for a manifest",
                bytes.len()
            )));
        };
        let digest = hex(&Sha256::digest(body));
        if tail != format!("{DIGEST_PREFIX}{digest}{DIGEST_SUFFIX}").as_bytes() {
            return Err(corrupt(
                "it was cut, edited or damaged: its last line is not the sha256 of what stands before it".into(),
            ));
        }
        let mut json = body.to_vec();
        json.extend(b"\n}");
        // The version is looked at first: a later format may have other fields.
        let kind: Kind =
            serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
        if kind.format != FORMAT || kind.version != VERSION {
            return Err(Error::ShardVersion {
                path: path.to_path_buf(),
                found: format!("format {:?} version {}", kind.format, kind.version),
                supported: format!("{FORMAT:?} version {VERSION}"),
            });
        }
        let mut manifest: Self =
            serde_json::from_slice(&json).map_err(|error| corrupt(error.to_string()))?;
        manifest.digest = digest;
        manifest.validate().map_err(corrupt)?;
        Ok(manifest)
    }

    fn validate(&self) -> Result<(), String> {
        if TokenType::from_name(&self.dtype) != Some(TokenType::for_vocabulary(self.vocab_size)) {
            return Err(format!(
                "dtype {} for a vocabulary of {}",
                self.dtype, self.vocab_size
            ));
        }
        if unhex::<32>(&self.tokenizer.fingerprint).is_none() || unhex::<16>(&self.work).is_none() {
            return Err("a fingerprint is no hexadecimal number of the right length".into());
        }
        if let Some(name) = self
            .tokenizer
            .file
            .as_deref()
            .filter(|name| !is_plain(name))
        {
            return Err(format!("the tokenizer has the impossible name {name:?}"));
        }
        let mut totals = (0u64, 0u64, 0u64);
        for shard in &self.shards {
            let plain =
                is_plain(&shard.file) && Path::new(&shard.file).extension() == Some("bin".as_ref());
            if !plain || shard.tokens > MAX_SHARD_TOKENS {
                return Err(format!(
                    "shard {:?} has an impossible name or size",
                    shard.file
                ));
            }
            totals.0 += shard.tokens;
            totals.1 = totals.1.saturating_add(shard.documents);
            totals.2 = totals.2.saturating_add(shard.source_bytes);
        }
        if totals != (self.tokens, self.documents, self.source_bytes) {
            return Err("its totals are not the sums over its shards".into());
        }
        Ok(())
    }

    /// Width of a token.
    pub fn token_type(&self) -> TokenType {
        TokenType::for_vocabulary(self.vocab_size)
    }

    /// The tokenizer's fingerprint.
    pub fn fingerprint(&self) -> [u8; 32] {
        unhex(&self.tokenizer.fingerprint).expect("a manifest has a sha256 of its tokenizer")
    }
}

/// Whether a name from a file stays in the folder.
fn is_plain(name: &str) -> bool {
    Path::new(name).file_name() == Some(name.as_ref())
}
