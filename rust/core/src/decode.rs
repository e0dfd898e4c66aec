//! Ids to bytes, and to text as it arrives.
//!
//! Tokens are bytes, and one character may lie across several, so a stream of
//! ids is not a stream of characters. [`StreamDecoder`] holds back a character that is
//! not complete and replaces bytes that can never become one by U+FFFD, one per
//! maximal invalid part: what Python's `bytes.decode(errors="replace")` gives
//! for the whole, the pieces give together.

use crate::{Error, Result, Tokenizer};

impl Tokenizer {
    /// Appends the bytes of `ids`. Nothing is appended when one of them is unknown.
    pub fn decode_bytes(&self, ids: &[u32], out: &mut Vec<u8>) -> Result<()> {
        let before = out.len();
        for (index, &id) in ids.iter().enumerate() {
            let Some(bytes) = self.token_bytes(id) else {
                out.truncate(before);
                return Err(self.unknown(index, id));
            };
            out.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// The bytes of `ids`.
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        self.decode_bytes(ids, &mut bytes)?;
        Ok(bytes)
    }

    fn unknown(&self, index: usize, id: u32) -> Error {
        Error::UnknownToken {
            index,
            id,
            vocab_size: self.vocab_size(),
        }
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
}

impl StreamDecoder {
    /// A decoder at the start of a text.
    pub fn new(tokenizer: Tokenizer) -> Self {
        Self {
            tokenizer,
            pending: Vec::new(),
            pushed: 0,
        }
    }

    /// The text that is certain now. An unknown id is an error and changes nothing.
    pub fn push(&mut self, id: u32) -> Result<String> {
        let Some(bytes) = self.tokenizer.token_bytes(id) else {
            return Err(self.tokenizer.unknown(self.pushed, id));
        };
        self.pushed += 1;
        self.pending.extend_from_slice(bytes);
        let certain = self.pending.len() - incomplete(&self.pending);
        let text = String::from_utf8_lossy(&self.pending[..certain]).into_owned();
        self.pending.drain(..certain);
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
fn incomplete(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last();
    let tail = last.map_or(&[][..], |chunk| chunk.invalid());
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
            .decode_bytes(&[65, 256, 66], &mut out)
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

    proptest! {
        #[test]
        fn the_stream_is_the_lossy_whole(bytes: Vec<u8>) {
            prop_assert_eq!(stream(&bytes), String::from_utf8_lossy(&bytes));
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
