//! Shards as a whole: what is written is read, and whatever is damaged is noticed.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_wrap,
    clippy::inconsistent_struct_constructor
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::format::{BLOCK_BYTES, HEADER_BYTES, Header, Sidecar, TokenType};
use super::reader::Tokens;
use super::sampler::{Order, Partial, Sampler, SamplerOptions};
use super::verify::check_shard;
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

    fn reader(&self, verify: Verify, io: Io) -> Result<ShardReader> {
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
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn what_is_written_is_read_in_every_way() {
    for vocab_size in [300, 1 << 16, (1 << 16) + 1, 200_000] {
        let documents = some_documents(60, vocab_size);
        let data = Dataset::new(vocab_size, 500, &documents);
        let mut expected = Vec::new();
        let mut ends = Vec::new();
        for document in &documents {
            expected.extend(document.iter().map(|&id| i64::from(id)));
            expected.push(i64::from(vocab_size) - 1);
            ends.push(expected.len() as u64);
        }
        for verify in [Verify::Open, Verify::Lazy, Verify::Full] {
            for io in [Io::Map, Io::Read] {
                let reader = data.reader(verify, io).unwrap();
                assert!(reader.shards() > 3);
                assert_eq!(read_all(&reader).unwrap(), expected);
                assert_eq!(reader.total_tokens(), expected.len() as u64);
                assert_eq!(
                    reader.source_bytes(),
                    Some(3 * documents.iter().map(Vec::len).sum::<usize>() as u64)
                );
                assert_eq!(reader.fingerprint(), Some([7; 32]));
                assert_eq!(reader.token_type(), TokenType::for_vocabulary(vocab_size));
                let mut base = 0;
                let mut found = Vec::new();
                for shard in 0..reader.shards() {
                    found.extend(
                        reader
                            .documents(shard)
                            .unwrap()
                            .unwrap()
                            .iter()
                            .map(|&end| base + u64::from(end)),
                    );
                    base += reader.shard_tokens(shard);
                }
                assert_eq!(found, ends);
            }
        }
    }
}

#[test]
fn separators_stand_where_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let options = WriterOptions {
        bos: Some(8),
        ..WriterOptions::new(9)
    };
    write(folder.path(), options, &[vec![1, 2], vec![], vec![3]]).unwrap();
    let reader = ShardReader::open(folder.path(), ReaderOptions::default()).unwrap();
    assert_eq!(read_all(&reader).unwrap(), [8, 1, 2, 8, 8, 3]);
    assert_eq!(reader.documents(0).unwrap().unwrap(), [3, 4, 6]);
}

#[test]
fn a_document_never_crosses_shards() {
    let documents = vec![
        vec![1; 50],
        vec![2; 60],
        vec![3; 500],
        vec![4; 10],
        vec![5; 89],
    ];
    let data = Dataset::new(300, 100, &documents);
    let reader = data.reader(Verify::Full, Io::Map).unwrap();
    let sizes: Vec<u64> = (0..reader.shards())
        .map(|shard| reader.shard_tokens(shard))
        .collect();
    assert_eq!(sizes, [51, 61, 501, 11, 90]);
}

#[test]
fn blocks_are_checked_when_they_are_touched_and_not_before() {
    let documents = vec![(0..2_000_000).map(|i| i % 299).collect()];
    let data = Dataset::new(300, 1 << 22, &documents);
    let path = data.file("shard-00000.bin");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[HEADER_BYTES + 2 * BLOCK_BYTES + 5] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    for io in [Io::Map, Io::Read] {
        let reader = data.reader(Verify::Lazy, io).unwrap();
        let mut ids = [0i64; 10];
        reader.copy(0, 0, &mut ids, &mut Vec::new()).unwrap();
        reader
            .copy(0, (BLOCK_BYTES - 10) as u64, &mut ids, &mut Vec::new())
            .unwrap();
        for start in [BLOCK_BYTES - 5, BLOCK_BYTES, BLOCK_BYTES + 1000] {
            match reader.copy(0, start as u64, &mut ids, &mut Vec::new()) {
                Err(Error::ShardCorrupt {
                    path: named,
                    offset,
                    what,
                }) => {
                    assert_eq!(named, path);
                    assert_eq!(offset as usize, HEADER_BYTES + 2 * BLOCK_BYTES);
                    assert!(what.starts_with("block 2 "), "{what}");
                }
                other => panic!("{other:?}"),
            }
            assert!(reader.tokens(0, start as u64, start as u64 + 10).is_err());
        }
        data.reader(Verify::Open, io)
            .unwrap()
            .copy(0, BLOCK_BYTES as u64, &mut ids, &mut Vec::new())
            .unwrap();
        assert!(data.reader(Verify::Full, io).is_err());
        assert!(reader.check(0).is_err());
    }
}

/// A shard in memory: its three parts, and what reading them in full gives.
struct Small {
    bin: Vec<u8>,
    gbx: Vec<u8>,
    manifest: Vec<u8>,
}

