//! Clients and open files.

use std::{ffi::c_char, time::Duration};

use bytes::Bytes;
use client::{
    blocking::{Client, Options},
    limits::PATIENCE,
    rpc::{List, Object, Place, SetAttributes, calls, errno},
};

use crate::{
    border::{
        Failed, Outcome, bytes, copy_out, done, given, guard, identity, last_words, place, put,
        string,
    },
    names::{esker_attributes, tell},
};

/// A connection to a server, with all that is open by it.
pub struct esker_client {
    pub(crate) client: Client,
}

/// Who asks. A server believes trusted programs only: see docs/rpc.md.
#[repr(C)]
pub struct esker_who {
    /// Effective uid.
    pub uid: u32,
    /// Effective gid.
    pub gid: u32,
    /// Supplementary groups, `group_count` of them.
    pub groups: *const u32,
    /// How many.
    pub group_count: usize,
}

/// Connects to `address` (unix:PATH or HOST:PORT), by `secret` where it asks for one (else null).
/// A server that is away for longer than `patience_ms` (0: a minute), now or later, is -EIO.
///
/// # Safety
/// Strings end with a NUL; `out` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_connect(
    address: *const c_char,
    secret: *const c_char,
    patience_ms: u32,
    out: *mut *mut esker_client,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        unsafe { put(out, std::ptr::null_mut(), "out is null") }?;
        // SAFETY: the caller's promise.
        let address = unsafe { string(address, "an address is null") }?;
        let address = String::from_utf8_lossy(address);
        let address = address.parse().map_err(|e: String| Failed::invalid(&e))?;
        let mut options = Options::new(address);
        if !secret.is_null() {
            // SAFETY: the caller's promise.
            options.setup.secret = Some(unsafe { string(secret, "") }?.to_vec());
        }
        options.patience = match patience_ms {
            0 => PATIENCE,
            ms => Duration::from_millis(ms.into()),
        };
        let client = Client::connect(options)?;
        let client = Box::into_raw(Box::new(esker_client { client }));
        // SAFETY: the caller's promise.
        unsafe { put(out, client, "out is null") }
    })
}

/// Makes all durable and ends the connection: open files are closed, locks released. Afterwards the
/// pointer is no more, whatever the result.
///
/// # Safety
/// `client` came from `esker_connect`, and no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_close(client: *mut esker_client) -> i32 {
    done(|| {
        if client.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let client = unsafe { Box::from_raw(client) };
        Ok(client.client.close()?)
    })
}

/// Copies the words of this thread's last error, with a NUL, to `buffer`; gives their length.
///
/// # Safety
/// `size` bytes at `buffer` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_error(buffer: *mut c_char, size: usize) -> usize {
    last_words(|words| {
        let Some(room) = size.checked_sub(1).filter(|_| !buffer.is_null()) else {
            return words.len();
        };
        let n = words.len().min(room);
        // SAFETY: n < size, the caller's promise.
        unsafe {
            std::ptr::copy_nonoverlapping(words.as_ptr(), buffer.cast(), n);
            buffer.add(n).write(0);
        }
        words.len()
    })
}

pub(crate) fn file(handle: u32) -> Object {
    Object::Handle(handle)
}

/// Opens `path`: a handle, or -errno. `flags`: 1 read, 2 write, 4 create, 8 only if there is none,
/// 16 cut to no bytes, 32 only a directory. `mode`: permissions of a file that is made.
///
/// # Safety
/// `client` lives, `path` ends with a NUL, `who` is null or one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_open(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
    flags: u32,
    mode: u32,
) -> i64 {
    guard(|| {
        // SAFETY: the caller's promise.
        let (client, who, place) =
            unsafe { (given(client, "no client")?, identity(who)?, place(path)?) };
        if flags >= calls::open::RECLAIM {
            return Err(Failed::invalid("unknown flags"));
        }
        let handle = client.client.new_handle();
        let set = SetAttributes { mode: Some(mode & 0o7777), ..SetAttributes::default() };
        let flags = flags | calls::FOLLOW;
        let call = calls::Open { place, flags, handle, set, wanted: List::default() };
        client.client.open(&who, &call)?;
        Ok(handle.into())
    })
}

/// Gives a handle back.
///
/// # Safety
/// `client` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_close_handle(client: *const esker_client, handle: u32) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let client = unsafe { given(client, "no client") }?;
        Ok(client.client.close_handle(&Default::default(), &calls::Close { handle })?)
    })
}

