//! Doors for the tests that throw bytes at decoders: what a connection does with what arrives,
//! without a connection. Nothing else may use them.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    exports::split_path,
    limits::{HANDLE_BYTES, READ_BUFFER_BYTES, RECORD_BYTES},
    nfs3::Procedure,
    ops::Args,
    rpc::{Parsed, parse},
    wire::{Cursor, Inbound},
};

/// Record marking: `bytes` arrive in pieces of `piece` (at least 1). Gives the records before the
/// framing broke or the bytes ended.
///
/// # Panics
/// Where a record is longer than the limit: that is what the tests look for.
pub fn records(bytes: &[u8], piece: usize) -> Vec<Bytes> {
    let mut inbound = Inbound::default();
    let mut found = Vec::new();
    for arrived in bytes.chunks(piece.max(1)) {
        let mut rest = arrived;
        while !rest.is_empty() {
            let room = inbound.room(|| BytesMut::with_capacity(READ_BUFFER_BYTES));
            let n = rest.len().min(room.capacity() - room.len());
            room.put_slice(&rest[..n]);
            rest = &rest[n..];
            loop {
                match inbound.next_record() {
                    Ok(Some(record)) => {
                        assert!(record.len() <= RECORD_BYTES, "a record of {}", record.len());
                        found.push(record);
                    }
                    Ok(None) => break,
                    Err(_) => return found,
                }
            }
        }
    }
    found
}

/// One record: the RPC header, then its arguments as each of the 22 procedures would read them, and
/// as a path of MOUNT. Gives the number of procedures for which they decode; `None`: no call.
pub fn call(record: &Bytes) -> Option<usize> {
    let Parsed::Call(call) = parse(record) else { return None };
    let decoded = Procedure::ALL.into_iter().filter(|&procedure| {
        let mut cursor = Cursor::new(record, call.args);
        if procedure != Procedure::Null && cursor.opaque(HANDLE_BYTES).is_err() {
            return false;
        }
        let args = Args::decode(procedure, &mut cursor);
        args.is_ok_and(|args| {
            let _ = args.check_names();
            true
        })
    });
    let decoded = decoded.count();
    let path = Cursor::new(record, call.args).opaque(RECORD_BYTES);
    if let Ok(path) = path {
        let _ = split_path(&path);
    }
    Some(decoded)
}