impl Small {
    fn new() -> Self {
        let data = Dataset::new(300, 1 << 20, &some_documents(20, 300));
        let read = |name| std::fs::read(data.file(name)).unwrap();
        Self {
            bin: read("shard-00000.bin"),
            gbx: read("shard-00000.gbx"),
            manifest: read("manifest.json"),
        }
    }

    /// All that a reader checks, from bytes.
    fn check(bin: &[u8], gbx: &[u8], manifest: &[u8]) -> Result<()> {
        let path = Path::new("shard-00000.bin");
        let manifest = Manifest::parse(manifest, Path::new("manifest.json"))?;
        let header = check_shard(bin, bin.len() as u64, path, gbx)?;
        manifest.shards[0].check(&header, path)
    }
}

fn typed(result: Result<()>, what: &str) {
    match result {
        Err(
            Error::ShardCorrupt { .. } | Error::ShardTruncated { .. } | Error::ShardVersion { .. },
        ) => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn every_truncation_and_extension_is_noticed() {
    let Small { bin, gbx, manifest } = Small::new();
    Small::check(&bin, &gbx, &manifest).unwrap();
    for length in 0..bin.len() {
        typed(
            Small::check(&bin[..length], &gbx, &manifest),
            &format!("bin {length}"),
        );
    }
    for length in 0..gbx.len() {
        typed(
            Small::check(&bin, &gbx[..length], &manifest),
            &format!("gbx {length}"),
        );
    }
    for length in 0..manifest.len() {
        typed(
            Small::check(&bin, &gbx, &manifest[..length]),
            &format!("manifest {length}"),
        );
    }
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    typed(Small::check(&longer(&bin), &gbx, &manifest), "longer bin");
    typed(Small::check(&bin, &longer(&gbx), &manifest), "longer gbx");
    typed(
        Small::check(&bin, &gbx, &longer(&manifest)),
        "longer manifest",
    );
}

#[test]
fn every_flipped_bit_is_noticed() {
    let mut small = Small::new();
    let flips = |length: usize| (0..length * 8).map(|bit| (bit / 8, 1u8 << (bit % 8)));
    for (byte, bit) in flips(small.bin.len()) {
        small.bin[byte] ^= bit;
        typed(
            Small::check(&small.bin, &small.gbx, &small.manifest),
            &format!("bin byte {byte}"),
        );
        small.bin[byte] ^= bit;
    }
    for (byte, bit) in flips(small.gbx.len()) {
        small.gbx[byte] ^= bit;
        typed(
            Small::check(&small.bin, &small.gbx, &small.manifest),
            &format!("gbx byte {byte}"),
        );
        small.gbx[byte] ^= bit;
    }
    for (byte, bit) in flips(small.manifest.len()) {
        small.manifest[byte] ^= bit;
        typed(
            Small::check(&small.bin, &small.gbx, &small.manifest),
            &format!("manifest byte {byte}"),
        );
        small.manifest[byte] ^= bit;
    }
    Small::check(&small.bin, &small.gbx, &small.manifest).unwrap();
}

/// The same through files, a reader and `tokens`, for a sample of the damage.
#[test]
fn damaged_files_give_errors_or_the_same_tokens() {
    let data = Dataset::new(300, 1 << 20, &some_documents(20, 300));
    let good = read_all(&data.reader(Verify::Full, Io::Map).unwrap()).unwrap();
    for name in ["shard-00000.bin", "shard-00000.gbx", "manifest.json"] {
        let path = data.file(name);
        let bytes = std::fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(41) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            for damaged in [&damaged[..], &bytes[..at]] {
                std::fs::write(&path, damaged).unwrap();
                for io in [Io::Map, Io::Read] {
                    let found = data
                        .reader(Verify::Lazy, io)
                        .and_then(|reader| read_all(&reader));
                    assert!(found.is_err() || found.unwrap() == good, "{name} at {at}");
                }
            }
        }
        std::fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn parts_of_other_runs_do_not_pass() {
    let documents = some_documents(60, 300);
    let mut others = documents.clone();
    others[0] = vec![1, 2, 3];
    let (one, two) = (
        Dataset::new(300, 500, &documents),
        Dataset::new(300, 500, &others),
    );
    let swap = |dataset: &Dataset, name: &str, with: PathBuf| {
        let path = dataset.file(name);
        let kept = std::fs::read(&path).unwrap();
        std::fs::copy(with, &path).unwrap();
        let result = dataset
            .reader(Verify::Lazy, Io::Map)
            .and_then(|reader| read_all(&reader));
        std::fs::write(&path, kept).unwrap();
        typed(result.map(|_| ()), name);
    };
    swap(&one, "shard-00000.gbx", two.file("shard-00000.gbx"));
    swap(&one, "shard-00000.bin", two.file("shard-00000.bin"));
    swap(&one, "shard-00001.gbx", one.file("shard-00002.gbx"));
    swap(&one, "shard-00001.bin", one.file("shard-00002.bin"));
    swap(&one, "manifest.json", two.file("manifest.json"));
    // Both files of another run: consistent in themselves, but not what the manifest lists.
    std::fs::copy(two.file("shard-00000.bin"), one.file("shard-00000.bin")).unwrap();
    swap(&one, "shard-00000.gbx", two.file("shard-00000.gbx"));
}

#[test]
fn a_header_that_lies_costs_nothing() {
    let Small { bin, gbx, .. } = Small::new();
    let path = Path::new("shard-00000.bin");
    let resealed = |change: &dyn Fn(&mut [u8])| {
        let mut bin = bin.clone();
        change(&mut bin);
        let crc = crc32c::crc32c(&bin[..1020]);
        bin[1020..1024].copy_from_slice(&crc.to_le_bytes());
        check_shard(&bin[..], bin.len() as u64, path, &gbx).map(|_| ())
    };
    typed(
        resealed(&|b| b[24..32].copy_from_slice(&u64::MAX.to_le_bytes())),
        "tokens",
    );
    typed(
        resealed(&|b| b[32..40].copy_from_slice(&u64::MAX.to_le_bytes())),
        "documents",
    );
    typed(
        resealed(&|b| b[8..12].copy_from_slice(&i32::MAX.to_le_bytes())),
        "count",
    );
    typed(
        resealed(&|b| b[44..48].copy_from_slice(&10u32.to_le_bytes())),
        "vocabulary below the largest id",
    );
    typed(resealed(&|b| b[64] = 3), "layout");
    assert!(matches!(
        resealed(&|b| b[16] = 2),
        Err(Error::ShardVersion { .. })
    ));
    assert!(matches!(
        resealed(&|b| b[20] = 1),
        Err(Error::ShardVersion { .. })
    ));
    assert!(
        resealed(&|b| b[22] = 1).is_ok(),
        "a feature that may be ignored"
    );
}

/// A shard with valid checksums whose ids leave the vocabulary was made by a faulty program; it must not reach a GPU.
#[test]
fn forged_ids_are_refused() {
    let tokens: Vec<u8> = [1u16, 2, 299, 300]
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .collect();
    let sidecar = Sidecar {
        doc_ends: vec![4],
        block_sums: vec![xxhash_rust::xxh3::xxh3_64(&tokens)],
    };
    let gbx = sidecar.to_bytes(&[1; 16]);
    let header = Header {
        token_type: TokenType::U16,
        tokens: 4,
        documents: 1,
        vocab_size: 300,
        max_token: 299,
        bos: None,
        eos: None,
        id: [1; 16],
        index: 0,
        fingerprint: [0; 32],
        tokens_digest: xxhash_rust::xxh3::xxh3_128(&tokens).to_le_bytes(),
        sidecar_digest: xxhash_rust::xxh3::xxh3_128(&gbx).to_le_bytes(),
        source_bytes: 4,
        work: [0; 16],
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.bin");
    std::fs::write(&path, [&header.to_bytes()[..], &tokens].concat()).unwrap();
    std::fs::write(path.with_extension("gbx"), gbx).unwrap();
    for verify in [Verify::Open, Verify::Lazy] {
        let options = ReaderOptions {
            verify,
            ..ReaderOptions::default()
        };
        let result = ShardReader::open(&path, options).and_then(|reader| read_all(&reader));
        typed(result.map(|_| ()), "forged");
    }
}

#[test]
fn ids_outside_the_vocabulary_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(folder.path(), WriterOptions::new(300)).unwrap();
    writer.write(&[1_u32, 299], 2).unwrap();
    match writer.write(&[5_u32, 6, 300, 7], 4) {
        Err(Error::TokenOutOfRange {
            index: 2,
            id: 300,
            vocab_size: 300,
        }) => {}
        other => panic!("{other:?}"),
    }
    writer.write(&[9_u32], 1).unwrap(); // nothing of the bad document was written
    writer.finish().unwrap();
    let reader = ShardReader::open(folder.path(), ReaderOptions::default()).unwrap();
    assert_eq!(read_all(&reader).unwrap(), [1, 299, 9]);
}

#[test]
fn impossible_options_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let options = WriterOptions::new(300);
    for options in [
        WriterOptions::new(0),
        WriterOptions::new(u32::MAX),
        WriterOptions {
            shard_tokens: 0,
            ..options.clone()
        },
        WriterOptions {
            shard_tokens: 1 << 31,
            ..options.clone()
        },
        WriterOptions {
            eos: Some(300),
            ..options.clone()
        },
    ] {
        assert!(matches!(
            ShardWriter::create(folder.path(), options),
            Err(Error::ShardArgument { .. })
        ));
    }
}

#[test]
fn writing_again_gives_the_same_bytes() {
    let documents = some_documents(60, 300);
    let (one, two) = (
        Dataset::new(300, 500, &documents),
        Dataset::new(300, 500, &documents),
    );
    assert_eq!(contents(one.path()), contents(two.path()));
}

#[test]
fn an_existing_dataset_is_not_replaced_unasked() {
    let documents = some_documents(60, 300);
    let data = Dataset::new(300, 500, &documents);
    let before = contents(data.path());
    let options = WriterOptions::new(400);
    for resume in [false, true] {
        let options = WriterOptions {
            resume,
            ..options.clone()
        };
        assert!(matches!(
            write(data.path(), options, &documents),
            Err(Error::ShardExists { .. })
        ));
        assert_eq!(contents(data.path()), before);
    }
    let force = WriterOptions {
        force: true,
        ..options
    };
    write(data.path(), force, &documents[..5]).unwrap();
    let reader = data.reader(Verify::Full, Io::Map).unwrap();
    assert_eq!(reader.vocab_size(), Some(400));
    assert_eq!(
        contents(data.path()).len(),
        3,
        "no shard of the old dataset is left"
    );
}

#[test]
fn token_files_of_other_programs_are_not_replaced_unasked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("shard-00000.bin"),
        plain_file(TokenType::U16, &[1, 2, 3]),
    )
    .unwrap();
    let created = ShardWriter::create(folder.path(), WriterOptions::new(300));
    assert!(matches!(created, Err(Error::ShardExists { .. })));
}

