//! Keys: `inode (u64) ‖ kind (u8) ‖ subkey`, all big-endian, so that they sort by memcmp.
//!
//! All that belongs to one inode lies together, attributes first.

/// Attributes: no subkey.
pub const ATTRIBUTES: u8 = 1;
/// Part of a symlink's target: part (u8).
pub const TARGET: u8 = 2;
/// Directory entry: cookie (u64).
pub const ENTRY: u8 = 3;
/// Extent: file offset (u64).
pub const EXTENT: u8 = 4;
/// Part of an extended attribute: name ‖ 0 ‖ part (u8). Names hold no NUL.
pub const XATTR: u8 = 5;

/// The inode number under which the volume-wide keys of files lie; no inode has it. (0 is none
/// either: keys of eight zeros belong to the index itself.)
pub const VOLUME: u64 = u64::MAX;
/// First inode number not reserved yet (u64). No subkey.
pub const NEXT_NUMBER: u8 = 0x40;
/// Inodes that exist (u64). No subkey.
pub const INODES: u8 = 0x41;
/// An inode with work left: inode number (u64).
pub const PENDING: u8 = 0x42;

/// A session of a face that has held locks: its id (16 bytes). The value is empty.
pub const LOCKER: u8 = 0x43;

/// That key.
pub fn locker(session: &[u8; 16]) -> [u8; 25] {
    let mut key = [0; 25];
    key[..9].copy_from_slice(&prefix(VOLUME, LOCKER));
    key[9..].copy_from_slice(session);
    key
}

/// Nine bytes: what precedes every subkey.
pub fn prefix(ino: u64, kind: u8) -> [u8; 9] {
    let mut key = [0; 9];
    key[..8].copy_from_slice(&ino.to_be_bytes());
    key[8] = kind;
    key
}

/// A key with a `u64` subkey: entry, extent or pending work.
pub fn with_u64(ino: u64, kind: u8, sub: u64) -> [u8; 17] {
    let mut key = [0; 17];
    key[..9].copy_from_slice(&prefix(ino, kind));
    key[9..].copy_from_slice(&sub.to_be_bytes());
    key
}

/// Attributes of `ino`.
pub fn attributes(ino: u64) -> [u8; 9] {
    prefix(ino, ATTRIBUTES)
}

/// Part `part` of the target of symlink `ino`.
pub fn target(ino: u64, part: u8) -> [u8; 10] {
    let mut key = [0; 10];
    key[..9].copy_from_slice(&prefix(ino, TARGET));
    key[9] = part;
    key
}

/// Part `part` of extended attribute `name` of `ino`.
pub fn xattr(ino: u64, name: &[u8], part: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(11 + name.len());
    key.extend_from_slice(&prefix(ino, XATTR));
    key.extend_from_slice(name);
    key.extend_from_slice(&[0, part]);
    key
}

/// First key after everything of `(ino, kind)`.
pub fn end(ino: u64, kind: u8) -> [u8; 9] {
    prefix(ino, kind + 1)
}

/// The last eight bytes of a key with a `u64` subkey.
pub fn sub_u64(key: &[u8]) -> Option<u64> {
    let sub = key.get(9..17)?;
    if key.len() != 17 {
        return None;
    }
    Some(u64::from_be_bytes(sub.try_into().ok()?))
}

/// Inode and kind of any key of files.
pub fn split(key: &[u8]) -> Option<(u64, u8, &[u8])> {
    let ino = u64::from_be_bytes(key.get(..8)?.try_into().ok()?);
    Some((ino, *key.get(8)?, key.get(9..)?))
}
