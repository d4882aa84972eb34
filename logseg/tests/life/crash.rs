//! Crashes anywhere, on a disk that keeps, loses, tears or reorders whatever was not synced.

#![allow(clippy::expect_used, clippy::cast_possible_truncation)]

use std::{sync::Arc, time::Duration};

use logseg::{Location, LogConfig, LogError, SyncMode, crypto::VolumeKey};
use swiftclient::{
    disk::{Disk, SimDisk, plan::Harmed},
    seam::{Env, sim::SeededDice},
};

use crate::world::{commit, config, numbers, open, payload};

const ROOT: &str = "/volume";
const SEGMENT: u64 = 64 << 10;

/// What the world outside knows of the volume.
#[derive(Default)]
struct Known {
    /// Records committed in the history that survived, 1, 2, …
    committed: u64,
    /// Records that an answered sync promised.
    promised: u64,
    /// Where the frames of records lie, for as long as they are in the surviving history.
    frames: Vec<(u64, Location, usize)>,
    key: Option<VolumeKey>,
}

pub fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// The volume on a simulated disk: no threads, all in one task after another.
pub fn simulated(disk: &SimDisk, env: &Env) -> Result<LogConfig, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut config = config(&disk, ROOT, env)?;
    config.inline_only = true;
    Ok(config)
}

/// One life of a server: opens, checks what it finds, writes until something fails or it stops.
async fn live(
    disk: &SimDisk,
    dice: &SeededDice,
    env: &Env,
    known: &mut Known,
) -> Result<(), LogError> {
    let mut config = simulated(disk, env)?;
    config.key.clone_from(&known.key);
    let mut opened = open(&config, SEGMENT).await?;
    let found = numbers(&opened.records);
    let count = found.len() as u64;
    assert_eq!(found, (1..=count).collect::<Vec<_>>(), "a prefix, in order");
    assert!(count >= known.promised, "{count} found, {} promised", known.promised);
    assert!(count <= known.committed, "{count} found, {} committed", known.committed);
    known.committed = count;
    // What a recovery showed is a promise, too.
    known.promised = count;
    known.frames.retain(|(n, ..)| *n <= count);
    for (n, location, len) in &known.frames {
        let bytes = opened.log.read(location).await?;
        assert!(bytes == payload(*n, *len), "frame of record {n}");
    }
    for _ in 0..dice.below(60) {
        match dice.below(20) {
            0..=11 => {
                let n = known.committed + 1;
                let len = usize::try_from(dice.below(6_000)).unwrap_or(0);
                opened.log.admit(len as u64).await?;
                let (_, location) = commit(&mut opened.writer, n, len)?;
                known.committed = n;
                known.frames.extend(location.map(|l| (n, l, len)));
            }
            12..=16 => {
                let upto = known.committed;
                opened.log.sync(opened.log.last_seq(), SyncMode::Inline).await?;
                known.promised = upto;
            }
            17 => {
                opened.writer.roll()?;
            }
            18 => tokio::time::sleep(Duration::from_millis(dice.below(40_000))).await,
            _ => tokio::task::yield_now().await,
        }
    }
    if dice.chance(300) {
        let upto = known.committed;
        let seq = opened.writer.close()?;
        opened.log.sync(seq, SyncMode::Inline).await?;
        known.promised = upto;
    }
    Ok(())
}

fn is_dead(error: &LogError) -> bool {
    // Everything but damage and contradiction: those must never come of a crash.
    !matches!(error, LogError::Corrupt { .. } | LogError::Refused(_))
}

/// One world: several lives, each ended by a power failure, a kill or a stop.
fn world(seed: u64) {
    let dice = SeededDice::new(seed);
    let mut disk = SimDisk::new();
    // The reserve is a file in memory here.
    disk.set_capacity(Some(16 << 20));
    let key = (seed % 3 == 2).then(|| VolumeKey::from_bytes([3; 32]));
    let mut known = Known { key, ..Known::default() };
    for life in 0..6 {
        let env_seed = dice.next_u64();
        paused().block_on(async {
            let env = Env::simulated(env_seed);
            if dice.chance(800) {
                disk.harm(Harmed::power_off(dice.below(250)));
            }
            if let Err(e) = live(&disk, &dice, &env, &mut known).await {
                assert!(is_dead(&e), "seed {seed}, life {life}: {e}");
                assert!(disk.is_power_off(), "seed {seed}, life {life}: {e}");
            }
        });
        if disk.is_power_off() || dice.chance(300) {
            disk.crash(&dice);
        } else {
            disk.kill();
        }
        disk = disk.process();
    }
    disk.heal();
    paused().block_on(async {
        let env = Env::simulated(1);
        // A last, undisturbed look.
        let result = live(&disk, &dice, &env, &mut known).await;
        assert!(result.is_ok(), "seed {seed}: {:?}", result.err());
    });
}

#[test]
fn whatever_a_crash_leaves_is_a_prefix_at_or_after_the_last_answered_sync() {
    let seeds = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(36);
    let from = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    for seed in from..from + seeds {
        let outcome = std::panic::catch_unwind(|| world(seed));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
