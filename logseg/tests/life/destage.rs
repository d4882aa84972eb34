//! Segments on their way to a store that is no directory.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::{sync::Arc, time::Duration};

use logseg::{
    LogError, SegmentId, SyncMode,
    format::{SEGMENT_HEADER, SegmentHeader, scan_sealed},
};
use swiftclient::{
    ErrorKind, Faulty, ObjectStore, Verb,
    disk::{
        SimDisk,
        plan::{Harmed, Operation},
    },
    faulty::{Fault, Rule},
    seam::Env,
};

use crate::{
    crash::paused,
    far::{Far, Seen, far},
    world::{Opened, commit, numbers, open, payload},
};

const SEGMENT: u64 = 4 << 20;

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.set_capacity(Some(512 << 20));
    disk
}

async fn write(opened: &mut Opened, from: u64, count: u64, len: usize) {
    for n in from..from + count {
        opened.log.admit(len as u64).await.unwrap();
        commit(&mut opened.writer, n, len).unwrap();
    }
}

async fn sync(opened: &Opened) {
    opened.log.sync(opened.log.last_seq(), SyncMode::Inline).await.unwrap();
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn wakes(opened: &Opened, reason: &str) -> u64 {
    let wakes = opened.log.status().destage.wakes;
    wakes.iter().find(|(name, _)| *name == reason).unwrap().1
}

/// Rows 4-4 and 4-20; and the "a volume at rest sends no request at all for 60 s".
#[test]
fn the_last_small_write_is_stored_by_its_age_and_then_nothing_is_asked_of_the_store() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk).attesting();
        let config = far(&disk, &store, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, SEGMENT).await.unwrap();
        store.forget();
        write(&mut opened, 1, 1, 4096).await;
        sync(&opened).await;
        sleep(4).await;
        assert_eq!(store.seen(), []);
        let status = opened.log.status().destage;
        assert_eq!((status.open, status.sealed, status.failed), (1, 0, 0));
        assert_eq!(status.oldest_age, Some(Duration::from_secs(4)));
        assert!(status.dirty_bytes > 4096);
        sleep(2).await;
        let name = "seg/00000002/00000000".to_owned();
        assert_eq!(store.seen(), [Seen::PutFile(name)], "one request, and no reading back");
        let status = opened.log.status().destage;
        assert_eq!((status.dirty_bytes, status.oldest_age), (0, None));
        assert_eq!(status.stored_through, Some(SegmentId::chain(2, 1)));
        assert_eq!(wakes(&opened, "age"), 2);
        store.forget();
        sleep(600).await;
        assert_eq!(store.seen(), [], "at rest");
    });
}

/// Row 4-2 with a real log, and the low number of objects.
#[test]
fn small_files_are_packed_and_full_segments_go_in_parallel() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk).attesting().latency(Duration::from_millis(50));
        let config = far(&disk, &store, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, SEGMENT).await.unwrap();
        store.forget();
        // 8,000 files of 4 KiB, within a second.
        write(&mut opened, 1, 8_000, 4096).await;
        sync(&opened).await;
        let next = opened.writer.roll().unwrap();
        opened.log.stored(next).await.unwrap();
        // Of 5 allowed per 1,000; these segments are small.
        assert!(store.segments_put() <= 16, "{} objects", store.segments_put());
        assert!(store.most_busy() >= 4, "{} at a time", store.most_busy());
        assert!(store.most_busy() <= 8);
        assert!(wakes(&opened, "bytes") + wakes(&opened, "completion") > 0);
    });
}

#[test]
fn a_forced_flush_seals_and_stores_at_once() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk).latency(Duration::from_millis(10));
        let env = Env::simulated(1);
        let config = far(&disk, &store, &env).unwrap();
        let mut opened = open(&config, SEGMENT).await.unwrap();
        write(&mut opened, 1, 3, 4096).await;
        let begun = env.clock.monotonic();
        opened.log.flush().await.unwrap();
        assert!(env.clock.monotonic() - begun < Duration::from_secs(1), "it waited for the age");
        assert_eq!(opened.log.status().destage.dirty_bytes, 0);
        assert!(wakes(&opened, "force") > 0);
        // Nothing to do.
        store.forget();
        opened.log.flush().await.unwrap();
        assert_eq!(store.seen(), []);
        // Only as far as asked.
        write(&mut opened, 4, 1, 4096).await;
        let seq = opened.log.last_seq();
        opened.writer.roll().unwrap();
        write(&mut opened, 5, 1, 4096).await;
        opened.log.flush_through(seq).await.unwrap();
        let status = opened.log.status().destage;
        assert!(status.dirty_bytes > 4096, "the later one stays open");
        assert_eq!(status.open, 1);
    });
}

