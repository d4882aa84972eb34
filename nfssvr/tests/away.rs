//! The store is away, or full: what a client of the real server sees (issue: patience).
#![allow(clippy::unwrap_used)]

mod at;

use std::{sync::Arc, time::Duration};

use at::{At, clock, config, pause};
use esker_tests::nfsclient::{Client, Fh, Status, proc::*};
use fs::Volume;
use headhunter::{Index, IndexConfig};
use logseg::{LogConfig, Recovery, VolumeHeader};
use nfssvr::{Limits, ServerConfig};
use swiftclient::{
    ErrorKind, Faulty, Memory, ObjectStore, Retrying, Verb,
    disk::{Disk, SimDisk},
    faulty::{Fault, Rule},
    retrying::Policy,
    seam::Env,
};

/// How long a call is held before it is put off: 10 s for an operator, shrunk here.
const BEGIN: Duration = Duration::from_millis(300);
/// One write of a client.
const PIECE: usize = 64 << 10;
const PIECE_U32: u32 = 64 << 10;

struct World {
    faulty: Faulty,
    memory: Memory,
    index: Index,
    pool: tokio::runtime::Runtime,
    at: At,
    top: Fh,
}

/// A network store with its journal on a simulated disk, `budget` dirty bytes at most.
fn world(budget: u64) -> World {
    let pool =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let env = Env::real();
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let memory = Memory::new().on_disk(disk.clone()).quota(u64::MAX / 2);
    let faulty = Faulty::new(Arc::new(memory.clone())).on_disk(disk.clone());
    let policy = Policy {
        attempt: Some(Duration::from_millis(200)),
        budget: Duration::from_millis(500),
        longest: Duration::from_millis(50),
        ..Policy::default()
    };
    let store = Retrying::new(Arc::new(faulty.clone()), policy, &env).on_disk(disk.clone());
    let log = LogConfig {
        store: Arc::new(store),
        disk,
        env,
        journal: Some("/journal".into()),
        pool: pool.handle().clone(),
        cache_bytes: 2 << 20,
        unsynced_bytes: 32 << 20,
        holder: "test".into(),
        take_over: false,
        abandon_journal: false,
        key: None,
        inline_only: false,
        destage: logseg::DestageConfig {
            budget_bytes: budget,
            ballast_bytes: 4 << 20,
            ..logseg::DestageConfig::default()
        },
        disk_cache: None,
    };
    let header = VolumeHeader {
        uuid: [3; 16],
        segment_bytes: 1 << 20,
        fencing: true,
        name_secret: [4; 16],
        handle_key: [5; 32],
        wrapped_key: None,
    };
    let (index, volume) = pool.block_on(async {
        Recovery::format(&log, &header).await.unwrap();
        let index = Index::open(IndexConfig::new(log, header, 64 << 20)).await.unwrap();
        let volume = Volume::open(index.clone(), (0, 0)).await.unwrap();
        (index, volume)
    });
    let limits = Limits { begin: BEGIN, ..Limits::default() };
    let at = At::over(ServerConfig { reactors: Some(1), limits, ..config() }, volume);
    let top = at.top("/");
    World { faulty, memory, index, pool, at, top }
}

impl World {
    fn gone(&self, fault: Fault) {
        self.faulty.add(Rule::always(fault));
    }

    /// Everything stored, or the test fails.
    fn drained(&self) {
        let until = clock() + Duration::from_secs(20);
        while self.index.log_status().destage.dirty_bytes > 0 {
            assert!(clock() < until, "{:?}", self.index.log_status());
            pause(20);
        }
    }
}

fn bytes(n: usize) -> Vec<u8> {
    (0..PIECE).map(|i| (i * 7 + n * 31 + i / 251).to_le_bytes()[0]).collect()
}

/// Writes pieces until one is put off; gives how many were taken.
fn write_until_put_off(c: &mut Client, file: &Fh, from: usize) -> usize {
    for n in from..1000 {
        let wrote = c.write(file, (n * PIECE) as u64, UNSTABLE, &bytes(n)).unwrap();
        match wrote.status {
            Status::OK => {}
            Status::JUKEBOX => return n,
            other => panic!("{other:?} for piece {n}"),
        }
    }
    panic!("a thousand writes into a journal of 8 MiB");
}

