//! The eviction clock: a walk over the live tree in key order.
//!
//! It needs no list of pages and no weak pointers (which would make every page look shared). The
//! hand is a key. Only the holder of the commit lock turns it, so no transaction loses a page
//! between its check and its change; readers meet an evicted page as a [`super::Miss`].

use std::sync::Arc;

use super::PageRef;

/// Where the clock stands, and what it did.
#[derive(Default)]
pub(crate) struct Clock {
    hand: Vec<u8>,
    /// Pages evicted so far.
    pub evicted: u64,
}

struct Turn<'a> {
    hand: &'a [u8],
    slots: usize,
    freed: u64,
    evicted: u64,
    /// Where the next turn begins; `None`: the end of the tree was reached.
    next: Option<Vec<u8>>,
}

impl Clock {
    /// True when the last turn ended at the end of the tree.
    pub fn at_start(&self) -> bool {
        self.hand.is_empty()
    }

    /// Looks at up to `slots` child slots and evicts what is clean and was not used since the last
    /// round. Gives the bytes freed.
    pub fn turn(&mut self, root: &Arc<PageRef>, slots: usize) -> u64 {
        let mut turn = Turn { hand: &self.hand, slots, freed: 0, evicted: 0, next: None };
        turn.visit(root);
        self.evicted += turn.evicted;
        let (freed, next) = (turn.freed, turn.next.unwrap_or_default());
        self.hand = next;
        freed
    }
}

impl Turn<'_> {
    /// Visits the children of an inner page from the hand on. Gives whether any is in memory.
    fn visit(&mut self, slot: &Arc<PageRef>) -> bool {
        let state = slot.state.read();
        let Some(page) = state.page.as_ref().filter(|page| page.level > 0) else { return false };
        let first = page.child_for(self.hand);
        let mut any = page.children[..first].iter().any(|c| c.state.read().page.is_some());
        for (i, child) in page.children.iter().enumerate().skip(first) {
            if self.slots == 0 {
                if self.next.is_none() {
                    self.next = Some(if i == 0 {
                        page.low.to_vec()
                    } else {
                        page.cells.key(i - 1).to_vec()
                    });
                }
                return true;
            }
            self.slots -= 1;
            let below = page.level > 1 && self.visit(child);
            if self.next.is_some() {
                return true;
            }
            any |= below || !self.evict(child);
        }
        any
    }

    /// Evicts a page that nobody used lately; gives whether it is out of memory now.
    fn evict(&mut self, slot: &Arc<PageRef>) -> bool {
        if slot.take_spared() {
            return slot.state.read().page.is_none();
        }
        // Whoever reads it just now is using it.
        let Some(mut state) = slot.state.try_write() else { return false };
        if state.place.stored().is_none() {
            return false;
        }
        if let Some(page) = state.page.take() {
            self.freed += page.charged();
            self.evicted += 1;
        }
        true
    }
}
