//! What `esker serve` says when it will not serve.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests
use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

fn esker(store: &Path, nfs: u16, admin: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_esker"));
    command.args(["serve", store.to_str().unwrap(), "--memory", "64MiB"]);
    command.args(["--nfs", &format!("127.0.0.1:{nfs}"), "--admin", &format!("127.0.0.1:{admin}")]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Two ports that were free a moment ago.
fn ports() -> (u16, u16) {
    let port = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (a, b) = (port(), port());
    (a.local_addr().unwrap().port(), b.local_addr().unwrap().port())
}

/// A running server, killed when dropped.
struct Running(Child);

impl Running {
    fn start(store: &Path, nfs: u16, admin: u16) -> Self {
        let mut child = esker(store, nfs, admin).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("esker serves"), "{line:?}");
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn refusal(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_second_server_is_told_who_holds_the_volume_whatever_its_ports() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("v");
    let (nfs, admin) = ports();
    let first = Running::start(&store, nfs, admin);
    let holder = format!("pid {}", first.0.id());
    let (other_nfs, other_admin) = ports();
    for (nfs, admin) in [(nfs, admin), (other_nfs, other_admin)] {
        let said = refusal(&mut esker(&store, nfs, admin));
        assert!(said.contains(&holder) && said.contains("--take-over"), "{said}");
    }
}

#[test]
fn a_port_in_use_is_named_and_the_volume_is_closed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("v");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (free, admin) = ports();
    let nfs = taken.local_addr().unwrap().port();
    let said = refusal(&mut esker(&store, nfs, admin));
    assert!(said.contains(&format!("nfs on 127.0.0.1:{nfs}")), "{said}");
    drop(Running::start(&store, free, admin));
}

#[test]
fn a_directory_with_something_else_in_it_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("my thesis.txt"), "do not touch").unwrap();
    let (nfs, admin) = ports();
    let said = refusal(&mut esker(dir.path(), nfs, admin));
    assert!(said.contains("my thesis.txt"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn another_address_than_loopback_needs_an_export_rule() {
    let dir = tempfile::tempdir().unwrap();
    let (nfs, admin) = ports();
    let mut command = Command::new(env!("CARGO_BIN_EXE_esker"));
    command.args(["serve", dir.path().join("v").to_str().unwrap()]);
    command.args(["--nfs", &format!("0.0.0.0:{nfs}"), "--admin", &format!("127.0.0.1:{admin}")]);
    let said = refusal(&mut command);
    assert!(said.contains("export"), "{said}");
}
