//! R18 where there is much index and little ballast: whatever is dirty when the store fills up can be
//! written to what the ballast leaves, twice, and that frees the rest.

use std::{sync::Arc, time::Duration};

use headhunter::{Index, IndexConfig, Intent, LogError, SyncMode};
use swiftclient::{
    Faulty, Memory,
    disk::{Disk, SimDisk},
    faulty::{Fault, Rule},
    seam::Env,
};

use crate::world::{change, get, open, over};

const SEGMENT: u64 = 1 << 20;
/// Keys of one transaction.
const BATCH: u64 = 16;
const BYTES: u64 = 4096;

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

struct Bed {
    memory: Memory,
    faulty: Faulty,
    sim: SimDisk,
    process: SimDisk,
    env: Env,
    /// Keys that should be there: below it.
    keys: u64,
    journal: bool,
}

/// Long and scattered: what is put in a row dirties many pages.
fn key(n: u64) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x55;
    let mut out = ((state >> 1) | 1 << 62).to_be_bytes().to_vec();
    while out.len() < 264 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_be_bytes());
    }
    out
}

impl Bed {
    fn new(journal: bool) -> Self {
        let sim = SimDisk::new();
        sim.set_capacity(Some(256 << 20));
        let process = sim.process();
        let memory = Memory::new().quota(1 << 30).on_disk(Arc::new(process.clone()));
        let faulty = Faulty::new(Arc::new(memory.clone())).on_disk(Arc::new(process.clone()));
        Self { memory, faulty, sim, process, env: Env::simulated(7), keys: 0, journal }
    }

    fn config(&self) -> IndexConfig {
        let disk: Arc<dyn Disk> = Arc::new(self.process.clone());
        let mut config = over(Arc::new(self.faulty.clone()), &disk, "/volume", &self.env);
        config.background = true;
        config.memory_bytes = 32 << 20;
        // Only its size makes a checkpoint due.
        config.checkpoint_every = Duration::from_secs(3600);
        config.header.segment_bytes = SEGMENT;
        config.log.destage.ballast_bytes = 16 * SEGMENT;
        if !self.journal {
            config.log.journal = None;
        }
        config
    }

    fn crash(&mut self) {
        self.sim.crash_losing_unsynced();
        self.process = self.sim.process();
        self.memory = self.memory.clone().on_disk(Arc::new(self.process.clone()));
        self.faulty =
            Faulty::new(Arc::new(self.memory.clone())).on_disk(Arc::new(self.process.clone()));
    }

    /// Others take all room there is, and go on doing so.
    fn fills_up(&self) {
        self.memory.set_limit(Some(self.memory.used()));
    }

    /// Opens it; its ballast is there.
    async fn open(&self) -> Index {
        let index = open(&self.config()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        index
    }

    /// One transaction of [`BATCH`] keys, durable; false where it is not admitted.
    async fn put(&mut self, index: &Index) -> bool {
        match index.admit(Intent::Grow { bytes: BYTES }).await {
            Ok(()) => {}
            Err(LogError::Full) => return false,
            Err(e) => panic!("{e}"),
        }
        let from = self.keys;
        let (_, seq) = change(index, |txn| {
            (from..from + BATCH).for_each(|n| txn.put(key(n), vec![7; 20]));
            Ok(())
        })
        .await
        .unwrap();
        self.keys += BATCH;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let synced = index.sync(seq, SyncMode::Inline);
        let synced = tokio::time::timeout(Duration::from_secs(300), synced).await;
        synced.expect("a sync hangs").unwrap();
        true
    }

    async fn all_there(&self, index: &Index) {
        for n in (0..self.keys).step_by(7) {
            assert!(get(index, &key(n)).await.unwrap().is_some(), "key {n}");
        }
        assert!(get(index, &key(self.keys + BATCH)).await.unwrap().is_none());
    }

    /// Until growth is admitted.
    async fn room_again(&mut self, index: &Index, what: &str) {
        for _ in 0..400 {
            if self.put(index).await {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("{what}: no room again; {:?}, {:?}", index.status(), index.log_status());
    }
}

/// A volume of much index and few data, whose last free byte is taken by somebody else.
#[test]
fn whatever_is_dirty_when_the_store_fills_up_two_checkpoints_find_room() {
    for journal in [true, false] {
        for batches in [400, 900] {
            paused().block_on(async {
                let mut bed = Bed::new(journal);
                let index = bed.open().await;
                while bed.keys < batches * BATCH {
                    assert!(bed.put(&index).await);
                }
                bed.fills_up();
                for n in 0..2 {
                    let made = index.checkpoint_now();
                    let made = tokio::time::timeout(Duration::from_secs(300), made).await;
                    let what = format!("{batches} batches, journal: {journal}, checkpoint {n}");
                    let made = made.unwrap_or_else(|_| panic!("{what} hangs"));
                    made.unwrap_or_else(|e| panic!("{what}: {e}; {:?}", index.status()));
                }
                bed.all_there(&index).await;
            });
        }
    }
}

/// The server is killed in the middle of what would free it, again and again: what a
/// killed checkpoint left is not in the way of the next, and every start finds room for its seal.
#[test]
fn killed_again_and_again_on_a_full_store_it_starts_and_frees_itself() {
    let mut bed = Bed::new(true);
    paused().block_on(async {
        let index = bed.open().await;
        while bed.keys < 400 * BATCH {
            assert!(bed.put(&index).await);
        }
        // What it stores last fails half-way.
        bed.fills_up();
        for _ in 0..200 {
            if !bed.put(&index).await {
                break;
            }
        }
    });
    for life in 0..24 {
        bed.crash();
        bed.fills_up();
        // It dies right after a call of the store, one later each time.
        bed.faulty.add(Rule { skip: 6 + life, ..Rule::always(Fault::HangAfter) });
        paused().block_on(async {
            let config = bed.config();
            let opened = tokio::time::timeout(Duration::from_secs(20), open(&config));
            let Ok(index) = opened.await else {
                return;
            };
            let index = index.unwrap_or_else(|e| panic!("life {life}: {e}"));
            bed.all_there(&index).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
        });
    }
    bed.crash();
    bed.fills_up();
    paused().block_on(async {
        let index = open(&bed.config()).await.unwrap();
        bed.all_there(&index).await;
        bed.room_again(&index, "after all these lives").await;
    });
}
