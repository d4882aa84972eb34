//! What Linux clients rely on, asked by a raw client of the real binary: one row of the list of
//! client behaviours after the other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod dirs;
mod errors;
mod files;
mod large;
mod mounts;
mod repeats;
mod rpc;
mod wcc;

use esker_tests::nfsclient::{Client, Fh};
use esker_tests::server::{Esker, Setup};
use tempfile::TempDir;

/// A server of a test's own.
pub(crate) struct Lab {
    pub(crate) server: Esker,
    pub(crate) root: Fh,
    _work: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(&Setup::default())
    }
    /// Metadata need not be durable: for tests of many calls whose subject is not durability.
    pub(crate) fn fast() -> Self {
        Self::with(&Setup::exporting(&["/ 127.0.0.0/8(rw,async,no_root_squash)"]))
    }
    pub(crate) fn with(setup: &Setup) -> Self {
        let work = tempfile::tempdir().unwrap();
        let server = Esker::start(work.path(), setup).unwrap();
        server.prove_ours().unwrap();
        let root = server.mount("/").unwrap();
        Self { server, root, _work: work }
    }
    pub(crate) fn client(&self) -> Client {
        self.server.root_client().unwrap()
    }
    pub(crate) fn user(&self, uid: u32) -> Client {
        Client::user(self.server.nfs, uid, uid, &[]).unwrap()
    }
}

/// A call whose status must be OK.
macro_rules! fine {
    ($e:expr) => {{
        let r = $e.unwrap();
        assert!(r.status.ok(), "{}: {:?}", stringify!($e), r.status);
        r
    }};
}
/// A call whose status must be one of these.
macro_rules! refused {
    ($e:expr, $($s:ident)|+) => {{
        let r = $e.unwrap();
        let allowed = [$(esker_tests::nfsclient::Status::$s),+];
        assert!(allowed.contains(&r.status), "{}: {:?}, not of {allowed:?}", stringify!($e), r.status);
        r
    }};
}
pub(crate) use {fine, refused};
