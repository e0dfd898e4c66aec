//! What a writer finds in its folder.

use super::*;

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
    let reader = data.reader(Verify::Full).unwrap();
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
    let shards = whole.reader(Verify::Open).unwrap().shards();
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

#[test]
fn two_writers_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = ShardWriter::create(folder.path(), WriterOptions::new(300)).unwrap();
    let second = ShardWriter::create(folder.path(), WriterOptions::new(300));
    assert!(matches!(second, Err(Error::ShardLocked { .. })));
    drop(first);
    ShardWriter::create(folder.path(), WriterOptions::new(300)).unwrap();
}

/// One was killed between a sidecar and its tokens, and the next before it had stored its inputs.
#[test]
fn two_kills_at_the_first_shard_leave_nothing_in_the_way() {
    let documents = some_documents(60, 300);
    let options = || WriterOptions {
        shard_tokens: 500,
        journal: Some(b"inputs".to_vec()),
        ..WriterOptions::new(300)
    };
    let whole = tempfile::tempdir().unwrap();
    let make = |folder: &Path| {
        let mut writer = ShardWriter::create(folder, options())?;
        writer.begin()?;
        for document in documents.iter().skip(writer.resumed_documents() as usize) {
            writer.write(document, 1)?;
        }
        writer.finish()
    };
    make(whole.path()).unwrap();
    let out = tempfile::tempdir().unwrap();
    for name in [".inputs.json", "shard-00000.gbx"] {
        std::fs::copy(whole.path().join(name), out.path().join(name)).unwrap();
    }
    drop(ShardWriter::create(out.path(), options()).unwrap());
    make(out.path()).unwrap();
    assert_eq!(contents(out.path()), contents(whole.path()));
}