/// Whatever a killed run left, running again ends with the same bytes and keeps what was whole.
#[test]
fn an_interrupted_run_is_resumed() {
    let documents = some_documents(60, 300);
    let whole = Dataset::new(300, 500, &documents);
    let expected = contents(whole.path());
    let shards = whole.reader(Verify::Open, Io::Map).unwrap().shards();
    let options = WriterOptions {
        shard_tokens: 500,
        eos: Some(299),
        fingerprint: [7; 32],
        resume: true,
        ..WriterOptions::new(300)
    };
    for stop_after in 0..=documents.len() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ShardWriter::create(folder.path(), options.clone()).unwrap();
        for document in &documents[..stop_after] {
            writer.write(document, 3 * document.len() as u64).unwrap();
        }
        drop(writer);
        std::fs::write(
            folder.path().join(".shard-00001.bin.tmp"),
            b"left by a kill",
        )
        .unwrap();
        let unfinished = ShardReader::open(folder.path(), ReaderOptions::default());
        assert!(matches!(
            unfinished,
            Err(Error::ShardUnfinished { .. } | Error::Io { .. })
        ));
        write(folder.path(), options.clone(), &documents).unwrap();
        assert_eq!(contents(folder.path()), expected);
    }
    // A shard lost or damaged afterwards is written again.
    for shard in 0..shards {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in &expected {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        let path = folder.path().join(format!("shard-{shard:05}.bin"));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER_BYTES + 10] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        let writer = ShardWriter::create(folder.path(), options.clone()).unwrap();
        assert!(writer.finished().is_none());
        drop(writer);
        write(folder.path(), options.clone(), &documents).unwrap();
        assert_eq!(contents(folder.path()), expected);
    }
    let writer = ShardWriter::create(whole.path(), options).unwrap();
    assert_eq!(writer.finished().unwrap().documents, documents.len() as u64);
    assert_eq!(writer.resumed_documents(), documents.len() as u64);
}

