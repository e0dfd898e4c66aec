//! The different words of the training text, as merged so far.
//!
//! A word of ordinary length is a record in one array: length, weight, symbols.
//! Merging reads the record from left to right and writes it back shorter; at
//! some eight symbols per word that beats any index into it. A posting, that
//! is where a pair may be found, is the place of the record.
//!
//! A long word (a base64 blob, a line of spaces, a text without pre-tokens)
//! would be read again in full for every pair in it. Its symbols are linked
//! instead, and a posting is the place of the pair's left symbol, so that a
//! merge costs what it changes and a word of a million symbols O(n log n).
//!
//! Postings may be out of date; whoever follows one checks what is there.

use crate::{Error, Result};

/// Longer words are linked.
pub(super) const LONG: usize = 64;

/// Where a pair may be found: a record, or a place in the linked words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Posting(u32);

/// Set in postings of linked words.
const LINKED: u32 = 1 << 31;

impl Posting {
    /// For linked words: grows along the text.
    pub(super) fn place(self) -> u64 {
        u64::from(self.0 & !LINKED)
    }
}

/// What a merge of (left, right) into a new symbol did at one place. The windows that
/// it destroyed are (neighbour, left), (right, neighbour) and (right, left).
pub(super) trait Effects {
    /// `neighbour` now stands before the new symbol.
    fn before(&mut self, neighbour: u32, weight: u64, posting: Posting);
    /// `neighbour` now stands after the new symbol.
    fn after(&mut self, neighbour: u32, weight: u64, posting: Posting);
    /// The new symbol stands twice in a row.
    fn twice(&mut self, weight: u64, posting: Posting);
}

/// All different words with their weights.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Records: length, low and high half of the weight, symbols.
    records: Vec<u32>,
    linked: Linked,
}

const HEADER: usize = 3;

impl Words {
    /// Lays out words of more than one byte; those of more than `long` are linked.
    pub(super) fn new<'w>(
        words: impl Iterator<Item = (&'w [u8], u64)> + Clone,
        long: usize,
    ) -> Result<Self> {
        let words = words.filter(|(word, _)| word.len() > 1);
        let (mut records, mut linked, mut windows) = (0, 1, 0_u64);
        for (word, weight) in words.clone() {
            if word.len() > long {
                linked += word.len() as u64 + 1;
            } else {
                records += (word.len() + HEADER) as u64;
            }
            let added = weight.checked_mul(word.len() as u64 - 1);
            let sum = added.and_then(|added| windows.checked_add(added));
            windows = sum.ok_or(Error::CountOverflow)?; // so no count of a pair can overflow
        }
        let symbols = records.max(linked);
        let limit = u64::from(LINKED);
        if symbols > limit {
            return Err(Error::TooMuchText { symbols, limit });
        }
        let mut all = Self {
            records: Vec::with_capacity(records as usize),
            linked: Linked::with_capacity(linked as usize),
        };
        for (word, weight) in words {
            if word.len() > long {
                all.linked.push(word, weight);
            } else {
                all.records
                    .extend([word.len() as u32, weight as u32, (weight >> 32) as u32]);
                all.records.extend(word.iter().copied().map(u32::from));
            }
        }
        Ok(all)
    }

    /// Calls `f` with every window of two symbols, before anything is merged.
    pub(super) fn for_each_window(&self, mut f: impl FnMut(u32, u32, u64, Posting)) {
        let mut start = 0;
        while let Some((header, rest)) = self.records[start..].split_first_chunk::<HEADER>() {
            let len = header[0] as usize;
            for window in rest[..len].windows(2) {
                f(window[0], window[1], weight(header), Posting(start as u32));
            }
            start += HEADER + len;
        }
        self.linked.for_each_window(f);
    }

    /// Merges (left, right) into `id` at `posting`, wherever it still stands there.
    #[inline]
    pub(super) fn merge(
        &mut self,
        posting: Posting,
        (left, right): (u32, u32),
        id: u32,
        effects: &mut impl Effects,
    ) {
        if posting.0 & LINKED != 0 {
            self.linked.merge(posting, (left, right), id, effects);
            return;
        }
        let record = &mut self.records[posting.0 as usize..];
        let Some((header, rest)) = record.split_first_chunk_mut::<HEADER>() else {
            return;
        };
        let weight = weight(header);
        let symbols = &mut rest[..header[0] as usize];
        let is_pair =
            |at: usize, symbols: &[u32]| symbols[at] == left && symbols.get(at + 1) == Some(&right);
        let found = symbols
            .windows(2)
            .position(|window| window[0] == left && window[1] == right);
        let Some(found) = found else {
            return;
        };
        let (mut read, mut write) = (found, found);
        while read < symbols.len() {
            if !is_pair(read, symbols) {
                symbols[write] = symbols[read];
                read += 1;
                write += 1;
                continue;
            }
            match write.checked_sub(1).map(|before| symbols[before]) {
                Some(before) if before == id => effects.twice(weight, posting),
                Some(before) => effects.before(before, weight, posting),
                None => {}
            }
            read += 2;
            // The next merge, if it comes at once, sees this one before it.
            if read < symbols.len() && !is_pair(read, symbols) {
                effects.after(symbols[read], weight, posting);
            }
            symbols[write] = id;
            write += 1;
        }
        header[0] = write as u32;
    }

