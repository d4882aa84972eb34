//! A first walk: mount, make, write, commit, read, list.
#![allow(clippy::unwrap_used)]

mod at;

use at::At;
use esker_tests::nfsclient::{Listed, proc::*};

#[test]
fn a_file_goes_in_and_comes_out() {
    let at = At::new();
    let top = at.top("/");
    let mut c = at.root();
    c.call(&Null).unwrap();
    let dir = c.mkdir(&top, "dir", 0o755).unwrap();
    let file = c.create(&dir, "file", 0o640).unwrap();
    let data: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let wrote = c.write(&file, 0, UNSTABLE, &data).unwrap();
    assert_eq!((wrote.status.0, wrote.count), (0, 1_000_000));
    let done = c.commit(&file).unwrap();
    assert_eq!(done.status.0, 0);
    assert_eq!(done.verf, wrote.verf);
    let read = c.read(&file, 0, 1 << 20).unwrap();
    assert!(read.eof && read.data == data, "{} bytes", read.data.len());
    let read = c.read(&file, 999_990, 10).unwrap();
    assert!(read.eof && read.data == data[999_990..]);
    let read = c.read(&file, 5, 10).unwrap();
    assert!(!read.eof && read.data == data[5..15]);
    assert_eq!(c.attr(&file).unwrap().size, 1_000_000);
    let names = |l: Listed| -> Vec<String> {
        l.entries.iter().map(|e| String::from_utf8_lossy(&e.name).into_owned()).collect()
    };
    assert_eq!(names(c.list(&dir, 4096).unwrap()), [".", "..", "file"]);
    let plus = c.list_plus(&dir, 4096).unwrap();
    let entry = plus.entries.iter().find(|e| e.name == b"file").unwrap();
    assert_eq!(entry.fh.as_ref(), Some(&file));
    assert_eq!(entry.attr.as_ref().map(|a| a.size), Some(1_000_000));
    let counters = at.server.counters();
    assert_eq!(counters.calls(nfssvr::Procedure::Write), 1);
    assert!(
        counters.prometheus().contains(
            "esker_nfs_calls_total{program=\"nfs\",procedure=\"MKDIR\",outcome=\"ok\"} 1\n"
        )
    );
    at.server.shutdown();
}
