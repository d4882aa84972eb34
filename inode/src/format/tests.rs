use bytes::Bytes;
use headhunter::{Location, SegmentId, Seq};

use super::{Entry, Extent, Inode, Mark, Pending};
use crate::{FileId, Kind, Timestamp, key};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn full() -> Inode {
    Inode {
        id: FileId { ino: 0x1122_3344_5566_7788, generation: 0x0a0b_0c0d },
        kind: Kind::File,
        mode: 0o4755,
        nlink: 3,
        uid: 1000,
        gid: 100,
        rdev: (8, 1),
        size: 0x0102_0304_0506_0708,
        used: 4096,
        atime: Timestamp { sec: -1, nsec: 999_999_999 },
        mtime: Timestamp { sec: 1_700_000_000, nsec: 1 },
        ctime: Timestamp { sec: 1_700_000_001, nsec: 2 },
        parent: 7,
        last: Seq(99),
        verifier: Some(*b"verifier"),
        marks: vec![Mark { offset: 10, seq: Seq(5) }, Mark { offset: 1 << 40, seq: Seq(6) }],
    }
}

/// Frozen: docs/format.md §5 gives the same bytes. A change here is a new format version.
#[test]
fn golden() {
    assert_eq!(
        hex(&full().encode()),
        "0101ed0903000000e8030000640000000800000001000000\
         0d0c0b0affffffffffffffffffc99a3b00f153650000000001000000\
         01f1536500000000020000000807060504030201001000000000000007000000000000006300000000000000\
         766572696669657201020000000000000a00000000000000050000000000000000000000000100000600000000000000"
    );
    let extent = Extent {
        start: 4096,
        location: Location { segment: SegmentId::chain(2, 3), offset: 64, stored: 4160 },
        skip: 16,
        len: 4000,
        birth: Seq(77),
    };
    assert_eq!(
        hex(&extent.encode()),
        "0300000002000000400000004010000010000000a00f00004d00000000000000"
    );
    let entry = Entry {
        cookie: 256,
        kind: Kind::Symlink,
        id: FileId { ino: 5, generation: 2 },
        name: Bytes::from_static(b"name"),
    };
    assert_eq!(hex(&entry.encode()), "030500000000000000020000006e616d65");
    assert_eq!(hex(&Pending::Open.encode()), "03");
    assert_eq!(hex(&key::attributes(258)), "000000000000010201");
    assert_eq!(hex(&key::target(258, 1)), "00000000000001020201");
    assert_eq!(hex(&key::with_u64(1, key::ENTRY, 256)), "0000000000000001030000000000000100");
    assert_eq!(hex(&key::with_u64(1, key::EXTENT, 4096)), "0000000000000001040000000000001000");
    assert_eq!(hex(&key::xattr(1, b"user.a", 2)), "000000000000000105757365722e610002");
}

#[test]
fn what_was_encoded_decodes() {
    let inode = full();
    assert_eq!(Inode::decode(inode.id.ino, &inode.encode()), Some(inode));
    let plain = Inode::new(FileId { ino: 9, generation: 1 }, Kind::Fifo);
    assert_eq!(plain.encode().len(), super::ATTRIBUTES_BYTES);
    assert_eq!(Inode::decode(9, &plain.encode()), Some(plain));
}

/// Every shorter, longer and bent record is refused or at least another record; nothing panics.
#[test]
fn damage_is_seen() {
    let good = full().encode();
    for len in 0..good.len() {
        assert_eq!(Inode::decode(1, &good[..len]), None, "{len} bytes");
    }
    let mut long = good.to_vec();
    long.push(0);
    assert_eq!(Inode::decode(1, &long), None);
    for at in 0..good.len() {
        let mut bent = good.to_vec();
        bent[at] ^= 0x80;
        assert_ne!(Inode::decode(1, &bent), Inode::decode(1, &good), "byte {at}");
    }
    assert_eq!(Extent::decode(0, &[0; 32]), None, "no bytes");
    assert_eq!(Extent::decode(0, &[1; 31]), None);
    assert_eq!(Extent::decode(u64::MAX, &[1; 32]), None, "beyond the largest file");
    assert_eq!(Entry::decode(256, &Bytes::from_static(&[1; 13])), None, "no name");
    assert_eq!(Entry::decode(256, &Bytes::from_static(&[9; 20])), None, "no such type");
    assert_eq!(Pending::decode(&[0]), None);
    assert_eq!(super::counter(&[0; 7]), None);
}
