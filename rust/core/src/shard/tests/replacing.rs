//! A dataset that replaces another.

use super::*;
use crate::shard::names::Names;

fn options(vocab_size: u32) -> WriterOptions {
    WriterOptions {
        shard_tokens: 200,
        tokenizer_json: Some(format!("{{\"size\": {vocab_size}}}").into_bytes()),
        ..WriterOptions::new(vocab_size)
    }
}

fn forced(vocab_size: u32) -> WriterOptions {
    WriterOptions {
        force: true,
        ..options(vocab_size)
    }
}

fn fresh(vocab_size: u32, documents: &[Vec<u32>]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), options(vocab_size), documents).unwrap();
    folder
}

/// A folder as a process that is killed now would leave it.
fn killed(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    // A shard is published while the next one fills: wait until nothing changes between two looks.
    let files = loop {
        match (listed(folder), listed(folder)) {
            (Ok(before), Ok(after)) if before == after => break after,
            _ => std::thread::yield_now(),
        }
    };
    for (name, bytes) in files {
        std::fs::write(copy.path().join(name), bytes).unwrap();
    }
    copy
}

fn open(folder: &Path) -> ShardReader {
    let options = ReaderOptions {
        verify: Verify::Full,
        ..ReaderOptions::default()
    };
    let reader = ShardReader::open(folder, options).unwrap();
    assert!(reader.tokenizer_json().unwrap().is_some());
    reader
}

#[test]
fn the_old_dataset_can_be_read_until_the_new_one_is_whole() {
    let (old, new) = (some_documents(60, 300), some_documents(90, 400));
    let folder = fresh(300, &old);
    let before = contents(folder.path());
    let tokens = read_all(&open(folder.path())).unwrap();
    let expected = contents(fresh(400, &new).path());

    let mut writer = ShardWriter::create(folder.path(), forced(400)).unwrap();
    for (number, document) in new.iter().enumerate() {
        writer.write(document, 3 * document.len() as u64).unwrap();
        if number % 10 == 9 {
            let left = killed(folder.path());
            assert_eq!(read_all(&open(left.path())).unwrap(), tokens);
            // The same command again ends as if nothing had happened.
            write(left.path(), forced(400), &new).unwrap();
            assert_eq!(contents(left.path()), expected);
        }
    }
    // One that gives up leaves nothing of itself.
    let other = killed(folder.path());
    drop(ShardWriter::create(other.path(), forced(400)).unwrap());
    assert_eq!(contents(other.path()), before);
    writer.finish().unwrap();
    assert_eq!(contents(folder.path()), expected);
    assert_eq!(
        read_all(&open(folder.path())).unwrap().len(),
        new.concat().len()
    );
}

/// The manifest of the new dataset is there, its files do not have their final names yet.
#[test]
fn a_dataset_with_names_for_the_time_being_is_whole_and_gets_its_final_ones() {
    let documents = some_documents(60, 300);
    let whole = fresh(300, &documents);
    let expected = contents(whole.path());
    let interrupted = |also: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in &expected {
            let number = Names::Final.shard_number(name);
            let new = match number {
                Some(number) => {
                    let new = PathBuf::from(Names::New.shard(number));
                    new.with_extension(Path::new(name).extension().unwrap())
                }
                None if name == "tokenizer.json" => "tokenizer.new.json".into(),
                None => name.into(),
            };
            std::fs::write(folder.path().join(new), bytes).unwrap();
        }
        let path = folder.path().join("manifest.json");
        let manifest = Manifest::parse(&std::fs::read(&path).unwrap(), &path).unwrap();
        let renamed = manifest.renamed(
            |name| Names::New.shard(Names::Final.shard_number(name).unwrap()),
            Names::New.tokenizer_entry(),
        );
        std::fs::write(&path, renamed.to_bytes()).unwrap();
        also(folder.path());
        folder
    };
    let states: [&dyn Fn(&Path); 3] = [
        &|_| (),
        // Some of the old dataset's files are there still.
        &|folder| std::fs::write(folder.join("shard-00001.bin"), "of the old one").unwrap(),
        // Some files have both names.
        &|folder| {
            let new = folder.join("shard-00000.new.bin");
            std::fs::hard_link(new, folder.join("shard-00000.bin")).unwrap();
        },
    ];
    for also in states {
        let folder = interrupted(also);
        let tokens = read_all(&open(folder.path())).unwrap();
        assert_eq!(tokens, read_all(&open(whole.path())).unwrap());
        let resumed = WriterOptions {
            resume: true,
            ..options(300)
        };
        let writer = ShardWriter::create(folder.path(), resumed).unwrap();
        assert!(writer.finished().is_some());
        writer.finish().unwrap();
        assert_eq!(contents(folder.path()), expected);

        // Another dataset over it takes the names that are free.
        let folder = interrupted(also);
        write(folder.path(), forced(400), &documents).unwrap();
        assert_eq!(
            contents(folder.path()),
            contents(fresh(400, &documents).path())
        );
    }
}

#[test]
fn an_unfinished_run_is_not_removed_unasked() {
    let documents = some_documents(60, 300);
    let folder = fresh(300, &documents);
    std::fs::remove_file(folder.path().join("manifest.json")).unwrap();
    let before = contents(folder.path());
    let other = WriterOptions {
        resume: true,
        ..options(400)
    };
    for refused in [other, options(300), options(400)] {
        let refused = write(folder.path(), refused, &documents);
        assert!(matches!(refused, Err(Error::ShardExists { .. })));
        assert_eq!(contents(folder.path()), before);
    }
    write(folder.path(), forced(400), &documents).unwrap();
    let expected = contents(fresh(400, &documents).path());
    assert_eq!(contents(folder.path()), expected);
}

/// The journal says which inputs a killed run had; a run with the same goes on, any other does not.
#[test]
fn a_run_with_the_same_inputs_goes_on() {
    let documents = some_documents(60, 300);
    let with = |journal: &str| WriterOptions {
        journal: Some(journal.into()),
        ..options(300)
    };
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(folder.path(), with("one")).unwrap();
    writer.begin().unwrap();
    for document in &documents[..40] {
        writer.write(document, 3 * document.len() as u64).unwrap();
    }
    drop(writer);
    let refused = ShardWriter::create(folder.path(), with("two"));
    assert!(matches!(refused, Err(Error::ShardExists { .. })));
    let left = folder.path().join("..inputs.json.tmp-12345-6");
    std::fs::write(&left, "of a dead writer").unwrap();
    let writer = ShardWriter::create(folder.path(), with("one")).unwrap();
    assert!(writer.resumed_documents() > 0);
    assert!(!left.exists());
    drop(writer);
    write(folder.path(), with("one"), &documents).unwrap();
    let writer = ShardWriter::create(folder.path(), with("one")).unwrap();
    assert!(writer.finished().is_some());
    drop(writer);
    let refused = ShardWriter::create(folder.path(), with("two"));
    assert!(matches!(refused, Err(Error::ShardExists { .. })));
}