/// Row 4-10: Ok or a definite error, in any state.
#[test]
fn a_forced_flush_ends_in_every_state() {
    let disk = disk();
    paused().block_on(async {
        let far_store = Far::new(&disk);
        let faulty = Faulty::new(Arc::new(far_store.clone()));
        let mut config = far(&disk, &far_store, &Env::simulated(1)).unwrap();
        config.store = Arc::new(faulty.clone());
        let mut opened = open(&config, SEGMENT).await.unwrap();

        write(&mut opened, 1, 1, 4096).await;
        opened.log.set_destage(false);
        let off = opened.log.flush().await.unwrap_err();
        assert!(matches!(&off, LogError::Refused(why) if why.contains("switched off")), "{off}");
        sleep(60).await;
        assert!(opened.log.status().destage.dirty_bytes > 0, "nothing is stored meanwhile");
        // Switched off while it waits.
        opened.log.set_destage(true);
        faulty.add(Rule::always(Fault::Hang).of(Verb::PutFile).times(1));
        let log = opened.log.clone();
        let waiting = tokio::spawn(async move { log.flush().await });
        sleep(1).await;
        opened.log.set_destage(false);
        assert!(matches!(waiting.await.unwrap(), Err(LogError::Refused(_))));
        opened.log.set_destage(true);
        // A store that never answers.
        let silent = opened.log.flush().await.unwrap_err();
        assert!(silent.to_string().contains("nothing was stored for 600 s"), "{silent}");
        // A store that fails.
        write(&mut opened, 2, 1, 4096).await;
        opened.writer.roll().unwrap();
        faulty.add(Rule::always(Fault::Refuse(ErrorKind::Unavailable)));
        let away = opened.log.flush().await.unwrap_err();
        assert!(matches!(away, LogError::Store(_)), "{away}");
        assert!(away.to_string().contains("planned"), "{away}");
        let status = opened.log.status();
        assert_eq!(status.failed_segments, 1);
        assert!(status.destage.attempts > 5 && status.put_error.is_some());
        // A log that has failed.
        disk.harm(Harmed::nth(Operation::SyncData, 0, 5).at(".g").times(1_000));
        write(&mut opened, 3, 1, 4096).await;
        let failed = opened.log.flush().await.unwrap_err();
        assert!(matches!(failed, LogError::ReadOnly { .. }), "{failed}");
        assert!(matches!(opened.log.flush().await, Err(LogError::ReadOnly { .. })));
    });
}

/// Row 4-11: one object that fails holds nobody up, and is stored at last.
#[test]
fn a_segment_that_fails_stays_is_seen_and_others_go_on() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk);
        let faulty = Faulty::new(Arc::new(store.clone()));
        let mut config = far(&disk, &store, &Env::simulated(1)).unwrap();
        config.store = Arc::new(faulty.clone());
        let mut opened = open(&config, SEGMENT).await.unwrap();
        let stuck = "seg/00000002/00000000";
        let refuse = Fault::Refuse(ErrorKind::Unavailable);
        faulty.add(Rule::always(refuse).of(Verb::PutFile).at(stuck).times(5));
        for n in 1..=4 {
            write(&mut opened, n, 1, 4096).await;
            opened.writer.roll().unwrap();
        }
        sync(&opened).await;
        let log = opened.log.clone();
        let flush = tokio::spawn(async move { log.flush().await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let status = opened.log.status().destage;
        assert_eq!((status.failed, status.stored), (1, 3), "{status:?}");
        assert!(status.last_error.unwrap().contains("planned"));
        flush.await.unwrap().unwrap();
        let status = opened.log.status().destage;
        assert_eq!((status.failed, status.dirty_bytes, status.last_error), (0, 0, None));
        assert_eq!(wakes(&opened, "retry"), 5);
    });
}

