//! The machine dies at any operation, with any fate for what was not synced: what is recovered is
//! a prefix of the commits, at or after the last acknowledged sync, whole.

use std::{sync::Arc, time::Duration};

use headhunter::{Index, IndexConfig, LogError, SyncMode};
use swiftclient::{
    Faulty, Memory,
    disk::{Disk, SimDisk, plan::Harmed},
    faulty::{Fault, Rule},
    seam::{Env, sim::SeededDice},
};

use crate::world::{Op, config, count, objects, open, over, run, verify};

const ROOT: &str = "/volume";

struct Life {
    ops: Vec<Op>,
    acknowledged: usize,
}

/// Works until something fails or `steps` are done.
async fn work(
    index: &Index,
    life: &mut Life,
    dice: &SeededDice,
    steps: u64,
) -> Result<(), LogError> {
    for _ in 0..steps {
        let key = dice.below(60);
        let op = match dice.below(4) {
            0 => Op::Remove(key),
            1 => Op::Write(key, dice.below(40_000) as usize),
            _ => Op::Write(key, dice.below(300) as usize),
        };
        // In the log or not: a failure leaves it open.
        life.ops.push(op.clone());
        let seq = run(index, life.ops.len() as u64, &op).await?;
        match dice.below(12) {
            0..3 => {
                index.sync(seq, SyncMode::Inline).await?;
                life.acknowledged = life.ops.len();
            }
            3 => index.checkpoint_now().await?,
            _ => {}
        }
    }
    Ok(())
}

/// What happens while the power may go: then nothing comes of it, not even an error, because the
/// log never gives up storing. Time is virtual: they pass as soon as nothing else is to do.
async fn until_dark<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(20), work).await.ok()
}

/// Opens what the crash left and compares.
async fn reopen(config: &IndexConfig, life: &mut Life, what: &str) -> Index {
    let index = open(config).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = usize::try_from(count(&index).await).unwrap();
    assert!(
        (life.acknowledged..=life.ops.len()).contains(&found),
        "{what}: {found} of {} operations, {} acknowledged",
        life.ops.len(),
        life.acknowledged
    );
    life.ops.truncate(found);
    life.acknowledged = found;
    verify(&index, &life.ops).await;
    index
}

#[tokio::test(start_paused = true)]
async fn any_crash_leaves_an_acknowledged_prefix() {
    for seed in 0..14 {
        let dice = SeededDice::new(seed);
        let sim = SimDisk::new();
        sim.set_capacity(Some(48 << 20)); // a reserve of 3 MiB
        let env = Env::simulated(seed);
        let mut life = Life { ops: Vec::new(), acknowledged: 0 };
        for generation in 0..6 {
            let process = sim.process();
            let disk: Arc<dyn Disk> = Arc::new(process.clone());
            let what = format!("seed {seed}, generation {generation}");
            let config = config(&disk, ROOT, &env);
            let index = reopen(&config, &mut life, &what).await;
            match dice.below(3) {
                0 => {
                    sim.harm(Harmed::power_off(dice.below(250)));
                    let _ = until_dark(work(&index, &mut life, &dice, 120)).await;
                    sim.crash(&dice);
                }
                1 => {
                    work(&index, &mut life, &dice, 60).await.expect(&what);
                    sim.crash(&dice);
                }
                _ => {
                    work(&index, &mut life, &dice, 60).await.expect(&what);
                    process.kill();
                }
            }
        }
        let disk: Arc<dyn Disk> = Arc::new(sim.process());
        let config = config(&disk, ROOT, &env);
        let index = reopen(&config, &mut life, &format!("seed {seed}, end")).await;
        index.checkpoint_now().await.unwrap();
        verify(&index, &life.ops).await;
    }
}

/// The power goes off at operation N for N = 0, 1, 2 … of a stretch with commits, syncs and a
/// checkpoint, until one stretch passes untouched.
#[tokio::test(start_paused = true)]
async fn power_off_at_every_operation_of_a_checkpoint() {
    let mut passed = false;
    for n in 0..400 {
        let dice = SeededDice::new(n);
        let sim = SimDisk::new();
        sim.set_capacity(Some(48 << 20)); // a reserve of 3 MiB
        let env = Env::simulated(n);
        let mut life = Life { ops: Vec::new(), acknowledged: 0 };
        let disk: Arc<dyn Disk> = Arc::new(sim.process());
        let index = open(&config(&disk, ROOT, &env)).await.unwrap();
        let fixed = SeededDice::new(4242);
        work(&index, &mut life, &fixed, 30).await.unwrap();
        index.checkpoint_now().await.unwrap();
        work(&index, &mut life, &fixed, 10).await.unwrap();
        sim.harm(Harmed::power_off(n));
        let stretch = async {
            index.checkpoint_now().await?;
            work(&index, &mut life, &fixed, 5).await?;
            index.checkpoint_now().await
        };
        let done = until_dark(stretch).await;
        let untouched = sim.harmed() == 0;
        sim.crash(&dice);
        let disk: Arc<dyn Disk> = Arc::new(sim.process());
        let index = reopen(&config(&disk, ROOT, &env), &mut life, &format!("operation {n}")).await;
        index.checkpoint_now().await.unwrap();
        verify(&index, &life.ops).await;
        if untouched {
            done.unwrap().unwrap();
            passed = true;
            break;
        }
    }
    assert!(passed);
}

