//! Operation N of the disk, or request N to the store, fails while something is done, for N = 0, 1,
//! 2 … until it passes untouched: create, rename over, truncate, checkpoint, destage, retire, a
//! recovery, a take-over. Whatever fails, the next server finds a state that was, at or behind the
//! last that was acknowledged, a volume that is whole, and goes on.
#![allow(clippy::unwrap_used)] // tests

use std::{cell::RefCell, collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use fs::{Caller, Context, CreateHow, Failure, SetAttributes, SyncMode, Volume};
use headhunter::{Index, IndexConfig};
use logseg::{LogConfig, LogError, Recovery, VolumeHeader};
use swiftclient::{
    Directory, ErrorKind, Faulty, Memory, ObjectStore,
    disk::{
        Disk, SimDisk,
        plan::{Harm, Harmed},
    },
    faulty::{Fault, Rule},
    seam::{Env, sim::SeededDice},
};
use tokio::time::timeout;

/// The files in the root directory.
type Tree = BTreeMap<String, Vec<u8>>;

const EIO: i32 = 5;
/// Large enough that the largest write is one record.
const SEGMENT: u64 = 256 << 10;
/// Small, because the reserve (R18), a part of it, is written anew by each server.
const DISK: u64 = 24 << 20;
/// What waits for a disk that is gone waits for ever: an operator's patience, virtual time.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any scenario has operations.
const MOST: u64 = 1_000;

/// A machine, and a store that is a directory on it or far away.
struct Place {
    disk: SimDisk,
    far: Option<(Memory, Faulty)>,
    /// Of each server so far.
    processes: RefCell<Vec<SimDisk>>,
    /// What may be found; the last is what was done last.
    states: Vec<Tree>,
}

/// A server.
struct House {
    volume: Volume,
    index: Index,
}

fn cx() -> Context {
    let caller = Caller { uid: 0, gid: 0, groups: vec![], owner_override: true };
    Context { caller, request: None }
}

/// Bytes that differ by `n` and place.
fn content(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (n * 31 + i / 7).to_le_bytes()[0] | 1).collect()
}

/// `None` is a fault that never ends.
async fn patiently<T, E: std::fmt::Debug>(work: impl Future<Output = Result<T, E>>) -> Option<T> {
    timeout(PATIENCE, work).await.ok()?.ok()
}

impl Place {
    fn new(far: bool) -> Self {
        let disk = SimDisk::new();
        disk.set_capacity(Some(DISK));
        let far = far.then(|| {
            let memory = Memory::new();
            let seen = memory.clone().on_disk(Arc::new(disk.process()));
            (memory, Faulty::new(Arc::new(seen)))
        });
        Self { disk, far, processes: RefCell::default(), states: vec![Tree::new()] }
    }

    /// All servers are killed, or the machine dies; nothing fails any more.
    fn ends(&mut self, crash: Option<u64>) {
        self.disk.heal();
        self.processes.take().iter().for_each(SimDisk::kill);
        if let Some(seed) = crash {
            self.disk.crash(&SeededDice::new(seed));
            self.disk = self.disk.process();
        }
        if let Some((memory, faulty)) = &mut self.far {
            let seen = memory.clone().on_disk(Arc::new(self.disk.process()));
            *faulty = Faulty::new(Arc::new(seen));
        }
    }

