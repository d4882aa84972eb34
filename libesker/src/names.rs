//! Names, and what stands behind them.

use std::ffi::c_char;

use bytes::Bytes;
use client::rpc::{
    Attributes, List, Path, SetAttributes, XattrName, calls, errno,
    limits::{PATH_BYTES, XATTR_BYTES, XATTR_NAME_BYTES},
};

use crate::{
    border::{Failed, Outcome, bytes, copy_out, done, given, guard, identity, place, put, string},
    files::{esker_client, esker_who},
};

/// What is known of a file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct esker_attributes {
    /// Inode number.
    pub ino: u64,
    /// Length, bytes.
    pub size: u64,
    /// Bytes allocated.
    pub used: u64,
    /// Times: seconds since 1970, signed, and nanoseconds.
    pub atime_sec: i64,
    /// Last change of the content.
    pub mtime_sec: i64,
    /// Last change of anything.
    pub ctime_sec: i64,
    /// Nanoseconds of them.
    pub atime_nsec: u32,
    /// Nanoseconds.
    pub mtime_nsec: u32,
    /// Nanoseconds.
    pub ctime_nsec: u32,
    /// Tells inodes of one number apart.
    pub generation: u32,
    /// 1 file, 2 directory, 3 symbolic link, 4 block, 5 character device, 6 fifo, 7 socket.
    pub kind: u32,
    /// Permission bits.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a device.
    pub major: u32,
    /// Of a device.
    pub minor: u32,
}

pub(crate) fn tell(a: &Attributes) -> esker_attributes {
    esker_attributes {
        ino: a.id.ino,
        size: a.size,
        used: a.used,
        atime_sec: a.atime.sec,
        mtime_sec: a.mtime.sec,
        ctime_sec: a.ctime.sec,
        atime_nsec: a.atime.nsec,
        mtime_nsec: a.mtime.nsec,
        ctime_nsec: a.ctime.nsec,
        generation: a.id.generation,
        kind: a.kind as u32,
        mode: a.mode.into(),
        nlink: a.nlink,
        uid: a.uid,
        gid: a.gid,
        major: a.major,
        minor: a.minor,
    }
}

fn follow(wanted: i32) -> u32 {
    if wanted == 0 { 0 } else { calls::FOLLOW }
}

/// Attributes of what is at a path; `follow` (not 0): of what a link at its end points to.
///
/// # Safety
/// `client` lives, `path` ends with a NUL, `who` is null or one, `out` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_stat(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
    follow: i32,
    out: *mut esker_attributes,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let (client, who, place) =
            unsafe { (given(client, "no client")?, identity(who)?, place(path)?) };
        let call = calls::Stat { place, flags: self::follow(follow), wanted: List::default() };
        let statted = client.client.stat(&who, &call)?;
        // SAFETY: the caller's promise.
        unsafe { put(out, tell(&statted.attributes), "out is null") }
    })
}

/// Makes a directory.
///
/// # Safety
/// `client` lives, `path` ends with a NUL, `who` is null or one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_mkdir(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
    mode: u32,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let (client, who, place) =
            unsafe { (given(client, "no client")?, identity(who)?, place(path)?) };
        let set = SetAttributes { mode: Some(mode & 0o7777), ..SetAttributes::default() };
        client.client.make_dir(&who, &calls::MkDir { place, set })?;
        Ok(())
    })
}

/// # Safety
/// As [`esker_unlink`].
unsafe fn remove(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
    flags: u32,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let (client, who, place) =
            unsafe { (given(client, "no client")?, identity(who)?, place(path)?) };
        client.client.unlink(&who, &calls::Unlink { place, flags })?;
        Ok(())
    })
}

/// Removes a name that is no directory's.
///
/// # Safety
/// `client` lives, `path` ends with a NUL, `who` is null or one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_unlink(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { remove(client, who, path, 0) }
}

/// Removes an empty directory.
///
/// # Safety
/// As `esker_unlink`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_rmdir(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { remove(client, who, path, calls::unlink::DIRECTORY) }
}

/// Renames; what stands at the new name is replaced, unless `no_replace` (not 0).
///
/// # Safety
/// `client` lives, paths end with a NUL, `who` is null or one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_rename(
    client: *const esker_client,
    who: *const esker_who,
    from: *const c_char,
    to: *const c_char,
    no_replace: i32,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let (client, who) = unsafe { (given(client, "no client")?, identity(who)?) };
        // SAFETY: the caller's promise.
        let (from, to) = unsafe { (place(from)?, place(to)?) };
        let flags = if no_replace == 0 { 0 } else { calls::rename::NO_REPLACE };
        client.client.rename(&who, &calls::Rename { from, to, flags })?;
        Ok(())
    })
}

/// Adds a hard link `to` for what is at `from`.
///
/// # Safety
/// As `esker_rename`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_link(
    client: *const esker_client,
    who: *const esker_who,
    from: *const c_char,
    to: *const c_char,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let (client, who) = unsafe { (given(client, "no client")?, identity(who)?) };
        // SAFETY: the caller's promise.
        let (file, place) = unsafe { (place(from)?, place(to)?) };
        client.client.link(&who, &calls::Link { file, flags: 0, place })?;
        Ok(())
    })
}

