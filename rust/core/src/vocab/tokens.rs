//! The bytes of every token, by id and back.
//!
//! All bytes lie in one arena; an id finds its span in a vector, and holes in
//! the numbering are spans of length zero, which no token may have. The way
//! back is an open-addressing table of `(hash, id)`; half of the hash is kept
//! in the slot, so a wrong slot is left without touching the arena. Each table has a
//! random [`Seed`]: a file cannot be made whose tokens all fall into one slot.

use crate::seed::Seed;
use crate::{Error, Result};

/// The greatest id a token may have.
pub const GREATEST_ID: u32 = (1 << 21) - 2;

/// All tokens together may have this many bytes. Merges can double a token's
/// length, so a hundred bytes of merges could otherwise ask for any memory.
pub const TOKEN_BYTES: usize = 1 << 26;
const EMPTY: u64 = u64::MAX;

#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    arena: Vec<u8>,
    spans: Vec<Span>,
    slots: Vec<u64>,
    count: usize,
    seed: Seed,
}

#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: u32,
    length: u32,
}

impl Tokens {
    pub(crate) fn with_capacity(tokens: usize) -> Self {
        Self {
            arena: Vec::with_capacity(tokens * 8),
            spans: Vec::with_capacity(tokens),
            slots: vec![EMPTY; (tokens * 2).next_power_of_two().max(16)],
            count: 0,
            seed: Seed::random(),
        }
    }

    /// Adds a token under an id of its own.
    pub(crate) fn push(&mut self, id: u32, bytes: &[u8]) -> Result<()> {
        if id > GREATEST_ID {
            return Err(Error::IdTooLarge {
                id: id.into(),
                greatest: GREATEST_ID,
            });
        }
        if bytes.is_empty() {
            return Err(Error::EmptyToken { id });
        }
        if self.arena.len() + bytes.len() > TOKEN_BYTES {
            return Err(Error::TokensTooLong {
                id,
                limit: TOKEN_BYTES,
            });
        }
        if self.get(id).is_some() {
            return Err(Error::DuplicateId { id });
        }
        let hash = self.seed.of_bytes(bytes);
        if let Some(first) = self.find(bytes, hash) {
            return Err(Error::DuplicateToken {
                first,
                second: id,
                bytes: bytes.len(),
            });
        }
        if self.spans.len() <= id as usize {
            self.spans.resize(id as usize + 1, Span::default());
        }
        self.spans[id as usize] = Span {
            start: self.arena.len() as u32,
            length: bytes.len() as u32,
        };
        self.arena.extend_from_slice(bytes);
        self.count += 1;
        self.index(id, hash);
        Ok(())
    }

    /// Adds the token that two others make together.
    pub(crate) fn push_joined(&mut self, id: u32, left: u32, right: u32) -> Result<()> {
        let joined = self.joined(left, right);
        self.push(id, &joined)
    }

    /// The bytes of two tokens, one after the other; both must exist.
    pub(crate) fn joined(&self, left: u32, right: u32) -> Vec<u8> {
        let bytes = |id| self.get(id).expect("both tokens of a merge exist");
        [bytes(left), bytes(right)].concat()
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&[u8]> {
        let span = self.spans.get(id as usize)?;
        if span.length == 0 {
            return None;
        }
        let start = span.start as usize;
        Some(&self.arena[start..start + span.length as usize])
    }

    pub(crate) fn id(&self, bytes: &[u8]) -> Option<u32> {
        self.find(bytes, self.seed.of_bytes(bytes))
    }

    fn find(&self, bytes: &[u8], hash: u64) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            if slot >> 32 == hash >> 32 && self.get(slot as u32) == Some(bytes) {
                return Some(slot as u32);
            }
            at = (at + 1) & mask;
        }
    }

    /// Tokens in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> + Clone {
        (0..self.limit()).filter_map(|id| Some((id, self.get(id)?)))
    }

    /// One more than the greatest id.
    pub(crate) fn limit(&self) -> u32 {
        self.spans.len() as u32
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The ids of the 256 single bytes.
    pub(crate) fn byte_ids(&self) -> Result<Box<[u32; 256]>> {
        let mut ids = Box::new([0; 256]);
        for byte in 0..=u8::MAX {
            ids[byte as usize] = self.id(&[byte]).ok_or(Error::MissingByte { byte })?;
        }
        Ok(ids)
    }

    fn index(&mut self, id: u32, hash: u64) {
        if self.count * 2 > self.slots.len() {
            let size = (self.slots.len() * 2).max(16);
            self.slots = vec![EMPTY; size];
            let all: Vec<u32> = self.iter().map(|(id, _)| id).collect();
            for id in all {
                let bytes = self.get(id).expect("an id that was iterated over exists");
                let hash = self.seed.of_bytes(bytes);
                place(&mut self.slots, id, hash);
            }
        } else {
            place(&mut self.slots, id, hash);
        }
    }
}

