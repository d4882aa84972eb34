use std::{sync::Arc, time::Duration};

use headhunter::{Abort, Index, LogError, RequestTag, SyncMode};
use swiftclient::{
    disk::{Disk, OsDisk},
    seam::Env,
};

use crate::world::{Never, Op, config, model, objects, open, over, run, verify};

fn disk() -> Arc<dyn Disk> {
    Arc::new(OsDisk)
}

#[tokio::test]
async fn what_was_written_is_there_after_a_stop_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&disk(), dir.path().to_str().unwrap(), &Env::real());
    let mut ops = Vec::new();
    for round in 0..6u64 {
        let index = open(&config).await.unwrap();
        verify(&index, &ops).await;
        for n in 0..300 {
            let op = if n % 5 == 4 { Op::Remove(n * 3 % 200) } else { Op::Write(n * 7 % 200, 500) };
            ops.push(op);
            run(&index, ops.len() as u64, ops.last().unwrap()).await.unwrap();
            if n % 100 == 50 && round % 2 == 0 {
                index.checkpoint_now().await.unwrap();
            }
        }
        verify(&index, &ops).await;
        if round % 3 == 0 {
            index.close().await.unwrap();
            let closed = index.transact::<(), Never>(|txn| {
                txn.put(&b"12345678"[..], &b""[..]);
                Ok(())
            });
            assert!(matches!(closed, Err(Abort::Log(LogError::ReadOnly { .. }))));
        } else {
            index.sync(index.last_seq(), SyncMode::Queued).await.unwrap();
        }
    }
    assert!(model(&ops).len() > 100);
}

#[tokio::test]
async fn a_clean_start_reads_almost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&disk(), dir.path().to_str().unwrap(), &Env::real());
    let index = open(&config).await.unwrap();
    for n in 0..200u64 {
        let made = index.transact::<(), Never>(|txn| {
            for i in 0..200u64 {
                txn.put([(n * 200 + i + 5).to_be_bytes(), [7; 8]].concat(), vec![9; 60]);
            }
            Ok(())
        });
        made.unwrap();
    }
    index.close().await.unwrap();
    let pages = index.status().pages_written;
    assert!(pages > 200, "{pages}");
    drop(index);
    let index = open(&config).await.unwrap();
    // The root, and the leaves of usage that the checkpoint's own pages changed.
    assert!(index.status().resident_pages <= 4, "{:?}", index.status());
    assert_eq!(index.status().replay_segments, 0);
}

#[tokio::test]
async fn segments_and_checkpoints_do_not_pile_up() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&disk(), dir.path().to_str().unwrap(), &Env::real());
    let mut ops = Vec::new();
    let mut most = 0;
    for _ in 0..5 {
        let index = open(&config).await.unwrap();
        for n in 0..60u64 {
            ops.push(Op::Write(n % 40, 30_000));
            run(&index, ops.len() as u64, ops.last().unwrap()).await.unwrap();
            if n % 20 == 19 {
                index.checkpoint_now().await.unwrap();
            }
        }
        verify(&index, &ops).await;
        let names = objects(&*config.log.store).await;
        most = most.max(names.len());
        assert_eq!(names.iter().filter(|n| n.starts_with("ckpt/")).count(), 2, "{names:?}");
    }
    // 40 keys of 30,000 bytes are two segments; the rest is seals, epochs, two checkpoints.
    assert!(most < 45, "{most} objects");
}

#[tokio::test]
async fn replies_survive_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&disk(), dir.path().to_str().unwrap(), &Env::real());
    let tag = |id| RequestTag { client: [3; 16], id, digest: id ^ 5 };
    let index = open(&config).await.unwrap();
    for id in 0..20u64 {
        let done = index.transact::<(), Never>(|txn| {
            txn.put([(id + 5).to_be_bytes(), [7; 8]].concat(), vec![]);
            txn.remember(tag(id), id.to_le_bytes().to_vec());
            Ok(())
        });
        let seq = done.unwrap().seq;
        if id == 10 {
            index.checkpoint_now().await.unwrap();
        }
        index.sync(seq, SyncMode::Inline).await.unwrap();
    }
    let expected: Vec<_> = (0..20).map(|id| index.remembered(&tag(id)).unwrap()).collect();
    drop(index);
    let index = open(&config).await.unwrap();
    for (id, expected) in expected.iter().enumerate() {
        assert_eq!(index.remembered(&tag(id as u64)).as_ref(), Some(expected));
    }
    assert_eq!(index.remembered(&tag(99)), None);
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&disk(), dir.path().to_str().unwrap(), &Env::real());
    let index = open(&config).await.unwrap();
    let Err(LogError::Refused(reason)) = open(&config).await else { panic!("opened twice") };
    assert!(reason.contains("host test"), "{reason}");
    run(&index, 1, &Op::Write(1, 10)).await.unwrap();
    index.sync(index.last_seq(), SyncMode::Inline).await.unwrap();
}

