//! What travels, how often, and what is believed: counted at the store.

use proptest::prelude::*;
use swiftclient::{
    Verb,
    faulty::{Fault, Faulty, Rule},
};

use super::*;
use crate::{format::SegmentHeader, limits::RANGE_BYTES};

const MEMORY: u64 = 256 << 20;

/// Segment `counter` with `frames` frames of `len` bytes, a record after each eighth.
fn segment(counter: u32, nonce: u8, frames: usize, len: usize) -> (Vec<u8>, Vec<Location>) {
    let id = SegmentId::chain(3, counter);
    let header = SegmentHeader { id, nonce: [nonce; 16], ..header(false) };
    let mut b = Builder::new(&header);
    let mut at = Vec::new();
    for n in 0..frames {
        let offset = b.entry(Kind::Data, 101, frame(counter, n, len), Codec::Stored);
        at.push(Location { segment: id, offset, stored: b.at() - offset });
        if n % 8 == 7 {
            b.entry(Kind::Record, 101, noise(9, 300), Codec::Stored);
        }
    }
    (b.seal(), at)
}

/// No two are alike, and no two blocks of one.
fn frame(counter: u32, n: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x5a; len];
    for (block, chunk) in bytes.chunks_mut(500).enumerate() {
        let name = format!("{counter} {n} {block}");
        let len = name.len().min(chunk.len());
        chunk[..len].copy_from_slice(&name.as_bytes()[..len]);
    }
    bytes
}

async fn stored(spy: &Spy, counter: u32, frames: usize, len: usize) -> Vec<Location> {
    let (object, at) = segment(counter, 7, frames, len);
    put(spy, SegmentId::chain(3, counter), &object).await;
    at
}

fn over(store: Arc<dyn ObjectStore>, homes: Arc<Fixed>) -> Reader {
    Reader::new(store, homes, Handle::current(), header(false).volume, None, MEMORY, None)
}

fn reader(spy: &Spy) -> Reader {
    over(Arc::new(spy.clone()), Arc::default())
}

/// Lets everything that can go on do so.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_lies_together_travels_in_few_requests() {
    let spy = Spy::new();
    let mut all = stored(&spy, 1, 100, BIG).await;
    all.extend(stored(&spy, 2, 100, BIG).await);
    let reader = reader(&spy);
    let frames = reader.read_many(&all).await.unwrap();
    for (n, bytes) in frames.iter().enumerate() {
        let counter = if n < 100 { 1 } else { 2 };
        assert_eq!(*bytes, frame(counter, n % 100, BIG));
    }
    // 100 frames are 12.5 MiB: four requests of at most 4 MiB, the headers among them.
    assert_eq!(spy.gets(), 8);
    assert!(spy.seen.lock().gets.iter().all(|(_, r)| r.end - r.start <= RANGE_BYTES));
    assert_eq!(reader.status().gets, 8);
    assert_eq!(reader.read_many(&all).await.unwrap(), frames);
    assert_eq!(spy.gets(), 8, "and then they are here");
    // A frame of the cache does not keep the answer that it came in.
    let (first, second) = (reader.now(&all[0]).unwrap(), reader.now(&all[1]).unwrap());
    let apart = second.as_ptr() as isize - first.as_ptr() as isize;
    assert!(apart.unsigned_abs() != all[0].stored as usize, "slices of one buffer");
    assert!(reader.0.board.lock().is_idle());
}

#[tokio::test]
async fn small_gaps_are_read_over_and_large_ones_are_not() {
    let spy = Spy::new();
    let all = stored(&spy, 1, 90, 32 << 10).await;
    let reader = reader(&spy);
    // 32 KiB between them.
    let near: Vec<_> = all.iter().copied().step_by(2).take(10).collect();
    reader.read_many(&near).await.unwrap();
    assert_eq!(spy.gets(), 1);
    // 96 KiB and more.
    let far: Vec<_> = all.iter().copied().skip(40).step_by(4).take(10).collect();
    reader.read_many(&far).await.unwrap();
    assert_eq!(spy.gets(), 11);
}

#[tokio::test]
async fn random_reads_take_one_request_each() {
    let spy = Spy::new();
    let all = stored(&spy, 1, 100, BIG).await;
    let reader = reader(&spy);
    reader.read(&all[99]).await.unwrap();
    assert_eq!(spy.gets(), 2, "the first of a segment asks for the header too, beside it");
    for n in [3, 77, 12, 50, 31] {
        let before = spy.gets();
        assert_eq!(reader.read(&all[n]).await.unwrap(), frame(1, n, BIG));
        assert_eq!(spy.gets() - before, 1);
    }
}

