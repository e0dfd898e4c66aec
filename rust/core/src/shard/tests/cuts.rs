//! Files that are cut off, replaced or removed while they are read.

use super::*;
use crate::shard::reader::Tokens;

#[cfg(unix)]
#[test]
fn a_file_cut_under_a_reader_is_an_error() {
    for io in [Io::Map, Io::Pread] {
        a_file_cut_under_a_reader(io);
    }
}

/// Every length, in the first page, in the middle of pages and at their ends, and in the last one: whatever is read
/// then is right, or an error.
#[cfg(unix)]
#[test]
fn a_file_cut_anywhere_gives_no_wrong_token() {
    let ids: Vec<u32> = (0..9_000).map(|i| i % 298 + 1).collect(); // none is 0
    let whole: Vec<i64> = ids.iter().map(|&id| i64::from(id)).chain([299]).collect();
    for io in [Io::Map, Io::Pread] {
        let (mut right, mut errors) = (0, 0);
        for length in (0..19_026)
            .step_by(97)
            .chain([4095, 4096, 4097, 8192, 16384, 16385])
        {
            let data = Dataset::new(300, 1 << 22, std::slice::from_ref(&ids));
            let reader = data.reader_with(Verify::Open, io).unwrap();
            let mut found = [0; 100];
            reader.copy(0, 8_500, &mut found, &mut Vec::new()).unwrap();
            cut(&data.file("shard-00000.bin"), length);
            for start in [0, 500, 1_500, 3_500, 7_900, 8_901] {
                match reader.copy(0, start, &mut found, &mut Vec::new()) {
                    Ok(()) => {
                        assert_eq!(
                            found[..],
                            whole[start as usize..][..100],
                            "{length} {start}"
                        );
                        right += 1;
                    }
                    Err(Error::ShardTruncated { .. }) => errors += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert!(right > 0 && errors > 0);
    }
}

/// The handler lets go of a map with its reader, and others' maps are none of its business.
#[cfg(unix)]
#[test]
fn a_place_in_the_list_of_maps_is_used_again() {
    let documents = vec![vec![1; 9_000]];
    let data = Dataset::new(300, 1 << 22, &documents);
    for _ in 0..1_000 {
        let reader = data.reader(Verify::Open).unwrap();
        let mut ids = [0i64; 10];
        reader.copy(0, 0, &mut ids, &mut Vec::new()).unwrap();
        assert_eq!(ids, [1; 10]);
    }
}

#[cfg(unix)]
fn a_file_cut_under_a_reader(io: Io) {
    let documents = vec![(0..100_000).map(|i| i % 299).collect()];
    let data = Dataset::new(300, 1 << 22, &documents);
    let reader = data.reader_with(Verify::Open, io).unwrap();
    let mut ids = [0i64; 10];
    reader.copy(0, 90_000, &mut ids, &mut Vec::new()).unwrap();
    let path = data.file("shard-00000.bin");
    cut(&path, 50_000);
    typed(reader.copy(0, 90_000, &mut ids, &mut Vec::new()), "cut");
    typed(reader.tokens(0, 90_000, 90_010).map(|_| ()), "cut");
    // Replaced or removed: what was opened stays readable.
    let data = Dataset::new(300, 1 << 22, &documents);
    let reader = data.reader_with(Verify::Open, io).unwrap();
    reader.copy(0, 0, &mut ids, &mut Vec::new()).unwrap();
    let path = data.file("shard-00000.bin");
    std::fs::rename(data.file("manifest.json"), &path).unwrap();
    reader.copy(0, 90_000, &mut ids, &mut Vec::new()).unwrap();
    std::fs::remove_file(&path).unwrap();
    reader.copy(0, 90_000, &mut ids, &mut Vec::new()).unwrap();
    let Tokens::U16(tokens) = reader.tokens(0, 0, 10).unwrap() else {
        panic!("300 ids fit in two bytes");
    };
    assert_eq!(tokens, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[cfg(unix)]
fn cut(path: &Path, length: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

/// More shards than files stay open: one that is opened again has to be the one that was opened before.
#[test]
fn a_file_that_took_another_ones_place_is_not_read_on() {
    let documents = vec![vec![1, 2, 3]; 600];
    let data = Dataset::new(300, 4, &documents);
    let reader = data.reader_with(Verify::Open, Io::Pread).unwrap();
    assert_eq!(reader.shards(), 600);
    let all = read_all(&reader).unwrap();
    assert_eq!(all, [1, 2, 3, 299].repeat(600));
    assert_eq!(read_all(&reader).unwrap(), all, "files are opened again");
    let path = data.file("shard-00007.bin");
    let bytes = std::fs::read(&path).unwrap();
    let copy = data.file("copy");
    std::fs::write(&copy, bytes).unwrap();
    std::fs::rename(copy, path).unwrap();
    if cfg!(unix) {
        typed(read_all(&reader).map(|_| ()), "another file");
    }
    read_all(&data.reader(Verify::Lazy).unwrap()).unwrap();
}

/// Nothing waits for a FIFO, whichever file of a dataset it stands for.
#[cfg(unix)]
#[test]
fn a_fifo_is_an_error() {
    for name in ["shard-00000.bin", "shard-00000.gbx", "manifest.json"] {
        let data = Dataset::new(300, 1 << 22, &[vec![1, 2, 3]]);
        let path = data.file(name);
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        if !made.is_ok_and(|status| status.success()) {
            return; // no such program here
        }
        let read = data
            .reader(Verify::Lazy)
            .and_then(|reader| read_all(&reader));
        assert!(matches!(read, Err(Error::Io { .. })), "{name}: {read:?}");
    }
}
