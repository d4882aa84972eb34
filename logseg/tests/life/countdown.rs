//! The n-th changing operation of the disk fails, for n = 0, 1, 2 … until a run passes untouched.

#![allow(clippy::expect_used, clippy::cast_possible_truncation)]

use std::time::Duration;

use logseg::{LogError, SyncMode};
use swiftclient::{
    disk::{
        SimDisk,
        plan::{Harm, Harmed},
    },
    seam::{Env, sim::SeededDice},
};

use crate::{
    crash::{paused, simulated},
    world::{commit, numbers, open},
};

/// A short life with everything in it. `promised` is told as it goes.
async fn life(
    disk: &SimDisk,
    seed: u64,
    promised: &mut u64,
    committed: &mut u64,
) -> Result<(), LogError> {
    let env = Env::simulated(seed);
    let config = simulated(disk, &env)?;
    let mut opened = open(&config, 64 << 10).await?;
    let found = numbers(&opened.records).len() as u64;
    assert!(found >= *promised && found <= *committed, "{promised} <= {found} <= {committed}");
    *committed = found;
    for round in 0..4_u64 {
        for _ in 0..3 {
            opened.log.admit(4_000).await?;
            commit(&mut opened.writer, *committed + 1, 4_000)?;
            *committed += 1;
        }
        opened.log.sync(opened.log.last_seq(), SyncMode::Inline).await?;
        *promised = *committed;
        if round == 2 {
            let next = opened.writer.roll()?;
            let stored = opened.log.stored(next);
            let stored = tokio::time::timeout(Duration::from_secs(60), stored).await;
            if disk.is_power_off() {
                let reason = "the power is off".to_owned();
                return Err(LogError::ReadOnly { reason });
            }
            assert!(stored.is_ok(), "never stored: {:?}", opened.log.status());
        }
    }
    let seq = opened.writer.close()?;
    opened.log.sync(seq, SyncMode::Inline).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

fn count_down(harm: Harm) {
    for n in 0.. {
        assert!(n < 2_000, "the countdown never ends");
        let dice = SeededDice::new(n);
        let disk = SimDisk::new();
        disk.set_capacity(Some(16 << 20));
        let (mut promised, mut committed) = (0, 0);
        let harmed = Harmed { operation: None, path: None, skip: n, times: 1, harm };
        disk.harm(harmed);
        let outcome = paused().block_on(life(&disk, 1, &mut promised, &mut committed));
        let untouched = disk.harmed() == 0;
        if let Err(e) = &outcome {
            assert!(!untouched, "failed by itself: {e}");
            assert!(!matches!(e, LogError::Corrupt { .. }), "operation {n}: {e}");
        }
        disk.heal();
        if n % 2 == 0 {
            disk.crash(&dice);
        } else {
            disk.kill();
        }
        let again = disk.process();
        let second = paused().block_on(life(&again, 2, &mut promised, &mut committed));
        assert!(second.is_ok(), "after operation {n} failed ({outcome:?}): {:?}", second.err());
        if untouched {
            assert!(n > 20, "only {n} operations?");
            return;
        }
    }
}

#[test]
fn any_one_failing_operation_loses_nothing_and_leaves_a_volume_that_opens() {
    count_down(Harm::Errno(EIO));
}

#[test]
fn any_one_operation_without_space_loses_nothing() {
    count_down(Harm::Short(100, ENOSPC));
}

#[test]
fn the_power_may_go_off_at_any_operation() {
    count_down(Harm::PowerOff);
}

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
