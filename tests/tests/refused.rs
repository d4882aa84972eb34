//! What a server must not open: refused with what and where, and with the option that overrules
//! it where one does; and nothing was changed by the attempt.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use esker_tests::nfsclient::proc::FILE_SYNC;
use esker_tests::server::{Esker, Setup};

/// A volume with some files, its server killed (or stopped in order); gives its directory.
fn volume(work: &Path, name: &str, files: u32, clean: bool) -> PathBuf {
    let place = work.join(name);
    fs::create_dir_all(&place).unwrap();
    let mut server = Esker::start(&place, &Setup::default()).unwrap();
    server.prove_ours().unwrap();
    let root = server.mount("/").unwrap();
    let mut c = server.root_client().unwrap();
    for i in 0..files {
        let fh = c.create(&root, &format!("f{i}"), 0o644).unwrap();
        let w = c.write(&fh, 0, FILE_SYNC, &[u8::try_from(i % 251).unwrap(); 3000]).unwrap();
        assert!(w.status.ok());
    }
    let dir = server.dir.clone();
    if clean {
        assert!(server.stop().unwrap().success());
    } else {
        server.kill().unwrap();
    }
    dir
}

fn try_start(dir: &Path, args: &[&str]) -> Result<Esker, String> {
    let work = tempfile::tempdir().unwrap();
    let args = args.iter().map(ToString::to_string).collect();
    let setup = Setup { args, ..Setup::default() };
    let port = || {
        let l = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        l.local_addr().unwrap().port()
    };
    Esker::start_at(dir, work.path(), &setup, (port(), port())).map_err(|e| e.to_string())
}

/// Starting fails, in words that contain all of these.
fn refused(dir: &Path, args: &[&str], words: &[&str]) {
    let why = try_start(dir, args).map(|_| ()).expect_err("it started");
    for w in words {
        assert!(why.to_lowercase().contains(&w.to_lowercase()), "{w:?} is not in:\n{why}");
    }
    assert!(!why.contains("panicked"), "{why}");
}