    /// Reads one number at each posting. Nearly every one is a cache miss, and
    /// independent reads miss together where a merge each would miss in turn.
    pub(super) fn touch(&self, postings: &[Posting]) {
        let first = |posting: &Posting| match posting.0 & LINKED {
            0 => self.records[posting.0 as usize],
            _ => self.linked.next[posting.place() as usize],
        };
        let sum = postings.iter().map(first).fold(0, u32::wrapping_add);
        std::hint::black_box(sum);
    }

    /// Whether (left, right) still stands at a posting of a linked word.
    pub(super) fn stands(&self, posting: Posting, pair: (u32, u32)) -> bool {
        self.linked.stands(posting.place() as u32, pair)
    }
}

fn weight(header: &[u32; HEADER]) -> u64 {
    u64::from(header[1]) | u64::from(header[2]) << 32
}

/// Long words: every symbol knows its neighbours.
#[derive(Debug, Default)]
struct Linked {
    /// Words follow one another with a sentinel before, between and after.
    symbols: Vec<u32>,
    previous: Vec<u32>,
    next: Vec<u32>,
    /// First place and weight of each word.
    words: Vec<(u32, u64)>,
    /// The word asked for last: postings come in order, mostly.
    word: usize,
}

/// Stands before and after each word.
const SENTINEL: u32 = u32::MAX;
/// The right symbol of a merged pair leaves this behind.
const GONE: u32 = u32::MAX - 1;

impl Linked {
    fn with_capacity(capacity: usize) -> Self {
        let mut linked = Self {
            symbols: Vec::with_capacity(capacity),
            previous: Vec::with_capacity(capacity),
            next: Vec::with_capacity(capacity),
            ..Self::default()
        };
        linked.push_symbol(SENTINEL);
        linked
    }

    fn push(&mut self, word: &[u8], weight: u64) {
        self.words.push((self.symbols.len() as u32, weight));
        for &byte in word {
            self.push_symbol(u32::from(byte));
        }
        self.push_symbol(SENTINEL);
    }

    fn push_symbol(&mut self, symbol: u32) {
        let at = self.symbols.len() as u32;
        self.symbols.push(symbol);
        self.previous.push(at.wrapping_sub(1));
        self.next.push(at + 1);
    }

    fn for_each_window(&self, mut f: impl FnMut(u32, u32, u64, Posting)) {
        for &(start, weight) in &self.words {
            let symbols = &self.symbols[start as usize..];
            for (at, window) in (start..).zip(symbols.windows(2)) {
                if window[1] == SENTINEL {
                    break;
                }
                f(window[0], window[1], weight, Posting(at | LINKED));
            }
        }
    }

    fn stands(&self, at: u32, (left, right): (u32, u32)) -> bool {
        let at = at as usize;
        self.symbols[at] == left && self.symbols[self.next[at] as usize] == right
    }

    fn merge(
        &mut self,
        posting: Posting,
        (left, right): (u32, u32),
        id: u32,
        effects: &mut impl Effects,
    ) {
        let at = posting.0 & !LINKED;
        if !self.stands(at, (left, right)) {
            return;
        }
        let weight = self.weight_at(at);
        let gone = self.next[at as usize];
        let before = self.previous[at as usize];
        let after = self.next[gone as usize];
        match self.symbols[before as usize] {
            SENTINEL => {}
            neighbour if neighbour == id => effects.twice(weight, Posting(before | LINKED)),
            neighbour => effects.before(neighbour, weight, Posting(before | LINKED)),
        }
        match self.symbols[after as usize] {
            SENTINEL => {}
            // The next merge, which comes at once, sees this one before it.
            _ if self.stands(after, (left, right)) => {}
            neighbour => effects.after(neighbour, weight, posting),
        }
        self.symbols[at as usize] = id;
        self.symbols[gone as usize] = GONE;
        self.next[at as usize] = after;
        self.previous[after as usize] = at;
    }

    fn weight_at(&mut self, at: u32) -> u64 {
        let next = self.words.get(self.word + 1);
        if self.words[self.word].0 > at || next.is_some_and(|&(start, _)| start <= at) {
            self.word = self.words.partition_point(|&(start, _)| start <= at) - 1;
        }
        self.words[self.word].1
    }
}
