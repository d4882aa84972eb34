//! R8 over a network store: what is to be deleted is deleted, whatever dies or fails meanwhile, and
//! what nobody knows is found.

use std::{sync::Arc, time::Duration};

use headhunter::{Index, IndexConfig, LogError, SegmentId, SyncMode};
use logseg::format::segment_name;
use swiftclient::{
    ErrorKind, Faulty, Memory, ObjectName, ObjectStore, Verb,
    disk::{Disk, SimDisk},
    faulty::{Fault, Rule},
    seam::Env,
};

use crate::world::{Op, objects, open, over, run, verify};

struct Bed {
    memory: Memory,
    faulty: Faulty,
    config: IndexConfig,
    ops: Vec<Op>,
}

impl Bed {
    fn new() -> Self {
        let disk = SimDisk::new();
        let seen: Arc<dyn Disk> = Arc::new(disk.clone());
        let memory = Memory::new().on_disk(seen.clone());
        let faulty = Faulty::new(Arc::new(memory.clone())).on_disk(seen.clone());
        let config = over(Arc::new(faulty.clone()), &seen, "/volume", &Env::simulated(1));
        Self { memory, faulty, config, ops: Vec::new() }
    }

    async fn op(&mut self, index: &Index, op: Op) {
        self.ops.push(op.clone());
        let seq = run(index, self.ops.len() as u64, &op).await.unwrap();
        index.sync(seq, SyncMode::Inline).await.unwrap();
    }

    /// Writes a few segments full and removes nearly all of it again, with checkpoints between.
    async fn churn(&mut self, index: &Index) -> Result<(), LogError> {
        for key in 0..8 {
            self.op(index, Op::Write(key, 60_000)).await;
        }
        index.checkpoint_now().await?;
        for key in 1..8 {
            self.op(index, Op::Remove(key)).await;
        }
        for _ in 0..3 {
            self.op(index, Op::Write(0, 100)).await;
            index.checkpoint_now().await?;
        }
        Ok(())
    }

    /// Segments in the store that are no seals.
    async fn segments(&self) -> Vec<String> {
        let mut found = Vec::new();
        for name in objects(&self.memory).await {
            if !name.starts_with("seg/") && !name.starts_with("side/") {
                continue;
            }
            let object = ObjectName::new(name.clone()).unwrap();
            let head = self.memory.get(&object, 0..8).await.unwrap();
            if head != b"EskerEnd"[..] {
                found.push(name);
            }
        }
        found
    }
}

/// What a volume with one small live key keeps: two checkpoints' segments and the chain since.
const KEPT: usize = 10;

#[tokio::test(start_paused = true)]
async fn a_crash_after_each_delete_leaks_nothing_for_good() {
    let mut bed = Bed::new();
    let mut crashed = 0;
    for fault in [Fault::Hang, Fault::HangAfter, Fault::Truncate] {
        for n in 0.. {
            bed.faulty.add(Rule::nth(n, fault).of(Verb::Delete));
            let before = bed.faulty.faults();
            let index = open(&bed.config).await.unwrap();
            verify(&index, &bed.ops).await;
            // It hangs in a delete, or half of one is done: the server dies there.
            let _ = tokio::time::timeout(Duration::from_secs(30), bed.churn(&index)).await;
            drop(index);
            bed.faulty.heal();
            if bed.faulty.faults() == before {
                assert!(n > 2, "{n} deletes with {fault:?}");
                break;
            }
            crashed += 1;
            let index = open(&bed.config).await.unwrap();
            verify(&index, &bed.ops).await;
            bed.churn(&index).await.unwrap();
        }
    }
    assert!(crashed > 8, "{crashed} crashes");
    let index = open(&bed.config).await.unwrap();
    verify(&index, &bed.ops).await;
    for _ in 0..2 {
        bed.churn(&index).await.unwrap();
    }
    let left = bed.segments().await;
    assert!(left.len() <= KEPT, "{} segments after {crashed} crashes: {left:?}", left.len());
    verify(&index, &bed.ops).await;
}