#[tokio::test]
async fn a_hundred_readers_of_a_cold_segment_ask_once() {
    let spy = Spy::new();
    let all = stored(&spy, 1, 100, BIG).await;
    let reader = reader(&spy);
    let read = |reader: Reader, at| async move { reader.read(&at).await.unwrap() };
    let tasks: Vec<_> = (0..100).map(|_| tokio::spawn(read(reader.clone(), all[50]))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), frame(1, 50, BIG));
    }
    assert_eq!(spy.gets(), 2, "entry and header");
    // Different frames of another cold segment: its header once, and neighbours together.
    let all = stored(&spy, 2, 100, BIG).await;
    let tasks: Vec<_> =
        all[20..60].iter().map(|at| tokio::spawn(read(reader.clone(), *at))).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), frame(2, 20 + n, BIG));
    }
    assert_eq!(spy.gets(), 2 + 2 + 1);
}

#[tokio::test]
async fn what_was_read_ahead_is_there() {
    let spy = Spy::new();
    let all = stored(&spy, 1, 100, BIG).await;
    let homes = Arc::new(Fixed::default());
    let reader = over(Arc::new(spy.clone()), homes.clone());
    let stored: u64 = all[..64].iter().map(|at| u64::from(at.stored)).sum();
    assert_eq!(reader.prefetch(&all[..64]), stored);
    assert_eq!(reader.prefetch(&all[..64]), 0, "on their way");
    // One of them is wanted meanwhile.
    assert_eq!(reader.read(&all[3]).await.unwrap(), frame(1, 3, BIG));
    settle().await;
    let gets = spy.gets();
    assert!(gets <= 5, "{gets}: the one waited for goes by itself");
    for (n, at) in all[..64].iter().enumerate() {
        assert_eq!(reader.now(at).unwrap(), frame(1, n, BIG));
    }
    assert_eq!(reader.prefetch(&all[..64]), 0, "in the cache");
    homes.memory.lock().insert(all[70], Bytes::from_static(b"unsynced"));
    assert_eq!(reader.prefetch(&all[70..71]), 0, "in memory");
    let dir = tempfile::tempdir().unwrap();
    homes.journal.lock().insert(all[0].segment, journal_file(&dir, "a", b""));
    assert_eq!(reader.prefetch(&all[64..]), 0, "in the journal");
    homes.journal.lock().clear();
    assert_eq!(spy.gets(), gets);
    assert_eq!(reader.status().ahead_frames, 64);
    // Never more than may fly.
    let small = Reader::new(
        Arc::new(spy.clone()),
        Arc::new(Fixed::default()),
        Handle::current(),
        header(false).volume,
        None,
        16 << 20,
        None,
    );
    assert!(small.prefetch(&all) <= 2 << 20);
    settle().await;
    assert!(small.cached_bytes() <= 2 << 20 && small.0.board.lock().is_idle());
}

#[tokio::test]
async fn a_warm_cache_does_not_drop_what_is_not_yet_read() {
    let spy = Spy::new();
    let mut warm = stored(&spy, 1, 90, BIG).await;
    warm.extend(stored(&spy, 2, 90, BIG).await);
    let cold = stored(&spy, 3, 80, BIG).await;
    let (store, homes) = (Arc::new(spy.clone()), Arc::new(Fixed::default()));
    let (pool, volume) = (Handle::current(), header(false).volume);
    let reader = Reader::new(store, homes, pool, volume, None, 32 << 20, None);
    for _ in 0..5 {
        for at in &warm {
            reader.read(at).await.unwrap();
        }
    }
    for (n, window) in cold.chunks(20).enumerate() {
        reader.prefetch(window);
        settle().await;
        let gets = spy.gets();
        for (i, at) in window.iter().enumerate() {
            assert_eq!(reader.read(at).await.unwrap(), frame(3, 20 * n + i, BIG));
        }
        assert_eq!(spy.gets(), gets, "round {n}");
    }
    let status = reader.status();
    assert_eq!((status.ahead_frames, status.ahead_used, status.ahead_wasted), (80, 80, 0));
    assert!(reader.cached_bytes() <= 32 << 20);
}

