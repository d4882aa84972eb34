//! What goes wrong, one thing at a time.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::{path::Path, sync::Arc, time::Duration};

use logseg::{LogError, SegmentId, SyncMode};
use swiftclient::{
    ErrorKind, Faulty, Memory, ObjectName, ObjectStore,
    disk::{
        Disk, SimDisk,
        plan::{Harmed, Operation},
    },
    faulty::{Fault, Rule},
    seam::Env,
};

use crate::{
    crash::{paused, simulated},
    world::{commit, numbers, objects, open, payload},
};

const EIO: i32 = 5;
const SEGMENT: u64 = 64 << 10;

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.set_capacity(Some(16 << 20));
    disk
}

fn journal_files(disk: &SimDisk) -> Vec<String> {
    let names = disk.list(Path::new("/volume/journal")).unwrap();
    let names = names.iter().map(|n| n.to_string_lossy().into_owned());
    names.filter(|n| n.contains(".g")).collect()
}

#[test]
fn after_a_failed_fdatasync_the_bytes_go_to_a_new_file_and_the_old_is_never_synced_again() {
    let disk = disk();
    paused().block_on(async {
        let config = simulated(&disk, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, SEGMENT).await.unwrap();
        let (seq, _) = commit(&mut opened.writer, 1, 3_000).unwrap();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        disk.forget_log();
        disk.harm(Harmed::nth(Operation::SyncData, 0, EIO).at("00000002-00000000.g0"));
        let (seq, location) = commit(&mut opened.writer, 2, 3_000).unwrap();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        let (seq, _) = commit(&mut opened.writer, 3, 3_000).unwrap();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        assert_eq!(journal_files(&disk), ["00000002-00000000.g1"]);
        let synced = |name: &str| {
            let hit = |(op, path): &&(Operation, std::path::PathBuf)| {
                *op == Operation::SyncData && path.ends_with(name)
            };
            disk.log().iter().filter(hit).count()
        };
        assert_eq!(synced("00000002-00000000.g0"), 1);
        assert_eq!(synced("00000002-00000000.g1"), 2);
        assert_eq!(opened.log.read(&location.unwrap()).await.unwrap(), payload(2, 3_000));
    });
    disk.crash_losing_unsynced();
    let disk = disk.process();
    paused().block_on(async {
        let config = simulated(&disk, &Env::simulated(2)).unwrap();
        let opened = open(&config, SEGMENT).await.unwrap();
        assert_eq!(numbers(&opened.records), [1, 2, 3]);
    });
}

/// A network store, its journal on the simulated disk.
fn networked(disk: &SimDisk, env: &Env, store: Arc<dyn ObjectStore>) -> logseg::LogConfig {
    let mut config = simulated(disk, env).unwrap();
    config.store = store;
    config
}

#[test]
fn what_no_journal_file_takes_is_stored_and_a_journal_that_works_again_is_used_again() {
    let disk = disk();
    let memory = Memory::new();
    let stored = |memory: &Memory| {
        let memory = memory.clone();
        async move { objects(&memory).await.iter().filter(|n| n.starts_with("seg/00000002")).count() }
    };
    paused().block_on(async {
        let config = networked(&disk, &Env::simulated(1), Arc::new(memory.clone()));
        let mut opened = open(&config, SEGMENT).await.unwrap();
        let (seq, first) = commit(&mut opened.writer, 1, 3_000).unwrap();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        for (n, operation) in
            [(2, Operation::SyncData), (3, Operation::Write), (4, Operation::SyncData)]
        {
            disk.harm(Harmed::nth(operation, 0, EIO).at(".g").times(1_000));
            let (seq, location) = commit(&mut opened.writer, n, 3_000).unwrap();
            opened.log.sync(seq, SyncMode::Inline).await.unwrap();
            assert_eq!(opened.log.durable_seq(), seq);
            assert_eq!(opened.log.read(&location.unwrap()).await.unwrap(), payload(n, 3_000));
            assert_eq!(opened.log.read(&first.unwrap()).await.unwrap(), payload(1, 3_000));
            disk.heal();
        }
        // One object each: the journal was tried first every time.
        assert_eq!(stored(&memory).await, 3);
        assert!(opened.log.status().failure.is_none());
        let syncs = opened.log.status().syncs;
        let (seq, _) = commit(&mut opened.writer, 5, 3_000).unwrap();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        assert_eq!(opened.log.status().syncs, syncs + 1);
        assert_eq!(stored(&memory).await, 3, "the journal has it");
    });
    disk.crash_losing_unsynced();
    let disk = disk.process();
    paused().block_on(async {
        let config = networked(&disk, &Env::simulated(2), Arc::new(memory.clone()));
        let opened = open(&config, SEGMENT).await.unwrap();
        assert_eq!(numbers(&opened.records), [1, 2, 3, 4, 5]);
    });
}

