//! What turns a stretch of text into ids: byte-level BPE or one id per character.

mod decode_table;

use crate::characters::Characters;
use crate::vocab::Vocab;
pub(crate) use decode_table::DecodeTable;

/// What turns a stretch of text into ids.
#[derive(Debug)]
#[non_exhaustive]
pub enum Model {
    /// Byte-level BPE.
    Bytes(Box<Vocab>),
    /// One id per character.
    Characters(Characters),
}

impl Model {
    /// One more than the greatest id.
    pub(crate) fn limit(&self) -> u32 {
        match self {
            Self::Bytes(vocab) => vocab.limit(),
            Self::Characters(characters) => characters.limit(),
        }
    }

    /// The bytes that an id stands for.
    #[inline]
    pub(crate) fn token(&self, id: u32) -> Option<&[u8]> {
        match self {
            Self::Bytes(vocab) => vocab.token(id),
            Self::Characters(characters) => characters.token(id),
        }
    }
}
