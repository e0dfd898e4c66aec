//! What the files of a shard have in common: sizes, types of tokens, checksums of blocks, little-endian fields.
//!
//! `.bin` holds the tokens ([`header`](super::header)), `.gbx` beside it document ends and block checksums
//! ([`sidecar`](super::sidecar)), `manifest.json` lists the shards ([`manifest`](super::manifest)). `FORMAT.md` beside this
//! file describes all three byte by byte.

use std::path::Path;

use crate::Error;

/// Bytes before the first token.
pub const HEADER_BYTES: usize = 1024;
/// Token bytes under one checksum.
pub const BLOCK_BYTES: usize = 1 << 20;
/// Most tokens in one shard: llm.c's count is a signed 32-bit number.
pub const MAX_SHARD_TOKENS: u64 = (1 << 31) - 1;

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

    pub(crate) fn magic(self) -> (i32, i32) {
        match self {
            Self::U16 => (20_240_520, 1),
            Self::U32 => (20_240_801, 7),
        }
    }
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

pub(crate) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

/// Appends little-endian fields.
pub(crate) struct Fields(pub(crate) Vec<u8>);

impl Fields {
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    pub(crate) fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    pub(crate) fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
}

/// Takes little-endian fields one after another; the caller has checked that they are there.
pub(crate) struct FieldReader<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
}

impl FieldReader<'_> {
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let out = array(&self.bytes[self.at..]);
        self.at += N;
        out
    }
    pub(crate) fn i32(&mut self) -> i32 {
        i32::from_le_bytes(self.array())
    }
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}
