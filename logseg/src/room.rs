//! R18: what may still be promised.

use std::sync::atomic::Ordering::Relaxed;

use crate::core::Core;

impl Core {
    /// (total, free) bytes of store and journal, reserve and promised bytes left out.
    pub(crate) fn room(&self) -> Option<(u64, u64)> {
        let store = self.store.capacity().map(|c| (c.total, c.free));
        let journal = self.journal.as_ref().and_then(|j| self.disk.capacity(&j.dir).ok());
        let (total, free) = match (store, journal) {
            // On one file system both are the same figures; on two the smaller room counts.
            (Some(store), Some(journal)) => (store.0, store.1.min(journal.1)),
            (Some(one), None) => one,
            // A journal before an unbounded store only bounds what is in flight.
            (None, _) => return None,
        };
        let (missing, reserve) = self.reserve.missing();
        let promised = self.lock().unwritten() + missing;
        Some((total.saturating_sub(reserve), free.saturating_sub(promised)))
    }

    /// True where `bytes` more can be promised: they, what is promised already, and two segments
    /// for what they cost besides, fit beside the whole reserve.
    ///
    /// A look costs system calls, and every change asks; so a look that finds plenty is good for an
    /// eighth of what it found.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        if self.ballast.is_full() {
            return false;
        }
        let cost = bytes.saturating_add(OVERHEAD_BYTES);
        let spend = |left: u64| left.checked_sub(cost);
        if self.room_seen.fetch_update(Relaxed, Relaxed, spend).is_ok() {
            return true;
        }
        let Some((_, free)) = self.room() else { return true };
        let left = free.checked_sub(bytes + 2 * self.sizes.segment);
        self.room_seen.store(left.map_or(0, |left| (left / 8).min(SEEN_BYTES)), Relaxed);
        left.is_some()
    }
}

/// What a change costs beside its payload, bytes: its record and headers, generously.
const OVERHEAD_BYTES: u64 = 4 << 10;
/// Most that is promised without another look, bytes: others may fill the disk meanwhile.
const SEEN_BYTES: u64 = 64 << 20;
