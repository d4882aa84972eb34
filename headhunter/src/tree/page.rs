//! A page and the slot that holds it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use logseg::{Location, SegmentId, Seq};
use parking_lot::{RwLock, RwLockReadGuard};

use super::{
    budget::{Budget, Charge},
    cells::Cells,
};
use crate::retire::Generation;

/// Bytes before the bounds of an encoded page (docs/format.md §4.3).
pub(crate) const PAGE_HEADER: usize = 24;
/// Bytes of an encoded child pointer: location and birth.
pub(crate) const CHILD: usize = 24;
const NO_HIGH: u16 = u16::MAX;

/// A node of the tree. In memory it holds the same packed cells as on disk.
pub(crate) struct Page {
    /// 0: a leaf.
    pub level: u8,
    /// Least key that may stand here.
    pub low: Box<[u8]>,
    /// Least key that may not; `None`: no bound.
    pub high: Option<Box<[u8]>>,
    /// Leaf: items. Inner: the keys that separate `children[i]` from `children[i + 1]`, no values.
    pub cells: Cells,
    /// Inner: one more than separators.
    pub children: Vec<Arc<PageRef>>,
    charge: Charge,
}

impl Page {
    /// An empty leaf without bounds, dirty: the root of an empty index.
    pub fn empty(budget: &Arc<Budget>) -> Self {
        Self::new(budget, 0, Box::default(), None, Cells::default(), Vec::new())
    }

    /// A new, dirty page.
    pub fn new(
        budget: &Arc<Budget>,
        level: u8,
        low: Box<[u8]>,
        high: Option<Box<[u8]>>,
        cells: Cells,
        children: Vec<Arc<PageRef>>,
    ) -> Self {
        let charge = Charge::new(budget, 0, true);
        let mut page = Self { level, low, high, cells, children, charge };
        page.recharge(true);
        page
    }

    /// Bytes of memory, unloaded children included.
    fn memory(&self) -> u64 {
        let bounds = self.low.len() + self.high.as_ref().map_or(0, |h| h.len());
        let refs = self.children.capacity() * (size_of::<PageRef>() + 24);
        (size_of::<Self>() + bounds + self.cells.memory() + refs) as u64
    }

    /// Brings the charge up to date.
    pub fn recharge(&mut self, dirty: bool) {
        self.charge.set(self.memory(), dirty);
    }

    /// Bytes charged.
    pub fn charged(&self) -> u64 {
        self.charge.bytes()
    }

    /// The account it is charged to.
    pub fn budget(&self) -> &Arc<Budget> {
        self.charge.budget()
    }

    /// Bytes of the encoded page.
    pub fn encoded_bytes(&self) -> usize {
        let high = self.high.as_ref().map_or(0, |h| h.len());
        PAGE_HEADER
            + self.low.len()
            + high
            + CHILD * self.children.len()
            + 2 * self.cells.len()
            + self.cells.live_bytes()
    }

    /// Index of the child that holds `key`.
    pub fn child_for(&self, key: &[u8]) -> usize {
        match self.cells.find(key) {
            Ok(i) => i + 1,
            Err(i) => i,
        }
    }

    /// The on-disk form (docs/format.md §4.3). `None` if a child has no location yet.
    #[allow(clippy::cast_possible_truncation)] // bounds and counts are limited by the page size
    pub fn encode(&self, birth: Seq) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(self.encoded_bytes());
        out.extend_from_slice(&[self.level, 0]);
        out.extend_from_slice(&(self.cells.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.low.len() as u16).to_le_bytes());
        let high = self.high.as_ref().map_or(NO_HIGH, |h| h.len() as u16);
        out.extend_from_slice(&high.to_le_bytes());
        out.extend_from_slice(&birth.0.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.low);
        if let Some(high) = &self.high {
            out.extend_from_slice(high);
        }
        for child in &self.children {
            let state = child.state.read();
            put_child(&mut out, state.place.location()?, state.birth);
        }
        self.cells.encode(&mut out);
        Some(out)
    }

    /// Reads what [`Page::encode`] wrote, clean. `Err` says what does not hold.
    pub fn decode(bytes: &[u8], budget: &Arc<Budget>) -> Result<(Self, Seq), &'static str> {
        let (h, rest) =
            bytes.split_at_checked(PAGE_HEADER).ok_or("a page shorter than its header")?;
        let short = |at: usize| usize::from(u16::from_le_bytes([h[at], h[at + 1]]));
        let (level, count, low, high) = (h[0], short(2), short(4), short(6));
        let mut birth = [0; 8];
        birth.copy_from_slice(&h[8..16]);
        let (low, rest) = rest.split_at_checked(low).ok_or("a page without its bounds")?;
        let (high, mut rest) = if high == usize::from(NO_HIGH) {
            (None, rest)
        } else {
            let (high, rest) = rest.split_at_checked(high).ok_or("a page without its bounds")?;
            (Some(high), rest)
        };
        let mut children = Vec::new();
        if level > 0 {
            children.reserve_exact(count + 1);
            for _ in 0..=count {
                let (child, after) =
                    rest.split_at_checked(CHILD).ok_or("a page without its children")?;
                let (location, birth) = take_child(child).ok_or("a bad child pointer")?;
                children.push(Arc::new(PageRef::stored(location, birth)));
                rest = after;
            }
        }
        let cells = Cells::decode(count, rest).ok_or("damaged cells")?;
        let inside = |key: &[u8]| key >= low && high.is_none_or(|high| key < high);
        if count > 0 && !(inside(cells.key(0)) && inside(cells.key(count - 1))) {
            return Err("keys outside the page's bounds");
        }
        let charge = Charge::new(budget, 0, false);
        let (low, high) = (low.into(), high.map(Into::into));
        let mut page = Self { level, low, high, cells, children, charge };
        page.recharge(false);
        Ok((page, Seq(u64::from_le_bytes(birth))))
    }
}