#[test]
fn where_neither_journal_nor_store_takes_the_bytes_the_log_is_read_only_and_lives() {
    paused().block_on(async {
        for fault in [Fault::Refuse(ErrorKind::Unavailable), Fault::Hang] {
            let disk = disk();
            let env = Env::simulated(1);
            let faulty = Faulty::new(Arc::new(Memory::new()));
            let config = networked(&disk, &env, Arc::new(faulty.clone()));
            let mut opened = open(&config, SEGMENT).await.unwrap();
            let (seq, kept) = commit(&mut opened.writer, 1, 3_000).unwrap();
            opened.log.sync(seq, SyncMode::Inline).await.unwrap();
            disk.harm(Harmed::nth(Operation::SyncData, 0, EIO).at(".g").times(1_000));
            faulty.add(Rule::always(fault));
            let (seq, _) = commit(&mut opened.writer, 2, 10).unwrap();
            let error = opened.log.sync(seq, SyncMode::Inline).await.unwrap_err();
            assert!(matches!(error, LogError::ReadOnly { .. }), "{error}");
            assert!(error.to_string().contains("fdatasync"), "{error}");
            assert!(env.clock.monotonic() >= logseg::RESCUE_PATIENCE);
            assert!(matches!(opened.writer.begin(), Err(LogError::ReadOnly { .. })));
            let again = opened.log.sync(seq, SyncMode::Queued).await.unwrap_err();
            assert!(matches!(again, LogError::ReadOnly { .. }), "{again}");
            assert!(opened.log.sync(logseg::Seq(1), SyncMode::Inline).await.is_ok());
            assert_eq!(opened.log.read(&kept.unwrap()).await.unwrap(), payload(1, 3_000));
            assert!(opened.log.status().failure.is_some());
        }
    });
}

#[test]
fn a_taken_over_writer_acknowledges_nothing_more() {
    let disk = disk();
    paused().block_on(async {
        let env = Env::simulated(1);
        let config = simulated(&disk, &env).unwrap();
        let mut old = open(&config, SEGMENT).await.unwrap();
        let (seq, _) = commit(&mut old.writer, 1, 3_000).unwrap();
        old.log.sync(seq, SyncMode::Inline).await.unwrap();
        // Stopped with something in memory.
        let (lost, _) = commit(&mut old.writer, 2, 3_000).unwrap();

        let other = disk.process();
        let mut taker_config = simulated(&other, &env).unwrap();
        taker_config.holder = "host b, pid 2".into();
        match open(&taker_config, SEGMENT).await {
            Err(LogError::Refused(text)) => {
                assert!(
                    text.contains("host test, pid 1") && text.contains("--take-over"),
                    "{text}"
                );
            }
            other => panic!("{:?}", other.err()),
        }
        taker_config.take_over = true;
        let mut taker = open(&taker_config, SEGMENT).await.unwrap();
        assert_eq!(numbers(&taker.records), [1]);

        // It wakes, and does not know yet.
        assert!(old.log.overruled().is_ok());
        match old.log.sync(lost, SyncMode::Inline).await {
            Err(LogError::Fenced { holder }) => assert!(holder.contains("host b"), "{holder}"),
            other => panic!("acknowledged: {:?}", other.err()),
        }
        assert!(matches!(old.writer.begin(), Err(LogError::Fenced { .. })));
        assert!(matches!(old.log.overruled(), Err(LogError::Fenced { .. })));
        assert!(taker.log.overruled().is_ok());
        let (seq, _) = commit(&mut taker.writer, 2, 100).unwrap();
        taker.log.sync(seq, SyncMode::Inline).await.unwrap();
        drop((old, taker));
        taker_config.take_over = false;
        let third = open(&taker_config, SEGMENT).await.unwrap();
        assert_eq!(numbers(&third.records), [1, 2]);
    });
}

