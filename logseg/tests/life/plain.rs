//! R2 on stores whose create-only put excludes nobody.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use logseg::{LogConfig, LogError, SyncMode, VolumeHeader};
use swiftclient::{
    Faulty, Memory, Verb,
    disk::{Disk, SimDisk},
    faulty::{Fault, Rule},
    racy::{Manner, Racy},
    seam::{Env, sim::SeededDice},
};

use crate::{
    crash::paused,
    world::{Opened, commit, header, numbers, objects, open},
};

const SEGMENT: u64 = 64 << 10;
const BOTH: [Manner; 2] = [Manner::Ignores, Manner::CheckThenAct];

struct Bed {
    config: LogConfig,
    faulty: Faulty,
}

impl Bed {
    /// A formatted volume without a journal: a sync is a put.
    async fn new(manner: Manner) -> Self {
        let env = Env::simulated(1);
        let racy = Racy::new(Arc::new(Memory::new()), manner);
        let faulty = Faulty::new(Arc::new(racy));
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
        let mut config = crate::world::config(&disk, "/unused", &env).unwrap();
        config.store = Arc::new(faulty.clone());
        config.journal = None;
        config.inline_only = true;
        let header = VolumeHeader { fencing: false, ..header(SEGMENT) };
        logseg::Recovery::format(&config, &header).await.unwrap();
        Self { config, faulty }
    }

    /// Another server of the same volume.
    fn server(&self, name: &str) -> LogConfig {
        LogConfig { holder: name.to_owned(), ..self.config.clone() }
    }

    async fn found(&self) -> Vec<u64> {
        numbers(&open(&self.server("the last"), SEGMENT).await.unwrap().records)
    }
}

/// Commits record `n`, and it is durable.
async fn acknowledged(server: &mut Opened, n: u64) {
    let (seq, _) = commit(&mut server.writer, n, 100).unwrap();
    server.log.sync(seq, SyncMode::Inline).await.unwrap();
}

fn late(verb: Verb, name: &str, secs: u64) -> Rule {
    Rule::nth(0, Fault::Delay(Duration::from_secs(secs))).of(verb).at(name)
}

#[test]
fn a_stale_writer_acknowledges_nothing_and_what_it_still_puts_is_void() {
    for manner in BOTH {
        paused().block_on(async {
            let bed = Bed::new(manner).await;
            let mut old = open(&bed.server("the old one"), SEGMENT).await.unwrap();
            acknowledged(&mut old, 1).await;
            let (lost, _) = commit(&mut old.writer, 2, 100).unwrap();

            let mut new = open(&bed.server("the new one"), SEGMENT).await.unwrap();
            assert_eq!(numbers(&new.records), [1]);
            acknowledged(&mut new, 3).await;

            match old.log.sync(lost, SyncMode::Inline).await {
                Err(LogError::Fenced { holder }) => assert_eq!(holder, "the new one"),
                other => panic!("{manner:?}: {:?}", other.err()),
            }
            // Fenced, it deletes nothing either.
            let ids = [logseg::SegmentId::chain(3, 0)];
            assert!(old.log.delete_segments(&ids).await.is_err());
            drop((old, new));
            // The void segment stands in the store and is not in the chain.
            let names = objects(&*bed.config.store).await;
            assert!(names.iter().any(|n| n == "seg/00000002/00000001"), "{names:?}");
            assert_eq!(bed.found().await, [1, 3]);
        });
    }
}

#[test]
fn a_segment_acknowledged_while_the_next_epoch_was_begun_is_found_by_who_began_it() {
    for manner in BOTH {
        paused().block_on(async {
            let bed = Bed::new(manner).await;
            let mut old = open(&bed.server("the old one"), SEGMENT).await.unwrap();
            // It lands, and is acknowledged, after the opener has looked there and before the
            // opener's epoch stands.
            bed.faulty.add(late(Verb::Put, "seg/00000002/00000000", 1));
            bed.faulty.add(late(Verb::Put, "epoch/00000003", 2));
            let (seq, _) = commit(&mut old.writer, 1, 100).unwrap();
            let server = bed.server("the new one");
            let (acked, opened) =
                tokio::join!(old.log.sync(seq, SyncMode::Inline), open(&server, SEGMENT));
            acked.unwrap();
            let mut new = opened.unwrap();
            assert_eq!(numbers(&new.records), [1], "{manner:?}");
            acknowledged(&mut new, 2).await;
            drop((old, new));
            let names = objects(&*bed.config.store).await;
            let epochs: Vec<_> = names.iter().filter(|n| n.starts_with("epoch/")).collect();
            assert_eq!(epochs, ["epoch/00000002", "epoch/00000003", "epoch/00000004"]);
            assert_eq!(bed.found().await, [1, 2]);
        });
    }
}

