//! Counting in blocks of words.
//!
//! As in encoding, a block goes through its steps one after another: find where words begin, make
//! their keys and fetch their buckets, look them up, count. A block takes the words of
//! as many texts as it has room for.

use std::ops::ControlFlow;

use super::GoOn;
use super::table::WordTable;
use crate::scan::{LONGEST_PIECE, PIECES, PieceKeys, Pretokenizer, Starts, Text};
use crate::simd::{BLOCK, Job, Kernel, Key, LONGEST_KEY, NOT_A_KEY, Simd};
use crate::{Error, Result};

/// Room for a block that is nearly full and the words of one more scan.
pub(super) const ROOM: usize = 2 * PIECES + 4 * BLOCK;
/// Starts farther from their base than this get a new base.
const FARTHEST: usize = 1 << 30;

/// A thread's working memory.
#[derive(Debug)]
pub(super) struct Room {
    starts: Starts,
    keys: Box<[Key]>,
    slots: Box<[u32]>,
    numbers: Box<[u64]>,
    /// Places of words that are not in their buckets.
    absent: Box<[u32]>,
    /// Which of the starts begin words that are too long to be keys.
    long: Vec<u32>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            starts: Starts::new(),
            keys: vec![0; ROOM].into(),
            slots: vec![0; ROOM].into(),
            numbers: vec![0; ROOM].into(),
            absent: vec![0; ROOM + 8].into(),
            long: Vec::new(),
        }
    }
}

/// A word that is no key: where it stands in the block, its bytes and their hash.
type Keyless<'t> = (u32, &'t [u8], u64);

/// The way of one batch of texts through the blocks.
pub(super) struct Counting<'a, 't> {
    kernel: Kernel,
    pretokenizer: &'a Pretokenizer,
    room: &'a mut Room,
    table: &'a mut WordTable,
    weight: u64,
    go_on: GoOn<'a>,
    /// Words in the block.
    count: usize,
    keyless: Vec<Keyless<'t>>,
}

impl<'a, 't> Counting<'a, 't> {
    /// Each word counts `weight` times. `go_on` is asked after every block.
    pub(super) fn new(
        pretokenizer: &'a Pretokenizer,
        room: &'a mut Room,
        table: &'a mut WordTable,
        weight: u64,
        go_on: GoOn<'a>,
    ) -> Result<Self> {
        room.starts.clear(0);
        room.long.clear();
        table.settle(ROOM)?;
        Ok(Self {
            kernel: table.kernel(),
            pretokenizer,
            room,
            table,
            weight,
            go_on,
            count: 0,
            keyless: Vec::new(),
        })
    }

    /// Counts the words of a text.
    pub(super) fn push(&mut self, text: &'t [u8]) -> Result<()> {
        if simdutf8::basic::from_utf8(text).is_ok() {
            return self.push_valid(text);
        }
        // A chunk is a valid stretch and a run of invalid bytes no longer than
        // one broken character; neighbouring runs are joined.
        let mut at = 0;
        let mut invalid = 0;
        for chunk in text.utf8_chunks() {
            let valid = chunk.valid().as_bytes();
            if !valid.is_empty() {
                self.push_invalid(&text[invalid..at])?;
                self.push_valid(valid)?;
                invalid = at + valid.len();
            }
            at += valid.len() + chunk.invalid().len();
        }
        self.push_invalid(&text[invalid..at])
    }

    /// Bytes that are one word and no UTF-8.
    fn push_invalid(&mut self, word: &'t [u8]) -> Result<()> {
        if word.is_empty() {
            return Ok(());
        }
        self.room.keys[self.count] = NOT_A_KEY;
        self.room.slots[self.count] = 0;
        let hash = self.table.long_hash(word);
        self.keyless.push((self.count as u32, word, hash));
        self.count += 1;
        self.flush_if_full()
    }

