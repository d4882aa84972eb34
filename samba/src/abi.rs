//! The entries that the C half calls: `shim/esker_abi.h` says what each is for.
//!
//! Pointers that C gives are good for the call, strings end with NUL, buffers are as long as said:
//! that is the contract of that page, and each `unsafe` here stands on it.

#![allow(missing_docs, clippy::missing_safety_doc, reason = "documented in shim/esker_abi.h")]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr, slice,
    sync::Arc,
    time::Duration,
};

use rpc::{Attributes, Identity, Kind, List, SetAttributes, SetTime, Time, limits};

use crate::{
    dirs::Dir,
    link::Link,
    share::{Errno, File, Share},
    walk::{How, walk},
};

/// `struct ek_share`.
pub struct EkShare(Arc<Share>);
/// `struct ek_dir`.
pub struct EkDir(Dir);

/// Who asks.
#[repr(C)]
pub struct EkWho {
    uid: u32,
    gid: u32,
    count: u32,
    zero: u32,
    groups: *const u32,
}

/// Nanoseconds since 1970 in two parts.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct EkTime {
    sec: i64,
    nsec: u32,
    zero: u32,
}

/// Attributes of an inode.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct EkAttr {
    ino: u64,
    generation: u64,
    size: u64,
    used: u64,
    mode: u32,
    nlink: u32,
    uid: u32,
    gid: u32,
    rdev_major: u32,
    rdev_minor: u32,
    atime: EkTime,
    mtime: EkTime,
    ctime: EkTime,
}

/// Room of the volume.
#[repr(C)]
pub struct EkStatfs {
    total_bytes: u64,
    free_bytes: u64,
    total_files: u64,
    free_files: u64,
}

/// How to connect.
#[repr(C)]
pub struct EkOptions {
    server: *const c_char,
    secret: *const c_char,
    root: *const c_char,
    patience: u32,
    zero: u32,
}

// The C half asserts the same numbers.
const _: () = assert!(size_of::<EkWho>() == 24 && size_of::<EkTime>() == 16);
const _: () = assert!(size_of::<EkAttr>() == 104 && size_of::<EkStatfs>() == 32);
const _: () = assert!(size_of::<EkOptions>() == 32);

impl From<Time> for EkTime {
    fn from(time: Time) -> Self {
        Self { sec: time.sec, nsec: time.nsec, zero: 0 }
    }
}

impl From<EkTime> for Time {
    fn from(time: EkTime) -> Self {
        Self { sec: time.sec, nsec: time.nsec }
    }
}

pub(crate) fn type_bits(kind: Kind) -> u32 {
    match kind {
        Kind::File => libc::S_IFREG,
        Kind::Directory => libc::S_IFDIR,
        Kind::Symlink => libc::S_IFLNK,
        Kind::Block => libc::S_IFBLK,
        Kind::Char => libc::S_IFCHR,
        Kind::Fifo => libc::S_IFIFO,
        Kind::Socket => libc::S_IFSOCK,
    }
}

impl From<&Attributes> for EkAttr {
    fn from(a: &Attributes) -> Self {
        Self {
            ino: a.id.ino,
            generation: u64::from(a.id.generation),
            size: a.size,
            used: a.used,
            mode: type_bits(a.kind) | u32::from(a.mode),
            nlink: a.nlink,
            uid: a.uid,
            gid: a.gid,
            rdev_major: a.major,
            rdev_minor: a.minor,
            atime: a.atime.into(),
            mtime: a.mtime.into(),
            ctime: a.ctime.into(),
        }
    }
}

/// A result as C wants it: -errno, and -EIO where something panicked.
fn answer(run: impl FnOnce() -> Result<i64, Errno>) -> i64 {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => value,
        Ok(Err(errno)) => -i64::from(if errno > 0 { errno } else { libc::EIO }),
        Err(_) => -i64::from(libc::EIO),
    }
}

fn status(run: impl FnOnce() -> Result<(), Errno>) -> c_int {
    short(answer(|| run().map(|()| 0)))
}

