//! A server whose volume another has taken over: it answers nothing that may be old, says who has the
//! volume, and ends with an error. (The ordeal `take-over` does this to stopped servers under load.)
#![allow(clippy::unwrap_used)] // tests

use std::path::Path;

use esker_tests::{
    nfsclient::{Status, proc::FILE_SYNC},
    server::{Esker, Setup},
};

fn other(first: &Esker, work: &Path) -> Esker {
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let setup = Setup { args: vec!["--take-over".into()], ..Setup::default() };
    let work = work.join("second");
    std::fs::create_dir(&work).unwrap();
    Esker::start_at(&first.dir, &work, &setup, (port(), port())).unwrap()
}

#[test]
fn it_answers_neither_writes_nor_reads_and_says_who_has_the_volume() {
    let work = tempfile::tempdir().unwrap();
    let first = Esker::start(work.path(), &Setup::default()).unwrap();
    let root = first.mount("/").unwrap();
    let mut old = first.root_client().unwrap();
    let file = old.create(&root, "file", 0o644).unwrap();
    assert!(old.write(&file, 0, FILE_SYNC, b"before").unwrap().status.ok());
    assert_eq!(first.healthz().unwrap(), (200, "ok\n".into()));

    let second = other(&first, work.path());
    let mut new = second.root_client().unwrap();
    assert!(new.write(&file, 0, FILE_SYNC, b"behind").unwrap().status.ok());

    // Until it meets the other's mark it does not know; a sync looks before it is answered.
    assert_eq!(old.write(&file, 0, FILE_SYNC, b"denied").unwrap().status, Status::IO);
    assert_eq!(old.read(&file, 0, 6).unwrap().status, Status::IO);
    assert_eq!(old.lookup(&root, "file").unwrap().status, Status::IO);
    assert_eq!(
        old.create(&root, "more", 0o644).map_err(|e| e.to_string()),
        Err("refused: IO".into())
    );
    let (status, said) = first.healthz().unwrap();
    assert!(status == 503 && said.contains(&format!("pid {}", second.pid())), "{status} {said}");
    assert!(!first.stop().unwrap().success());

    assert_eq!(new.read(&file, 0, 6).unwrap().data, b"behind");
    assert!(!new.lookup(&root, "more").unwrap().status.ok());
    assert!(second.stop().unwrap().success());
}
