//! A disk that goes wrong under the store, and machines that die under it.

use super::*;
use crate::{
    ErrorKind,
    disk::{
        SimDisk,
        plan::{Harmed, Operation},
    },
    seam::sim::SeededDice,
};

const ROOT: &str = "/volume";

fn sim_store(sim: &SimDisk) -> Directory {
    let disk = Arc::new(sim.clone());
    Directory::create(disk, ROOT, &Env::real()).unwrap()
}

fn whole(sim: &SimDisk, n: &str) -> Option<Vec<u8>> {
    sim.bytes(&Path::new(ROOT).join(n)).ok()
}

#[tokio::test]
async fn every_errno_gets_the_error_whose_remedy_fits() {
    use Operation::{Create, Link, SyncData, SyncDir, Write};
    let cases = [
        (Write, libc::ENOSPC, ErrorKind::Full),
        (Create, libc::EDQUOT, ErrorKind::Full),
        (Link, libc::ENOSPC, ErrorKind::Full),
        (Create, libc::EACCES, ErrorKind::Denied),
        (Create, libc::EROFS, ErrorKind::Denied),
        (Create, libc::EMFILE, ErrorKind::Unavailable),
        (Write, libc::EIO, ErrorKind::Unknown),
        (SyncData, libc::EIO, ErrorKind::Unknown),
        (SyncDir, libc::EIO, ErrorKind::Unknown),
        (Link, libc::EIO, ErrorKind::Unknown),
        // The only name of the file is in tmp/: without links there is no publishing.
        (Link, libc::EPERM, ErrorKind::Denied),
    ];
    for (operation, errno, kind) in cases {
        let sim = SimDisk::new();
        let store = sim_store(&sim);
        store.put_new(&name("seg/0"), body(b"0")).await.unwrap();
        sim.harm(Harmed::nth(operation, 0, errno));
        let e = store.put_new(&name("seg/1"), body(b"1")).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{operation:?} {errno}: {e}");
        assert_eq!(whole(&sim, "seg/1"), None);
        assert_eq!(sim.list(&Path::new(ROOT).join(TEMPORARY)).unwrap().len(), 0);
        store.put_new(&name("seg/1"), body(b"1")).await.unwrap();
    }
}

#[tokio::test]
async fn reading_errors_are_never_not_found() {
    let errnos = [
        (libc::EIO, ErrorKind::Unavailable),
        (libc::EACCES, ErrorKind::Denied),
        (libc::ENOMEM, ErrorKind::Unavailable),
        (libc::ESTALE, ErrorKind::Unavailable),
        (libc::ELOOP, ErrorKind::Invalid),
    ];
    for (errno, kind) in errnos {
        let sim = SimDisk::new();
        let store = sim_store(&sim);
        store.put_new(&name("seg/0"), body(b"0")).await.unwrap();
        for operation in [Operation::Open, Operation::Read] {
            sim.harm(Harmed::nth(operation, 0, errno));
            let e = store.get(&name("seg/0"), 0..1).await.unwrap_err();
            assert_eq!(e.kind(), kind, "{operation:?}: {e}");
        }
        sim.harm(Harmed::nth(Operation::Look, 1, errno));
        let e = store.list("seg/", None, 1).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{e}");
    }
}

#[tokio::test]
async fn running_out_of_descriptors_gives_back_the_cached_ones() {
    let sim = SimDisk::new();
    let store = sim_store(&sim);
    store.put_new(&name("seg/0"), body(b"0")).await.unwrap();
    sim.harm(Harmed::nth(Operation::Open, 0, libc::EMFILE));
    assert_eq!(store.get(&name("seg/0"), 0..1).await.unwrap(), "0");
}

#[tokio::test]
async fn a_small_get_of_an_open_object_is_one_call_to_the_disk() {
    let sim = SimDisk::new();
    let store = sim_store(&sim);
    store.put_new(&name("seg/0"), vec![vec![7; 100_000].into()]).await.unwrap();
    store.get(&name("seg/0"), 0..4096).await.unwrap();
    sim.forget_log();
    store.get(&name("seg/0"), 8192..12_288).await.unwrap();
    assert_eq!(sim.log(), [(Operation::Read, Path::new(ROOT).join("seg/0"))]);
}

