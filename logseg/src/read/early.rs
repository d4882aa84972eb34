//! Frames that came before anybody asked for them. They stay apart from the frame cache until they
//! were read: there, a frame that nobody has asked for yet is the first to go once the cache is warm,
//! and one that was put in and then read once counts as read twice.
//!
//! ```text
//!   read ahead ─► unread ──first read──► used ──oldest──► frame cache
//!                    └──────── oldest, where all are unread ─────► wasted
//! ```

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{Location, SegmentId};

type Key = (SegmentId, u32);

/// Frames read ahead, limited in bytes.
pub(super) struct Early {
    limit: u64,
    table: Mutex<Table>,
    /// Bytes in the table: who finds 0 need not lock it.
    bytes: AtomicU64,
    used: AtomicU64,
    wasted: AtomicU64,
}

#[derive(Default)]
struct Table {
    frames: HashMap<Key, Frame>,
    /// In the order of their coming, and of their first reading. Keys of frames that have gone, or
    /// gone on, are skipped.
    unread: VecDeque<Key>,
    used: VecDeque<Key>,
    bytes: u64,
}

struct Frame {
    bytes: Bytes,
    used: bool,
}

impl Early {
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            table: Mutex::default(),
            bytes: AtomicU64::new(0),
            used: AtomicU64::new(0),
            wasted: AtomicU64::new(0),
        }
    }

    /// Most bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Frames that were read, and frames that had to go before anybody read them.
    pub fn counts(&self) -> (u64, u64) {
        (self.used.load(Relaxed), self.wasted.load(Relaxed))
    }

    pub fn contains(&self, at: &Location) -> bool {
        self.bytes() > 0 && self.table.lock().frames.contains_key(&(at.segment, at.offset))
    }

    /// A frame for its reader.
    pub fn get(&self, at: &Location) -> Option<Bytes> {
        if self.bytes() == 0 {
            return None;
        }
        let key = (at.segment, at.offset);
        let mut table = self.table.lock();
        let frame = table.frames.get_mut(&key)?;
        let bytes = frame.bytes.clone();
        if !std::mem::replace(&mut frame.used, true) {
            table.used.push_back(key);
            self.used.fetch_add(1, Relaxed);
        }
        Some(bytes)
    }

    /// Keeps a frame; gives those that were read and have to make room, for the frame cache.
    pub fn insert(&self, at: &Location, bytes: &Bytes) -> Vec<(Location, Bytes)> {
        let key = (at.segment, at.offset);
        let mut gone = Vec::new();
        let mut table = self.table.lock();
        if bytes.len() as u64 > self.limit || table.frames.contains_key(&key) {
            return gone;
        }
        while table.bytes + bytes.len() as u64 > self.limit {
            let Some((key, frame)) = table.oldest() else { break };
            if frame.used {
                let (segment, offset) = key;
                gone.push((Location { segment, offset, stored: 0 }, frame.bytes));
            } else {
                self.wasted.fetch_add(1, Relaxed);
            }
        }
        table.bytes += bytes.len() as u64;
        table.frames.insert(key, Frame { bytes: bytes.clone(), used: false });
        table.unread.push_back(key);
        self.bytes.store(table.bytes, Relaxed);
        gone
    }

    /// Drops the frames of deleted segments.
    pub fn forget(&self, segments: &[SegmentId]) {
        if self.bytes() == 0 {
            return;
        }
        let gone: HashSet<_> = segments.iter().collect();
        let mut table = self.table.lock();
        let mut freed = 0;
        table.frames.retain(|(segment, _), frame| {
            let stays = !gone.contains(segment);
            freed += if stays { 0 } else { frame.bytes.len() as u64 };
            stays
        });
        table.bytes -= freed;
        self.bytes.store(table.bytes, Relaxed);
    }
}

impl Table {
    /// Takes the oldest that was read, else the oldest.
    fn oldest(&mut self) -> Option<(Key, Frame)> {
        let key = loop {
            if let Some(key) = self.used.pop_front() {
                if self.frames.get(&key).is_some_and(|f| f.used) {
                    break key;
                }
            } else {
                let key = self.unread.pop_front()?;
                if self.frames.get(&key).is_some_and(|f| !f.used) {
                    break key;
                }
            }
        };
        let frame = self.frames.remove(&key)?;
        self.bytes -= frame.bytes.len() as u64;
        // What went by the other queue has left its key in this one.
        while self.unread.front().is_some_and(|k| self.frames.get(k).is_none_or(|f| f.used)) {
            self.unread.pop_front();
        }
        Some((key, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u32) -> Location {
        Location { segment: SegmentId::chain(1, n / 10), offset: n % 10 * 8, stored: 0 }
    }

    fn frame(n: u32) -> Bytes {
        n.to_le_bytes().repeat(25).into()
    }

    #[test]
    fn what_was_read_makes_room_first_and_goes_to_the_cache() {
        let early = Early::new(1000);
        for n in 0..10 {
            assert_eq!(early.insert(&at(n), &frame(n)), []);
        }
        assert_eq!((early.get(&at(5)), early.get(&at(3))), (Some(frame(5)), Some(frame(3))));
        assert_eq!(early.get(&at(5)), Some(frame(5)));
        assert_eq!(early.insert(&at(10), &frame(10)), [(at(5), frame(5))]);
        assert_eq!(early.insert(&at(10), &frame(10)), [], "there");
        assert_eq!(early.insert(&at(11), &frame(11)), [(at(3), frame(3))]);
        assert_eq!(early.counts(), (2, 0));
        assert_eq!(early.insert(&at(12), &frame(12)), [], "nobody wanted it");
        assert_eq!((early.get(&at(0)), early.counts()), (None, (2, 1)));
        assert_eq!(early.get(&at(1)), Some(frame(1)));
        assert_eq!(early.bytes(), 1000);
        early.forget(&[at(0).segment]);
        assert_eq!((early.get(&at(1)), early.get(&at(12))), (None, Some(frame(12))));
        assert_eq!(early.bytes(), 300);
        assert_eq!(early.insert(&at(20), &vec![0; 1001].into()), []);
        assert!(!early.contains(&at(20)) && early.contains(&at(12)));
    }

    #[test]
    fn it_keeps_its_limit_whatever_happens() {
        let early = Early::new(5000);
        let mut x = 1_u32;
        for _ in 0..20_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = x >> 16 & 0xff;
            match x >> 28 {
                0..=7 => drop(early.insert(&at(n), &frame(n))),
                8 => early.forget(&[at(n).segment]),
                _ => assert!(early.get(&at(n)).is_none_or(|got| got == frame(n))),
            }
            let table = early.table.lock();
            let sum: u64 = table.frames.values().map(|f| f.bytes.len() as u64).sum();
            assert_eq!((sum, sum), (table.bytes, early.bytes()));
            assert!(sum <= 5000);
            // Old keys do not pile up.
            assert!(table.used.len() + table.unread.len() <= 400, "{}", table.unread.len());
        }
    }
}
