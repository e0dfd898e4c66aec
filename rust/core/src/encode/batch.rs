//! Many texts at once, or one long text, on as many threads as the caller says.
//!
//! The texts are laid out as parts of about a megabyte: neighbouring short texts together, long
//! texts in several parts, cut where that changes no pre-token. Threads take the next part
//! from a counter, so a slow part delays nobody, and the parts are joined in their order. The
//! result does not depend on the number of threads.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::ids::{Ids, Width};
use super::{Scheme, Text, expect_ids};
use crate::memory::join;
use crate::special::SpecialSet;
use crate::{Error, Result};

/// A part holds about this much text.
const PART: usize = 1 << 20;

/// The ids of many texts in one array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ragged {
    /// All ids, text after text.
    pub ids: Ids,
    /// Text `i` has `ids[offsets[i]..offsets[i + 1]]`; one longer than the texts.
    pub offsets: Vec<usize>,
}

impl Ragged {
    /// The ids of each text.
    pub fn iter(&self) -> impl Iterator<Item = Vec<u32>> {
        let pairs = self.offsets.windows(2);
        pairs.map(|pair| self.ids.range(pair[0], pair[1]))
    }
}

/// Texts, the first and the last of which may be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    texts: Range<usize>,
    /// Of the first text; 0 unless another part has its beginning.
    start: usize,
    /// Of the last text; `None` is its end.
    end: Option<usize>,
}

impl Scheme<'_> {
    /// The ids of every text, on `threads` threads (0 means 1), unless `go_on` says no.
    pub(crate) fn encode_batch(
        &self,
        texts: &[Text<'_>],
        allowed: &SpecialSet,
        threads: usize,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Ragged> {
        if self.is_narrow() {
            self.encode_parts::<u16>(texts, allowed, threads, go_on)
        } else {
            self.encode_parts::<u32>(texts, allowed, threads, go_on)
        }
    }

    fn encode_parts<T: Width>(
        &self,
        texts: &[Text<'_>],
        allowed: &SpecialSet,
        threads: usize,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Ragged> {
        let mut offsets = Vec::with_capacity(texts.len() + 1);
        offsets.push(0);
        let parts = if threads > 1 {
            self.parts(texts, allowed)
        } else {
            Vec::new()
        };
        if parts.len() < 2 {
            let mut ids = Vec::new();
            let bytes: usize = texts.iter().map(|text| text.bytes.len()).sum();
            expect_ids(&mut ids, bytes)?;
            let mut control = |_| flow(go_on());
            let mut all = texts.iter().copied();
            let ended = self.encode_all(
                &mut all,
                bytes,
                allowed,
                &mut ids,
                &mut offsets,
                &mut control,
            )?;
            if ended.is_break() {
                return Err(Error::Cancelled);
            }
            ids.shrink_to_fit();
            return Ok(Ragged {
                ids: T::wrap(ids),
                offsets,
            });
        }
        let done = self.on_threads::<T>(texts, allowed, &parts, threads, go_on)?;
        let mut base = 0;
        for (part, (ids, ends)) in parts.iter().zip(&done) {
            // A text that goes on in the next part ends there.
            let whole = ends.len() - usize::from(part.end.is_some());
            offsets.extend(ends[..whole].iter().map(|end| base + end));
            base += ids.len();
        }
        let parts: Vec<Vec<T>> = done.into_iter().map(|(ids, _)| ids).collect();
        let ids = join(&parts, threads)?;
        Ok(Ragged {
            ids: T::wrap(ids),
            offsets,
        })
    }

    /// The ids of every part and the ends of the texts in it.
    #[allow(clippy::type_complexity)]
    fn on_threads<T: Width>(
        &self,
        texts: &[Text<'_>],
        allowed: &SpecialSet,
        parts: &[Part],
        threads: usize,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<(Vec<T>, Vec<usize>)>> {
        let next = AtomicUsize::new(0);
        let expected = texts.iter().map(|text| text.bytes.len()).sum::<usize>() / threads;
        let work = || {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(part) = parts.get(number) else {
                    return done;
                };
                let result = self.encode_part::<T>(texts, allowed, part, expected, go_on);
                if result.is_err() {
                    // Later parts cannot have the first error; earlier ones are taken already.
                    next.store(parts.len(), Ordering::Relaxed);
                }
                done.push((number, result));
            }
        };
        let mut done = thread::scope(|scope| {
            // Where the system has no more threads, those that there are do all the parts.
            let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
            let others: Vec<_> = (1..threads.min(parts.len())).map_while(spawn).collect();
            let mut done = work();
            for other in others {
                match other.join() {
                    Ok(more) => done.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        });
        done.sort_by_key(|&(number, _)| number);
        done.into_iter().map(|(_, result)| result).collect()
    }

    fn encode_part<T: Width>(
        &self,
        texts: &[Text<'_>],
        allowed: &SpecialSet,
        part: &Part,
        expected: usize,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Vec<T>, Vec<usize>)> {
        let last = part.texts.end - 1;
        let mut cut = part.texts.clone().map(|index| {
            let text = texts[index];
            let end = part.end.filter(|_| index == last);
            let start = if index == part.texts.start {
                part.start
            } else {
                0
            };
            Text {
                bytes: &text.bytes[start..end.unwrap_or(text.bytes.len())],
                ..text
            }
        });
        let (mut ids, mut ends) = (Vec::new(), Vec::new());
        let mut control = |_| flow(go_on());
        let ended = self.encode_all(
            &mut cut,
            expected,
            allowed,
            &mut ids,
            &mut ends,
            &mut control,
        )?;
        if ended.is_break() {
            return Err(Error::Cancelled);
        }
        Ok((ids, ends))
    }

    /// Lays the texts out in parts.
    fn parts(&self, texts: &[Text<'_>], allowed: &SpecialSet) -> Vec<Part> {
        let mut parts = Vec::new();
        let (mut first, mut start, mut bytes) = (0, 0, 0);
        for (index, text) in texts.iter().enumerate() {
            let mut from = if index == first { start } else { 0 };
            // An empty text still costs something.
            bytes += text.bytes.len() - from + 16;
            while bytes >= PART {
                let rest = &text.bytes[from..];
                let cut = if rest.len() > PART + PART / 2 {
                    self.last_cut(&rest[..PART], allowed)
                } else {
                    None
                };
                let end = cut.map(|at| from + at);
                parts.push(Part {
                    texts: first..index + 1,
                    start,
                    end,
                });
                let Some(end) = end else {
                    (first, start, bytes) = (index + 1, 0, 0);
                    break;
                };
                (first, start, from) = (index, end, end);
                bytes = text.bytes.len() - from;
            }
        }
        if first < texts.len() {
            parts.push(Part {
                texts: first..texts.len(),
                start,
                end: None,
            });
        }
        parts
    }
}

fn flow(go_on: bool) -> ControlFlow<()> {
    if go_on {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}
