//! The journal thread.

use std::{io, sync::Arc, thread::JoinHandle};

use super::{Flusher, Goal};
use crate::{WRITEOUT_BYTES, core::Core};

/// One thread of the operating system per open log, because what it does blocks: fdatasync takes
/// longer than a hundred requests, and on a reactor it would hold them all up; a pool would cost a
/// hop per sync and could run several where one is wanted. It ends when the log is dropped.
pub(crate) struct JournalThread {
    core: Arc<Core>,
    handle: Option<JoinHandle<()>>,
}

impl JournalThread {
    pub(crate) fn start(core: &Arc<Core>) -> io::Result<Self> {
        let of_thread = core.clone();
        let handle = std::thread::Builder::new()
            .name("esker-journal".into())
            .spawn(move || run(&of_thread))?;
        Ok(Self { core: core.clone(), handle: Some(handle) })
    }
}

impl Drop for JournalThread {
    fn drop(&mut self) {
        self.core.lock().stop = true;
        self.core.work.notify_all();
        if let Some(handle) = self.handle.take()
            && handle.join().is_err()
        {
            tracing::error!("the journal thread panicked");
        }
    }
}

fn run(core: &Core) {
    while let Some(goal) = next_goal(core) {
        let _part = Flusher(core);
        core.flush(goal);
    }
}

/// Sleeps until there is something to flush and takes the flusher's part; `None`: stop.
fn next_goal(core: &Core) -> Option<Goal> {
    let mut state = core.lock();
    loop {
        let busy = state.flushing || state.rescue.is_some();
        if busy && state.stop && !state.flushing {
            return None;
        }
        if !busy {
            if !state.syncs.is_empty() || state.flush_wanted {
                state.flushing = true;
                return Some(Goal::Sync);
            }
            if state.stop {
                return None;
            }
            let much = state.unwritten() >= WRITEOUT_BYTES;
            if state.failure.is_none() && (much || state.writeout_wanted) {
                state.flushing = true;
                return Some(Goal::WriteOut);
            }
        }
        core.work.wait(&mut state);
    }
}
