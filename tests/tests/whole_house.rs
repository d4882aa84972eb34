//! The whole house on a disk that dies: files over index over log over a directory store, all on
//! one simulated disk, with virtual time and seeded dice. A seed is a world.
//!
//! A generation opens the volume, compares it with what may be there, works for a while, and ends:
//! by the power failing at some operation of the disk, by a crash afterwards, by kill -9, or
//! cleanly. What the next generation finds must be the model's tree after *some* operation, at or
//! after the last one whose sync was acknowledged (invariants 2 and 3), and sound inside.
//!
//! The same worlds on a disk that leaves out one class of sync must show a difference: that proves
//! that no class of fsync is idle, and that these tests can see.
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

use std::{path::PathBuf, sync::Arc, time::Duration};

use esker_tests::{
    model::Model,
    walk::{difference, shown_by_model, shown_by_volume, step},
};
use fs::{Failure, Seq, SyncMode, Volume};
use headhunter::{Index, IndexConfig, VolumeHeader};
use logseg::{LogConfig, Recovery};
use swiftclient::{
    Directory,
    disk::{
        Disk, Omitting, SimDisk,
        omit::SyncClass,
        plan::{Harmed, Operation},
    },
    seam::{Env, sim::SeededDice},
};

const ROOT: &str = "/srv/volume";
const GENERATIONS: u64 = 5;
const STEPS: u64 = 60;
/// Virtual time after which a generation's work counts as hanging.
const LONGEST: Duration = Duration::from_secs(300);

/// The model after each operation, and how far its durability was acknowledged.
struct History {
    models: Vec<Model>,
    acknowledged: usize,
}

impl History {
    fn now(&self) -> &Model {
        &self.models[self.models.len() - 1]
    }
}

/// One life of a server.
struct Life {
    volume: Volume,
    index: Index,
    /// Seq after the operation of each index of the history.
    seqs: Vec<(usize, Seq)>,
}

