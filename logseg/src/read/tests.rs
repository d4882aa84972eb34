mod travel;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use swiftclient::{
    StoreError,
    disk::{Disk, OsDisk},
};
use tokio::sync::Semaphore;

use super::*;
use crate::{
    Codec,
    format::{
        Kind, segment_name,
        tests::{Builder, header, key, noise},
    },
    spy::Spy,
};

/// Homes of a test: what is in memory, what is in the journal.
#[derive(Default)]
struct Fixed {
    memory: Mutex<HashMap<Location, Bytes>>,
    journal: Mutex<HashMap<SegmentId, Arc<dyn DiskFile>>>,
    asked: AtomicUsize,
}

impl Homes for Fixed {
    fn in_memory(&self, location: &Location) -> Option<Bytes> {
        self.memory.lock().get(location).cloned()
    }
    fn journal_file(&self, segment: SegmentId) -> Option<Arc<dyn DiskFile>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.journal.lock().get(&segment).cloned()
    }
}

struct World {
    spy: Spy,
    homes: Arc<Fixed>,
    reader: Reader,
    id: SegmentId,
    object: Vec<u8>,
}

const BIG: usize = 128 << 10;

impl World {
    /// A stored segment: big plain frame, small plain frame, compressed frame, page.
    async fn new(encrypted: bool) -> (Self, [Location; 4]) {
        let h = header(encrypted);
        let mut b = Builder::new(&h);
        let locate = |b: &mut Builder, kind, bytes: Vec<u8>, codec| {
            let offset = b.entry(kind, 101, bytes, codec);
            Location { segment: h.id, offset, stored: b.at() - offset }
        };
        let at = [
            locate(&mut b, Kind::Data, noise(1, BIG), Codec::Stored),
            locate(&mut b, Kind::Data, noise(2, 700), Codec::Stored),
            locate(&mut b, Kind::Data, vec![7; 100_000], Codec::Zstd),
            locate(&mut b, Kind::Page, noise(4, 9000), Codec::Zstd),
        ];
        let object = b.seal();
        let spy = Spy::new();
        put(&spy, h.id, &object).await;
        let homes = Arc::new(Fixed::default());
        let key = encrypted.then(key);
        let (store, pool) = (Arc::new(spy.clone()), Handle::current());
        let reader = Reader::new(store, homes.clone(), pool, h.volume, key, 1 << 20, None);
        (Self { spy, homes, reader, id: h.id, object }, at)
    }

    /// The same reader over an object with one byte changed.
    async fn altered(at: usize) -> (Self, [Location; 4]) {
        let (mut world, locations) = Self::new(false).await;
        let name = segment_name(world.id);
        world.spy.inner.delete_many(std::slice::from_ref(&name)).await.unwrap();
        world.object[at] ^= 1;
        put(&world.spy, world.id, &world.object).await;
        (world, locations)
    }
}

async fn put(spy: &Spy, id: SegmentId, object: &[u8]) {
    let pieces = vec![Bytes::copy_from_slice(object)];
    spy.inner.put_new(&segment_name(id), pieces).await.unwrap();
}

