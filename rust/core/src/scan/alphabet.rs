//! Splitting bytes that are read as characters of GPT-2's alphabet.
//!
//! In a `tokenizer.json` a step after `ByteLevel` sees text in which every byte is a character: a space is `Ġ`, and the
//! second byte of `²` is the digit `²`. Such a step is here what it is there: the piece is written in the alphabet, split, and the
//! ends are counted back to bytes. It costs a copy of every piece; only few tokenizers (Falcon's) ask for it.

use std::sync::Arc;

use super::{Effort, Split};
use crate::alphabet::push_text;

/// Another split, applied to the alphabet's spelling of a text.
#[derive(Debug)]
pub(super) struct AlphabetSplit(Arc<dyn Split>);

impl AlphabetSplit {
    pub(super) fn new(split: Arc<dyn Split>) -> Self {
        Self(split)
    }
}

impl Split for AlphabetSplit {
    fn fill(&self, text: &[u8], start: usize, ends: &mut [usize], effort: &mut Effort) -> usize {
        let spelled = effort.spelled.get_or_insert_default();
        if start == 0 {
            spelled.at = 0;
            spelled.text.clear();
            push_text(&mut spelled.text, text);
        }
        let filled = self.0.fill(
            spelled.text.as_bytes(),
            spelled.at,
            ends,
            &mut spelled.effort,
        );
        let mut byte = start;
        for end in &mut ends[..filled] {
            byte += spelled.text[spelled.at..*end].chars().count();
            spelled.at = *end;
            *end = byte;
        }
        filled
    }
}
