//! Which entry lies where: the index in memory. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use swiftclient::disk::DiskFile;

use super::record::record_len;
use crate::{Location, SegmentId};

#[derive(Clone, Copy, Debug)]
struct Slot {
    slab: u64,
    at: u64,
    stored: u32,
    /// Asked for since it was written.
    hit: bool,
}

struct Slab {
    file: Arc<dyn DiskFile>,
    /// Bytes of the file.
    len: u64,
    /// What was put there, as (segment, offset); some of it may have gone since.
    held: Vec<(SegmentId, u32)>,
}

/// Slabs and what is in them.
pub(super) struct Shelf {
    slabs: BTreeMap<u64, Slab>,
    slots: HashMap<SegmentId, HashMap<u32, Slot>>,
    /// Slots, and those of gone entries that slabs still remember.
    entries: usize,
    remembered: usize,
    most: usize,
    bytes: u64,
}

/// An entry that is to outlive its slab.
pub(super) struct Survivor {
    pub location: Location,
    pub at: u64,
}

impl Shelf {
    /// A shelf of at most `most` entries.
    pub fn new(most: usize) -> Self {
        let (slabs, slots) = (BTreeMap::new(), HashMap::new());
        Self { slabs, slots, entries: 0, remembered: 0, most, bytes: 0 }
    }

    /// Bytes of all slabs.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn entries(&self) -> usize {
        self.entries
    }

    /// True where no further entry fits in memory.
    pub fn is_full(&self) -> bool {
        self.remembered >= self.most
    }

    /// Numbers of the slabs, newest first.
    pub fn numbers(&self) -> Vec<u64> {
        self.slabs.keys().rev().copied().collect()
    }

    /// The number of a slab to come.
    pub fn next_number(&self) -> u64 {
        self.slabs.last_key_value().map_or(1, |(n, _)| n + 1)
    }

    pub fn add_slab(&mut self, number: u64, file: Arc<dyn DiskFile>, len: u64) {
        self.bytes += len;
        self.slabs.insert(number, Slab { file, len, held: Vec::new() });
    }

    pub fn slab(&self, number: u64) -> Option<(Arc<dyn DiskFile>, u64)> {
        self.slabs.get(&number).map(|slab| (slab.file.clone(), slab.len))
    }

    /// A slab has become longer.
    pub fn grow(&mut self, number: u64, len: u64) {
        if let Some(slab) = self.slabs.get_mut(&number) {
            self.bytes += len.saturating_sub(slab.len);
            slab.len = slab.len.max(len);
        }
    }

    pub fn holds(&self, location: &Location) -> bool {
        self.slot(location).is_some()
    }

    /// Slab, its file, and the record's offset there. It counts as asked for.
    pub fn find(&mut self, location: &Location) -> Option<(u64, Arc<dyn DiskFile>, u64)> {
        let slot = self.slots.get_mut(&location.segment)?.get_mut(&location.offset)?;
        if slot.stored != location.stored {
            return None;
        }
        slot.hit = true;
        let (slab, at) = (slot.slab, slot.at);
        Some((slab, self.slabs.get(&slab)?.file.clone(), at))
    }

    fn slot(&self, location: &Location) -> Option<&Slot> {
        let slot = self.slots.get(&location.segment)?.get(&location.offset)?;
        (slot.stored == location.stored).then_some(slot)
    }

    /// Notes the record at `at` of a slab; `false` where the entry is known already, or no more
    /// fits into memory.
    pub fn put(&mut self, location: &Location, slab: u64, at: u64) -> bool {
        let full = self.is_full();
        let Some(of) = self.slabs.get_mut(&slab) else { return false };
        let slots = self.slots.entry(location.segment).or_default();
        if full || slots.contains_key(&location.offset) {
            return false;
        }
        slots.insert(location.offset, Slot { slab, at, stored: location.stored, hit: false });
        of.held.push((location.segment, location.offset));
        self.entries += 1;
        self.remembered += 1;
        true
    }

    /// Drops an entry, if it lies in `slab` (`None`: wherever). True where there was one.
    pub fn remove(&mut self, location: &Location, slab: Option<u64>) -> bool {
        let Some(slots) = self.slots.get_mut(&location.segment) else { return false };
        if slots.get(&location.offset).is_none_or(|s| slab.is_some_and(|n| n != s.slab)) {
            return false;
        }
        slots.remove(&location.offset);
        if slots.is_empty() {
            self.slots.remove(&location.segment);
        }
        self.entries -= 1;
        true
    }

    /// Drops all of a segment.
    pub fn forget(&mut self, segment: SegmentId) {
        if let Some(slots) = self.slots.remove(&segment) {
            self.entries -= slots.len();
        }
    }

    /// The oldest slab, unless it is `but`.
    pub fn oldest(&self, but: Option<u64>) -> Option<u64> {
        self.slabs.keys().copied().find(|n| Some(*n) != but)
    }

    /// Takes a slab and its entries out; gives its file and those that were asked for, in order.
    pub fn take_slab(&mut self, number: u64) -> Option<(Arc<dyn DiskFile>, Vec<Survivor>)> {
        let slab = self.slabs.remove(&number)?;
        self.bytes -= slab.len;
        self.remembered -= slab.held.len();
        let mut survivors = Vec::new();
        for (segment, offset) in slab.held {
            let Some(slots) = self.slots.get_mut(&segment) else { continue };
            let Some(slot) = slots.get(&offset).filter(|s| s.slab == number).copied() else {
                continue;
            };
            slots.remove(&offset);
            if slots.is_empty() {
                self.slots.remove(&segment);
            }
            self.entries -= 1;
            if slot.hit {
                let location = Location { segment, offset, stored: slot.stored };
                survivors.push(Survivor { location, at: slot.at });
            }
        }
        Some((slab.file, survivors))
    }
}

/// As many survivors as fit into `room` bytes.
pub(super) fn that_fit(survivors: Vec<Survivor>, room: u64) -> impl Iterator<Item = Survivor> {
    let mut left = room;
    survivors.into_iter().take_while(move |s| {
        let len = record_len(s.location.stored);
        let fits = len <= left;
        left = left.saturating_sub(len);
        fits
    })
}
