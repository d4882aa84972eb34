//! The client's own rules, against hand-made bytes and a socket pair.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use super::proc::{Call, Create, How, Readdir, ReaddirRes, Write as WriteCall};
use super::xdr::{Dec, Enc, Malformed};
use super::{Conn, Cred, Fh, RpcStatus, Sattr, open_socket};

#[test]
fn decoding_is_strict() {
    assert_eq!(Dec(&[0, 0, 0, 2]).bool(), Err(Malformed("a boolean that is neither 0 nor 1")));
    assert_eq!(Dec(&[0, 0, 0, 1, 7, 0, 0, 1]).opaque(8), Err(Malformed("padding is not zero")));
    assert_eq!(Dec(&[0, 0, 0, 1, 7, 0, 0, 0]).opaque(8), Ok(&[7u8][..]));
    assert!(Dec(&[0, 0, 0, 9, 7, 0, 0, 0]).opaque(8).is_err());
    assert!(Dec(&[0, 0, 0, 5, 7, 0, 0, 0]).opaque(8).is_err());
}

/// The bytes of one CREATE as RFC 1813 §3.3.8 lays them out, counted by hand.
#[test]
fn create_arguments_match_the_rfc() {
    let mut out = Vec::new();
    let dir = Fh(vec![0xaa; 4]);
    let how = How::Guarded(Sattr { mode: Some(0o640), size: Some(3), ..Sattr::default() });
    Create { dir: &dir, name: b"abcde", how }.args(&mut Enc(&mut out));
    assert_eq!(&out[..4], &[0, 0, 0, 4]);
    assert_eq!(&out[4..8], &[0xaa; 4]);
    assert_eq!(&out[8..20], b"\0\0\0\x05abcde\0\0\0");
    // GUARDED, mode yes 0640, uid no, gid no, size yes 3, atime 0, mtime 0
    let rest: Vec<u32> =
        out[20..].chunks(4).map(|c| u32::from_be_bytes([c[0], c[1], c[2], c[3]])).collect();
    assert_eq!(rest, [1, 1, 0o640, 0, 0, 1, 0, 3, 0, 0]);
}

#[test]
fn a_listing_must_end_in_eof_or_be_refused() {
    let mut out = Vec::new();
    let mut e = Enc(&mut out);
    for v in [0, 0, 0, 0, 1, 0, 9] {
        e.u32(v); // OK, no attributes, verifier, one entry with fileid 9
    }
    e.opaque(b"x");
    for v in [0, 3, 0, 1] {
        e.u32(v); // cookie 3, no more, eof
    }
    let r: ReaddirRes = Readdir::res(&mut Dec(&out)).unwrap();
    assert_eq!((r.entries.len(), r.entries[0].cookie, r.eof, r.bytes), (1, 3, true, out.len()));
    assert!(Readdir::res(&mut Dec(&out[..out.len() - 4])).is_err());
}

/// Records that come in pieces and fragments are put together; calls queued go out as one write.
#[test]
fn records_are_framed_both_ways() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let socket = open_socket(listener.local_addr().unwrap(), Ipv4Addr::UNSPECIFIED, 0).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    let mut conn = Conn::over(socket).unwrap();

    let cred = Cred::sys(7, 8, &[9]);
    conn.queue(41, (1, 2, 3), &cred, |e| e.u32(0xfeed));
    let fh = Fh(vec![1, 2, 3]);
    let call = WriteCall { fh: &fh, offset: 5, stable: 0, data: b"12345" };
    let mut inline = Vec::new();
    call.args(&mut Enc(&mut inline));
    conn.send_with_payload(42, (1, 2, 7), &cred, |e| call.head(e), call.data).unwrap();
    let mut got = vec![0; 4096];
    let n = peer.read(&mut got).unwrap();
    let first = (u32::from_be_bytes([got[0], got[1], got[2], got[3]]) & 0x7fff_ffff) as usize;
    assert_eq!(&got[4..8], &41u32.to_be_bytes());
    let second = &got[4 + first..n];
    let len = u32::from_be_bytes([second[0], second[1], second[2], second[3]]) & 0x7fff_ffff;
    assert_eq!(len as usize, second.len() - 4);
    assert!(second.ends_with(&inline), "head and payload are what args() writes");

    // xid 41 in two fragments, xid 42 behind it: both accepted, no verifier, success and mismatch.
    let mut reply = Vec::new();
    for v in [8u32, 41, 1, 0x8000_0010, 0, 0, 0, 0, 0x8000_0020, 42, 1, 0, 0, 0, 2, 3, 3] {
        reply.extend_from_slice(&v.to_be_bytes());
    }
    for piece in reply.chunks(7) {
        peer.write_all(piece).unwrap();
    }
    let a = conn.reply().unwrap();
    assert_eq!((a.xid, a.status, a.body.len()), (41, RpcStatus::Success, 0));
    let b = conn.reply().unwrap();
    assert_eq!((b.xid, b.status), (42, RpcStatus::ProgMismatch(3, 3)));
    drop(peer);
    assert!(conn.reply().is_err());
}