impl Clone for Page {
    /// A dirty copy, made to be changed.
    fn clone(&self) -> Self {
        let mut children = Vec::with_capacity(self.children.len() + 4);
        children.extend(self.children.iter().cloned());
        let (low, high) = (self.low.clone(), self.high.clone());
        Self::new(self.charge.budget(), self.level, low, high, self.cells.clone(), children)
    }
}

/// Appends a child pointer: location (16 bytes) and birth (8 bytes).
pub(crate) fn put_child(out: &mut Vec<u8>, location: Location, birth: Seq) {
    out.extend_from_slice(&location.segment.0.to_le_bytes());
    out.extend_from_slice(&location.offset.to_le_bytes());
    out.extend_from_slice(&location.stored.to_le_bytes());
    out.extend_from_slice(&birth.0.to_le_bytes());
}

/// Reads what [`put_child`] wrote.
pub(crate) fn take_child(bytes: &[u8]) -> Option<(Location, Seq)> {
    let eight = |at: usize| bytes.get(at..)?.first_chunk::<8>().copied().map(u64::from_le_bytes);
    let four = |at: usize| bytes.get(at..)?.first_chunk::<4>().copied().map(u32::from_le_bytes);
    let segment = SegmentId(eight(0)?);
    Some((Location { segment, offset: four(8)?, stored: four(12)? }, Seq(eight(16)?)))
}

/// Where a page's bytes are beside memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: it must be written before it can leave memory.
    Dirty,
    /// In a side segment that is not yet stored.
    Written(Location),
    /// In a stored side segment.
    Stored(Location),
}

impl Place {
    /// The location, stored or not.
    pub fn location(self) -> Option<Location> {
        match self {
            Self::Dirty => None,
            Self::Written(location) | Self::Stored(location) => Some(location),
        }
    }

    /// The location if it is stored.
    pub fn stored(self) -> Option<Location> {
        match self {
            Self::Stored(location) => Some(location),
            _ => None,
        }
    }
}

/// Rounds of the clock that a look spares a page.
const LOOKED: u8 = 1;
/// Rounds that a page is spared when it has just been read.
const FRESH: u8 = 4;

/// What a [`PageRef`] knows.
pub(crate) struct State {
    /// In memory, or not.
    pub page: Option<Box<Page>>,
    /// Seq of the last change of the page's own bytes (R14).
    pub birth: Seq,
    /// Beside memory.
    pub place: Place,
}

/// A child slot, shared by every root that holds it (R16): evicting its page frees it for all.
pub(crate) struct PageRef {
    /// Readers hold it for reading from the parent's lock on down; only a fault, an eviction and
    /// the checkpoint take it for writing, none of them while holding another.
    pub state: RwLock<State>,
    /// Rounds of the clock that it is spared.
    spared: AtomicU8,
}

impl PageRef {
    /// A page that is on disk only.
    pub fn stored(location: Location, birth: Seq) -> Self {
        let state = State { page: None, birth, place: Place::Stored(location) };
        Self { state: RwLock::new(state), spared: AtomicU8::new(0) }
    }

    /// A page that is in memory only.
    pub fn dirty(page: Page, birth: Seq) -> Self {
        let state = State { page: Some(Box::new(page)), birth, place: Place::Dirty };
        Self { state: RwLock::new(state), spared: AtomicU8::new(LOOKED) }
    }

    /// Its state, for a look; marks it used.
    pub fn look(&self) -> RwLockReadGuard<'_, State> {
        if self.spared.load(Relaxed) < LOOKED {
            self.spared.store(LOOKED, Relaxed);
        }
        self.state.read()
    }

    /// It was just read: whoever asked for it must come to use it, though others fault too.
    pub fn spare_fresh(&self) {
        self.spared.store(FRESH, Relaxed);
    }

    /// Uses up one spared round; false where there is none left.
    pub fn take_spared(&self) -> bool {
        let left = self.spared.load(Relaxed);
        if left > 0 {
            self.spared.store(left - 1, Relaxed);
        }
        left > 0
    }
}

impl Clone for PageRef {
    /// The copy-on-write step: a dirty copy of the page.
    fn clone(&self) -> Self {
        let state = self.state.read();
        let state = State { page: state.page.clone(), birth: state.birth, place: Place::Dirty };
        Self { state: RwLock::new(state), spared: AtomicU8::new(LOOKED) }
    }
}

/// Pages that are not in memory. Give it to [`crate::Index::fault`], then begin again.
#[derive(Clone)]
pub struct Miss {
    pub(crate) pages: Vec<Arc<PageRef>>,
    /// Keeps the pages' segments from being retired before they are read (R8).
    pin: Option<Arc<Generation>>,
}

impl Miss {
    pub(crate) fn none() -> Self {
        Self { pages: Vec::new(), pin: None }
    }

    pub(crate) fn one(page: &Arc<PageRef>) -> Self {
        Self { pages: vec![page.clone()], pin: None }
    }

    /// Adds the pages of another, each once.
    pub(crate) fn join(&mut self, other: Self) {
        for page in other.pages {
            if !self.pages.iter().any(|known| Arc::ptr_eq(known, &page)) {
                self.pages.push(page);
            }
        }
    }

    pub(crate) fn pinned(mut self, pin: &Arc<Generation>) -> Self {
        self.pin = Some(pin.clone());
        self
    }
}

impl fmt::Debug for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Miss({} pages)", self.pages.len())
    }
}

/// One item of a range scan.
pub type Item = (Bytes, Bytes);
