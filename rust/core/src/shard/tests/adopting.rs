//! Shards of several folders become one dataset, without a copy.

use super::*;

const VOCABULARY: u32 = 300;

fn options() -> WriterOptions {
    WriterOptions {
        shard_tokens: 100,
        eos: Some(VOCABULARY - 1),
        fingerprint: [7; 32],
        resume: true,
        ..WriterOptions::new(VOCABULARY)
    }
}

/// Documents of 49 tokens, two of which fill a shard of 100 with their separators.
fn pairs(count: u32) -> Vec<Vec<u32>> {
    (0..count)
        .map(|d| {
            (0..49)
                .map(|i| (i * 31 + d * 7) % (VOCABULARY - 1))
                .collect()
        })
        .collect()
}

/// A dataset of all documents, and one of each part of them.
fn whole_and_parts(documents: &[Vec<u32>], cut: usize) -> (TempDir, Vec<TempDir>) {
    let make = |documents: &[Vec<u32>]| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), options(), documents).unwrap();
        folder
    };
    let parts = vec![make(&documents[..cut]), make(&documents[cut..])];
    (make(documents), parts)
}

fn shards(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = contents(folder)
        .into_iter()
        .map(|(name, _)| folder.join(name))
        .filter(|path| path.extension() == Some("bin".as_ref()))
        .collect();
    found.sort();
    found
}

/// Adopts what is missing, of which each shard has two documents, and says what was there.
fn join(out: &Path, parts: &[TempDir], most: usize) -> Result<Option<Manifest>> {
    let mut writer = ShardWriter::create(out, options())?;
    let all: Vec<PathBuf> = parts.iter().flat_map(|part| shards(part.path())).collect();
    let there = writer.resumed_documents() as usize / 2;
    for from in all.iter().skip(there).take(most) {
        writer.adopt(from)?;
    }
    if there + most < all.len() {
        return Ok(None);
    }
    writer.finish().map(Some)
}

