//! Counting pre-tokens: an exact multiset of words with 64-bit counts.
//!
//! Natural text repeats itself: 100 MB of English hold 19 million pre-tokens
//! and 350 thousand different ones, nearly all of at most 15 bytes. Those are
//! kept whole in an open-addressing table whose slot (16 bytes of word and
//! length, count, place of first occurrence) is half a cache line, so counting
//! one costs one miss at most; the rare long ones go into a hash map.
//!
//! Each word remembers when it was first added. Threads count neighbouring
//! stretches of text and their tables are merged in the order of the text, so
//! the result, that order included, does not depend on how many there were.
//!
//! Both tables have a random [`Seed`], so a text cannot be made whose words all fall
//! into one slot. No result depends on it.

use std::collections::HashMap;

use crate::scan::Pretokenizer;
use crate::seed::Seed;
use crate::{Error, Result};

/// How often each pre-token occurs: an exact multiset with 64-bit counts.
///
/// ```
/// use gptbpe_core::{pattern::Pattern, scan::Pretokenizer};
/// use gptbpe_core::train::WordCounts;
///
/// let mut words = WordCounts::new();
/// words.add_text(&Pretokenizer::new(&Pattern::default())?, b"to be or not to be")?;
/// words.add(b"be", 5)?;
/// let counted: Vec<_> = words.iter().collect();
/// assert_eq!(counted[0], (&b" be"[..], 2));
/// assert_eq!(counted[4], (&b"be"[..], 5));
/// # Ok::<(), gptbpe_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct WordCounts {
    short: ShortWords,
    long: HashMap<Box<[u8]>, Tally, Seed>,
    /// How many different words have been added.
    words: u64,
}

/// How often a word was added, and how many others had been before it.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: u64,
    place: u64,
}

impl WordCounts {
    /// An empty multiset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds every pre-token of `text`.
    pub fn add_text(&mut self, pretokenizer: &Pretokenizer, text: &[u8]) -> Result<()> {
        let mut result = Ok(());
        pretokenizer.for_each(text, |word| {
            if let Err(error) = self.add(word, 1) {
                result = Err(error);
            }
        });
        result
    }

    /// Adds `count` occurrences of `word`. Empty words and zero counts add nothing.
    #[inline]
    pub fn add(&mut self, word: &[u8], count: u64) -> Result<()> {
        if word.is_empty() || count == 0 {
            return Ok(());
        }
        let tally = match key(word) {
            Some(key) => self.short.tally(key),
            None => self.long.entry_ref_or_default(word),
        };
        if tally.count == 0 {
            tally.place = self.words;
            self.words += 1;
        }
        tally.count = tally.count.checked_add(count).ok_or(Error::CountOverflow)?;
        Ok(())
    }

    /// Adds everything counted in `other`, as if its text came after.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let mut words = other.iter_first_seen();
        words.try_for_each(|(word, count)| self.add(word, count))
    }

    /// Different words.
    pub fn len(&self) -> usize {
        self.short.used + self.long.len()
    }

    /// Whether nothing has been counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Words and counts, ordered by the words' bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let mut all: Vec<_> = self.tallies().collect();
        all.sort_unstable_by_key(|&(word, _)| word);
        all.into_iter().map(|(word, tally)| (word, tally.count))
    }

    /// Words and counts, in the order in which the words were first added.
    pub fn iter_first_seen(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let mut all: Vec<_> = self.tallies().collect();
        all.sort_unstable_by_key(|&(_, tally)| tally.place);
        all.into_iter().map(|(word, tally)| (word, tally.count))
    }

    /// Words and counts, in no order to rely on.
    pub(super) fn iter_unordered(&self) -> impl Iterator<Item = (&[u8], u64)> + Clone {
        self.tallies().map(|(word, tally)| (word, tally.count))
    }

    fn tallies(&self) -> impl Iterator<Item = (&[u8], Tally)> + Clone {
        let short = self.short.slots.iter().filter(|slot| slot.tally.count > 0);
        let short = short.map(|slot| (slot.word(), slot.tally));
        let long = self.long.iter().map(|(word, tally)| (&**word, *tally));
        short.chain(long)
    }
}

