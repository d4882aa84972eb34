//! What an operator's tools say of a volume, and that they leave it alone.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // tests
#[allow(dead_code)] // each test program uses its part
mod lab;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use lab::{Running, ports, program, refusal};
use serde_json::Value;

/// Every file below, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => todo.push(entry.path()),
                false => _ = found.insert(entry.path(), std::fs::read(entry.path()).unwrap()),
            }
        }
    }
    found
}

fn esker(words: &[&str]) -> Command {
    let mut command = program();
    command.args(words);
    command
}

/// What a command prints, and its status.
fn said(words: &[&str]) -> (String, Option<i32>) {
    let Output { status, stdout, stderr } = esker(words).output().unwrap();
    let text = String::from_utf8(stdout).unwrap() + &String::from_utf8_lossy(&stderr);
    (text, status.code())
}

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// An empty volume, closed.
    fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        assert_eq!(said(&["format", &lab.store()]).1, Some(0));
        lab
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("v")
    }

    fn store(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    fn flip(&self, name: &str, at: usize) {
        let path = self.path().join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 0x20;
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_served_volume_is_checked_by_its_server_only() {
    let lab = Lab::new();
    let (nfs, admin) = ports();
    let server = Running::start(&mut lab::serve(&lab.store(), (nfs, admin)));
    let before = files(&lab.path());
    for words in [&["check"][..], &["check", "--data"], &["rebuild"]] {
        let store = lab.store();
        let words: Vec<&str> = words.iter().copied().chain([store.as_str()]).collect();
        let text = refusal(&mut esker(&words));
        assert!(text.contains(&format!("pid {}", server.child.id())), "{words:?}: {text}");
    }
    assert!(files(&lab.path()) == before, "a refused look has changed something");
    let address = format!("127.0.0.1:{admin}");
    let (text, code) = said(&["check", "--data", "--json", "--admin", &address]);
    assert_eq!(code, Some(0), "{text}");
    let outcome: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&outcome["inodes"], &outcome["findings"]), (&1.into(), &Value::Array(vec![])));
    assert!(outcome["objects"].as_u64().unwrap() > 5, "{text}");
    drop(server);
    // After a kill it is there to be looked at, with its journal; nothing changes by that.
    let before = files(&lab.path());
    let (text, code) = said(&["check", "--data", &lab.store()]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 inodes, 0 entries, 0 extents, 0 findings"), "{text}");
    let (text, code) = said(&["dump", &lab.store(), "/"]);
    assert!(code == Some(0) && text.contains("inode 1 (generation"), "{text}");
    assert!(files(&lab.path()) == before, "a look has changed something");
    let (text, _) = said(&["dump", &lab.store(), "/not/there"]);
    assert!(text.contains("no such file"), "{text}");
}

#[test]
fn damage_is_found_named_and_read_past() {
    let lab = Lab::new();
    // The body of the first record: header 256, entry header 64.
    let name = "seg/00000002/00000000";
    lab.flip(name, 256 + 64 + 9);
    let (text, code) = said(&["check", "--data", &lab.store()]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("{name}: damaged at byte 256: the body's checksum")), "{text}");
    let (text, code) = said(&["inspect", "segment", &lab.store(), name]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("DAMAGED at byte 256"), "{text}");
    assert!(text.contains("1 writes") && text.contains("footer"), "reading went on: {text}");
    // Its header: the footer's last bytes still tell how to read it.
    lab.flip(name, 40);
    let (text, code) = said(&["inspect", "segment", &lab.store(), name, "--json"]);
    assert_eq!(code, Some(1), "{text}");
    let shown: Value = serde_json::from_str(&text).unwrap();
    assert!(shown["header"]["damaged"].is_string(), "{text}");
    assert_eq!(shown["entries"].as_array().unwrap().len(), 3, "{text}");
    let (text, code) =
        said(&["inspect", "page", &lab.store(), "side/00000002/00000000", "--offset", "256"]);
    assert!(code == Some(0) && text.contains("inode 1: Directory, mode 0755"), "{text}");
    let (text, code) = said(&["inspect", "checkpoint", &lab.store()]);
    assert!(code == Some(0) && text.contains("replay_start seg(2,1)"), "{text}");
    let journal = lab.path().join("journal");
    let (text, code) = said(&["inspect", "journal", journal.to_str().unwrap()]);
    assert!(code == Some(0) && text.contains("identity, journal"), "{text}");
}

#[test]
fn a_volume_without_checkpoints_is_rebuilt_when_asked() {
    let lab = Lab::new();
    for _ in 0..3 {
        let (nfs, admin) = ports();
        let mut server = Running::start(&mut lab::serve(&lab.store(), (nfs, admin)));
        let term = Command::new("kill").arg(server.child.id().to_string()).status().unwrap();
        assert!(term.success() && server.child.wait().unwrap().success());
    }
    let (text, code) = said(&["rebuild", &lab.store()]);
    assert!(code == Some(0) && text.contains("nothing to rebuild"), "{text}");
    std::fs::remove_dir_all(lab.path().join("ckpt")).unwrap();
    let before = files(&lab.path());
    let (nfs, admin) = ports();
    let (text, code) = said(&["rebuild", &lab.store()]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("nothing was written; with --write"), "{text}");
    assert!(files(&lab.path()) == before, "it has written unasked");
    let text = refusal(&mut lab::serve(&lab.store(), (nfs, admin)));
    assert!(text.contains("esker rebuild"), "{text}");
    let (text, code) = said(&["rebuild", "--write", &lab.store()]);
    assert!(code == Some(0) && text.contains("rebuilt: 1 inodes"), "{text}");
    let (text, code) = said(&["check", "--data", &lab.store()]);
    assert_eq!(code, Some(0), "{text}");
    drop(Running::start(&mut lab::serve(&lab.store(), (nfs, admin))));
}
