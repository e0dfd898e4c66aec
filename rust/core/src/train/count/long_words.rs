//! Words that are no keys, counted: longer than 16 bytes, or no UTF-8.
//!
//! Open addressing. A slot holds half of a word's hash and the word's number, so that another
//! word is hardly ever looked at; the bytes of all words lie one after another.

use super::{BETWEEN_LOOKS, GoOn, Tally, look};
use crate::memory::reserve;
use crate::seed::Seed;
use crate::simd::Simd;
use crate::{Error, Result};

/// The greatest table. Half of it stays empty.
const MOST_SLOTS: usize = 1 << 31;

#[derive(Debug, Clone, Default)]
pub(super) struct LongWords {
    seed: Seed,
    /// A power of two, at most half of them in use, or none.
    slots: Vec<Slot>,
    words: Vec<Word>,
    bytes: Vec<u8>,
}

/// Half of a hash and the number of a word, from 1; zero where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Slot {
    hash: u32,
    number: u32,
}

#[derive(Debug, Clone, Copy)]
struct Word {
    /// Where its bytes end; they begin where those of the word before end.
    end: usize,
    tally: Tally,
}

impl LongWords {
    #[inline]
    pub(super) fn hash(&self, word: &[u8]) -> u64 {
        self.seed.of_bytes(word)
    }

    /// Different words.
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    fn word(&self, number: usize) -> &[u8] {
        let before = number.checked_sub(1);
        let start = before.map_or(0, |before| self.words[before].end);
        &self.bytes[start..self.words[number].end]
    }

    /// Fetches what is looked at for words of these hashes.
    #[inline(always)]
    pub(super) fn fetch<K: Simd>(&self, kernel: K, hashes: impl Iterator<Item = u64> + Clone) {
        let Some(mask) = self.slots.len().checked_sub(1) else {
            return;
        };
        for hash in hashes.clone() {
            kernel.fetch((&raw const self.slots[hash as usize & mask]).cast());
        }
        let numbers = hashes.map(|hash| {
            let slot = self.slots[hash as usize & mask];
            let same = slot.hash == upper(hash);
            if same { slot.number as usize } else { 0 }
        });
        for number in numbers.clone().filter(|&number| number > 0) {
            kernel.fetch((&raw const self.words[number - 1]).cast());
        }
        for number in numbers.filter(|&number| number > 0) {
            kernel.fetch(self.word(number - 1).as_ptr());
        }
    }

    /// Adds to the count of a word, and notes the place if it is new. Whether it was new.
    pub(super) fn add(&mut self, word: &[u8], hash: u64, tally: Tally) -> Result<bool> {
        if self.words.len() * 2 >= self.slots.len() {
            self.grow()?;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.number == 0 {
                break;
            }
            if slot.hash == upper(hash) && self.word(slot.number as usize - 1) == word {
                let known = &mut self.words[slot.number as usize - 1].tally;
                let sum = known.count.checked_add(tally.count);
                known.count = sum.ok_or(Error::CountOverflow)?;
                known.place = known.place.min(tally.place);
                return Ok(false);
            }
            at = (at + 1) & mask;
        }
        reserve(&mut self.bytes, word.len())?;
        reserve(&mut self.words, 1)?;
        self.bytes.extend_from_slice(word);
        self.words.push(Word {
            end: self.bytes.len(),
            tally,
        });
        self.slots[at] = Slot {
            hash: upper(hash),
            number: self.words.len() as u32,
        };
        Ok(true)
    }

    #[cold]
    fn grow(&mut self) -> Result<()> {
        // Where memory could not be had before, there are no slots for the words that are there.
        let needed = (self.words.len() * 2 + 1).next_power_of_two();
        let wanted = (self.slots.len() * 4).max(needed).clamp(1 << 8, MOST_SLOTS);
        if wanted == self.slots.len() {
            let limit = MOST_SLOTS / 2;
            return Err(Error::TooManyWords { limit });
        }
        self.slots = Vec::new();
        reserve(&mut self.slots, wanted)?;
        self.slots.resize(wanted, Slot::default());
        for number in 0..self.words.len() {
            let hash = self.hash(self.word(number));
            let mut at = hash as usize & (wanted - 1);
            while self.slots[at].number != 0 {
                at = (at + 1) & (wanted - 1);
            }
            self.slots[at] = Slot {
                hash: upper(hash),
                number: number as u32 + 1,
            };
        }
        Ok(())
    }

    /// Gives back the memory that is only needed to find words. Nothing can be added any more.
    pub(super) fn freeze(&mut self) {
        self.slots = Vec::new();
    }

    /// Adds the words of `other`, first seen `later` than they say.
    pub(super) fn merge(&mut self, other: &Self, later: u64, go_on: GoOn<'_>) -> Result<()> {
        for (number, (word, tally)) in other.iter().enumerate() {
            if number % BETWEEN_LOOKS == 0 {
                look(go_on)?;
            }
            let place = tally.place + later;
            self.add(word, self.hash(word), Tally { place, ..tally })?;
        }
        Ok(())
    }

    /// The words with their tallies, in the order in which they came.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Tally)> + Clone {
        let numbers = 0..self.words.len();
        numbers.map(|number| (self.word(number), self.words[number].tally))
    }

    /// How many bytes of memory are in use.
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.words.capacity() * size_of::<Word>()
            + self.bytes.capacity()
    }
}

fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}