impl PartialEq for WordCounts {
    /// Equal counts of equal words; when each was first seen does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for WordCounts {}

/// Looking up by slice without making a key that is already there.
trait EntryRef {
    fn entry_ref_or_default(&mut self, word: &[u8]) -> &mut Tally;
}

impl EntryRef for HashMap<Box<[u8]>, Tally, Seed> {
    fn entry_ref_or_default(&mut self, word: &[u8]) -> &mut Tally {
        if !self.contains_key(word) {
            self.insert(word.into(), Tally::default());
        }
        self.get_mut(word).expect("inserted above")
    }
}

/// The longest word that fits in a slot.
const SHORT: usize = 15;

/// The bytes of a short word, zeros, and in the last byte its length.
#[inline]
fn key(word: &[u8]) -> Option<u128> {
    let len = word.len();
    let byte = |at: usize| u128::from(word[at]) << (8 * at);
    // Two halves that overlap, the second moved to where it belongs.
    let bytes = match len {
        0 => 0,
        1..4 => byte(0) | byte(len / 2) | byte(len - 1),
        4..8 => {
            let half = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |b| u32::from_le_bytes(*b));
            u128::from(half(word.first_chunk()))
                | u128::from(half(word.last_chunk())) << (8 * (len - 4))
        }
        8..=SHORT => {
            let half = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |b| u64::from_le_bytes(*b));
            u128::from(half(word.first_chunk()))
                | u128::from(half(word.last_chunk())) << (8 * (len - 8))
        }
        _ => return None,
    };
    Some(bytes | (len as u128) << (8 * SHORT))
}

/// Words of at most [`SHORT`] bytes: linear probing, at most half full.
#[derive(Debug, Clone, Default)]
struct ShortWords {
    /// A power of two, or none at first.
    slots: Vec<Slot>,
    used: usize,
    seed: Seed,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    key: [u8; 16],
    /// No occurrence: the slot is free.
    tally: Tally,
}

impl Slot {
    fn word(&self) -> &[u8] {
        &self.key[..usize::from(self.key[SHORT])]
    }
}

impl ShortWords {
    /// The tally of `key`; one without occurrences is new and must be given one.
    #[inline]
    fn tally(&mut self, key: u128) -> &mut Tally {
        if self.used * 2 >= self.slots.len() {
            self.grow();
        }
        let at = self.find(key);
        let slot = &mut self.slots[at];
        if slot.tally.count == 0 {
            slot.key = key.to_le_bytes();
            self.used += 1;
        }
        &mut slot.tally
    }

    #[inline]
    fn find(&self, key: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = self.seed.of_pair(key as u64, (key >> 64) as u64) as usize & mask;
        while self.slots[at].tally.count > 0 && u128::from_le_bytes(self.slots[at].key) != key {
            at = (at + 1) & mask;
        }
        at
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = (self.slots.len() * 2).max(1 << 10);
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); doubled]);
        for slot in old.into_iter().filter(|slot| slot.tally.count > 0) {
            let at = self.find(u128::from_le_bytes(slot.key));
            self.slots[at] = slot;
        }
    }
}

/// Counts the pre-tokens of `documents` on `threads` threads. The result does
/// not depend on their number: long documents are cut only where that changes
/// nothing, and the threads' counts are merged in the order of the documents.
pub fn count_documents(
    pretokenizer: &Pretokenizer,
    documents: &[&[u8]],
    threads: usize,
) -> Result<WordCounts> {
    let threads = threads.max(1);
    let pieces = pieces(pretokenizer, documents);
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    let share = total.div_ceil(threads).max(1);
    let mut rest = pieces.as_slice();
    let mut counted = std::thread::scope(|scope| {
        let mut workers = Vec::new();
        while !rest.is_empty() {
            let (mine, others) = rest.split_at(how_many(rest, share));
            rest = others;
            workers.push(scope.spawn(move || count(pretokenizer, mine)));
        }
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers
            .into_iter()
            .map(join)
            .collect::<Vec<Result<WordCounts>>>()
    })
    .into_iter();
    let mut words = counted.next().unwrap_or_else(|| Ok(WordCounts::new()))?;
    for more in counted {
        words.merge(&more?)?;
    }
    Ok(words)
}

fn count(pretokenizer: &Pretokenizer, texts: &[&[u8]]) -> Result<WordCounts> {
    let mut words = WordCounts::new();
    for text in texts {
        words.add_text(pretokenizer, text)?;
    }
    Ok(words)
}

/// About this much text is handed out at once.
const PIECE: usize = 1 << 20;

fn pieces<'t>(pretokenizer: &Pretokenizer, documents: &[&'t [u8]]) -> Vec<&'t [u8]> {
    let mut pieces = Vec::with_capacity(documents.len());
    for mut rest in documents.iter().copied() {
        while rest.len() > PIECE
            && let Some(at) = pretokenizer.cuts().last(&rest[..PIECE])
        {
            let (piece, after) = rest.split_at(at);
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
    }
    pieces
}

