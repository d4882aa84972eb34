//! The client library, the commands on files and libesker against the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod commands;
mod kills;
mod native;

use std::path::{Path, PathBuf};

use esker_tests::server::{Esker, Setup};

/// A server with an RPC socket.
struct House {
    server: Esker,
    work: tempfile::TempDir,
}

impl House {
    fn start() -> Self {
        let work = tempfile::tempdir().unwrap();
        let address = address(work.path());
        let args = vec!["--rpc".to_owned(), address];
        let server = Esker::start(work.path(), &Setup { args, ..Setup::default() }).unwrap();
        Self { server, work }
    }

    fn address(&self) -> String {
        address(self.work.path())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }
}

fn address(work: &Path) -> String {
    format!("unix:{}", work.join("rpc.sock").display())
}
