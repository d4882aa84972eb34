//! A volume in memory, and futures that must be ready at their first poll.
#![allow(dead_code, clippy::unwrap_used, missing_docs)] // tests; each binary uses a part

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as Poll, Poll as State, Waker},
    time::Duration,
};

use bytes::Bytes;
use fs::*;
use headhunter::Index;
use swiftclient::seam::{Clock, Env};

/// The result of a future that may not wait.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Poll::from_waker(Waker::noop())) {
        State::Ready(value) => value,
        State::Pending => panic!("waits although everything is in memory"),
    }
}

/// A clock that stands wherever the test puts it.
#[derive(Default)]
pub struct TestClock {
    pub nanos: AtomicU64,
}

impl Clock for TestClock {
    fn wall(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
    fn monotonic(&self) -> Duration {
        self.wall()
    }
}

/// A volume on the index in memory.
pub struct At {
    pub v: Volume,
    pub clock: Arc<TestClock>,
    pub index: Index,
}

pub fn volume() -> At {
    tuned(Tuning::default())
}

pub fn tuned(tuning: Tuning) -> At {
    let clock = Arc::new(TestClock::default());
    clock.nanos.store(1_700_000_000_000_000_000, Ordering::Relaxed);
    let env = Env { clock: clock.clone(), ..Env::real() };
    let index = Index::in_memory(env);
    let v = now(Volume::open_tuned(index.clone(), (0, 0), tuning)).unwrap();
    At { v, clock, index }
}

pub fn who(uid: u32, gid: u32, groups: &[u32]) -> Context {
    let caller = Caller { uid, gid, groups: groups.to_vec(), owner_override: true };
    Context { caller, request: None }
}

pub fn root() -> Context {
    who(0, 0, &[])
}

pub fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

pub fn size(size: u64) -> SetAttributes {
    SetAttributes { size: Some(size), ..SetAttributes::default() }
}

impl At {
    pub fn mkdir(&self, cx: &Context, dir: FileId, name: &str, m: u32) -> FileId {
        now(self.v.mkdir(cx, dir, name.as_bytes(), mode(m))).unwrap().object.id
    }
    pub fn create(&self, cx: &Context, dir: FileId, name: &str, m: u32) -> FileId {
        let how = CreateHow::Guarded(mode(m));
        now(self.v.create(cx, dir, name.as_bytes(), how)).unwrap().object.id
    }
    pub fn write(&self, id: FileId, offset: u64, data: &[u8]) {
        now(self.v.write(&root(), id, offset, Bytes::copy_from_slice(data))).unwrap();
    }
    pub fn read(&self, id: FileId, offset: u64, count: u32) -> Vec<u8> {
        let data = now(self.v.read(&root().caller, id, offset, count)).unwrap();
        let bytes = data.pieces.concat();
        assert_eq!(bytes.len(), data.len as usize);
        assert_eq!(data.eof, offset + u64::from(data.len) >= data.attributes.size);
        bytes
    }
    pub fn attr(&self, id: FileId) -> Attributes {
        now(self.v.getattr(id)).unwrap()
    }
    pub fn set(&self, cx: &Context, id: FileId, set: SetAttributes) -> Result<(), FsError> {
        now(self.v.setattr(cx, id, set, None)).map(drop).map_err(|f| f.error)
    }
    pub fn names(&self, dir: FileId) -> Vec<String> {
        let page = now(self.v.readdir(&root().caller, dir, 2, 100_000, false)).unwrap();
        let mut names: Vec<_> =
            page.entries.iter().map(|e| String::from_utf8_lossy(&e.name).into_owned()).collect();
        names.sort();
        names
    }
    /// The whole volume holds together.
    pub fn sound(&self) -> Report {
        let report = now(self.v.check()).unwrap();
        assert_eq!(report.findings, Vec::<String>::new());
        report
    }
}
