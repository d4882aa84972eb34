//! On a simulated disk that rots, fills, fails and dies: what is given is what was offered.

use swiftclient::{
    disk::{
        SimDisk,
        plan::{Harm, Harmed, Operation},
    },
    seam::sim::{SeededDice, VirtualClock},
};

use super::*;
use crate::format::tests::noise;

const VOLUME: [u8; 16] = *b"volume-uuid-0123";
const DIR: &str = "/cache";
const MIB: u64 = 1 << 20;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn env() -> Env {
    Env { clock: Arc::new(VirtualClock::default()), dice: Arc::new(SeededDice::new(1)) }
}

fn open(disk: &SimDisk, bytes: u64, volume: [u8; 16], env: Env) -> Option<DiskCache> {
    let config = DiskCacheConfig { dir: DIR.into(), bytes };
    DiskCache::open(&config, Arc::new(disk.clone()), env, &Handle::current(), volume, 4 << 20)
}

/// A cache of the smallest size.
pub(crate) fn small(disk: &SimDisk) -> DiskCache {
    open(disk, DISK_CACHE_LEAST_BYTES, VOLUME, env()).unwrap()
}

fn at(n: u32) -> Location {
    let stored = 8 * (1000 + n % 7 * 1000);
    Location { segment: SegmentId::chain(2, n / 10), offset: n % 10 * 100_000 + 256, stored }
}

fn entry(n: u32) -> Bytes {
    let mut bytes = vec![0x5a; at(n).stored as usize];
    for (block, chunk) in bytes.chunks_mut(500).enumerate() {
        let name = format!("{n} {block}");
        let len = name.len().min(chunk.len());
        chunk[..len].copy_from_slice(&name.as_bytes()[..len]);
    }
    bytes.into()
}

async fn settle() {
    for _ in 0..500 {
        tokio::task::yield_now().await;
    }
}

async fn offer(cache: &DiskCache, range: std::ops::Range<u32>) {
    for n in range {
        cache.offer(&at(n), &entry(n));
        if n % 50 == 49 {
            settle().await;
        }
    }
    settle().await;
}

/// How many of them it gives; each that it gives is right.
fn given(cache: &DiskCache, range: std::ops::Range<u32>) -> usize {
    let found = range.filter(|n| {
        let got = cache.get(&at(*n));
        assert!(got.as_ref().is_none_or(|got| *got == entry(*n)), "{n} is wrong");
        got.is_some()
    });
    found.count()
}

fn slabs(disk: &SimDisk) -> Vec<PathBuf> {
    let mut names = disk.list(Path::new(DIR)).unwrap();
    names.retain(|name| slab_number(name).is_some());
    names.sort();
    names.into_iter().map(|name| Path::new(DIR).join(name)).collect()
}

#[tokio::test]
async fn what_was_offered_is_there_also_after_a_restart_or_a_kill() {
    let disk = SimDisk::new();
    let cache = small(&disk);
    assert_eq!(cache.get(&at(0)), None);
    offer(&cache, 0..100).await;
    assert_eq!(given(&cache, 0..100), 100);
    // Another length at the same place is not the same entry.
    assert_eq!(cache.get(&Location { stored: at(5).stored + 8, ..at(5) }), None);
    let status = cache.status();
    assert_eq!((status.hits, status.misses, status.written), (100, 2, 100));
    drop(cache);
    settle().await;
    let cache = small(&disk);
    settle().await;
    assert_eq!(given(&cache, 0..100), 100);
    assert_eq!(cache.status().entries, 100);
    disk.kill();
    let cache = small(&disk.process());
    settle().await;
    assert_eq!(given(&cache, 0..100), 100);
}

#[tokio::test]
async fn finding_entries_again_reads_headers_only() {
    let disk = SimDisk::new();
    let cache = small(&disk);
    offer(&cache, 0..100).await;
    drop(cache);
    settle().await;
    let reads = disk.count(Operation::Read);
    let cache = small(&disk);
    // At once, without waiting for the scan, it serves and takes.
    cache.offer(&at(200), &entry(200));
    settle().await;
    let reads = disk.count(Operation::Read) - reads;
    assert!((100..110).contains(&reads), "{reads}: one per record and one per slab");
    assert_eq!(given(&cache, 0..100) + given(&cache, 200..201), 101);
}

#[tokio::test]
async fn after_the_machine_died_nothing_wrong_is_given() {
    for seed in 0..40 {
        let disk = SimDisk::new();
        let cache = small(&disk);
        offer(&cache, 0..80).await;
        disk.crash(&SeededDice::new(seed));
        let disk = disk.process();
        let Some(cache) = open(&disk, DISK_CACHE_LEAST_BYTES, VOLUME, env()) else {
            panic!("seed {seed}: refused")
        };
        settle().await;
        given(&cache, 0..80);
        // And it goes on.
        offer(&cache, 100..150).await;
        assert_eq!(given(&cache, 100..150), 50, "seed {seed}");
    }
}

