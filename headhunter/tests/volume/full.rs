//! A full disk, damaged checkpoints, an end under load.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use headhunter::{Abort, Index, IndexConfig, Intent, LogError, RequestTag, SyncMode};
use swiftclient::{
    disk::{Disk, OsDisk, SimDisk},
    seam::Env,
};

use crate::world::{Never, Op, config, objects, open, run, verify};

const ROOT: &str = "/volume";

/// Takes every free byte of the disk.
fn fill(disk: &Arc<dyn Disk>) {
    let (_, free) = disk.capacity(Path::new("/")).unwrap();
    let junk = disk.create_new(Path::new("/junk")).unwrap();
    junk.write_at(0, &[&vec![1; usize::try_from(free).unwrap()]]).unwrap();
    assert_eq!(disk.capacity(Path::new("/")).unwrap().1, 0);
}

/// R18: the reserve is the checkpoint's too, all of it. Without it nothing would ever be freed.
#[tokio::test]
async fn a_checkpoint_on_a_full_disk_takes_from_the_reserve() {
    let sim = SimDisk::new();
    sim.set_capacity(Some(128 << 20)); // a reserve of 8 MiB
    let disk: Arc<dyn Disk> = Arc::new(sim.process());
    let config = config(&disk, ROOT, &Env::simulated(1));
    let index = open(&config).await.unwrap();
    for n in 0..2000u64 {
        let made = index.transact::<(), Never>(|txn| {
            txn.put([(n + 5).to_be_bytes(), [7; 8]].concat(), vec![9; 3000]);
            Ok(())
        });
        made.unwrap();
    }
    index.sync(index.last_seq(), SyncMode::Inline).await.unwrap();
    let (total, free) = disk.capacity(Path::new("/")).unwrap();
    sim.set_capacity(Some(total - free));
    // More pages than the journal's own need of room would have given away of the reserve.
    index.checkpoint_now().await.unwrap();
    assert!(index.status().pages_written > 400, "{:?}", index.status());
}

/// A server killed on a disk without a free byte comes back by itself.
#[tokio::test]
async fn a_volume_opens_on_a_full_disk() {
    let sim = SimDisk::new();
    sim.set_capacity(Some(48 << 20)); // a reserve of 3 MiB
    let env = Env::simulated(1);
    let process = sim.process();
    let disk: Arc<dyn Disk> = Arc::new(process.clone());
    let first = config(&disk, ROOT, &env);
    let index = open(&first).await.unwrap();
    let mut ops = Vec::new();
    for n in 0..40 {
        ops.push(Op::Write(n, 3000));
        run(&index, ops.len() as u64, ops.last().unwrap()).await.unwrap();
    }
    index.sync(index.last_seq(), SyncMode::Inline).await.unwrap();
    fill(&disk);
    process.kill();
    let disk: Arc<dyn Disk> = Arc::new(sim.process());
    let index = open(&config(&disk, ROOT, &env)).await.unwrap();
    verify(&index, &ops).await;
    ops.push(Op::Remove(3));
    let seq = run(&index, ops.len() as u64, &Op::Remove(3)).await.unwrap();
    index.sync(seq, SyncMode::Inline).await.unwrap();
    verify(&index, &ops).await;
}

/// R20: the newest *valid* checkpoint counts, and the chain from the older one on is kept for it.
#[tokio::test]
async fn a_damaged_checkpoint_is_stepped_over() {
    for damaged in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(OsDisk);
        let config = config(&disk, dir.path().to_str().unwrap(), &Env::real());
        let index = open(&config).await.unwrap();
        let mut ops = Vec::new();
        for n in 0..200 {
            ops.push(Op::Write(n % 40, 3000));
            run(&index, ops.len() as u64, ops.last().unwrap()).await.unwrap();
            if n % 40 == 39 {
                index.checkpoint_now().await.unwrap();
            }
        }
        index.sync(index.last_seq(), SyncMode::Inline).await.unwrap();
        drop(index);
        let names = objects(&*config.log.store).await;
        let mut kept: Vec<_> = names.iter().filter(|n| n.starts_with("ckpt/")).collect();
        kept.sort();
        assert_eq!(kept.len(), 2);
        let path = dir.path().join(kept[damaged]);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        for _ in 0..4 {
            let index = open(&config).await.unwrap();
            verify(&index, &ops).await;
            ops.push(Op::Write(7, 300));
            run(&index, ops.len() as u64, ops.last().unwrap()).await.unwrap();
            index.checkpoint_now().await.unwrap();
            verify(&index, &ops).await;
        }
    }
}