/// Small results and errors fit.
fn short(value: i64) -> c_int {
    c_int::try_from(value).unwrap_or(-libc::EOVERFLOW)
}

fn size(value: i64) -> isize {
    isize::try_from(value).unwrap_or(-(libc::EOVERFLOW as isize))
}

fn count(value: usize) -> Result<i64, Errno> {
    i64::try_from(value).map_err(|_| libc::EOVERFLOW)
}

unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// A string that may be missing.
unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    Some(String::from_utf8_lossy(unsafe { bytes(text) }).into_owned())
}

unsafe fn identity(who: *const EkWho) -> Result<Identity, Errno> {
    let who = unsafe { &*who };
    let count = who.count as usize;
    if count > limits::GROUPS {
        return Err(libc::E2BIG);
    }
    let groups = if count == 0 {
        Vec::new()
    } else {
        unsafe { slice::from_raw_parts(who.groups, count) }.to_vec()
    };
    Ok(Identity { uid: who.uid, gid: who.gid, groups: List(groups) })
}

/// Borrows what the pointer holds, for this call.
unsafe fn file<'a>(file: *const File) -> &'a File {
    unsafe { &*file }
}

/// A holder of its own.
unsafe fn holder(file: *const File) -> Arc<File> {
    unsafe {
        Arc::increment_strong_count(file);
        Arc::from_raw(file)
    }
}

unsafe fn put<T>(out: *mut T, value: T) {
    if !out.is_null() {
        unsafe { out.write(value) };
    }
}

/// Copies `value` with a NUL behind it; `ERANGE` where it does not fit.
unsafe fn put_text(out: *mut c_char, room: usize, value: &[u8]) -> Result<(), Errno> {
    if value.len() >= room {
        return Err(libc::ERANGE);
    }
    unsafe {
        ptr::copy_nonoverlapping(value.as_ptr(), out.cast(), value.len());
        out.add(value.len()).write(0);
    }
    Ok(())
}

/// As xattr(7): with no room only the length, `ERANGE` where the room does not do.
unsafe fn put_value(out: *mut c_void, room: usize, value: &[u8]) -> Result<i64, Errno> {
    if room != 0 {
        if value.len() > room {
            return Err(libc::ERANGE);
        }
        unsafe { ptr::copy_nonoverlapping(value.as_ptr(), out.cast(), value.len()) };
    }
    count(value.len())
}

