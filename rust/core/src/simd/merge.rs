//! Merging up to sixteen words side by side.
//!
//! A step of a word finds the pair that comes first, merges it, and asks about the two pairs
//! that arise. Each answer is a cache line that may be far away, so each round goes over the words
//! twice: first every word merges its pair and fetches the two lines; then every word reads
//! them. In between, the lines come. A word that has nothing left to merge drops out.
//!
//! Nothing here branches on what a word holds, since no processor could predict it.

use super::Simd;
use super::bucket::{Key, LONGEST_KEY, key_length};
use super::words::{
    FIRST_MADE, NO_MERGE, NUMBER_BITS, PairLine, Pairs, Progress, Row, WordRules, Words,
};

/// What a kernel does with rows, and with the lines of [`Pairs`].
pub(super) trait Rows: Copy {
    /// The bytes of a word and the merges of neighbours; [`NO_MERGE`] behind the last.
    #[inline(always)]
    fn first_rows(self, rules: WordRules<'_>, key: Key) -> (Row, Row) {
        let (length, bytes) = (key_length(key), key.to_le_bytes());
        let mut symbols = [NO_MERGE; LONGEST_KEY];
        let mut merges = [NO_MERGE; LONGEST_KEY];
        for (at, &byte) in bytes.iter().enumerate().take(length) {
            symbols[at] = u32::from(byte);
        }
        for at in 1..length {
            let pair = u16::from_le_bytes([bytes[at - 1], bytes[at]]);
            merges[at - 1] = rules.byte_pairs[pair as usize];
        }
        (symbols, merges)
    }

    /// The least number and the first place that has it.
    #[inline(always)]
    fn least(self, row: &Row) -> (u32, u32) {
        const PLACE_BITS: u32 = LONGEST_KEY.ilog2();
        let with_places = (0..)
            .zip(row)
            .map(|(place, number)| number << PLACE_BITS | place);
        let least = with_places.fold(u32::MAX, u32::min);
        (least >> PLACE_BITS, least % LONGEST_KEY as u32)
    }

    /// Puts a number at `at`; nowhere if that is behind the row. The whole row is written,
    /// since it is read as a whole soon.
    #[inline(always)]
    fn put(self, row: &mut Row, at: u32, number: u32) {
        for (place, there) in (0..).zip(row) {
            *there = if place == at { number } else { *there };
        }
    }

    /// Takes the number at `from` out; those behind it move up. None if `from` is behind the row.
    #[inline(always)]
    fn remove(self, row: &mut Row, from: u32) {
        let mut next = [NO_MERGE; LONGEST_KEY];
        next[..LONGEST_KEY - 1].copy_from_slice(&row[1..]);
        for (place, (number, next)) in (0..).zip(row.iter_mut().zip(next)) {
            *number = if place >= from { next } else { *number };
        }
    }

    /// The entry of a pair in its line, or the mark at the end.
    #[inline(always)]
    fn entry(self, line: &PairLine, pair: u64) -> u64 {
        let mut at = PairLine::PAIRS;
        for (place, entry) in line.0[..PairLine::PAIRS].iter().enumerate() {
            at = if entry >> NUMBER_BITS == pair {
                place
            } else {
                at
            };
        }
        line.0[at]
    }

    /// How many places of a row are not [`NO_MERGE`].
    #[inline(always)]
    fn length(self, row: &Row) -> usize {
        row.iter()
            .map(|&number| usize::from(number != NO_MERGE))
            .sum()
    }
}

