#![allow(clippy::expect_used, clippy::cast_possible_truncation)]

use std::{sync::Arc, time::Duration};

use logseg::{LogError, SegmentId, Seq, SyncMode};
use swiftclient::{
    disk::{Disk, OsDisk},
    seam::Env,
};

use crate::world::{commit, config, numbers, objects, open, payload};

fn disk() -> Arc<dyn Disk> {
    Arc::new(OsDisk)
}

#[tokio::test]
async fn records_and_frames_come_back_after_a_clean_stop_and_after_a_drop() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&disk(), dir.path().to_str().unwrap(), &Env::real()).unwrap();
    let mut first = open(&config, 1 << 20).await.unwrap();
    assert!(first.records.is_empty());
    assert_eq!(first.writer.epoch(), 2);
    let (seq, location) = commit(&mut first.writer, 1, 10_000).unwrap();
    let location = location.unwrap();
    assert_eq!(first.log.read_now(&location).unwrap(), payload(1, 10_000));
    assert!(first.log.durable_seq() < seq);
    first.log.sync(seq, SyncMode::Inline).await.unwrap();
    assert_eq!(first.log.durable_seq(), seq);
    let (seq, _) = commit(&mut first.writer, 2, 0).unwrap();
    first.log.sync(seq, SyncMode::Queued).await.unwrap();
    // No clean stop.
    drop(first);

    let mut second = open(&config, 1 << 20).await.unwrap();
    assert_eq!(numbers(&second.records), [1, 2]);
    assert_eq!(second.writer.epoch(), 3);
    assert_eq!(second.log.read(&location).await.unwrap(), payload(1, 10_000));
    commit(&mut second.writer, 3, 5).unwrap();
    let closed = second.writer.close().unwrap();
    second.log.sync(closed, SyncMode::Queued).await.unwrap();
    assert!(matches!(second.writer.begin(), Err(LogError::ReadOnly { .. })));
    drop(second);

    let third = open(&config, 1 << 20).await.unwrap();
    assert_eq!(numbers(&third.records), [1, 2, 3]);
    assert_eq!(third.log.read(&location).await.unwrap(), payload(1, 10_000));
    third.log.stored(SegmentId::chain(4, 0)).await.unwrap();
    let names = objects(&*config.store).await;
    for wanted in ["seg/00000001/00000000", "seg/00000002/00000000", "seg/00000003/00000000"] {
        assert!(names.iter().any(|n| n == wanted), "{wanted} in {names:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_segments_are_stored_by_link_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&disk(), dir.path().to_str().unwrap(), &Env::real()).unwrap();
    let mut opened = open(&config, 256 << 10).await.unwrap();
    let mut locations = Vec::new();
    for n in 0..400_u64 {
        opened.log.admit(20_000).await.unwrap();
        let (seq, location) =
            commit(&mut opened.writer, n, 1_000 + (n as usize * 37) % 20_000).unwrap();
        locations.push(location.unwrap());
        if n % 7 == 0 {
            opened.log.sync(seq, SyncMode::Queued).await.unwrap();
        }
    }
    let next = opened.writer.roll().unwrap();
    assert!(next.counter() > 10, "{next}");
    assert_eq!(opened.writer.roll().unwrap(), next, "an empty segment stays");
    tokio::time::timeout(Duration::from_secs(10), opened.log.stored(next)).await.unwrap().unwrap();
    let read = |n: usize| payload(n as u64, 1_000 + (n * 37) % 20_000);
    for (n, location) in locations.iter().enumerate() {
        assert_eq!(opened.log.read(location).await.unwrap(), read(n), "{n}");
    }
    // A stored segment has left the journal.
    let left = OsDisk.list(&dir.path().join("journal")).unwrap();
    assert!(left.len() <= 4, "{left:?}");
    drop(opened);
    let again = open(&config, 0).await.unwrap();
    assert_eq!(numbers(&again.records), (0..400).collect::<Vec<_>>());
    for (n, location) in locations.iter().enumerate() {
        assert_eq!(again.log.read(location).await.unwrap(), read(n), "{n}");
    }
}

#[tokio::test]
async fn a_second_server_is_refused_by_the_holders_name() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&disk(), dir.path().to_str().unwrap(), &Env::real()).unwrap();
    let first = open(&config, 1 << 20).await.unwrap();
    match open(&config, 1 << 20).await {
        Err(LogError::Refused(text)) => assert!(text.contains("host test, pid 1"), "{text}"),
        other => panic!("{:?}", other.err()),
    }
    assert_eq!(first.log.last_seq(), Seq(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_volume_reads_back_with_its_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&disk(), dir.path().to_str().unwrap(), &Env::real()).unwrap();
    config.key = Some(logseg::crypto::VolumeKey::from_bytes([5; 32]));
    let mut first = open(&config, 1 << 20).await.unwrap();
    let mut locations = Vec::new();
    for n in 1..=40 {
        let (seq, location) = commit(&mut first.writer, n, 30_000).unwrap();
        locations.push(location.unwrap());
        first.log.sync(seq, SyncMode::Queued).await.unwrap();
    }
    // Appended while groups are encrypted and flushed.
    let mut syncs = Vec::new();
    for n in 41..=300 {
        let (seq, location) = commit(&mut first.writer, n, 30_000).unwrap();
        locations.push(location.unwrap());
        let log = first.log.clone();
        syncs.push(tokio::spawn(async move { log.sync(seq, SyncMode::Queued).await }));
        tokio::task::yield_now().await;
    }
    for sync in syncs {
        sync.await.unwrap().unwrap();
    }
    let next = first.writer.roll().unwrap();
    first.log.stored(next).await.unwrap();
    drop(first);
    let second = open(&config, 1 << 20).await.unwrap();
    assert_eq!(numbers(&second.records), (1..=300).collect::<Vec<_>>());
    for (n, location) in locations.iter().enumerate() {
        assert_eq!(second.log.read(location).await.unwrap(), payload(n as u64 + 1, 30_000));
    }
    drop(second);
    let object = std::fs::read(dir.path().join("seg/00000002/00000000")).unwrap();
    let plain = payload(1, 30_000);
    assert!(!object.windows(64).any(|w| w == &plain[..64]), "plain bytes in the store");
    config.key = Some(logseg::crypto::VolumeKey::from_bytes([6; 32]));
    assert!(open(&config, 1 << 20).await.is_err());
    config.key = None;
    assert!(open(&config, 1 << 20).await.is_err());
}
