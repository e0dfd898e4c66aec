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

use std::ops::ControlFlow;

use super::births::{Births, NOWHERE};
use super::buckets::Queue;
use super::limits::TokenLengths;
use super::linked::{LINKED, Linked};
use super::pairs::{Key, Pair, Pairs};
use super::postings::Postings;
use super::records::{LONGEST, Records};
use super::symbol::Symbol;
use super::threshold::Threshold;
use super::tie_break::Order;
use super::{TieBreak, TrainOptions, Words};
use crate::simd::{Job, Kernel, Simd};
use crate::{Error, Result};

/// Postings are fetched so far ahead.
const AHEAD: usize = 16;
/// With fewer postings than this, all words would be read again and again.
const LEAST_POSTINGS: usize = 1 << 20;
/// After so many postings the weights are gathered.
const GATHERED: usize = 512;
/// After so many postings the caller is asked whether to go on.
const BETWEEN_LOOKS: usize = 1 << 16;

/// Whether to go on in the middle of a merge.
pub(super) type GoOn<'a> = &'a mut dyn FnMut() -> ControlFlow<()>;

/// The state of training between two merges.
#[derive(Debug)]
pub(super) struct Merger<S> {
    kernel: Kernel,
    pub(super) records: Records<S>,
    pub(super) linked: Linked<S>,
    pub(super) pairs: Pairs,
    pub(super) postings: Postings,
    pub(super) queue: Queue,
    pub(super) order: Order,
    births: Births<S>,
    lengths: TokenLengths,
    /// How many tokens there will be at most.
    most: usize,
    pub(super) threshold: Threshold,
    /// Longer tokens are not made.
    max_token_bytes: usize,
    most_postings: usize,
}

