//! R18 on a store that has an end and does not tell it: an account's quota.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use logseg::{CheckpointName, LogConfig, LogError, Recovery, SegmentId, Start, SyncMode};
use swiftclient::{
    ErrorKind, Faulty, Memory, Verb,
    disk::SimDisk,
    faulty::{Fault, Rule},
    seam::Env,
};

use crate::{
    crash::{paused, simulated},
    world::{Opened, commit, numbers, objects, open, payload},
};

const SEGMENT: u64 = 64 << 10;
const QUOTA: u64 = 2 << 20;
/// What one record's frame holds.
const FRAME: usize = 6_000;

struct Bed {
    memory: Memory,
    disk: SimDisk,
    journal: bool,
}

impl Bed {
    fn new(journal: bool) -> Self {
        let disk = SimDisk::new();
        disk.set_capacity(Some(64 << 20));
        let memory = Memory::new().quota(QUOTA).on_disk(Arc::new(disk.clone()));
        Self { memory, disk, journal }
    }

    fn config(&self) -> LogConfig {
        let mut config = simulated(&self.disk, &Env::simulated(1)).unwrap();
        config.store = Arc::new(self.memory.clone());
        if !self.journal {
            config.journal = None;
        }
        config.destage.ballast_bytes = 8 * SEGMENT;
        config
    }

    async fn ballast(&self) -> usize {
        objects(&self.memory).await.iter().filter(|n| n.starts_with("ballast/")).count()
    }

    /// The machine dies and is there again.
    fn crash(&mut self) {
        self.disk.crash_losing_unsynced();
        self.disk = self.disk.process();
        self.memory = self.memory.clone().on_disk(Arc::new(self.disk.clone()));
    }
}

