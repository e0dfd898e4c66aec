//! Runs against plain maps, and against damage of every kind.

mod sums;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

use super::super::{Corpus, CorpusOptions, Counter};
use super::format::{
    TRAILER_BYTES, Trailer, block_sum, chained, put_varint, u64_at, varint, varint_bytes,
};
use super::*;
use crate::pattern::Pattern;
use crate::scan::Pretokenizer;
use crate::simd::Kernel;
use crate::train::WordCounts;
use crate::{Error, Result};

/// (count, place) by word.
type Plain = BTreeMap<Vec<u8>, (u64, u64)>;

fn header() -> RunHeader {
    RunHeader {
        pattern: Pattern::named("gpt2").unwrap(),
        special_tokens: vec!["<|endoftext|>".to_owned()],
    }
}

/// Writes a file without waiting for the disk.
fn write(path: &Path, words: &Plain) -> RunTotals {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = RunWriter::temporary(file, path, &header()).unwrap();
    for (word, &(count, place)) in words {
        writer.push(word, count, place).unwrap();
    }
    writer.finish(1000, 7).unwrap()
}

fn read(path: &Path) -> Result<Plain> {
    let mut reader = RunReader::open(path)?;
    let mut words = Plain::new();
    while let Some(found) = reader.next()? {
        words.insert(found.word.to_vec(), (found.count, found.place));
    }
    Ok(words)
}

fn summed(mut sum: Merged) -> Result<Plain> {
    let mut words = Plain::new();
    let mut last = Vec::new();
    while let Some(found) = sum.next()? {
        assert!(found.word > &*last);
        last = found.word.to_vec();
        words.insert(found.word.to_vec(), (found.count, found.place));
    }
    Ok(words)
}

fn plain(words: &[(&str, u64, u64)]) -> Plain {
    let words = words.iter();
    words
        .map(|&(word, count, place)| (word.as_bytes().to_vec(), (count, place)))
        .collect()
}

/// Some words, many of which begin alike.
fn words(most: usize) -> impl Strategy<Value = Plain> {
    let word = prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 1..12);
    prop::collection::btree_map(word, (1..u64::MAX >> 8, 0..u64::MAX >> 8), 0..most)
}

fn saved(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("x.pcnt");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn small_file() -> Vec<u8> {
    let (_folder, path) = saved(b"");
    write(
        &path,
        &plain(&[(" low", 300, 1), (" lower", 2, 2), ("low", 1, 0)]),
    );
    std::fs::read(&path).unwrap()
}

#[test]
fn numbers_have_one_spelling() {
    for value in [0, 1, 127, 128, 300, 1 << 35, u64::MAX - 1, u64::MAX] {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        assert_eq!(bytes.len(), varint_bytes(value));
        let mut rest = &bytes[..];
        assert_eq!(varint(&mut rest), Some(value));
        assert!(rest.is_empty());
        assert_eq!(varint(&mut &bytes[..bytes.len() - 1]), None);
    }
    for bad in [&[0x80, 0][..], &[0xff; 10], &[0xff; 11], &[0x80; 3]] {
        assert_eq!(varint(&mut &*bad), None, "{bad:?}");
    }
}

/// The bytes of version 1, which later versions must read.
const GOLDEN: &[&[u8]] = &[
    b"\x89PCN\r\n\x1a\n\x01\0\0\0\x9f\0\0\0",
    b"\x09\xb5\x67\x9d\xc7\xd5\x4b\x97\xd4\x44\xf1\x55\xf7\x9a\x40\xeb",
    b"\x6d\x77\x2e\x7a\xa4\x7b\x66\xa9\xd6\x07\xb0\xb1\x24\xb9\x6e\xbf",
    b"\x01\0\0\0\x4a\0\0\0",
    br"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    b"\x01\0\0\0\x0d\0\0\0<|endoftext|>",
    b"\x13\x96\x13\x04\x2c\xfe\xe4\xf7",
    // The block: " low" 300 times at place 1, " lower" twice at 2, "low" once at 0.
    b"\x16\0\0\0\x03\0\0\0\xed\x4e\xef\x44\x6b\x52\x3b\xbe",
    b"\0\x04 low\xac\x02\x01",
    b"\x04\x02er\x02\x02",
    b"\0\x03low\x01\0",
    // The trailer: 1,000 bytes, 7 documents, 3 words, 303 pre-tokens, 3 places.
    b"\0\0\0\0\0\0\0\0\xe8\x03\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0",
    b"\x2f\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0",
    b"\xee\xf0\xd4\x4a\x98\x47\xf5\xa1\x15\x01\0\0\0\0\0\0\x89\x4b\xc1\x3d\x41\xfb\x05\xaf",
];

#[test]
fn the_format_is_that_of_the_golden_file() {
    let golden = GOLDEN.concat();
    let (_folder, path) = saved(&golden);
    let words = plain(&[(" low", 300, 1), (" lower", 2, 2), ("low", 1, 0)]);
    assert_eq!(read(&path).unwrap(), words);
    assert_eq!(small_file(), golden);
}

#[test]
fn totals_and_header_come_back() {
    let (_folder, path) = saved(b"");
    let words = plain(&[("a", 3, 9), ("b", u64::MAX, 4)]);
    let totals = write(&path, &words);
    let expected = RunTotals {
        text_bytes: 1000,
        documents: 7,
        words: 2,
        pretokens: u128::from(u64::MAX) + 3,
        places: 10,
    };
    assert_eq!(totals, expected);
    let reader = RunReader::open(&path).unwrap();
    assert_eq!(reader.totals(), &expected);
    assert_eq!(reader.header(), &header());
    assert_eq!(read(&path).unwrap(), words);
    write(&path, &Plain::new());
    assert_eq!(read(&path).unwrap(), Plain::new());
    let published = path.with_extension("published");
    let mut writer = RunWriter::create(&published, &header()).unwrap();
    writer.push(b"a", 3, 9).unwrap();
    assert!(!published.exists());
    writer.finish(1, 1).unwrap();
    assert_eq!(read(&published).unwrap(), plain(&[("a", 3, 9)]));
}

#[test]
fn long_words_have_blocks_of_their_own() {
    let (_folder, path) = saved(b"");
    let lengths = [1, 65_000, 65_535, 65_536, 65_537, 3 << 20];
    let words: Plain = (0..)
        .zip(lengths)
        .map(|(place, length)| (vec![b'a'; length], (1, place)))
        .chain([(b"b".to_vec(), (5, 6))])
        .collect();
    write(&path, &words);
    assert_eq!(read(&path).unwrap(), words);
}

#[test]
fn words_must_ascend_and_occur() {
    let (_folder, path) = saved(b"old");
    let mut writer = RunWriter::create(&path, &header()).unwrap();
    writer.push(b"b", 1, 0).unwrap();
    for (word, count) in [(&b"b"[..], 1), (b"a", 1), (b"", 1), (b"c", 0)] {
        let error = writer.push(word, count, 0).unwrap_err();
        assert!(matches!(error, Error::CountsUnsorted { .. }), "{error}");
    }
    drop(writer);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1
    );
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = small_file();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let (_folder, path) = saved(&damaged);
            match read(&path).unwrap_err() {
                Error::CountsDamaged { offset, .. } => assert!(offset <= at as u64),
                other => panic!("byte {at}, bit {bit}: {other}"),
            }
        }
    }
}