fn corrupt_at(r: Result<Bytes, LogError>, location: &Location, offset: u32) {
    match r {
        Err(LogError::Corrupt { segment, offset: o, .. }) => {
            assert_eq!((segment, o), (location.segment, u64::from(offset)));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn data_are_cached_and_pages_are_not() {
    for encrypted in [false, true] {
        let (w, [big, small, packed, page]) = World::new(encrypted).await;
        assert_eq!(w.reader.now(&big), None);
        assert_eq!(w.reader.read(&big).await.unwrap(), noise(1, BIG));
        assert_eq!(w.spy.gets(), 1, "the header lies near and comes along");
        assert_eq!(w.reader.read(&small).await.unwrap(), noise(2, 700));
        assert_eq!(w.reader.read(&packed).await.unwrap(), vec![7; 100_000]);
        assert_eq!(w.reader.read(&page).await.unwrap(), noise(4, 9000));
        assert_eq!(w.spy.gets(), 4, "the header is remembered");
        for at in [&big, &small, &packed] {
            w.reader.read(at).await.unwrap();
            assert!(w.reader.now(at).is_some());
        }
        assert_eq!(w.spy.gets(), 4);
        assert_eq!(w.reader.now(&page), None);
        w.reader.forget(&[w.id]);
        assert_eq!((w.reader.now(&big), w.reader.cached_bytes()), (None, 0));
    }
}

#[tokio::test]
async fn memory_comes_before_cache_and_both_before_the_store() {
    let (w, [big, small, ..]) = World::new(false).await;
    w.homes.memory.lock().insert(small, Bytes::from_static(b"unsynced"));
    assert_eq!(w.reader.read(&small).await.unwrap(), "unsynced");
    assert_eq!(w.reader.read_part(&small, 2..4).await.unwrap(), "sy");
    w.homes.memory.lock().clear();
    w.reader.insert(&big, &Bytes::from(noise(1, BIG)));
    assert_eq!(w.reader.read(&big).await.unwrap(), noise(1, BIG));
    assert_eq!(w.spy.gets(), 0);
    assert_eq!(w.reader.read(&small).await.unwrap(), noise(2, 700));
    let status = w.reader.status();
    assert_eq!((status.hits, status.misses), (3, 1));
}

#[tokio::test]
async fn the_cache_keeps_its_limit_and_copies_small_frames() {
    let (w, [big, ..]) = World::new(false).await;
    for i in 0..1000 {
        let at = Location { offset: 8 * i, ..big };
        w.reader.insert(&at, &Bytes::from(noise(1, 4096)));
        assert!(w.reader.cached_bytes() <= 1 << 20);
    }
    assert!(w.reader.cached_bytes() > 1 << 19);
    let buffer = Bytes::from(noise(1, 1 << 20));
    let at = Location { offset: 1 << 20, ..big };
    w.reader.insert(&at, &buffer.slice(100..200));
    let kept = w.reader.now(&at).unwrap();
    assert_eq!(kept, buffer.slice(100..200));
    assert!(!buffer.as_ptr_range().contains(&kept.as_ptr()), "100 bytes pin a megabyte");
}

#[tokio::test]
async fn many_readers_make_one_flight_and_share_its_error() {
    let (w, [big, ..]) = World::new(false).await;
    w.reader.read(&big).await.unwrap();
    w.reader.forget(&[w.id]);
    let before = w.spy.gets();
    let mut spy = w.spy.clone();
    spy.gate = Arc::new(Semaphore::new(0));
    let reader = Reader::new(
        Arc::new(spy.clone()),
        w.homes.clone(),
        Handle::current(),
        header(false).volume,
        None,
        1 << 20,
        None,
    );
    let read = |reader: Reader| async move { reader.read(&big).await };
    let tasks: Vec<_> = (0..50).map(|_| tokio::spawn(read(reader.clone()))).collect();
    // One who gives up does not take the others down.
    tasks[0].abort();
    tokio::task::yield_now().await;
    tasks[1].abort();
    spy.gate.add_permits(10);
    let mut good = 0;
    for task in tasks {
        if let Ok(outcome) = task.await {
            assert_eq!(outcome.unwrap(), noise(1, BIG));
            good += 1;
        }
    }
    assert!(good >= 48);
    assert_eq!(w.spy.gets() - before, 1, "once for all");

    let e = StoreError::Denied { what: "get".into(), reason: "expired".into() };
    *spy.get_fault.lock() = Some(e);
    reader.forget(&[w.id]);
    let tasks: Vec<_> = (0..10).map(|_| tokio::spawn(read(reader.clone()))).collect();
    for task in tasks {
        let outcome = task.await.unwrap();
        assert!(matches!(outcome, Err(LogError::Store(StoreError::Denied { .. }))));
    }
    // An error is not remembered.
    *spy.get_fault.lock() = None;
    assert!(reader.read(&big).await.is_ok());
    assert!(reader.0.board.lock().is_idle());
}

#[tokio::test]
async fn a_small_read_fetches_only_what_it_checks() {
    let (w, [big, small, packed, _]) = World::new(false).await;
    w.reader.read(&small).await.unwrap();
    let before = w.spy.bytes_got();
    let want = &noise(1, BIG)[90_000..94_096];
    assert_eq!(w.reader.read_part(&big, 90_000..94_096).await.unwrap(), want);
    assert_eq!(w.spy.bytes_got() - before, 64 + 4 * 32 + 2 * 4096);
    assert_eq!(w.reader.now(&big), None, "not worth a place");
    // Near the start one get is cheaper than two.
    let (gets, want) = (w.spy.gets(), &noise(1, BIG)[5000..5100]);
    assert_eq!(w.reader.read_part(&big, 5000..5100).await.unwrap(), want);
    assert_eq!(w.spy.gets() - gets, 1);
    // Half of the frame or more: the whole, cached.
    w.reader.read_part(&big, 0..70_000).await.unwrap();
    assert!(w.reader.now(&big).is_some());
    // Not stored plain: the whole after all.
    assert_eq!(w.reader.read_part(&packed, 10..20).await.unwrap(), vec![7; 10]);
    assert!(w.reader.now(&packed).is_some());
    corrupt_at(w.reader.read_part(&small, 0..701).await, &small, small.offset);
    corrupt_at(w.reader.read_part(&packed, 99_999..100_001).await, &packed, packed.offset);

    let (w, [big, ..]) = World::new(true).await;
    let want = &noise(1, BIG)[90_000..94_096];
    assert_eq!(w.reader.read_part(&big, 90_000..94_096).await.unwrap(), want);
    assert!(w.reader.now(&big).is_some());
}

#[tokio::test]
async fn damage_is_named_and_never_given() {
    // In the segment's header; in an entry's header; in a table; in a block; in a page.
    let (_, [big, small, _, page]) = World::new(false).await;
    let (w, _) = World::altered(100).await;
    corrupt_at(w.reader.read(&big).await, &big, 0);
    for at in [10, 64, 64 + 128 + 70_000] {
        let (w, _) = World::altered(big.offset as usize + at).await;
        corrupt_at(w.reader.read(&big).await, &big, big.offset);
        corrupt_at(w.reader.read_part(&big, 69_000..71_000).await, &big, big.offset);
        assert_eq!(w.reader.read(&small).await.unwrap(), noise(2, 700));
        assert_eq!(w.reader.now(&big), None);
    }
    let (w, _) = World::altered(page.offset as usize + 1000).await;
    corrupt_at(w.reader.read(&page).await, &page, page.offset);
    // A part beside the damage is good, the whole is not.
    let (w, _) = World::altered(big.offset as usize + 64 + 128 + 100).await;
    let want = &noise(1, BIG)[90_000..94_096];
    assert_eq!(w.reader.read_part(&big, 90_000..94_096).await.unwrap(), want);
    corrupt_at(w.reader.read(&big).await, &big, big.offset);
    // A location that is not an entry's; one beyond the end.
    let (w, _) = World::new(false).await;
    let wrong = Location { stored: small.stored + 8, ..small };
    corrupt_at(w.reader.read(&wrong).await, &small, small.offset);
    let wrong = Location { stored: small.stored - 8, ..small };
    corrupt_at(w.reader.read(&wrong).await, &small, small.offset);
    let wrong = Location { stored: 64, ..small };
    corrupt_at(w.reader.read(&wrong).await, &small, small.offset);
    let wrong = Location { offset: big.offset + 64, ..small };
    corrupt_at(w.reader.read(&wrong).await, &small, big.offset + 64);
    let wrong = Location { offset: 1 << 30, ..small };
    assert!(w.reader.read(&wrong).await.is_err());
    // Another segment's bytes under this name.
    let other = SegmentId::chain(3, 8);
    put(&w.spy, other, &w.object).await;
    let wrong = Location { segment: other, ..small };
    corrupt_at(w.reader.read(&wrong).await, &wrong, 0);
    // Absent is the store's own word.
    let absent = Location { segment: SegmentId::chain(3, 9), ..small };
    let e = w.reader.read(&absent).await.unwrap_err();
    assert!(matches!(e, LogError::Store(e) if e.is_not_found()));
}

/// A file made of `bytes`.
fn journal_file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let path: PathBuf = dir.path().join(name);
    let file = OsDisk.create_new(&path).unwrap();
    file.write_at(0, &[bytes]).unwrap();
    file
}

#[tokio::test]
async fn what_is_only_in_the_journal_is_read_there() {
    let dir = tempfile::tempdir().unwrap();
    let (w, [big, small, packed, page]) = World::new(false).await;
    let name = segment_name(w.id);
    w.spy.inner.delete_many(&[name]).await.unwrap();
    w.homes.journal.lock().insert(w.id, journal_file(&dir, "a", &w.object));
    assert_eq!(
        w.reader.read_part(&big, 90_000..94_096).await.unwrap(),
        noise(1, BIG)[90_000..94_096]
    );
    for (at, want) in [
        (big, noise(1, BIG)),
        (small, noise(2, 700)),
        (packed, vec![7; 100_000]),
        (page, noise(4, 9000)),
    ] {
        assert_eq!(w.reader.read(&at).await.unwrap(), want);
    }
    assert_eq!(w.spy.gets(), 0);
}

/// A journal file that is recycled while it is read: garbage, and the segment is stored by now.
struct Recycled(Arc<Fixed>, SegmentId);

impl DiskFile for Recycled {
    fn read_at(&self, _: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.journal.lock().remove(&self.1);
        into.fill(0x5a);
        Ok(into.len())
    }
    fn write_at(&self, _: u64, _: &[&[u8]]) -> io::Result<()> {
        unreachable!("readers do not write")
    }
    fn sync_data(&self) -> io::Result<()> {
        unreachable!("readers do not sync")
    }
    fn start_writeout(&self, _: u64, _: u64) -> io::Result<()> {
        unreachable!("readers do not write")
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        unreachable!("readers do not cut")
    }
    fn len(&self) -> io::Result<u64> {
        Ok(1 << 30)
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        unreachable!("readers do not write")
    }
    fn try_lock(&self) -> io::Result<bool> {
        unreachable!("readers do not lock")
    }
    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((0, 0))
    }
    fn is_regular(&self) -> io::Result<bool> {
        Ok(true)
    }
}

#[tokio::test]
async fn a_file_recycled_under_the_reader_sends_it_to_the_store() {
    let (w, [big, small, ..]) = World::new(false).await;
    let recycled = || Arc::new(Recycled(w.homes.clone(), w.id)) as Arc<dyn DiskFile>;
    w.homes.journal.lock().insert(w.id, recycled());
    assert_eq!(w.reader.read(&small).await.unwrap(), noise(2, 700));
    w.homes.journal.lock().insert(w.id, recycled());
    assert_eq!(w.reader.read_part(&big, 5..6).await.unwrap(), noise(1, BIG)[5..6]);
    // Damage in a file that is still the segment's home is damage.
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = w.object.clone();
    bytes[big.offset as usize + 300] ^= 1;
    w.homes.journal.lock().insert(w.id, journal_file(&dir, "b", &bytes));
    corrupt_at(w.reader.read(&big).await, &big, big.offset);
}
