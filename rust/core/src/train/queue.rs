//! Which pair comes next: a heap by count, with the tie rules.
//!
//! A pair's count only falls after the merge that made it, so the heap may be
//! lazy: an entry holds the count it had when pushed, and whoever pops one
//! whose count has fallen pushes it back. Ties are part of the key, as most of
//! a vocabulary is made of them: at low counts, tens of thousands are equal.
//!
//! `std`'s heap cannot be used because the order of [`TieBreak::Bytes`] needs
//! the tokens, which no entry can hold.

use std::cmp::Ordering;

use super::TieBreak;

/// A pair with the count it had, and its place among equals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) count: u64,
    /// Smaller wins.
    pub(super) rank: u64,
    pub(super) pair: (u32, u32),
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

    /// The rank of a pair that first stands at `place`.
    pub(super) fn rank(&self, (left, right): (u32, u32), place: u64) -> u64 {
        let packed = |left: u32, right: u32| u64::from(left) << 32 | u64::from(right);
        match self.rule {
            TieBreak::SmallestIds => packed(left, right),
            TieBreak::HuggingFace => packed(hugging_face(left), hugging_face(right)),
            TieBreak::Bytes => !prefix(&self.tokens[left as usize]),
            TieBreak::FirstSeen => place,
        }
    }

    fn compare(&self, one: &Entry, other: &Entry) -> Ordering {
        let by_rank = other.rank.cmp(&one.rank);
        one.count.cmp(&other.count).then(by_rank).then_with(|| {
            if self.rule != TieBreak::Bytes {
                return Ordering::Equal;
            }
            let bytes = |id: u32| &self.tokens[id as usize];
            let left = bytes(one.pair.0).cmp(bytes(other.pair.0));
            left.then_with(|| bytes(one.pair.1).cmp(bytes(other.pair.1)))
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

/// A binary heap whose order is handed in.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: Vec<Entry>,
}

impl Queue {
    pub(super) fn push(&mut self, order: &Order, entry: Entry) {
        let mut at = self.entries.len();
        self.entries.push(entry);
        while at > 0 {
            let parent = (at - 1) / 2;
            if order.compare(&entry, &self.entries[parent]) != Ordering::Greater {
                break;
            }
            self.entries[at] = self.entries[parent];
            at = parent;
        }
        self.entries[at] = entry;
    }

    pub(super) fn pop(&mut self, order: &Order) -> Option<Entry> {
        let last = self.entries.pop()?;
        let Some(&top) = self.entries.first() else {
            return Some(last);
        };
        let mut at = 0;
        loop {
            let mut child = 2 * at + 1;
            let Some(&left) = self.entries.get(child) else {
                break;
            };
            let mut greater = left;
            if let Some(&right) = self.entries.get(child + 1)
                && order.compare(&right, &left) == Ordering::Greater
            {
                child += 1;
                greater = right;
            }
            if order.compare(&greater, &last) != Ordering::Greater {
                break;
            }
            self.entries[at] = greater;
            at = child;
        }
        self.entries[at] = last;
        Some(top)
    }
}
