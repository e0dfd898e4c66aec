//! Places inside a pre-token that no merge can cross.
//!
//! Merging never looks beyond a token, so a place that lies inside no possible
//! token cuts a pre-token into two that can be merged apart. Whether a token
//! could lie across a place is answered from the bytes around it:
//!
//! - A token across a place contains the two bytes next to the place, and unless it ends there also those
//!   beyond them. All such groups of four bytes that the tokens allow enter a set of bits by their hash; a
//!   place of which the bit is clear is crossed by no token.
//! - Four bytes tell little in a script of which all characters begin with the same byte, as in Thai. Where a
//!   vocabulary has many tokens of several characters of three bytes, such pairs of characters enter a second
//!   set, by their six bytes, and the first set only has what is left: parts of characters, and pairs with
//!   characters of other lengths. Other vocabularies have no use for shorter parts: they would only be more.
//!
//! Only places before a character beyond ASCII that follows another one are
//! looked at. That is where it pays: texts in Chinese, Japanese or Thai, which have few
//! spaces, become short pieces that are met again. For English text there are next to none.
//!
//! This holds for merging. Where a whole pre-token is looked up before it is merged, a
//! part of a pre-token must not be, so vocabularies for which that makes a
//! difference have no such cuts.

use std::collections::HashSet;

/// The sets of what tokens have around their inner places.
#[derive(Debug)]
pub(crate) struct WordCuts {
    groups: Bits,
    pairs: Option<Bits>,
}

/// Bytes before the place in what [`WordCuts::is_cut`] is asked about.
pub(super) const BEFORE: usize = 3;
/// With fewer pairs of characters of three bytes there is no second set.
const MANY_PAIRS: usize = 1 << 12;

const HASH_BITS: u32 = 20;
const WORDS: usize = 1 << (HASH_BITS - 5);

/// A set of hashes.
#[derive(Debug)]
struct Bits(Box<[u32; WORDS]>);

impl Bits {
    fn new() -> Self {
        let words = vec![0; WORDS].into_boxed_slice();
        Self(words.try_into().expect("the length is that of the array"))
    }

    fn insert(&mut self, hash: u32) {
        self.0[hash as usize / 32] |= 1 << (hash % 32);
    }

    /// 1 if it may be there, else 0.
    #[inline(always)]
    fn bit(&self, hash: u32) -> u32 {
        self.0[hash as usize / 32 % WORDS] >> (hash % 32) & 1
    }
}

impl WordCuts {
    /// The places that `tokens` leave.
    pub(crate) fn new<'a>(tokens: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let pairs: HashSet<[u8; 6]> = tokens
            .clone()
            .flat_map(|token| token.windows(6))
            .filter_map(|around| around.first_chunk().copied())
            .filter(|&around| is_pair(around))
            .collect();
        let has_pairs = pairs.len() >= MANY_PAIRS;
        Self {
            groups: groups(tokens, has_pairs),
            pairs: has_pairs.then(|| {
                let mut bits = Bits::new();
                for [a, b, c, d, e, f] in pairs {
                    bits.insert(hash_pair(u64::from_le_bytes([a, b, c, d, e, f, 0, 0])));
                }
                bits
            }),
        }
    }

    /// Whether no token lies across the place before the fourth of these eight bytes of valid UTF-8, with
    /// the first in the lowest bits. The third byte is beyond ASCII and the fourth begins a character. What
    /// lies before the text is zeros.
    #[inline(always)]
    pub(crate) fn is_cut(&self, around: u64) -> bool {
        let mut crossed = self.groups.bit(hash_group((around >> 8) as u32));
        if let Some(pairs) = &self.pairs {
            // 0xE0 to 0xEF begin characters of three bytes.
            let is_pair = around & 0xF000_00F0 == 0xE000_00E0;
            crossed |= pairs.bit(hash_pair(around)) & u32::from(is_pair);
        }
        crossed == 0
    }

    /// The next cut in `text` after `from`, which is where a character begins.
    #[cfg(test)]
    pub(crate) fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let byte = |at: Option<usize>| at.and_then(|at| text.get(at)).copied().unwrap_or(0);
        (from + 2..text.len()).find(|&at| {
            let around = std::array::from_fn(|index| byte((at + index).checked_sub(BEFORE)));
            text[at] >= 0xC0 && text[at - 1] >= 0x80 && self.is_cut(u64::from_le_bytes(around))
        })
    }
}

/// The groups of four bytes in `tokens`, or only those in which no pair of characters of three bytes lies.
fn groups<'a>(tokens: impl Iterator<Item = &'a [u8]>, without_pairs: bool) -> Bits {
    let mut bits = Bits::new();
    for token in tokens {
        for at in 1..token.len() {
            let (before, after) = (token[at - 1], token[at]);
            if before < 0x80 || !(0xC2..=0xF4).contains(&after) {
                continue;
            }
            let around = at.checked_sub(BEFORE).and_then(|from| token.get(from..));
            let around = around.and_then(|around| around.first_chunk().copied());
            if without_pairs && around.is_some_and(is_pair) {
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
                    bits.insert(hash_group(u32::from_le_bytes([first, before, after, last])));
                }
            }
        }
    }
    bits
}

/// Whether these are two characters of three bytes, if they are UTF-8.
fn is_pair(around: [u8; 6]) -> bool {
    let is_character = |bytes: &[u8]| {
        (0xE0..=0xEF).contains(&bytes[0]) && bytes[1..].iter().all(|byte| byte & 0xC0 == 0x80)
    };
    is_character(&around[..3]) && is_character(&around[3..])
}

#[inline(always)]
fn hash_group(group: u32) -> u32 {
    group.wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)
}

/// Of the first six bytes.
#[inline(always)]
fn hash_pair(around: u64) -> u32 {
    ((around << 16).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - HASH_BITS)) as u32
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

    /// With many pairs, whole characters decide; with all kinds of tokens across places none is missed.
    #[test]
    fn of_many_pairs_none_is_missed() {
        let character = |number: u32| char::from_u32(0x4E00 + number).unwrap();
        let pairs = (0..2 * MANY_PAIRS as u32).map(|number| {
            let (left, right) = (character(number % 128), character(200 + number / 128));
            format!("{left}{right}").into_bytes()
        });
        let more = ["é中", "中é", "😀中", "中😀"].map(|token| token.as_bytes().to_vec());
        let parts: [&[u8]; 3] = [
            b"\x80\xE4",
            b"\xE4\xB8\xAD\xE3\x81",
            b"\xBF\xBF\xE6\x96\x87",
        ];
        let parts = parts.map(<[u8]>::to_vec);
        let tokens: Vec<Vec<u8>> = pairs.chain(more).chain(parts).collect();
        let cuts = WordCuts::new(tokens.iter().map(Vec::as_slice));
        assert!(cuts.pairs.is_some());
        let place = |left: &str, right: &str| {
            let text = format!("{left}{right}");
            assert!(matches!(cuts.next(text.as_bytes(), 0), None | Some(2..=4)));
            cuts.next(text.as_bytes(), 0).is_some()
        };
        let text = |number| character(number).to_string();
        for (left, right) in [(0, 200), (127, 263), (5, 230)] {
            assert!(!place(&text(left), &text(right)));
        }
        for (left, right) in [("é", "中"), ("中", "é"), ("😀", "中"), ("中", "😀")] {
            assert!(!place(left, right), "{left}{right}");
        }
        assert!(!place("中", "の") && !place("\u{7FFF}", "文") && !place("一", "中"));
        let cut = (0..128).filter(|&number| place(&text(number), &text(number + 1)));
        assert!(cut.count() > 100);
    }
}