#[tokio::test]
async fn an_error_of_read_ahead_is_nobodys() {
    let mut spy = Spy::new();
    let all = stored(&spy, 1, 8, BIG).await;
    spy.gate = Arc::new(Semaphore::new(0));
    let denied = || StoreError::Denied { what: "get".into(), reason: "expired".into() };
    spy.get_faults.lock().push_back(denied());
    let reader = reader(&spy);
    reader.prefetch(&all);
    settle().await;
    assert_eq!(spy.gets(), 1, "on its way");
    let wait = tokio::spawn({
        let (reader, at) = (reader.clone(), all[2]);
        async move { reader.read(&at).await }
    });
    settle().await;
    assert_eq!(spy.gets(), 1, "joined");
    spy.gate.add_permits(100);
    assert_eq!(wait.await.unwrap().unwrap(), frame(1, 2, BIG));
    // Who asks himself is told.
    spy.get_faults.lock().push_back(denied());
    let e = reader.read(&all[5]).await.unwrap_err();
    assert!(matches!(e, LogError::Store(StoreError::Denied { .. })), "{e}");
    assert!(reader.0.board.lock().is_idle());
}

#[tokio::test]
async fn a_damaged_answer_is_asked_for_once_more() {
    for fault in [Fault::Corrupt, Fault::Truncate] {
        let spy = Spy::new();
        let all = stored(&spy, 1, 20, BIG).await;
        let faulty = Faulty::new(Arc::new(spy.clone()));
        let reader = over(Arc::new(faulty.clone()), Arc::default());
        faulty.add(Rule::nth(0, fault).of(Verb::Get));
        let frames = reader.read_many(&all).await.unwrap();
        for (n, bytes) in frames.iter().enumerate() {
            assert_eq!(*bytes, frame(1, n, BIG), "{fault:?} {n}");
        }
        let status = reader.status();
        let again = if fault == Fault::Corrupt { 1 } else { 11 };
        assert!((1..=again).contains(&status.asked_again), "{status:?}");
        assert_eq!(status.damaged, 0);
    }
}

