//! R1 and R2 on a store that fences: several uploads of an old writer are under way when its epoch
//! is ended.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use logseg::{LogConfig, LogError, SyncMode};
use swiftclient::{
    Faulty, Memory, Verb,
    disk::{Disk, SimDisk},
    faulty::{Fault, Rule},
    seam::Env,
};

use crate::{
    crash::paused,
    world::{Opened, commit, header, numbers, objects, open},
};

const SEGMENT: u64 = 64 << 10;

async fn bed() -> (LogConfig, Faulty) {
    let env = Env::simulated(1);
    let faulty = Faulty::new(Arc::new(Memory::new()));
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let mut config = crate::world::config(&disk, "/unused", &env).unwrap();
    config.store = Arc::new(faulty.clone());
    config.journal = None;
    config.inline_only = true;
    logseg::Recovery::format(&config, &header(SEGMENT)).await.unwrap();
    (config, faulty)
}

fn server(config: &LogConfig, name: &str) -> LogConfig {
    LogConfig { holder: name.to_owned(), ..config.clone() }
}

async fn acknowledged(server: &mut Opened, n: u64) {
    let (seq, _) = commit(&mut server.writer, n, 100).unwrap();
    server.log.sync(seq, SyncMode::Inline).await.unwrap();
}

/// The first of three uploads stalls, the two behind it land: what they hold was never acknowledged,
/// it is void behind the seal, and the new writer's names are others, so that nothing of it stands in
/// the new writer's way. The stalled one lands last and finds the seal.
#[test]
fn uploads_that_land_behind_the_seal_are_void_and_in_nobodys_way() {
    paused().block_on(async {
        let (config, faulty) = bed().await;
        let mut old = open(&server(&config, "the old one"), SEGMENT).await.unwrap();
        acknowledged(&mut old, 1).await;
        let late = Fault::Delay(Duration::from_secs(60));
        faulty.add(Rule::nth(0, late).of(Verb::Put).at("seg/00000002/00000001"));
        let mut seq = old.log.last_seq();
        for n in [2, 3, 4] {
            seq = commit(&mut old.writer, n, 100).unwrap().0;
            old.writer.roll().unwrap();
        }
        let log = old.log.clone();
        let mut waits = Box::pin(log.sync(seq, SyncMode::Inline));
        let acked = tokio::time::timeout(Duration::from_secs(5), &mut waits).await;
        assert!(acked.is_err(), "acknowledged with a gap before it");
        let names = objects(&faulty).await;
        let stands = |n: &str| names.iter().any(|name| name == &format!("seg/00000002/{n}"));
        assert!(stands("00000002") && stands("00000003") && !stands("00000001"), "{names:?}");

        let mut new = open(&server(&config, "the new one"), SEGMENT).await.unwrap();
        assert_eq!(numbers(&new.records), [1]);
        acknowledged(&mut new, 5).await;
        acknowledged(&mut new, 6).await;
        match waits.await {
            Err(LogError::Fenced { holder }) => assert_eq!(holder, "the new one"),
            other => panic!("the old one goes on: {:?}", other.err()),
        }
        acknowledged(&mut new, 7).await;
        drop((old, log, new));
        for _ in 0..2 {
            let found = open(&server(&config, "the last"), SEGMENT).await.unwrap();
            assert_eq!(numbers(&found.records), [1, 5, 6, 7]);
        }
    });
}

/// A side segment finds no seal in its way: who was overruled and stopped for a long time would put
/// one that nobody sweeps any more, the epoch having been swept as often as it will be.
#[test]
fn an_overruled_writer_puts_nothing_beside_the_chain() {
    paused().block_on(async {
        let (config, faulty) = bed().await;
        let mut old = open(&server(&config, "the old one"), SEGMENT).await.unwrap();
        acknowledged(&mut old, 1).await;
        // Its side ids are reserved, so that nothing of the chain stands between it and a put.
        let mut side = old.log.side_writer().await.unwrap();
        side.page(b"a page").await.unwrap();
        side.finish().await.unwrap();
        let sides = |names: Vec<String>| names.iter().filter(|n| n.starts_with("side/")).count();
        assert_eq!(sides(objects(&faulty).await), 1);
        let new = open(&server(&config, "the new one"), SEGMENT).await.unwrap();
        match old.log.side_writer().await.map(drop) {
            Err(LogError::Fenced { holder }) => assert_eq!(holder, "the new one"),
            other => panic!("{:?}", other.err()),
        }
        assert_eq!(sides(objects(&faulty).await), 1);
        // And knows it from now on.
        assert!(commit(&mut old.writer, 2, 100).is_err());
        new.log.side_writer().await.map(drop).unwrap();
    });
}
