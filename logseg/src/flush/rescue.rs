//! R10's second way out: where no file of the journal takes the bytes, the store does.
//!
//! ```text
//!   write or fdatasync fails ─► a new file fails too ─► rescue: the open segment is sealed, all that
//!   is not durable is stored from memory ─┬─ stored: durable; the next group tries the journal again
//!                                         └─ not within RESCUE_PATIENCE: EIO, the volume is read-only
//! ```
//!
//! Whoever waits for a sync waits on; nobody is told of a failure that did no harm. There is no mode
//! to leave: each group tries the journal first, so that one that works again is used again, and one
//! that does not makes each sync a put.
//!
//! Invariants
//! 1. While a rescue lasts no journal file is written.
//! 2. It is over when nothing sealed is without a home; until then no later bytes are acknowledged.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    RESCUE_PATIENCE, RESCUE_PATIENCE_LINKED, SegmentId,
    chain::{JournalFile, Segment},
    core::{Core, Failure, State},
    destage::Wake,
    format::scan_sealed,
};

/// A rescue under way.
pub(crate) struct Rescue {
    /// What the journal's disk said.
    reason: String,
    /// When it began.
    begun: Duration,
}

/// A segment that is to be given its home.
struct Homeless {
    id: SegmentId,
    file: Option<Arc<JournalFile>>,
    durable: u64,
}

impl Core {
    /// The journal takes nothing: what waits is to be stored. By the holder of the flusher's part.
    pub(super) fn begin_rescue(&self, reason: String) {
        let begun = self.env.clock.monotonic();
        let mut state = self.lock();
        if state.rescue.is_none() {
            tracing::error!(%reason, "the journal takes nothing: its bytes go to the store");
            state.rescue = Some(Rescue { reason, begun });
        }
        state.flush_wanted = false;
        state.writeout_wanted = false;
        // Of the same disk: the next segment's file is made when that is tried again.
        state.spare = None;
        self.want_roll(&mut state);
        drop(state);
        self.keeper.notify_one();
    }

    /// The keeper's part: gives what is sealed and not durable to destage, ends the rescue when
    /// nothing is left, or the log when it took too long. Gives when to look again.
    pub(crate) fn tend_rescue(&self) -> Option<Duration> {
        let (reason, left) = {
            let state = self.lock();
            let rescue = state.rescue.as_ref().filter(|_| state.failure.is_none())?;
            let now = self.env.clock.monotonic();
            // A directory of this machine answers at once or not at all.
            let patience = if self.links() { RESCUE_PATIENCE_LINKED } else { RESCUE_PATIENCE };
            (rescue.reason.clone(), (rescue.begun + patience).saturating_sub(now))
        };
        if left.is_zero() {
            let store = self.lock().put_error.clone();
            let store = store.map_or("no answer".into(), |(_, error)| error);
            self.fail(Failure::ReadOnly(format!("{reason}; nor does the store: {store}")));
            return None;
        }
        for homeless in self.homeless() {
            if let Err(why) = self.take_in(&homeless) {
                let id = homeless.id;
                self.fail(Failure::ReadOnly(format!("{reason}; {id} cannot be read again: {why}")));
                return None;
            }
        }
        let mut state = self.lock();
        if state.roll_wanted || state.chain.sealed().is_some_and(|s| s.durable < s.end) {
            return Some(left);
        }
        tracing::warn!("what the journal did not take is stored; the journal is tried again");
        state.rescue = None;
        let waiting = !state.syncs.is_empty();
        drop(state);
        if waiting {
            self.work.notify_all();
            if self.inline_only {
                self.flush_inline(super::Goal::Sync);
            }
        }
        None
    }

    /// Sealed, not durable, and not yet destage's.
    fn homeless(&self) -> Vec<Homeless> {
        let state = self.lock();
        let without = |s: &&Segment| s.sealed && s.durable < s.end && s.rescued.is_none();
        let homeless = state.chain.segments.iter().filter(without);
        homeless.map(|s| Homeless { id: s.id, file: s.file.clone(), durable: s.durable }).collect()
    }

    /// What was durable in the file before is read once more, and checked: the rest is in memory.
    fn take_in(&self, homeless: &Homeless) -> Result<(), String> {
        let Homeless { id, file, durable } = homeless;
        self.encode_segment(*id);
        let mut before = vec![0; usize::try_from(*durable).unwrap_or(0)];
        if let (Some(file), false) = (file, before.is_empty()) {
            let read = file.file.read_at(0, &mut before).map_err(|e| e.to_string())?;
            before.truncate(read);
        }
        let before = Bytes::from(before);
        let mut state = self.lock();
        let State { chain, view, .. } = &mut *state;
        let Some(segment) = chain.find_mut(*id) else { return Ok(()) };
        let mut pieces = vec![before];
        pieces.extend(segment.pieces(*durable, segment.end));
        let whole = pieces.concat();
        if whole.len() as u64 != segment.end {
            return Err(format!("{} of {} bytes are there", whole.len(), segment.end));
        }
        scan_sealed(&whole).map_err(|e| e.of(*id).to_string())?;
        segment.rescued = Some(pieces);
        segment.tell_stream(segment.end);
        view.ready(*id);
        // Syncs wait for it: no mark and no age counts.
        view.force(SegmentId::chain(id.epoch(), id.counter() + 1), Wake::Sync);
        Ok(())
    }
}
