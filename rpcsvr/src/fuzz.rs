//! Doors for the tests that throw bytes at decoders: what a connection does with what arrives,
//! without a connection. Nothing else may use them.

use bytes::{BufMut, Bytes, BytesMut};
use rpc::{
    Frame, Op, Request, Wire,
    hello::{AUTH, Answer, Auth, HELLO, Hello},
    limits::FRAME_BYTES,
};

use crate::{limits::READ_BUFFER_BYTES, wire::Inbound};

/// Framing: `bytes` arrive in pieces of `piece` (at least 1). Gives the frames before the framing
/// broke or the bytes ended.
///
/// # Panics
/// Where a frame is longer than the limit, or the buffer for it: that is what the tests look for.
pub fn frames(bytes: &[u8], piece: usize) -> Vec<Bytes> {
    let mut inbound = Inbound::new(FRAME_BYTES);
    let mut found = Vec::new();
    for arrived in bytes.chunks(piece.max(1)) {
        let mut rest = arrived;
        while !rest.is_empty() {
            let room = inbound.room(|| BytesMut::with_capacity(READ_BUFFER_BYTES));
            let reserved = room.capacity();
            assert!(reserved <= 2 * (FRAME_BYTES + READ_BUFFER_BYTES), "{reserved} reserved");
            let n = rest.len().min(room.capacity() - room.len());
            room.put_slice(&rest[..n]);
            rest = &rest[n..];
            loop {
                match inbound.next_frame() {
                    Ok(Some(frame)) => {
                        assert!(frame.len() <= FRAME_BYTES + 4, "a frame of {}", frame.len());
                        found.push(frame);
                    }
                    Ok(None) => break,
                    Err(_) => return found,
                }
            }
        }
    }
    found
}

/// One whole frame: its parts, then its body as what its operation says. True where it decodes.
///
/// # Panics
/// Where what decodes is written as other bytes.
pub fn request(bytes: &Bytes) -> bool {
    let Ok(frame) = Frame::of(bytes) else { return false };
    let again = |value: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        value(&mut out);
        assert_eq!(out, frame.body, "one value, two ways to write it");
        true
    };
    let _ = Answer::whole(&frame.body);
    match frame.header.op {
        HELLO => Hello::whole(&frame.body).is_ok_and(|v| again(&|out| v.put(out))),
        AUTH => Auth::whole(&frame.body).is_ok_and(|v| again(&|out| v.put(out))),
        number => {
            let Some(op) = Op::of(number) else { return false };
            let decoded = Request::decode(op, &frame.body);
            decoded.is_ok_and(|(identity, request)| {
                again(&|out| {
                    identity.put(out);
                    request.put(out);
                })
            })
        }
    }
}