/// Reads up to `size` bytes at `offset`: how many, fewer only at the end of the file.
///
/// # Safety
/// `client` lives, `size` bytes at `buffer` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_read(
    client: *const esker_client,
    handle: u32,
    buffer: *mut u8,
    size: usize,
    offset: u64,
) -> i64 {
    guard(|| {
        // SAFETY: the caller's promise.
        let client = unsafe { given(client, "no client") }?;
        let most = payload(client)?;
        let mut got = 0;
        while got < size {
            let count = u32::try_from((size - got).min(most)).unwrap_or(u32::MAX);
            let call = calls::Read { file: file(handle), offset: offset + got as u64, count };
            let (data, piece) = client.client.read(&Default::default(), &call)?;
            // SAFETY: got < size, the caller's promise.
            got += unsafe { copy_out(&piece, buffer.wrapping_add(got), size - got) }?;
            if data.eof || piece.is_empty() {
                break;
            }
        }
        Ok(i64::try_from(got).unwrap_or(i64::MAX))
    })
}

/// Most bytes of one request.
fn payload(client: &esker_client) -> Outcome<usize> {
    let welcome = client.client.welcome();
    let welcome = welcome.ok_or_else(|| Failed::new(errno::EIO, "no session"))?;
    Ok((welcome.payload as usize).clamp(1, client::rpc::limits::PAYLOAD_BYTES))
}

/// # Safety
/// As [`esker_write`].
unsafe fn write(
    client: *const esker_client,
    handle: u32,
    data: *const u8,
    size: usize,
    offset: u64,
    flags: u32,
) -> i64 {
    guard(|| {
        // SAFETY: the caller's promise.
        let (client, data) = unsafe { (given(client, "no client")?, bytes(data, size)?) };
        let (most, at_end) = (payload(client)?, flags & calls::write::APPEND != 0);
        if at_end && size > most {
            // In pieces, another's could come between.
            return Err(Failed::invalid("more than one request may append"));
        }
        let mut under_way = Vec::new();
        for (n, piece) in data.chunks(most).enumerate() {
            let offset = if at_end { 0 } else { offset + (n * most) as u64 };
            let call = calls::Write { file: file(handle), offset, flags };
            let piece = Bytes::copy_from_slice(piece);
            under_way.push(client.client.start(&Default::default(), &call, piece)?);
        }
        for piece in under_way {
            piece.wait()?;
        }
        Ok(i64::try_from(size).unwrap_or(i64::MAX))
    })
}

/// Writes `size` bytes at `offset`: all of them, or -errno.
///
/// # Safety
/// `client` lives, `size` bytes at `data` may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_write(
    client: *const esker_client,
    handle: u32,
    data: *const u8,
    size: usize,
    offset: u64,
) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { write(client, handle, data, size, offset, 0) }
}

/// Writes `size` bytes, at most one request's payload (1 MiB), at the end of the file, wherever that
/// is then.
///
/// # Safety
/// As `esker_write`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_append(
    client: *const esker_client,
    handle: u32,
    data: *const u8,
    size: usize,
) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { write(client, handle, data, size, 0, calls::write::APPEND) }
}

/// Waits until all that was done to a file is durable. -EIO, once, also where changes were lost with
/// a server that died, and could not be made again.
///
/// # Safety
/// `client` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_fsync(client: *const esker_client, handle: u32) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let client = unsafe { given(client, "no client") }?;
        let call = calls::FSync { file: file(handle) };
        Ok(client.client.fsync(&Default::default(), &call)?)
    })
}

/// The same of everything.
///
/// # Safety
/// `client` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_sync(client: *const esker_client) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let client = unsafe { given(client, "no client") }?;
        Ok(client.client.sync(&Default::default(), &calls::Sync {})?)
    })
}

/// Attributes of an open file.
///
/// # Safety
/// `client` lives, `out` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_fstat(
    client: *const esker_client,
    handle: u32,
    out: *mut esker_attributes,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let client = unsafe { given(client, "no client") }?;
        let place = Place::at(file(handle));
        let call = calls::Stat { place, flags: 0, wanted: List::default() };
        let statted = client.client.stat(&Default::default(), &call)?;
        // SAFETY: the caller's promise.
        unsafe { put(out, tell(&statted.attributes), "out is null") }
    })
}

/// Cuts an open file, or extends it with a hole.
///
/// # Safety
/// `client` lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_truncate(
    client: *const esker_client,
    handle: u32,
    size: u64,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let client = unsafe { given(client, "no client") }?;
        let set = SetAttributes { size: Some(size), ..SetAttributes::default() };
        let place = Place::at(file(handle));
        let call = calls::SetAttr { place, flags: 0, set, guard: None };
        client.client.set_attributes(&Default::default(), &call)?;
        Ok(())
    })
}