fn write_in_parts(
    folder: &Path,
    options: WriterOptions,
    documents: &[Vec<u32>],
    sizes: &[usize],
) -> Result<Manifest> {
    let mut writer = ShardWriter::create(folder, options)?;
    let mut sizes = sizes.iter().cycle();
    for document in documents {
        let (mut rest, mut whole) = (&document[..], false);
        while !whole {
            let size = sizes.next().map_or(usize::MAX, |&size| size);
            let (part, after) = rest.split_at(rest.len().min(size));
            // An empty last part ends a document as well.
            whole = after.is_empty() && (size % 2 == 1 || part.is_empty());
            writer.write_part(part, 3 * part.len() as u64, whole)?;
            rest = after;
        }
    }
    writer.finish()
}

/// Wherever its parts end, and wherever it crosses blocks and shards.
#[test]
fn a_document_in_parts_gives_the_files_of_the_whole() {
    type Row<'a> = (&'a [Vec<u32>], u64, &'a [usize]);
    let small = some_documents(60, 300);
    let block = BLOCK_BYTES / 2;
    let large: Vec<Vec<u32>> = [10, block, 0, 3 * block + 7, 5, block - 9, 2 * block, 1]
        .iter()
        .map(|&length| {
            (0..length as u32)
                .map(|i| (i % 1009 * 7919) % 299)
                .collect()
        })
        .collect();
    let rows: [Row<'_>; 9] = [
        (&small, 500, &[1]),
        (&small, 500, &[7, 2, 100]),
        (&small, 90, &[50, 3]),
        (&small, 1, &[10, 11]),
        (&small, 1 << 27, &[20, 1, 1]),
        (&large, 1 << 27, &[block, 1000]),
        (&large, 2 * block as u64, &[block / 3]),
        (&large, block as u64 + 20, &[block + 5, 100_000]),
        (&large, 4 * block as u64, &[2 * block, 300_000]),
    ];
    for (documents, shard_tokens, sizes) in rows {
        for (bos, eos, vocab_size) in [(None, Some(299), 300), (Some(299), None, 70_000)] {
            let options = WriterOptions {
                shard_tokens,
                bos,
                eos,
                ..WriterOptions::new(vocab_size)
            };
            let [whole, parts] = [(); 2].map(|()| tempfile::tempdir().unwrap());
            write(whole.path(), options.clone(), documents).unwrap();
            write_in_parts(parts.path(), options, documents, sizes).unwrap();
            let same = contents(whole.path()) == contents(parts.path());
            assert!(
                same,
                "{} documents, {shard_tokens}, {sizes:?}",
                documents.len()
            );
        }
    }
}