#[tokio::test]
async fn rot_anywhere_is_a_miss() {
    let disk = SimDisk::new();
    let cache = small(&disk);
    offer(&cache, 0..20).await;
    let path = slabs(&disk).remove(0);
    let mut where_ = SLAB;
    for n in 0..20 {
        // In the record's header for even ones, in the entry for the others.
        let bad = if n % 2 == 0 { where_ + n as usize % 60 } else { where_ + 64 + 777 };
        disk.edit(&path, |bytes| bytes[bad] ^= 4).unwrap();
        where_ += usize::try_from(record::record_len(at(n).stored)).unwrap();
    }
    assert_eq!(given(&cache, 0..20), 0);
    assert_eq!(cache.status().rotten, 20);
    assert_eq!(cache.status().entries, 0, "dropped");
    // They are taken anew.
    offer(&cache, 0..20).await;
    assert_eq!(given(&cache, 0..20), 20);
}

const SLAB: usize = record::SLAB_HEADER;

#[tokio::test]
async fn exchanged_cut_and_foreign_slabs_are_misses() {
    let disk = SimDisk::new();
    let cache = small(&disk);
    // Two slabs of 4 MiB would be all: so less than one each, with a restart between.
    offer(&cache, 0..20).await;
    drop(cache);
    settle().await;
    let cache = small(&disk);
    offer(&cache, 20..40).await;
    drop(cache);
    settle().await;
    let files = slabs(&disk);
    assert_eq!(files.len(), 2);
    let (one, two) = (disk.bytes(&files[0]).unwrap(), disk.bytes(&files[1]).unwrap());
    // Exchanged.
    disk.edit(&files[0], |bytes| bytes.clone_from(&two)).unwrap();
    disk.edit(&files[1], |bytes| bytes.clone_from(&one)).unwrap();
    let cache = small(&disk);
    settle().await;
    assert_eq!(given(&cache, 0..40), 0);
    assert_eq!(slabs(&disk).len(), 0, "they are no use");
    offer(&cache, 0..20).await;
    drop(cache);
    settle().await;
    // Cut in the middle of a record: what is before it stays.
    let file = slabs(&disk).remove(0);
    disk.edit(&file, |bytes| bytes.truncate(bytes.len() - 1)).unwrap();
    let cache = small(&disk);
    settle().await;
    assert_eq!(given(&cache, 0..20), 19);
    // Cut while it is in use.
    disk.edit(&file, |bytes| bytes.truncate(bytes.len() / 2)).unwrap();
    let left = given(&cache, 0..20);
    assert!((1..19).contains(&left), "{left}");
    drop(cache);
    settle().await;
    // Another volume finds nothing, and clears.
    let cache = open(&disk, DISK_CACHE_LEAST_BYTES, *b"another volume..", env()).unwrap();
    settle().await;
    assert_eq!(given(&cache, 0..20), 0);
    assert_eq!(slabs(&disk).len(), 0);
}

#[tokio::test]
async fn a_record_copied_to_another_place_is_not_believed() {
    let disk = SimDisk::new();
    let cache = small(&disk);
    let same = |n: u32| Location { offset: 256 + n * 10_000, stored: 8000, ..at(0) };
    for n in 0..3 {
        cache.offer(&same(n), &noise(u64::from(n) + 5, 8000).into());
    }
    settle().await;
    let len = usize::try_from(record::record_len(8000)).unwrap();
    let path = slabs(&disk).remove(0);
    disk.edit(&path, |bytes| bytes.copy_within(SLAB..SLAB + len, SLAB + len)).unwrap();
    assert!(cache.get(&same(0)).is_some());
    assert_eq!(cache.get(&same(1)), None, "it names another offset");
    assert!(cache.get(&same(2)).is_some());
}

#[tokio::test]
async fn it_never_grows_beyond_its_limit_and_keeps_what_is_asked_for() {
    let disk = SimDisk::new();
    let limit = 24 * MIB;
    let cache = open(&disk, limit, VOLUME, env()).unwrap();
    offer(&cache, 0..50).await;
    for round in 1..60_u32 {
        assert_eq!(given(&cache, 0..50), 50, "round {round}");
        offer(&cache, round * 100..round * 100 + 100).await;
        let files: u64 = slabs(&disk).iter().map(|f| disk.bytes(f).unwrap().len() as u64).sum();
        assert!(files <= limit && files == cache.status().bytes, "{files}");
    }
    let status = cache.status();
    assert!(status.evicted >= 20, "{status:?}");
    assert!(status.bytes > limit / 2, "{status:?}");
    // What nobody asked for went, oldest first.
    assert_eq!(given(&cache, 100..200), 0);
    assert_eq!(given(&cache, 5950..6000), 50);
    drop(cache);
    settle().await;
    // A smaller limit holds from the start on.
    let cache = open(&disk, 8 * MIB, VOLUME, env()).unwrap();
    assert!(cache.status().bytes <= 8 * MIB);
    settle().await;
    assert!(given(&cache, 0..6000) > 0);
}

