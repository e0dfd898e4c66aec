//! Many texts at once, on as many threads as the caller says.
//!
//! Workers take the next group of texts from a counter, so a slow text delays
//! nobody; every worker has its own [`Scratch`]; groups are joined in the order
//! of the texts. The result does not depend on the number of threads, nor does
//! the error: it is that of the first text that has one.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Scratch;
use crate::special::SpecialSet;
use crate::{Error, Result, Tokenizer};

/// A group holds about this much text: enough to make taking one cheap.
const GROUP_BYTES: usize = 1 << 16;

/// The ids of many texts in one array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ragged {
    /// All ids, text after text.
    pub ids: Vec<u32>,
    /// Text `i` has `ids[offsets[i]..offsets[i + 1]]`; one longer than the texts.
    pub offsets: Vec<usize>,
}

impl Ragged {
    /// The ids of each text.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.offsets.windows(2).map(|w| &self.ids[w[0]..w[1]])
    }
}

impl Tokenizer {
    /// Encodes every text as [`Tokenizer::encode`] does, on `threads` threads (0 means 1).
    pub fn encode_batch<T: AsRef<[u8]> + Sync>(
        &self,
        texts: &[T],
        allowed: &SpecialSet,
        threads: usize,
    ) -> Result<Ragged> {
        self.encode_batch_while(texts, allowed, threads, &|| true)
    }

    /// The same, unless `go_on` says no: then it ends soon, with [`Error::Cancelled`].
    ///
    /// Every thread asks before each group of about 64 KiB of text.
    pub fn encode_batch_while<T: AsRef<[u8]> + Sync>(
        &self,
        texts: &[T],
        allowed: &SpecialSet,
        threads: usize,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Ragged> {
        let groups = group(texts);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut scratch = Scratch::new();
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(&(first, last)) = groups.get(number) else {
                    return done;
                };
                let group = if go_on() {
                    self.encode_group(&texts[first..last], first, allowed, &mut scratch)
                } else {
                    Err(Error::Cancelled)
                };
                let failed = group.is_err();
                done.push((number, group));
                if failed {
                    // Later groups cannot have the first error; earlier ones are taken already.
                    next.store(groups.len(), Ordering::Relaxed);
                }
            }
        };
        let workers = threads.clamp(1, groups.len().max(1));
        let mut done: Vec<(usize, Result<Ragged>)> = if workers == 1 {
            work()
        } else {
            std::thread::scope(|scope| {
                let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
                let mut done = work();
                for other in others {
                    match other.join() {
                        Ok(more) => done.extend(more),
                        Err(panic) => std::panic::resume_unwind(panic),
                    }
                }
                done
            })
        };
        done.sort_by_key(|&(number, _)| number);
        join(done, texts.len())
    }

    fn encode_group<T: AsRef<[u8]>>(
        &self,
        texts: &[T],
        first: usize,
        allowed: &SpecialSet,
        scratch: &mut Scratch,
    ) -> Result<Ragged> {
        let mut group = Ragged::default();
        for (index, text) in (first..).zip(texts) {
            self.encode(text.as_ref(), allowed, scratch, &mut group.ids)
                .map_err(|source| Error::Document {
                    index,
                    source: Box::new(source),
                })?;
            group.offsets.push(group.ids.len());
        }
        Ok(group)
    }
}

fn join(done: Vec<(usize, Result<Ragged>)>, texts: usize) -> Result<Ragged> {
    let mut groups = Vec::with_capacity(done.len());
    for (_, group) in done {
        groups.push(group?);
    }
    let mut all = Ragged {
        ids: Vec::with_capacity(groups.iter().map(|group| group.ids.len()).sum()),
        offsets: Vec::with_capacity(texts + 1),
    };
    all.offsets.push(0);
    for group in groups {
        let base = all.ids.len();
        all.ids.extend_from_slice(&group.ids);
        all.offsets
            .extend(group.offsets.iter().map(|end| base + end));
    }
    Ok(all)
}

/// Neighbouring texts that together hold about [`GROUP_BYTES`].
fn group<T: AsRef<[u8]>>(texts: &[T]) -> Vec<(usize, usize)> {
    let mut groups = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    for (index, text) in texts.iter().enumerate() {
        // An empty text still costs something.
        bytes += text.as_ref().len() + 16;
        if bytes >= GROUP_BYTES || index + 1 == texts.len() {
            groups.push((first, index + 1));
            (first, bytes) = (index + 1, 0);
        }
    }
    groups
}