#[test]
fn a_document_without_an_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(folder.path(), WriterOptions::new(300)).unwrap();
    writer.write_part(&[1_u16, 2], 0, false).unwrap();
    let error = writer.write_part(&[300_u32], 0, true).unwrap_err();
    assert!(matches!(error, Error::TokenOutOfRange { index: 2, .. }));
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.contains("in the middle of a document"), "{error}");
    assert!(contents(folder.path()).is_empty());
}

#[test]
fn two_writers_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = ShardWriter::create(folder.path(), WriterOptions::new(300)).unwrap();
    let second = ShardWriter::create(folder.path(), WriterOptions::new(300));
    assert!(matches!(second, Err(Error::ShardLocked { .. })));
    drop(first);
    ShardWriter::create(folder.path(), WriterOptions::new(300)).unwrap();
}

#[test]
fn no_documents_are_a_dataset_too() {
    let data = Dataset::new(300, 500, &[]);
    let reader = Arc::new(data.reader(Verify::Full, Io::Map).unwrap());
    assert_eq!((reader.shards(), reader.total_tokens()), (0, 0));
    assert!(matches!(
        Sampler::new(reader, SamplerOptions::new(8)),
        Err(Error::TooFewTokens { .. })
    ));
    let data = Dataset::new(300, 500, &[vec![]]);
    let reader = data.reader(Verify::Full, Io::Map).unwrap();
    assert_eq!(read_all(&reader).unwrap(), [299]);
}

#[test]
fn the_stored_tokenizer_is_bound_to_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let options = WriterOptions {
        tokenizer_json: Some(b"{}".to_vec()),
        ..WriterOptions::new(300)
    };
    write(folder.path(), options, &[vec![1]]).unwrap();
    let reader = ShardReader::open(folder.path(), ReaderOptions::default()).unwrap();
    assert_eq!(reader.tokenizer_json().unwrap().unwrap(), b"{}");
    std::fs::write(folder.path().join("tokenizer.json"), b"[]").unwrap();
    typed(reader.tokenizer_json().map(|_| ()), "tokenizer.json");
}

#[test]
fn another_tokenizer_is_refused() {
    let data = Dataset::new(300, 500, &[vec![1]]);
    let reader = data.reader(Verify::Lazy, Io::Map).unwrap();
    reader.expect_fingerprint(&[7; 32]).unwrap();
    let error = reader.expect_fingerprint(&[8; 32]).unwrap_err().to_string();
    assert!(
        error.contains(&"07".repeat(32)) && error.contains(&"08".repeat(32)),
        "{error}"
    );
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

#[test]
fn token_files_without_our_extension_are_read() {
    for token_type in [TokenType::U16, TokenType::U32] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("train_000001.bin"),
            plain_file(token_type, &[1, 2, 3]),
        )
        .unwrap();
        std::fs::write(
            folder.path().join("train_000002.bin"),
            plain_file(token_type, &[40_000]),
        )
        .unwrap();
        let reader = ShardReader::open(folder.path(), ReaderOptions::default()).unwrap();
        assert_eq!(read_all(&reader).unwrap(), [1, 2, 3, 40_000]);
        assert_eq!(
            (
                reader.vocab_size(),
                reader.fingerprint(),
                reader.documents(0).unwrap()
            ),
            (None, None, None)
        );
        let options = ReaderOptions {
            vocab_size: Some(1000),
            ..ReaderOptions::default()
        };
        let reader = ShardReader::open(folder.path(), options).unwrap();
        typed(
            read_all(&reader).map(|_| ()),
            "an id above the stated vocabulary",
        );
        let path = folder.path().join("train_000001.bin");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        typed(
            ShardReader::open(folder.path(), ReaderOptions::default()).map(|_| ()),
            "cut",
        );
    }
}

#[test]
fn raw_arrays_are_read_when_their_type_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.bin");
    std::fs::write(&path, [1u16, 2, 299].map(u16::to_le_bytes).concat()).unwrap();
    for io in [Io::Map, Io::Read] {
        let reader = ShardReader::open_raw(&path, TokenType::U16, 300, io).unwrap();
        assert_eq!(read_all(&reader).unwrap(), [1, 2, 299]);
        let reader = ShardReader::open_raw(&path, TokenType::U16, 299, io).unwrap();
        typed(
            read_all(&reader).map(|_| ()),
            "an id above the stated vocabulary",
        );
    }
    typed(
        ShardReader::open_raw(&path, TokenType::U32, 300, Io::Map).map(|_| ()),
        "half a token",
    );
    typed(
        ShardReader::open(&path, ReaderOptions::default()).map(|_| ()),
        "no header",
    );
    std::fs::write(&path, b"").unwrap();
    let empty = ShardReader::open_raw(&path, TokenType::U16, 300, Io::Map).unwrap();
    assert_eq!(read_all(&empty).unwrap(), [0i64; 0]);
}