impl Progress {
    /// Merges the pair that comes first, if one merges, and asks about its neighbours.
    #[inline(always)]
    fn merge<K: Simd>(&mut self, kernel: K, pairs: Pairs<'_>, word: u32) -> (bool, Questions) {
        let (merge, at) = kernel.least(&self.merges);
        let made = FIRST_MADE.wrapping_add(merge);
        let place = at as usize % LONGEST_KEY;
        let symbols = self.rows.as_flattened();
        let before = symbols[LONGEST_KEY - 1 + place];
        let next = symbols[LONGEST_KEY + 2 + place];
        // A word that is done stays as it is.
        let merged = merge != NO_MERGE;
        let here = at + u32::from(!merged) * LONGEST_KEY as u32;
        let symbols = &mut self.rows[1];
        kernel.put(symbols, here, made);
        kernel.remove(symbols, here + 1);
        kernel.remove(&mut self.merges, here);
        let asked = Questions {
            word,
            at,
            with_before: Question::new(kernel, pairs, before, made),
            with_next: Question::new(kernel, pairs, made, next),
        };
        (merged, asked)
    }

    /// Takes the answers.
    #[inline(always)]
    fn hear<K: Simd>(&mut self, kernel: K, pairs: Pairs<'_>, asked: &Questions) {
        let with_before = asked.with_before.answer(kernel, pairs);
        let with_next = asked.with_next.answer(kernel, pairs);
        // The first symbol has none before it.
        kernel.put(&mut self.merges, asked.at.wrapping_sub(1), with_before);
        kernel.put(&mut self.merges, asked.at, with_next);
    }
}

/// What a word that merged a pair has to ask.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Questions {
    /// Number of the word.
    word: u32,
    /// Place of the new symbol.
    at: u32,
    with_before: Question,
    with_next: Question,
}

#[derive(Clone, Copy, Default)]
struct Question {
    /// Two symbols.
    pair: u64,
    line: usize,
}

impl Question {
    /// Fetches the line with the answer.
    #[inline(always)]
    fn new<K: Simd>(kernel: K, pairs: Pairs<'_>, left: u32, right: u32) -> Self {
        let pair = u64::from(left) << NUMBER_BITS | u64::from(right);
        let line = pairs.line_of(pair) & (pairs.lines.len() - 1);
        kernel.fetch(pairs.lines.as_ptr().wrapping_add(line).cast());
        Self { pair, line }
    }

    /// The number of the merge, or [`NO_MERGE`].
    #[inline(always)]
    fn answer<K: Simd>(self, kernel: K, pairs: Pairs<'_>) -> u32 {
        let entry = kernel.entry(&pairs.lines[self.line], self.pair);
        if entry == PairLine::FULL {
            return in_the_next_lines(pairs, self.pair);
        }
        entry as u32 & NO_MERGE
    }
}

#[cold]
#[inline(never)]
fn in_the_next_lines(pairs: Pairs<'_>, pair: u64) -> u32 {
    pairs.merge((pair >> NUMBER_BITS) as u32, pair as u32 & NO_MERGE)
}

/// Merges up to [`Words::MOST`] words.
#[inline(always)]
pub(super) fn words<K: Simd>(kernel: K, rules: WordRules<'_>, words: &[Key], out: &mut Words) {
    let all = &mut out.progress;
    let mut questions = [Questions::default(); Words::MOST];
    let mut live = 0;
    for ((word, &key), asked) in all.iter_mut().zip(words).zip(&mut questions) {
        (word.rows[1], word.merges) = kernel.first_rows(rules, key);
        asked.word = live as u32;
        live += 1;
    }
    while live > 0 {
        let mut kept = 0;
        for index in 0..live {
            let number = questions[index % Words::MOST].word;
            let word = &mut all[number as usize % Words::MOST];
            let (merged, asked) = word.merge(kernel, rules.pairs, number);
            questions[kept % Words::MOST] = asked;
            kept += usize::from(merged);
        }
        live = kept;
        for asked in &questions[..live] {
            all[asked.word as usize % Words::MOST].hear(kernel, rules.pairs, asked);
        }
    }
    let results = out.symbols.iter_mut().zip(&mut out.lengths);
    for (word, (symbols, length)) in all.iter().zip(results).take(words.len()) {
        *symbols = word.rows[1];
        *length = kernel.length(symbols);
    }
}
