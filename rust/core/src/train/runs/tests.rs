//! Runs against plain maps, and against damage of every kind.

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

#[test]
fn sums_beyond_64_bits_are_an_error() {
    let (_folder, path) = saved(b"");
    write(&path, &plain(&[("a", 1 << 63, 0), ("b", 1, 1)]));
    let open = || RunReader::open(&path).unwrap();
    let overflows = |sum: Merged| matches!(summed(sum), Err(Error::CountOverflow));
    assert!(overflows(merge(vec![open(), open()], &[1, 1]).unwrap()));
    assert!(overflows(merge(vec![open()], &[2]).unwrap()));
    assert!(summed(merge(vec![open()], &[1]).unwrap()).is_ok());
    for weights in [&[][..], &[0], &[1, 1]] {
        let error = merge(vec![open()], weights).unwrap_err();
        assert!(matches!(error, Error::Weights { .. }), "{error}");
    }
}

#[test]
fn other_patterns_and_special_tokens_are_refused_by_name() {
    let folder = tempdir().unwrap();
    let file = |name: &str, header: &RunHeader| {
        let path = folder.path().join(name);
        let writer = RunWriter::create(&path, header).unwrap();
        writer.finish(0, 0).unwrap();
        path
    };
    let gpt2 = file("gpt2.pcnt", &header());
    let pattern = Pattern::named("cl100k").unwrap();
    let cl100k = file(
        "cl100k.pcnt",
        &RunHeader {
            pattern,
            ..header()
        },
    );
    let special_tokens = vec!["<s>".to_owned()];
    let special = file(
        "special.pcnt",
        &RunHeader {
            special_tokens,
            ..header()
        },
    );
    let message = |other: &PathBuf| {
        let readers = [&gpt2, other].map(|path| RunReader::open(path).unwrap());
        let direct = merge(readers.into(), &[1, 1]).unwrap_err().to_string();
        let paths = [gpt2.clone(), other.clone()];
        let mut go_on = |_| ControlFlow::Continue(());
        let loaded = load(&paths, &[1, 1], &header(), &gpt2, &mut go_on).unwrap_err();
        assert_eq!(direct, loaded.to_string());
        direct
    };
    let patterns = message(&cl100k);
    for part in [
        "gpt2.pcnt",
        "cl100k.pcnt",
        "different pattern: cl100k, and gpt2",
    ] {
        assert!(patterns.contains(part), "{patterns}");
    }
    let tokens = message(&special);
    assert!(
        tokens.contains(r#"special tokens: "<s>", and "<|endoftext|>""#),
        "{tokens}"
    );
    // Another spelling of the same pattern splits alike.
    let respelled = header().pattern.regexes()[0].replace(r"\p{L}", r"[\p{L}]");
    let pattern = Pattern::regex(respelled);
    assert_eq!(pattern.name(), Some("gpt2"));
    let alike = file(
        "alike.pcnt",
        &RunHeader {
            pattern,
            ..header()
        },
    );
    let readers = [&gpt2, &alike].map(|path| RunReader::open(path).unwrap());
    merge(readers.into(), &[1, 1]).unwrap();
}

#[test]
fn loading_is_counting_all_texts_in_order() {
    let folder = tempdir().unwrap();
    let mut expected = WordCounts::new();
    let mut paths = Vec::new();
    for number in 0..150_u64 {
        let mut words = Plain::new();
        for place in 0..5 {
            let word = format!("{}", (number * 7 + 4 - place) % 31);
            words.insert(word.clone().into(), (place + 1, place));
            expected
                .add(word.as_bytes(), (place + 1) * (number + 1))
                .unwrap();
        }
        let path = folder.path().join(format!("{number}.pcnt"));
        write(&path, &words);
        paths.push(path);
    }
    let weights: Vec<u64> = (1..=150).collect();
    let mut told = Vec::new();
    let mut hear = |bytes| {
        told.push(bytes);
        ControlFlow::Continue(())
    };
    let loaded = load(&paths, &weights, &header(), Path::new("x"), &mut hear).unwrap();
    assert!(loaded.iter_first_seen().eq(expected.iter_first_seen()));
    let size = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    assert_eq!(told.last(), Some(&paths.iter().map(size).sum()));
    let mut stop = |_| ControlFlow::Break(());
    let stopped = load(&paths, &weights, &header(), Path::new("x"), &mut stop);
    assert!(matches!(stopped, Err(Error::Cancelled)));
}

#[test]
fn a_spill_of_any_number_of_runs_is_one_count() {
    for runs in [0, 1, 2, 62, 63, 64, 65, 1000, 2500] {
        let folder = tempdir().unwrap();
        let mut spill = Spill::new(folder.path(), header());
        let mut going = || ControlFlow::Continue(());
        let mut expected = Plain::new();
        for number in 0..runs {
            let mut run = Plain::new();
            for place in 3 * number..3 * number + 3 {
                let word = format!("{}", place * 7919 % 97).into_bytes();
                run.insert(word.clone(), (place + 1, place));
                expected.entry(word).or_insert((0, place)).0 += place + 1;
            }
            let run = run
                .iter()
                .map(|(word, &(count, place))| (&**word, count, place));
            spill.push(run, &mut going).unwrap();
            assert!(spill.len() < MOST_OPEN);
        }
        assert_eq!(spill.is_empty(), runs == 0);
        if cfg!(unix) {
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
        assert_eq!(
            summed(spill.into_merged().unwrap()).unwrap(),
            expected,
            "{runs}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

proptest! {
    #[test]
    fn a_limit_of_memory_changes_nothing(
        batches in prop::collection::vec((prop::collection::vec((0_u32..9000, 1_u64..9), 0..900), 1_u64..4), 0..12),
        limit in 0_usize..1 << 17,
    ) {
        let folder = tempdir().unwrap();
        let long = "x".repeat(40);
        let mut bounded = BoundedCounts::new(header(), counter(), Some((limit, folder.path())));
        let mut free = BoundedCounts::new(header(), counter(), None);
        let mut go_on = || ControlFlow::Continue(());
        for (words, weight) in &batches {
            for (word, count) in words {
                let long = if word % 5 == 0 { &*long } else { "" };
                let word = format!("{word}{long}");
                bounded.add_word(word.as_bytes(), count * weight, &mut go_on).unwrap();
                free.add_word(word.as_bytes(), count * weight, &mut go_on).unwrap();
            }
        }
        let expected: Vec<_> = free.words(&mut go_on).unwrap().iter_first_seen().collect();
        let found: Vec<_> = bounded.words(&mut go_on).unwrap().iter_first_seen().collect();
        prop_assert_eq!(found, expected);
    }
}

fn counter() -> Counter {
    Counter::new(&Pretokenizer::new(&header().pattern).unwrap(), 1)
}

/// Text that is counted on threads, with batches of other weights between.
#[test]
fn a_limit_changes_nothing_for_text() {
    let words = (0..60_000_u32).map(|number| format!(" {}", number.wrapping_mul(7919) % 40_000));
    let text = words.collect::<Vec<_>>().concat();
    let folder = tempdir().unwrap();
    let count = |limit, threads| {
        let mut corpus = Corpus::new(&CorpusOptions {
            header: header(),
            separator: None,
            threads,
            limit,
            kernel: Kernel::best(),
        })
        .unwrap();
        let mut go_on = || ControlFlow::Continue(());
        for (weight, part) in (1..).zip(text.as_bytes().chunks(text.len() / 3 + 1)) {
            corpus.weigh(weight, &mut go_on).unwrap();
            for document in part.chunks(5000) {
                corpus.push_document(document, &mut go_on).unwrap();
            }
        }
        assert_eq!(corpus.runs() > 0, limit.is_some());
        corpus.words(&mut go_on).unwrap().clone()
    };
    let free = count(None, 1);
    for threads in [1, 2, 3] {
        let bounded = count(Some((1 << 18, folder.path())), threads);
        assert!(
            bounded.iter_first_seen().eq(free.iter_first_seen()),
            "{threads}"
        );
        let threaded = count(None, threads);
        assert!(
            threaded.iter_first_seen().eq(free.iter_first_seen()),
            "{threads}"
        );
    }
}

#[test]
fn a_file_written_within_a_limit_is_the_same_but_for_places() {
    let folder = tempdir().unwrap();
    let write = |limit, name: &str| {
        let mut counts = BoundedCounts::new(header(), counter(), limit);
        let mut going = || ControlFlow::Continue(());
        for number in 0..5000_u32 {
            let word = (number * 7919 % 1999).to_string();
            counts.add_word(word.as_bytes(), 1, &mut going).unwrap();
        }
        assert_eq!(counts.runs() > 0, limit.is_some());
        let path = folder.path().join(name);
        let mut go_on = || ControlFlow::Continue(());
        counts.write_file(&path, 5, 1, &mut go_on).unwrap();
        let words = read(&path).unwrap();
        let mut by_place: Vec<_> = words.iter().map(|(w, &(c, p))| (p, w.clone(), c)).collect();
        by_place.sort_unstable();
        by_place
            .into_iter()
            .map(|(_, word, count)| (word, count))
            .collect::<Vec<_>>()
    };
    let free = write(None, "free");
    assert_eq!(free.len(), 1999);
    assert_eq!(write(Some((1 << 15, folder.path())), "bounded"), free);
}

#[test]
fn writing_can_be_stopped_and_leaves_nothing() {
    for limit in [None, Some(1 << 15)] {
        let folder = tempdir().unwrap();
        let limit = limit.map(|bytes| (bytes, folder.path()));
        let mut counts = BoundedCounts::new(header(), counter(), limit);
        let mut going = || ControlFlow::Continue(());
        for number in 0..5000_u32 {
            counts
                .add_word(number.to_string().as_bytes(), 1, &mut going)
                .unwrap();
        }
        let path = folder.path().join("x.pcnt");
        let stopped = counts.write_file(&path, 0, 0, &mut || ControlFlow::Break(()));
        assert!(matches!(stopped, Err(Error::Cancelled)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_folder_that_is_not_there_is_said_to_be_the_matter() {
    let folder = tempdir().unwrap();
    let mut spill = Spill::new(&folder.path().join("missing"), header());
    let mut go_on = || ControlFlow::Continue(());
    let error = spill.push([(&b"a"[..], 1, 0)], &mut go_on).unwrap_err();
    assert!(matches!(error, Error::Spill { .. }), "{error}");
    assert!(error.to_string().contains("missing"));
    let error = spill
        .push([(&b"b"[..], 1, 0), (&b"a"[..], 1, 0)], &mut go_on)
        .unwrap_err();
    assert!(matches!(error, Error::Spill { .. }), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let device = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(device) = device else { return };
    let begun = RunWriter::temporary(device, Path::new("/dev"), &header());
    let error = begun.unwrap_err();
    assert!(error.to_string().contains("make room"), "{error}");
}

#[test]
fn a_pipe_or_a_folder_is_no_file_of_counts() {
    let folder = tempdir().unwrap();
    assert!(matches!(
        RunReader::open(folder.path()),
        Err(Error::Io { .. })
    ));
    if cfg!(unix) {
        let error = RunReader::open(Path::new("/dev/null")).unwrap_err();
        assert!(error.to_string().contains("not from pipes"), "{error}");
    }
}

#[test]
fn writing_and_summing_runs_can_be_stopped() {
    let folder = tempdir().unwrap();
    let words = |from: u64, count: u64| {
        let words = (from..from + count).map(|number| (number.to_be_bytes(), number));
        words.collect::<Vec<_>>()
    };
    let mut go_on = || ControlFlow::Continue(());
    let mut stop = || ControlFlow::Break(());
    let mut spill = Spill::new(folder.path(), header());
    let mut push = |words: &[([u8; 8], u64)], asked: &mut dyn FnMut() -> ControlFlow<()>| {
        let words = words.iter().map(|(word, place)| (&word[..], 1, *place));
        spill.push(words, asked)
    };
    let stopped = push(&words(0, 5000), &mut stop);
    assert!(matches!(stopped, Err(Error::Cancelled)));
    for run in 0..MOST_OPEN as u64 - 1 {
        push(&words(300 * run, 300), &mut go_on).unwrap();
    }
    let stopped = push(&words(0, 1), &mut stop);
    assert!(matches!(stopped, Err(Error::Cancelled)));
}