#[test]
fn a_manifest_cannot_lead_out_of_its_folder() {
    let data = Dataset::new(300, 500, &[vec![1]]);
    let bytes = String::from_utf8(std::fs::read(data.file("manifest.json")).unwrap()).unwrap();
    for name in [
        "../shard-00000.bin",
        "/etc/x.bin",
        "a/b.bin",
        "..",
        "passwd",
    ] {
        let forged = bytes.replace("shard-00000.bin", name);
        let body = &forged[..forged.rfind(",\n  \"digest\"").unwrap()];
        let digest = format::hex(&<sha2::Sha256 as sha2::Digest>::digest(body));
        let forged = format!("{body},\n  \"digest\": \"{digest}\"\n}}\n");
        typed(
            Manifest::parse(forged.as_bytes(), Path::new("manifest.json")).map(|_| ()),
            name,
        );
    }
}

#[cfg(unix)]
#[test]
fn a_file_cut_under_a_reader_is_an_error() {
    let documents = vec![(0..100_000).map(|i| i % 299).collect()];
    for io in [Io::Map, Io::Read] {
        let data = Dataset::new(300, 1 << 22, &documents);
        let reader = data.reader(Verify::Open, io).unwrap();
        let mut ids = [0i64; 10];
        reader.copy(0, 90_000, &mut ids, &mut Vec::new()).unwrap();
        let path = data.file("shard-00000.bin");
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(50_000)
            .unwrap();
        typed(reader.copy(0, 90_000, &mut ids, &mut Vec::new()), "cut");
        typed(reader.tokens(0, 90_000, 90_010).map(|_| ()), "cut");
        // Replaced or removed: what was opened stays readable.
        let data = Dataset::new(300, 1 << 22, &documents);
        let reader = data.reader(Verify::Open, io).unwrap();
        reader.copy(0, 0, &mut ids, &mut Vec::new()).unwrap();
        let path = data.file("shard-00000.bin");
        std::fs::rename(data.file("manifest.json"), &path).unwrap();
        reader.copy(0, 90_000, &mut ids, &mut Vec::new()).unwrap();
        std::fs::remove_file(&path).unwrap();
        reader.copy(0, 90_000, &mut ids, &mut Vec::new()).unwrap();
        let Tokens::Mapped(view) = reader.tokens(0, 0, 10).unwrap() else {
            assert_eq!(io, Io::Read);
            continue;
        };
        drop(reader);
        assert_eq!(view.bytes().len(), 20, "a view keeps the map alive");
    }
}

// The sampler.

/// Shards of the given lengths in which every token is its own number in the dataset.
fn numbered(lengths: &[u64]) -> (Dataset, Arc<ShardReader>) {
    let folder = tempfile::tempdir().unwrap();
    let mut next = 0u32;
    let documents: Vec<Vec<u32>> = lengths
        .iter()
        .map(|&length| {
            let document = (next..next + length as u32).collect();
            next += length as u32;
            document
        })
        .collect();
    let options = WriterOptions {
        shard_tokens: 1,
        ..WriterOptions::new(1 << 20)
    };
    write(folder.path(), options, &documents).unwrap();
    let data = Dataset { folder };
    let reader = Arc::new(data.reader(Verify::Lazy, Io::Map).unwrap());
    (data, reader)
}

fn batch(sampler: &Sampler, first: u64, count: u64) -> (Vec<i64>, Vec<i64>) {
    let length = (count * sampler.options().sequence_length) as usize;
    let (mut inputs, mut targets) = (vec![7; length], vec![7; length]);
    sampler.fill(first, &mut inputs, &mut targets).unwrap();
    (inputs, targets)
}

/// Rows that the Python tests read, too; a twin in plain Python made them.
#[test]
fn recorded_windows_come_out() {
    #[derive(serde::Deserialize)]
    struct File {
        plan: Vec<Row>,
    }
    #[derive(serde::Deserialize)]
    struct Row {
        name: String,
        shards: Vec<u64>,
        sequence_length: u64,
        stride: u64,
        seed: u64,
        order: String,
        samples: Vec<u64>,
        windows: Vec<(usize, u64)>,
    }
    let file = include_str!("../../../../tests/data/sampler.toml");
    for row in toml::from_str::<File>(file).unwrap().plan {
        let (_data, reader) = numbered(&row.shards);
        let options = SamplerOptions {
            stride: row.stride,
            seed: row.seed,
            order: match row.order.as_str() {
                "global" => Order::Global,
                "block" => Order::BLOCK,
                _ => Order::Sequential,
            },
            ..SamplerOptions::new(row.sequence_length)
        };
        let sampler = Sampler::new(reader, options).unwrap();
        let window = |&sample| {
            let window = sampler.window(sample).unwrap();
            (window.shard, window.start)
        };
        let found: Vec<_> = row.samples.iter().map(window).collect();
        assert_eq!(found, row.windows, "{}", row.name);
    }
}