fn place(slots: &mut [u64], id: u32, hash: u64) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at] != EMPTY {
        at = (at + 1) & mask;
    }
    slots[at] = (hash >> 32) << 32 | u64::from(id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_tokens_both_ways_and_leaves_holes() {
        let mut tokens = Tokens::default();
        for id in (0..3000u32).step_by(3) {
            tokens.push(id, format!("token {id}").as_bytes()).unwrap();
        }
        assert_eq!(tokens.count(), 1000);
        assert_eq!(tokens.limit(), 2998);
        for id in 0..3001u32 {
            let name = format!("token {id}");
            let expected = (id % 3 == 0 && id < 3000).then_some(name.as_bytes());
            assert_eq!(tokens.get(id), expected);
            assert_eq!(tokens.id(name.as_bytes()), expected.map(|_| id));
        }
    }

    /// How many slots are looked at to find all tokens.
    fn steps(tokens: &Tokens) -> usize {
        let mask = tokens.slots.len() - 1;
        let distance = |(id, bytes): (u32, &[u8])| {
            let first = tokens.seed.of_bytes(bytes) as usize & mask;
            let mut slots = (0..).map(|step| tokens.slots[(first + step) & mask]);
            slots.position(|slot| slot as u32 == id).unwrap() + 1
        };
        tokens.iter().map(distance).sum()
    }

    #[test]
    fn crafted_tokens_fall_into_one_slot_only_under_the_seed_they_were_made_for() {
        const TOKENS: usize = 500;
        let known = Seed::fixed(0);
        let names = (0_u32..).map(|number| number.to_string());
        let crafted =
            crate::seed::colliding(names, 2 * TOKENS.next_power_of_two(), TOKENS, |name| {
                known.of_bytes(name.as_bytes())
            });
        let with = |seed| {
            let mut tokens = Tokens {
                seed,
                ..Tokens::with_capacity(TOKENS)
            };
            for (id, name) in (0..).zip(&crafted) {
                tokens.push(id, name.as_bytes()).unwrap();
            }
            for (id, name) in (0..).zip(&crafted) {
                assert_eq!(tokens.id(name.as_bytes()), Some(id));
            }
            steps(&tokens)
        };
        assert_eq!(with(known), TOKENS * (TOKENS + 1) / 2);
        for seed in [
            Seed::fixed(1),
            Tokens::default().seed,
            Tokens::with_capacity(9).seed,
        ] {
            let steps = with(seed);
            assert!(steps < 20 * TOKENS, "{seed:?}: {steps}");
        }
    }

    #[test]
    fn refuses_what_cannot_be() {
        let mut tokens = Tokens::default();
        tokens.push(7, b"a").unwrap();
        let refusal = |result: Result<()>| result.unwrap_err().to_string();
        assert!(refusal(tokens.push(7, b"b")).contains("id 7 stands for two"));
        assert!(refusal(tokens.push(8, b"a")).contains("tokens 7 and 8 are the same"));
        assert!(refusal(tokens.push(8, b"")).contains("token 8 is empty"));
        assert!(refusal(tokens.push(GREATEST_ID + 1, b"b")).contains("too large"));
        assert!(matches!(
            tokens.byte_ids(),
            Err(Error::MissingByte { byte: 0 })
        ));
    }

    #[test]
    fn doubling_tokens_end_in_an_error() {
        let mut tokens = Tokens::default();
        tokens.push(0, b"a").unwrap();
        let error = (1..64).find_map(|id| tokens.push_joined(id, id - 1, id - 1).err());
        assert!(matches!(error, Some(Error::TokensTooLong { .. })));
    }
}
