//! The first 1,024 bytes of a `.bin` file; their layout is in `FORMAT.md`.
//!
//! The first three words are llm.c's, so llm.c, modded-nanogpt and `numpy.memmap` read the file as it is. What they do
//! not need stands in words that llm.c leaves zero; a file with zeros there is one of llm.c's own.
//!
//! Reading checks lengths before it allocates, so a lying header costs nothing.

use std::path::Path;

use super::format::{FieldReader, Fields, HEADER_BYTES, TokenType, array, corrupt};
use crate::{Error, Result};

const EXTENSION_MAGIC: [u8; 4] = *b"GBT1";
const EXTENSION_MAJOR: u16 = 1;
const EXTENSION_MINOR: u16 = 0;
const CRC_OFFSET: usize = HEADER_BYTES - 4;
const FIELDS_END: usize = 188;

/// Everything that the header of one of our own shards says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Width of a token.
    pub token_type: TokenType,
    /// Tokens in the shard.
    pub tokens: u64,
    /// Documents in the shard.
    pub documents: u64,
    /// One more than the largest id allowed.
    pub vocab_size: u32,
    /// Largest id that occurs (0 in an empty shard).
    pub max_token: u32,
    /// The token in front of every document, if any.
    pub bos: Option<u32>,
    /// The token after every document, if any.
    pub eos: Option<u32>,
    /// Names this shard: a digest of its content and of the run that wrote it.
    pub id: [u8; 16],
    /// Its number in the dataset.
    pub index: u32,
    /// The tokenizer's fingerprint; zeros where it was not stated.
    pub fingerprint: [u8; 32],
    /// xxh3-128 of the tokens.
    pub tokens_digest: [u8; 16],
    /// xxh3-128 of the sidecar.
    pub sidecar_digest: [u8; 16],
    /// Bytes of the text that the tokens stand for.
    pub source_bytes: u64,
    /// xxh3-128 of what was asked for.
    pub work: [u8; 16],
}

/// What the first 1,024 bytes of a token file are.
#[derive(Debug)]
pub(crate) enum Parsed {
    Ours(Box<Header>),
    /// llm.c's: width and number of tokens.
    Plain(TokenType, u64),
}

impl Header {
    /// The 1,024 bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = Fields(Vec::with_capacity(HEADER_BYTES));
        let (magic, version) = self.token_type.magic();
        let special = |id: Option<u32>| id.map_or(u32::MAX, |id| id); // -1 as i32
        out.put(&magic.to_le_bytes());
        out.put(&version.to_le_bytes());
        out.u32(self.tokens as u32);
        out.put(&EXTENSION_MAGIC);
        out.put(&EXTENSION_MAJOR.to_le_bytes());
        out.put(&EXTENSION_MINOR.to_le_bytes());
        out.u32(0); // features
        out.u64(self.tokens);
        out.u64(self.documents);
        out.put(&[self.token_type.bytes() as u8, 1, 0, 0]);
        out.u32(self.vocab_size);
        out.u32(self.max_token);
        out.u32(special(self.bos));
        out.u32(special(self.eos));
        out.u32(u32::MAX); // pad: documents are not padded
        out.u32(self.layout());
        out.put(&self.id);
        out.u32(self.index);
        out.u32(0); // number of shards
        out.put(&self.fingerprint);
        out.put(&self.tokens_digest);
        out.put(&self.sidecar_digest);
        out.u64(self.documents);
        out.u64(self.source_bytes);
        out.put(&self.work);
        let mut bytes = [0; HEADER_BYTES];
        bytes[..FIELDS_END].copy_from_slice(&out.0);
        let crc = crc32c::crc32c(&bytes[..CRC_OFFSET]);
        bytes[CRC_OFFSET..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Size of the `.bin` file.
    pub fn file_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.tokens * self.token_type.bytes() as u64
    }

    fn layout(&self) -> u32 {
        u32::from(self.bos.is_some()) | u32::from(self.eos.is_some()) << 1
    }

    /// Reads a header; `path` is named in errors.
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES], path: &Path) -> Result<Parsed> {
        let corrupt = |offset: u64, what: &str| corrupt(path, offset, what);
        let mut fields = FieldReader { bytes, at: 0 };
        let magic = (fields.i32(), fields.i32());
        let Some(token_type) = [TokenType::U16, TokenType::U32]
            .into_iter()
            .find(|t| t.magic() == magic)
        else {
            let what = format!(
                "it starts with {} and {}, a token file starts with 20240520 and 1 or with 20240801 and 7 (files \
                 without a header: open_raw)",
                magic.0, magic.1
            );
            return Err(corrupt(0, &what));
        };
        let count =
            u64::try_from(fields.i32()).map_err(|_| corrupt(8, "a negative number of tokens"))?;
        if bytes[12..].iter().all(|&byte| byte == 0) {
            return Ok(Parsed::Plain(token_type, count));
        }
        let stored = u32::from_le_bytes(array(&bytes[CRC_OFFSET..]));
        let found = crc32c::crc32c(&bytes[..CRC_OFFSET]);
        if fields.array::<4>() != EXTENSION_MAGIC || stored != found {
            return Err(corrupt(
                0,
                &format!("header checksum {stored:08x}, its bytes give {found:08x}"),
            ));
        }
        let (major, _minor, required, _ignorable) =
            (fields.u16(), fields.u16(), fields.u16(), fields.u16());
        if major != EXTENSION_MAJOR || required != 0 {
            return Err(Error::ShardVersion {
                path: path.to_path_buf(),
                found: format!("shard format {major} with features {required:#x}"),
                supported: format!("format {EXTENSION_MAJOR} without features"),
            });
        }
        let (tokens, documents) = (fields.u64(), fields.u64());
        let kind: [u8; 4] = fields.array();
        let (vocab_size, max_token) = (fields.u32(), fields.u32());
        let mut special = || u32::try_from(fields.i32()).ok();
        let (bos, eos, _pad) = (special(), special(), special());
        let layout = fields.u32();
        let header = Header {
            token_type,
            tokens,
            documents,
            vocab_size,
            max_token,
            bos,
            eos,
            id: fields.array(),
            index: fields.u32(),
            fingerprint: {
                fields.u32(); // number of shards
                fields.array()
            },
            tokens_digest: fields.array(),
            sidecar_digest: fields.array(),
            source_bytes: {
                fields.u64(); // documents once more
                fields.u64()
            },
            work: fields.array(),
        };
        // With a valid checksum these can only fail in a file that somebody forged or a program wrote wrongly.
        if tokens != count || kind != [token_type.bytes() as u8, 1, 0, 0] {
            return Err(corrupt(
                24,
                "two fields of the header contradict each other",
            ));
        }
        if tokens > 0 && max_token >= vocab_size {
            return Err(corrupt(
                48,
                &format!("its largest token is {max_token}, its vocabulary {vocab_size}"),
            ));
        }
        if layout != header.layout() || documents > u64::from(u32::MAX) {
            return Err(corrupt(32, "documents or separators make no sense"));
        }
        Ok(Parsed::Ours(Box::new(header)))
    }
}