/// Row 4-14, and 4-18: read at every stage; a crash at any of them.
#[test]
fn what_is_on_its_way_is_read_and_replayed() {
    for die_after in [0, 40, 200] {
        let disk = disk();
        let store = paused().block_on(async {
            let store = Far::new(&disk).streaming();
            store.set_rate(Some(20_000_000));
            let config = far(&disk, &store, &Env::simulated(1)).unwrap();
            let mut opened = open(&config, SEGMENT).await.unwrap();
            let mut places = Vec::new();
            for n in 1..=60 {
                let (_, place) = commit(&mut opened.writer, n, 100_000).unwrap();
                places.push((n, place.unwrap()));
                sync(&opened).await;
                tokio::time::sleep(Duration::from_millis(3)).await;
                let (n, place) = &places[n as usize * 7 % places.len()];
                assert_eq!(opened.log.read(place).await.unwrap(), payload(*n, 100_000));
            }
            tokio::time::sleep(Duration::from_millis(die_after)).await;
            store
        });
        disk.crash_losing_unsynced();
        let disk = disk.process();
        let store = store.beside(&disk);
        paused().block_on(async {
            let config = far(&disk, &store, &Env::simulated(2)).unwrap();
            let opened = open(&config, SEGMENT).await.unwrap();
            assert_eq!(numbers(&opened.records), (1..=60).collect::<Vec<_>>());
            opened.log.flush().await.unwrap();
            assert_eq!(opened.log.status().destage.dirty_bytes, 0);
        });
    }
}

/// R13: on the wire before the segment is full; completed only when all is fdatasynced.
#[test]
fn an_open_segment_streams_and_ends_after_its_fdatasync() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk).streaming();
        let config = far(&disk, &store, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, 16 << 20).await.unwrap();
        store.forget();
        let name = "seg/00000002/00000000".to_owned();
        for n in 1..=100 {
            write(&mut opened, n, 1, 100_000).await;
            sync(&opened).await;
            tokio::task::yield_now().await;
        }
        sleep(1).await;
        let seen = store.seen();
        assert_eq!(seen[0], Seen::Opened(name.clone()));
        let sent = seen.iter().filter_map(|s| match s {
            Seen::Bytes(_, sent) => Some(*sent),
            _ => None,
        });
        assert!(sent.max().unwrap() > 9 << 20, "10 MB are nearly all on the wire: {seen:?}");
        assert!(!seen.contains(&Seen::Finished(name.clone())));
        disk.forget_log();
        sleep(5).await;
        // The timer has sealed it; one object, and the end came after the last fdatasync.
        let ends = |s: &&Seen| matches!(s, Seen::Finished(_) | Seen::Put(_) | Seen::PutFile(_));
        let seen = store.seen();
        let ended: Vec<&Seen> = seen.iter().filter(ends).collect();
        assert_eq!(ended, [&Seen::Finished(name)]);
        assert!(disk.log().iter().any(|(op, _)| *op == Operation::SyncData));
        let object = swiftclient::ObjectName::new("seg/00000002/00000000").unwrap();
        let bytes = store.objects.get(&object, 0..u64::MAX).await.unwrap();
        assert!(logseg::format::scan_sealed(&bytes).is_ok());
        assert_eq!(opened.log.status().destage.dirty_bytes, 0);
    });
}

/// The end of a stream waits for the fdatasync; where that fails for good the segment goes whole, as
/// what the journal does not take (R10).
#[test]
fn a_stream_whose_journal_file_fails_is_not_completed_and_the_segment_goes_whole() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk).streaming();
        let config = far(&disk, &store, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, 16 << 20).await.unwrap();
        write(&mut opened, 1, 30, 100_000).await;
        sync(&opened).await;
        sleep(1).await;
        assert!(store.seen().iter().any(|s| matches!(s, Seen::Bytes(..))));
        disk.harm(Harmed::nth(Operation::SyncData, 0, 5).at(".g").times(1_000));
        opened.writer.roll().unwrap();
        sleep(60).await;
        assert!(opened.log.status().failure.is_none());
        let seen = store.seen();
        assert!(!seen.iter().any(|s| matches!(s, Seen::Finished(_))));
        assert!(seen.contains(&Seen::Put("seg/00000002/00000000".to_owned())), "{seen:?}");
        assert_eq!(opened.log.durable_seq(), opened.log.last_seq());
    });
}

