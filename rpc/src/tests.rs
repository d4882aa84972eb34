use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    calls::{self, Open, Stat},
    limits::{BODY_BYTES, FRAME_BYTES, HEADER_BYTES, PAYLOAD_BYTES},
    *,
};

fn body(of: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::new();
    of(&mut out);
    out.into()
}

#[test]
fn a_request_is_read_as_it_was_written() {
    let identity = Identity { uid: 1000, gid: 100, groups: List(vec![4, 24, 27]) };
    let call = Open {
        place: Place::of(Object::Id(FileId { ino: 7, generation: 2 }), b"a/b"),
        flags: calls::open::READ | calls::FOLLOW,
        handle: 9,
        set: SetAttributes { mode: Some(0o644), ..SetAttributes::default() },
        wanted: List(vec!["user.DOSATTRIB".into()]),
    };
    let bytes = body(|out| put_request(out, &identity, &call));
    let (who, read) = Request::decode(Op::Open, &bytes).unwrap();
    assert_eq!((who, read), (identity.clone(), Request::Open(call)));
    // One byte less, one byte more.
    assert!(Request::decode(Op::Open, &bytes.slice(..bytes.len() - 1)).is_err());
    let longer = [&bytes[..], &[0]].concat().into();
    assert!(Request::decode(Op::Open, &longer).is_err());
}

/// The example of docs/rpc.md: what a second implementation would be written from.
#[test]
fn the_example_of_the_documentation_holds() {
    let identity = Identity { uid: 1000, gid: 100, groups: List(vec![27]) };
    let call = Stat {
        place: Place::of(Object::Root, b"a"),
        flags: calls::FOLLOW,
        wanted: List::default(),
    };
    let mut frame = Vec::new();
    let header = Header { id: 3, op: Op::Stat as u16, mark: 3, ..Header::default() };
    put_frame(&mut frame, header, 0, |out| put_request(out, &identity, &call));
    let expected: [&[u8]; 14] = [
        &[0x3a, 0, 0, 0],           // 58 bytes follow
        &[0x1e, 0, 0, 0],           // 30 of them are the body
        &[3, 0, 0, 0, 0, 0, 0, 0],  // request 3
        &[16, 0],                   // STAT
        &[0, 0, 0, 0, 0, 0],        // no flags; reserved
        &[3, 0, 0, 0, 0, 0, 0, 0],  // nothing below 3 will be sent again
        &[0xe8, 3, 0, 0],           // uid 1000
        &[100, 0, 0, 0],            // gid 100
        &[1, 0, 0, 0, 27, 0, 0, 0], // one more group, 27
        &[0],                       // from the root
        &[1, 0, 0, 0],              // a path of one byte
        b"a",
        &[0, 0, 1, 0], // FOLLOW
        &[0, 0, 0, 0], // no extended attributes
    ];
    assert_eq!(frame, expected.concat());
}

#[test]
fn attributes_take_88_bytes() {
    let time = Time { sec: -1, nsec: 999_999_999 };
    let attributes = Attributes {
        id: FileId { ino: 1, generation: 0 },
        kind: Kind::Directory,
        reserved: 0,
        mode: 0o755,
        nlink: 2,
        uid: 0,
        gid: 0,
        major: 0,
        minor: 0,
        size: 0,
        used: 0,
        atime: time,
        mtime: time,
        ctime: time,
    };
    let bytes = body(|out| attributes.put(out));
    assert_eq!(bytes.len(), 88);
    assert_eq!(Attributes::whole(&bytes).unwrap(), attributes);
}

#[test]
fn lengths_are_refused_before_anything_is_reserved() {
    // A frame of 2 GiB, by its first four bytes.
    assert!(expected(&(2u32 << 30).to_le_bytes(), FRAME_BYTES).is_err());
    assert!(expected(&[1, 0, 0, 0], FRAME_BYTES).is_err());
    assert_eq!(expected(&[28, 0, 0], FRAME_BYTES), Ok(None));
    assert_eq!(expected(&[28, 0, 0, 0], FRAME_BYTES), Ok(Some(32)));
    let of = |len: usize, body: usize| {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
        header[4..8].copy_from_slice(&u32::try_from(body).unwrap().to_le_bytes());
        Header::decode(&header)
    };
    assert!(of(28, 1).is_err());
    assert!(of(28 + BODY_BYTES + 1, BODY_BYTES + 1).is_err());
    assert!(of(28 + PAYLOAD_BYTES + 1, 0).is_err());
    assert_eq!(of(FRAME_BYTES, BODY_BYTES).unwrap().payload as usize, PAYLOAD_BYTES);
    // A list of four thousand million groups in a body of twelve bytes.
    let bytes = body(|out| [1u32, 1, u32::MAX].iter().for_each(|n| n.put(out)));
    assert!(Identity::whole(&bytes).is_err());
}

#[test]
fn numbers_of_operations_are_their_own() {
    for op in Op::ALL {
        assert_eq!(Op::of(*op as u16), Some(*op));
    }
    assert!(Op::of(hello::HELLO).is_none() && Op::of(hello::AUTH).is_none());
}

proptest! {
    #[test]
    fn no_bytes_confuse_the_decoders(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = Frame::of(&bytes);
        let _ = hello::Hello::whole(&bytes);
        let _ = hello::Answer::whole(&bytes);
        for op in Op::ALL {
            if let Ok((identity, request)) = Request::decode(*op, &bytes) {
                // What decodes is written as the same bytes: there is one way to say a thing.
                let mut again = Vec::new();
                identity.put(&mut again);
                prop_assert_eq!(&again[..], &bytes[..again.len()]);
                drop(request);
            }
        }
    }
}