/// Writes and syncs until admission says that the store is full; gives the last record's number.
async fn fill(opened: &mut Opened, mut n: u64) -> u64 {
    for _ in 0..2_000 {
        match opened.log.admit(FRAME as u64).await {
            Ok(()) => {}
            Err(LogError::Full) => return n,
            Err(e) => panic!("{e}"),
        }
        n += 1;
        let (seq, _) = commit(&mut opened.writer, n, FRAME).unwrap();
        // Never an error: what was admitted has its room.
        let synced = opened.log.sync(seq, SyncMode::Inline);
        tokio::time::timeout(Duration::from_secs(60), synced).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never full");
}

/// Waits until growth is admitted again.
async fn recovered(opened: &Opened) {
    for _ in 0..200 {
        if opened.log.admit(FRAME as u64).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("still full");
}

#[test]
fn a_full_store_is_said_at_admission_and_reads_deletes_and_checkpoints_go_on() {
    for journal in [true, false] {
        paused().block_on(async {
            let bed = Bed::new(journal);
            let mut opened = open(&bed.config(), SEGMENT).await.unwrap();
            let (_, first) = commit(&mut opened.writer, 1, FRAME).unwrap();
            let n = fill(&mut opened, 1).await;
            assert!(n > 100, "{n} records");
            assert!(bed.memory.used() <= QUOTA);
            assert!(opened.log.reserve_in_use());
            // Reads, and what only shrinks.
            assert_eq!(opened.log.read(&first.unwrap()).await.unwrap(), payload(1, FRAME));
            opened.log.admit(0).await.unwrap();
            let (seq, _) = commit(&mut opened.writer, n + 1, 0).unwrap();
            opened.log.sync(seq, SyncMode::Inline).await.unwrap();
            // A checkpoint: the chain, its pages, its object.
            let next = opened.writer.roll().unwrap();
            let settled = tokio::time::timeout(Duration::from_secs(600), opened.log.settled(next));
            let left = settled.await.expect("the ballast carries the chain").unwrap();
            // With a journal it stays there.
            assert_eq!(left.is_empty(), !journal, "{left:?}");
            let mut side = opened.log.side_writer().await.unwrap();
            side.page(&[7; 20_000]).await.unwrap();
            side.finish().await.unwrap();
            let name = CheckpointName { epoch: opened.writer.epoch(), number: 1 };
            opened.log.publish(name, Bytes::from_static(b"root")).await.unwrap();
            assert!(matches!(opened.log.admit(1).await, Err(LogError::Full)), "still full");
            // Deleting makes room, and the volume finds it by itself.
            let epoch = opened.writer.epoch();
            let dead: Vec<_> = (2..25).map(|c| SegmentId::chain(epoch, c)).collect();
            opened.log.delete_segments(&dead).await.unwrap();
            recovered(&opened).await;
            assert!(!opened.log.reserve_in_use());
            assert!(bed.ballast().await >= 4, "{}", bed.ballast().await);
            let again = fill(&mut opened, n + 1).await;
            assert!(again > n + 20, "{} more", again - n);
        });
    }
}

/// With a journal all ballast is the checkpoints'; a full store is not asked for more than a question
/// now and then.
#[test]
fn no_ballast_goes_for_what_the_journal_has_and_what_nobody_needs_is_never_put() {
    paused().block_on(async {
        let bed = Bed::new(true);
        let mut opened = open(&bed.config(), SEGMENT).await.unwrap();
        fill(&mut opened, 0).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let held = bed.ballast().await;
        let (puts, epoch) = (opened.log.status().puts, opened.writer.epoch());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(bed.ballast().await, held);
        let asked = opened.log.status().puts - puts;
        assert!(asked <= 8 * 3600 / 60 + 8, "{asked} puts in an hour");
        // A checkpoint finds its room all the same.
        let next = opened.writer.roll().unwrap();
        let left = opened.log.settled(next).await.unwrap();
        assert!(!left.is_empty());
        let dirty = opened.log.status().destage.dirty_bytes;
        opened.log.delete_segments(&left[..1]).await.unwrap();
        assert!(opened.log.status().destage.dirty_bytes < dirty);
        // Nor is what is removed ever put.
        bed.memory.set_limit(Some(4 * QUOTA));
        recovered(&opened).await;
        opened.log.flush().await.unwrap();
        assert_eq!(opened.log.settled(next).await.unwrap(), []);
        let name = format!("seg/{epoch:08x}/{:08x}", left[0].counter());
        assert!(!objects(&bed.memory).await.contains(&name), "{name}");
        assert_eq!(opened.log.status().unstored_bytes, 0);
    });
}

#[test]
fn room_that_comes_back_from_outside_is_found_without_any_request_of_ours_waiting() {
    paused().block_on(async {
        let bed = Bed::new(true);
        let mut opened = open(&bed.config(), SEGMENT).await.unwrap();
        fill(&mut opened, 0).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(matches!(opened.log.admit(1).await, Err(LogError::Full)));
        bed.memory.set_limit(Some(4 * QUOTA));
        recovered(&opened).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        let status = opened.log.status();
        assert_eq!(status.failed_segments, 0, "{:?}", status.put_error);
    });
}

#[test]
fn a_server_killed_in_any_state_of_a_full_store_comes_back_with_everything() {
    for journal in [true, false] {
        for state in 0..4 {
            let mut bed = Bed::new(journal);
            let mut n = 0;
            let mut first = None;
            paused().block_on(async {
                let mut opened = open(&bed.config(), SEGMENT).await.unwrap();
                first = commit(&mut opened.writer, 1, FRAME).unwrap().1;
                n = fill(&mut opened, 1).await;
                // 0: at the first refusal; 1: with as much stored as the ballast carries; 2: all room
                // taken by somebody else; 3: there is room again, and nobody has looked yet.
                if state >= 1 {
                    tokio::time::sleep(Duration::from_secs(120)).await;
                }
                if state >= 2 {
                    bed.memory.set_limit(Some(bed.memory.used()));
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
                if state == 3 {
                    bed.memory.set_limit(Some(2 * QUOTA));
                }
            });
            bed.crash();
            paused().block_on(async {
                let mut opened = open(&bed.config(), SEGMENT).await.unwrap();
                let found = numbers(&opened.records);
                assert_eq!(found, (1..=n).collect::<Vec<_>>(), "state {state}, {journal}");
                assert_eq!(opened.log.read(&first.unwrap()).await.unwrap(), payload(1, FRAME));
                bed.memory.set_limit(Some(3 * QUOTA));
                recovered(&opened).await;
                fill(&mut opened, n).await;
            });
        }
    }
}

#[test]
fn ballast_grows_with_the_volume_is_kept_over_a_restart_and_at_rest_nothing_is_asked() {
    paused().block_on(async {
        let bed = Bed::new(true);
        bed.memory.set_limit(Some(64 << 20));
        let faulty = Faulty::new(Arc::new(bed.memory.clone()));
        let config = LogConfig { store: Arc::new(faulty.clone()), ..bed.config() };
        let mut opened = open(&config, SEGMENT).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(bed.ballast().await, 4, "a new volume's");
        for n in 1..=400 {
            let (seq, _) = commit(&mut opened.writer, n, FRAME).unwrap();
            opened.log.sync(seq, SyncMode::Inline).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        let grown = bed.ballast().await;
        // 2.4 MB stored, an eighth of it in pieces of 16 KiB.
        assert!((18..=26).contains(&grown), "{grown}");
        let calls = faulty.calls();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(faulty.calls(), calls, "at rest");
        drop(opened);
        let _opened = open(&config, SEGMENT).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(bed.ballast().await, grown);
    });
}

#[test]
fn a_refusal_for_another_reason_takes_no_ballast() {
    paused().block_on(async {
        let bed = Bed::new(true);
        let faulty = Faulty::new(Arc::new(bed.memory.clone()));
        let config = LogConfig { store: Arc::new(faulty.clone()), ..bed.config() };
        let mut opened = open(&config, SEGMENT).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        faulty.add(Rule::always(Fault::Refuse(ErrorKind::Denied)).of(Verb::Put));
        faulty.add(Rule::always(Fault::Refuse(ErrorKind::Unavailable)).of(Verb::PutFile));
        let (seq, _) = commit(&mut opened.writer, 1, FRAME).unwrap();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(bed.ballast().await, 4);
        opened.log.admit(1).await.unwrap();
    });
}

/// Without a journal what is accepted waits in memory for the store, and a sync for it. So no more is
/// accepted than the ballast can store: a store that becomes full at any moment, with its last
/// byte taken by somebody else, says so at admission, and syncs end.
#[test]
fn without_a_journal_no_more_is_accepted_than_the_ballast_stores() {
    for burst in [1, 3, 10, 40, 150] {
        paused().block_on(async {
            let bed = Bed::new(false);
            bed.memory.set_limit(Some(64 << 20));
            let mut opened = open(&bed.config(), SEGMENT).await.unwrap();
            // As many writes as are let in, with nobody syncing, then all room is gone at once.
            let mut n = 0;
            for _ in 0..burst {
                let admitted = opened.log.admit(FRAME as u64);
                tokio::time::timeout(Duration::from_secs(60), admitted).await.unwrap().unwrap();
                n += 1;
                commit(&mut opened.writer, n, FRAME).unwrap();
            }
            bed.memory.set_limit(Some(bed.memory.used()));
            let seq = opened.log.last_seq();
            let synced = opened.log.sync(seq, SyncMode::Inline);
            let synced = tokio::time::timeout(Duration::from_secs(120), synced).await;
            synced.unwrap_or_else(|_| panic!("a sync hangs after {n} records")).unwrap();
            // Then whoever writes on, syncing now and then, is told so.
            for _ in 0..2_000 {
                let admitted = opened.log.admit(FRAME as u64);
                match tokio::time::timeout(Duration::from_secs(60), admitted).await.unwrap() {
                    Ok(()) => {}
                    Err(LogError::Full) => break,
                    Err(e) => panic!("{e}"),
                }
                n += 1;
                commit(&mut opened.writer, n, FRAME).unwrap();
            }
            assert!(matches!(opened.log.admit(1).await, Err(LogError::Full)), "{n} records");
            let synced = opened.log.sync(opened.log.last_seq(), SyncMode::Inline);
            let synced = tokio::time::timeout(Duration::from_secs(120), synced).await;
            synced.unwrap_or_else(|_| panic!("a sync hangs after {n} records")).unwrap();
        });
    }
}

/// The ballast of a volume without a journal follows its writers: nobody is held up by its first size.
#[test]
fn without_a_journal_ballast_grows_while_writers_wait_for_its_size() {
    paused().block_on(async {
        let bed = Bed::new(false);
        bed.memory.set_limit(Some(64 << 20));
        let mut opened = open(&bed.config(), SEGMENT).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(bed.ballast().await, 4);
        for n in 1..=60 {
            opened.log.admit(FRAME as u64).await.unwrap();
            commit(&mut opened.writer, n, FRAME).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        // 360 KB stored, an eighth of which is three pieces.
        assert!(bed.ballast().await >= 16, "{}", bed.ballast().await);
        assert!(bed.ballast().await <= 32, "{}", bed.ballast().await);
    });
}

/// A server that is killed again and again while its store is full starts every time, and what is
/// there for checkpoints is there for the last one.
#[test]
fn a_server_killed_fifty_times_on_a_full_store_still_has_its_ballast() {
    let mut bed = Bed::new(true);
    bed.memory.set_limit(Some(64 << 20));
    let mut n = 0;
    paused().block_on(async {
        let mut opened = open(&bed.config(), SEGMENT).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        // More in the journal than any ballast, in segments of which each start would put one.
        opened.log.set_destage(false);
        for _ in 0..200 {
            n += 1;
            let (seq, _) = commit(&mut opened.writer, n, FRAME).unwrap();
            opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        }
    });
    let mut least = usize::MAX;
    bed.memory.set_limit(Some(bed.memory.used()));
    for life in 0..50 {
        bed.crash();
        paused().block_on(async {
            let opened = open(&bed.config(), SEGMENT).await;
            let opened = opened.unwrap_or_else(|e| panic!("life {life}: {e}"));
            assert_eq!(numbers(&opened.records), (1..=n).collect::<Vec<_>>(), "life {life}");
            tokio::time::sleep(Duration::from_secs(life % 3)).await;
            least = bed.ballast().await;
        });
    }
    assert!(least >= 3, "{least} pieces are left");
    bed.crash();
    bed.memory.set_limit(Some(64 << 20));
    paused().block_on(async {
        let opened = open(&bed.config(), SEGMENT).await.unwrap();
        recovered(&opened).await;
        opened.log.flush().await.unwrap();
        assert_eq!(opened.log.status().unstored_bytes, 0);
    });
}

/// Where the first missing segment finds no room it is looked at whether somebody who gave the journal
/// up stands there (R5).
#[test]
fn on_a_full_store_too_a_journal_that_was_given_up_is_found_out_at_the_start() {
    let mut bed = Bed::new(true);
    paused().block_on(async {
        let mut opened = open(&bed.config(), SEGMENT).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        opened.log.set_destage(false);
        for n in 1..=40 {
            let (seq, _) = commit(&mut opened.writer, n, FRAME).unwrap();
            opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        }
    });
    bed.crash();
    paused().block_on(async {
        // Full before anything else is looked at, as some stores are.
        let faulty = Faulty::new(Arc::new(bed.memory.clone()));
        let config = LogConfig { store: Arc::new(faulty.clone()), ..bed.config() };
        let header = Recovery::volume(&config).await.unwrap().unwrap();
        let mut recovery = Recovery::begin(config, header, Start::NEW).await.unwrap();
        while recovery.next().await.unwrap().is_some() {}
        // Between our look and our seal somebody opens without this journal.
        let mut other = bed.config();
        other.journal = Some("/elsewhere".into());
        other.abandon_journal = true;
        other.holder = "the other one".into();
        let opened = open(&other, SEGMENT).await.unwrap();
        assert!(opened.records.is_empty());
        faulty.add(Rule::always(Fault::Refuse(ErrorKind::Full)).of(Verb::Put));
        match recovery.seal().await {
            Err(LogError::Fenced { holder }) => assert!(holder.contains("the other"), "{holder}"),
            other => panic!("{:?}", other.map(|_| ())),
        }
    });
}