/// Opens once the tasks of the index before have let the volume go.
async fn open_when_free(config: &IndexConfig) -> Index {
    loop {
        match open(config).await {
            Ok(index) => return index,
            Err(LogError::Refused(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Writers work on while the volume is closed: each commit that was given a seq is there
/// afterwards, and what came too late got an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_close_under_load_keeps_every_commit() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let mut config = config(&disk, dir.path().to_str().unwrap(), &Env::real());
    config.background = true;
    config.log.inline_only = false;
    config.checkpoint_every = std::time::Duration::from_millis(5);
    for _ in 0..2 {
        let index = open_when_free(&config).await;
        let done: Arc<[AtomicU64; 4]> = Arc::default();
        let writers: Vec<_> = (0..4u64)
            .map(|w| {
                let (index, done) = (index.clone(), done.clone());
                tokio::spawn(async move {
                    for n in 1u64.. {
                        if index.admit(Intent::Grow { bytes: 100 }).await.is_err() {
                            return;
                        }
                        let key = [(5 + w).to_be_bytes(), (n % 500).to_be_bytes()].concat();
                        let made = loop {
                            let made = index.transact::<(), Never>(|txn| {
                                txn.put(
                                    key.clone(),
                                    [[w as u8; 200].as_slice(), &n.to_le_bytes()].concat(),
                                );
                                txn.put((5 + w).to_be_bytes().to_vec(), n.to_le_bytes().to_vec());
                                Ok(())
                            });
                            match made {
                                Err(Abort::Miss(miss)) => index.fault(miss).await.unwrap(),
                                made => break made,
                            }
                        };
                        match made {
                            Ok(_) => done[w as usize].store(n, Ordering::Relaxed),
                            Err(Abort::Log(LogError::ReadOnly { .. })) => return,
                            Err(other) => panic!("{other:?}"),
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        while done.iter().any(|d| d.load(Ordering::Relaxed) < 200) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        index.close().await.unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        drop(index);
        let index = open_when_free(&config).await;
        for w in 0..4u64 {
            let wanted = done[w as usize].load(Ordering::Relaxed);
            let found = loop {
                let found = index.view().get(&(5 + w).to_be_bytes());
                match found {
                    Ok(value) => break value.unwrap(),
                    Err(miss) => index.fault(miss).await.unwrap(),
                }
            };
            assert_eq!(&found[..], wanted.to_le_bytes(), "writer {w}");
        }
        let report = index.check(|_, _| Vec::new()).await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        index.close().await.unwrap();
        drop(index);
        while let Err(LogError::Refused(_)) = open(&config).await.map(drop) {
            tokio::task::yield_now().await;
        }
    }
}

/// Who waits for dirty pages to become fewer is not left waiting once the log has failed.
#[tokio::test(start_paused = true)]
async fn a_failed_log_ends_the_wait_for_room() {
    let sim = SimDisk::new();
    let process = sim.process();
    let disk: Arc<dyn Disk> = Arc::new(process.clone());
    let mut config = config(&disk, ROOT, &Env::simulated(1));
    config.memory_bytes = 4 << 20;
    let index = open(&config).await.unwrap();
    let mut n = 0u64;
    while index.status().dirty_bytes < (4 << 20) / 100 * 95 {
        n += 1;
        let made = index.transact::<(), Never>(|txn| {
            txn.put([(n + 5).to_be_bytes(), [7; 8]].concat(), vec![9; 3000]);
            Ok(())
        });
        made.unwrap();
    }
    let long = std::time::Duration::from_secs(100);
    for intent in [Intent::Grow { bytes: 1 }, Intent::Shrink] {
        assert!(tokio::time::timeout(long, index.admit(intent)).await.is_err(), "it waits");
    }
    process.kill();
    let late = run(&index, 1, &Op::Write(1, 10)).await.unwrap();
    index.sync(late, SyncMode::Inline).await.unwrap_err();
    for intent in [Intent::Grow { bytes: 1 }, Intent::Shrink] {
        let told = tokio::time::timeout(long, index.admit(intent)).await.expect("an answer");
        assert!(matches!(told, Err(LogError::ReadOnly { .. })), "{told:?}");
    }
}

/// The fullest table of replies is larger than a small volume's segments: checkpoints hold it all
/// the same.
#[tokio::test]
async fn a_full_table_of_replies_outlives_a_checkpoint_of_a_small_volume() {
    let sim = SimDisk::new();
    let process = sim.process();
    let disk: Arc<dyn Disk> = Arc::new(process.clone());
    let env = Env::simulated(1);
    let index = open(&config(&disk, ROOT, &env)).await.unwrap();
    let tag = |id| RequestTag { client: [3; 16], id, digest: id ^ 5 };
    for id in 0..17_000u64 {
        let done = index.transact::<(), Never>(|txn| {
            txn.remember(tag(id), vec![id as u8; 64]);
            Ok(())
        });
        done.unwrap();
    }
    let expected = index.status().replies;
    assert!(expected > 16_000 && expected < 17_000, "{expected}");
    index.checkpoint_now().await.unwrap();
    process.kill();
    drop(index);
    let disk: Arc<dyn Disk> = Arc::new(sim.process());
    let index = open(&config(&disk, ROOT, &env)).await.unwrap();
    assert_eq!((index.status().replies, index.status().replay_segments), (expected, 0));
    assert_eq!(index.remembered(&tag(16_999)).unwrap().outcome[..], [16_999u64 as u8; 64]);
    verify(&index, &[]).await;
}
