//! Merging up to sixteen words side by side; see `words` for what a step is.
//!
//! A step asks about two pairs, and each answer is a cache line that may be far away. So each
//! round goes over the words twice: first every word finds the pair that it merges, merges
//! it, and fetches the two lines; then every word reads them. In between, the lines come. A
//! word that has nothing left to merge drops out of the rounds.

#[allow(clippy::wildcard_imports)] // intrinsics
use std::arch::x86_64::*;

use super::load8;
use crate::simd::bucket::{Key, LONGEST_KEY, key_length};
use crate::simd::words::{
    FIRST_MADE, NO_MERGE, NUMBER_BITS, PairLine, Pairs, WordProgress, WordRules, Words,
};

/// How many words go side by side.
pub(super) const GROUP: usize = Words::MOST;

/// What a word that merged a pair has to ask.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Questions {
    /// Number of the word.
    word: u32,
    /// Index of the new symbol.
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
    fn new(pairs: Pairs<'_>, left: u32, right: u32) -> Self {
        let pair = u64::from(left) << NUMBER_BITS | u64::from(right);
        let line = pairs.line_of(pair) & (pairs.lines.len() - 1);
        let address = pairs.lines.as_ptr().wrapping_add(line);
        avx512!(_mm_prefetch::<_MM_HINT_T0>(address.cast()));
        Self { pair, line }
    }

    /// The number of the merge, or [`NO_MERGE`], without a branch that depends on the answer.
    #[inline(always)]
    fn answer(self, pairs: Pairs<'_>) -> u32 {
        let line = &pairs.lines[self.line].0;
        let found = avx512!({
            let keys = _mm512_srli_epi64::<NUMBER_BITS>(load8(line));
            _mm512_cmpeq_epi64_mask(keys, _mm512_set1_epi64(self.pair.cast_signed()))
        });
        // The mark at the end stands for all pairs that are not there.
        let entry = line[(u32::from(found) | 0x80).trailing_zeros() as usize % 8];
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

/// Merges up to [`GROUP`] words.
#[inline(always)]
pub(super) fn words(rules: WordRules<'_>, words: &[Key], out: &mut Words) {
    let all = &mut out.progress;
    let mut questions = [Questions::default(); GROUP];
    let mut live = 0;
    for ((word, &key), asked) in all.iter_mut().zip(words).zip(&mut questions) {
        word.begin(rules, key);
        asked.word = live as u32;
        live += 1;
    }
    while live > 0 {
        let mut kept = 0;
        for index in 0..live {
            let number = questions[index % GROUP].word;
            let word = &mut all[number as usize % GROUP];
            let (merged, asked) = word.merge(rules.pairs, number);
            questions[kept % GROUP] = asked;
            kept += usize::from(merged);
        }
        live = kept;
        for asked in &questions[..live] {
            all[asked.word as usize % GROUP].hear(rules.pairs, asked);
        }
    }
    for ((word, symbols), length) in all
        .iter()
        .zip(&mut out.symbols)
        .zip(&mut out.lengths)
        .take(words.len())
    {
        *symbols = *word.symbols();
        *length = word.length();
    }
}

#[inline(always)]
fn none() -> __m512i {
    avx512!(_mm512_set1_epi32(NO_MERGE.cast_signed()))
}

#[inline(always)]
fn load16(numbers: &[u32; LONGEST_KEY]) -> __m512i {
    avx512!(_mm512_loadu_si512(numbers.as_ptr().cast()))
}

#[inline(always)]
fn store16(numbers: &mut [u32; LONGEST_KEY], values: __m512i) {
    avx512!(_mm512_storeu_si512(numbers.as_mut_ptr().cast(), values));
}

impl WordProgress {
    #[inline(always)]
    fn begin(&mut self, rules: WordRules<'_>, key: Key) {
        let length = key_length(key);
        let bytes = key.to_le_bytes();
        avx512!({
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            let left = _mm512_cvtepu8_epi32(bytes);
            let right = _mm512_cvtepu8_epi32(_mm_srli_si128::<1>(bytes));
            let in_word = ((1_u32 << length) - 1) as u16;
            store16(
                self.symbols_mut(),
                _mm512_mask_mov_epi32(none(), in_word, left),
            );
            let pairs = _mm512_or_si512(left, _mm512_slli_epi32::<8>(right));
            let merges = _mm512_mask_i32gather_epi32::<4>(
                none(),
                in_word >> 1,
                pairs,
                rules.byte_pairs.as_ptr().cast(),
            );
            store16(&mut self.merges, merges);
        });
    }

    /// Merges the pair that comes first, if one merges, and asks about its neighbours.
    #[inline(always)]
    fn merge(&mut self, pairs: Pairs<'_>, word: u32) -> (bool, Questions) {
        let merges = load16(&self.merges);
        let merge = avx512!(_mm512_reduce_min_epu32(merges));
        let least = avx512!(_mm512_cmpeq_epi32_mask(
            merges,
            _mm512_set1_epi32(merge.cast_signed())
        ));
        let at = u32::from(least).trailing_zeros() % LONGEST_KEY as u32;
        let made = FIRST_MADE.wrapping_add(merge);
        let before = self.symbol_before(at as usize);
        let next = self.symbol_after_next(at as usize);
        let merged = merge != NO_MERGE;
        // A word that is done stays as it is.
        let live = u32::from(merged) << at;
        avx512!({
            let symbols = load16(self.symbols());
            let symbols = _mm512_mask_set1_epi32(symbols, live as u16, made.cast_signed());
            let kept = !(live << 1) as u16;
            store16(
                self.symbols_mut(),
                _mm512_mask_compress_epi32(none(), kept, symbols),
            );
            let kept = !live as u16;
            store16(
                &mut self.merges,
                _mm512_mask_compress_epi32(none(), kept, merges),
            );
        });
        let asked = Questions {
            word,
            at,
            with_before: Question::new(pairs, before, made),
            with_next: Question::new(pairs, made, next),
        };
        (merged, asked)
    }

    /// Takes the answers.
    #[inline(always)]
    fn hear(&mut self, pairs: Pairs<'_>, asked: &Questions) {
        let with_before = asked.with_before.answer(pairs);
        let with_next = asked.with_next.answer(pairs);
        let here = 1_u32 << (asked.at % LONGEST_KEY as u32);
        avx512!({
            let merges = load16(&self.merges);
            let merges = _mm512_mask_set1_epi32(merges, here as u16, with_next.cast_signed());
            let merges =
                _mm512_mask_set1_epi32(merges, (here >> 1) as u16, with_before.cast_signed());
            store16(&mut self.merges, merges);
        });
    }

    #[inline(always)]
    fn length(&self) -> usize {
        let used = avx512!(_mm512_cmpneq_epi32_mask(load16(self.symbols()), none()));
        used.count_ones() as usize
    }
}
