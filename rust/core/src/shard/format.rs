//! The bytes of a shard: `.bin` holds the tokens, `.gbx` beside it the document ends and block checksums.
//!
//! `.bin` is llm.c's format, a header of 1,024 bytes and then nothing but tokens, so llm.c, modded-nanogpt and
//! `numpy.memmap` read it as it is. What they do not need stands in words of the header that llm.c leaves zero.
//! All numbers are little-endian.
//!
//! | byte | type | field of `.bin` |
//! |---|---|---|
//! | 0 | i32 | magic: 20240520 (u16 tokens) or 20240801 (u32) |
//! | 4 | i32 | version: 1 (u16) or 7 (u32) |
//! | 8 | i32 | number of tokens, hence below 2³¹ |
//! | 12 | u32 | extension magic `GBT1`; zero in llm.c's own files |
//! | 16 | u16, u16 | extension version: major, minor |
//! | 20 | u16, u16 | features: those a reader must know, those it may ignore |
//! | 24 | u64, u64 | tokens, documents |
//! | 40 | u8, u8, u16 | bytes per token, byte order (1 = little), zero |
//! | 44 | u32, u32 | vocabulary size, largest id that occurs |
//! | 52 | i32 × 3 | ids of bos, eos, pad; -1 where there is none |
//! | 64 | u32 | where separators stand: bit 0 bos first, bit 1 eos last |
//! | 68 | 16 bytes | shard id, also in the sidecar |
//! | 84 | u32, u32 | number of this shard, number of shards (0 = not known when written) |
//! | 92 | 32 bytes | fingerprint of the tokenizer; zero = not stated |
//! | 124 | 16 bytes | xxh3-128 of the tokens |
//! | 140 | 16 bytes | xxh3-128 of the sidecar |
//! | 156 | u64, u64 | documents and bytes of source text |
//! | 172 | 16 bytes | xxh3-128 of what was asked for (inputs, options): the key for resuming |
//! | 188 | | zero |
//! | 1020 | u32 | crc32c of bytes 0 to 1019 |
//!
//! The sidecar: magic `\x89GBX\r\n\x1a\n` (a transfer in text mode damages it visibly), u32 version, u32 number of
//! sections, the shard id, u64 length of the file, u64 xxh3-64 of everything before and of the section table; then the table
//! (u32 type, u32 flags, u64 offset, u64 length, u64 xxh3-64 of the section), then the sections, each at the next multiple of 8.
//! Section 1: `doc_ends`, u32 per document. Section 2: `block_sums`, xxh3-64 of each 1 MiB of tokens.
//!
//! Every bit counts: the header is under its crc32c, the sidecar under the header's xxh3-128, the tokens under the
//! block sums (and once more under the header's xxh3-128), and the header's crc32c is in the manifest.
//! Reading checks lengths before it allocates, so a lying header costs nothing.

use std::path::Path;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{Error, Result};

/// Bytes before the first token.
pub const HEADER_BYTES: usize = 1024;
/// Token bytes under one checksum.
pub const BLOCK_BYTES: usize = 1 << 20;
/// Most tokens in one shard: llm.c's count is a signed 32-bit number.
pub const MAX_SHARD_TOKENS: u64 = (1 << 31) - 1;

const EXTENSION_MAGIC: [u8; 4] = *b"GBT1";
const EXTENSION_MAJOR: u16 = 1;
const EXTENSION_MINOR: u16 = 0;
const CRC_OFFSET: usize = HEADER_BYTES - 4;
const FIELDS_END: usize = 188;

const SIDECAR_MAGIC: [u8; 8] = *b"\x89GBX\r\n\x1a\n";
const SIDECAR_VERSION: u32 = 1;
const SIDECAR_HEADER_BYTES: usize = 48;
const SECTION_ENTRY_BYTES: usize = 32;
const SECTION_DOC_ENDS: u32 = 1;
const SECTION_BLOCK_SUMS: u32 = 2;
/// A section with this flag must be understood by whoever reads the file.
const SECTION_REQUIRED: u32 = 1;

#[cfg(target_endian = "big")]
compile_error!("token shards are mapped, not converted, so they need a little-endian machine");

/// How wide a token is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// Two bytes: vocabularies up to 65,536.
    U16,
    /// Four bytes.
    U32,
}

impl TokenType {
    /// The narrowest type that holds every id of a vocabulary.
    pub fn for_vocabulary(vocab_size: u32) -> Self {
        if vocab_size <= 1 << 16 {
            Self::U16
        } else {
            Self::U32
        }
    }