#[tokio::test]
async fn a_put_syncs_its_bytes_once_and_its_directory_once() {
    let sim = SimDisk::new();
    let store = sim_store(&sim);
    store.put_new(&name("seg/0"), body(b"0")).await.unwrap();
    sim.forget_log();
    store.put_new(&name("seg/1"), body(b"1")).await.unwrap();
    let counts = |operation| sim.count(operation);
    assert_eq!(counts(Operation::SyncData), 1);
    assert_eq!(counts(Operation::SyncDir), 1);
    assert_eq!(counts(Operation::Link), 1);
    assert_eq!(counts(Operation::Rename), 0);
    let many: Vec<_> = (0..2).map(|i| name(&format!("seg/{i}"))).collect();
    sim.forget_log();
    store.delete_many(&many).await.unwrap();
    assert_eq!((counts(Operation::Unlink), counts(Operation::SyncDir)), (2, 1));
}

#[tokio::test]
async fn across_file_systems_a_file_is_copied_and_the_copy_compared() {
    let sim = SimDisk::new();
    let store = sim_store(&sim);
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7).to_le_bytes()[0]).collect();
    let file = sim.create_new(Path::new("/elsewhere")).unwrap();
    file.write_at(0, &[&bytes]).unwrap();
    sim.harm(Harmed::nth(Operation::Link, 0, libc::EXDEV));
    store.put_file(&name("seg/1"), Path::new("/elsewhere"), 3_000_000).await.unwrap();
    assert_eq!(whole(&sim, "seg/1").unwrap(), bytes);
    let there = sim.identity(&Path::new(ROOT).join("seg/1")).unwrap();
    assert_ne!(there, file.identity().unwrap());
    let wreck = sim.wreck(&SeededDice::new(3));
    assert_eq!(whole(&wreck, "seg/1").unwrap(), bytes);
}

/// Fails operation N of a put, for N = 0, 1, 2 … until one passes untouched. After each: the name
/// stands for the whole object or for nothing; `Ok` survives the death of the machine; the same put
/// then succeeds, or finds itself there.
async fn countdown(errno: i32, put: impl AsyncFn(&Directory, &SimDisk) -> Result<(), StoreError>) {
    for nth in 0.. {
        let sim = SimDisk::new();
        let store = sim_store(&sim);
        sim.create_dir(&Path::new(ROOT).join("journal")).unwrap();
        let harm = Harmed { operation: None, ..Harmed::nth(Operation::Write, nth, errno) };
        sim.harm(harm);
        let first = put(&store, &sim).await;
        for seed in 0..8 {
            match (whole(&sim.wreck(&SeededDice::new(seed)), "seg/1"), &first) {
                (Some(found), _) => assert_eq!(found, b"whole object", "{nth}"),
                (None, Ok(())) => panic!("operation {nth}: Ok was said and the object is lost"),
                (None, Err(_)) => {}
            }
        }
        let untouched = sim.harmed() == 0;
        sim.heal();
        if first.is_err() {
            match put(&store, &sim).await {
                Ok(()) | Err(StoreError::Exists { .. }) => {}
                Err(e) => panic!("operation {nth}: the second put: {e}"),
            }
            let wreck = sim.wreck(&SeededDice::new(1));
            let found = whole(&wreck, "seg/1");
            let last: Vec<_> = sim.log().into_iter().rev().take(40).collect();
            assert_eq!(found.as_deref(), Some(&b"whole object"[..]), "{nth}: {last:?}");
        }
        if untouched {
            assert!(nth > 4, "the countdown ended after {nth} operations");
            return first.unwrap();
        }
    }
}

#[tokio::test]
async fn countdown_of_a_put() {
    for errno in [libc::EIO, libc::ENOSPC, libc::EACCES] {
        countdown(errno, async |store, _| {
            store.put_new(&name("seg/1"), body(b"whole object")).await
        })
        .await;
    }
}

#[tokio::test]
async fn countdown_of_a_stream() {
    countdown(libc::EIO, async |store, _| {
        let name = name("seg/1");
        let mut writer = store.put_stream(&name).await?;
        writer.write("whole ".into()).await?;
        writer.write("object".into()).await?;
        writer.finish().await
    })
    .await;
}