    fn push_valid(&mut self, bytes: &'t [u8]) -> Result<()> {
        let text = Text::new(bytes);
        self.room.starts.clear(0);
        let Some(blocks) = self.pretokenizer.blocks() else {
            return self.push_one_by_one(bytes, &text);
        };
        let mut progress = blocks.begin(bytes);
        loop {
            let starts = &mut self.room.starts;
            let more = blocks.fill(self.kernel, &text, None, &mut progress, starts)?;
            if !more {
                starts.push(bytes.len());
            }
            self.take(&text)?;
            if !more {
                return Ok(());
            }
            self.room.starts.keep_last();
        }
    }

    /// The same where no scanner finds many words at once.
    fn push_one_by_one(&mut self, bytes: &'t [u8], text: &Text<'t>) -> Result<()> {
        let pretokenizer = self.pretokenizer;
        let mut result = Ok(());
        let mut at = 0;
        pretokenizer.each_valid_while(bytes, &mut |word| {
            self.room.starts.push(at);
            at += word.len();
            // Places count from the base in 32 bits.
            if self.room.starts.is_full() || at - self.room.starts.base() > FARTHEST {
                self.room.starts.push(at);
                result = check_length(word).and_then(|()| self.take(text));
                self.room.starts.clear(at);
            }
            result.is_ok()
        });
        result?;
        self.room.starts.push(at);
        self.take(text)
    }

    /// Takes the words between neighbouring starts into the block.
    fn take(&mut self, text: &Text<'t>) -> Result<()> {
        let room = &mut *self.room;
        let starts = room.starts.places();
        let words = starts.len().saturating_sub(1);
        let here = self.count..self.count + words;
        let longest = self.kernel.run(PieceKeys {
            text,
            base: room.starts.base(),
            starts,
            hasher: self.table.hasher(),
            buckets: self.table.buckets(),
            keys: &mut room.keys[here.clone()],
            slots: &mut room.slots[here],
            long: &mut room.long,
        });
        if longest as usize > LONGEST_KEY {
            let bytes = &text.bytes()[room.starts.base()..];
            for number in room.long.drain(..) {
                let [start, end] = [number, number + 1].map(|at| starts[at as usize] as usize);
                let word = &bytes[start..end];
                let hash = self.table.long_hash(word);
                self.keyless.push((self.count as u32 + number, word, hash));
            }
        }
        self.count += words;
        self.flush_if_full()
    }

    #[inline]
    fn flush_if_full(&mut self) -> Result<()> {
        if self.count < PIECES - BLOCK {
            return Ok(());
        }
        self.flush()?;
        match (self.go_on)() {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }

    /// Counts what is in the block.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.kernel.run(Flush(self))
    }

    #[inline(always)]
    fn flush_with<K: Simd>(&mut self, kernel: K) -> Result<()> {
        let (count, weight) = (self.count, self.weight);
        let Room {
            keys,
            slots,
            numbers,
            absent,
            ..
        } = &mut *self.room;
        let (keys, slots, numbers) = (&keys[..count], &slots[..count], &mut numbers[..count]);
        kernel.probe(self.table.buckets(), keys, slots, numbers);
        self.table.add_all(kernel, numbers, weight)?;
        let hashes = self.keyless.iter().map(|&(_, _, hash)| hash);
        self.table.fetch_long(kernel, hashes);
        let mut keyless = self.keyless.iter();
        let count = kernel.absent(numbers, absent);
        for &at in &absent[..count] {
            let at = at as usize;
            if keys[at] == NOT_A_KEY {
                // They stand in the order of the block.
                if let Some(&(_, word, hash)) = keyless.next() {
                    self.table.add_long(word, hash, weight)?;
                }
            } else {
                self.table.add_key(keys[at], slots[at], weight)?;
            }
        }
        self.keyless.clear();
        self.count = 0;
        self.table.settle(ROOM)
    }
}

/// [`Counting::flush`] for one kernel.
struct Flush<'r, 'a, 't>(&'r mut Counting<'a, 't>);

impl Job for Flush<'_, '_, '_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) -> Result<()> {
        self.0.flush_with(kernel)
    }
}

/// A longer word cannot be counted.
fn check_length(word: &[u8]) -> Result<()> {
    if word.len() > LONGEST_PIECE {
        return Err(Error::PreTokenTooLong {
            bytes: word.len(),
            limit: LONGEST_PIECE,
        });
    }
    Ok(())
}