/// Makes a symbolic link at `path` that says `target`.
///
/// # Safety
/// As `esker_rename`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_symlink(
    client: *const esker_client,
    who: *const esker_who,
    target: *const c_char,
    path: *const c_char,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let (client, who, place) =
            unsafe { (given(client, "no client")?, identity(who)?, place(path)?) };
        // SAFETY: the caller's promise.
        let target = unsafe { string(target, "a target is null") }?;
        if target.len() > PATH_BYTES {
            return Err(Failed::new(errno::ENAMETOOLONG, "a target is too long"));
        }
        let target = Path::copy(target);
        let set = SetAttributes::default();
        client.client.make_symlink(&who, &calls::Symlink { place, target, set })?;
        Ok(())
    })
}

/// What a symbolic link says, without a NUL: its length; no more than `size` of it is copied.
///
/// # Safety
/// `client` lives, `path` ends with a NUL, `who` is null or one, `size` bytes at `buffer` may be
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_readlink(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
    buffer: *mut u8,
    size: usize,
) -> i64 {
    guard(|| {
        // SAFETY: the caller's promise.
        let (client, who, place) =
            unsafe { (given(client, "no client")?, identity(who)?, place(path)?) };
        let said = client.client.read_link(&who, &calls::ReadLink { place })?;
        // SAFETY: the caller's promise.
        unsafe { copy_out(&said.target, buffer, size) }?;
        Ok(i64::try_from(said.target.len()).unwrap_or(i64::MAX))
    })
}

/// # Safety
/// As [`esker_chmod`].
unsafe fn set(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
    set: SetAttributes,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let (client, who, place) =
            unsafe { (given(client, "no client")?, identity(who)?, place(path)?) };
        let call = calls::SetAttr { place, flags: calls::FOLLOW, set, guard: None };
        client.client.set_attributes(&who, &call)?;
        Ok(())
    })
}

/// Sets permissions.
///
/// # Safety
/// `client` lives, `path` ends with a NUL, `who` is null or one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_chmod(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
    mode: u32,
) -> i32 {
    let wanted = SetAttributes { mode: Some(mode), ..SetAttributes::default() };
    // SAFETY: the caller's promise.
    unsafe { set(client, who, path, wanted) }
}

/// Sets owner and group; 4294967295 (-1): leave.
///
/// # Safety
/// As `esker_chmod`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_chown(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
    uid: u32,
    gid: u32,
) -> i32 {
    let wanted = |id: u32| (id != u32::MAX).then_some(id);
    let owners = SetAttributes { uid: wanted(uid), gid: wanted(gid), ..SetAttributes::default() };
    // SAFETY: the caller's promise.
    unsafe { set(client, who, path, owners) }
}

/// # Safety
/// As [`string`].
unsafe fn xattr_name(name: *const c_char) -> Outcome<XattrName> {
    // SAFETY: the caller's promise.
    let name = unsafe { string(name, "a name is null") }?;
    if name.len() > XATTR_NAME_BYTES {
        return Err(Failed::new(errno::ERANGE, "a name is too long"));
    }
    Ok(XattrName::copy(name))
}

/// Value of an extended attribute: its length; no more than `size` of it is copied.
///
/// # Safety
/// As `esker_readlink`; `name` ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_getxattr(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
    name: *const c_char,
    buffer: *mut u8,
    size: usize,
) -> i64 {
    guard(|| {
        // SAFETY: the caller's promise.
        let (client, who, place) =
            unsafe { (given(client, "no client")?, identity(who)?, place(path)?) };
        // SAFETY: the caller's promise.
        let name = unsafe { xattr_name(name) }?;
        let call = calls::GetXattr { place, flags: calls::FOLLOW, name };
        let value = client.client.get_xattr(&who, &call)?;
        // SAFETY: the caller's promise.
        unsafe { copy_out(&value, buffer, size) }?;
        Ok(i64::try_from(value.len()).unwrap_or(i64::MAX))
    })
}

/// Sets an extended attribute. `flags`: 1 only if there is none, 2 only if there is one.
///
/// # Safety
/// `client` lives, strings end with a NUL, `who` is null or one, `size` bytes at `value` may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn esker_setxattr(
    client: *const esker_client,
    who: *const esker_who,
    path: *const c_char,
    name: *const c_char,
    value: *const u8,
    size: usize,
    flags: u32,
) -> i32 {
    done(|| {
        // SAFETY: the caller's promise.
        let (client, who, place) =
            unsafe { (given(client, "no client")?, identity(who)?, place(path)?) };
        // SAFETY: the caller's promise.
        let (name, value) = unsafe { (xattr_name(name)?, bytes(value, size)?) };
        if value.len() > XATTR_BYTES {
            return Err(Failed::new(errno::ERANGE, "a value is too large"));
        }
        if flags & !(calls::setxattr::CREATE | calls::setxattr::REPLACE) != 0 {
            return Err(Failed::invalid("unknown flags"));
        }
        let call = calls::SetXattr { place, flags: flags | calls::FOLLOW, name };
        client.client.set_xattr(&who, &call, Bytes::copy_from_slice(value))?;
        Ok(())
    })
}