/// Store call N fails for N = 0, 1, 2 … during a checkpoint: nothing is lost, and the next attempt
/// succeeds.
#[tokio::test]
async fn a_checkpoint_survives_every_failure_of_the_store() {
    for lose_reply in [false, true] {
        let fault = if lose_reply {
            Fault::LoseReply
        } else {
            Fault::Refuse(swiftclient::ErrorKind::Unavailable)
        };
        let mut passed = false;
        for n in 0..300 {
            let dir = tempfile::tempdir().unwrap();
            let disk: Arc<dyn Disk> = Arc::new(swiftclient::disk::OsDisk);
            let env = Env::simulated(n);
            let memory: Arc<dyn swiftclient::ObjectStore> = Arc::new(Memory::new());
            let faulty = Arc::new(Faulty::new(memory));
            let config = over(faulty.clone(), &disk, dir.path().to_str().unwrap(), &env);
            let mut life = Life { ops: Vec::new(), acknowledged: 0 };
            let dice = SeededDice::new(7);
            let index = open(&config).await.unwrap();
            work(&index, &mut life, &dice, 40).await.unwrap();
            let before = faulty.faults();
            faulty.add(Rule::nth(n, fault));
            let first = index.checkpoint_now().await;
            faulty.heal();
            verify(&index, &life.ops).await;
            for _ in 0..3 {
                work(&index, &mut life, &dice, 4).await.unwrap();
                index.checkpoint_now().await.unwrap();
                verify(&index, &life.ops).await;
            }
            index.sync(index.last_seq(), SyncMode::Inline).await.unwrap();
            life.acknowledged = life.ops.len();
            drop(index);
            let index = reopen(&config, &mut life, &format!("call {n}")).await;
            index.close().await.unwrap();
            if faulty.faults() == before {
                first.unwrap();
                passed = true;
                break;
            }
        }
        assert!(passed);
    }
}

/// R6: while the chain cannot be stored no checkpoint is published, and commits and syncs go on.
#[tokio::test(start_paused = true)]
async fn no_checkpoint_without_the_chain_that_it_follows() {
    let sim = SimDisk::new();
    sim.set_capacity(Some(48 << 20));
    let disk: Arc<dyn Disk> = Arc::new(sim.process());
    let env = Env::simulated(1);
    let memory = Memory::new().on_disk(disk.clone());
    let faulty = Arc::new(Faulty::new(Arc::new(memory)).on_disk(disk.clone()));
    let config = over(faulty.clone(), &disk, ROOT, &env);
    let mut life = Life { ops: Vec::new(), acknowledged: 0 };
    let index = open(&config).await.unwrap();
    life.ops.push(Op::Write(1, 100));
    run(&index, 1, &life.ops[0]).await.unwrap();
    faulty.add(Rule::always(Fault::Refuse(swiftclient::ErrorKind::Unavailable)).at("seg/"));
    assert!(until_dark(index.checkpoint_now()).await.is_none());
    assert!(objects(&*config.log.store).await.iter().all(|name| !name.starts_with("ckpt/")));
    life.ops.push(Op::Write(2, 100));
    let seq = run(&index, 2, &life.ops[1]).await.unwrap();
    index.sync(seq, SyncMode::Inline).await.unwrap();
    verify(&index, &life.ops).await;
    // A stop does not wait for the store for ever.
    index.close().await.unwrap();
    drop(index);
    faulty.heal();
    life.acknowledged = 2;
    let index = reopen(&config, &mut life, "after the store came back").await;
    index.checkpoint_now().await.unwrap();
    let names = objects(&*config.log.store).await;
    assert_eq!(names.iter().filter(|name| name.starts_with("ckpt/")).count(), 1);
}

/// R7: pages lie beside the chain. While they cannot be stored, and a checkpoint waits for them for
/// ever, commits and syncs cost what they always cost.
#[tokio::test(start_paused = true)]
async fn a_sync_waits_for_no_page() {
    let sim = SimDisk::new();
    sim.set_capacity(Some(48 << 20));
    let disk: Arc<dyn Disk> = Arc::new(sim.process());
    let memory = Memory::new().on_disk(disk.clone());
    let faulty = Arc::new(Faulty::new(Arc::new(memory)).on_disk(disk.clone()));
    let config = over(faulty.clone(), &disk, ROOT, &Env::simulated(1));
    let mut life = Life { ops: Vec::new(), acknowledged: 0 };
    let index = open(&config).await.unwrap();
    let dice = SeededDice::new(9);
    work(&index, &mut life, &dice, 20).await.unwrap();
    let stuck = Rule::always(Fault::Hang).of(swiftclient::Verb::Put).at("side/");
    faulty.add(stuck);
    let mut checkpoint = Box::pin(index.checkpoint_now());
    assert!(until_dark(&mut checkpoint).await.is_none());
    for n in 1..=20 {
        life.ops.push(Op::Write(n, 100));
        let seq = run(&index, life.ops.len() as u64, life.ops.last().unwrap()).await.unwrap();
        let synced = until_dark(index.sync(seq, SyncMode::Inline)).await;
        synced.expect("a sync waits for pages").unwrap();
    }
    drop(checkpoint); // a check waits for it
    faulty.heal();
    verify(&index, &life.ops).await;
    index.checkpoint_now().await.unwrap();
    verify(&index, &life.ops).await;
}