#[test]
fn a_broken_stream_goes_again_whole() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk).streaming();
        store.break_streams_at(Some(2 << 20));
        let config = far(&disk, &store, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, SEGMENT).await.unwrap();
        write(&mut opened, 1, 25, 100_000).await;
        sync(&opened).await;
        sleep(1).await;
        let status = opened.log.status().destage;
        assert_eq!((status.open, status.attempts), (1, 1), "{status:?}");
        assert!(status.last_error.unwrap().contains("broke"));
        opened.log.flush().await.unwrap();
        let whole = Seen::PutFile("seg/00000002/00000000".to_owned());
        assert!(store.seen().contains(&whole), "{:?}", store.seen());
        assert_eq!(opened.log.status().destage.last_error, None);
    });
}

/// An idle stream ends before the store's patience does.
#[test]
fn an_idle_stream_is_ended_whatever_the_age() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk).streaming();
        let mut config = far(&disk, &store, &Env::simulated(1)).unwrap();
        config.destage.age = Some(Duration::from_secs(3600));
        let mut opened = open(&config, SEGMENT).await.unwrap();
        write(&mut opened, 1, 20, 100_000).await;
        sync(&opened).await;
        sleep(19).await;
        assert!(!store.seen().iter().any(|s| matches!(s, Seen::Finished(_))));
        sleep(3).await;
        assert!(store.seen().iter().any(|s| matches!(s, Seen::Finished(_))), "{:?}", store.seen());
    });
}

/// One wave of puts per group of waiting syncs; the next group gathers while it flies.
#[test]
fn without_a_journal_all_waiting_syncs_share_one_put() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk).attesting().latency(Duration::from_millis(100));
        let mut config = far(&disk, &store, &Env::simulated(1)).unwrap();
        config.journal = None;
        let mut opened = open(&config, SEGMENT).await.unwrap();
        store.forget();
        let mut waits = Vec::new();
        for n in 1..=32 {
            write(&mut opened, n, 1, 4096).await;
            let (log, seq) = (opened.log.clone(), opened.log.last_seq());
            waits.push(tokio::spawn(async move { log.sync(seq, SyncMode::Queued).await }));
        }
        for wait in waits.drain(..) {
            wait.await.unwrap().unwrap();
        }
        assert!(store.segments_put() <= 2, "{:?}", store.seen());
        // A lone sync: one put.
        store.forget();
        write(&mut opened, 33, 1, 4096).await;
        sync(&opened).await;
        assert_eq!(store.segments_put(), 1);
        // Those that come while one flies: one more, all together.
        store.forget();
        for n in 34..=60 {
            write(&mut opened, n, 1, 4096).await;
            let (log, seq) = (opened.log.clone(), opened.log.last_seq());
            waits.push(tokio::spawn(async move { log.sync(seq, SyncMode::Queued).await }));
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        for wait in waits {
            wait.await.unwrap().unwrap();
        }
        assert_eq!(store.segments_put(), 2, "{:?}", store.seen());
        assert_eq!(store.most_busy(), 1, "never two at a time");
        // A large one: in parallel.
        store.forget();
        let begun = tokio::time::Instant::now();
        write(&mut opened, 61, 300, 100_000).await;
        sync(&opened).await;
        assert!(store.segments_put() >= 7);
        assert!(store.most_busy() >= 4, "{} at a time", store.most_busy());
        assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
    });
}

/// Nobody syncs, no journal: at half of the memory for it what is written goes by itself.
#[test]
fn without_a_journal_and_without_syncs_writes_go_by_age_and_by_bytes() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk).attesting();
        store.set_rate(Some(50_000_000));
        let mut config = far(&disk, &store, &Env::simulated(1)).unwrap();
        config.journal = None;
        config.unsynced_bytes = 16 << 20;
        let mut opened = open(&config, SEGMENT).await.unwrap();
        store.forget();
        write(&mut opened, 1, 400, 100_000).await;
        assert!(opened.log.status().unsynced_bytes <= 17 << 20);
        // A segment ends where a largest transaction would not fit any more.
        let full = 400 * 100_000 / (SEGMENT as usize * 11 / 16);
        assert!(store.segments_put() <= full + 3, "{} puts", store.segments_put());
        sleep(10).await;
        assert_eq!(opened.log.status().unsynced_bytes, 0);
        assert_eq!(opened.log.durable_seq(), opened.log.last_seq());
    });
}

