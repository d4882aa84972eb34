//! Durable bytes of the journal altered behind the server's back: the next start must name the
//! place and lose nothing; only what was never acknowledged may be called a torn tail (R3, R11).

#![allow(clippy::unwrap_used)] // a test's panic is its report

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use logseg::{
    LogConfig, LogError, SegmentId, SyncMode,
    format::{ScannedEntry, Tail, scan, segment_name},
};
use swiftclient::{
    Memory, ObjectStore,
    disk::{Disk, OsDisk},
    seam::Env,
};

#[path = "../life/world.rs"]
#[allow(dead_code)]
mod world;

use world::{commit, numbers, open};

/// A journal on disk, and a store that takes nothing more after the volume was opened: what is
/// acknowledged stays in the journal.
struct Scene {
    dir: tempfile::TempDir,
    store: Memory,
    config: LogConfig,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let store = Memory::new();
        let config = LogConfig {
            store: Arc::new(store.clone()),
            disk,
            env: Env::real(),
            journal: Some(dir.path().join("journal")),
            pool: tokio::runtime::Handle::current(),
            cache_bytes: 1 << 20,
            unsynced_bytes: 64 << 20,
            holder: "host test, pid 1".into(),
            take_over: false,
            abandon_journal: false,
            key: None,
            inline_only: false,
            destage: logseg::DestageConfig::default(),
            disk_cache: None,
        };
        Self { dir, store, config }
    }

    fn refuse_puts(&self) {
        self.store.set_limit(Some(0));
    }

    /// The newest generation of a segment's file.
    fn file(&self, id: SegmentId) -> PathBuf {
        let begin = format!("{:08x}-{:08x}.g", id.epoch(), id.counter());
        let dir = self.dir.path().join("journal");
        let mut found: Vec<_> =
            std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        found.retain(|p| p.file_name().unwrap().to_str().unwrap().starts_with(&begin));
        found.sort();
        found.pop().unwrap_or_else(|| panic!("no file of {id}"))
    }

    fn bytes(&self, id: SegmentId) -> Vec<u8> {
        std::fs::read(self.file(id)).unwrap()
    }

    fn entries(&self, id: SegmentId) -> Vec<ScannedEntry> {
        scan(&self.bytes(id)).unwrap().entries
    }

    /// Flips one bit of byte `at`.
    fn flip(&self, id: SegmentId, at: usize) {
        let mut bytes = self.bytes(id);
        bytes[at] ^= 1;
        std::fs::write(self.file(id), bytes).unwrap();
    }

    /// Opens, which must fail naming `id`; nothing in the journal may be changed by that, so that
    /// the volume opens again once the byte is mended.
    async fn refused(&self, id: SegmentId, at: usize, records: &[u64]) {
        self.store.set_limit(None);
        self.flip(id, at);
        match open(&self.config, 1 << 20).await {
            Err(LogError::Corrupt { segment, .. }) => assert_eq!(segment, id),
            Err(e) => panic!("{e}"),
            Ok(o) => panic!("damage called a tail: {:?} is left", numbers(&o.records)),
        }
        self.flip(id, at);
        let again = open(&self.config, 1 << 20).await.unwrap();
        assert_eq!(numbers(&again.records), records);
    }
}

/// Two segments: 1, 2 | 3, 4, each synced alone; neither stored.
async fn two_segments() -> (Scene, SegmentId, SegmentId) {
    let scene = Scene::new();
    let mut o = open(&scene.config, 1 << 20).await.unwrap();
    scene.refuse_puts();
    let first = o.writer.open_segment();
    for n in 1..=4 {
        let (seq, _) = commit(&mut o.writer, n, 100).unwrap();
        if n == 2 {
            o.writer.roll().unwrap();
        }
        o.log.sync(seq, SyncMode::Inline).await.unwrap();
    }
    let second = o.writer.open_segment();
    drop(o);
    let s = scan(&scene.bytes(first)).unwrap();
    assert!(matches!(s.tail, Tail::Footer(_)));
    assert!(s.mark <= s.entries[2].offset, "its last group lies above its own marks");
    assert!(scan(&scene.bytes(second)).unwrap().mark > 0);
    (scene, first, second)
}

#[tokio::test]
async fn damage_above_the_own_marks_but_below_a_later_segment_is_damage() {
    // In the last record; in the footer; in the very first entry; in the header.
    for place in 0..4 {
        let (scene, first, _) = two_segments().await;
        let entries = scene.entries(first);
        let end = scan(&scene.bytes(first)).unwrap().end as usize;
        let at = match place {
            0 => entries[3].offset as usize + 66,
            1 => end + 20,
            2 => entries[0].offset as usize + 3,
            _ => 40,
        };
        scene.refused(first, at, &[1, 2, 3, 4]).await;
    }
}

