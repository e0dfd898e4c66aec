//! Documents against a plain search of the whole text.

use aho_corasick::{AhoCorasick, MatchKind};
use proptest::prelude::*;

use super::*;

const MARK: &[u8] = b"ab";

/// The slow twin: the documents of a whole text.
fn documents(text: &[u8], mark: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut begin, mut line_start) = (Vec::new(), 0, true);
    let mut at = 0;
    while at < text.len() {
        if !text[at..].starts_with(mark) {
            at += 1;
            continue;
        }
        let before = if at == begin {
            line_start
        } else {
            text[at - 1] == b'\n'
        };
        let rest = &text[at + mark.len()..];
        let line_break = [&b"\n"[..], b"\r\n"]
            .into_iter()
            .find(|end| rest.starts_with(end));
        line_start = before && (line_break.is_some() || rest.is_empty());
        found.push(text[begin..at].to_vec());
        begin = at + mark.len();
        if let Some(line_break) = line_break.filter(|_| line_start) {
            begin += line_break.len();
        }
        at = begin;
    }
    if begin < text.len() {
        found.push(text[begin..].to_vec());
    }
    found
}

/// All that a buffer gives out, with the parts of documents joined.
fn gathered(batches: &[DocumentBatch]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut open = None;
    for batch in batches {
        assert_eq!(
            batch.continues(),
            open.is_some().then(|| found.last().unwrap().len())
        );
        assert_eq!(
            batch.first_document(),
            (found.len() - usize::from(open.is_some())) as u64
        );
        for part in batch.parts() {
            match open.take() {
                Some(()) => found.last_mut().unwrap().extend(part),
                None => found.push(part.to_vec()),
            }
        }
        open = batch.is_open().then_some(());
    }
    assert!(open.is_none());
    found
}

fn in_blocks(buffer: &mut DocumentBuffer, text: &[u8], sizes: &[usize]) -> Vec<DocumentBatch> {
    let (mut batches, mut rest) = (Vec::new(), text);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (block, after) = rest.split_at(rest.len().min(*size));
        buffer.push(block).unwrap();
        while buffer.is_full() {
            batches.extend(buffer.take().unwrap());
        }
        rest = after;
    }
    buffer.end_file().unwrap();
    while buffer.is_full() {
        batches.extend(buffer.take().unwrap());
    }
    batches.extend(buffer.take().unwrap());
    assert!(buffer.take().unwrap().is_none());
    batches
}

/// Cuts anywhere, everywhere and nowhere.
fn cut(kind: usize) -> Cut {
    Box::new(move |text: &[u8]| match kind {
        0 => None,
        1 => text.len().checked_sub(1).filter(|&at| at > 0),
        _ => (1..text.len()).find(|at| text[at - 1] == b'x'),
    })
}

fn some_text() -> impl Strategy<Value = Vec<u8>> {
    let words = vec!["ab", "a", "\n", "\r\n", "x", "abab", "long words", "\r"];
    prop::collection::vec(prop::sample::select(words), 0..24)
        .prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn blocks_and_batches_change_no_document(
        text in some_text(),
        sizes in prop::collection::vec(1..6_usize, 1..6),
        batch_bytes in 1..20_usize,
        kind in 0..3_usize,
    ) {
        let mut buffer = DocumentBuffer::new(Separators::line(MARK), cut(kind), batch_bytes);
        let found = in_blocks(&mut buffer, &text, &sizes);
        prop_assert_eq!(gathered(&found), documents(&text, MARK));
    }

    #[test]
    fn the_first_documents_are_left_out(
        text in some_text(),
        skip in 0..6_u64,
        batch_bytes in 1..20_usize,
        kind in 0..3_usize,
    ) {
        let separators = Separators::line(MARK);
        let mut buffer = DocumentBuffer::new(separators, cut(kind), batch_bytes).skip(skip);
        let mut found = in_blocks(&mut buffer, &text, &[3]);
        for batch in &mut found {
            batch.first -= skip;
        }
        let expected = documents(&text, MARK);
        let expected = expected.get(skip as usize..).unwrap_or_default();
        prop_assert_eq!(&gathered(&found), expected);
    }

    #[test]
    fn several_separators_cut_like_a_search_of_the_whole(
        text in some_text(),
        sizes in prop::collection::vec(1..6_usize, 1..6),
        batch_bytes in 1..20_usize,
    ) {
        let marks = ["ab", "abab", "", "x"];
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(["ab", "abab", "x"])
            .unwrap();
        let (mut expected, mut begin) = (Vec::new(), 0);
        for found in finder.find_iter(&text) {
            expected.push(text[begin..found.start()].to_vec());
            begin = found.end();
        }
        if begin < text.len() {
            expected.push(text[begin..].to_vec());
        }
        let separators = Separators::any_of(&marks).unwrap();
        let mut buffer = DocumentBuffer::new(separators, cut(0), batch_bytes);
        prop_assert_eq!(gathered(&in_blocks(&mut buffer, &text, &sizes)), expected);
    }
}

