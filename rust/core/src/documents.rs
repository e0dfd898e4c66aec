//! Text that comes in blocks, given out as batches of documents.
//!
//! [`DocumentBuffer`] takes text in pieces of any size and cuts it where documents end: where the
//! caller says so, and at [`Separators`]. The documents lie one after another in one buffer, so a
//! small one costs a range and no allocation. [`DocumentBuffer::take`] hands out what is complete
//! as a [`DocumentBatch`], whose buffer is used again when the batch is dropped.
//!
//! A document that is longer than a batch is given out in parts, so memory does not grow with its
//! length. It is cut only at places that the caller allows (see [`crate::Tokenizer::last_cut`]);
//! where there is no such place the document is gathered as a whole.
//!
//! Invariant: the documents are a function of the text and the ends alone. Neither the blocks in
//! which the text comes nor the size of the batches change them.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::{AhoCorasick, Input, MatchKind, PatternID};
use memchr::memmem::Finder;

use crate::error::SpecialTokenProblem;
use crate::memory::reserve;
use crate::{Error, Result};

/// A batch has at most this many documents, so that many empty ones do not fill the memory.
const MOST_DOCUMENTS: usize = 1 << 16;
/// Buffers that are kept for the next batches. There are no more than batches that were alive at one time.
const SPARE_BUFFERS: usize = 64;

/// What ends documents in running text.
#[derive(Debug, Clone)]
pub struct Separators(Kind);

#[derive(Debug, Clone)]
enum Kind {
    None,
    Line(Box<Finder<'static>>),
    AnyOf {
        finder: AhoCorasick,
        longest: usize,
        /// The one with which a line break may go.
        line: Option<PatternID>,
    },
}

/// What is found where a separator is looked for.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Separator {
        start: usize,
        /// Where the next document begins.
        end: usize,
        /// Whether the next document begins on a line of its own.
        line_start: bool,
    },
    /// No separator begins before this place. What follows the text decides whether one does there.
    NoneBefore(usize),
}

impl Separators {
    /// Nothing ends a document but its end.
    pub fn none() -> Self {
        Self(Kind::None)
    }

    /// The string `mark`, wherever it stands. If it is a line of its own, its line break goes with
    /// it. An empty mark is never found.
    pub fn line(mark: &[u8]) -> Self {
        if mark.is_empty() {
            return Self::none();
        }
        Self(Kind::Line(Box::new(Finder::new(mark).into_owned())))
    }

    /// Any of these strings; the longest of those that begin at one place. Line breaks are text.
    pub fn any_of<S: AsRef<str>>(marks: &[S]) -> Result<Self> {
        Self::any_of_or_line(marks, None)
    }

    /// Any of these strings, and `line` as in [`Separators::line`].
    pub fn any_of_or_line<S: AsRef<str>>(marks: &[S], line: Option<&str>) -> Result<Self> {
        let line = line.filter(|line| !line.is_empty());
        let marks = line.into_iter().chain(marks.iter().map(AsRef::as_ref));
        let marks: Vec<&str> = marks.filter(|mark| !mark.is_empty()).collect();
        let Some(longest) = marks.iter().max_by_key(|mark| mark.len()) else {
            return Ok(Self::none());
        };
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&marks)
            .map_err(|_| Error::SpecialToken {
                content: (*longest).to_owned(),
                id: 0,
                problem: SpecialTokenProblem::TooLongTogether,
            })?;
        Ok(Self(Kind::AnyOf {
            finder,
            longest: longest.len(),
            line: line.map(|_| PatternID::ZERO),
        }))
    }

    /// The first separator that begins at `from` or later. The document before it begins at
    /// `begin`, on a line of its own or not; more text may follow unless the text has `ended`.
    fn find(&self, text: &[u8], begin: usize, line_start: bool, from: usize, ended: bool) -> Found {
        // The last place at which a separator of this length is whole in the text.
        let none = |longest: usize| {
            let place = if ended {
                text.len()
            } else {
                (text.len() + 1).saturating_sub(longest)
            };
            Found::NoneBefore(place.max(from))
        };
        match &self.0 {
            Kind::None => Found::NoneBefore(text.len()),
            Kind::Line(finder) => {
                let Some(at) = finder.find(&text[from..]) else {
                    return none(finder.needle().len());
                };
                let mark = from + at..from + at + finder.needle().len();
                line(text, begin, line_start, mark, ended)
            }
            Kind::AnyOf {
                finder,
                longest,
                line: own_line,
            } => {
                match finder.find(Input::new(text).range(from..)) {
                    None => none(*longest),
                    // It may yet become a longer one.
                    Some(found) if !ended && found.start() + longest > text.len() => {
                        Found::NoneBefore(found.start())
                    }
                    Some(found) if *own_line == Some(found.pattern()) => {
                        line(text, begin, line_start, found.range(), ended)
                    }
                    Some(found) => Found::Separator {
                        start: found.start(),
                        end: found.end(),
                        line_start: false,
                    },
                }
            }
        }
    }
}