#[tokio::test(start_paused = true)]
async fn deletes_that_fail_for_a_while_are_done_when_they_can_be() {
    let mut bed = Bed::new();
    let index = open(&bed.config).await.unwrap();
    bed.faulty.add(Rule::always(Fault::Refuse(ErrorKind::Unavailable)).of(Verb::Delete));
    for _ in 0..12 {
        // The checkpoint stands; only what it made superfluous stays.
        let _ = bed.churn(&index).await;
    }
    let kept = bed.segments().await.len();
    assert!(kept > 2 * KEPT, "{kept} segments that nobody could delete");
    bed.faulty.heal();
    drop(index);
    // After a restart, too: usage says what is to be deleted.
    let index = open(&bed.config).await.unwrap();
    for _ in 0..2 {
        bed.churn(&index).await.unwrap();
    }
    let left = bed.segments().await;
    assert!(left.len() <= KEPT, "{} segments: {left:?}", left.len());
    verify(&index, &bed.ops).await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_nobody_knows_are_found_by_enumeration() {
    let mut bed = Bed::new();
    let index = open(&bed.config).await.unwrap();
    bed.churn(&index).await.unwrap();
    drop(index);
    // Of a writer that was fenced in epoch 2: behind the seal that the next opener puts there, and
    // among the side ids that it had reserved. And what a killed probe left.
    let index = open(&bed.config).await.unwrap();
    let names = objects(&bed.memory).await;
    let newest = |prefix: &str| {
        let counters = names.iter().filter_map(|n| n.strip_prefix(prefix));
        counters.map(|n| u32::from_str_radix(n, 16).unwrap()).max().unwrap()
    };
    let (seal, side) = (newest("seg/00000002/"), newest("side/00000002/"));
    let lost = [
        segment_name(SegmentId::chain(2, seal + 1)),
        segment_name(SegmentId::chain(2, seal + 3)),
        segment_name(SegmentId::side(2, side + 1)),
        ObjectName::new("probe/0123456789abcdef-07").unwrap(),
    ];
    for name in &lost {
        bed.memory.put_new(name, vec!["nobody's".into()]).await.unwrap();
    }
    for _ in 0..2 {
        bed.churn(&index).await.unwrap();
    }
    drop(index);
    let index = open(&bed.config).await.unwrap();
    let names = objects(&bed.memory).await;
    for name in &lost {
        assert!(!names.iter().any(|n| n == name.as_str()), "{name} is there for good");
    }
    let seal = segment_name(SegmentId::chain(2, seal));
    assert!(names.iter().any(|n| n == seal.as_str()), "seals stay");
    verify(&index, &bed.ops).await;
}

/// A writer that was fenced and did not hear that its last segments had landed puts them again, when
/// they are long retired: they go with the second sweep of its epoch.
#[tokio::test(start_paused = true)]
async fn what_a_fenced_writer_puts_again_is_swept() {
    let mut bed = Bed::new();
    let index = open(&bed.config).await.unwrap();
    bed.churn(&index).await.unwrap();
    drop(index);
    let index = open(&bed.config).await.unwrap();
    let chain = |names: &[String]| {
        let counters = names.iter().filter_map(|n| n.strip_prefix("seg/00000002/"));
        counters.map(|n| u32::from_str_radix(n, 16).unwrap()).max().unwrap()
    };
    let seal = chain(&objects(&bed.memory).await);
    for _ in 0..2 {
        bed.churn(&index).await.unwrap();
    }
    let again = [seal - 1, seal - 2].map(|n| segment_name(SegmentId::chain(2, n)));
    let names = objects(&bed.memory).await;
    for name in &again {
        assert!(!names.iter().any(|n| n == name.as_str()), "{name} is not retired yet");
        bed.memory.put_new(name, vec!["again".into()]).await.unwrap();
    }
    drop(index);
    let index = open(&bed.config).await.unwrap();
    bed.churn(&index).await.unwrap();
    let names = objects(&bed.memory).await;
    for name in &again {
        assert!(!names.iter().any(|n| n == name.as_str()), "{name} is there for good");
    }
    assert_eq!(chain(&names), seal, "seals stay");
    verify(&index, &bed.ops).await;
}

/// The records that reserve side ids are given up with the journal that alone has them: what was
/// stored under those ids is found all the same.
#[tokio::test(start_paused = true)]
async fn what_an_abandoned_journal_had_reserved_is_swept() {
    let mut bed = Bed::new();
    let index = open(&bed.config).await.unwrap();
    bed.faulty.add(Rule::always(Fault::Refuse(ErrorKind::Unavailable)).at("seg/00000002"));
    bed.op(&index, Op::Write(1, 5_000)).await;
    let checkpoint = index.checkpoint_now();
    let never = tokio::time::timeout(Duration::from_secs(30), checkpoint).await;
    assert!(never.is_err(), "published without its chain");
    drop(index);
    bed.faulty.heal();
    let sides =
        |names: Vec<String>| names.iter().filter(|n| n.starts_with("side/00000002")).count();
    assert!(sides(objects(&bed.memory).await) > 0);
    bed.config.log.journal = Some("/another".into());
    bed.config.log.abandon_journal = true;
    bed.ops.clear();
    let index = open(&bed.config).await.unwrap();
    verify(&index, &bed.ops).await;
    bed.config.log.abandon_journal = false;
    for _ in 0..2 {
        bed.churn(&index).await.unwrap();
    }
    assert_eq!(sides(objects(&bed.memory).await), 0, "there for good");
    verify(&index, &bed.ops).await;
}
