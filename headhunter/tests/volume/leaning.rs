//! R18 on a store that is full and does not tell its room, when the journal holds more than any
//! ballast: what frees room is stored all the same, because checkpoints lean on the journal.

use std::{sync::Arc, time::Duration};

use headhunter::{Index, IndexConfig, Intent, LogError, SegmentId, SyncMode};
use swiftclient::{
    ErrorKind, Faulty, Memory, ObjectStore,
    disk::{Disk, SimDisk},
    faulty::{Fault, Rule},
    seam::Env,
};

use crate::world::{Op, SEGMENT, count, get, key, model, objects, open, over, parse, run, verify};

const ROOT: &str = "/volume";
const QUOTA: u64 = 8 << 20;
/// What each key holds, bytes.
const FRAME: usize = 30_000;
/// Keys whose segments are stored when the store fills, and keys that only the journal has then.
const STORED: u64 = 130;
const UNSTORED: u64 = 180;

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// Store, journal's disk, and what has been done.
struct Bed {
    memory: Memory,
    faulty: Faulty,
    sim: SimDisk,
    process: SimDisk,
    ops: Vec<Op>,
    env: Env,
}

impl Bed {
    fn new(seed: u64) -> Self {
        let sim = SimDisk::new();
        sim.set_capacity(Some(256 << 20));
        let process = sim.process();
        let memory = Memory::new().quota(QUOTA).on_disk(Arc::new(process.clone()));
        let faulty = Faulty::new(Arc::new(memory.clone())).on_disk(Arc::new(process.clone()));
        Self { memory, faulty, sim, process, ops: Vec::new(), env: Env::simulated(seed) }
    }

    fn config(&self) -> IndexConfig {
        let disk: Arc<dyn Disk> = Arc::new(self.process.clone());
        let mut config = over(Arc::new(self.faulty.clone()), &disk, ROOT, &self.env);
        config.background = true;
        config.log.destage.ballast_bytes = 4 * SEGMENT;
        config.log.destage.budget_bytes = 32 << 20;
        config
    }

    /// The machine dies, and what was not synced is lost.
    fn crash(&mut self) {
        self.sim.crash_losing_unsynced();
        self.process = self.sim.process();
        self.memory = self.memory.clone().on_disk(Arc::new(self.process.clone()));
        self.faulty =
            Faulty::new(Arc::new(self.memory.clone())).on_disk(Arc::new(self.process.clone()));
    }

    /// Runs the operation; durable on return.
    async fn run(&mut self, index: &Index, op: Op) {
        self.ops.push(op);
        let n = self.ops.len();
        let seq = run(index, n as u64, &self.ops[n - 1]).await.unwrap();
        index.sync(seq, SyncMode::Inline).await.unwrap();
    }

    /// From `base` on: keys that are stored, then the store goes away and comes back full, and more
    /// than its ballast is in the journal.
    async fn fill(&mut self, index: &Index, base: u64) {
        self.overfill(index, base).await;
        self.faulty.heal();
        told(index, "it is full", |full| full).await;
        let unstored = index.log_status().unstored_bytes;
        assert!(unstored > 4 * SEGMENT, "more than the ballast: {unstored}");
        assert!(self.memory.used() <= QUOTA);
    }

    /// [`Bed::fill`], but the store is still away.
    async fn overfill(&mut self, index: &Index, base: u64) {
        for n in 0..STORED {
            index.admit(Intent::Grow { bytes: FRAME as u64 }).await.unwrap();
            self.run(index, Op::Write(base + n, FRAME)).await;
        }
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(index.log_status().put_error, None);
        self.faulty.add(Rule::always(Fault::Refuse(ErrorKind::Unavailable)).at("seg/"));
        for n in STORED..STORED + UNSTORED {
            index.admit(Intent::Grow { bytes: FRAME as u64 }).await.unwrap();
            self.run(index, Op::Write(base + n, FRAME)).await;
        }
    }

    /// Removes the keys from `base` on below `end`, but for some in either half: nobody moves what
    /// lives out of a segment that is nearly dead.
    async fn empty(&mut self, index: &Index, base: u64, end: u64) {
        for n in (0..end).filter(|n| n % STORED >= 10) {
            index.admit(Intent::Shrink).await.unwrap();
            self.run(index, Op::Remove(base + n)).await;
        }
    }

