//! One piece of work on several threads, the caller's among them.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::GoOn;
use crate::{Error, Result};

/// After so many words or symbols the caller is asked whether to go on.
pub(super) const BETWEEN_LOOKS: usize = 1 << 15;

/// What `work` makes of each part, in their order. The first part is done on this thread, each of the others
/// on one of its own. Where this thread is told not to go on, the others are too.
pub(super) fn each<P: Sync, T: Send>(
    parts: &[P],
    go_on: GoOn<'_>,
    work: impl Fn(&P, GoOn<'_>) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let stopped = &AtomicBool::new(false);
    let here = &mut || {
        let flow = go_on();
        stopped.fetch_or(flow.is_break(), Ordering::Relaxed);
        flow
    };
    let work = &work;
    thread::scope(|scope| {
        let Some((first, others)) = parts.split_first() else {
            return Ok(Vec::new());
        };
        let spawn = |part| {
            let there = move || {
                work(part, &mut || {
                    if stopped.load(Ordering::Relaxed) {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                })
            };
            (part, thread::Builder::new().spawn_scoped(scope, there))
        };
        let others: Vec<_> = others.iter().map(spawn).collect();
        let mut done = vec![work(first, here)];
        for (part, thread) in others {
            done.push(match thread {
                Ok(thread) => thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // The system has no more threads.
                Err(_) => work(part, here),
            });
        }
        done.into_iter().collect()
    })
}

/// Asks now and then whether to go on.
#[inline(always)]
pub(super) fn look(number: usize, go_on: GoOn<'_>) -> Result<()> {
    if number % BETWEEN_LOOKS == BETWEEN_LOOKS - 1 && go_on().is_break() {
        return Err(Error::Cancelled);
    }
    Ok(())
}
