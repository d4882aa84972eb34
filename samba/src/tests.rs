//! What can be tested without a server; the rest is `tests/smb`.

use rpc::{Attributes, FileId, Kind, SetTime, Time};

use crate::{
    abi::{EkAttr, to_set, type_bits},
    dirs::{meant, shown},
};

#[test]
fn a_cookie_comes_back_as_it_went_and_is_never_one_of_smbds() {
    // END_OF_DIRECTORY_OFFSET, START_OF_DIRECTORY_OFFSET, DOT_DOT_DIRECTORY_OFFSET.
    let theirs = [-1, 0, 0x8000_0000];
    let hashes = (1..2_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1);
    let edges = [1, 2, 3, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, (1 << 63) - 2];
    for cookie in hashes.chain(edges) {
        let out = shown(cookie);
        assert!(!theirs.contains(&out), "{cookie:#x} is shown as {out:#x}");
        assert_eq!(meant(out), cookie, "{cookie:#x}");
    }
    // What was never given out is the start, not the end.
    assert_eq!([meant(-1), meant(0), meant(0x8000_0000)], [0, 0, 0]);
}

fn attributes() -> Attributes {
    let time = |sec| Time { sec, nsec: 999_999_999 };
    Attributes {
        id: FileId { ino: u64::MAX, generation: 7 },
        kind: Kind::Symlink,
        reserved: 0,
        mode: 0o7777,
        nlink: 3,
        uid: 4,
        gid: u32::MAX,
        major: 5,
        minor: 6,
        size: 1 << 62,
        used: 512,
        atime: time(i64::MIN),
        mtime: time(-1),
        ctime: time(i64::MAX),
    }
}

#[test]
fn attributes_keep_times_before_1970_and_the_type() {
    let out = EkAttr::from(&attributes());
    // Nothing is set that was not asked for.
    assert_eq!(to_set(0, &out), rpc::SetAttributes::default());
    let all = to_set(63, &out);
    assert_eq!(all.mode, Some(0o7777), "without the type");
    assert_eq!((all.uid, all.gid, all.size), (Some(4), Some(u32::MAX), Some(1 << 62)));
    assert_eq!(all.atime, SetTime::To(Time { sec: i64::MIN, nsec: 999_999_999 }));
    assert_eq!(all.mtime, SetTime::To(Time { sec: -1, nsec: 999_999_999 }));
    let kinds = [
        Kind::File,
        Kind::Directory,
        Kind::Symlink,
        Kind::Block,
        Kind::Char,
        Kind::Fifo,
        Kind::Socket,
    ];
    let mut bits: Vec<u32> = kinds.map(type_bits).to_vec();
    bits.dedup();
    assert_eq!(bits.len(), kinds.len());
    assert!(bits.iter().all(|bits| bits & !libc::S_IFMT == 0));
}