#[tokio::test]
async fn countdown_of_a_linked_file() {
    countdown(libc::EIO, async |store, sim| {
        let path = Path::new(ROOT).join("journal/1");
        // A writer of its own: the countdown is the store's.
        if !sim.exists(&path).unwrap() {
            let failed = |e: io::Error| ErrorKind::Unavailable.error("make", "1", &e.to_string());
            let file = sim.create_new(&path).map_err(failed)?;
            file.write_at(0, &[b"whole object"]).map_err(failed)?;
        }
        if sim.bytes(&path).unwrap().is_empty() {
            sim.edit(&path, |bytes| bytes.extend_from_slice(b"whole object")).unwrap();
        }
        match store.put_file(&name("seg/1"), &path, 12).await {
            // What its caller does: put the bytes from memory.
            Err(StoreError::Corrupt { .. }) => {
                store.put_new(&name("seg/1"), body(b"whole object")).await
            }
            other => other,
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_whose_fdatasync_failed_is_never_synced_or_linked_again() {
    let sim = SimDisk::new();
    let store = sim_store(&sim);
    let path = Path::new(ROOT).join("1");
    sim.create_new(&path).unwrap().write_at(0, &[b"bytes"]).unwrap();
    sim.harm(Harmed::nth(Operation::SyncData, 0, libc::EIO));
    for _ in 0..2 {
        let e = store.put_file(&name("seg/1"), &path, 5).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{e}");
    }
    assert_eq!(sim.count(Operation::SyncData), 1);
    assert_eq!(sim.count(Operation::Link), 0);
    let other = Path::new(ROOT).join("2");
    sim.create_new(&other).unwrap().write_at(0, &[b"bytes"]).unwrap();
    store.put_file(&name("seg/1"), &other, 5).await.unwrap();
}

#[tokio::test]
async fn a_name_left_by_a_killed_writer_is_durable_before_it_is_believed() {
    // The writer links and dies before its fsync of the directory: power stays on.
    for believer in ["head", "list", "put"] {
        let sim = SimDisk::new();
        let store = sim_store(&sim);
        store.put_new(&name("seg/0"), body(b"0")).await.unwrap();
        let journal = Path::new(ROOT).join("tmp/x");
        let file = sim.create_new(&journal).unwrap();
        file.write_at(0, &[b"1"]).unwrap();
        file.sync_data().unwrap();
        sim.link(&journal, &Path::new(ROOT).join("seg/1")).unwrap();
        sim.kill();
        let reborn = sim.process();
        let store = sim_store(&reborn);
        match believer {
            "head" => drop(store.head(&name("seg/1")).await.unwrap()),
            "list" => assert_eq!(store.list("seg/", None, 9).await.unwrap().len(), 2),
            _ => drop(store.put_new(&name("seg/1"), body(b"2")).await.unwrap_err()),
        }
        reborn.crash_losing_unsynced();
        assert_eq!(whole(&reborn.process(), "seg/1").unwrap(), b"1", "{believer}");
    }
}

/// A failed fsync of the directory leaves its pages clean: the next one says OK and does nothing. So
/// the deletion is done again, by this process or by another.
#[tokio::test]
async fn a_deletion_whose_fsync_failed_is_done_again() {
    for killed in [false, true] {
        let mut sim = SimDisk::new();
        let mut store = sim_store(&sim);
        store.put_new(&name("seg/0"), body(b"0")).await.unwrap();
        sim.harm(Harmed::nth(Operation::SyncDir, 0, libc::EIO));
        let first = store.delete_many(&[name("seg/0")]).await.unwrap();
        assert!(first[0].is_err());
        if killed {
            sim.kill();
            sim = sim.process();
            store = sim_store(&sim);
        }
        store.delete_many(&[name("seg/0")]).await.unwrap().remove(0).unwrap();
        assert_eq!(whole(&sim, "seg/0"), None);
        sim.crash_losing_unsynced();
        assert_eq!(whole(&sim.process(), "seg/0"), None, "it is back; killed: {killed}");
    }
}

#[tokio::test]
async fn a_root_left_by_a_killed_maker_is_durable_once_opened() {
    let sim = SimDisk::new();
    sim.create_dir(Path::new(ROOT)).unwrap();
    sim.kill();
    let reborn = sim.process();
    let disk = Arc::new(reborn.clone());
    let store = Directory::open(disk, ROOT, &Env::real(), Options::default()).unwrap();
    store.put_new(&name("volume"), body(b"v")).await.unwrap();
    reborn.crash_losing_unsynced();
    assert_eq!(whole(&reborn.process(), "volume").unwrap(), b"v");
}

#[tokio::test]
async fn a_full_disk_takes_nothing_and_gives_room_back() {
    let sim = SimDisk::new();
    let store = sim_store(&sim);
    sim.set_capacity(Some(10_000));
    store.put_new(&name("seg/0"), vec![vec![1; 6000].into()]).await.unwrap();
    let e = store.put_new(&name("seg/1"), vec![vec![1; 6000].into()]).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Full);
    assert_eq!(store.capacity().unwrap(), Capacity { total: 10_000, free: 4000 });
    store.get(&name("seg/0"), 0..1).await.unwrap();
    // The descriptor cache must not keep the deleted object's room.
    store.delete_many(&[name("seg/0")]).await.unwrap();
    store.put_new(&name("seg/1"), vec![vec![1; 6000].into()]).await.unwrap();
}