    async fn open(&self, take_over: bool) -> Result<House, LogError> {
        let process = self.disk.process();
        self.processes.borrow_mut().push(process.clone());
        let life = self.processes.borrow().len();
        let env = Env::simulated(life as u64);
        let disk: Arc<dyn Disk> = Arc::new(process);
        let store: Arc<dyn ObjectStore> = match &self.far {
            Some((_, faulty)) => Arc::new(faulty.clone().on_disk(disk.clone())),
            None => Arc::new(Directory::create(disk.clone(), "/volume", &env)?),
        };
        let log = LogConfig {
            store,
            disk,
            env,
            journal: Some(PathBuf::from("/volume/journal")),
            pool: tokio::runtime::Handle::current(),
            cache_bytes: 1 << 20,
            unsynced_bytes: 8 << 20,
            holder: format!("server {life}"),
            take_over,
            abandon_journal: false,
            key: None,
            inline_only: true,
            destage: logseg::DestageConfig::default(),
            disk_cache: None,
        };
        let header = match Recovery::volume(&log).await? {
            Some(header) => header,
            None => {
                let header = VolumeHeader {
                    uuid: *b"a volume to fail",
                    segment_bytes: SEGMENT,
                    fencing: true,
                    name_secret: [5; 16],
                    handle_key: [6; 32],
                    wrapped_key: None,
                };
                Recovery::format(&log, &header).await?;
                header
            }
        };
        let config = IndexConfig { background: false, ..IndexConfig::new(log, header, 4 << 20) };
        let index = Index::open(config).await?;
        let volume = Volume::open(index.clone(), (0, 0)).await;
        let volume = volume.map_err(|e| LogError::Refused(format!("files: {e:?}")))?;
        Ok(House { volume, index })
    }

    fn state(&self) -> Tree {
        self.states.last().unwrap().clone()
    }

    /// Does `work`, which leads to `state`, and syncs: then only that may be found.
    async fn step(
        &mut self,
        house: &House,
        state: Tree,
        work: impl Future<Output = Result<fs::Seq, Failure>>,
    ) -> Option<()> {
        self.states.push(state);
        let seq = patiently(work).await?;
        patiently(house.volume.sync(seq, SyncMode::Inline)).await?;
        self.states.drain(..self.states.len() - 1);
        Some(())
    }

    async fn write(&mut self, house: &House, name: &str, bytes: Vec<u8>) -> Option<()> {
        let mut made = self.state();
        // Two records: the file may be found without its bytes.
        if made.insert(name.into(), Vec::new()).is_none() {
            self.states.push(made.clone());
        }
        made.insert(name.into(), bytes.clone());
        let v = &house.volume;
        let work = async {
            let how = CreateHow::Unchecked(SetAttributes::default());
            let id = v.create(&cx(), v.root(), name.as_bytes(), how).await?.object.id;
            Ok(v.write(&cx(), id, 0, Bytes::from(bytes)).await?.seq)
        };
        self.step(house, made, work).await
    }

    async fn rename(&mut self, house: &House, from: &str, to: &str) -> Option<()> {
        let mut moved = self.state();
        let bytes = moved.remove(from).unwrap();
        moved.insert(to.into(), bytes);
        let v = &house.volume;
        let work = async {
            let root = v.root();
            Ok(v.rename(&cx(), root, from.as_bytes(), root, to.as_bytes()).await?.seq)
        };
        self.step(house, moved, work).await
    }

    async fn remove(&mut self, house: &House, name: &str) -> Option<()> {
        let mut less = self.state();
        less.remove(name);
        let v = &house.volume;
        let work = async { Ok(v.remove(&cx(), v.root(), name.as_bytes()).await?.seq) };
        self.step(house, less, work).await
    }

    async fn truncate(&mut self, house: &House, name: &str, size: usize) -> Option<()> {
        let mut cut = self.state();
        cut.get_mut(name).unwrap().resize(size, 0);
        let v = &house.volume;
        let work = async {
            let id = v.lookup(&cx().caller, v.root(), name.as_bytes()).await?.0.id;
            let set = SetAttributes { size: Some(size as u64), ..Default::default() };
            Ok(v.setattr(&cx(), id, set, None).await?.seq)
        };
        self.step(house, cut, work).await
    }

