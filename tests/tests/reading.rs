//! Cold reads through files, index and log, counted at the store, in virtual time: how many
//! requests a pattern takes, and how often a reader waits for one.
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use fs::{Caller, Context, CreateHow, FileId, SetAttributes, Volume};
use headhunter::{Index, IndexConfig, VolumeHeader};
use logseg::{DiskCacheConfig, LogConfig, Recovery};
use parking_lot::Mutex;
use swiftclient::{Memory, ObjectName, ObjectStore, StoreFuture, disk::SimDisk, seam::Env};

const MIB: u64 = 1 << 20;
const LATENCY: Duration = Duration::from_millis(20);

/// Object and bytes.
type Get = (String, Range<u64>);

/// A store with a latency, which remembers what was asked of it.
#[derive(Clone)]
struct Far {
    inner: Memory,
    gets: Arc<Mutex<Vec<Get>>>,
    flying: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Far {
    /// Gets of chain segments since the last look: frames and headers.
    fn frames(&self) -> Vec<Range<u64>> {
        let gets = std::mem::take(&mut *self.gets.lock());
        gets.into_iter().filter(|(name, _)| name.starts_with("seg/")).map(|(_, r)| r).collect()
    }
}

impl ObjectStore for Far {
    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            self.gets.lock().push((name.to_string(), range.clone()));
            let now = self.flying.fetch_add(1, Relaxed) + 1;
            self.most.fetch_max(now, Relaxed);
            tokio::time::sleep(LATENCY).await;
            self.flying.fetch_sub(1, Relaxed);
            self.inner.get(name, range).await
        })
    }

    swiftclient::forward!((inner): put_new, put_stream, put_file, head, list, delete_many, class);
}

/// A machine: store, disk, clock, and how much memory a server on it has.
struct World {
    store: Far,
    disk: SimDisk,
    env: Env,
    cache_bytes: u64,
    disk_cache: Option<DiskCacheConfig>,
}

impl World {
    fn new() -> Self {
        let store = Far {
            inner: Memory::new(),
            gets: Arc::default(),
            flying: Arc::default(),
            most: Arc::default(),
        };
        let (disk, env) = (SimDisk::new(), Env::simulated(1));
        Self { store, disk, env, cache_bytes: 256 * MIB, disk_cache: None }
    }

    async fn open(&self) -> (Volume, Index) {
        let log = LogConfig {
            store: Arc::new(self.store.clone()),
            disk: Arc::new(self.disk.clone()),
            env: self.env.clone(),
            journal: None,
            pool: tokio::runtime::Handle::current(),
            cache_bytes: self.cache_bytes,
            unsynced_bytes: 64 * MIB,
            holder: "the test".into(),
            take_over: false,
            abandon_journal: false,
            key: None,
            inline_only: true,
            destage: logseg::DestageConfig::default(),
            disk_cache: self.disk_cache.clone(),
        };
        let header = match Recovery::volume(&log).await.unwrap() {
            Some(header) => header,
            None => {
                let header = VolumeHeader {
                    uuid: [7; 16],
                    segment_bytes: 16 * MIB,
                    fencing: true,
                    name_secret: [5; 16],
                    handle_key: [6; 32],
                    wrapped_key: None,
                };
                Recovery::format(&log, &header).await.unwrap();
                header
            }
        };
        let config = IndexConfig { background: false, ..IndexConfig::new(log, header, 64 * MIB) };
        let index = Index::open(config).await.unwrap();
        (Volume::open(index.clone(), (0, 0)).await.unwrap(), index)
    }

    /// A volume with a file of `len` bytes, written in pieces of `piece`, and its server gone.
    async fn with_file(&self, len: u64, piece: u64) {
        let (v, index) = self.open().await;
        let how = CreateHow::Unchecked(SetAttributes::default());
        let id = v.create(&cx(), v.root(), b"f", how).await.unwrap().object.id;
        for at in (0..len).step_by(usize::try_from(piece).unwrap()) {
            let to = len.min(at + piece);
            v.write(&cx(), id, at, content(at..to)).await.unwrap();
        }
        index.close().await.unwrap();
        drop((v, index));
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.store.frames();
    }

    /// A server that has read nothing yet but the way to the file.
    async fn cold(&self) -> (Volume, Index, FileId) {
        let (v, index) = self.open().await;
        let id = v.lookup(&cx().caller, v.root(), b"f").await.unwrap().0.id;
        self.store.frames();
        (v, index, id)
    }
}

fn cx() -> Context {
    let caller = Caller { uid: 0, gid: 0, groups: Vec::new(), owner_override: true };
    Context { caller, request: None }
}

/// Bytes of the file: each eight tell their place.
fn content(range: Range<u64>) -> Bytes {
    let from = range.start / 8 * 8;
    let mut bytes: Vec<u8> = (from..range.end).step_by(8).flat_map(u64::to_le_bytes).collect();
    bytes.drain(..usize::try_from(range.start - from).unwrap());
    bytes.truncate(usize::try_from(range.end - range.start).unwrap());
    bytes.into()
}

async fn read(v: &Volume, id: FileId, from: u64, len: u64) {
    let data = v.read(&cx().caller, id, from, u32::try_from(len).unwrap()).await.unwrap();
    assert!(data.pieces.concat() == content(from..from + len), "at {from}");
}