#[test]
fn targets_are_inputs_shifted_by_one() {
    let (_data, reader) = numbered(&[1000, 50, 8, 9, 700]);
    for order in [
        Order::Global,
        Order::BLOCK,
        Order::Block { io: 4, window: 3 },
        Order::Sequential,
    ] {
        let sampler = Sampler::new(
            reader.clone(),
            SamplerOptions {
                order,
                ..SamplerOptions::new(8)
            },
        )
        .unwrap();
        assert_eq!(sampler.len(), 124 + 6 + 1 + 87);
        let (inputs, targets) = batch(&sampler, 3, 2 * sampler.len());
        assert!(
            inputs
                .iter()
                .zip(&targets)
                .all(|(input, target)| input + 1 == *target)
        );
    }
}

#[test]
fn an_epoch_reads_every_window_once() {
    let (_data, reader) = numbered(&[1000, 50, 9, 700]);
    for order in [
        Order::Global,
        Order::Block { io: 4, window: 3 },
        Order::Block {
            io: 1000,
            window: 2,
        },
        Order::Sequential,
    ] {
        for stride in [1, 3, 8, 20] {
            let options = SamplerOptions {
                order,
                stride,
                ..SamplerOptions::new(8)
            };
            let sampler = Sampler::new(reader.clone(), options).unwrap();
            for epoch in 0..3 {
                let mut windows: Vec<_> = (epoch * sampler.len()..(epoch + 1) * sampler.len())
                    .map(|number| sampler.window(number).unwrap())
                    .map(|window| (window.shard, window.start))
                    .collect();
                windows.sort_unstable();
                let ordered: Vec<_> = (0..sampler.len())
                    .map(|index| sampler.window_at_for_test(epoch, index))
                    .collect();
                assert_eq!(windows, ordered);
                if epoch == 0 || order == Order::Sequential {
                    let starts = ordered
                        .iter()
                        .filter(|(shard, _)| *shard == 0)
                        .map(|(_, start)| *start);
                    assert!(starts.eq((0..=1000 - 9).step_by(stride as usize)));
                }
            }
        }
    }
}

#[test]
fn window_edges_move_between_epochs() {
    let (_data, reader) = numbered(&[100_000]);
    let sampler = Sampler::new(reader, SamplerOptions::new(100)).unwrap();
    let starts = |epoch: u64| (0..sampler.len()).map(move |index| (epoch, index));
    let phases: Vec<u64> = (0..6)
        .map(|epoch| {
            starts(epoch)
                .map(|(e, i)| sampler.window_at_for_test(e, i).1)
                .min()
                .unwrap()
        })
        .collect();
    assert_eq!(phases[0], 0);
    assert!(
        phases
            .iter()
            .collect::<std::collections::HashSet<_>>()
            .len()
            > 3,
        "{phases:?}"
    );
}

#[test]
fn epochs_and_seeds_have_orders_of_their_own() {
    let (_data, reader) = numbered(&[10_000]);
    let order = |seed, epoch: u64| -> Vec<u64> {
        let sampler = Sampler::new(
            reader.clone(),
            SamplerOptions {
                seed,
                ..SamplerOptions::new(10)
            },
        )
        .unwrap();
        (0..sampler.len())
            .map(|at| sampler.window(epoch * sampler.len() + at).unwrap().start / 10)
            .collect()
    };
    assert_eq!(order(0, 0), order(0, 0));
    assert_ne!(order(0, 0), order(0, 1));
    assert_ne!(order(0, 0), order(1, 0));
}

#[test]
fn the_block_order_reads_neighbours_together() {
    let (_data, reader) = numbered(&[100_000]);
    let options = SamplerOptions {
        order: Order::Block { io: 16, window: 8 },
        ..SamplerOptions::new(10)
    };
    let sampler = Sampler::new(reader, options).unwrap();
    for group in 0..sampler.len() / 128 {
        let mut units: Vec<u64> = (group * 128..(group + 1) * 128)
            .map(|number| sampler.window(number).unwrap().start / 160)
            .collect();
        units.sort_unstable();
        units.dedup();
        assert!(
            units.len() <= 16,
            "128 windows come from at most twice 8 units, the rotation cuts each in two"
        );
    }
}

#[test]
fn evaluation_scores_every_token_once() {
    for lengths in [&[1000u64, 50, 8, 9, 2, 1, 700][..], &[5]] {
        let (_data, reader) = numbered(lengths);
        for (length, stride) in [(8, 8), (8, 3), (8, 1), (100, 64), (2000, 5)] {
            let options = SamplerOptions {
                stride,
                order: Order::Sequential,
                mask_overlap: true,
                partial: Partial::Pad,
                ..SamplerOptions::new(length)
            };
            let sampler = Sampler::new(reader.clone(), options).unwrap();
            let (inputs, targets) = batch(&sampler, 0, sampler.len());
            let mut scored: Vec<i64> = targets
                .iter()
                .copied()
                .filter(|&target| target >= 0)
                .collect();
            assert!(
                inputs
                    .iter()
                    .zip(&targets)
                    .all(|(input, target)| *target == -1 || input + 1 == *target)
            );
            scored.sort_unstable();
            let mut expected = Vec::new();
            let mut first = 0;
            for &length in lengths {
                expected.extend(first + 1..first + length as i64);
                first += length as i64;
            }
            assert_eq!(scored, expected, "length {length} stride {stride}");
        }
    }
}

