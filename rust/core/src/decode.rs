//! Ids to bytes, and to text as it arrives.
//!
//! Tokens are bytes, and one character may lie across several, so a stream of
//! ids is not a stream of characters. [`StreamDecoder`] holds back a character that is
//! not complete and replaces bytes that can never become one by U+FFFD, one per
//! maximal invalid part: what Python's `bytes.decode(errors="replace")` gives
//! for the whole, the pieces give together.

use crate::memory::reserve;
use crate::{Error, Result, Tokenizer};

/// So many ids are checked at a time; their lengths cannot overflow.
const CHECKED: usize = 1 << 12;
/// A stream keeps room for so many bytes between calls.
const KEPT: usize = 1 << 10;

impl Tokenizer {
    /// Appends the bytes of `ids`, which have 16 or 32 bits. Nothing is appended when one of them
    /// is unknown.
    pub fn decode_bytes<I: Copy + Into<u32>>(&self, ids: &[I], out: &mut Vec<u8>) -> Result<()> {
        let checked = self.check_ids(ids)?;
        let before = out.len();
        reserve(out, checked.length())?;
        out.resize(before + checked.length(), 0);
        checked.write(&mut out[before..]);
        Ok(())
    }

    /// The bytes of `ids`.
    pub fn decode<I: Copy + Into<u32>>(&self, ids: &[I]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.decode_bytes(ids, &mut bytes)?;
        Ok(bytes)
    }

    /// The same in two steps, for a caller with room of its own: this one finds out that all ids are known,
    /// and how many bytes they are.
    ///
    /// ```
    /// use gptbpe_core::{Tokenizer, pattern::Pattern};
    ///
    /// let tokenizer = Tokenizer::from_merges(&[], Pattern::default(), &[])?;
    /// let checked = tokenizer.check_ids(&[104_u16, 105])?;
    /// let mut room = vec![0; checked.length()];
    /// checked.write(&mut room);
    /// assert_eq!(room, b"hi");
    /// # Ok::<(), gptbpe_core::Error>(())
    /// ```
    pub fn check_ids<'a, I: Copy + Into<u32>>(&'a self, ids: &'a [I]) -> Result<CheckedIds<'a, I>> {
        let table = self.decode_table();
        let long = |id| self.token_bytes(id).map_or(0, <[u8]>::len);
        let mut length = 0_usize;
        for (block, first) in ids.chunks(CHECKED).zip((0..).step_by(CHECKED)) {
            let more = table.length(block, long).map_err(|place| {
                let id = block.get(place).map_or(0, |&id| id.into());
                self.unknown(first + place, id)
            })?;
            length = length.saturating_add(more);
        }
        Ok(CheckedIds {
            tokenizer: self,
            ids,
            length,
        })
    }

    /// The ids that decoding leaves out where special tokens are not wanted, in ascending order: those of
    /// the tokens that are special in Hugging Face's sense.
    pub fn skipped_ids(&self) -> Vec<u32> {
        let tokens = self.special_tokens().iter();
        let special = tokens.filter(|token| token.special);
        let mut ids: Vec<u32> = special.map(|token| token.id).collect();
        ids.sort_unstable();
        ids
    }

    fn unknown(&self, index: usize, id: u32) -> Error {
        Error::UnknownToken {
            index,
            id,
            vocab_size: self.vocab_size(),
        }
    }
}

/// Ids that a tokenizer has: see [`Tokenizer::check_ids`].
#[derive(Debug, Clone, Copy)]
pub struct CheckedIds<'a, I> {
    tokenizer: &'a Tokenizer,
    ids: &'a [I],
    length: usize,
}

impl<I: Copy + Into<u32>> CheckedIds<'_, I> {
    /// How many bytes their tokens have.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Writes the bytes of their tokens to `out`, whose length is [`CheckedIds::length`].
    pub fn write(&self, out: &mut [u8]) {
        let long = |id| self.tokenizer.token_bytes(id).unwrap_or_default();
        self.tokenizer.decode_table().write(self.ids, out, long);
    }
}

/// Turns ids into text one by one.
///
/// ```
/// use gptbpe_core::{StreamDecoder, Tokenizer, pattern::Pattern};
///
/// let tokenizer = Tokenizer::from_merges(&[], Pattern::default(), &[])?;
/// let mut decoder = StreamDecoder::new(tokenizer);
/// assert_eq!(decoder.push(0xC3)?, "");
/// assert_eq!(decoder.push(0xA9)?, "é");
/// assert_eq!(decoder.finish(), "");
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    /// At most three bytes between calls: the start of a character.
    pending: Vec<u8>,
    pushed: usize,
    /// Ids that stand for nothing, in ascending order.
    skipped: Vec<u32>,
}

impl StreamDecoder {
    /// A decoder at the start of a text.
    pub fn new(tokenizer: Tokenizer) -> Self {
        Self {
            tokenizer,
            pending: Vec::new(),
            pushed: 0,
            skipped: Vec::new(),
        }
    }

    /// The same, but special tokens stand for nothing: see [`Tokenizer::skipped_ids`].
    pub fn without_special(tokenizer: Tokenizer) -> Self {
        Self {
            skipped: tokenizer.skipped_ids(),
            ..Self::new(tokenizer)
        }
    }

