//! The training loop: merge the pair of the highest count, keep counts true.
//!
//! Every window of a pair comes into being in the one merge that made the newer
//! of its two symbols (or with the text), and its count only falls afterwards.
//! Three things follow.
//!
//! - The postings of a pair are written in one go, in order of the text ([`super::postings`]).
//! - While a merge runs, only pairs with the new symbol are born, and their weights say what other pairs
//!   lose ([`super::births`]). Pairs are looked up once per different neighbour.
//! - A pair that is born with a count below the threshold need not be kept, as it cannot be merged while the
//!   threshold holds ([`super::threshold`]).
//!
//! Cost: time in proportion to the windows destroyed; memory, per window of a kept pair, one posting.

use std::ops::Range;

use super::GoOn;
use super::births::{Births, NOWHERE};
use super::buckets::Queue;
use super::layout::Layout;
use super::limits::TokenLengths;
use super::linked::{LINKED, Linked};
use super::pairs::{Key, Pair, Pairs};
use super::pool::{Pool, Task};
use super::postings::Postings;
use super::records::{LONGEST, Records};
use super::symbol::Symbol;
use super::threshold::Threshold;
use super::tie_break::Order;
use super::walk::{AHEAD, Fetch, Walk};
use super::{TieBreak, TrainOptions, Tuning, Words};
use crate::simd::Kernel;
use crate::{Error, Result};

/// With fewer postings than this, all words would be read again and again.
const LEAST_POSTINGS: usize = 1 << 20;
/// After so many postings the caller is asked whether to go on.
const BETWEEN_LOOKS: usize = 1 << 16;
/// A merge with so many postings goes to all threads.
const HEAVY: usize = 1024;

/// The state of training between two merges.
#[derive(Debug)]
pub(super) struct Merger<S> {
    kernel: Kernel,
    pub(super) words: Layout<S>,
    pub(super) pairs: Pairs,
    pub(super) postings: Postings,
    pub(super) queue: Queue,
    pub(super) order: Order,
    /// One for each share of the words. Merges that are not heavy use the first for all.
    births: Vec<Births<S>>,
    /// Where there is more than one share.
    pool: Option<Pool<S>>,
    heavy: usize,
    lengths: TokenLengths,
    /// How many tokens there will be at most.
    most: usize,
    pub(super) threshold: Threshold,
    /// Longer tokens are not made.
    max_token_bytes: usize,
    most_postings: usize,
    /// For the postings of each thread.
    room: Vec<Vec<u32>>,
}

impl<S: Symbol> Merger<S> {
    /// For at most `merges` merges.
    pub(super) fn new(
        kernel: Kernel,
        words: Words,
        merges: usize,
        options: &TrainOptions,
        tuning: Tuning,
        go_on: GoOn<'_>,
    ) -> Result<Self> {
        let longest = match options.tie_break {
            // Linked words alone: then postings are places in the text.
            TieBreak::FirstSeen => 0,
            _ => LONGEST,
        };
        let words = Layout::new(words, longest, options.threads, tuning, go_on)?;
        let postings = tuning.postings.unwrap_or_else(|| {
            let limit = options.max_memory.unwrap_or(usize::MAX);
            // There may be two arrays while one grows; pairs and the queue take the rest.
            (limit.saturating_sub(words.memory()) / (3 * size_of::<u32>())).max(LEAST_POSTINGS)
        });
        let most = 256 + merges;
        let shares = words.shares.len();
        Ok(Self {
            kernel,
            pairs: Pairs::new(),
            postings: Postings::default(),
            most_postings: postings,
            queue: Queue::new(),
            order: Order::new(options.tie_break),
            births: (0..shares).map(|_| Births::new(most)).collect(),
            pool: (shares > 1).then(|| Pool::new(shares - 1)),
            room: vec![Vec::new(); shares - 1],
            heavy: tuning.heavy.unwrap_or(HEAVY),
            lengths: TokenLengths::new(),
            most,
            threshold: Threshold::new(words.symbols, words.windows, merges),
            max_token_bytes: usize::MAX,
            words,
        })
    }

    /// From now on, merges only the pairs that the options allow.
    pub(super) fn set_limits(&mut self, options: &TrainOptions) {
        self.threshold.set_least(options.min_count.max(1));
        self.max_token_bytes = options.max_token_bytes.unwrap_or(usize::MAX);
        self.postings.set_limit(self.most_postings);
    }

    /// Whether tokens may be so long.
    fn allows(&self, pair: Key) -> bool {
        self.lengths.of_pair(pair.ids()) <= self.max_token_bytes
    }

    /// Puts a pair that is new or has changed into the queue.
    pub(super) fn enqueue(&mut self, pair: Key, count: u64) {
        let Self {
            queue,
            order,
            pairs,
            postings,
            words,
            ..
        } = self;
        queue.push(order, pair, count, || {
            let place = if order.needs_places() {
                first_place(pair, pairs, postings, &words.linked)
            } else {
                0
            };
            order.rank(pair, place)
        });
    }