#[tokio::test]
async fn a_missing_segment_before_a_synced_one_is_damage() {
    let (scene, first, _) = two_segments().await;
    scene.store.set_limit(None);
    let (path, bytes) = (scene.file(first), scene.bytes(first));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(open(&scene.config, 1 << 20).await, Err(LogError::Corrupt { segment, .. })
        if segment == first));
    std::fs::write(&path, bytes).unwrap();
    let again = open(&scene.config, 1 << 20).await.unwrap();
    assert_eq!(numbers(&again.records), [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_cut_segment_before_a_stored_one_is_damage() {
    let (scene, first, second) = two_segments().await;
    // The second one reached the store, as one of several under way may, and left the journal.
    scene.store.set_limit(None);
    let o = open(&scene.config, 1 << 20).await.unwrap();
    o.log.stored(o.writer.open_segment()).await.unwrap();
    drop(o);
    let name = segment_name(first);
    let whole = scene.store.get(&name, 0..u64::MAX).await.unwrap();
    assert!(scene.store.head(&segment_name(second)).await.is_ok());
    scene.store.delete_many(&[name]).await.into_iter().flatten().for_each(|r| r.unwrap());
    let path = scene.dir.path().join("journal/00000002-00000000.g7");
    std::fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    let outcome = open(&scene.config, 1 << 20).await;
    assert!(matches!(outcome, Err(LogError::Corrupt { segment, .. }) if segment == first));
    assert_eq!(std::fs::read(&path).unwrap().len(), whole.len() - 100, "left as it was");
}

#[tokio::test]
async fn what_was_never_synced_is_a_tail() {
    let scene = Scene::new();
    let mut o = open(&scene.config, 1 << 20).await.unwrap();
    scene.refuse_puts();
    let id = o.writer.open_segment();
    for n in 1..=3 {
        let (seq, _) = commit(&mut o.writer, n, 100).unwrap();
        o.log.sync(seq, SyncMode::Inline).await.unwrap();
    }
    drop(o);
    scene.store.set_limit(None);
    // The last group carries a mark that covers the first two only: it cannot be told from a torn
    // one. That is what the mark after silence is for, below.
    let last = *scene.entries(id).last().unwrap();
    assert_eq!(last.header.mark, scene.entries(id)[4].offset);
    scene.flip(id, last.offset as usize + 65);
    let o = open(&scene.config, 1 << 20).await.unwrap();
    assert_eq!(numbers(&o.records), [1, 2]);
    // What follows is joined to what is left.
    let mut o = o;
    let (seq, _) = commit(&mut o.writer, 9, 0).unwrap();
    o.log.sync(seq, SyncMode::Inline).await.unwrap();
    drop(o);
    assert_eq!(numbers(&open(&scene.config, 1 << 20).await.unwrap().records), [1, 2, 9]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_second_of_silence_the_last_group_is_marked_in_the_file() {
    let scene = Scene::new();
    let mut o = open(&scene.config, 1 << 20).await.unwrap();
    scene.refuse_puts();
    let id = o.writer.open_segment();
    let (seq, _) = commit(&mut o.writer, 1, 100).unwrap();
    o.log.sync(seq, SyncMode::Inline).await.unwrap();
    let durable = scene.entries(id).last().map(|e| e.offset + e.header.stored()).unwrap();
    let syncs = o.log.status().syncs;
    for _ in 0..100 {
        if scan(&scene.bytes(id)).unwrap().mark > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(scan(&scene.bytes(id)).unwrap().mark, durable, "no mark reached the file");
    assert_eq!(o.log.status().syncs, syncs, "a mark costs no sync");
    drop(o);
    let at = scene.entries(id)[1].offset as usize + 65;
    scene.refused(id, at, &[1]).await;
}

/// A late put of the dead writer's next segment, after the chain was read to its end.
#[tokio::test]
async fn a_segment_where_the_seal_should_go_is_replayed() {
    let scene = Scene::new();
    let mut config = scene.config.clone();
    config.journal = None;
    let mut o = open(&config, 1 << 20).await.unwrap();
    let id = o.writer.open_segment();
    let (seq, _) = commit(&mut o.writer, 1, 100).unwrap();
    o.log.sync(seq, SyncMode::Queued).await.unwrap();
    let late = o.writer.open_segment();
    assert_ne!(late, id);
    let (seq, _) = commit(&mut o.writer, 2, 100).unwrap();
    o.log.sync(seq, SyncMode::Queued).await.unwrap();
    drop(o);
    let name = segment_name(late);
    let bytes: Bytes = scene.store.get(&name, 0..u64::MAX).await.unwrap();
    scene.store.delete_many(std::slice::from_ref(&name)).await.unwrap();

    let header = logseg::Recovery::volume(&config).await.unwrap().unwrap();
    let begun = logseg::Recovery::begin(config.clone(), header, logseg::Start::NEW).await;
    let mut recovery = begun.unwrap();
    let mut seen = Vec::new();
    while let Some(r) = recovery.next().await.unwrap() {
        seen.push(r);
    }
    assert_eq!(numbers(&seen), [1]);
    scene.store.put_new(&name, vec![bytes]).await.unwrap();
    let logseg::Sealed::More(mut recovery) = recovery.seal().await.unwrap() else {
        panic!("sealed over a segment")
    };
    while let Some(r) = recovery.next().await.unwrap() {
        seen.push(r);
    }
    assert_eq!(numbers(&seen), [1, 2]);
    assert!(matches!(recovery.seal().await.unwrap(), logseg::Sealed::Open(_)));
}
