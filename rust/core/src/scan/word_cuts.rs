//! Places inside a pre-token that no merge can cross.
//!
//! Merging never looks beyond a token, so a place that lies inside no possible
//! token cuts a pre-token into two that can be merged apart. Whether a token
//! could lie across a place is answered from the four bytes around it: a token that
//! does contains the two bytes next to the place, and unless it ends there also
//! those beyond them. All such groups of four bytes that the tokens allow enter a set
//! of bits by their hash; a place of which the bit is clear is crossed by no token.
//!
//! Only places before a character beyond ASCII that follows another one are
//! looked at. That is where it pays: texts in Chinese, Japanese or Thai, which have few
//! spaces, become short pieces that are met again. For English text there are next to none.
//!
//! This holds for merging. Where a whole pre-token is looked up before it is merged, a
//! part of a pre-token must not be, so vocabularies for which that makes a
//! difference have no such cuts.

/// The set of groups of four bytes.
#[derive(Debug)]
pub(crate) struct WordCuts {
    bits: Box<[u32; WORDS]>,
}

const HASH_BITS: u32 = 20;
const WORDS: usize = 1 << (HASH_BITS - 5);

impl WordCuts {
    /// The places that `tokens` leave.
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut bits = vec![0; WORDS].into_boxed_slice();
        let mut add = |around: [u8; 4]| {
            let hash = hash(around);
            bits[hash as usize / 32] |= 1 << (hash % 32);
        };
        for token in tokens {
            for at in 1..token.len() {
                let (before, after) = (token[at - 1], token[at]);
                if before < 0x80 || !(0xC2..=0xF4).contains(&after) {
                    continue;
                }
                // What the token does not say may be anything that UTF-8 has there.
                let two_before = match at.checked_sub(2) {
                    Some(at) => token[at]..=token[at],
                    None => 0x80..=0xF4,
                };
                let two_after = match token.get(at + 1) {
                    Some(&byte) => byte..=byte,
                    None => 0x80..=0xBF,
                };
                for first in two_before {
                    for last in two_after.clone() {
                        add([first, before, after, last]);
                    }
                }
            }
        }
        let bits = bits.try_into().expect("the length is that of the array");
        Self { bits }
    }

    /// Whether no token lies across the middle of these four bytes of valid UTF-8, the
    /// second of which is beyond ASCII and the third of which begins a character.
    #[inline(always)]
    pub(crate) fn is_cut(&self, around: [u8; 4]) -> bool {
        let hash = hash(around);
        self.bits[hash as usize / 32 % WORDS] >> (hash % 32) & 1 == 0
    }

    /// The next cut in `text` after `from`, which is where a character begins.
    #[cfg(test)]
    pub(crate) fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        (from.max(1) + 1..text.len().saturating_sub(1)).find(|&at| {
            text[at] >= 0xC0 && text[at - 1] >= 0x80 && {
                let around = text[at - 2..at + 2].first_chunk();
                around.is_some_and(|&around| self.is_cut(around))
            }
        })
    }
}

#[inline(always)]
fn hash(around: [u8; 4]) -> u32 {
    u32::from_le_bytes(around).wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_where_no_token_lies() {
        let cuts = WordCuts::new([&b"ab"[..], "é".as_bytes(), "中文".as_bytes()].into_iter());
        assert_eq!(cuts.next("中文中文".as_bytes(), 0), Some(6));
        assert_eq!(cuts.next("中文".as_bytes(), 0), None);
        assert_eq!(cuts.next("éé".as_bytes(), 0), Some(2));
        assert_eq!(cuts.next(b"abab", 0), None);
    }

    #[test]
    fn parts_of_characters_are_tokens_too() {
        // The end of one character and the beginning of the next.
        let cuts = WordCuts::new([&b"\xAD\xE6"[..]].into_iter());
        assert_eq!(cuts.next("中文".as_bytes(), 0), None);
        assert_eq!(cuts.next("文中".as_bytes(), 0), Some(3));
    }
}