    /// Bytes per token.
    pub fn bytes(self) -> usize {
        match self {
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }

    /// The name used in manifests and by numpy.
    pub fn name(self) -> &'static str {
        match self {
            Self::U16 => "uint16",
            Self::U32 => "uint32",
        }
    }

    /// The type with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::U16, Self::U32]
            .into_iter()
            .find(|t| t.name() == name)
    }

    fn magic(self) -> (i32, i32) {
        match self {
            Self::U16 => (20_240_520, 1),
            Self::U32 => (20_240_801, 7),
        }
    }
}

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
        let mut fields = Reader { bytes, at: 0 };
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

/// What the sidecar of a shard says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Where each document ends, in tokens; ascending.
    pub doc_ends: Vec<u32>,
    /// xxh3-64 of each [`BLOCK_BYTES`] of tokens.
    pub block_sums: Vec<u64>,
}

impl Sidecar {
    /// The file of the shard with that id.
    pub fn to_bytes(&self, id: &[u8; 16]) -> Vec<u8> {
        let doc_ends: Vec<u8> = self
            .doc_ends
            .iter()
            .flat_map(|end| end.to_le_bytes())
            .collect();
        let block_sums: Vec<u8> = self
            .block_sums
            .iter()
            .flat_map(|sum| sum.to_le_bytes())
            .collect();
        let sections = [
            (SECTION_DOC_ENDS, doc_ends),
            (SECTION_BLOCK_SUMS, block_sums),
        ];
        let mut table = Fields(Vec::new());
        let mut offset = SIDECAR_HEADER_BYTES + sections.len() * SECTION_ENTRY_BYTES;
        for (kind, data) in &sections {
            table.u32(*kind);
            table.u32(SECTION_REQUIRED);
            table.u64(offset as u64);
            table.u64(data.len() as u64);
            table.u64(xxh3_64(data));
            offset += data.len().next_multiple_of(8);
        }
        let mut out = Fields(Vec::with_capacity(offset));
        out.put(&SIDECAR_MAGIC);
        out.u32(SIDECAR_VERSION);
        out.u32(sections.len() as u32);
        out.put(id);
        out.u64(offset as u64);
        let mut summed = out.0.clone();
        summed.extend(&table.0);
        out.u64(xxh3_64(&summed));
        out.put(&table.0);
        for (_, data) in &sections {
            out.put(data);
            out.0.resize(out.0.len().next_multiple_of(8), 0);
        }
        out.0
    }

    /// Reads the sidecar that belongs to a header; `path` is named in errors.
    pub(crate) fn parse(bytes: &[u8], header: &Header, path: &Path) -> Result<Self> {
        let corrupt = |offset: usize, what: &str| corrupt(path, offset as u64, what);
        if bytes.len() < SIDECAR_HEADER_BYTES || bytes[..8] != SIDECAR_MAGIC {
            return Err(corrupt(0, "this is no sidecar (.gbx) file"));
        }
        let mut fields = Reader { bytes, at: 8 };
        let (version, count) = (fields.u32(), fields.u32());
        let (id, length, sum): ([u8; 16], _, _) = (fields.array(), fields.u64(), fields.u64());
        if length != bytes.len() as u64 {
            return Err(Error::ShardTruncated {
                path: path.to_path_buf(),
                expected: length,
                found: bytes.len() as u64,
            });
        }
        let table_end = (count as usize)
            .checked_mul(SECTION_ENTRY_BYTES)
            .and_then(|table| table.checked_add(SIDECAR_HEADER_BYTES))
            .filter(|&end| end <= bytes.len())
            .ok_or_else(|| corrupt(12, &format!("{count} sections do not fit in it")))?;
        let mut summed = bytes[..SIDECAR_HEADER_BYTES - 8].to_vec();
        summed.extend(&bytes[SIDECAR_HEADER_BYTES..table_end]);
        if xxh3_64(&summed) != sum {
            return Err(corrupt(0, "its section table differs from its checksum"));
        }
        if version != SIDECAR_VERSION {
            return Err(Error::ShardVersion {
                path: path.to_path_buf(),
                found: format!("sidecar format {version}"),
                supported: format!("format {SIDECAR_VERSION}"),
            });
        }
        if id != header.id {
            let what = format!("it belongs to shard {}, not {}", hex(&id), hex(&header.id));
            return Err(corrupt(16, &what));
        }
        if xxh3_128(bytes).to_le_bytes() != header.sidecar_digest {
            return Err(corrupt(
                0,
                "its bytes differ from the checksum in the shard's header",
            ));
        }
        let sidecar = Self::parse_sections(bytes, count, path)?;
        let blocks = (header.file_bytes() - HEADER_BYTES as u64).div_ceil(BLOCK_BYTES as u64);
        let ascending = sidecar.doc_ends.is_sorted();
        let last = sidecar.doc_ends.last().map_or(0, |&end| u64::from(end));
        if sidecar.doc_ends.len() as u64 != header.documents || !ascending || last != header.tokens
        {
            return Err(corrupt(
                table_end,
                "its document ends contradict the shard's header",
            ));
        }
        if sidecar.block_sums.len() as u64 != blocks {
            return Err(corrupt(
                table_end,
                "its number of blocks contradicts the shard's header",
            ));
        }
        Ok(sidecar)
    }

