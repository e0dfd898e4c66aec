//! Character vocabularies: one id per code point, no merges.
//!
//! The plainest tokenizer there is, for small models of small texts. Trained here,
//! the distinct characters in the order of their code points take the ids from
//! 0 on; files may number them otherwise. Unlike bytes, characters are not a closed
//! set, so encoding can fail, and says which character it did not know and where.

use crate::vocab::GREATEST_ID;
use crate::{Error, Result};

const NONE: u32 = u32::MAX;

/// Characters and their ids.
#[derive(Debug)]
pub struct Characters {
    /// By character.
    sorted: Vec<(char, u32)>,
    ascii: Box<[u32; 128]>,
    /// By id; empty strings are holes.
    texts: Vec<String>,
}

impl Characters {
    /// The distinct characters of `alphabet`, numbered from 0 by code point.
    pub fn new(alphabet: impl IntoIterator<Item = char>) -> Result<Self> {
        let mut all: Vec<char> = alphabet.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        Self::numbered(all.into_iter().zip(0..))
    }

    /// Characters with ids of their own.
    pub fn numbered(entries: impl IntoIterator<Item = (char, u32)>) -> Result<Self> {
        let mut sorted: Vec<(char, u32)> = entries.into_iter().collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::DuplicateToken {
                first: pair[0].1,
                second: pair[1].1,
                bytes: pair[0].0.len_utf8(),
            });
        }
        let mut ascii = Box::new([NONE; 128]);
        let mut texts: Vec<String> = Vec::new();
        for &(character, id) in &sorted {
            if id > GREATEST_ID {
                return Err(Error::IdTooLarge {
                    id: id.into(),
                    greatest: GREATEST_ID,
                });
            }
            if texts.len() <= id as usize {
                texts.resize(id as usize + 1, String::new());
            }
            if !texts[id as usize].is_empty() {
                return Err(Error::DuplicateId { id });
            }
            texts[id as usize].push(character);
            if let Some(place) = ascii.get_mut(character as usize) {
                *place = id;
            }
        }
        Ok(Self {
            sorted,
            ascii,
            texts,
        })
    }

    /// One more than the greatest id.
    pub fn limit(&self) -> u32 {
        self.texts.len() as u32
    }

    /// The characters and their ids, by code point.
    pub fn iter(&self) -> impl Iterator<Item = (char, u32)> {
        self.sorted.iter().copied()
    }

    /// The id of a character.
    pub fn id(&self, character: char) -> Option<u32> {
        if let Some(&id) = self.ascii.get(character as usize) {
            return (id != NONE).then_some(id);
        }
        let at = self
            .sorted
            .binary_search_by_key(&character, |entry| entry.0);
        Some(self.sorted[at.ok()?].1)
    }

    /// The UTF-8 bytes of a character.
    pub fn token(&self, id: u32) -> Option<&[u8]> {
        let text = self.texts.get(id as usize)?;
        (!text.is_empty()).then_some(text.as_bytes())
    }

    pub(crate) fn encode(&self, text: &[u8], out: &mut Vec<u32>) -> Result<()> {
        let text = std::str::from_utf8(text).map_err(|error| Error::NotUtf8 {
            position: error.valid_up_to(),
        })?;
        out.reserve(text.len());
        for (position, character) in text.char_indices() {
            let id = self.id(character).ok_or(Error::UnknownCharacter {
                character,
                position,
            })?;
            out.push(id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_code_points() {
        let characters = Characters::new("hello wörld é".chars()).unwrap();
        let all: String = characters.iter().map(|(character, _)| character).collect();
        assert_eq!(all, " dehlorwéö");
        let mut ids = Vec::new();
        characters.encode("öde".as_bytes(), &mut ids).unwrap();
        assert_eq!(ids, [9, 1, 2]);
        assert_eq!(characters.token(9), Some("ö".as_bytes()));
        assert_eq!(characters.token(10), None);
    }

    #[test]
    fn what_is_unknown_is_named() {
        let characters = Characters::new("aé".chars()).unwrap();
        let refusal = |text: &[u8]| characters.encode(text, &mut Vec::new()).unwrap_err();
        assert!(matches!(
            refusal("aéz".as_bytes()),
            Error::UnknownCharacter {
                character: 'z',
                position: 3
            }
        ));
        assert!(matches!(refusal(b"aa\xff"), Error::NotUtf8 { position: 2 }));
    }
}