/// Another's bytes under our name fence; our own, damaged on the way back, do not, nor does the
/// answer to another request.
#[test]
fn a_damaged_answer_is_asked_again_and_a_rival_fences() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk);
        let faulty = Faulty::new(Arc::new(store.clone()));
        let mut config = far(&disk, &store, &Env::simulated(1)).unwrap();
        config.store = Arc::new(faulty.clone());
        let mut opened = open(&config, SEGMENT).await.unwrap();
        faulty.add(Rule::nth(0, Fault::LoseReply).of(Verb::PutFile));
        faulty.add(Rule::nth(0, Fault::Truncate).of(Verb::Get).at("seg/"));
        faulty.add(Rule::nth(0, Fault::Corrupt).of(Verb::Head).at("seg/"));
        write(&mut opened, 1, 3, 50_000).await;
        opened.log.flush().await.unwrap();
        assert_eq!(opened.log.status().failure, None);
        assert!(faulty.faults() >= 3);

        let rival = swiftclient::ObjectName::new("seg/00000002/00000001").unwrap();
        let ours = swiftclient::ObjectName::new("seg/00000002/00000000").unwrap();
        // Our own segment under the name of the next is no rival's: names tell whose bytes are.
        let mut bytes = store.objects.get(&ours, 0..u64::MAX).await.unwrap().to_vec();
        store.objects.put_new(&rival, vec![bytes.clone().into()]).await.unwrap();
        write(&mut opened, 4, 3, 50_000).await;
        let late = opened.log.flush().await.unwrap_err();
        assert!(!matches!(late, LogError::Fenced { .. }), "{late}");
        assert_eq!(opened.log.status().failure, None);
        store.objects.delete_many(std::slice::from_ref(&rival)).await.unwrap();
        let mut header = SegmentHeader::decode(&bytes[..SEGMENT_HEADER]).unwrap();
        (header.id, header.nonce) = (SegmentId::chain(2, 1), [7; 16]);
        bytes[..SEGMENT_HEADER].copy_from_slice(&header.encode());
        store.objects.put_new(&rival, vec![bytes.into()]).await.unwrap();
        let fenced = opened.log.flush().await.unwrap_err();
        assert!(matches!(fenced, LogError::Fenced { .. }), "{fenced}");
    });
}

/// A put that the store took damaged, and of which the server never heard, leaves a wreck under the
/// segment's name. Whoever finds it, this server or the next, has the bytes in the journal: nothing
/// is lost, and they are stored in its place.
#[test]
fn a_wreck_in_the_store_is_replaced_from_the_journal() {
    let harm = [Fault::Truncate, Fault::Corrupt];
    for (fault, dies) in harm.into_iter().flat_map(|f| [(f, false), (f, true)]) {
        let disk = disk();
        paused().block_on(async {
            let store = Far::new(&disk);
            let faulty = Faulty::new(Arc::new(store.clone())).on_disk(Arc::new(disk.clone()));
            let mut config = far(&disk, &store, &Env::simulated(1)).unwrap();
            config.store = Arc::new(faulty.clone());
            let mut opened = open(&config, SEGMENT).await.unwrap();
            let name = swiftclient::ObjectName::new("seg/00000002/00000000").unwrap();
            faulty.add(Rule::nth(0, fault).of(Verb::PutFile).at(name.as_str()));
            if dies {
                faulty.add(Rule::always(Fault::Hang).of(Verb::Get).at(name.as_str()));
                faulty.add(Rule::always(Fault::Hang).of(Verb::Head).at(name.as_str()));
            }
            write(&mut opened, 1, 20, 50_000).await;
            sync(&opened).await;
            if dies {
                let flush = tokio::time::timeout(Duration::from_secs(5), opened.log.flush());
                assert!(flush.await.is_err());
                let left = store.objects.get(&name, 0..u64::MAX).await.unwrap();
                assert!(scan_sealed(&left).is_err(), "no wreck was left");
                drop(opened);
                config.store = Arc::new(store.clone());
                opened = open(&config, SEGMENT).await.unwrap();
                assert_eq!(numbers(&opened.records), (1..=20).collect::<Vec<_>>());
            }
            opened.log.flush().await.unwrap();
            assert_eq!((opened.log.status().failure, faulty.faults() > 0), (None, true));
            let whole = store.objects.get(&name, 0..u64::MAX).await.unwrap();
            scan_sealed(&whole).unwrap();
        });
    }
}

