//! After a start: sessions of the former process that held locks, which may claim them again before
//! anybody else gets any.
//!
//! The volume has noted who that is ([`fs::Volume::note_locker`]); where it has noted nobody, nobody
//! waits.

use std::collections::HashSet;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Who is awaited.
pub struct Reclaim {
    awaited: Mutex<HashSet<[u8; 16]>>,
    over: watch::Sender<bool>,
}

impl Default for Reclaim {
    fn default() -> Self {
        Self { awaited: Mutex::default(), over: watch::Sender::new(false) }
    }
}

impl Reclaim {
    /// These are awaited. Until this is called nobody gets a lock.
    pub fn begin(&self, noted: Vec<[u8; 16]>) {
        if noted.is_empty() {
            self.over.send_replace(true);
        }
        self.awaited.lock().extend(noted);
    }

    /// True while `session` may claim its locks again.
    pub fn may(&self, session: &[u8; 16]) -> bool {
        self.awaited.lock().contains(session)
    }

    /// `session` has claimed all it wanted, or has ended.
    pub fn done(&self, session: &[u8; 16]) {
        let mut awaited = self.awaited.lock();
        if awaited.remove(session) && awaited.is_empty() {
            self.over.send_replace(true);
        }
    }

    /// The grace time is over: gives those who did not come.
    pub fn give_up(&self) -> Vec<[u8; 16]> {
        let late = self.awaited.lock().drain().collect();
        self.over.send_replace(true);
        late
    }

    /// True once everybody may have locks.
    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits for that.
    pub async fn passed(&self) {
        // Its sender lives as long as this.
        let _ = self.over.subscribe().wait_for(|over| *over).await;
    }
}