#[tokio::test(start_paused = true)]
async fn a_sequential_reader_takes_large_requests_and_seldom_waits() {
    let world = World::new();
    world.with_file(64 * MIB, MIB).await;
    let (v, index, id) = world.cold().await;
    let start = tokio::time::Instant::now();
    for at in (0..64 * MIB).step_by(1 << 20) {
        read(&v, id, at, MIB).await;
    }
    let waited = start.elapsed();
    let gets = world.store.frames();
    // 64 MiB in pieces of 4 MiB; windows that grow, and segments that end, cut a few.
    assert!(gets.len() <= 24, "{}: {gets:?}", gets.len());
    // The path to the file's pages and frames, the first windows: then the next frames are there
    // before they are wanted, or soon. Asked one by one it would be 64 latencies.
    println!("{} requests, waited {waited:?}", gets.len());
    assert!(waited <= LATENCY * 14, "{waited:?}");
    assert!(world.store.most.load(Relaxed) >= 3, "in parallel");
    let ahead = v.read_ahead();
    assert_eq!(ahead.asked, ahead.used, "{ahead:?}");
    assert_eq!(ahead.wasted, 0);
    assert!(ahead.asked >= 60 * MIB, "{ahead:?}");
    // Once more: all is in memory.
    for at in (0..64 * MIB).step_by(1 << 20) {
        read(&v, id, at, MIB).await;
    }
    assert_eq!(world.store.frames(), []);
    drop(index);
}

#[tokio::test(start_paused = true)]
async fn small_frames_travel_together_too() {
    let world = World::new();
    world.with_file(8 * MIB, 4096).await;
    let (v, _index, id) = world.cold().await;
    for at in (0..8 * MIB).step_by(64 << 10) {
        read(&v, id, at, 64 << 10).await;
    }
    let gets = world.store.frames();
    assert!(gets.len() <= 12, "{}", gets.len());
}

#[tokio::test(start_paused = true)]
async fn parallel_reads_out_of_order_are_a_stream_all_the_same() {
    let world = World::new();
    world.with_file(32 * MIB, MIB).await;
    let (v, _index, id) = world.cold().await;
    // As clients send them: 128 KiB each, 16 in flight, each group in another order.
    let step = 128 << 10;
    for group in 0..32 * MIB / step / 16 {
        let order = (0..16).map(|n| (n * 7 + group) % 16);
        let reads = order.map(|n| read(&v, id, (group * 16 + n) * step, step));
        futures_util::future::join_all(reads).await;
    }
    let gets = world.store.frames();
    assert!(gets.len() <= 20, "{}: {gets:?}", gets.len());
    let ahead = v.read_ahead();
    assert!(ahead.wasted < MIB, "{ahead:?}");
}

#[tokio::test(start_paused = true)]
async fn random_reads_take_one_request_each_and_nothing_ahead() {
    let world = World::new();
    world.with_file(32 * MIB, MIB).await;
    let (v, _index, id) = world.cold().await;
    // One read in each segment first: its header is asked for once.
    for at in (0..32 * MIB).step_by(2 << 20) {
        read(&v, id, at + 4096, 4096).await;
    }
    world.store.frames();
    let mut seen: std::collections::BTreeSet<u64> =
        (0..32 * MIB).step_by(2 << 20).map(|at| at >> 17).collect();
    for n in 0..100_u64 {
        let at = n * 2_654_435_761 % (32 * MIB / 4096) * 4096;
        read(&v, id, at, 4096).await;
        // A frame that was read before is in memory.
        let wanted = usize::from(seen.insert(at >> 17));
        let gets = world.store.frames();
        assert_eq!(gets.len(), wanted, "{at}: {gets:?}");
    }
    assert_eq!(v.read_ahead().asked, 0);
}

#[tokio::test(start_paused = true)]
async fn many_readers_of_one_frame_make_one_request() {
    let world = World::new();
    world.with_file(16 * MIB, MIB).await;
    let (v, _index, id) = world.cold().await;
    let reads = (0..100).map(|_| read(&v, id, 5 * MIB, 512));
    futures_util::future::join_all(reads).await;
    let gets = world.store.frames();
    let (heads, frames): (Vec<_>, Vec<_>) = gets.into_iter().partition(|r| r.end == 256);
    assert_eq!((heads.len(), frames.len()), (1, 1), "{heads:?} {frames:?}");
}

#[tokio::test(start_paused = true)]
async fn little_memory_is_kept_and_reading_goes_on() {
    let mut world = World::new();
    world.with_file(12 * MIB, MIB).await;
    for memory in [0, 300 << 10, 4 * MIB] {
        world.cache_bytes = memory;
        let (v, index, id) = world.cold().await;
        for at in (0..12 * MIB).step_by(1 << 20) {
            read(&v, id, at, MIB).await;
            assert!(index.log_status().cached_bytes <= memory);
        }
        index.close().await.unwrap();
        drop((v, index));
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_cache_answers_after_a_restart() {
    let mut world = World::new();
    world.disk_cache = Some(DiskCacheConfig { dir: "/cache".into(), bytes: 64 * MIB });
    world.with_file(16 * MIB, MIB).await;
    let mut asked = Vec::new();
    for life in 0..4 {
        let (v, index, id) = world.cold().await;
        // It finds its entries again in the background.
        tokio::time::sleep(Duration::from_secs(5)).await;
        for at in (0..16 * MIB).step_by(1 << 20) {
            read(&v, id, at, MIB).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let gets = world.store.frames();
        asked.push(gets.iter().map(|r| r.end - r.start).sum::<u64>());
        if life == 1 {
            // Killed: the next finds all the same.
            world.disk.kill();
            world.disk = world.disk.process();
        } else {
            index.close().await.unwrap();
        }
        drop((v, index));
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    // What came faster than it could be written is asked for once more.
    assert!(asked[0] >= 16 * MIB && asked[1] < 8 * MIB && asked[2..] == [0, 0], "{asked:?}");
}