#[test]
fn the_bytes_are_those_of_one_writer() {
    let (whole, parts) = whole_and_parts(&pairs(10), 4);
    let out = tempfile::tempdir().unwrap();
    join(out.path(), &parts, 99).unwrap();
    assert_eq!(contents(out.path()), contents(whole.path()));
    let reader = ShardReader::open(out.path(), ReaderOptions::default()).unwrap();
    assert_eq!(reader.shards(), 5);
    for shard in 0..5 {
        reader.check(shard).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn tokens_are_not_copied() {
    use std::os::unix::fs::MetadataExt;
    let (_, parts) = whole_and_parts(&pairs(4), 2);
    let out = tempfile::tempdir().unwrap();
    join(out.path(), &parts, 99).unwrap();
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    for (part, shard) in parts.iter().zip(shards(out.path())) {
        assert_eq!(inode(&part.path().join("shard-00000.bin")), inode(&shard));
    }
}

/// A hard link cannot lead to another file system, so the file is copied, and stays what it is.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_linked_is_copied() {
    use std::os::unix::fs::MetadataExt;
    let (whole, parts) = whole_and_parts(&pairs(4), 2);
    let Ok(out) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
    if device(out.path()) == device(parts[0].path()) {
        return;
    }
    let before: Vec<_> = parts
        .iter()
        .map(|part| std::fs::read(&shards(part.path())[0]))
        .collect();
    join(out.path(), &parts, 99).unwrap();
    assert_eq!(contents(out.path()), contents(whole.path()));
    for (part, before) in parts.iter().zip(before) {
        assert_eq!(
            std::fs::read(&shards(part.path())[0]).unwrap(),
            before.unwrap()
        );
    }
}

/// Whatever was done before the process ended, and whatever a power cut made of the header, the bytes are the same.
#[test]
fn an_interrupted_adoption_is_repeated() {
    use std::io::Write;
    for most in 0..5 {
        let (whole, parts) = whole_and_parts(&pairs(10), 4);
        let out = tempfile::tempdir().unwrap();
        assert!(join(out.path(), &parts, most).unwrap().is_none());
        // The next one was begun elsewhere, and its header is half written.
        let all: Vec<PathBuf> = parts.iter().flat_map(|part| shards(part.path())).collect();
        let elsewhere = tempfile::tempdir().unwrap();
        let mut writer = ShardWriter::create(elsewhere.path(), options()).unwrap();
        writer.adopt(&all[most]).unwrap();
        let opened = std::fs::OpenOptions::new().write(true).open(&all[most]);
        opened.unwrap().write_all(&[0xff; 512]).unwrap();
        let temporary = format!(".shard-{most:05}.bin.tmp");
        std::fs::hard_link(&all[most], out.path().join(temporary)).unwrap();
        join(out.path(), &parts, 99).unwrap();
        assert_eq!(contents(out.path()), contents(whole.path()), "{most}");
    }
}

#[test]
fn a_dataset_is_replaced_when_the_new_one_is_whole() {
    let (whole, parts) = whole_and_parts(&pairs(10), 4);
    let out = tempfile::tempdir().unwrap();
    write(out.path(), WriterOptions::new(20), &[vec![1, 2, 3]]).unwrap();
    let old = contents(out.path());
    let force = || WriterOptions {
        force: true,
        ..options()
    };
    let mut writer = ShardWriter::create(out.path(), force()).unwrap();
    writer
        .adopt(&parts[0].path().join("shard-00000.bin"))
        .unwrap();
    drop(writer);
    assert_eq!(
        contents(out.path()),
        old,
        "what was adopted goes, the old dataset stays"
    );
    let mut writer = ShardWriter::create(out.path(), force()).unwrap();
    for from in parts.iter().flat_map(|part| shards(part.path())) {
        writer.adopt(&from).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(contents(out.path()), contents(whole.path()));
}

#[test]
fn what_does_not_belong_is_refused() {
    let documents = pairs(4);
    let (_, parts) = whole_and_parts(&documents, 2);
    let from = parts[0].path().join("shard-00000.bin");
    let other = WriterOptions {
        shard_tokens: 101,
        ..options()
    };
    let out = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(out.path(), other).unwrap();
    typed(writer.adopt(&from), "another size of shards");
    drop(writer);

    let out = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(out.path(), options()).unwrap();
    let bytes = std::fs::read(&from).unwrap();
    std::fs::write(&from, &bytes[..bytes.len() - 2]).unwrap();
    typed(writer.adopt(&from), "cut off");
    std::fs::write(&from, &bytes).unwrap();
    let sidecar = from.with_extension("gbx");
    let of_other = std::fs::read(parts[1].path().join("shard-00000.gbx")).unwrap();
    let right = std::fs::read(&sidecar).unwrap();
    std::fs::write(&sidecar, of_other).unwrap();
    typed(writer.adopt(&from), "the sidecar of another shard");
    std::fs::write(&sidecar, right).unwrap();
    std::fs::write(from.with_extension("head"), [1, 2, 3]).unwrap();
    typed(writer.adopt(&from), "a damaged copy of the header");
    std::fs::remove_file(from.with_extension("head")).unwrap();
    std::fs::write(&from, plain_file(TokenType::U16, &[1, 2])).unwrap();
    typed(writer.adopt(&from), "a file of llm.c");
    std::fs::write(&from, &bytes).unwrap();
    writer.write_part(&[1u32], 1, false).unwrap();
    assert!(matches!(
        writer.adopt(&from),
        Err(Error::ShardArgument { .. })
    ));
    writer.write_part(&[1u32], 1, true).unwrap();
    writer.adopt(&from).unwrap(); // behind the shard that was being written
    let manifest = writer.finish().unwrap();
    let tokens: Vec<u64> = manifest.shards.iter().map(|shard| shard.tokens).collect();
    assert_eq!(tokens, [3, 100]);
}
