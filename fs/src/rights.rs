//! Who may do what, as Linux decides it.

use inode::{Inode, Kind};

use crate::{Caller, FsError, NAME_BYTES};

/// Bits of a permission triplet.
pub(crate) const READ: u32 = 4;
pub(crate) const WRITE: u32 = 2;
pub(crate) const EXEC: u32 = 1;

pub(crate) const SETUID: u32 = 0o4000;
pub(crate) const SETGID: u32 = 0o2000;
pub(crate) const STICKY: u32 = 0o1000;
const GROUP_EXEC: u32 = 0o010;

/// True if the caller is root.
pub(crate) fn is_root(caller: &Caller) -> bool {
    caller.uid == 0
}

/// True if `gid` is one of the caller's groups.
pub(crate) fn in_group(caller: &Caller, gid: u32) -> bool {
    caller.gid == gid || caller.groups.contains(&gid)
}

/// True for the owner and for root.
pub(crate) fn owns(caller: &Caller, inode: &Inode) -> bool {
    is_root(caller) || caller.uid == inode.uid
}

/// True if the mode lets the caller do all of `want`. The first class that fits decides alone:
/// an owner without the bit is refused even if others have it.
pub(crate) fn permits(caller: &Caller, inode: &Inode, want: u32) -> bool {
    if is_root(caller) {
        // Root executes a file only if anyone may.
        let any_exec = inode.kind == Kind::Directory || inode.mode & 0o111 != 0;
        return want & EXEC == 0 || any_exec;
    }
    let shift = if caller.uid == inode.uid {
        6
    } else if in_group(caller, inode.gid) {
        3
    } else {
        0
    };
    (inode.mode >> shift) & want == want
}

/// `Access` unless the mode permits.
pub(crate) fn may(caller: &Caller, inode: &Inode, want: u32) -> Result<(), FsError> {
    if permits(caller, inode, want) { Ok(()) } else { Err(FsError::Access) }
}

/// Reading the content: by mode, or as the owner or by execute right where there is no open
/// (RFC 1813 §4.4).
pub(crate) fn may_read(caller: &Caller, inode: &Inode) -> Result<(), FsError> {
    let overridden =
        caller.owner_override && (caller.uid == inode.uid || permits(caller, inode, EXEC));
    if overridden { Ok(()) } else { may(caller, inode, READ) }
}

/// Writing the content: by mode, or as the owner where there is no open.
pub(crate) fn may_write(caller: &Caller, inode: &Inode) -> Result<(), FsError> {
    if caller.owner_override && caller.uid == inode.uid {
        return Ok(());
    }
    may(caller, inode, WRITE)
}

/// In a sticky directory only the owner of the entry's inode, the owner of the directory and root
/// may take an entry away.
pub(crate) fn sticky(caller: &Caller, dir: &Inode, victim: &Inode) -> Result<(), FsError> {
    let free = dir.mode & STICKY == 0 || owns(caller, victim) || caller.uid == dir.uid;
    if free { Ok(()) } else { Err(FsError::Perm) }
}

/// Taking `victim`'s entry out of `dir`.
pub(crate) fn may_erase(caller: &Caller, dir: &Inode, victim: &Inode) -> Result<(), FsError> {
    may(caller, dir, WRITE | EXEC)?;
    sticky(caller, dir, victim)
}

/// The mode after content was written or cut by `caller`, or after its owner or group changed
/// (`chown`: then for root too): set-user-id goes, and set-group-id where it means "run as the
/// group" or where the caller is not of the group.
pub(crate) fn without_privilege(caller: &Caller, inode: &Inode, mode: u32, chown: bool) -> u32 {
    if inode.kind == Kind::Directory || (is_root(caller) && !chown) {
        return mode;
    }
    let mut mode = mode & !SETUID;
    let outsider = !is_root(caller) && !in_group(caller, inode.gid);
    if mode & GROUP_EXEC != 0 || outsider {
        mode &= !SETGID;
    }
    mode
}

/// A name that may be made: `Exist` for `.` and `..` has been dealt with by the caller.
///
/// `Inval`: empty, or with `/` or NUL in it. `NameTooLong`: over [`NAME_BYTES`].
pub(crate) fn check_name(name: &[u8]) -> Result<(), FsError> {
    if name.len() > NAME_BYTES {
        return Err(FsError::NameTooLong);
    }
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
        return Err(FsError::Inval);
    }
    Ok(())
}

/// True for `.` and `..`.
pub(crate) fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}