/// What the writers saw of a store that is slower than they are.
struct Course {
    /// Dirty level each 100 ms, of the budget.
    levels: Vec<f64>,
    /// When a write began, and how long it took, seconds.
    writes: Vec<(f64, f64)>,
}

async fn course(budget: u64, writers: u64, rate: u64, seconds: u64) -> Course {
    let disk = disk();
    let store = Far::new(&disk).attesting().forgetting();
    store.set_rate(Some(rate));
    let mut config = far(&disk, &store, &Env::simulated(1)).unwrap();
    config.destage.budget_bytes = budget;
    let opened = open(&config, 64 << 10).await.unwrap();
    let log = opened.log.clone();
    let writer = Arc::new(tokio::sync::Mutex::new(opened));
    let begun = tokio::time::Instant::now();
    let over = begun + Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for w in 0..writers {
        let (log, writer) = (log.clone(), writer.clone());
        tasks.push(tokio::spawn(async move {
            let mut writes = Vec::new();
            while tokio::time::Instant::now() < over {
                let from = tokio::time::Instant::now();
                log.admit(4 << 10).await.unwrap();
                commit(&mut writer.lock().await.writer, w, 4 << 10).unwrap();
                // What a journal of ten times the store's speed would take.
                tokio::time::sleep(Duration::from_micros(800 * writers)).await;
                writes.push(((from - begun).as_secs_f64(), from.elapsed().as_secs_f64()));
            }
            writes
        }));
    }
    let mut levels = Vec::new();
    while tokio::time::Instant::now() < over {
        tokio::time::sleep(Duration::from_millis(100)).await;
        levels.push(log.status().destage.dirty_bytes as f64 / budget as f64);
    }
    let mut writes = Vec::new();
    for task in tasks {
        writes.extend(task.await.unwrap());
    }
    writes.sort_by(|a: &(f64, f64), b| a.0.total_cmp(&b.0));
    Course { levels, writes }
}