    /// The sections, each checked against its entry in a table that lies within the file.
    fn parse_sections(bytes: &[u8], count: u32, path: &Path) -> Result<Self> {
        let mut sidecar = Self {
            doc_ends: Vec::new(),
            block_sums: Vec::new(),
        };
        let mut fields = Reader {
            bytes,
            at: SIDECAR_HEADER_BYTES,
        };
        let mut expected = SIDECAR_HEADER_BYTES + count as usize * SECTION_ENTRY_BYTES;
        for _ in 0..count {
            let entry = fields.at;
            let (kind, flags) = (fields.u32(), fields.u32());
            let (offset, length, sum) = (fields.u64(), fields.u64(), fields.u64());
            let end = usize::try_from(length)
                .ok()
                .and_then(|length| expected.checked_add(length));
            let data = match end.and_then(|end| bytes.get(expected..end)) {
                Some(data) if offset == expected as u64 => data,
                _ => {
                    return Err(corrupt(
                        path,
                        entry as u64,
                        "a section lies outside the file or overlaps another",
                    ));
                }
            };
            if xxh3_64(data) != sum {
                return Err(corrupt(
                    path,
                    expected as u64,
                    format!("section {kind} differs from its checksum"),
                ));
            }
            match kind {
                SECTION_DOC_ENDS => {
                    sidecar.doc_ends = data
                        .chunks_exact(4)
                        .map(|b| u32::from_le_bytes(array(b)))
                        .collect();
                }
                SECTION_BLOCK_SUMS => {
                    sidecar.block_sums = data
                        .chunks_exact(8)
                        .map(|b| u64::from_le_bytes(array(b)))
                        .collect();
                }
                _ if flags & SECTION_REQUIRED == 0 => {}
                _ => {
                    return Err(Error::ShardVersion {
                        path: path.to_path_buf(),
                        found: format!("sidecar section {kind}"),
                        supported: "sections 1 and 2".into(),
                    });
                }
            }
            expected += data.len().next_multiple_of(8);
        }
        Ok(sidecar)
    }
}

/// Checks one block of tokens: against its checksum, and that every id is in the vocabulary.
pub(crate) fn check_block(
    block: &[u8],
    number: usize,
    sum: u64,
    header: &Header,
    path: &Path,
) -> Result<()> {
    let offset = (HEADER_BYTES + number * BLOCK_BYTES) as u64;
    let found = xxh3_64(block);
    if found != sum {
        let what = format!("block {number} has checksum {found:016x}, written was {sum:016x}");
        return Err(corrupt(path, offset, what));
    }
    let max = match header.token_type {
        TokenType::U16 => {
            let ids = block.chunks_exact(2);
            let ids = ids.map(|b| u16::from_le_bytes([b[0], b[1]]));
            ids.fold(0, u16::max).into()
        }
        TokenType::U32 => {
            let ids = block.chunks_exact(4);
            let ids = ids.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            ids.fold(0, u32::max)
        }
    };
    if max >= header.vocab_size && !block.is_empty() {
        let what = format!(
            "block {number} has a token outside the vocabulary of {}",
            header.vocab_size
        );
        return Err(corrupt(path, offset, what));
    }
    Ok(())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The bytes that [`hex`] wrote, or nothing.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

pub(crate) fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Error {
    Error::ShardCorrupt {
        path: path.to_path_buf(),
        offset,
        what: what.into(),
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

/// Appends little-endian fields.
struct Fields(Vec<u8>);

impl Fields {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
}

/// Takes little-endian fields one after another; the caller has checked that they are there.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let out = array(&self.bytes[self.at..]);
        self.at += N;
        out
    }
    fn i32(&mut self) -> i32 {
        i32::from_le_bytes(self.array())
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}