#[test]
fn writes_go_into_the_journal_until_its_budget_then_are_put_off_and_all_drains_by_itself() {
    for fault in [Fault::Refuse(ErrorKind::Unavailable), Fault::Hang] {
        let w = world(8 << 20);
        let mut c = w.at.root();
        let file = c.create(&w.top, "f", 0o644).unwrap();
        w.gone(fault);
        let taken = write_until_put_off(&mut c, &file, 0);
        // From 60 % of it on they are slowed, at the whole they stop.
        assert!((70..=128).contains(&taken), "{taken} pieces of 64 KiB in 8 MiB");
        // What the journal promises it keeps: COMMIT is no matter of the store.
        assert!(c.commit(&file).unwrap().status.ok());
        // What caches can answer is answered, on the same connection and on others.
        assert_eq!(
            c.read(&file, ((taken - 1) * PIECE) as u64, 4).unwrap().data,
            bytes(taken - 1)[..4]
        );
        assert_eq!(w.at.root().attr(&file).unwrap().size, (taken * PIECE) as u64);
        // The socket goes on being read: calls behind one that is held are answered before it.
        let held =
            c.send(&Write { fh: &file, offset: 0, stable: UNSTABLE, data: &bytes(0) }).unwrap();
        let after = c.send(&Getattr(&file)).unwrap();
        assert!(c.recv::<Getattr<'_>>(after).unwrap().status.ok());
        assert_eq!(c.recv::<Write<'_>>(held).unwrap().status, Status::JUKEBOX);
        w.faulty.heal();
        w.drained();
        // The client asks again, as its JUKEBOX told it.
        assert!(
            c.write(&file, (taken * PIECE) as u64, FILE_SYNC, &bytes(taken)).unwrap().status.ok()
        );
        for n in [0, taken / 2, taken] {
            let read = c.read(&file, (n * PIECE) as u64, PIECE_U32).unwrap();
            assert!(read.data == bytes(n), "piece {n}");
        }
        assert!(w.index.log_status().failure.is_none());
        w.pool.block_on(w.index.close()).unwrap();
    }
}

#[test]
fn a_read_that_only_the_store_can_answer_is_put_off_and_answered_when_it_is_back() {
    for fault in [Fault::Hang, Fault::Refuse(ErrorKind::Unavailable)] {
        let w = world(64 << 20);
        let mut c = w.at.root();
        let file = c.create(&w.top, "f", 0o644).unwrap();
        // More than the cache of frames holds.
        for n in 0..64 {
            assert!(c.write(&file, (n * PIECE) as u64, UNSTABLE, &bytes(n)).unwrap().status.ok());
        }
        assert!(c.commit(&file).unwrap().status.ok());
        w.pool.block_on(w.index.flush_through(w.index.last_seq())).unwrap();
        w.drained();
        w.faulty.add(Rule::always(fault).of(Verb::Get));
        let began = clock();
        let put_off = c.read(&file, 0, PIECE_U32).unwrap();
        match fault {
            Fault::Hang => {
                assert_eq!(put_off.status, Status::JUKEBOX);
                assert!(clock() - began >= BEGIN - Duration::from_millis(50));
            }
            _ => assert_ne!(put_off.status, Status::OK),
        }
        // Nobody else waits for it; changes are the journal's.
        assert!(c.attr(&file).is_ok());
        let made = c.create(&w.top, "g", 0o644).unwrap();
        assert!(c.write(&made, 0, FILE_SYNC, b"new").unwrap().status.ok());
        w.faulty.heal();
        let until = clock() + Duration::from_secs(10);
        loop {
            let read = c.read(&file, 0, PIECE_U32).unwrap();
            if read.status.ok() {
                assert!(read.data == bytes(0));
                break;
            }
            assert!(clock() < until, "{:?}", read.status);
        }
    }
}

#[test]
fn a_full_store_is_enospc_for_who_writes_and_removing_files_makes_room() {
    let w = world(8 << 20);
    let mut c = w.at.root();
    w.memory.set_limit(Some(24 << 20));
    let mut files = Vec::new();
    let said = 'full: loop {
        let name = format!("f{}", files.len());
        let file = match c.create(&w.top, &name, 0o644) {
            Ok(file) => file,
            Err(_) => break Status::NOSPC,
        };
        files.push(name);
        for n in 0..16 {
            let status = c.write(&file, (n * PIECE) as u64, UNSTABLE, &bytes(n)).unwrap().status;
            match status {
                Status::OK | Status::JUKEBOX => {}
                other => break 'full other,
            }
        }
        assert!(c.commit(&file).unwrap().status.ok(), "never on COMMIT");
        assert!(files.len() < 100, "24 MiB hold no 100 MiB");
    };
    assert_eq!(said, Status::NOSPC);
    let first = c.walk(&w.top, "f0").unwrap();
    assert!(c.commit(&first).unwrap().status.ok());
    assert!(c.read(&first, 0, PIECE_U32).unwrap().data == bytes(0), "reading goes on");
    for name in &files {
        assert!(c.remove(&w.top, name).unwrap().0.ok(), "removing goes on");
    }
    let until = clock() + Duration::from_secs(60);
    while c.create(&w.top, "again", 0o644).is_err() {
        assert!(clock() < until, "no room: {:?}, {} used", w.index.log_status(), w.memory.used());
        pause(100);
    }
    assert!(w.memory.capacity().is_none(), "it never told");
}
