//! Byte-range locks.

use client::rpc::calls;

use crate::{
    border::{Failed, done, given},
    files::{esker_client, file},
};

/// Locks `len` bytes (0: to the end) from `start` of an open file for `owner`. `kind`: 1 shared,
/// 2 alone. `wait` (not 0): until it can be had, else -EAGAIN at once.
///
/// # Safety
/// `client` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_lock(
    client: *const esker_client,
    handle: u32,
    owner: u64,
    start: u64,
    len: u64,
    kind: u8,
    wait: i32,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let client = unsafe { given(client, "no client") }?;
        if !matches!(kind, calls::lock::SHARED | calls::lock::EXCLUSIVE) {
            return Err(Failed::invalid("a lock of no kind"));
        }
        let flags = if wait == 0 { 0 } else { calls::lock::WAIT };
        let call = calls::Lock { file: file(handle), owner, start, len, kind, flags };
        Ok(client.client.lock(&Default::default(), &call)?)
    })
}

/// Releases what `owner` holds there.
///
/// # Safety
/// `client` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_unlock(
    client: *const esker_client,
    handle: u32,
    owner: u64,
    start: u64,
    len: u64,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let client = unsafe { given(client, "no client") }?;
        let call = calls::Unlock { file: file(handle), owner, start, len };
        Ok(client.client.unlock(&Default::default(), &call)?)
    })
}
