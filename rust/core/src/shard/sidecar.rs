//! The `.gbx` file beside a `.bin` file: where documents end, and checksums of the tokens; its layout is in `FORMAT.md`.
//!
//! Sections lie one after another without gaps or overlaps, and the length of the file is the end of the last one.
//! A section that a reader does not know is skipped unless it is marked as required.

use std::path::Path;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::format::{BLOCK_BYTES, FieldReader, Fields, HEADER_BYTES, array, corrupt, hex};
use super::header::Header;
use crate::{Error, Result};

const SIDECAR_MAGIC: [u8; 8] = *b"\x89GBX\r\n\x1a\n";
const SIDECAR_VERSION: u32 = 1;
const SIDECAR_HEADER_BYTES: usize = 48;
const SECTION_ENTRY_BYTES: usize = 32;
const SECTION_DOC_ENDS: u32 = 1;
const SECTION_BLOCK_SUMS: u32 = 2;
/// A section with this flag must be understood by whoever reads the file.
const SECTION_REQUIRED: u32 = 1;

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
        let mut fields = FieldReader { bytes, at: 8 };
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
        let mut fields = FieldReader {
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