/// Row 4-15: the level settles in its band and no write waits much longer than the others. In
/// virtual time, scaled down to 500 kB/s.
#[test]
fn writers_are_slowed_smoothly_and_the_level_settles() {
    for (budget, writers) in [(6 << 20, 8), (2 << 20, 32), (6 << 20, 1)] {
        let (seconds, after) = (60, 20);
        let course = paused().block_on(course(budget, writers, 500_000, seconds));
        let levels = &course.levels[after * 10..];
        let mean = levels.iter().sum::<f64>() / levels.len() as f64;
        let variance = levels.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / levels.len() as f64;
        let (low, high) =
            levels.iter().fold((1.0_f64, 0.0_f64), |(a, b), l| (a.min(*l), b.max(*l)));
        let about = format!(
            "budget {budget}, {writers} writers: level {low:.3} to {high:.3}, mean {mean:.3}, \
             deviation {:.3}",
            variance.sqrt()
        );
        eprintln!("{about}");
        assert!(low >= 0.60 && high <= 0.90, "{about}");
        assert!(variance.sqrt() <= 0.10, "{about}");
        for from in (after..seconds as usize - 5).step_by(5) {
            let window = from as f64..from as f64 + 5.0;
            let mut took: Vec<f64> = course
                .writes
                .iter()
                .filter(|(at, _)| window.contains(at))
                .map(|(_, took)| *took)
                .collect();
            took.sort_by(f64::total_cmp);
            assert!(took.len() > 50, "{about}: {} writes from second {from}", took.len());
            let (median, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
            assert!(
                p99 <= 3.0 * median,
                "{about}: from second {from}: median {median:.4} s, p99 {p99:.4} s"
            );
        }
    }
}

/// A store that is away: writers slow down and stop at the budget; nothing fails; all is stored
/// when it is back.
#[test]
fn a_store_that_is_away_stops_the_writers_at_the_budget_and_loses_nothing() {
    let disk = disk();
    paused().block_on(async {
        let store = Far::new(&disk);
        let faulty = Faulty::new(Arc::new(store.clone()));
        let mut config = far(&disk, &store, &Env::simulated(1)).unwrap();
        config.store = Arc::new(faulty.clone());
        config.destage.budget_bytes = 8 << 20;
        let mut opened = open(&config, 256 << 10).await.unwrap();
        faulty.add(Rule::always(Fault::Refuse(ErrorKind::Unavailable)));
        let mut n = 0;
        let away = Duration::from_secs(600);
        let begun = tokio::time::Instant::now();
        let mut held = 0;
        while begun.elapsed() < away {
            let admitted = opened.log.admit(30_000);
            if tokio::time::timeout(Duration::from_secs(10), admitted).await.is_err() {
                held += 1;
                // What only shrinks goes on.
                opened.log.admit(0).await.unwrap();
                continue;
            }
            n += 1;
            commit(&mut opened.writer, n, 30_000).unwrap();
            sync(&opened).await;
        }
        let status = opened.log.status().destage;
        assert!(held > 10, "{held} calls held for 10 s");
        assert!(status.dirty_bytes <= (8 << 20) + (64 << 10), "{status:?}");
        assert!(status.dirty_bytes > 13 << 19, "the budget is there to be used: {status:?}");
        assert_eq!(opened.log.status().failure, None);
        faulty.heal();
        opened.log.flush().await.unwrap();
        drop(opened);
        let again = open(&config, 256 << 10).await.unwrap();
        assert_eq!(numbers(&again.records), (1..=n).collect::<Vec<_>>());
    });
}

/// A small journal disk is a smaller budget, not a failure.
#[test]
fn the_journals_disk_bounds_the_budget() {
    let disk = disk();
    disk.set_capacity(Some(64 << 20));
    paused().block_on(async {
        let store = Far::new(&disk);
        let faulty = Faulty::new(Arc::new(store.clone()));
        let mut config = far(&disk, &store, &Env::simulated(1)).unwrap();
        config.store = Arc::new(faulty.clone());
        let mut opened = open(&config, 1 << 20).await.unwrap();
        faulty.add(Rule::always(Fault::Refuse(ErrorKind::Unavailable)));
        let mut n = 0;
        loop {
            let admitted = opened.log.admit(100_000);
            match tokio::time::timeout(Duration::from_secs(30), admitted).await {
                Ok(admitted) => admitted.unwrap(),
                Err(_) => break,
            }
            n += 1;
            commit(&mut opened.writer, n, 100_000).unwrap();
            sync(&opened).await;
            tokio::task::yield_now().await;
        }
        let status = opened.log.status();
        assert_eq!(status.failure, None);
        assert!(status.destage.budget_bytes < 64 << 20, "{status:?}");
        assert!(n > 100, "{n} writes");
        faulty.heal();
        opened.log.flush().await.unwrap();
        opened.log.admit(100_000).await.unwrap();
    });
}

/// R13 with the journal's own thread: nobody syncs, and what the thread has handed to the file is on
/// the wire long before the segment is full or old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_has_synced_yet_travels_too() {
    let disk = disk();
    let store = Far::new(&disk).streaming().attesting();
    let mut config = far(&disk, &store, &Env::real()).unwrap();
    config.inline_only = false;
    config.destage.age = Some(Duration::from_secs(3600));
    let mut opened = open(&config, 16 << 20).await.unwrap();
    write(&mut opened, 1, 100, 100_000).await;
    let name = "seg/00000002/00000000";
    for looks in 0.. {
        assert!(looks < 12_000, "nothing travels: {:?}", opened.log.status());
        let sent = store.seen().into_iter().filter_map(|seen| match seen {
            Seen::Bytes(of, sent) if of == name => Some(sent),
            _ => None,
        });
        if sent.max().unwrap_or(0) > 3 << 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(opened.log.durable_seq().0, 0, "nothing is durable yet");
    assert!(!store.seen().contains(&Seen::Finished(name.to_owned())));
    opened.log.flush().await.unwrap();
    let seen = store.seen();
    assert!(seen.contains(&Seen::Finished(name.to_owned())), "{seen:?}");
    assert!(!seen.contains(&Seen::PutFile(name.to_owned())), "sent once");
    let object = swiftclient::ObjectName::new(name).unwrap();
    let bytes = store.objects.get(&object, 0..u64::MAX).await.unwrap();
    assert!(logseg::format::scan_sealed(&bytes).is_ok());
}