/// How a world differs from the plain one.
#[derive(Clone, Copy, Default)]
struct Variant {
    omit: Option<SyncClass>,
    /// Journal outside the store, or none at all.
    journal: Journal,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Journal {
    #[default]
    Inside,
    Beside,
    Absent,
}

async fn open(disk: Arc<dyn Disk>, env: &Env, kind: Variant) -> Result<Life, String> {
    let store = Directory::create(disk.clone(), ROOT, env).map_err(|e| e.to_string())?;
    let log = LogConfig {
        store: Arc::new(store),
        disk,
        env: env.clone(),
        journal: match kind.journal {
            Journal::Inside => Some(PathBuf::from(ROOT).join("journal")),
            Journal::Beside => Some("/var/journal".into()),
            Journal::Absent => None,
        },
        pool: tokio::runtime::Handle::current(),
        cache_bytes: 1 << 20,
        unsynced_bytes: 16 << 20,
        holder: "a simulated machine".into(),
        take_over: false,
        abandon_journal: false,
        key: None,
        inline_only: true,
        destage: logseg::DestageConfig::default(),
        disk_cache: None,
    };
    let header = VolumeHeader {
        uuid: *b"the whole house.",
        segment_bytes: 1 << 20,
        fencing: true,
        name_secret: [3; 16],
        handle_key: [4; 32],
        wrapped_key: None,
    };
    let there = Recovery::volume(&log).await.map_err(|e| format!("volume: {e}"))?;
    if there.is_none() {
        Recovery::format(&log, &header).await.map_err(|e| format!("format: {e}"))?;
    }
    let config = IndexConfig {
        checkpoint_every: Duration::from_secs(5),
        ..IndexConfig::new(log, header, 4 << 20)
    };
    let index = Index::open(config).await.map_err(|e| format!("open: {e}"))?;
    let volume = Volume::open(index.clone(), (0, 0)).await.map_err(|e| format!("files: {e:?}"))?;
    Ok(Life { volume, index, seqs: Vec::new() })
}

/// Compares what was found with what may be there; the history ends at what was.
async fn compare(life: &Life, history: &mut History) -> Result<(), String> {
    let found = shown_by_volume(&life.volume).await.map_err(|e| format!("walk: {e:?}"))?;
    let mut allowed = history.models.iter().enumerate().skip(history.acknowledged);
    let Some((at, _)) = allowed.find(|(_, model)| shown_by_model(model) == found) else {
        let last = shown_by_model(&history.models[history.acknowledged]);
        let why = difference(&found, &last);
        return Err(format!(
            "the tree is that of no operation from {} to {}; from the first it differs so: {why}",
            history.acknowledged,
            history.models.len() - 1
        ));
    };
    history.models.truncate(at + 1);
    history.acknowledged = at;
    let files = life.volume.check().await.map_err(|e| format!("check: {e:?}"))?;
    if !files.findings.is_empty() {
        return Err(format!("files: {:?}", files.findings));
    }
    let refers = |key: &[u8], value: &[u8]| inode::referenced(key, value).into_iter().collect();
    let index = life.index.check(refers).await.map_err(|e| format!("index: {e}"))?;
    if !index.problems.is_empty() {
        return Err(format!("index: {:?}", index.problems));
    }
    Ok(())
}

/// Works until the disk fails or the steps are done.
async fn work(life: &mut Life, history: &mut History, dice: &SeededDice) -> Result<(), Failure> {
    for _ in 0..STEPS {
        let mut model = history.now().clone();
        match step(&life.volume, &mut model, dice).await {
            Ok(None) => {}
            Ok(Some(seq)) => {
                history.models.push(model);
                life.seqs.push((history.models.len() - 1, seq));
            }
            Err(failed) => {
                // Committed or not: both may be found.
                history.models.push(model);
                return Err(failed);
            }
        }
        match dice.below(10) {
            0..=2 => {
                let Some(&(at, seq)) = life.seqs.last() else { continue };
                life.volume.sync(seq, SyncMode::Inline).await.map_err(Failure::from)?;
                history.acknowledged = history.acknowledged.max(at);
            }
            // Time for destage, checkpoints, retirement.
            3 => tokio::time::sleep(Duration::from_millis(dice.below(8_000))).await,
            _ => {}
        }
    }
    Ok(())
}

/// One generation, within a runtime of its own that ends with it.
async fn generation(
    sim: &SimDisk,
    kind: Variant,
    dice: &SeededDice,
    history: &mut History,
    last: bool,
) -> Result<(), String> {
    let env = Env::simulated(dice.next_u64());
    let process = sim.process();
    let disk: Arc<dyn Disk> = match kind.omit {
        None => Arc::new(process.clone()),
        Some(class) => Arc::new(Omitting::new(Arc::new(process.clone()), class)),
    };
    let mut life = open(disk, &env, kind).await?;
    compare(&life, history).await?;
    // What was found is durable once opening is over: it must not be lost by the next crash.
    if last {
        return life.index.close().await.map_err(|e| format!("close: {e}"));
    }
    let end = dice.below(8);
    if end < 4 {
        sim.harm(Harmed::power_off(dice.below(300)));
    }
    // Without a journal a sync goes on asking a store that is gone; the power being off, it may.
    let worked = tokio::time::timeout(LONGEST, work(&mut life, history, dice)).await;
    match worked {
        Ok(Ok(())) => {}
        _ if sim.is_power_off() => {}
        Ok(Err(failed)) => return Err(format!("failed on a sound disk: {failed:?}")),
        Err(_) => return Err("an operation does not end on a sound disk".into()),
    }
    match end {
        0..=5 => sim.crash(dice),
        6 => process.kill(),
        _ => {
            life.index.close().await.map_err(|e| format!("close: {e}"))?;
            history.acknowledged = history.models.len() - 1;
            // A clean stop needs nothing more: the machine may die at once.
            sim.crash(dice);
        }
    }
    Ok(())
}

/// Objects made, and deletions asked for, in a world: so that nobody takes an idle world for a proof.
#[derive(Clone, Copy, Debug, Default)]
struct Objects {
    segments: usize,
    checkpoints: usize,
    deleted: usize,
}

/// One world; the text is what was wrong, and where.
fn world(seed: u64, kind: Variant) -> Result<Objects, String> {
    let sim = SimDisk::new();
    // A small machine: the reserve (R18) is a part of it.
    sim.set_capacity(Some(512 << 20));
    let dice = SeededDice::new(seed);
    let mut history = History { models: vec![Model::new((0, 0), 32_000)], acknowledged: 0 };
    for number in 0..=GENERATIONS {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        let one = generation(&sim, kind, &dice, &mut history, number == GENERATIONS);
        runtime
            .block_on(async { tokio::time::timeout(2 * LONGEST, one).await })
            .unwrap_or_else(|_| Err("opening or closing does not end".into()))
            .map_err(|what| format!("seed {seed}, generation {number}: {what}"))?;
    }
    let mut objects = Objects::default();
    for (operation, path) in sim.log() {
        let within = |part: &str| path.starts_with(PathBuf::from(ROOT).join(part));
        if operation == Operation::Link {
            objects.segments += usize::from(within("seg"));
            objects.checkpoints += usize::from(within("ckpt"));
        }
        objects.deleted += usize::from(operation == Operation::Unlink && within("seg"));
    }
    Ok(objects)
}

#[test]
fn whatever_the_disk_does_an_acknowledged_prefix_is_found() {
    let worlds: u64 = std::env::var("ESKER_WORLDS").map_or(20, |n| n.parse().unwrap());
    for journal in [Journal::Inside, Journal::Beside, Journal::Absent] {
        let mut all = Objects::default();
        for seed in 0..worlds {
            let objects = world(seed, Variant { omit: None, journal }).unwrap();
            all.segments += objects.segments;
            all.checkpoints += objects.checkpoints;
            all.deleted += objects.deleted;
        }
        println!("{worlds} worlds: {all:?}");
        let busy = all.segments as u64 > 5 * worlds && all.checkpoints as u64 > 5 * worlds;
        assert!(busy && all.deleted > 0, "worlds in which little happens: {all:?}");
    }
}

#[test]
fn leaving_out_any_class_of_sync_is_seen() {
    use SyncClass::{JournalData, JournalDir, ObjectDir, OtherDir, TempData};
    for class in [JournalData, JournalDir, TempData, ObjectDir, OtherDir] {
        let kind = Variant { omit: Some(class), ..Variant::default() };
        let seen = (0..60).find_map(|seed| world(seed, kind).err());
        match seen {
            Some(what) => println!("{}: {what}", class.name()),
            None => panic!("60 worlds did not miss the syncs of class {}", class.name()),
        }
    }
}