#[test]
fn reserved_tokens_are_in_no_window() {
    let (_data, reader) = numbered(&[100, 200]);
    for order in [Order::Global, Order::Sequential] {
        let options = SamplerOptions {
            order,
            reserve: 50,
            ..SamplerOptions::new(8)
        };
        let sampler = Sampler::new(reader.clone(), options).unwrap();
        let (_, targets) = batch(&sampler, 0, 5 * sampler.len());
        assert!(targets.into_iter().max().unwrap() < 250);
    }
    let all = SamplerOptions {
        reserve: 1000,
        ..SamplerOptions::new(8)
    };
    assert_eq!(Sampler::new(reader, all).unwrap().len(), 12);
}

#[test]
fn a_short_text_says_what_to_do() {
    let (_data, reader) = numbered(&[100]);
    Sampler::new(reader.clone(), SamplerOptions::new(99)).unwrap();
    let error = Sampler::new(reader, SamplerOptions::new(100))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("100 tokens") && error.contains("101") && error.contains("shorter"),
        "{error}"
    );
}

#[test]
fn impossible_plans_are_refused() {
    let (_data, reader) = numbered(&[100]);
    let options = SamplerOptions::new(8);
    for options in [
        SamplerOptions::new(0),
        SamplerOptions::new(1 << 40),
        SamplerOptions {
            stride: 0,
            ..options
        },
        SamplerOptions {
            mask_overlap: true,
            ..options
        },
        SamplerOptions {
            partial: Partial::Pad,
            ..options
        },
        SamplerOptions {
            order: Order::Block { io: 0, window: 5 },
            ..options
        },
        SamplerOptions {
            order: Order::Block { io: 5, window: 0 },
            ..options
        },
        SamplerOptions {
            order: Order::Sequential,
            stride: 9,
            mask_overlap: true,
            ..options
        },
        SamplerOptions {
            order: Order::Sequential,
            stride: 9,
            partial: Partial::Pad,
            ..options
        },
    ] {
        let made = Sampler::new(reader.clone(), options);
        assert!(
            matches!(made, Err(Error::ShardArgument { .. })),
            "{options:?}"
        );
    }
}

#[test]
fn a_plan_is_named_by_all_that_it_depends_on() {
    let (_data, reader) = numbered(&[100]);
    let (_other, other) = numbered(&[101]);
    let base = SamplerOptions {
        order: Order::Sequential,
        ..SamplerOptions::new(8)
    };
    let plans = [
        base,
        SamplerOptions { seed: 1, ..base },
        SamplerOptions {
            sequence_length: 9,
            ..base
        },
        SamplerOptions { stride: 7, ..base },
        SamplerOptions {
            mask_overlap: true,
            ..base
        },
        SamplerOptions {
            partial: Partial::Pad,
            ..base
        },
        SamplerOptions { reserve: 1, ..base },
        SamplerOptions {
            order: Order::Global,
            ..base
        },
        SamplerOptions {
            order: Order::BLOCK,
            ..base
        },
        SamplerOptions {
            order: Order::Block {
                io: 256,
                window: 511,
            },
            ..base
        },
    ];
    let mut names: Vec<_> = plans
        .map(|plan| Sampler::new(reader.clone(), plan).unwrap().fingerprint())
        .into();
    names.push(Sampler::new(other, base).unwrap().fingerprint());
    let sampler = Sampler::new(reader, base).unwrap();
    sampler.expect_fingerprint(&names[0]).unwrap();
    assert!(matches!(
        sampler.expect_fingerprint(&names[1]),
        Err(Error::FingerprintMismatch { .. })
    ));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), plans.len() + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever batch size a program reads with, the samples come one after another as if read singly.
    #[test]
    fn batches_are_slices_of_one_sequence(lengths in prop::collection::vec(1u64..200, 1..6), length in 1u64..20,
                                         stride in 1u64..30, seed in any::<u64>(), first in 0u64..1000, size in 1u64..9,
                                         kind in 0..3usize) {
        let (_data, reader) = numbered(&lengths);
        let order = [Order::Global, Order::Block { io: 3, window: 2 }, Order::Sequential][kind];
        let options = SamplerOptions { stride, seed, order, ..SamplerOptions::new(length) };
        let Ok(sampler) = Sampler::new(reader, options) else {
            prop_assert!(lengths.iter().all(|&tokens| tokens <= length));
            return Ok(());
        };
        let (inputs, targets) = batch(&sampler, first, size);
        let single: Vec<_> = (first..first + size).map(|number| batch(&sampler, number, 1)).collect();
        prop_assert_eq!(inputs, single.iter().flat_map(|(inputs, _)| inputs.clone()).collect::<Vec<_>>());
        prop_assert_eq!(targets, single.iter().flat_map(|(_, targets)| targets.clone()).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let path = Path::new("x");
        prop_assert!(check_shard(&bytes[..], bytes.len() as u64, path, &bytes).is_err());
        prop_assert!(Manifest::parse(&bytes, path).is_err());
    }
}