    /// What `house` shows must be a state that may be found; from now on it is the only one.
    async fn compare(&mut self, house: &House, what: &str) {
        let v = &house.volume;
        let findings = v.check().await.unwrap().findings;
        assert_eq!(findings, Vec::<String>::new(), "{what}");
        let (who, mut found) = (cx().caller, Tree::new());
        for entry in v.readdir(&who, v.root(), 2, 1_000, false).await.unwrap().entries {
            let (object, _) = v.lookup(&who, v.root(), &entry.name).await.unwrap();
            let read = v.read(&who, object.id, 0, 4 << 20).await.unwrap().pieces.concat();
            found.insert(String::from_utf8_lossy(&entry.name).into_owned(), read);
        }
        let lengths = |tree: &Tree| tree.iter().map(|(k, b)| (k.clone(), b.len())).collect();
        let shown: Vec<Vec<_>> = self.states.iter().map(lengths).collect();
        let seen: Vec<_> = lengths(&found);
        assert!(self.states.contains(&found), "{what}: found {seen:?}, none of {shown:?}");
        self.states = vec![found];
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    Create,
    RenameOver,
    Truncate,
    Checkpoint,
    Destage,
    Retire,
    Recovery,
    TakeOver,
}

impl Scenario {
    /// What must be there before.
    async fn prepare(self, place: &mut Place, house: &House) -> Option<()> {
        place.write(house, "old", content(1, 9_000)).await?;
        place.write(house, "other", content(2, 5_000)).await?;
        if self == Self::Truncate {
            // Extents in many segments.
            for n in 0..6 {
                place.write(house, "old", content(10 + n, 40_000)).await?;
            }
        }
        if self == Self::Retire {
            for n in 0..4 {
                place.write(house, &format!("large-{n}"), content(20 + n, 40_000)).await?;
            }
            house.index.checkpoint_now().await.ok()?;
            for n in 0..4 {
                place.remove(house, &format!("large-{n}")).await?;
            }
            while house.volume.tend().await.ok()? {}
            house.index.checkpoint_now().await.ok()?;
        }
        if self == Self::Recovery {
            house.index.checkpoint_now().await.ok()?;
            place.write(house, "late", content(3, 30_000)).await?;
            place.rename(house, "late", "other").await?;
        }
        Some(())
    }

    /// What fails somewhere. `None`: it did.
    async fn act(self, place: &mut Place, house: House) -> Option<()> {
        match self {
            Self::Create => place.write(&house, "new", content(4, 7_000)).await,
            Self::RenameOver => place.rename(&house, "other", "old").await,
            Self::Truncate => {
                place.truncate(&house, "old", 100).await?;
                while patiently(house.volume.tend()).await? {}
                place.truncate(&house, "old", 20_000).await
            }
            Self::Checkpoint => {
                place.write(&house, "new", content(4, 7_000)).await?;
                patiently(house.index.checkpoint_now()).await?;
                place.write(&house, "newer", content(5, 3_000)).await
            }
            Self::Destage => {
                place.write(&house, "new", content(4, 7_000)).await?;
                patiently(house.index.flush_through(house.index.last_seq())).await
            }
            Self::Retire => {
                place.write(&house, "new", content(4, 7_000)).await?;
                patiently(house.index.checkpoint_now()).await?;
                place.write(&house, "newer", content(5, 3_000)).await?;
                patiently(house.index.checkpoint_now()).await
            }
            Self::Recovery => {
                drop(house);
                place.processes.take().iter().for_each(SimDisk::kill);
                let again = patiently(place.open(false)).await?;
                place.write(&again, "new", content(4, 7_000)).await
            }
            Self::TakeOver => take_over(place, house).await,
        }
    }
}

/// Two servers: what the old one is told is durable after the new one has opened is a lie.
async fn take_over(place: &mut Place, old: House) -> Option<()> {
    let opened = patiently(place.open(true)).await;
    let before = place.states.clone();
    let done = place.write(&old, "by-the-old", content(6, 2_000)).await;
    let Some(new) = opened else {
        // A taker that fails half-way may have fenced it, or not.
        return None;
    };
    assert!(done.is_none(), "the old one acknowledges what nobody will find");
    place.states = before;
    place.write(&new, "by-the-new", content(7, 2_000)).await
}

#[derive(Clone, Copy, Debug)]
enum Fails {
    /// Operation N of the disk is the last before the power goes.
    PowerOff,
    /// Operation N of the disk fails once.
    Disk,
    /// Request N to the store is refused once.
    Refused,
    /// Request N to the store is done, and nothing is answered.
    NoAnswer,
    /// Request N to the store is never answered, and not done.
    Hangs,
}

impl Fails {
    fn far(self) -> bool {
        matches!(self, Self::Refused | Self::NoAnswer | Self::Hangs)
    }