// ---- a share -----------------------------------------------------------------------------------

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_connect(
    options: *const EkOptions,
    share: *mut *mut EkShare,
    root: *mut *const File,
    attr: *mut EkAttr,
    device: *mut u64,
    why: *mut c_char,
    room: usize,
) -> c_int {
    status(|| {
        let options = unsafe { &*options };
        let server = unsafe { text(options.server) }.ok_or(libc::EINVAL)?;
        let below = unsafe { text(options.root) }.unwrap_or_default();
        let explain = |sentence: &str| {
            let end = sentence.len().min(room.saturating_sub(1));
            // One that does not fit is cut.
            let _ = unsafe { put_text(why, room, &sentence.as_bytes()[..end]) };
        };
        let patience = Duration::from_secs(u64::from(options.patience.max(1)));
        let secret = unsafe { text(options.secret) };
        let link =
            Link::connect(&server, secret.as_deref(), patience).map_err(|(errno, text)| {
                explain(&text);
                errno
            })?;
        let number = link.device();
        let (made, attributes) = Share::new(link, below.as_bytes()).inspect_err(|_| {
            explain(&format!("the directory {below} of the volume"));
        })?;
        unsafe {
            put(attr, EkAttr::from(&attributes));
            put(device, number);
            put(root, Arc::into_raw(File::of(&made, made.root)));
            put(share, Box::into_raw(Box::new(EkShare(made))));
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_disconnect(share: *mut EkShare) {
    status(|| {
        unsafe { Box::from_raw(share) }.0.link.end();
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_statfs(
    share: *mut EkShare,
    who: *const EkWho,
    out: *mut EkStatfs,
) -> c_int {
    status(|| {
        let room = unsafe { &*share }.0.statfs(&unsafe { identity(who) }?)?;
        let found = EkStatfs {
            total_bytes: room.total_bytes,
            free_bytes: room.free_bytes,
            total_files: room.total_files,
            free_files: room.free_files,
        };
        unsafe { put(out, found) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_turn(share: *mut EkShare) {
    unsafe { &*share }.0.seen.forget();
}

// ---- files -------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_keep(file: *const File) {
    unsafe { Arc::increment_strong_count(file) };
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_release(file: *const File) {
    status(|| {
        drop(unsafe { Arc::from_raw(file) });
        Ok(())
    });
}

const FOLLOW: u32 = 1;
const NO_LINKS: u32 = 2;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_walk(
    from: *const File,
    who: *const EkWho,
    path: *const c_char,
    how: u32,
    canonical: *mut c_char,
    room: usize,
    out: *mut *const File,
    attr: *mut EkAttr,
) -> c_int {
    status(|| {
        let from = unsafe { file(from) };
        let how = How {
            follow: how & FOLLOW != 0,
            no_links: how & NO_LINKS != 0,
            canonical: !canonical.is_null(),
        };
        let who = unsafe { identity(who) }?;
        let reached = walk(&from.share, &who, from.id, unsafe { bytes(path) }, how)?;
        if how.canonical {
            unsafe { put_text(canonical, room, &reached.canonical) }?;
        }
        unsafe { put(attr, EkAttr::from(&reached.attributes)) };
        if !out.is_null() {
            let found = File::of(&from.share, reached.attributes.id);
            unsafe { put(out, Arc::into_raw(found)) };
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_lookup(
    dir: *const File,
    who: *const EkWho,
    name: *const c_char,
    attr: *mut EkAttr,
) -> c_int {
    status(|| {
        let found = unsafe { file(dir).lookup(&identity(who)?, bytes(name)) }?;
        unsafe { put(attr, EkAttr::from(&found)) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_open(
    dir: *const File,
    who: *const EkWho,
    name: *const c_char,
    flags: c_int,
    mode: u32,
    out: *mut *const File,
    attr: *mut EkAttr,
    created: *mut c_int,
) -> c_int {
    status(|| {
        let (opened, attributes, made) =
            unsafe { file(dir).open(&identity(who)?, bytes(name), flags, mode) }?;
        unsafe {
            put(attr, EkAttr::from(&attributes));
            put(created, c_int::from(made));
            put(out, Arc::into_raw(opened));
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_getattr(
    of: *const File,
    who: *const EkWho,
    attr: *mut EkAttr,
) -> c_int {
    status(|| {
        let found = unsafe { file(of).getattr(&identity(who)?) }?;
        unsafe { put(attr, EkAttr::from(&found)) };
        Ok(())
    })
}

/// The bits of `EK_SET_*`, in the order of the header.
pub(crate) fn to_set(which: u32, attr: &EkAttr) -> SetAttributes {
    let has = |bit: u32| which & bit != 0;
    let time = |bit: u32, time: EkTime| {
        if has(bit) { SetTime::To(time.into()) } else { SetTime::Keep }
    };
    SetAttributes {
        mode: has(1).then_some(attr.mode & 0o7777),
        uid: has(2).then_some(attr.uid),
        gid: has(4).then_some(attr.gid),
        size: has(8).then_some(attr.size),
        atime: time(16, attr.atime),
        mtime: time(32, attr.mtime),
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_setattr(
    of: *const File,
    who: *const EkWho,
    which: u32,
    attr: *const EkAttr,
) -> c_int {
    status(|| unsafe { file(of).setattr(&identity(who)?, to_set(which, &*attr)) })
}

// ---- names -------------------------------------------------------------------------------------

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_mkdir(
    dir: *const File,
    who: *const EkWho,
    name: *const c_char,
    mode: u32,
) -> c_int {
    status(|| unsafe { file(dir).mkdir(&identity(who)?, bytes(name), mode) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_mknod(
    dir: *const File,
    who: *const EkWho,
    name: *const c_char,
    mode: u32,
    rdev_major: u32,
    rdev_minor: u32,
) -> c_int {
    let device = (rdev_major, rdev_minor);
    status(|| unsafe { file(dir).mknod(&identity(who)?, bytes(name), mode, device) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_symlink(
    dir: *const File,
    who: *const EkWho,
    name: *const c_char,
    target: *const c_char,
) -> c_int {
    status(|| unsafe { file(dir).symlink(&identity(who)?, bytes(name), bytes(target)) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_readlink(
    dir: *const File,
    who: *const EkWho,
    name: *const c_char,
    out: *mut c_char,
    room: usize,
) -> isize {
    size(answer(|| {
        let dir = unsafe { file(dir) };
        let target = unsafe { dir.share.readlink(&identity(who)?, dir.id, bytes(name)) }?;
        let cut = &target[..target.len().min(room)];
        unsafe { ptr::copy_nonoverlapping(cut.as_ptr(), out.cast(), cut.len()) };
        count(cut.len())
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_link(
    from: *const File,
    name: *const c_char,
    to: *const File,
    new_name: *const c_char,
    who: *const EkWho,
) -> c_int {
    status(|| unsafe { file(from).link(&identity(who)?, bytes(name), file(to), bytes(new_name)) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_unlink(
    dir: *const File,
    who: *const EkWho,
    name: *const c_char,
    directory: c_int,
) -> c_int {
    status(|| unsafe { file(dir).unlink(&identity(who)?, bytes(name), directory != 0) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_rename(
    from: *const File,
    name: *const c_char,
    to: *const File,
    new_name: *const c_char,
    flags: u32,
    who: *const EkWho,
) -> c_int {
    let replace = flags & 1 == 0;
    status(|| unsafe {
        file(from).rename(&identity(who)?, bytes(name), file(to), bytes(new_name), replace)
    })
}

/// Bytes of a name with its NUL: what `out` of the calls below has room for.
const NAME_ROOM: usize = 256;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_find(
    dir: *const File,
    who: *const EkWho,
    name: *const c_char,
    out: *mut c_char,
) -> c_int {
    status(|| {
        let found = unsafe { file(dir).find(&identity(who)?, bytes(name)) }?;
        unsafe { put_text(out, NAME_ROOM, &found) }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_opendir(
    dir: *const File,
    who: *const EkWho,
    out: *mut *mut EkDir,
) -> c_int {
    status(|| {
        let opened = Dir::open(&unsafe { holder(dir) }, unsafe { identity(who) }?)?;
        unsafe { put(out, Box::into_raw(Box::new(EkDir(opened)))) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_readdir(
    dir: *mut EkDir,
    name: *mut c_char,
    ino: *mut u64,
    attr: *mut EkAttr,
) -> c_int {
    short(answer(|| {
        let Some(entry) = unsafe { &mut *dir }.0.next()? else { return Ok(0) };
        unsafe {
            put_text(name, NAME_ROOM, &entry.name)?;
            put(ino, entry.ino);
            put(attr, entry.attributes.as_ref().map(EkAttr::from).unwrap_or_default());
        }
        Ok(1)
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_telldir(dir: *mut EkDir) -> i64 {
    unsafe { &*dir }.0.tell()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_seekdir(dir: *mut EkDir, cookie: i64) {
    unsafe { &mut *dir }.0.seek(cookie);
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_closedir(dir: *mut EkDir) {
    status(|| {
        drop(unsafe { Box::from_raw(dir) });
        Ok(())
    });
}

// ---- contents ----------------------------------------------------------------------------------

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_pread(
    of: *const File,
    who: *const EkWho,
    out: *mut c_void,
    n: usize,
    at: u64,
) -> isize {
    size(answer(|| {
        if n == 0 {
            return Ok(0);
        }
        let out = unsafe { slice::from_raw_parts_mut(out.cast::<u8>(), n) };
        count(unsafe { file(of).read(&identity(who)?, out, at) }?)
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_pwrite(
    of: *const File,
    who: *const EkWho,
    data: *const c_void,
    n: usize,
    at: u64,
) -> isize {
    size(answer(|| {
        let data =
            if n == 0 { &[][..] } else { unsafe { slice::from_raw_parts(data.cast::<u8>(), n) } };
        count(unsafe { file(of).write(&identity(who)?, data, at) }?)
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_fsync(of: *const File, who: *const EkWho) -> c_int {
    status(|| unsafe { file(of).fsync(&identity(who)?) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_copy(
    from: *const File,
    at: u64,
    to: *const File,
    to_at: u64,
    n: u64,
    who: *const EkWho,
) -> i64 {
    answer(|| {
        let done = unsafe { file(from).copy(&identity(who)?, at, file(to), to_at, n) }?;
        i64::try_from(done).map_err(|_| libc::EOVERFLOW)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_seek(of: *const File, who: *const EkWho, at: u64, hole: c_int) -> i64 {
    answer(|| {
        let found = unsafe { file(of).seek(&identity(who)?, at, hole != 0) }?;
        i64::try_from(found).map_err(|_| libc::EOVERFLOW)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_punch(of: *const File, who: *const EkWho, at: u64, n: u64) -> c_int {
    status(|| unsafe { file(of).punch(&identity(who)?, at, n) })
}

// ---- extended attributes -----------------------------------------------------------------------

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_getxattr(
    of: *const File,
    who: *const EkWho,
    name: *const c_char,
    out: *mut c_void,
    room: usize,
) -> isize {
    size(answer(|| {
        let value = unsafe { file(of).getxattr(&identity(who)?, bytes(name)) }?;
        unsafe { put_value(out, room, &value) }
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_listxattr(
    of: *const File,
    who: *const EkWho,
    out: *mut c_char,
    room: usize,
) -> isize {
    size(answer(|| {
        let names = unsafe { file(of).listxattr(&identity(who)?) }?;
        unsafe { put_value(out.cast(), room, &names) }
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_setxattr(
    of: *const File,
    who: *const EkWho,
    name: *const c_char,
    value: *const c_void,
    n: usize,
    flags: c_int,
) -> c_int {
    status(|| unsafe {
        let value = if n == 0 { &[][..] } else { slice::from_raw_parts(value.cast::<u8>(), n) };
        file(of).setxattr(&identity(who)?, bytes(name), value, flags)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_removexattr(
    of: *const File,
    who: *const EkWho,
    name: *const c_char,
) -> c_int {
    status(|| unsafe { file(of).removexattr(&identity(who)?, bytes(name)) })
}

// ---- byte ranges -------------------------------------------------------------------------------

/// `F_RDLCK` and its kin are i16 or i32 by platform; here they are what C passes.
const READ_LOCK: c_int = libc::F_RDLCK as c_int;
const WRITE_LOCK: c_int = libc::F_WRLCK as c_int;
const UNLOCK: c_int = libc::F_UNLCK as c_int;

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_lock(
    of: *const File,
    who: *const EkWho,
    kind: c_int,
    at: u64,
    n: u64,
) -> c_int {
    status(|| {
        let (of, who) = unsafe { (file(of), identity(who)?) };
        match kind {
            UNLOCK => of.unlock(&who, at, n),
            READ_LOCK => of.lock(&who, false, at, n),
            WRITE_LOCK => of.lock(&who, true, at, n),
            _ => Err(libc::EINVAL),
        }
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ek_getlock(
    of: *const File,
    who: *const EkWho,
    kind: *mut c_int,
    at: *mut u64,
    n: *mut u64,
    pid: *mut u32,
) -> c_int {
    status(|| {
        let (of, who) = unsafe { (file(of), identity(who)?) };
        let wanted = unsafe { *kind };
        if wanted != READ_LOCK && wanted != WRITE_LOCK {
            return Err(libc::EINVAL);
        }
        let found = unsafe { of.test_lock(&who, wanted == WRITE_LOCK, *at, *n) }?;
        unsafe {
            // The holder may be on another machine: no process of ours.
            put(pid, 0);
            let Some(found) = found else {
                put(kind, UNLOCK);
                return Ok(());
            };
            put(kind, if found.exclusive { WRITE_LOCK } else { READ_LOCK });
            put(at, found.start);
            put(n, found.len);
        }
        Ok(())
    })
}