    /// Takes the pair to merge next, with its count, if there is one at or above the threshold.
    pub(super) fn next(&mut self) -> Option<(Key, u64)> {
        let least = self.threshold.now();
        loop {
            let Some(entry) = self.queue.pop(&self.order) else {
                let bucket = self.queue.next_bucket()?;
                for pair in bucket {
                    let count = self.count(pair);
                    if count >= least && self.allows(pair) {
                        self.enqueue(pair, count);
                    }
                }
                continue;
            };
            let count = self.count(entry.pair);
            if count < least {
                continue;
            }
            if count == entry.count && !self.order.needs_places() {
                return Some((entry.pair, count));
            }
            if count == entry.count {
                let (pairs, postings) = (&mut self.pairs, &self.postings);
                let place = first_place(entry.pair, pairs, postings, &self.words.linked);
                if self.order.rank(entry.pair, place) == entry.rank {
                    return Some((entry.pair, count));
                }
            }
            self.enqueue(entry.pair, count);
        }
    }

    /// How often `pair` stands in the words; 0 for one that was not kept.
    #[inline]
    pub(super) fn count(&self, pair: Key) -> u64 {
        self.pairs.get(pair).map_or(0, |pair| pair.count)
    }

    /// Gives the next id to `pair`, and merges it everywhere unless that id is the last. False if
    /// a vocabulary could not hold the token.
    pub(super) fn merge(&mut self, pair: Key, go_on: GoOn<'_>) -> Result<bool> {
        let (left, right) = pair.ids();
        let id = self.lengths.count();
        if !self.lengths.fits((left, right)) {
            return Ok(false);
        }
        self.order.push_token((left, right));
        if id + 1 == self.most {
            return Ok(true);
        }
        let Some(known) = self.pairs.get_mut(pair) else {
            return Ok(true);
        };
        let postings = known.postings.range();
        known.count = 0;
        let (pair, id) = ((S::new(left), S::new(right)), S::new(id as u32));
        if postings.len() >= self.heavy && self.pool.is_some() {
            self.walk_together(postings, pair, id, go_on)?;
        } else {
            self.walk(postings, pair, id, go_on)?;
        }
        self.settle(left, right, id.id())?;
        Ok(true)
    }

    /// Merges a pair at its postings.
    fn walk(&mut self, postings: Range<usize>, pair: (S, S), id: S, go_on: GoOn<'_>) -> Result<()> {
        let next = self.queue.peek();
        let next = next.and_then(|next| self.pairs.get(next));
        let next = next.map_or(0..0, |next| next.postings.range());
        let (Some((last, shares)), Some(births)) =
            (self.words.shares.split_last_mut(), self.births.first_mut())
        else {
            return Ok(());
        };
        let mut walker = Walker {
            kernel: self.kernel,
            next: &self.postings.all()[next.start..next.end.min(next.start + AHEAD)],
            births,
            linked: &mut self.words.linked,
            pair,
            id,
        };
        let mut rest = &self.postings.all()[postings];
        for records in shares {
            let postings = split_at_end(&mut rest, records);
            walker.walk(postings, records, go_on)?;
        }
        walker.walk(rest, last, go_on)
    }

    /// Merges a pair at its postings, each thread in a share of the records.
    fn walk_together(
        &mut self,
        postings: Range<usize>,
        pair: (S, S),
        id: S,
        go_on: GoOn<'_>,
    ) -> Result<()> {
        let (Some(pool), Some((last, shares)), Some((own, others))) = (
            &self.pool,
            self.words.shares.split_last_mut(),
            self.births.split_last_mut(),
        ) else {
            return Ok(());
        };
        let mut rest = &self.postings.all()[postings];
        let mut tasks = Vec::new();
        for ((records, births), room) in shares.iter_mut().zip(&mut *others).zip(&mut self.room) {
            let mut postings = std::mem::take(room);
            postings.clear();
            postings.extend_from_slice(split_at_end(&mut rest, records));
            tasks.push(Task {
                kernel: self.kernel,
                records: std::mem::replace(records, Records::none()),
                births: std::mem::take(births),
                postings,
                pair,
                id,
            });
        }
        let mut walker = Walker {
            kernel: self.kernel,
            next: &[],
            births: own,
            linked: &mut self.words.linked,
            pair,
            id,
        };
        let done = pool.run(tasks, || walker.walk(rest, last, go_on))?;
        for (number, task) in done.into_iter().enumerate() {
            shares[number] = task.records;
            others[number] = task.births;
            self.room[number] = task.postings;
        }
        if let Some((first, others)) = self.births.split_first_mut() {
            for other in others {
                first.absorb(other);
            }
        }
        Ok(())
    }

