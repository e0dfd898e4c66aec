//! Publishing a full shard while the next one is being filled: the disk's time is not the writer's.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::manifest::ShardEntry;
use super::open_shard::{OpenShard, Stamp};
use crate::Result;

/// A shard on its way to the disk. Dropping it waits for the end.
pub(super) struct Publication {
    state: Option<State>,
    /// The process that began it. A forked child has no such thread, and nothing to wait for.
    process: u32,
}

enum State {
    Running(JoinHandle<Result<ShardEntry>>),
    Done(Result<ShardEntry>),
}

impl Publication {
    pub(super) fn begin(shard: OpenShard, stamp: Stamp) -> Self {
        // The shard is sent to the thread, so that it is still here where no thread can be had.
        let (send, receive) = mpsc::sync_channel::<(OpenShard, Stamp)>(1);
        let name = "gptbpe-publish".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || {
            let (shard, stamp) = receive.recv().expect("a shard is sent to every thread");
            shard.publish(&stamp)
        });
        let state = match thread {
            Ok(thread) => {
                let sent = send.send((shard, stamp));
                debug_assert!(sent.is_ok(), "the thread waits for its shard");
                State::Running(thread)
            }
            Err(_) => State::Done(shard.publish(&stamp)),
        };
        Self {
            state: Some(state),
            process: std::process::id(),
        }
    }

    /// Waits for the shard to be whole.
    pub(super) fn finish(mut self) -> Result<ShardEntry> {
        match self.state.take().expect("a publication ends once") {
            State::Running(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            State::Done(result) => result,
        }
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        if let Some(State::Running(thread)) = self.state.take() {
            if self.process == std::process::id() {
                let _ = thread.join(); // whoever drops a writer does not ask how it ended
            } else {
                std::mem::forget(thread);
            }
        }
    }
}