#[test]
fn a_late_put_changes_nothing_once_the_new_epoch_is_written() {
    for manner in BOTH {
        paused().block_on(async {
            let bed = Bed::new(manner).await;
            let mut old = open(&bed.server("the old one"), SEGMENT).await.unwrap();
            bed.faulty.add(late(Verb::Put, "seg/00000002/00000000", 60));
            let (seq, _) = commit(&mut old.writer, 1, 100).unwrap();
            let new = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let mut new = open(&bed.server("the new one"), SEGMENT).await.unwrap();
                acknowledged(&mut new, 2).await;
            };
            let (late, ()) = tokio::join!(old.log.sync(seq, SyncMode::Inline), new);
            assert!(matches!(late, Err(LogError::Fenced { .. })), "{manner:?}");
            drop(old);
            assert_eq!(bed.found().await, [2], "{manner:?}");
            assert_eq!(bed.found().await, [2], "{manner:?}, again");
        });
    }
}

#[test]
fn an_epoch_begun_and_never_written_is_passed_over() {
    for manner in BOTH {
        paused().block_on(async {
            let bed = Bed::new(manner).await;
            let mut old = open(&bed.server("the old one"), SEGMENT).await.unwrap();
            bed.faulty.add(late(Verb::Put, "seg/00000002/00000000", 60));
            let (seq, _) = commit(&mut old.writer, 1, 100).unwrap();
            let killed = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(open(&bed.server("killed at once"), SEGMENT).await.unwrap());
            };
            // Not acknowledged, and there all the same: nobody has built on its absence.
            let (late, ()) = tokio::join!(old.log.sync(seq, SyncMode::Inline), killed);
            assert!(matches!(late, Err(LogError::Fenced { .. })));
            drop(old);
            let mut new = open(&bed.server("the new one"), SEGMENT).await.unwrap();
            assert_eq!(numbers(&new.records), [1], "{manner:?}");
            acknowledged(&mut new, 2).await;
            drop(new);
            assert_eq!(bed.found().await, [1, 2], "{manner:?}");
        });
    }
}

/// A server that opens, commits and syncs at moments that the dice choose; gives what was
/// acknowledged.
async fn contender(config: LogConfig, dice: SeededDice, first: u64) -> Vec<u64> {
    let pause = |most| tokio::time::sleep(Duration::from_millis(dice.below(most)));
    let mut acknowledged = Vec::new();
    // At the same time, or while another waits for its epoch to settle or writes already.
    pause(if dice.chance(500) { 4 } else { 2500 }).await;
    let Ok(mut opened) = open(&config, SEGMENT).await else { return acknowledged };
    for n in first..first + 3 {
        pause(400).await;
        let Ok((seq, _)) = commit(&mut opened.writer, n, 100) else { break };
        if opened.log.sync(seq, SyncMode::Inline).await.is_err() {
            break;
        }
        acknowledged.push(n);
    }
    acknowledged
}

#[test]
fn whoever_contends_what_was_acknowledged_is_there() {
    let (mut both, mut one) = (0, 0);
    for seed in 0..300 {
        let manner = BOTH[usize::from(seed % 2 == 0)];
        paused().block_on(async {
            let bed = Bed::new(manner).await;
            let dice = SeededDice::new(seed);
            let slow = Fault::Delay(Duration::from_millis(1));
            bed.faulty.at_random(seed, 500, &[slow], &[Verb::Get, Verb::Head, Verb::List]);
            let a = contender(bed.server("a"), dice.fork("a"), 100);
            let b = contender(bed.server("b"), dice.fork("b"), 200);
            let c = contender(bed.server("c"), dice.fork("c"), 300);
            let (a, b, c) = tokio::join!(a, b, c);
            bed.faulty.heal();
            let found = bed.found().await;
            let acked = [a, b, c];
            match acked.iter().filter(|acked| !acked.is_empty()).count() {
                0 => {}
                1 => one += 1,
                _ => both += 1,
            }
            for n in acked.iter().flatten() {
                assert!(found.contains(n), "seed {seed}, {manner:?}: {acked:?}, found {found:?}");
            }
        });
    }
    // Otherwise nothing was contended for.
    assert!(one > 50 && both > 20, "{one} {both}");
}

#[test]
fn a_store_at_rest_is_asked_nothing_and_a_sync_costs_one_put_and_two_looks() {
    paused().block_on(async {
        let bed = Bed::new(Manner::CheckThenAct).await;
        let mut opened = open(&bed.config, SEGMENT).await.unwrap();
        let (seq, _) = commit(&mut opened.writer, 1, 100).unwrap();
        let before = bed.faulty.calls();
        opened.log.sync(seq, SyncMode::Inline).await.unwrap();
        // The put, the reading back of what a store that does not attest holds, the two looks.
        assert!(bed.faulty.calls() - before <= 4, "{}", bed.faulty.calls() - before);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = bed.faulty.calls();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(bed.faulty.calls(), before);
        assert!(bed.config.store.local_dir().is_none());
    });
}
