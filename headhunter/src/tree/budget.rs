//! Who holds how much of the index's memory.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Bytes of pages in memory, and how many of them are not yet stored.
#[derive(Default)]
pub(crate) struct Budget {
    resident: AtomicU64,
    dirty: AtomicU64,
    pages: AtomicU64,
}

impl Budget {
    /// Bytes of all pages in memory, until their last holder drops them (R16).
    pub fn resident(&self) -> u64 {
        self.resident.load(Relaxed)
    }

    /// Bytes of pages that no stored segment holds.
    pub fn dirty(&self) -> u64 {
        self.dirty.load(Relaxed)
    }

    /// Pages in memory.
    pub fn pages(&self) -> u64 {
        self.pages.load(Relaxed)
    }
}

/// A page's share of the [`Budget`], given back when it drops.
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
    dirty: bool,
}

impl Charge {
    /// Charges `bytes`.
    pub fn new(budget: &Arc<Budget>, bytes: u64, dirty: bool) -> Self {
        budget.resident.fetch_add(bytes, Relaxed);
        budget.pages.fetch_add(1, Relaxed);
        if dirty {
            budget.dirty.fetch_add(bytes, Relaxed);
        }
        Self { budget: budget.clone(), bytes, dirty }
    }

    /// The account.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Changes size and state.
    pub fn set(&mut self, bytes: u64, dirty: bool) {
        if bytes == self.bytes && dirty == self.dirty {
            return;
        }
        self.budget.resident.fetch_add(bytes, Relaxed);
        self.budget.resident.fetch_sub(self.bytes, Relaxed);
        if dirty {
            self.budget.dirty.fetch_add(bytes, Relaxed);
        }
        if self.dirty {
            self.budget.dirty.fetch_sub(self.bytes, Relaxed);
        }
        (self.bytes, self.dirty) = (bytes, dirty);
    }

    /// Bytes charged.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.resident.fetch_sub(self.bytes, Relaxed);
        self.budget.pages.fetch_sub(1, Relaxed);
        if self.dirty {
            self.budget.dirty.fetch_sub(self.bytes, Relaxed);
        }
    }
}