#[test]
fn documents_and_files_follow_one_another() {
    let mut buffer = DocumentBuffer::new(Separators::line(MARK), cut(0), 1 << 20);
    buffer.push(b"one").unwrap();
    buffer.push_document(b"two ab").unwrap();
    buffer.push_document(b"").unwrap();
    buffer.push(b"ab\nthree").unwrap();
    buffer.end_file().unwrap();
    buffer.end_file().unwrap();
    buffer.push(b"ab\nfour").unwrap();
    buffer.end_file().unwrap();
    let batch = buffer.take().unwrap().unwrap();
    let found: Vec<&[u8]> = batch.parts().collect();
    assert_eq!(
        found,
        [&b"one"[..], b"two ab", b"", b"", b"three", b"", b"four"]
    );
}

#[test]
fn a_file_is_read_in_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input.txt");
    std::fs::write(&path, b"one\nab\ntwo").unwrap();
    for most in [1, 3, 100] {
        let mut buffer = DocumentBuffer::new(Separators::line(MARK), cut(0), 1 << 20);
        let mut file = File::open(&path).unwrap();
        let mut read = 0;
        loop {
            match buffer.read(&mut file, &path, most).unwrap() {
                0 => break,
                count => read += count,
            }
        }
        buffer.end_file().unwrap();
        let batch = buffer.take().unwrap().unwrap();
        assert_eq!(read, 10);
        assert_eq!(batch.parts().collect::<Vec<_>>(), [&b"one\n"[..], b"two"]);
    }
    let mut buffer = DocumentBuffer::new(Separators::none(), cut(0), 10);
    let mut folder_file = File::open(folder.path()).unwrap();
    let error = buffer.read(&mut folder_file, folder.path(), 10);
    assert!(matches!(error, Err(Error::Io { .. })));
}

#[test]
fn buffers_are_used_again() {
    let mut buffer = DocumentBuffer::new(Separators::none(), cut(0), 4);
    let mut places = std::collections::HashSet::new();
    for _ in 0..100 {
        buffer.push_document(&[7; 100][..10]).unwrap();
        let batch = buffer.take().unwrap().unwrap();
        places.insert(batch.text.as_ptr());
    }
    assert!(places.len() <= 3, "{} buffers", places.len());
}

/// Searching everything again at each block would be 10^10 steps.
#[test]
fn a_document_that_cannot_be_cut_is_searched_a_few_times() {
    let searched = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = searched.clone();
    let nowhere: Cut = Box::new(move |text: &[u8]| {
        count.fetch_add(text.len(), std::sync::atomic::Ordering::Relaxed);
        None
    });
    let mut buffer = DocumentBuffer::new(Separators::line(MARK), nowhere, 100);
    let batches = in_blocks(&mut buffer, &b"x".repeat(1_000_000), &[10]);
    assert_eq!(batches.len(), 1);
    let searched = searched.load(std::sync::atomic::Ordering::Relaxed);
    assert!(searched < 2_000_000, "{searched} bytes");
}

#[test]
fn a_document_that_cannot_be_cut_has_a_limit() {
    let after_a_space = |text: &[u8]| text.iter().rposition(|&byte| byte == b' ').map(|at| at + 1);
    for (words, found) in [
        (&b"ab cd ef gh ij kl"[..], None),
        (b"abcdefghijklmnopq", Some((0, 0, 15))),
        (b"abcde fghijklmnopqrstuvw", Some((0, 6, 15))),
        (b"ab#cd#efghijklmnopqrstuvw", Some((2, 0, 15))),
    ] {
        let separators = Separators::line(b"#");
        let mut buffer = DocumentBuffer::new(separators, Box::new(after_a_space), 4);
        buffer.most_uncut = 12;
        let taken: Result<Vec<_>> = words
            .chunks(3)
            .map(|some| {
                buffer.push(some)?;
                buffer.take()
            })
            .collect();
        match (taken, found) {
            (Ok(_), None) => {}
            (Err(error), Some((document, position, bytes))) => assert_eq!(
                error.to_string(),
                format!(
                    "document {document} has no place to divide it in the {bytes} bytes that follow byte \
                     {position}, and at most 12 are taken as a whole; split the file, or name what stands \
                     between its documents as the separator"
                )
            ),
            (taken, _) => panic!("{words:?}: {taken:?}"),
        }
    }
}