/// A separator at `mark`, with its line break if it is a line of its own.
fn line(text: &[u8], begin: usize, line_start: bool, mark: Range<usize>, ended: bool) -> Found {
    let (start, after) = (mark.start, mark.end);
    if after + 2 > text.len() && !ended {
        return Found::NoneBefore(start); // a line break may follow
    }
    let after_line = if start == begin {
        line_start
    } else {
        text[start - 1] == b'\n'
    };
    let line_break = match &text[after..] {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let is_line = after_line && (line_break > 0 || after == text.len());
    Found::Separator {
        start,
        end: after + if is_line { line_break } else { 0 },
        line_start: is_line,
    }
}

/// The last place in a text at which a document may be given out in two parts, if there is one.
/// What follows the text must not matter.
pub type Cut = Box<dyn Fn(&[u8]) -> Option<usize> + Send + Sync>;

/// Gathers text and cuts it into documents.
///
/// ```
/// use gptbpe_core::documents::{DocumentBuffer, Separators};
///
/// let mut buffer = DocumentBuffer::new(Separators::line(b"---"), Box::new(|_| None), 1 << 20);
/// buffer.push(b"one\n-")?;
/// buffer.push(b"--\ntwo\n")?;
/// buffer.end_file()?;
/// let batch = buffer.take()?.unwrap();
/// assert_eq!(batch.parts().collect::<Vec<_>>(), [&b"one\n"[..], b"two\n"]);
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
pub struct DocumentBuffer {
    separators: Separators,
    /// What ends documents within those that come whole.
    inside: Separators,
    cut: Cut,
    batch_bytes: usize,
    /// Documents that are left out.
    skip: u64,
    spare: Spare,

    text: Vec<u8>,
    /// The parts of documents that are complete.
    parts: Vec<Range<usize>>,
    /// Documents that ended before those in `parts`.
    ended: u64,
    /// How many bytes of the document of the first part were given out already, if any were.
    first_continues: Option<usize>,
    /// The document that is still coming in: where it begins in `text`, whether that is the
    /// beginning of a line, and how much of it was given out before that place.
    begin: usize,
    line_start: bool,
    continues: Option<usize>,
    /// No separator begins before this place.
    searched: usize,
    /// A document that is still coming in is cut when it has so many bytes.
    enough: usize,
}

type Spare = Arc<Mutex<Vec<Vec<u8>>>>;

impl DocumentBuffer {
    /// Gives out batches of about `batch_bytes` bytes, and longer documents in parts of about that
    /// size that end where `cut` says.
    pub fn new(separators: Separators, cut: Cut, batch_bytes: usize) -> Self {
        let batch_bytes = batch_bytes.max(1);
        Self {
            separators,
            inside: Separators::none(),
            cut,
            batch_bytes,
            skip: 0,
            spare: Spare::default(),
            text: Vec::new(),
            parts: Vec::new(),
            ended: 0,
            first_continues: None,
            begin: 0,
            line_start: true,
            continues: None,
            searched: 0,
            enough: batch_bytes,
        }
    }

    /// The same, without the first documents.
    #[must_use]
    pub fn skip(mut self, documents: u64) -> Self {
        self.skip = documents;
        self
    }

    /// The same, where documents that come whole are cut too.
    #[must_use]
    pub fn cut_documents(mut self, separators: Separators) -> Self {
        self.inside = separators;
        self
    }

    /// Takes more text.
    pub fn push(&mut self, text: &[u8]) -> Result<()> {
        self.make_room(text.len())?;
        self.text.extend_from_slice(text);
        self.search(false, false)
    }

    /// Takes at most `most` bytes from a file, and returns how many there were: none at its end.
    pub fn read(&mut self, file: &mut File, path: &Path, most: usize) -> Result<usize> {
        // One more, so that the end is found without growing.
        self.make_room(most.saturating_add(1))?;
        let read = file.take(most as u64).read_to_end(&mut self.text);
        let read = read.map_err(|source| Error::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        self.search(false, false)?;
        Ok(read)
    }

    /// Takes a whole document, in which nothing is a separator but what
    /// [`DocumentBuffer::cut_documents`] was given. It ends the one that was coming in.
    pub fn push_document(&mut self, document: &[u8]) -> Result<()> {
        self.end_file()?;
        self.make_room(document.len())?;
        self.text.extend_from_slice(document);
        self.search(true, true)?;
        self.end_part(self.text.len())?;
        self.next_document(self.text.len(), true);
        Ok(())
    }

    /// Ends a running text: what follows its last separator is a document, unless nothing does.
    pub fn end_file(&mut self) -> Result<()> {
        self.search(true, false)?;
        if self.begin < self.text.len() || self.continues.is_some() {
            self.end_part(self.text.len())?;
        }
        self.next_document(self.text.len(), true);
        Ok(())
    }

    /// Whether there is enough for a batch.
    pub fn is_full(&self) -> bool {
        self.text.len() - self.begin >= self.enough
            || self.parts.len() >= MOST_DOCUMENTS
            || !self.parts.is_empty() && self.text.len() >= self.batch_bytes
    }

    /// The documents that are complete and, if that is long, a part of the one that is still
    /// coming in. After the last [`DocumentBuffer::end_file`] these are all that are left.
    pub fn take(&mut self) -> Result<Option<DocumentBatch>> {
        let mut open = false;
        if self.text.len() - self.begin >= self.enough {
            if let Some(cut) = (self.cut)(&self.text[self.begin..self.searched]) {
                let cut = self.begin + cut;
                let given = self.continues.unwrap_or(0) + cut - self.begin;
                self.end_part(cut)?;
                open = true;
                self.begin = cut;
                self.line_start = self.text[cut - 1] == b'\n';
                self.continues = Some(given);
            }
            // What was searched for a place in vain is searched again when it is twice as long.
            self.enough = self.batch_bytes.max(2 * (self.text.len() - self.begin));
        }
        if self.parts.is_empty() {
            return Ok(None);
        }
        let mut rest = self.empty_buffer();
        let left = self.text.len() - self.begin;
        let usual = self.text.len().min(2 * self.batch_bytes);
        reserve(&mut rest, left.max(usual))?;
        rest.extend_from_slice(&self.text[self.begin..]);
        let mut batch = DocumentBatch {
            text: std::mem::replace(&mut self.text, rest),
            parts: std::mem::take(&mut self.parts),
            first: self.ended,
            continues: self.first_continues.take(),
            open,
            spare: self.spare.clone(),
            keep: 4 * self.batch_bytes,
        };
        self.ended += batch.parts.len() as u64 - u64::from(open);
        self.searched -= self.begin;
        self.begin = 0;
        batch.leave_out(self.skip);
        Ok((!batch.parts.is_empty()).then_some(batch))
    }

    fn make_room(&mut self, more: usize) -> Result<()> {
        if self.text.capacity() == 0 {
            self.text = self.empty_buffer();
        }
        reserve(&mut self.text, more)
    }

    fn empty_buffer(&self) -> Vec<u8> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = spare.pop().unwrap_or_default();
        buffer.clear();
        buffer
    }

    /// Cuts what has come in at separators.
    fn search(&mut self, ended: bool, inside: bool) -> Result<()> {
        loop {
            let (begin, line_start) = (self.begin, self.line_start);
            let separators = if inside {
                &self.inside
            } else {
                &self.separators
            };
            let found = separators.find(&self.text, begin, line_start, self.searched, ended);
            match found {
                Found::NoneBefore(place) => {
                    self.searched = place;
                    return Ok(());
                }
                Found::Separator {
                    start,
                    end,
                    line_start,
                } => {
                    self.end_part(start)?;
                    self.next_document(end, line_start);
                }
            }
        }
    }

    /// What lies between the beginning of the present document and `end` is a part.
    fn end_part(&mut self, end: usize) -> Result<()> {
        if self.parts.is_empty() {
            self.first_continues = self.continues;
        }
        reserve(&mut self.parts, 1)?;
        self.parts.push(self.begin..end);
        Ok(())
    }

    fn next_document(&mut self, begin: usize, line_start: bool) {
        self.begin = begin;
        self.searched = begin;
        self.line_start = line_start;
        self.continues = None;
        self.enough = self.batch_bytes;
    }
}

/// Documents, in one buffer. The first may go on from the batch before, and the last in the next.
#[derive(Debug)]
pub struct DocumentBatch {
    text: Vec<u8>,
    parts: Vec<Range<usize>>,
    /// The number of the document of the first part.
    first: u64,
    continues: Option<usize>,
    open: bool,
    spare: Spare,
    /// Greater buffers are not kept.
    keep: usize,
}

impl DocumentBatch {
    /// The documents, in order; of the first and the last perhaps only a part.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.parts.iter().map(|part| &self.text[part.clone()])
    }

    /// The number of the first part's document among all, from 0.
    pub fn first_document(&self) -> u64 {
        self.first
    }

    /// How many bytes of the first document were in earlier batches; `None` if it begins here.
    pub fn continues(&self) -> Option<usize> {
        self.continues
    }

    /// Whether the last document goes on in the next batch.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Leaves out documents with numbers below `skip`.
    fn leave_out(&mut self, skip: u64) {
        let count = skip.saturating_sub(self.first).min(self.parts.len() as u64);
        if count > 0 {
            self.parts.drain(..count as usize);
            self.first += count;
            self.continues = None;
            self.open &= !self.parts.is_empty();
        }
    }
}

impl Drop for DocumentBatch {
    /// Gives the buffer back.
    fn drop(&mut self) {
        let text = std::mem::take(&mut self.text);
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if text.capacity() <= self.keep && spare.len() < SPARE_BUFFERS {
            spare.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
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
}
