//! What is written is read.

use std::sync::Arc;

use super::*;

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
            let reader = data.reader(verify).unwrap();
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
    let reader = data.reader(Verify::Full).unwrap();
    let sizes: Vec<u64> = (0..reader.shards())
        .map(|shard| reader.shard_tokens(shard))
        .collect();
    assert_eq!(sizes, [51, 61, 501, 11, 90]);
}

#[test]
fn no_documents_are_a_dataset_too() {
    let data = Dataset::new(300, 500, &[]);
    let reader = Arc::new(data.reader(Verify::Full).unwrap());
    assert_eq!((reader.shards(), reader.total_tokens()), (0, 0));
    assert!(matches!(
        Sampler::new(reader, SamplerOptions::new(8)),
        Err(Error::TooFewTokens { .. })
    ));
    let data = Dataset::new(300, 500, &[vec![]]);
    let reader = data.reader(Verify::Full).unwrap();
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
    let reader = data.reader(Verify::Lazy).unwrap();
    reader.expect_fingerprint(&[7; 32]).unwrap();
    let error = reader.expect_fingerprint(&[8; 32]).unwrap_err().to_string();
    assert!(
        error.contains(&"07".repeat(32)) && error.contains(&"08".repeat(32)),
        "{error}"
    );
}