/// R6: what a checkpoint refers to, and the chain before it, is in the store, not only in the
/// journal: a lost journal costs what came after, never the volume.
#[tokio::test]
async fn a_checkpoint_needs_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&disk(), dir.path().to_str().unwrap(), &Env::real());
    let index = open(&config).await.unwrap();
    let mut ops = Vec::new();
    for n in 0..200 {
        ops.push(Op::Write(n % 70, 3000));
        run(&index, ops.len() as u64, ops.last().unwrap()).await.unwrap();
    }
    index.checkpoint_now().await.unwrap();
    run(&index, ops.len() as u64 + 1, &Op::Write(1000, 10)).await.unwrap();
    index.sync(index.last_seq(), SyncMode::Inline).await.unwrap();
    drop(index);
    std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
    let Err(LogError::Refused(reason)) = open(&config).await else { panic!("opened") };
    assert!(reason.contains("journal"), "{reason}");
    config.log.abandon_journal = true;
    verify(&open(&config).await.unwrap(), &ops).await;
}

/// The driver makes checkpoints by itself, does nothing at rest, and ends with the index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_makes_checkpoints_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&disk(), dir.path().to_str().unwrap(), &Env::real());
    config.background = true;
    config.log.inline_only = false;
    config.checkpoint_every = Duration::from_millis(20);
    let index = open(&config).await.unwrap();
    let mut ops = Vec::new();
    let deadline = config.log.env.clock.monotonic() + Duration::from_secs(20);
    while index.status().checkpoints < 3 {
        ops.push(Op::Write(ops.len() as u64 % 50, 2000));
        run(&index, ops.len() as u64, ops.last().unwrap()).await.unwrap();
        assert!(config.log.env.clock.monotonic() < deadline, "{:?}", index.status());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Once the last change is in a checkpoint nothing more happens.
    let mut before = index.status().checkpoints;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = index.status().checkpoints;
        if now == before {
            break;
        }
        assert!(config.log.env.clock.monotonic() < deadline, "{:?}", index.status());
        before = now;
    }
    verify(&index, &ops).await;
    index.sync(index.last_seq(), SyncMode::Queued).await.unwrap();
    drop(index);
    // The lock is free as soon as the driver has let go.
    let again = loop {
        match open(&config).await {
            Ok(index) => break index,
            Err(error) => {
                assert!(config.log.env.clock.monotonic() < deadline, "{error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    verify(&again, &ops).await;
}

/// A store that takes nothing any more, or never answers: the stop ends in time, and with a journal
/// nothing is lost.
#[test]
fn a_stop_ends_in_time_though_the_store_takes_nothing() {
    use swiftclient::{ErrorKind, Faulty, Memory, disk::SimDisk, faulty::Fault, faulty::Rule};
    let refuse = Fault::Refuse(ErrorKind::Unavailable);
    for (fault, journal, background) in [
        (refuse, true, false),
        (Fault::Hang, true, false),
        (Fault::Hang, true, true),
        (refuse, false, false),
        (Fault::Hang, false, true),
    ] {
        let sim = SimDisk::new();
        sim.set_capacity(Some(256 << 20));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let disk: Arc<dyn Disk> = Arc::new(sim.clone());
            let objects = Memory::new();
            let store = Faulty::new(Arc::new(objects.clone().on_disk(disk.clone())));
            let mut config = over(Arc::new(store.clone()), &disk, "/v", &Env::simulated(1));
            config.background = background;
            if !journal {
                config.log.journal = None;
            }
            let index = open(&config).await.unwrap();
            let mut ops = Vec::new();
            let write = async |index: &Index, n: u64, ops: &mut Vec<Op>| {
                ops.push(Op::Write(n, 3000));
                run(index, ops.len() as u64, ops.last().unwrap()).await.unwrap();
            };
            for n in 0..20 {
                write(&index, n, &mut ops).await;
            }
            index.sync(index.last_seq(), SyncMode::Inline).await.unwrap();
            store.add(Rule::always(fault));
            write(&index, 20, &mut ops).await;
            if background {
                // A checkpoint begins, and waits for the store.
                tokio::time::sleep(std::time::Duration::from_secs(120)).await;
            }
            let begun = tokio::time::Instant::now();
            let closed = index.close().await;
            let took = begun.elapsed().as_secs();
            assert!(took <= 41, "{fault:?}: {took} s");
            assert_eq!(closed.is_ok(), journal, "{closed:?}");
            drop(index);
            // What hangs goes with the process.
            sim.kill();
            if journal {
                let disk: Arc<dyn Disk> = Arc::new(sim.process());
                let store = Arc::new(objects.on_disk(disk.clone()));
                let again = open(&over(store, &disk, "/v", &Env::simulated(2))).await.unwrap();
                verify(&again, &ops).await;
            }
        });
    }
}

/// At rest nothing is asked of the store: no checkpoint, no retire, no destage, no looking round.
#[test]
fn a_volume_at_rest_sends_no_request() {
    use swiftclient::{Faulty, Memory, disk::SimDisk};
    let sim = SimDisk::new();
    sim.set_capacity(Some(256 << 20));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let store = Faulty::new(Arc::new(Memory::new().on_disk(disk.clone())));
        let mut config = over(Arc::new(store.clone()), &disk, "/v", &Env::simulated(1));
        config.background = true;
        let index = open(&config).await.unwrap();
        for n in 0..200 {
            run(&index, n + 1, &Op::Write(n % 50, 3000)).await.unwrap();
        }
        index.sync(index.last_seq(), SyncMode::Inline).await.unwrap();
        let before = store.calls();
        // The timer of destage, the checkpoint's, and what it retires.
        tokio::time::sleep(Duration::from_secs(90)).await;
        let settled = store.calls();
        assert!(settled > before);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(store.calls(), settled, "asked at rest");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(store.calls(), settled, "asked at rest");
    });
}