    fn arm(self, place: &Place, n: u64) {
        let fault = match self {
            Self::PowerOff => return place.disk.harm(Harmed::power_off(n)),
            Self::Disk => {
                let harm = Harm::Errno(EIO);
                return place.disk.harm(Harmed { times: 1, harm, ..Harmed::power_off(n) });
            }
            Self::Refused => Fault::Refuse(ErrorKind::Unavailable),
            Self::NoAnswer => Fault::LoseReply,
            Self::Hangs => Fault::HangAfter,
        };
        place.far.as_ref().unwrap().1.add(Rule::nth(n, fault));
    }

    fn hits(self, place: &Place) -> u64 {
        place.far.as_ref().map_or_else(|| place.disk.harmed(), |(_, faulty)| faulty.faults())
    }
}

/// One run; true where it passed untouched.
async fn run(scenario: Scenario, fails: Fails, n: u64) -> bool {
    let what = format!("{scenario:?}, {fails:?}, {n}");
    let mut place = Place::new(fails.far());
    let house = place.open(false).await.unwrap();
    scenario.prepare(&mut place, &house).await.unwrap_or_else(|| panic!("{what}: before"));
    fails.arm(&place, n);
    let done = scenario.act(&mut place, house).await;
    let untouched = fails.hits(&place) == 0;
    assert!(done.is_some() || !untouched, "{what}: failed by itself");
    let killed = n.is_multiple_of(3) && !matches!(fails, Fails::PowerOff);
    place.ends((!killed).then_some(n));
    for life in ["the next", "the one after"] {
        let house = place.open(false).await.unwrap_or_else(|e| panic!("{what}, {life}: {e}"));
        place.compare(&house, &format!("{what}, {life}")).await;
        let gone_on = place.write(&house, life, content(8, 4_000)).await;
        assert!(gone_on.is_some(), "{what}, {life}: does not go on");
        house.index.checkpoint_now().await.unwrap_or_else(|e| panic!("{what}, {life}: {e}"));
        place.compare(&house, &what).await;
        drop(house);
        place.ends(None);
    }
    untouched
}

/// Fails at each N; gives how many there were.
fn countdown(scenario: Scenario, fails: Fails) -> u64 {
    for n in 0..MOST {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        if runtime.block_on(run(scenario, fails, n)) {
            println!("{scenario:?}, {fails:?}: {n}");
            return n;
        }
    }
    panic!("{scenario:?}, {fails:?}: no run passed untouched");
}

/// All ways to fail, each at least so often.
fn each(scenario: Scenario, disk: u64, store: u64) {
    for fails in [Fails::PowerOff, Fails::Disk] {
        let n = countdown(scenario, fails);
        assert!(n >= disk, "{scenario:?}: only {n} operations of the disk");
    }
    for fails in [Fails::Refused, Fails::NoAnswer, Fails::Hangs] {
        let n = countdown(scenario, fails);
        assert!(n >= store, "{scenario:?}: only {n} requests to the store");
    }
}

#[test]
fn a_create_fails_at_each_operation() {
    each(Scenario::Create, 2, 0);
}

#[test]
fn a_rename_over_a_file_fails_at_each_operation() {
    each(Scenario::RenameOver, 2, 0);
}

#[test]
fn a_truncate_fails_at_each_operation() {
    each(Scenario::Truncate, 4, 0);
}

#[test]
fn a_checkpoint_fails_at_each_operation() {
    each(Scenario::Checkpoint, 10, 3);
}

#[test]
fn a_destage_fails_at_each_operation() {
    each(Scenario::Destage, 4, 1);
}

#[test]
fn a_retirement_fails_at_each_operation() {
    each(Scenario::Retire, 20, 8);
}

#[test]
fn a_recovery_fails_at_each_operation() {
    each(Scenario::Recovery, 10, 5);
}

#[test]
fn a_take_over_fails_at_each_operation() {
    each(Scenario::TakeOver, 10, 5);
}