/// How many of `pieces`, at least one, make up `share` bytes.
fn how_many(pieces: &[&[u8]], share: usize) -> usize {
    let mut bytes = 0;
    let full = pieces.iter().position(|piece| {
        bytes += piece.len();
        bytes >= share
    });
    full.map_or(pieces.len(), |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;
    use proptest::prelude::*;

    #[test]
    fn keys_hold_the_word_and_its_length() {
        let word: Vec<u8> = (1..=20).collect();
        for len in 1..=SHORT {
            let bytes = key(&word[..len]).unwrap().to_le_bytes();
            assert_eq!(&bytes[..len], &word[..len]);
            assert!(bytes[len..SHORT].iter().all(|&byte| byte == 0));
            assert_eq!(usize::from(bytes[SHORT]), len);
        }
        assert_eq!(key(&word[..16]), None);
        assert_ne!(key(b"a"), key(b"a\0"));
    }

    /// How many slots are looked at to find all short words.
    fn steps(words: &ShortWords) -> usize {
        let mask = words.slots.len() - 1;
        let taken = words.slots.iter().enumerate();
        let distances = taken
            .filter(|(_, slot)| slot.tally.count > 0)
            .map(|(at, slot)| {
                let key = u128::from_le_bytes(slot.key);
                let first = words.seed.of_pair(key as u64, (key >> 64) as u64) as usize;
                (at.wrapping_sub(first) & mask) + 1
            });
        distances.sum()
    }

    #[test]
    fn crafted_words_fall_into_one_slot_only_under_the_seed_they_were_made_for() {
        const WORDS: usize = 500;
        let known = Seed::fixed(0);
        let names = (0_u32..).map(|number| number.to_string());
        let crafted = crate::seed::colliding(names, 1 << 10, WORDS, |name| {
            let key = key(name.as_bytes()).unwrap();
            known.of_pair(key as u64, (key >> 64) as u64)
        });
        let with = |seed| {
            let mut words = WordCounts::new();
            words.short.seed = seed;
            for name in crafted.iter().chain(&crafted) {
                words.add(name.as_bytes(), 1).unwrap();
            }
            let mut sorted = crafted.clone();
            sorted.sort_unstable();
            assert!(
                words
                    .iter()
                    .eq(sorted.iter().map(|name| (name.as_bytes(), 2)))
            );
            assert_eq!(words.short.slots.len(), 1 << 10);
            steps(&words.short)
        };
        assert_eq!(with(known), WORDS * (WORDS + 1) / 2);
        for seed in [Seed::fixed(1), WordCounts::new().short.seed] {
            let steps = with(seed);
            assert!(steps < 20 * WORDS, "{seed:?}: {steps}");
        }
    }

    #[test]
    fn counts_are_checked() {
        for word in [&b"short"[..], b"longer than sixteen bytes"] {
            let mut words = WordCounts::new();
            words.add(word, u64::MAX).unwrap();
            assert!(matches!(words.add(word, 1), Err(Error::CountOverflow)));
            assert!(matches!(
                words.merge(&words.clone()),
                Err(Error::CountOverflow)
            ));
        }
        let mut words = WordCounts::new();
        words.add(b"", 3).unwrap();
        words.add(b"x", 0).unwrap();
        assert!(words.is_empty());
    }

    #[test]
    fn a_long_document_is_shared_among_threads() {
        let pretokenizer = Pretokenizer::new(&Pattern::default()).unwrap();
        let text = "It's a long, long way\nto 12345 Tipperary  — 你好。\n".repeat(100_000);
        let documents = [text.as_bytes(), b"", b"end", text.as_bytes()];
        assert!(pieces(&pretokenizer, &documents).len() > 9);
        let one = count(&pretokenizer, &documents).unwrap();
        for threads in [0, 1, 2, 7] {
            let words = count_documents(&pretokenizer, &documents, threads).unwrap();
            assert!(
                words.iter_first_seen().eq(one.iter_first_seen()),
                "{threads}"
            );
        }
        assert!(count_documents(&pretokenizer, &[], 2).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn counting_is_that_of_a_map(
            words in prop::collection::vec((prop::collection::vec(0_u8..4, 0..20), 0_u64..1 << 40), 0..3000),
            at in any::<prop::sample::Index>(),
        ) {
            let mut counts = WordCounts::new();
            let (mut left, mut right) = (WordCounts::new(), WordCounts::new());
            let mut seen: Vec<(&[u8], u64)> = Vec::new();
            let mut index = std::collections::HashMap::new();
            let cut = at.index(words.len() + 1);
            for (number, (word, count)) in words.iter().enumerate() {
                counts.add(word, *count).unwrap();
                if number < cut { &mut left } else { &mut right }.add(word, *count).unwrap();
                if !word.is_empty() && *count > 0 {
                    let at = *index.entry(word).or_insert(seen.len());
                    if at == seen.len() {
                        seen.push((word, 0));
                    }
                    seen[at].1 += count;
                }
            }
            left.merge(&right).unwrap();
            prop_assert_eq!(&left, &counts);
            prop_assert!(left.iter_first_seen().eq(seen.iter().copied()));
            prop_assert!(counts.iter_first_seen().eq(seen.iter().copied()));
            seen.sort_unstable();
            prop_assert!(counts.iter().eq(seen));
        }
    }
}
