//! `esker ls`, `cat`, `stat`, `mkdir`, `rm`, `put`, `get`.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    process::{Command, Output, Stdio},
};

use esker_tests::server::binary;

use crate::House;

fn run(house: &House, words: &[&str]) -> Output {
    let mut command = Command::new(binary().unwrap());
    command.arg(words[0]).args(["--rpc", &house.address()]).args(&words[1..]);
    command.stdin(Stdio::null()).output().unwrap()
}

/// Standard output of a command that must go well.
fn good(house: &House, words: &[&str]) -> String {
    let out = run(house, words);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words:?}: {errors}");
    assert_eq!(errors, "", "{words:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// Standard error of a command that must fail, with exit code 1.
fn bad(house: &House, words: &[&str]) -> String {
    let out = run(house, words);
    assert_eq!(out.status.code(), Some(1), "{words:?}");
    String::from_utf8(out.stderr).unwrap()
}

#[test]
fn files_go_there_and_come_back() {
    let house = House::start();
    let tree = house.path("tree");
    fs::create_dir_all(tree.join("sub/empty")).unwrap();
    // Longer than all requests that are under way at once, and no multiple of one.
    let large: Vec<u8> =
        (0..9_000_001u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(tree.join("large"), &large).unwrap();
    fs::write(tree.join("sub/nothing"), b"").unwrap();
    fs::write(tree.join("sub/run me"), b"#!/bin/sh\n").unwrap();
    fs::set_permissions(tree.join("sub/run me"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../large", tree.join("sub/link")).unwrap();
    let tree = tree.to_str().unwrap().to_owned();
    let back = house.path("back").to_str().unwrap().to_owned();

    good(&house, &["mkdir", "-p", "/a/b"]);
    good(&house, &["mkdir", "-p", "/a/b"]);
    good(&house, &["put", "-r", &tree, "/a/b"]);
    assert_eq!(good(&house, &["ls", "/a/b/tree"]).lines().count(), 2);
    let long = good(&house, &["ls", "-l", "/a/b/tree/sub"]);
    let line = |name: &str| long.lines().find(|l| l.ends_with(name)).unwrap().to_owned();
    assert!(line("run me").starts_with("-rwx") && line("link").starts_with('l'), "{long}");
    assert!(good(&house, &["stat", "/a/b/tree/large"]).contains("size   9000001\n"));
    assert_eq!(good(&house, &["cat", "/a/b/tree/sub/run me"]), "#!/bin/sh\n");

    good(&house, &["get", "-r", "/a/b/tree", &back]);
    let diff =
        Command::new("diff").args(["-r", "--no-dereference", &tree, &back]).output().unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    assert_eq!(
        fs::metadata(format!("{back}/sub/run me")).unwrap().permissions().mode() & 0o111,
        0o111
    );

    // Put over what is longer leaves nothing of it.
    good(&house, &["put", &format!("{tree}/sub/run me"), "/a/b/tree/large"]);
    assert_eq!(good(&house, &["cat", "/a/b/tree/large"]), "#!/bin/sh\n");
    good(&house, &["rm", "-r", "/a"]);
    assert_eq!(good(&house, &["ls"]), "");
}

#[test]
fn standard_input_is_put() {
    let house = House::start();
    let mut child = Command::new(binary().unwrap())
        .args(["put", "--rpc", &house.address(), "-", "/in"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"said\n").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(good(&house, &["cat", "/in"]), "said\n");
}

#[test]
fn what_goes_wrong_is_said_and_the_rest_is_done() {
    let house = House::start();
    let file = house.path("file").to_str().unwrap().to_owned();
    fs::write(&file, b"x").unwrap();
    good(&house, &["mkdir", "/d"]);
    good(&house, &["put", &file, "/d"]);
    assert!(bad(&house, &["mkdir", "/d"]).contains("/d: File exists"));
    assert!(bad(&house, &["rm", "/none"]).contains("/none: No such file"));
    good(&house, &["rm", "-f", "/none"]);
    assert!(bad(&house, &["rm", "/d"]).contains("--recursive"));
    assert!(bad(&house, &["rm", "-r", "/"]).contains("root"));
    assert!(bad(&house, &["cat", "/d"]).contains("/d: no file"));
    assert!(bad(&house, &["put", &file, "/x/y"]).contains("/x/y: No such file"));
    assert!(bad(&house, &["get", "/d", &format!("{file}.2")]).contains("--recursive"));
    // One of two.
    assert!(bad(&house, &["rm", "/none", "/d/file"]).contains("/none"));
    assert_eq!(good(&house, &["ls", "/d"]), "");
    // The command line, and a server that is none.
    let out = Command::new(binary().unwrap()).arg("rm").output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    let nowhere = format!("unix:{}", house.path("nowhere").display());
    let words = ["ls", "--rpc", &nowhere, "--patience", "1ms"];
    let out = Command::new(binary().unwrap()).args(words).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("nowhere"));
}