    /// Takes from the pairs that lost windows, and keeps those that were born.
    fn settle(&mut self, left: u32, right: u32, id: u32) -> Result<()> {
        let least = self.threshold.now();
        let mut all = std::mem::take(&mut self.births);
        let Some((births, others)) = all.split_first_mut() else {
            return Ok(());
        };
        let places = others.iter().map(|births| births.places.len());
        let places = births.places.len() + places.sum::<usize>();
        let more = 2 * places + births.twice.len();
        let least = self.postings.make_room(more, &mut self.pairs, least)?;
        self.threshold.raise(least);
        let before = self.postings.end();
        self.kernel.run(Fetch {
            pairs: &self.pairs,
            births,
            left,
            right,
        });
        for &neighbour in &births.before.neighbours {
            let row = &mut births.before.rows[neighbour.id() as usize];
            self.lose(Key::new(neighbour.id(), left), row.weight);
            row.cursor = self.keep(Key::new(neighbour.id(), id), row.weight, row.count);
        }
        for &neighbour in &births.after.neighbours {
            let row = &mut births.after.rows[neighbour.id() as usize];
            self.lose(Key::new(right, neighbour.id()), row.weight);
            row.cursor = self.keep(Key::new(id, neighbour.id()), row.weight, row.count);
        }
        if self.postings.end() > before {
            let postings = self.postings.all_mut();
            for other in &mut *others {
                other.follow(births);
            }
            births.write(postings);
            for other in &mut *others {
                other.write(postings);
            }
        }
        if births.twice_weight > 0 {
            self.lose(Key::new(right, left), births.twice_weight);
            let twice = Key::new(id, id);
            let start = self.keep_counted(twice, births.twice_weight, births.twice.len() as u32);
            if start != NOWHERE {
                let room = &mut self.postings.all_mut()[start as usize..];
                room[..births.twice.len()].copy_from_slice(&births.twice);
            }
            self.enqueue_kept(twice);
        }
        if self.order.needs_places() {
            // Only now are their first places known.
            for neighbour in &births.before.neighbours {
                self.enqueue_kept(Key::new(neighbour.id(), id));
            }
            for neighbour in &births.after.neighbours {
                self.enqueue_kept(Key::new(id, neighbour.id()));
            }
        }
        all.iter_mut().for_each(Births::clear);
        self.births = all;
        Ok(())
    }

    /// Puts a pair into the queue, if it is kept.
    pub(super) fn enqueue_kept(&mut self, pair: Key) {
        let count = self.count(pair);
        if count > 0 {
            self.enqueue(pair, count);
        }
    }

    /// Adds a new pair, if it may be merged; where its postings go, or [`NOWHERE`].
    #[inline]
    pub(super) fn keep_counted(&mut self, pair: Key, count: u64, length: u32) -> u32 {
        let least = self.threshold.now();
        if count < least || !self.allows(pair) {
            return NOWHERE;
        }
        let postings = self.postings.take(length as usize);
        self.pairs.insert(pair, Pair { count, postings }, least);
        postings.start
    }

    /// The same, and puts it into the queue, where that does not depend on its postings.
    #[inline]
    fn keep(&mut self, pair: Key, count: u64, length: u32) -> u32 {
        let start = self.keep_counted(pair, count, length);
        if start != NOWHERE && !self.order.needs_places() {
            self.enqueue(pair, count);
        }
        start
    }

    #[inline]
    fn lose(&mut self, pair: Key, weight: u64) {
        // Pairs that are not kept are not there, and the one being merged has no count.
        if let Some(known) = self.pairs.get_mut(pair) {
            known.count = known.count.saturating_sub(weight);
        }
    }
}

/// Where a pair first stands. Postings before that are dropped.
fn first_place<S: Symbol>(
    pair: Key,
    pairs: &mut Pairs,
    postings: &Postings,
    linked: &Linked<S>,
) -> u64 {
    let (left, right) = pair.ids();
    let symbols = (S::new(left), S::new(right));
    let Some(known) = pairs.get_mut(pair) else {
        return 0;
    };
    for &posting in &postings.all()[known.postings.range()] {
        let place = posting & !LINKED;
        if linked.stands(place, symbols) {
            return place.into();
        }
        known.postings.start += 1;
        known.postings.length -= 1;
    }
    0
}

/// Takes the postings before those of the next share off `rest`.
fn split_at_end<'p, S: Symbol>(rest: &mut &'p [u32], records: &Records<S>) -> &'p [u32] {
    let end = records.end();
    let (here, others) = rest.split_at(rest.partition_point(|&posting| posting < end));
    *rest = others;
    here
}

/// Merges a pair in one share of the words after another.
struct Walker<'m, S> {
    kernel: Kernel,
    next: &'m [u32],
    births: &'m mut Births<S>,
    linked: &'m mut Linked<S>,
    pair: (S, S),
    id: S,
}

impl<S: Symbol> Walker<'_, S> {
    fn walk(&mut self, postings: &[u32], records: &mut Records<S>, go_on: GoOn<'_>) -> Result<()> {
        for (number, postings) in postings.chunks(BETWEEN_LOOKS).enumerate() {
            if number > 0 && go_on().is_break() {
                return Err(Error::Cancelled);
            }
            self.kernel.run(Walk {
                postings,
                next: self.next,
                records,
                linked: self.linked,
                births: self.births,
                pair: self.pair,
                id: self.id,
            });
        }
        Ok(())
    }
}
