//! The server's budget of bytes.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of frames and replies in flight on all connections.
pub struct Budget {
    used: AtomicUsize,
    limit: usize,
}

impl Budget {
    /// At most about `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit }
    }

    /// A connection's share goes from `before` to `now` bytes.
    pub fn adjust(&self, before: usize, now: usize) {
        if now > before {
            self.used.fetch_add(now - before, Relaxed);
        } else if before > now {
            self.used.fetch_sub(before - now, Relaxed);
        }
    }

    /// Bytes in flight.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// True when nothing large may be begun.
    pub fn spent(&self) -> bool {
        self.used() >= self.limit
    }
}