fn files_below(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut stack = vec![dir.to_path_buf()];
    while let Some(d) = stack.pop() {
        for e in fs::read_dir(&d).unwrap() {
            let e = e.unwrap();
            if e.file_type().unwrap().is_dir() {
                stack.push(e.path());
            } else {
                all.push((e.path(), fs::read(e.path()).unwrap()));
            }
        }
    }
    all.sort();
    all
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn journal_files(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(dir.join("journal"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.file_name().unwrap().to_string_lossy().contains(".g"))
        .collect();
    all.sort();
    all
}

fn file_count(server: &Esker) -> usize {
    let root = server.mount("/").unwrap();
    server.root_client().unwrap().list(&root, 32_768).unwrap().entries.len() - 2
}

/// A directory that holds something else is left as it is.
#[test]
fn a_foreign_directory() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("home");
    fs::create_dir_all(dir.join("letters")).unwrap();
    fs::write(dir.join("letters/one"), "dear").unwrap();
    fs::write(dir.join("notes"), "mine").unwrap();
    let before = files_below(work.path());
    refused(&dir, &[], &[dir.to_str().unwrap()]);
    assert_eq!(files_below(work.path()), before, "nothing was touched");
    refused(&dir.join("notes"), &[], &["notes"]);
}

/// Another format version, another magic, a damaged byte: three different words, one place.
#[test]
fn the_volume_object() {
    let work = tempfile::tempdir().unwrap();
    let dir = volume(work.path(), "v", 3, true);
    let path = dir.join("volume");
    let good = fs::read(&path).unwrap();
    let mut why = Vec::new();
    for (at, word) in [(8, "version"), (0, "volume"), (60, "volume")] {
        flip(&path, at);
        refused(&dir, &[], &[word]);
        why.push(try_start(&dir, &[]).map(|_| ()).unwrap_err());
        fs::write(&path, &good).unwrap();
    }
    assert!(why[0] != why[1] && why[1] != why[2], "{why:#?}");
    fs::write(&path, &good[..good.len() - 7]).unwrap();
    refused(&dir, &[], &["volume"]);
    fs::write(&path, &good).unwrap();
    assert_eq!(file_count(&try_start(&dir, &[]).unwrap()), 3);
}

/// A volume that was not closed does not open without its journal, unless one says so; one that
/// was closed does.
#[test]
fn a_journal_that_is_missing() {
    let work = tempfile::tempdir().unwrap();
    let dir = volume(work.path(), "v", 20, false);
    let journal = dir.join("journal");
    let away = work.path().join("away");
    fs::rename(&journal, &away).unwrap();
    refused(&dir, &[], &["journal", "--abandon-journal"]);
    if journal.exists() {
        fs::remove_dir_all(&journal).unwrap();
    }
    fs::rename(&away, &journal).unwrap();
    assert_eq!(file_count(&try_start(&dir, &[]).unwrap()), 20, "nothing was sealed meanwhile");

    let dir = volume(work.path(), "w", 20, false);
    fs::remove_dir_all(dir.join("journal")).unwrap();
    let server = try_start(&dir, &["--abandon-journal"]).unwrap();
    assert!(file_count(&server) <= 20);
    drop(server);

    let dir = volume(work.path(), "x", 20, true);
    fs::remove_dir_all(dir.join("journal")).unwrap();
    assert_eq!(file_count(&try_start(&dir, &[]).unwrap()), 20, "closed: the store has all");
}

/// A journal of another volume is named, not replayed and not changed.
#[test]
fn a_journal_of_another_volume() {
    let work = tempfile::tempdir().unwrap();
    let a = volume(work.path(), "a", 5, false);
    let b = volume(work.path(), "b", 7, false);
    let (ja, jb) = (a.join("journal"), b.join("journal"));
    let away = work.path().join("away");
    fs::rename(&ja, &away).unwrap();
    fs::rename(&jb, &ja).unwrap();
    let before: Vec<_> = journal_files(&a).iter().map(|p| fs::read(p).unwrap()).collect();
    refused(&a, &[], &["journal", "volume"]);
    let after: Vec<_> = journal_files(&a).iter().map(|p| fs::read(p).unwrap()).collect();
    assert_eq!(before, after);
    fs::rename(&ja, &jb).unwrap();
    fs::rename(&away, &ja).unwrap();
    assert_eq!(file_count(&try_start(&a, &[]).unwrap()), 5);
    assert_eq!(file_count(&try_start(&b, &[]).unwrap()), 7);
}

/// A byte that was durable has changed: that is damage, named with its place, and no torn tail.
#[test]
fn rotten_bytes_in_the_journal() {
    let work = tempfile::tempdir().unwrap();
    let dir = volume(work.path(), "v", 40, false);
    let file = journal_files(&dir).into_iter().max_by_key(|p| used(p)).unwrap();
    let good = fs::read(&file).unwrap();
    let used = used(&file);
    assert!(used > 100_000, "only {used} bytes in {file:?}");
    let name = file.file_stem().unwrap().to_str().unwrap().to_string();
    let id = name.split_once('-').unwrap().1.trim_start_matches('0').to_string();
    for at in [300, used / 4, used / 2] {
        flip(&file, at);
        let why = try_start(&dir, &[]).map(|_| ()).expect_err("it started on rotten bytes");
        assert!(why.contains(&id), "names segment {name}: {why}");
        fs::write(&file, &good).unwrap();
    }
    assert_eq!(file_count(&try_start(&dir, &[]).unwrap()), 40);
}

/// Length of a journal file up to the zeros at its end.
fn used(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1)
}

/// Wrong words on the command line are answered before anything is touched.
#[test]
fn the_command_line() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("v");
    for (args, word) in [
        (&["--memory", "12"][..], "memory"),
        (&["--export", "/ 10.0.0.0/99(rw)"], "export"),
        (&["--export", "/ *(rw,bogus)"], "bogus"),
        (&["--config", "/nonexistent/esker.toml"], "nonexistent"),
    ] {
        refused(&dir, args, &[word]);
        assert!(!dir.exists(), "{args:?} made {dir:?}");
    }
}
