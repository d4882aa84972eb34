//! Finds again what slabs of an earlier life hold: headers only, in the background.

use std::sync::{Weak, atomic::Ordering::Relaxed};

use swiftclient::disk::DiskFile;

use super::{
    Inner,
    record::{RECORD_HEADER, RecordHeader, SLAB_HEADER, record_len, slab_header},
};
use crate::limits::DISK_CACHE_SCAN_RECORDS;

/// Reads the headers of these slabs' records, a few at a time.
pub(super) async fn scan(cache: Weak<Inner>, slabs: Vec<u64>) {
    for number in slabs {
        let mut at = 0;
        while let Some(alive) = cache.upgrade() {
            let Some(next) = alive.scan_some(number, at) else { break };
            at = next;
            drop(alive);
            tokio::task::yield_now().await;
        }
    }
}

impl Inner {
    /// A few records of a slab from `at` on; where to go on. A slab of another volume, or whose
    /// header does not hold, goes.
    fn scan_some(&self, number: u64, mut at: u64) -> Option<u64> {
        let (file, len) = self.shelf.lock().slab(number)?;
        if at == 0 {
            let mut header = [0; SLAB_HEADER];
            if !filled(&*file, 0, &mut header) || header != slab_header(&self.volume, number) {
                self.counts.rotten.fetch_add(1, Relaxed);
                self.shelf.lock().take_slab(number);
                self.unlink(number);
                return None;
            }
            at = SLAB_HEADER as u64;
        }
        for _ in 0..DISK_CACHE_SCAN_RECORDS {
            let mut header = [0; RECORD_HEADER];
            if at + RECORD_HEADER as u64 > len || !filled(&*file, at, &mut header) {
                return None;
            }
            // Behind what a killed writer or a dying machine left, nothing can be found.
            let header = RecordHeader::decode(&header)
                .filter(|h| h.volume == self.volume && h.slab == number)?;
            let end = at + record_len(header.location.stored);
            if end > len {
                return None;
            }
            self.shelf.lock().put(&header.location, number, at);
            at = end;
        }
        Some(at)
    }
}

fn filled(file: &dyn DiskFile, at: u64, into: &mut [u8]) -> bool {
    file.read_at(at, into).is_ok_and(|n| n == into.len())
}
