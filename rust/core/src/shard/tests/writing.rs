//! What a writer takes, and the files it makes.

use super::*;
use crate::shard::format::BLOCK_BYTES;

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