#[test]
fn every_cut_and_every_addition_is_found() {
    let bytes = small_file();
    for length in 0..bytes.len() {
        let (_folder, path) = saved(&bytes[..length]);
        let error = RunReader::open(&path).unwrap_err();
        assert!(
            matches!(error, Error::CountsDamaged { .. }),
            "{length}: {error}"
        );
    }
    for more in [&b"\0"[..], &bytes] {
        let (_folder, path) = saved(&[&bytes, more].concat());
        assert!(matches!(read(&path), Err(Error::CountsDamaged { .. })));
    }
}

#[test]
fn another_version_asks_for_an_upgrade() {
    let mut bytes = small_file();
    let header_bytes = super::format::u32_at(&bytes, 12) as usize;
    bytes[8] = 2;
    let sum = xxhash_rust::xxh3::xxh3_64(&bytes[..header_bytes - 8]);
    bytes[header_bytes - 8..header_bytes].copy_from_slice(&sum.to_le_bytes());
    let (_folder, path) = saved(&bytes);
    let error = RunReader::open(&path).unwrap_err();
    assert!(
        matches!(error, Error::CountsVersion { found: 2, .. }),
        "{error}"
    );
}

/// Puts valid checksums on a file whose single block was changed.
fn forge(bytes: &mut Vec<u8>, sizes: [u8; 8], words: &[u8], totals: RunTotals) {
    let header_bytes = super::format::u32_at(bytes, 12) as usize;
    let header_sum = u64_at(bytes, header_bytes - 8);
    bytes.truncate(header_bytes);
    let sum = block_sum(header_bytes as u64, sizes, words);
    bytes.extend(sizes);
    bytes.extend(sum.to_le_bytes());
    bytes.extend(words);
    let trailer = Trailer {
        totals,
        blocks_sum: chained(0, sum),
        file_bytes: (bytes.len() + TRAILER_BYTES) as u64,
    };
    bytes.extend(trailer.to_bytes(header_sum));
}

fn entry(shared: u64, length: u64, suffix: &[u8], count: u64, place: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, shared);
    put_varint(&mut out, length);
    out.extend(suffix);
    put_varint(&mut out, count);
    put_varint(&mut out, place);
    out
}

