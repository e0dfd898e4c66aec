//! Which of several pairs with the same count comes first.
//!
//! Most of a vocabulary is made of ties: at low counts, tens of thousands of pairs are equal. So the
//! rule is part of the order in which pairs are kept, as a number where that is enough.

use std::cmp::Ordering;

use super::TieBreak;
use super::pairs::Key;

/// A pair with the count it had, and its place among equals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) count: u64,
    /// Smaller wins.
    pub(super) rank: u64,
    pub(super) pair: Key,
}

/// The rule among pairs of equal count.
#[derive(Debug)]
pub(super) struct Order {
    rule: TieBreak,
    /// The bytes of every token, where the rule needs them.
    tokens: Vec<Vec<u8>>,
}

impl Order {
    pub(super) fn new(rule: TieBreak) -> Self {
        let tokens = match rule {
            TieBreak::Bytes => (0..=255).map(|byte| vec![byte]).collect(),
            _ => Vec::new(),
        };
        Self { rule, tokens }
    }

    /// Learns of the token that `pair` was merged into.
    pub(super) fn push_token(&mut self, (left, right): (u32, u32)) {
        if self.rule == TieBreak::Bytes {
            let token = [
                &self.tokens[left as usize][..],
                &self.tokens[right as usize],
            ]
            .concat();
            self.tokens.push(token);
        }
    }

    /// Whether ranks depend on where pairs stand.
    pub(super) fn needs_places(&self) -> bool {
        self.rule == TieBreak::FirstSeen
    }

    /// The rank of a pair that first stands at `place`.
    #[inline]
    pub(super) fn rank(&self, pair: Key, place: u64) -> u64 {
        let (left, right) = pair.ids();
        let packed = |left: u32, right: u32| u64::from(left) << 32 | u64::from(right);
        match self.rule {
            TieBreak::SmallestIds => packed(left, right),
            TieBreak::HuggingFace => packed(hugging_face(left), hugging_face(right)),
            TieBreak::Bytes => !prefix(&self.tokens[left as usize]),
            TieBreak::FirstSeen => place,
        }
    }

    /// The greater one is merged first.
    #[inline]
    pub(super) fn compare(&self, one: &Entry, other: &Entry) -> Ordering {
        let by_rank = other.rank.cmp(&one.rank);
        one.count.cmp(&other.count).then(by_rank).then_with(|| {
            if self.rule != TieBreak::Bytes {
                return Ordering::Equal;
            }
            let bytes = |id: u32| &self.tokens[id as usize];
            let (one, other) = (one.pair.ids(), other.pair.ids());
            let left = bytes(one.0).cmp(bytes(other.0));
            left.then_with(|| bytes(one.1).cmp(bytes(other.1)))
        })
    }
}

/// The first eight bytes as a number that orders as they do.
fn prefix(token: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = token.len().min(8);
    bytes[..len].copy_from_slice(&token[..len]);
    u64::from_be_bytes(bytes)
}

/// Hugging Face's id, but for a constant: its bytes are numbered by the code
/// points of the characters that stand for them, printable Latin-1 for itself
/// and the others, in order, for U+0100 and on.
fn hugging_face(id: u32) -> u32 {
    const IDS: [u32; 256] = {
        let (mut printable, mut others) = (0, 188);
        let mut ids = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let next = match byte {
                0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => &mut printable,
                _ => &mut others,
            };
            ids[byte] = *next;
            *next += 1;
            byte += 1;
        }
        ids
    };
    IDS.get(id as usize).copied().unwrap_or(id)
}
