//! The training loop: merge the pair of the highest count, keep counts true.
//!
//! Every window of a pair comes into being in the one merge that made the newer
//! of its two symbols (or with the text), and its count only falls afterwards.
//! Three things follow.
//!
//! - The postings of a pair are written in one go, in order of the text, as a
//!   slice of one array; nothing is ever appended to them.
//! - While a merge of (a, b) into k runs, only pairs with k are born. The
//!   weight gathered for (x, k) is also what (x, a) loses, that of (k, y) what
//!   (b, y) loses, that of (k, k) what (b, a) loses. So no hash map is touched
//!   at an occurrence, only two rows indexed by the neighbour, and then once
//!   per different neighbour the table of pairs.
//! - A pair below `min_count`, or too long, need not be kept at all.
//!
//! Cost: time in proportion to the windows destroyed plus the logarithm for
//! the queue; memory, per window ever born, one posting of four bytes.

use std::collections::HashMap;

use super::queue::{Entry, Order, Queue};
use super::words::{Effects, LONG, Posting, Words};
use super::{TieBreak, TrainOptions, WordCounts};
use crate::Result;
use crate::seed::Seed;

/// A pair that may still be merged.
#[derive(Debug, Clone, Copy)]
struct Pair {
    count: u64,
    /// Its slice of the postings.
    start: usize,
    len: usize,
}

/// So many postings are touched before they are followed.
const BATCH: usize = 32;

/// The state of training between two merges.
#[derive(Debug)]
pub(super) struct Merger {
    words: Words,
    /// Only ever looked up, never walked: nothing depends on the seed.
    pairs: HashMap<(u32, u32), Pair, Seed>,
    postings: Vec<Posting>,
    queue: Queue,
    order: Order,
    born: Born,
    /// Length in bytes of every token.
    lengths: Vec<usize>,
    /// Whether ties need the place of a pair's first window.
    places: bool,
    /// Pairs that can never be merged are not kept.
    min_count: u64,
    max_token_bytes: usize,
}

impl Merger {
    pub(super) fn new(counts: &WordCounts, options: &TrainOptions) -> Result<Self> {
        let places = options.tie_break == TieBreak::FirstSeen;
        let words = if places {
            // Linked words alone: then postings are places in the text.
            let in_order: Vec<_> = counts.iter_first_seen().collect();
            Words::new(in_order.into_iter(), 0)?
        } else {
            Words::new(counts.iter_unordered(), LONG)?
        };
        let mut merger = Self {
            words,
            pairs: HashMap::default(),
            postings: Vec::new(),
            queue: Queue::default(),
            order: Order::new(options.tie_break),
            born: Born::new(),
            lengths: vec![1; 256],
            places,
            min_count: 1,
            max_token_bytes: usize::MAX,
        };
        // Merges to begin with are made whatever their counts and lengths.
        if options.initial_merges.is_empty() {
            merger.set_limits(options);
        }
        merger.count_all();
        Ok(merger)
    }

    /// From now on, keeps only the pairs that the options allow.
    pub(super) fn set_limits(&mut self, options: &TrainOptions) {
        self.min_count = options.min_count.max(1);
        self.max_token_bytes = options.max_token_bytes.unwrap_or(usize::MAX);
    }

    /// The windows of the words as they are: all pairs of bytes.
    fn count_all(&mut self) {
        let mut rows = vec![Row::default(); 256 * 256];
        let at = |left: u32, right: u32| (left << 8 | right) as usize;
        self.words.for_each_window(|left, right, weight, posting| {
            rows[at(left, right)].add(weight, posting);
        });
        for left in 0..256 {
            for right in 0..256 {
                let row = &mut rows[at(left, right)];
                row.cursor = self.keep((left, right), row.weight, row.postings as usize);
                row.last = None;
            }
        }
        let postings = &mut self.postings;
        self.words.for_each_window(|left, right, _, posting| {
            let row = &mut rows[at(left, right)];
            if row.add(0, posting) {
                row.write(postings, posting);
            }
        });
        for left in 0..256 {
            for right in 0..256 {
                self.enqueue((left, right));
            }
        }
    }

    /// Makes room for a new pair's postings and says where, if it is worth keeping.
    fn keep(&mut self, pair: (u32, u32), count: u64, len: usize) -> Option<usize> {
        let length = self.lengths[pair.0 as usize] + self.lengths[pair.1 as usize];
        if count < self.min_count || length > self.max_token_bytes {
            return None;
        }
        let start = self.postings.len();
        self.postings.resize(start + len, Posting::default());
        self.pairs.insert(pair, Pair { count, start, len });
        Some(start)
    }

    fn enqueue(&mut self, pair: (u32, u32)) {
        if let Some(&Pair { count, start, .. }) = self.pairs.get(&pair) {
            let place = self.postings[start].place();
            let rank = self.order.rank(pair, place);
            self.queue.push(&self.order, Entry { count, rank, pair });
        }
    }

    /// Takes the pair to merge next, with its count.
    pub(super) fn next(&mut self) -> Option<((u32, u32), u64)> {
        while let Some(entry) = self.queue.pop(&self.order) {
            let pair = entry.pair;
            let Some(current) = self.pairs.get_mut(&pair) else {
                continue;
            };
            let length = self.lengths[pair.0 as usize] + self.lengths[pair.1 as usize];
            if current.count < self.min_count || length > self.max_token_bytes {
                self.pairs.remove(&pair);
                continue;
            }
            let mut rank = entry.rank;
            if self.places {
                while !self.words.stands(self.postings[current.start], pair) {
                    current.start += 1;
                    current.len -= 1;
                }
                rank = self.postings[current.start].place();
            }
            let count = current.count;
            if (count, rank) == (entry.count, entry.rank) {
                return Some((pair, count));
            }
            self.queue.push(&self.order, Entry { count, rank, pair });
        }
        None
    }

