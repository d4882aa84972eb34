//! Recovery itself is killed, or is all that stands between a killed server and a dying machine.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use logseg::SyncMode;
use swiftclient::{
    disk::{
        Disk, SimDisk,
        plan::{Harmed, Operation},
    },
    seam::{Env, sim::SeededDice},
};

use crate::{
    crash::{paused, simulated},
    world::{commit, numbers, open},
};

const SEGMENT: u64 = 64 << 10;

fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.set_capacity(Some(16 << 20));
    disk
}

fn segment_files(disk: &SimDisk) -> Vec<PathBuf> {
    let dir = Path::new("/volume/journal");
    let names = disk.list(dir).unwrap();
    let mut files: Vec<_> =
        names.iter().filter(|n| n.to_string_lossy().contains(".g")).map(|n| dir.join(n)).collect();
    files.sort();
    files
}

/// What a server finds after a kill may be in the page cache alone, files and names.
fn only_in_the_page_cache(disk: &SimDisk) {
    for path in segment_files(disk) {
        let bytes = disk.bytes(&path).unwrap();
        disk.unlink(&path).unwrap();
        disk.create_new(&path).unwrap().write_at(0, &[&bytes]).unwrap();
    }
}

#[test]
fn what_a_recovery_showed_survives_the_machine() {
    let disk = disk();
    paused().block_on(async {
        let config = simulated(&disk, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, SEGMENT).await.unwrap();
        // Nothing here yields, so nothing is destaged.
        for n in 1..=50 {
            let (seq, _) = commit(&mut opened.writer, n, 6_000).unwrap();
            opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        }
    });
    disk.kill();
    let disk = disk.process();
    only_in_the_page_cache(&disk);
    assert!(segment_files(&disk).len() > 4);
    paused().block_on(async {
        let config = simulated(&disk, &Env::simulated(2)).unwrap();
        let opened = open(&config, SEGMENT).await.unwrap();
        assert_eq!(numbers(&opened.records).len(), 50);
        assert_eq!(opened.log.durable_seq(), opened.log.last_seq());
    });
    disk.crash_losing_unsynced();
    let disk = disk.process();
    paused().block_on(async {
        let config = simulated(&disk, &Env::simulated(3)).unwrap();
        assert_eq!(numbers(&open(&config, SEGMENT).await.unwrap().records).len(), 50);
    });
}

/// A group over several segments was written and not synced; the first of them is torn.
fn torn_with_files_behind() -> SimDisk {
    let disk = disk();
    paused().block_on(async {
        let config = simulated(&disk, &Env::simulated(1)).unwrap();
        let mut opened = open(&config, SEGMENT).await.unwrap();
        for n in 1..=40 {
            commit(&mut opened.writer, n, 6_000).unwrap();
        }
        // The files are written; the first fdatasync is the last thing that this machine does. The
        // store, on the same disk, takes nothing either.
        disk.harm(Harmed::nth(Operation::SyncData, 0, 5).at(".g").times(1_000));
        disk.harm(Harmed::nth(Operation::Create, 0, 5).at("/tmp/").times(1_000));
        let seq = opened.log.last_seq();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap_err();
    });
    disk.heal();
    disk.kill();
    let disk = disk.process();
    let files = segment_files(&disk);
    assert!(files.len() >= 4, "{files:?}");
    disk.edit(&files[0], |bytes| bytes.truncate(20_000)).unwrap();
    disk
}

#[test]
fn a_recovery_may_die_at_any_operation_and_the_next_one_finds_the_same() {
    let count = |disk: &SimDisk, seed| {
        paused().block_on(async {
            let config = simulated(disk, &Env::simulated(seed))?;
            let opened = open(&config, SEGMENT).await?;
            Ok::<_, logseg::LogError>(numbers(&opened.records))
        })
    };
    for n in 0..500 {
        let disk = torn_with_files_behind();
        disk.harm(Harmed::power_off(n));
        let first = count(&disk, 2);
        let untouched = !disk.is_power_off();
        if n % 3 == 0 {
            disk.crash_losing_unsynced();
        } else {
            disk.crash(&SeededDice::new(n));
        }
        let disk = disk.process();
        disk.heal();
        let second = count(&disk, 3);
        let found = second.unwrap_or_else(|e| panic!("after operation {n}: {e}"));
        // What was never synced may be lost; what a recovery that ended showed may not.
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>());
        if let Ok(first) = first {
            assert!(found.len() >= first.len(), "operation {n}");
        }
        if untouched {
            assert!(n > 10, "only {n} operations?");
            return;
        }
    }
    panic!("the countdown never ends");
}