#[test]
fn rot_below_a_mark_stops_the_mount_and_names_the_place_and_a_torn_tail_does_not() {
    for (at, whole) in [(300, false), (1 << 20, true)] {
        let disk = disk();
        let mut end = 0;
        paused().block_on(async {
            let config = simulated(&disk, &Env::simulated(1)).unwrap();
            let mut opened = open(&config, SEGMENT).await.unwrap();
            for n in 1..=3 {
                let (seq, location) = commit(&mut opened.writer, n, 500).unwrap();
                opened.log.sync(seq, SyncMode::Inline).await.unwrap();
                end = location.unwrap().offset as usize;
            }
        });
        disk.kill();
        let file = Path::new("/volume/journal/00000002-00000000.g0");
        // The last frame lies above every mark: nothing was written after it became durable.
        let at = if whole { end + 80 } else { at };
        disk.edit(file, |bytes| bytes[at] ^= 1).unwrap();
        let disk = disk.process();
        paused().block_on(async {
            let config = simulated(&disk, &Env::simulated(2)).unwrap();
            match open(&config, SEGMENT).await {
                Ok(opened) if whole => assert_eq!(numbers(&opened.records), [1, 2]),
                Err(LogError::Corrupt { segment, offset, .. }) if !whole => {
                    assert_eq!(segment, SegmentId::chain(2, 0));
                    assert_eq!(offset, 256);
                }
                other => panic!("{:?}", other.err()),
            }
        });
    }
}

#[test]
fn after_silence_a_mark_is_written_with_the_next_sync_of_anything() {
    let disk = disk();
    paused().block_on(async {
        let config = simulated(&disk, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, SEGMENT).await.unwrap();
        let (seq, _) = commit(&mut opened.writer, 1, 500).unwrap();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        let syncs = opened.log.status().syncs;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let status = opened.log.status();
        assert_eq!(status.syncs, syncs, "a mark is not synced");
        assert_eq!(status.unsynced_bytes, 64, "one mark, and only one");
    });
}

#[test]
fn a_missing_journal_is_refused_until_it_is_abandoned_and_then_never_replayed() {
    let disk = disk();
    paused().block_on(async {
        let env = Env::simulated(1);
        let mut config = simulated(&disk, &env).unwrap();
        let mut opened = open(&config, SEGMENT).await.unwrap();
        let (seq, _) = commit(&mut opened.writer, 1, 500).unwrap();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        drop(opened);
        let old = config.journal.replace("/elsewhere".into());
        let refused = |result: Result<crate::world::Opened, LogError>| match result {
            Err(LogError::Refused(text)) => text,
            other => panic!("{:?}", other.err()),
        };
        let text = refused(open(&config, SEGMENT).await);
        assert!(text.contains("--abandon-journal") && text.contains("/elsewhere"), "{text}");
        config.abandon_journal = true;
        let mut opened = open(&config, SEGMENT).await.unwrap();
        assert!(opened.records.is_empty());
        config.abandon_journal = false;
        let (seq, _) = commit(&mut opened.writer, 7, 500).unwrap();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        drop(opened);
        // The old journal is another one now.
        let new = std::mem::replace(&mut config.journal, old.clone());
        assert!(refused(open(&config, SEGMENT).await).contains("--abandon-journal"));
        // After a clean stop any journal will do; what is void in it is set aside.
        config.journal = new;
        let mut opened = open(&config, SEGMENT).await.unwrap();
        assert_eq!(numbers(&opened.records), [7]);
        let seq = opened.writer.close().unwrap();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), opened.log.stored(SegmentId::chain(4, 1)))
            .await
            .unwrap()
            .unwrap();
        drop(opened);
        config.journal = old;
        let opened = open(&config, SEGMENT).await.unwrap();
        assert_eq!(numbers(&opened.records), [7]);
        let aside = disk.list(Path::new("/volume/journal/aside-00000002")).unwrap();
        assert_eq!(aside, [Path::new("00000002-00000000.g0")]);
    });
}