    /// How often `pair` stands in the words.
    pub(super) fn count(&self, pair: (u32, u32)) -> u64 {
        self.pairs.get(&pair).map_or(0, |pair| pair.count)
    }

    /// Merges `pair` everywhere into the next id.
    pub(super) fn merge(&mut self, pair: (u32, u32)) {
        let (left, right) = pair;
        let id = self.lengths.len() as u32;
        let length = self.lengths[left as usize] + self.lengths[right as usize];
        self.lengths.push(length);
        self.order.push_token(pair);
        self.born.push_symbol();
        let Some(Pair { start, len, .. }) = self.pairs.remove(&pair) else {
            return;
        };
        for batch in self.postings[start..start + len].chunks(BATCH) {
            self.words.touch(batch);
            for &posting in batch {
                self.words.merge(posting, pair, id, &mut self.born);
            }
        }
        self.settle(left, right, id);
    }

    /// Takes from the pairs that lost windows, and keeps those that were born.
    fn settle(&mut self, left: u32, right: u32, id: u32) {
        let mut born = std::mem::take(&mut self.born);
        for &neighbour in &born.before.neighbours {
            let row = born.before.rows[neighbour as usize];
            self.lose((neighbour, left), row.weight);
            let kept = self.keep((neighbour, id), row.weight, row.postings as usize);
            born.before.rows[neighbour as usize].cursor = kept;
        }
        for &neighbour in &born.after.neighbours {
            let row = born.after.rows[neighbour as usize];
            self.lose((right, neighbour), row.weight);
            let kept = self.keep((id, neighbour), row.weight, row.postings as usize);
            born.after.rows[neighbour as usize].cursor = kept;
        }
        if born.twice.weight > 0 {
            self.lose((right, left), born.twice.weight);
            born.twice.cursor =
                self.keep((id, id), born.twice.weight, born.twice.postings as usize);
        }
        born.write(&mut self.postings);
        for &neighbour in &born.before.neighbours {
            self.enqueue((neighbour, id));
        }
        for &neighbour in &born.after.neighbours {
            self.enqueue((id, neighbour));
        }
        self.enqueue((id, id));
        born.clear();
        self.born = born;
    }

    fn lose(&mut self, pair: (u32, u32), weight: u64) {
        // Pairs that are not kept, and the one being merged, are not there.
        if let Some(known) = self.pairs.get_mut(&pair) {
            known.count -= weight;
            if known.count == 0 {
                self.pairs.remove(&pair);
            }
        }
    }
}

/// What is known of one neighbour of the new symbol.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    weight: u64,
    postings: u32,
    /// A record is named once however often the pair stands in it.
    last: Option<Posting>,
    /// Where its next posting goes, if the pair is kept.
    cursor: Option<usize>,
}

impl Row {
    /// Adds a window; whether its posting is a new one.
    fn add(&mut self, weight: u64, posting: Posting) -> bool {
        self.weight += weight;
        let new = self.last != Some(posting);
        self.postings += u32::from(new);
        self.last = Some(posting);
        new
    }

    fn write(&mut self, postings: &mut [Posting], posting: Posting) {
        if let Some(cursor) = &mut self.cursor {
            postings[*cursor] = posting;
            *cursor += 1;
        }
    }
}

/// The neighbours on one side of the new symbol.
#[derive(Debug, Default)]
struct Side {
    /// By neighbour.
    rows: Vec<Row>,
    /// Those with windows, as they came.
    neighbours: Vec<u32>,
    /// Every posting, as it came.
    postings: Vec<(u32, Posting)>,
}

impl Side {
    fn add(&mut self, neighbour: u32, weight: u64, posting: Posting) {
        let row = &mut self.rows[neighbour as usize];
        if row.postings == 0 {
            self.neighbours.push(neighbour);
        }
        if row.add(weight, posting) {
            self.postings.push((neighbour, posting));
        }
    }

    fn write(&mut self, postings: &mut [Posting]) {
        for &(neighbour, posting) in &self.postings {
            self.rows[neighbour as usize].write(postings, posting);
        }
    }

    fn clear(&mut self) {
        for neighbour in self.neighbours.drain(..) {
            self.rows[neighbour as usize] = Row::default();
        }
        self.postings.clear();
    }
}

/// The windows born in one merge.
#[derive(Debug, Default)]
struct Born {
    before: Side,
    after: Side,
    twice: Row,
    twice_postings: Vec<Posting>,
}

impl Born {
    fn new() -> Self {
        let mut born = Self::default();
        (0..256).for_each(|_| born.push_symbol());
        born
    }

    fn push_symbol(&mut self) {
        self.before.rows.push(Row::default());
        self.after.rows.push(Row::default());
    }

    fn write(&mut self, postings: &mut [Posting]) {
        self.before.write(postings);
        self.after.write(postings);
        for &posting in &self.twice_postings {
            self.twice.write(postings, posting);
        }
    }

    fn clear(&mut self) {
        self.before.clear();
        self.after.clear();
        self.twice = Row::default();
        self.twice_postings.clear();
    }
}

impl Effects for Born {
    fn before(&mut self, neighbour: u32, weight: u64, posting: Posting) {
        self.before.add(neighbour, weight, posting);
    }

    fn after(&mut self, neighbour: u32, weight: u64, posting: Posting) {
        self.after.add(neighbour, weight, posting);
    }

    fn twice(&mut self, weight: u64, posting: Posting) {
        if self.twice.add(weight, posting) {
            self.twice_postings.push(posting);
        }
    }
}