impl<S: Symbol> Merger<S> {
    /// For at most `merges` merges, with about so many postings. Without that number, `options` limit the memory.
    pub(super) fn new(
        kernel: Kernel,
        mut words: Words,
        merges: usize,
        options: &TrainOptions,
        postings: Option<usize>,
        go_on: GoOn<'_>,
    ) -> Result<Self> {
        let longest = match options.tie_break {
            // Linked words alone: then postings are places in the text.
            TieBreak::FirstSeen => 0,
            _ => LONGEST,
        };
        words.freeze();
        let (mut symbols, mut windows, mut records, mut room) = (0_u64, 0_u64, 0, 0);
        words.each(go_on, |word, weight| {
            let pairs = word.len() as u64 - 1;
            let sum = weight.checked_mul(pairs);
            let sum = sum.and_then(|sum| windows.checked_add(sum));
            windows = sum.ok_or(Error::CountOverflow)?; // so no count of a pair can overflow
            symbols += word.len() as u64;
            if pairs > 0 && word.len() <= longest {
                records += 1;
                room += Records::<S>::taken(word);
            }
            Ok(())
        })?;
        let (mut records, mut linked) = (Records::with_room(records, room)?, Linked::new());
        let add = |word: &[u8], weight| -> Result<()> {
            match word.len() {
                ..=1 => {}
                length if length <= longest => records.push(word, weight),
                _ => linked.push(word, weight)?,
            }
            Ok(())
        };
        if options.tie_break == TieBreak::FirstSeen {
            words.each_first_seen(go_on, add)?;
        } else {
            words.each(go_on, add)?;
        }
        drop(words);
        let postings = postings.unwrap_or_else(|| {
            let words = records.memory() + linked.memory();
            let limit = options.max_memory.unwrap_or(usize::MAX);
            // There may be two arrays while one grows; pairs and the queue take the rest.
            (limit.saturating_sub(words) / (3 * size_of::<u32>())).max(LEAST_POSTINGS)
        });
        let most = 256 + merges;
        Ok(Self {
            kernel,
            records,
            linked,
            pairs: Pairs::new(),
            postings: Postings::default(),
            most_postings: postings,
            queue: Queue::new(),
            order: Order::new(options.tie_break),
            births: Births::new(most),
            lengths: TokenLengths::new(),
            most,
            threshold: Threshold::new(symbols, windows, merges),
            max_token_bytes: usize::MAX,
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
            linked,
            ..
        } = self;
        queue.push(order, pair, count, || {
            let place = if order.needs_places() {
                first_place(pair, pairs, postings, linked)
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
                let place = first_place(entry.pair, pairs, postings, &self.linked);
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
        let next = self.queue.peek();
        let next = next.and_then(|next| self.pairs.get(next));
        let next = next.map_or(0..0, |next| next.postings.range());
        for (number, start) in postings.clone().step_by(BETWEEN_LOOKS).enumerate() {
            if number > 0 && go_on().is_break() {
                return Err(Error::Cancelled);
            }
            let end = postings.end.min(start + BETWEEN_LOOKS);
            self.kernel.run(Walk {
                postings: &self.postings.all()[start..end],
                next: &self.postings.all()[next.start..next.end.min(next.start + AHEAD)],
                records: &mut self.records,
                linked: &mut self.linked,
                births: &mut self.births,
                pair: (S::new(left), S::new(right)),
                id: S::new(id as u32),
            });
        }
        self.settle(left, right, id as u32)?;
        Ok(true)
    }

    /// Takes from the pairs that lost windows, and keeps those that were born.
    fn settle(&mut self, left: u32, right: u32, id: u32) -> Result<()> {
        let least = self.threshold.now();
        let mut births = std::mem::take(&mut self.births);
        let more = 2 * births.places.len() + births.twice.len();
        let least = self.postings.make_room(more, &mut self.pairs, least)?;
        self.threshold.raise(least);
        let before = self.postings.end();
        self.kernel.run(Fetch {
            pairs: &self.pairs,
            births: &births,
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
            births.write(self.postings.all_mut());
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
        births.clear();
        self.births = births;
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

/// Merges a pair at some of its postings.
struct Walk<'m, S> {
    postings: &'m [u32],
    /// The first ones of the pair that is probably merged next.
    next: &'m [u32],
    records: &'m mut Records<S>,
    linked: &'m mut Linked<S>,
    births: &'m mut Births<S>,
    pair: (S, S),
    id: S,
}

impl<S: Symbol> Job for Walk<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) {
        let Self {
            postings,
            next,
            records,
            linked,
            births,
            pair,
            id,
        } = self;
        let mut records = records.open();
        let mut before = None;
        for (number, &posting) in postings.iter().enumerate() {
            if let Some(&ahead) = postings.get(number + AHEAD) {
                if ahead & LINKED == 0 {
                    records.fetch(kernel, ahead);
                } else {
                    linked.fetch(kernel, ahead & !LINKED);
                }
            }
            // A word is named as often as the pair was born in it.
            if before == Some(posting) {
                continue;
            }
            before = Some(posting);
            if posting & LINKED == 0 {
                records.merge(kernel, posting, pair, id, births);
            } else {
                linked.merge(posting & !LINKED, pair, id, births);
            }
            if number % GATHERED == GATHERED - 1 {
                births.gather();
            }
        }
        births.gather();
        for &posting in next.iter().filter(|&posting| posting & LINKED == 0) {
            records.fetch(kernel, posting);
        }
    }
}

/// Fetches the pairs that lose windows.
struct Fetch<'m, S> {
    pairs: &'m Pairs,
    births: &'m Births<S>,
    left: u32,
    right: u32,
}

impl<S: Symbol> Job for Fetch<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run<K: Simd>(self, kernel: K) {
        for neighbour in &self.births.before.neighbours {
            self.pairs
                .fetch(kernel, Key::new(neighbour.id(), self.left));
        }
        for neighbour in &self.births.after.neighbours {
            self.pairs
                .fetch(kernel, Key::new(self.right, neighbour.id()));
        }
    }
}