#[test]
fn a_foreign_journal_and_a_foreign_store_are_refused() {
    let disk = disk();
    paused().block_on(async {
        let env = Env::simulated(1);
        let mut config = simulated(&disk, &env).unwrap();
        drop(open(&config, SEGMENT).await.unwrap());
        config.store = Arc::new(Memory::new());
        let mut header = crate::world::header(SEGMENT);
        header.uuid = [9; 16];
        logseg::Recovery::format(&config, &header).await.unwrap();
        match open(&config, SEGMENT).await {
            Err(LogError::Refused(text)) => assert!(text.contains("belongs to volume"), "{text}"),
            other => panic!("{:?}", other.err()),
        }
        let store = Memory::new();
        let name = ObjectName::new("holiday.jpg").unwrap();
        store.put_new(&name, vec![bytes::Bytes::from_static(b"x")]).await.unwrap();
        config.store = Arc::new(store);
        match open(&config, SEGMENT).await {
            Err(LogError::Refused(text)) => assert!(text.contains("holiday.jpg"), "{text}"),
            other => panic!("{:?}", other.err()),
        }
    });
}

#[test]
fn a_segment_missing_below_the_stored_mark_stops_the_mount() {
    let disk = disk();
    paused().block_on(async {
        let config = simulated(&disk, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, SEGMENT).await.unwrap();
        for n in 1..=60 {
            let (seq, _) = commit(&mut opened.writer, n, 6_000).unwrap();
            opened.log.sync(seq, SyncMode::Inline).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let next = opened.writer.roll().unwrap();
        opened.log.stored(next).await.unwrap();
        drop(opened);
        let gone = ObjectName::new("seg/00000002/00000001").unwrap();
        config.store.delete_many(&[gone]).await.unwrap().remove(0).unwrap();
        let start = logseg::Start { stored_through: next, ..logseg::Start::NEW };
        match crate::world::open_from(&config, SEGMENT, start).await {
            Err(LogError::Corrupt { segment, reason, .. }) => {
                assert_eq!(segment, SegmentId::chain(2, 1));
                assert!(reason.contains("everything below"), "{reason}");
            }
            other => panic!("{:?}", other.err()),
        }
    });
}

/// Nothing but the log itself shows that a segment is lost: a later one that was begun when it had
/// been stored.
#[test]
fn a_segment_missing_under_a_later_ones_claim_stops_the_mount() {
    for gone in [3, 1] {
        let disk = disk();
        paused().block_on(async {
            let config = simulated(&disk, &Env::simulated(1)).unwrap();
            let mut opened = open(&config, SEGMENT).await.unwrap();
            for n in 1..=60 {
                let (seq, _) = commit(&mut opened.writer, n, 6_000).unwrap();
                opened.log.sync(seq, SyncMode::Inline).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let next = opened.writer.roll().unwrap();
            opened.log.stored(next).await.unwrap();
            assert!(next > SegmentId::chain(2, gone + 1), "{next}");
            drop(opened);
            let lost = ObjectName::new(format!("seg/00000002/{gone:08x}")).unwrap();
            config.store.delete_many(&[lost]).await.unwrap().remove(0).unwrap();
            let before = objects(&*config.store).await;
            match open(&config, SEGMENT).await {
                Err(LogError::Corrupt { segment, reason, .. }) => {
                    assert_eq!(segment, SegmentId::chain(2, gone));
                    assert!(reason.contains("shows that it was stored"), "{reason}");
                }
                other => panic!("{gone}: {:?}", other.err()),
            }
            assert_eq!(objects(&*config.store).await, before, "nothing is sealed");
        });
    }
}

#[test]
fn a_full_disk_is_said_before_anything_is_appended_and_the_reserve_carries_what_was_admitted() {
    let disk = disk();
    disk.set_capacity(Some(8 << 20));
    paused().block_on(async {
        let config = simulated(&disk, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, SEGMENT).await.unwrap();
        let mut n = 0;
        let error = loop {
            match opened.log.admit(6_000).await {
                Ok(()) => {}
                Err(e) => break e,
            }
            n += 1;
            let (seq, _) = commit(&mut opened.writer, n, 6_000).unwrap();
            opened.log.sync(seq, SyncMode::Inline).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert!(matches!(error, LogError::Full), "{error}");
        assert!(opened.log.reserve_in_use());
        // Somebody else fills the disk: what only shrinks still becomes durable.
        disk.set_capacity(Some(disk.used()));
        assert!(opened.log.admit(0).await.is_ok());
        for _ in 0..20 {
            n += 1;
            let (seq, _) = commit(&mut opened.writer, n, 0).unwrap();
            opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        }
        // Room comes back by deleting.
        let next = opened.writer.roll().unwrap();
        opened.log.stored(next).await.unwrap();
        disk.set_capacity(Some(8 << 20));
        let dead: Vec<_> = (0..30).map(|c| SegmentId::chain(2, c)).collect();
        opened.log.delete_segments(&dead).await.unwrap();
        opened.log.admit(6_000).await.unwrap();
        assert!(!opened.log.reserve_in_use());
    });
}

#[test]
fn without_a_journal_a_sync_is_a_put_and_survives_in_the_store_alone() {
    let store = Memory::new();
    paused().block_on(async {
        let env = Env::simulated(1);
        let mut config = simulated(&disk(), &env).unwrap();
        config.store = Arc::new(store.clone());
        config.journal = None;
        let mut opened = open(&config, SEGMENT).await.unwrap();
        let mut frames = Vec::new();
        for n in 1..=20 {
            let (seq, location) = commit(&mut opened.writer, n, 6_000).unwrap();
            frames.push(location.unwrap());
            if n % 5 == 0 {
                opened.log.sync(seq, SyncMode::Inline).await.unwrap();
                assert_eq!(opened.log.durable_seq(), seq);
            }
        }
        let (_unsynced, _) = commit(&mut opened.writer, 21, 10).unwrap();
        drop(opened);
        let opened = open(&config, SEGMENT).await.unwrap();
        assert_eq!(numbers(&opened.records), (1..=20).collect::<Vec<_>>());
        for (n, location) in frames.iter().enumerate() {
            assert_eq!(opened.log.read(location).await.unwrap(), payload(n as u64 + 1, 6_000));
        }
    });
}

#[test]
fn thirty_two_waiters_share_one_fdatasync_and_a_thousand_small_files_five_objects() {
    let disk = disk();
    disk.set_capacity(Some(128 << 20));
    paused().block_on(async {
        let config = simulated(&disk, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, 2 << 20).await.unwrap();
        let mut n = 0;
        for _ in 0..32 {
            let before = opened.log.status();
            let mut seqs = Vec::new();
            for _ in 0..32 {
                n += 1;
                seqs.push(commit(&mut opened.writer, n, 4_000).unwrap().0);
            }
            let waits = seqs.iter().map(|&seq| opened.log.sync(seq, SyncMode::Queued));
            for wait in futures_util::future::join_all(waits).await {
                wait.unwrap();
            }
            let after = opened.log.status();
            assert_eq!(after.groups - before.groups, 1);
            // Two where the group crossed into a new segment.
            assert!(after.syncs - before.syncs <= 2, "{}", after.syncs - before.syncs);
        }
        let next = opened.writer.roll().unwrap();
        opened.log.stored(next).await.unwrap();
        let there = objects(&*config.store).await;
        let segments = there.iter().filter(|o| o.starts_with("seg/00000002")).count();
        assert!(segments <= 5, "{segments} objects for {n} files");
        assert_eq!(opened.log.status().puts, segments as u64, "one put per object");
    });
}