#[tokio::test]
async fn damage_that_stays_is_told_with_object_offset_and_owner() {
    let spy = Spy::new();
    let (mut object, all) = segment(1, 7, 20, BIG);
    object[all[4].offset as usize + 5000] ^= 1;
    put(&spy, all[0].segment, &object).await;
    let reader = reader(&spy);
    match reader.read(&all[4]).await {
        Err(LogError::Corrupt { segment, offset, reason }) => {
            assert_eq!((segment, offset), (all[4].segment, u64::from(all[4].offset)));
            assert!(reason.contains("object seg/00000003/00000001"), "{reason}");
            assert!(reason.contains("owner 42"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(reader.status().damaged, 1);
    assert_eq!(reader.status().asked_again, u64::from(crate::limits::DAMAGED_AGAIN));
    // All the others are good, also those that travel with it.
    let others: Vec<_> = all.iter().copied().filter(|at| *at != all[4]).collect();
    assert_eq!(reader.prefetch(&all), all.iter().map(|at| u64::from(at.stored)).sum::<u64>());
    assert_eq!(reader.read_many(&others).await.unwrap().len(), 19);
    assert!(reader.read_many(&all).await.is_err());
}

#[tokio::test]
async fn a_store_that_always_lies_is_never_believed() {
    let spy = Spy::new();
    let all = stored(&spy, 1, 20, BIG).await;
    let faulty = Faulty::new(Arc::new(spy.clone()));
    let reader = over(Arc::new(faulty.clone()), Arc::default());
    faulty.add(Rule::always(Fault::Corrupt).of(Verb::Get));
    for at in &all {
        let e = reader.read(at).await.unwrap_err();
        assert!(matches!(e, LogError::Corrupt { segment, .. } if segment == at.segment), "{e}");
        assert!(reader.read_part(at, 5..50).await.is_err());
    }
    assert_eq!(reader.cached_bytes(), 0);
    assert!(reader.status().damaged >= 20);
}

#[tokio::test]
async fn exchanged_and_old_objects_are_found_out() {
    let (one, at_one) = segment(1, 7, 4, BIG);
    let (two, at_two) = segment(2, 8, 4, BIG);
    let spy = Spy::new();
    put(&spy, at_one[0].segment, &two).await;
    put(&spy, at_two[0].segment, &one).await;
    let reader = reader(&spy);
    corrupt_at(reader.read(&at_one[0]).await, &at_one[0], 0);
    corrupt_at(reader.read_part(&at_two[3], 100_000..100_010).await, &at_two[3], 0);
    assert_eq!(reader.cached_bytes(), 0);
    // Exchanged after the header was read: nonce and offset seed the entry's checksum.
    let names = [segment_name(at_one[0].segment), segment_name(at_two[0].segment)];
    spy.inner.delete_many(&names).await.unwrap();
    put(&spy, at_one[0].segment, &one).await;
    reader.read(&at_one[0]).await.unwrap();
    spy.inner.delete_many(&names[..1]).await.unwrap();
    put(&spy, at_one[0].segment, &two).await;
    corrupt_at(reader.read(&at_one[1]).await, &at_one[1], 0);
    // Another object of the same name: all is good in it but the nonce.
    spy.inner.delete_many(&names[..1]).await.unwrap();
    put(&spy, at_one[0].segment, &one).await;
    reader.read(&at_one[1]).await.unwrap();
    let (old, _) = segment(1, 9, 4, BIG);
    spy.inner.delete_many(&names[..1]).await.unwrap();
    put(&spy, at_one[0].segment, &old).await;
    corrupt_at(reader.read(&at_one[2]).await, &at_one[2], 0);
    assert_eq!(reader.now(&at_one[2]), None);
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Many(Vec<usize>),
    Part(usize, u32, u32),
    Ahead(usize, usize),
    Forget(u32),
    Fault(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..60_usize).prop_map(Step::Read),
        prop::collection::vec(0..60_usize, 0..20).prop_map(Step::Many),
        (0..60_usize, 0..4000_u32, 1..4000_u32).prop_map(|(n, a, l)| Step::Part(n, a, l)),
        (0..60_usize, 1..60_usize).prop_map(|(n, l)| Step::Ahead(n, l)),
        (0..3_u32).prop_map(Step::Forget),
        (0..3_u8).prop_map(Step::Fault),
    ]
}

/// One refusal, or harm to both answers, may have met this read.
fn excused(e: &LogError, refusals: u32, harms: u32) -> bool {
    match e {
        LogError::Store(_) => refusals > 0,
        LogError::Corrupt { .. } => harms > 1,
        _ => false,
    }
}

/// Three segments read in every way, by a reader with a disk cache, from a store that harms some
/// answers: what is given is what was written, and only harmed reads fail.
async fn compare(steps: Vec<Step>) {
    const LEN: usize = 9000;
    let spy = Spy::new();
    let mut all = Vec::new();
    for counter in 0..3 {
        all.extend(stored(&spy, counter, 20, LEN).await);
    }
    let want = |n: usize| frame(u32::try_from(n / 20).unwrap(), n % 20, LEN);
    let faulty = Faulty::new(Arc::new(spy.clone()));
    let disk = crate::disk_cache::tests::small(&swiftclient::disk::SimDisk::new());
    let homes: Arc<Fixed> = Arc::default();
    let store = Arc::new(faulty.clone());
    let (pool, volume) = (Handle::current(), header(false).volume);
    let reader = Reader::new(store, homes, pool, volume, None, 200 << 10, Some(disk));
    let (mut refusals, mut harms) = (0, 0);
    for step in steps {
        match step {
            Step::Fault(kind) => {
                let fault = match kind {
                    0 => Fault::Corrupt,
                    1 => Fault::Truncate,
                    _ => Fault::Refuse(swiftclient::ErrorKind::Unavailable),
                };
                faulty.add(Rule::nth(0, fault).of(Verb::Get));
                refusals += u32::from(kind == 2);
                harms += 1;
            }
            Step::Read(n) => match reader.read(&all[n]).await {
                Ok(bytes) => assert_eq!(bytes, want(n)),
                Err(e) => assert!(excused(&e, refusals, harms), "{e}"),
            },
            Step::Many(ns) => {
                let places: Vec<_> = ns.iter().map(|n| all[*n]).collect();
                match reader.read_many(&places).await {
                    Ok(frames) => {
                        let wanted: Vec<_> = ns.iter().map(|n| Bytes::from(want(*n))).collect();
                        assert_eq!(frames, wanted);
                    }
                    Err(e) => assert!(excused(&e, refusals, harms), "{e}"),
                }
            }
            Step::Part(n, from, len) => match reader.read_part(&all[n], from..from + len).await {
                Ok(bytes) => assert_eq!(bytes, want(n)[from as usize..(from + len) as usize]),
                Err(e) => assert!(excused(&e, refusals, harms), "{e}"),
            },
            Step::Ahead(n, len) => {
                reader.prefetch(&all[n..all.len().min(n + len)]);
            }
            Step::Forget(counter) => reader.forget(&[SegmentId::chain(3, counter)]),
        }
    }
    settle().await;
    assert!(reader.0.board.lock().is_idle());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_way_of_reading_gives_what_was_written(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(compare(steps));
    }
}
