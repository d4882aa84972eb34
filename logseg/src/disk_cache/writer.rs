//! Appends records to the newest slab, and makes room.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use swiftclient::disk::DiskFile;

use super::{
    Inner,
    record::{RECORD_HEADER, RecordHeader, SLAB_HEADER, record_len, slab_header},
    shelf::that_fit,
};
use crate::{
    Location,
    limits::{DISK_CACHE_PAUSE, WRITEOUT_BYTES},
};

/// The slab being written.
struct Current {
    number: u64,
    file: Arc<dyn DiskFile>,
    end: u64,
    /// Pushed out to the disk up to here.
    pushed: u64,
}

/// The one writer. After a failure it leaves the slab, and the disk alone for a while.
#[derive(Default)]
pub(super) struct Writer {
    current: Option<Current>,
    paused_until: Duration,
}

impl Writer {
    /// Writes one entry, if its disk lets it.
    pub fn write(&mut self, cache: &Inner, location: &Location, entry: &[u8]) {
        let len = record_len(location.stored);
        if cache.env.clock.monotonic() < self.paused_until
            || len + SLAB_HEADER as u64 > cache.slab_limit
            || cache.shelf.lock().holds(location)
        {
            return;
        }
        let full = self.current.as_ref().is_none_or(|c| c.end + len > cache.slab_limit);
        let crowded = cache.shelf.lock().is_full();
        if full || crowded {
            self.next_slab(cache);
        }
        self.append(cache, location, entry);
    }

    fn append(&mut self, cache: &Inner, location: &Location, entry: &[u8]) {
        let Some(current) = &mut self.current else { return };
        let at = current.end;
        let header = RecordHeader::of(cache.volume, current.number, *location, entry).encode();
        let len = record_len(location.stored);
        let padding = [0; 8];
        // Below 8 by construction.
        let pad = usize::try_from(len).unwrap_or(0) - RECORD_HEADER - entry.len();
        if let Err(e) = current.file.write_at(at, &[&header, entry, &padding[..pad]]) {
            self.fail(cache, &e);
            return;
        }
        current.end += len;
        let mut shelf = cache.shelf.lock();
        shelf.grow(current.number, current.end);
        if shelf.put(location, current.number, at) {
            cache.counts.written.fetch_add(1, Relaxed);
        }
        drop(shelf);
        if current.end - current.pushed >= WRITEOUT_BYTES {
            // Only a wish: so that the machine does not write it all at one bad moment.
            let _ = current.file.start_writeout(current.pushed, current.end - current.pushed);
            current.pushed = current.end;
        }
    }

    /// Makes room for a slab and begins it; what was asked for in those that went moves into it.
    fn next_slab(&mut self, cache: &Inner) {
        self.current = None;
        let mut moving = Vec::new();
        loop {
            let mut shelf = cache.shelf.lock();
            let enough = shelf.bytes() + cache.slab_limit <= cache.limit && !shelf.is_full();
            let Some(oldest) = (if enough { None } else { shelf.oldest(None) }) else { break };
            let taken = shelf.take_slab(oldest);
            drop(shelf);
            cache.unlink(oldest);
            cache.counts.evicted.fetch_add(1, Relaxed);
            if let Some((file, survivors)) = taken {
                moving.push((oldest, file, survivors));
            }
        }
        if let Err(e) = self.begin_slab(cache) {
            self.fail(cache, &e);
            return;
        }
        // At most half of it, so that new entries always find a place.
        let mut room = cache.slab_limit / 2;
        for (slab, file, survivors) in moving {
            for survivor in that_fit(survivors, room) {
                if let Some(entry) = cache.read(&*file, slab, survivor.at, &survivor.location) {
                    room -= record_len(survivor.location.stored);
                    self.append(cache, &survivor.location, &entry);
                }
            }
        }
    }

    fn begin_slab(&mut self, cache: &Inner) -> io::Result<()> {
        let number = cache.shelf.lock().next_number();
        let file = cache.disk.create_new(&cache.slab_path(number))?;
        let end = SLAB_HEADER as u64;
        cache.shelf.lock().add_slab(number, file.clone(), end);
        self.current = Some(Current { number, file: file.clone(), end, pushed: 0 });
        file.write_at(0, &[&slab_header(&cache.volume, number)])
    }

    /// What was written to the slab is not trusted any more.
    fn fail(&mut self, cache: &Inner, e: &io::Error) {
        cache.counts.failures.fetch_add(1, Relaxed);
        tracing::warn!(dir = %cache.dir.display(), "the disk cache rests after an error: {e}");
        self.paused_until = cache.env.clock.monotonic() + DISK_CACHE_PAUSE;
        if let Some(current) = self.current.take() {
            cache.shelf.lock().take_slab(current.number);
            cache.unlink(current.number);
        }
    }
}