#[tokio::test]
async fn the_shelf_is_limited_too() {
    let disk = SimDisk::new();
    let config = DiskCacheConfig { dir: DIR.into(), bytes: 64 * MIB };
    let memory = 2 * 100 * DISK_CACHE_ENTRY_MEMORY;
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let cache =
        DiskCache::open(&config, shared, env(), &Handle::current(), VOLUME, memory).unwrap();
    for round in 0..10 {
        offer(&cache, round * 100..round * 100 + 100).await;
        assert!(cache.status().entries <= 100);
    }
    assert!(given(&cache, 900..1000) > 20);
}

#[tokio::test]
async fn a_full_or_failing_disk_is_no_readers_concern() {
    for errno in [ENOSPC, EIO] {
        let disk = SimDisk::new();
        let clock = Arc::new(VirtualClock::default());
        let env = Env { clock: clock.clone(), dice: Arc::new(SeededDice::new(1)) };
        let cache = open(&disk, 64 * MIB, VOLUME, env).unwrap();
        offer(&cache, 0..20).await;
        assert_eq!(given(&cache, 0..20), 20);
        let short = Harm::Short(100, errno);
        disk.harm(Harmed { harm: short, ..Harmed::nth(Operation::Write, 0, errno) });
        offer(&cache, 20..40).await;
        assert_eq!(given(&cache, 0..40), 0, "the slab is not trusted any more");
        assert_eq!(slabs(&disk).len(), 0);
        assert_eq!(cache.status().failures, 1, "it rests");
        clock.advance(crate::limits::DISK_CACHE_PAUSE);
        offer(&cache, 40..60).await;
        assert_eq!(given(&cache, 40..60), 20);
        // Reads that fail: misses.
        disk.harm(Harmed::nth(Operation::Read, 0, EIO).times(5));
        assert_eq!(given(&cache, 40..60), 15);
        assert_eq!(given(&cache, 40..60), 15);
        // Not even its directory can be had.
        drop(cache);
        settle().await;
        for operation in [Operation::Look, Operation::Open, Operation::Lock] {
            disk.heal();
            disk.harm(Harmed::nth(operation, 0, EIO).times(1000));
            let refused = open(&disk, 64 * MIB, VOLUME, super::tests::env());
            assert!(refused.is_none() || operation == Operation::Open, "{operation:?}");
        }
        disk.heal();
    }
}

#[tokio::test]
async fn a_real_full_disk_loses_nothing_but_the_cache() {
    let disk = SimDisk::new();
    let cache = open(&disk, 64 * MIB, VOLUME, env()).unwrap();
    disk.set_capacity(Some(2 * MIB));
    offer(&cache, 0..200).await;
    given(&cache, 0..200);
    assert_eq!(cache.status().failures, 1);
    assert!(disk.used() < 2 * MIB);
}

#[tokio::test]
async fn a_reader_never_waits_for_the_writer() {
    let disk = SimDisk::new();
    let cache = small(&disk);
    let writes = disk.count(Operation::Write);
    for n in 0..1000 {
        cache.offer(&at(n), &entry(n));
    }
    assert_eq!(disk.count(Operation::Write), writes, "nothing is written in the caller's call");
    assert!(cache.inner.queue.lock().bytes <= 2 << 20);
    assert!(cache.status().dropped > 0);
    settle().await;
}

#[tokio::test]
async fn one_server_per_directory() {
    let disk = SimDisk::new();
    let cache = small(&disk);
    offer(&cache, 0..10).await;
    let other = disk.process();
    assert!(open(&other, DISK_CACHE_LEAST_BYTES, VOLUME, env()).is_none());
    assert_eq!(given(&cache, 0..10), 10, "unharmed");
    drop(cache);
    settle().await;
    assert!(open(&other, DISK_CACHE_LEAST_BYTES, VOLUME, env()).is_some());
    assert!(open(&other, MIB, VOLUME, env()).is_none(), "too small");
}

#[tokio::test]
async fn deleted_segments_are_forgotten_and_other_files_left_alone() {
    let disk = SimDisk::new();
    let cache = small(&disk);
    let foreign = Path::new(DIR).join("notes.txt");
    disk.create_new(&foreign).unwrap();
    disk.create_new(&Path::new(DIR).join("00000000000000AA.slab")).unwrap();
    offer(&cache, 0..20).await;
    cache.forget(&[at(0).segment]);
    assert_eq!((given(&cache, 0..10), given(&cache, 10..20)), (0, 10));
    assert_eq!(cache.status().entries, 10);
    cache.reject(&at(10));
    assert_eq!(given(&cache, 10..20), 9);
    offer(&cache, 1000..2000).await;
    assert!(cache.status().evicted > 0);
    drop(cache);
    settle().await;
    open(&disk, DISK_CACHE_LEAST_BYTES, *b"another volume..", env()).unwrap();
    settle().await;
    assert!(disk.exists(&foreign).unwrap());
    assert!(disk.exists(&Path::new(DIR).join("00000000000000AA.slab")).unwrap());
}
