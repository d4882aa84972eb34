//! What `esker serve` says when it will not serve.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests
#[allow(dead_code)] // each test program uses its part
mod lab;

use std::{net::TcpListener, path::Path, process::Command};

use lab::{Running, ports, refusal};

fn esker(store: &Path, nfs: u16, admin: u16) -> Command {
    lab::serve(store.to_str().unwrap(), (nfs, admin))
}

#[test]
fn a_second_server_is_told_who_holds_the_volume_whatever_its_ports() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("v");
    let (nfs, admin) = ports();
    let first = Running::start(&mut esker(&store, nfs, admin));
    let holder = format!("pid {}", first.child.id());
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
    drop(Running::start(&mut esker(&store, free, admin)));
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
    let mut command = lab::program();
    command.args(["serve", dir.path().join("v").to_str().unwrap()]);
    command.args(["--nfs", &format!("0.0.0.0:{nfs}"), "--admin", &format!("127.0.0.1:{admin}")]);
    let said = refusal(&mut command);
    assert!(said.contains("export"), "{said}");
}
