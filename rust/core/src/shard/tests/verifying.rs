//! Checking whole shards, over a map and with plain reads.

use super::*;
use crate::shard::format::BLOCK_BYTES;

/// Blocks and a piece, in tokens of two or of four bytes.
fn some_blocks(vocab_size: u32) -> Dataset {
    let tokens = (5 * BLOCK_BYTES / 4 + 3000) as u32;
    let ids = (0..tokens).map(|i| i.wrapping_mul(7919) % (vocab_size - 1));
    Dataset::new(vocab_size, 1 << 22, &[ids.collect()])
}

#[test]
fn every_byte_of_tokens_is_reported_once() {
    for vocab_size in [300, 100_000] {
        for io in [Io::Map, Io::Pread] {
            let data = some_blocks(vocab_size);
            let reader = data.reader_with(Verify::Open, io).unwrap();
            let mut bytes = 0;
            reader.check_with(0, |count| bytes += count).unwrap();
            let file = std::fs::metadata(data.file("shard-00000.bin")).unwrap();
            assert_eq!(bytes, file.len() - HEADER_BYTES as u64);
        }
    }
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let data = some_blocks(300);
    let path = data.file("shard-00000.bin");
    let bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    let places = [
        0,
        1023,
        1024,
        BLOCK_BYTES - 1,
        BLOCK_BYTES,
        BLOCK_BYTES + 70_000,
    ];
    let last = [
        end - 1,
        end - 63,
        end - 64,
        end - 65,
        end - 4096,
        end - 5000,
    ];
    for place in places
        .map(|place| HEADER_BYTES + place)
        .into_iter()
        .chain(last)
    {
        let mut damaged = bytes.clone();
        damaged[place] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        for io in [Io::Map, Io::Pread] {
            let reader = data.reader_with(Verify::Open, io).unwrap();
            typed(reader.check(0), &format!("byte {place}"));
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_cut_while_it_is_checked_is_an_error() {
    for io in [Io::Map, Io::Pread] {
        let data = some_blocks(300);
        let path = data.file("shard-00000.bin");
        let reader = data.reader_with(Verify::Open, io).unwrap();
        let length = (HEADER_BYTES + BLOCK_BYTES + 100) as u64;
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let checked = reader.check_with(0, |_| file.set_len(length).unwrap());
        match checked {
            Err(Error::ShardTruncated { found, .. }) => assert_eq!(found, length),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_greatest_token_is_that_of_each_shard() {
    let folder = tempfile::tempdir().unwrap();
    let options = WriterOptions {
        shard_tokens: 1_000,
        eos: Some(1),
        ..WriterOptions::new(300)
    };
    let mut writer = ShardWriter::create(folder.path(), options).unwrap();
    writer.write(&[5_u32; 600], 0).unwrap();
    // It turns out to be too long for the first shard, where its first parts were.
    writer.write_part(&[250_u32; 300], 0, false).unwrap();
    writer.write_part(&[7_u32; 300], 0, true).unwrap();
    writer.write::<u32>(&[], 0).unwrap();
    let shards = writer.finish().unwrap().shards;
    let greatest: Vec<u32> = shards.iter().map(|shard| shard.max_token).collect();
    assert_eq!(greatest, [5, 250]);
}