#[test]
fn forged_words_are_refused() {
    let bytes = small_file();
    let good = entry(0, 2, b"ab", 1, 0);
    let totals = |words| RunTotals {
        words,
        pretokens: u128::from(words),
        places: 1,
        ..RunTotals::default()
    };
    let try_words = |entries: &[Vec<u8>], words: u32, totals| {
        let mut bytes = bytes.clone();
        let content = entries.concat();
        let sizes = super::format::block_sizes(content.len(), words);
        forge(&mut bytes, sizes, &content, totals);
        let (_folder, path) = saved(&bytes);
        read(&path)
    };
    assert_eq!(
        try_words(std::slice::from_ref(&good), 1, totals(1))
            .unwrap()
            .len(),
        1
    );
    assert!(try_words(&[good.clone(), entry(1, 1, b"c", 1, 0)], 2, totals(2)).is_ok());
    for second in [
        entry(0, 1, b"a", 1, 0),  // descends
        entry(2, 0, b"", 1, 0),   // repeats
        entry(1, 0, b"", 1, 0),   // is a beginning
        entry(0, 2, b"ac", 1, 0), // shares less than it could
        entry(3, 1, b"c", 1, 0),  // shares more than there is
        entry(u64::MAX, 1, b"c", 1, 0),
        entry(1, u64::MAX, b"c", 1, 0), // longer than the block
        entry(1, 1 << 40, b"c", 1, 0),
        entry(1, 1, b"c", 0, 0),                     // never occurs
        entry(1, 1, b"c", 1, 1),                     // a place above all
        entry(1, 1, b"c", 1, 0)[..4].to_vec(),       // cut
        [entry(1, 1, b"c", 1, 0), vec![0]].concat(), // and one byte more
    ] {
        let found = try_words(&[good.clone(), second.clone()], 2, totals(2));
        assert!(
            matches!(found, Err(Error::CountsDamaged { .. })),
            "{second:?}"
        );
    }
    let other = entry(0, 2, b"ab", 1, 0);
    for wrong in [
        totals(2),
        RunTotals {
            pretokens: 5,
            ..totals(1)
        },
    ] {
        assert!(try_words(std::slice::from_ref(&other), 1, wrong).is_err());
    }
    // A block of several words is short.
    let long = vec![b'x'; 1 << 16];
    let long = [entry(0, 1 << 16, &long, 1, 0), entry(0, 1, b"y", 1, 0)];
    assert!(try_words(&long, 2, totals(2)).is_err());
    assert!(try_words(&long[..1], 1, totals(1)).is_ok());
}

proptest! {
    #[test]
    fn what_was_written_is_read(words in words(3000)) {
        let (_folder, path) = saved(b"");
        let totals = write(&path, &words);
        prop_assert_eq!(totals.words, words.len() as u64);
        prop_assert_eq!(read(&path).unwrap(), words);
    }

    #[test]
    fn forged_blocks_neither_panic_nor_disorder(
        sizes in (prop_oneof![Just(None), any::<u32>().prop_map(Some)], 0_u32..6),
        content in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..40),
    ) {
        let mut bytes = small_file();
        let length = sizes.0.map_or(content.len(), |length| length as usize);
        let sizes = super::format::block_sizes(length, sizes.1);
        let totals = RunTotals { places: u64::MAX, ..RunTotals::default() };
        forge(&mut bytes, sizes, &content, totals);
        let (_folder, path) = saved(&bytes);
        let mut reader = RunReader::open(&path).unwrap();
        let mut last = Vec::new();
        while let Ok(Some(found)) = reader.next() {
            prop_assert!(found.word > &*last);
            last = found.word.to_vec();
        }
    }

    #[test]
    fn damage_anywhere_is_found(
        words in words(300),
        at in any::<prop::sample::Index>(),
        with in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let (_folder, path) = saved(b"");
        write(&path, &words);
        let bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        let mut damaged = bytes.clone();
        for (byte, new) in damaged[at..].iter_mut().zip(&with) {
            *byte = *new;
        }
        std::fs::write(&path, &damaged).unwrap();
        prop_assert_eq!(read(&path).is_err(), damaged != bytes);
    }

    #[test]
    fn merging_is_adding_up(files in prop::collection::vec((words(60), 1_u64..1000), 0..7)) {
        let folder = tempdir().unwrap();
        let (mut readers, mut weights) = (Vec::new(), Vec::new());
        let (mut expected, mut first_place) = (Plain::new(), 0);
        for (number, (words, weight)) in files.iter().enumerate() {
            let words: Plain = words
                .iter()
                .map(|(word, (count, place))| (word.clone(), (count >> 20, place >> 8)))
                .filter(|(_, (count, _))| *count > 0)
                .collect();
            let path = folder.path().join(number.to_string());
            let totals = write(&path, &words);
            for (word, (count, place)) in words {
                let sum = expected.entry(word).or_insert((0, first_place + place));
                sum.0 += count * weight;
            }
            first_place += totals.places;
            readers.push(RunReader::open(&path).unwrap());
            weights.push(*weight);
        }
        prop_assert_eq!(summed(merge(readers, &weights).unwrap()).unwrap(), expected);
    }
}
