//! R18: what may still be promised.

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
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        let Some((_, free)) = self.room() else { return true };
        free >= bytes + 2 * self.sizes.segment
    }
}