    /// The text that is certain now. An unknown id is an error and changes nothing.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.push_all(&[id])
    }

    /// The text that is certain after several ids. An unknown id is an error and changes nothing.
    pub fn push_all<I: Copy + Into<u32>>(&mut self, ids: &[I]) -> Result<String> {
        let pushed = self.pushed;
        let placed = |error| match error {
            Error::UnknownToken { index, id, .. } => self.tokenizer.unknown(pushed + index, id),
            other => other,
        };
        if self.skipped.is_empty() {
            self.tokenizer
                .decode_bytes(ids, &mut self.pending)
                .map_err(placed)?;
        } else {
            self.tokenizer.check_ids(ids).map_err(placed)?;
            let is_kept = |id: &I| self.skipped.binary_search(&(*id).into()).is_err();
            let kept: Vec<I> = ids.iter().copied().filter(is_kept).collect();
            self.tokenizer
                .decode_bytes(&kept, &mut self.pending)
                .map_err(placed)?;
        }
        self.pushed += ids.len();
        let certain = self.pending.len() - incomplete(&self.pending);
        let text = String::from_utf8_lossy(&self.pending[..certain]).into_owned();
        self.pending.drain(..certain);
        self.pending.shrink_to(KEPT);
        Ok(text)
    }

    /// What was held back, replaced by U+FFFD. The decoder is then at the start of a text.
    pub fn finish(&mut self) -> String {
        self.pushed = 0;
        let held = std::mem::take(&mut self.pending);
        String::from_utf8_lossy(&held).into_owned()
    }
}

/// How many bytes at the end may still become a character.
///
/// A byte that begins a character does so whatever stands before it, so only the last one matters,
/// and one that is farther from the end has its character or can never have it.
fn incomplete(bytes: &[u8]) -> usize {
    let window = &bytes[bytes.len().saturating_sub(3)..];
    let start = window.iter().rposition(|&byte| byte & 0xC0 != 0x80);
    let tail = &window[start.unwrap_or(window.len())..];
    match std::str::from_utf8(tail) {
        Err(error) if error.error_len().is_none() => tail.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;
    use proptest::prelude::*;

    fn bytes_only() -> Tokenizer {
        Tokenizer::from_merges(&[], Pattern::default(), &[]).unwrap()
    }

    fn stream(bytes: &[u8]) -> String {
        let mut decoder = StreamDecoder::new(bytes_only());
        let mut text = String::new();
        for &byte in bytes {
            text += &decoder.push(byte.into()).unwrap();
        }
        text + &decoder.finish()
    }

    #[test]
    fn unknown_ids_are_named_and_leave_no_trace() {
        let mut out = b"kept".to_vec();
        let error = bytes_only()
            .decode_bytes(&[65_u32, 256, 66], &mut out)
            .unwrap_err();
        assert!(matches!(
            error,
            Error::UnknownToken {
                index: 1,
                id: 256,
                vocab_size: 256
            }
        ));
        assert_eq!(out, b"kept");
        let mut decoder = StreamDecoder::new(bytes_only());
        decoder.push(0xE2).unwrap();
        assert!(matches!(
            decoder.push(999),
            Err(Error::UnknownToken {
                index: 1,
                id: 999,
                ..
            })
        ));
        assert_eq!(
            decoder.push(0x82).unwrap() + &decoder.push(0xAC).unwrap(),
            "€"
        );
    }

    #[test]
    fn text_comes_as_soon_as_it_is_certain() {
        let mut decoder = StreamDecoder::new(bytes_only());
        let mut push = |byte: u8| decoder.push(byte.into()).unwrap();
        assert_eq!((push(0xF0), push(0x9F)), (String::new(), String::new()));
        assert_eq!(push(b'a'), "\u{FFFD}a");
        assert_eq!(push(0xFF), "\u{FFFD}");
        assert_eq!(push(0xE2), "");
        assert_eq!(decoder.finish(), "\u{FFFD}");
        assert_eq!(decoder.finish(), "");
    }

    #[test]
    fn special_tokens_can_be_left_out() {
        let special = [("<e>".to_owned(), 256)];
        let tokenizer = Tokenizer::from_merges(&[], Pattern::default(), &special).unwrap();
        assert_eq!(tokenizer.skipped_ids(), [256]);
        let mut decoder = StreamDecoder::without_special(tokenizer);
        // A character may lie around one.
        assert_eq!(decoder.push_all(&[0xE2_u16, 256, 0x82]).unwrap(), "");
        assert_eq!(decoder.push(256).unwrap(), "");
        assert_eq!(decoder.push(0xAC).unwrap(), "€");
        assert!(matches!(
            decoder.push_all(&[256_u32, 257]),
            Err(Error::UnknownToken {
                index: 6,
                id: 257,
                ..
            })
        ));
    }

    proptest! {
        #[test]
        fn the_stream_is_the_lossy_whole(bytes: Vec<u8>) {
            prop_assert_eq!(stream(&bytes), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn several_ids_at_once_are_the_same_stream(text: String, byte: u8, cuts in [0usize..50, 0..50]) {
            let mut bytes = text.into_bytes();
            let cuts = cuts.map(|cut| cut.min(bytes.len()));
            bytes.insert(cuts[0], byte);
            let (first, second) = bytes.split_at(cuts[1]);
            let mut decoder = StreamDecoder::new(bytes_only());
            let mut text = decoder.push_all(first).unwrap();
            let refused = match decoder.push_all(&[65_u16, 256]) {
                Err(Error::UnknownToken { index, .. }) => Some(index),
                _ => None,
            };
            prop_assert_eq!(refused, Some(cuts[1] + 1));
            text += &decoder.push_all(second).unwrap();
            prop_assert_eq!(text + &decoder.finish(), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn also_on_broken_text(text: String, cut in 0usize..200, byte: u8) {
            let mut bytes = text.into_bytes();
            let cut = cut.min(bytes.len());
            bytes.insert(cut, byte);
            prop_assert_eq!(stream(&bytes), String::from_utf8_lossy(&bytes));
        }
    }
}