    /// What is left is whole, all of it is stored, and nothing is there that nobody knows.
    async fn whole(&self, index: &Index) {
        verify(index, &self.ops).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        let status = index.log_status();
        let limit = Duration::from_secs(300);
        tokio::time::timeout(limit, index.flush_through(index.last_seq())).await.unwrap().unwrap();
        assert!(index.log_status().destage.dirty_bytes == 0, "{status:?}");
        assert_eq!(index.strays().await.unwrap(), Vec::<SegmentId>::new());
    }

    /// Unlinked files of segments do not stay behind.
    fn journal_files(&self) -> usize {
        let names = self.process.list(std::path::Path::new("/volume/journal")).unwrap();
        names.iter().filter(|n| n.to_str().unwrap().contains(".g")).count()
    }
}

/// Waits until growth is refused, or not.
async fn told(index: &Index, what: &str, wanted: impl Fn(bool) -> bool) {
    for _ in 0..180 {
        let full = match index.admit(Intent::Grow { bytes: FRAME as u64 }).await {
            Ok(()) => false,
            Err(LogError::Full) => true,
            Err(e) => panic!("{e}"),
        };
        if wanted(full) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("not for three minutes: {what}; {:?}", index.log_status());
}

#[test]
fn removing_frees_a_full_store_though_the_journal_holds_more_than_the_ballast() {
    paused().block_on(async {
        let mut bed = Bed::new(1);
        let index = open(&bed.config()).await.unwrap();
        for round in 0..4 {
            let base = round * 1000;
            bed.fill(&index, base).await;
            verify(&index, &bed.ops).await;
            // Once what is removed is only in the journal too, then all that is there lives on.
            let kept = if round % 2 == 0 { STORED + UNSTORED } else { STORED };
            bed.empty(&index, base, kept).await;
            told(&index, "there is room again", |full| !full).await;
            bed.run(&index, Op::Write(base + 999, FRAME)).await;
            bed.whole(&index).await;
            for key in model(&bed.ops).into_keys() {
                bed.run(&index, Op::Remove(key)).await;
            }
            // The second checkpoint after it deletes (R8).
            for _ in 0..3 {
                bed.run(&index, Op::Write(base, 100)).await;
                tokio::time::sleep(Duration::from_secs(100)).await;
            }
            assert!(bed.journal_files() <= 3, "{} files", bed.journal_files());
        }
        index.close().await.unwrap();
    });
}

/// The dead part of the backlog is never sent.
#[test]
fn what_nobody_needs_any_more_is_not_stored() {
    paused().block_on(async {
        let mut bed = Bed::new(2);
        let index = open(&bed.config()).await.unwrap();
        bed.fill(&index, 0).await;
        let before = index.log_status().stored_segments;
        bed.empty(&index, 0, STORED + UNSTORED).await;
        told(&index, "there is room again", |full| !full).await;
        bed.whole(&index).await;
        let stored = (index.log_status().stored_segments - before) * SEGMENT;
        let backlog = UNSTORED * FRAME as u64;
        assert!(stored < backlog * 3 / 4, "{stored} of {backlog}");
        drop(index);
    });
}

/// From a store that is back, and full, to one with room and all that lives stored.
async fn out_of_it(bed: &mut Bed, index: &Index) {
    told(index, "it is full", |full| full).await;
    tokio::time::sleep(Duration::from_secs(35)).await;
    bed.empty(index, 0, STORED + UNSTORED).await;
    told(index, "there is room again", |full| !full).await;
    bed.run(index, Op::Write(997, FRAME)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
}

/// The machine dies before, or right after, any call of the store on the way from full to free.
#[test]
fn a_crash_at_any_point_of_the_way_out_loses_nothing_and_the_way_goes_on() {
    for after in [false, true] {
        let mut n = 0;
        loop {
            let mut bed = Bed::new(3);
            let mut reached = false;
            paused().block_on(async {
                let index = open(&bed.config()).await.unwrap();
                bed.overfill(&index, 0).await;
                bed.faulty.heal();
                let fault = if after { Fault::HangAfter } else { Fault::Hang };
                bed.faulty.add(Rule::nth(n, fault));
                bed.faulty.add(Rule { skip: n + 1, ..Rule::always(Fault::Hang) });
                let (faulty, before) = (bed.faulty.clone(), bed.faulty.faults());
                tokio::select! {
                    () = out_of_it(&mut bed, &index) => {}
                    () = async {
                        while faulty.faults() == before {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                        tokio::time::sleep(Duration::from_millis(300)).await;
                    } => {}
                }
                reached = faulty.faults() > before;
            });
            bed.crash();
            paused().block_on(async {
                let index = open(&bed.config()).await.unwrap_or_else(|e| panic!("call {n}: {e}"));
                // An operation that was cut off may have been synced or not.
                let found = usize::try_from(count(&index).await).unwrap();
                assert!(found + 1 >= bed.ops.len(), "call {n}, {after}: {found} operations");
                bed.ops.truncate(found);
                verify(&index, &bed.ops).await;
                bed.empty(&index, 0, STORED + UNSTORED).await;
                told(&index, "there is room again", |full| !full).await;
                bed.run(&index, Op::Write(998, FRAME)).await;
                bed.whole(&index).await;
            });
            if !reached {
                assert!(n > 30, "{n} calls");
                break;
            }
            n += 1 + n / 3;
        }
    }
}

/// A clean stop while the store is full, and the next start; and the journal lost between them.
#[test]
fn a_checkpoint_that_leans_needs_the_journal_it_leans_on() {
    let mut bed = Bed::new(4);
    paused().block_on(async {
        let index = open(&bed.config()).await.unwrap();
        bed.fill(&index, 0).await;
        bed.empty(&index, 0, 40).await;
        // Others take what becomes free: it stays full.
        for _ in 0..60 {
            bed.memory.set_limit(Some(bed.memory.used()));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        told(&index, "it is full", |full| full).await;
        verify(&index, &bed.ops).await;
        bed.memory.set_limit(Some(bed.memory.used() + (300 << 10)));
        index.close().await.unwrap();
    });
    bed.crash();
    paused().block_on(async {
        let mut other = bed.config();
        other.log.journal = Some("/elsewhere/journal".into());
        match open(&other).await {
            Err(LogError::Refused(why)) => assert!(why.contains("--abandon-journal"), "{why}"),
            other => panic!("{:?}", other.map(drop)),
        }
        let index = open(&bed.config()).await.unwrap();
        verify(&index, &bed.ops).await;
        bed.memory.set_limit(Some(2 * QUOTA));
        told(&index, "there is room again", |full| !full).await;
        bed.whole(&index).await;
    });
}

/// Given up with its journal, the volume is what the checkpoint says; what only the journal had
/// gives errors, all else is there.
#[test]
fn a_lost_journal_takes_the_contents_that_only_it_had() {
    let mut bed = Bed::new(5);
    paused().block_on(async {
        let index = open(&bed.config()).await.unwrap();
        bed.fill(&index, 0).await;
        bed.empty(&index, 0, 40).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
    bed.crash();
    bed.memory.set_limit(Some(2 * QUOTA));
    paused().block_on(async {
        let mut other = bed.config();
        other.log.journal = Some("/elsewhere/journal".into());
        other.log.abandon_journal = true;
        let index = open(&other).await.unwrap();
        let (mut there, mut lost) = (0, 0);
        for n in 0..STORED + UNSTORED {
            let value = get(&index, &key(n)).await.unwrap();
            let Some((at, ..)) = value.as_deref().and_then(parse) else { continue };
            match index.read(&at).await {
                Ok(_) => there += 1,
                Err(LogError::Store(e)) if e.is_not_found() => lost += 1,
                Err(e) => panic!("{e}"),
            }
        }
        assert!(there >= 100 && lost > 20, "{there} there, {lost} lost");
        // It can be written, and what is lost can be removed.
        let n = count(&index).await;
        run(&index, n + 1, &Op::Write(7, 10)).await.unwrap();
        run(&index, n + 2, &Op::Remove(STORED + UNSTORED - 1)).await.unwrap();
        index.checkpoint_now().await.unwrap();
        index.close().await.unwrap();
    });
}

/// Full for reasons that are not ours: hardly a request, and no harm.
#[test]
fn a_store_that_stays_full_is_asked_seldom() {
    paused().block_on(async {
        let mut bed = Bed::new(6);
        let index = open(&bed.config()).await.unwrap();
        bed.fill(&index, 0).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        let calls = bed.faulty.calls();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let asked = bed.faulty.calls() - calls;
        assert!(asked <= 3600 / 30, "{asked} requests in an hour");
        verify(&index, &bed.ops).await;
        bed.memory.set_limit(Some(3 * QUOTA));
        told(&index, "there is room again", |full| !full).await;
        bed.whole(&index).await;
        let names = objects(&bed.faulty as &dyn ObjectStore).await;
        assert!(names.iter().any(|name| name.starts_with("ballast/")));
    });
}
