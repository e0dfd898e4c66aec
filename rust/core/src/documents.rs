//! Text that comes in blocks, given out as batches of documents.
//!
//! [`DocumentBuffer`] takes text in pieces of any size and cuts it where documents end: where the
//! caller says so, and at [`Separators`]. The documents lie one after another in one buffer, so a
//! small one costs a range and no allocation. [`DocumentBuffer::take`] hands out what is complete
//! as a [`DocumentBatch`], whose buffer is used again when the batch is dropped.
//!
//! A document that is longer than a batch is given out in parts, so memory does not grow with its
//! length. It is cut only at places that the caller allows (see [`crate::Tokenizer::last_cut`]);
//! where there is no such place the document is gathered as a whole, up to [`MOST_UNCUT`] bytes.
//!
//! Invariant: the documents are a function of the text and the ends alone. Neither the blocks in
//! which the text comes nor the size of the batches change them.

mod separators;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

pub use separators::Separators;

use crate::memory::reserve;
use crate::{Error, Result};
use separators::Found;

/// A batch has at most this many documents, so that many empty ones do not fill the memory.
const MOST_DOCUMENTS: usize = 1 << 16;
/// Buffers that are kept for the next batches. There are no more than batches that were alive at one time.
const SPARE_BUFFERS: usize = 64;

/// A document is gathered as a whole up to so many bytes, 4 GiB. A longer pre-token could not be
/// encoded either, and a small compressed file of zeros must not fill the memory.
pub const MOST_UNCUT: usize = u32::MAX as usize;

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
    most_uncut: usize,
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
            most_uncut: MOST_UNCUT,
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
    ///
    /// An error if the document that is still coming in is longer than [`MOST_UNCUT`] and cannot be cut.
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
            } else if self.text.len() - self.begin > self.most_uncut {
                return Err(Error::CannotBeDivided {
                    document: self.ended + self.parts.len() as u64,
                    position: self.continues.unwrap_or(0),
                    bytes: self.text.len() - self.begin,
                    limit: self.most_uncut,
                });
            }
            // What was searched for a place in vain is searched again when it is twice as long.
            let twice = (2 * (self.text.len() - self.begin)).min(self.most_uncut.saturating_add(1));
            self.enough = self.batch_bytes.max(twice);
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
