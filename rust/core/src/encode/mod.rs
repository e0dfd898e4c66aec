//! Text to ids.
//!
//! The parts are kept apart so that each can be replaced: special tokens cut the
//! text into stretches (`special`); the pre-tokenizer cuts a stretch into
//! pieces (`scan`); a piece is remembered (`cache`) or merged, short
//! ones by scanning (`short`) and long ones with a heap (`long`); the ids go to
//! the caller's vector. Memory that outlives one call lives in [`Scratch`], which
//! belongs to the caller: one per thread, reused across calls.
//!
//! Invariant: the ids of a text are a function of the tokenizer and the text. A cache,
//! a strategy or a number of threads never changes them.

mod batch;
mod cache;
mod long;
mod short;

pub use batch::Ragged;
pub(crate) use long::Buffers as MergeBuffers;

use crate::model::Model;
use crate::special::SpecialSet;
use crate::vocab::{MergeRules, Vocab};
use crate::{Result, Tokenizer};
use cache::{Key, PieceCache};

/// A thread's working memory: the piece cache and the buffers for merging.
///
/// It may be used with any tokenizer; changing the tokenizer empties the cache.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Serial number of the tokenizer whose pieces the cache holds.
    owner: u64,
    cache: PieceCache,
    buffers: MergeBuffers,
    without_cache: bool,
}

impl Scratch {
    /// An empty one; it grows with use, to about 16 MiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that remembers nothing: the slow twin that tests compare with.
    pub fn without_cache() -> Self {
        Self {
            without_cache: true,
            ..Self::default()
        }
    }
}

impl Tokenizer {
    /// Appends the ids of `text`, taking no special token for one.
    pub fn encode_ordinary(
        &self,
        text: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        self.each_piece(text, scratch, out, |_| true)
    }

    /// Appends the ids of `text`, in which the special tokens of `allowed` stand for themselves.
    pub fn encode(
        &self,
        text: &[u8],
        allowed: &SpecialSet,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<()> {
        self.each_stretch(text, allowed, scratch, out, |_| true)
    }

    /// How many ids [`Tokenizer::encode`] would give; they are not kept.
    pub fn count(&self, text: &[u8], allowed: &SpecialSet, scratch: &mut Scratch) -> Result<usize> {
        let mut count = 0;
        let mut piece = Vec::new();
        self.each_stretch(text, allowed, scratch, &mut piece, |ids| {
            count += ids.len();
            ids.clear();
            true
        })?;
        Ok(count)
    }

    /// The ids, and for each the byte of `text` at which its token starts.
    ///
    /// Token `i` covers `starts[i]..starts[i + 1]`, the last one up to the end.
    pub fn encode_with_offsets(
        &self,
        text: &[u8],
        allowed: &SpecialSet,
        scratch: &mut Scratch,
    ) -> Result<(Vec<u32>, Vec<usize>)> {
        let mut ids = Vec::new();
        self.encode(text, allowed, scratch, &mut ids)?;
        let mut at = 0;
        let starts = ids.iter().map(|&id| {
            let start = at;
            at += self.token_length(id);
            start
        });
        let starts = starts.collect();
        Ok((ids, starts))
    }

    /// The ids of the longest prefix of the text's tokens that has at most `most` of them
    /// and does not end inside a character, and how many bytes of `text` they cover.
    ///
    /// The prefix is one of *tokens*: encoding the cut text anew may give other
    /// ids. A text of bytes that are not UTF-8 may be cut between any two of those.
    /// What comes after the cut is not merged.
    pub fn truncate(
        &self,
        text: &[u8],
        most: usize,
        allowed: &SpecialSet,
        scratch: &mut Scratch,
    ) -> Result<(Vec<u32>, usize)> {
        let mut ids = Vec::new();
        self.each_stretch(text, allowed, scratch, &mut ids, |ids| ids.len() < most)?;
        ids.truncate(most);
        let mut end = ids.iter().map(|&id| self.token_length(id)).sum();
        while is_inside_character(text, end) {
            let Some(id) = ids.pop() else { break };
            end -= self.token_length(id);
        }
        Ok((ids, end))
    }

    /// Encodes the stretches between special tokens, and these, until `go_on`
    /// says no; it is asked after every piece, with all that `out` holds.
    fn each_stretch(
        &self,
        text: &[u8],
        allowed: &SpecialSet,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
        mut go_on: impl FnMut(&mut Vec<u32>) -> bool,
    ) -> Result<()> {
        let mut matches = allowed.matches(text);
        let mut from = 0;
        let mut going = true;
        while going {
            let found = matches.next();
            let to = found.map_or(text.len(), |found| found.start);
            self.each_piece(&text[from..to], scratch, out, |ids| {
                going = go_on(ids);
                going
            })
            .map_err(|error| error.shifted(from))?;
            let Some(found) = found.filter(|_| going) else {
                break;
            };
            out.push(found.id);
            going = go_on(out);
            from = found.end;
        }
        Ok(())
    }

    fn each_piece(
        &self,
        text: &[u8],
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
        mut go_on: impl FnMut(&mut Vec<u32>) -> bool,
    ) -> Result<()> {
        let vocab = match self.model() {
            Model::Bytes(vocab) => vocab,
            Model::Characters(characters) => {
                characters.encode(text, out)?;
                go_on(out);
                return Ok(());
            }
        };
        if scratch.owner != self.serial() {
            scratch.owner = self.serial();
            scratch.cache.clear();
        }
        let mut state = Ok(true);
        self.pretokenizer().for_each(text, |piece| {
            if matches!(state, Ok(true)) {
                state = encode_piece(vocab, piece, scratch, out).map(|()| go_on(out));
            }
        });
        state.map(|_| ())
    }

    fn token_length(&self, id: u32) -> usize {
        self.token_bytes(id).map_or(0, <[u8]>::len)
    }
}

/// Appends the ids of one pre-token.
fn encode_piece(
    vocab: &Vocab,
    piece: &[u8],
    scratch: &mut Scratch,
    out: &mut Vec<u32>,
) -> Result<()> {
    let key = Key::of(piece).filter(|_| !scratch.without_cache);
    if let Some(ids) = key.and_then(|key| scratch.cache.get(key)) {
        out.extend_from_slice(ids);
        return Ok(());
    }
    let first = out.len();
    match vocab.id(piece).filter(|_| vocab.whole_first()) {
        Some(id) => out.push(id),
        None => merge_piece(vocab.rules(), piece, &mut scratch.buffers, out)?,
    }
    if let Some(key) = key {
        scratch.cache.put(key, &out[first..]);
    }
    Ok(())
}

/// Appends what the merges make of a piece: the one place where a strategy is chosen.
pub(crate) fn merge_piece(
    rules: &MergeRules,
    piece: &[u8],
    buffers: &mut MergeBuffers,
    out: &mut Vec<u32>,
) -> Result<()> {
    if piece.len() <= short::LONGEST {
        short::merge(rules, piece, out);
        return Ok(());
    }
    long::merge(rules, piece, buffers, out)
}

/// Whether cutting `text` at `end` would cut a character that is valid there.
fn is_inside_character(text: &[u8], end: usize) -> bool {
    (1..=3.min(end)).any(|back| {
        let start = end - back;
        let window = &text[start..text.len().min(start + 4)];
        window
            .utf8_chunks()
            .next()
            .and_then(|chunk| chunk.valid().chars().next())
            .is_some_and(|character| character.len_utf8() > back)
    })
}

#[cfg(test)]
mod tests;
