//! From records to what faces see, and the rules of times.

use bytes::{BufMut, Bytes, BytesMut};
use headhunter::{Remembered, Txn};
use inode::{FileId, Inode, Timestamp};

use crate::{Attributes, Context, Done, Wcc, WccBefore};

pub(crate) fn attributes(inode: &Inode) -> Attributes {
    Attributes {
        id: inode.id,
        kind: inode.kind,
        mode: inode.mode,
        nlink: inode.nlink,
        uid: inode.uid,
        gid: inode.gid,
        size: inode.size,
        used: inode.used,
        rdev: inode.rdev,
        atime: inode.atime,
        mtime: inode.mtime,
        ctime: inode.ctime,
    }
}

fn before(inode: &Inode) -> WccBefore {
    WccBefore { size: inode.size, mtime: inode.mtime, ctime: inode.ctime }
}

/// Both sides of a change.
pub(crate) fn wcc(old: &Inode, new: &Inode) -> Wcc {
    Wcc { before: Some(before(old)), after: Some(attributes(new)) }
}

/// Both sides where nothing happened.
pub(crate) fn unchanged(inode: &Inode) -> Wcc {
    wcc(inode, inode)
}

/// Moves ctime: strictly rising, whatever the clock does, because clients take it for the change
/// attribute.
pub(crate) fn touch(inode: &mut Inode, now: Timestamp) {
    inode.ctime = now.max(inode.ctime.next());
}

/// Moves ctime, and mtime with it: the content changed.
pub(crate) fn touch_content(inode: &mut Inode, now: Timestamp) {
    touch(inode, now);
    inode.mtime = inode.ctime;
}

const OBJECT: u8 = 1;
const DIR: u8 = 2;
const OTHER: u8 = 4;
const AMOUNT: u8 = 8;

/// Remembers the request with the record, if it has a tag (R23; docs/format.md §5).
pub(crate) fn remember(
    txn: &mut Txn<'_>,
    cx: &Context,
    object: Option<FileId>,
    dir: Option<FileId>,
    other: Option<FileId>,
) {
    put_done(txn, cx, [object, dir, other], None);
}

/// As [`remember`], of a copy of `amount` bytes to `object`.
pub(crate) fn remember_amount(txn: &mut Txn<'_>, cx: &Context, object: FileId, amount: u64) {
    put_done(txn, cx, [Some(object), None, None], Some(amount));
}

fn put_done(txn: &mut Txn<'_>, cx: &Context, ids: [Option<FileId>; 3], amount: Option<u64>) {
    let Some((tag, procedure)) = &cx.request else { return };
    let mut b = BytesMut::with_capacity(46);
    b.put_u8(*procedure);
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let flags = ids.iter().zip([OBJECT, DIR, OTHER]).map(|(id, bit)| flag(id.is_some(), bit));
    b.put_u8(flags.sum::<u8>() | flag(amount.is_some(), AMOUNT));
    for id in ids.into_iter().flatten() {
        b.put_u64_le(id.ino);
        b.put_u32_le(id.generation);
    }
    if let Some(amount) = amount {
        b.put_u64_le(amount);
    }
    txn.remember(tag.clone(), b.freeze());
}

/// What [`remember`] wrote; `None` where it is of another storey.
pub(crate) fn recall(remembered: &Remembered) -> Option<Done> {
    let outcome: &Bytes = &remembered.outcome;
    let (&[procedure, flags], mut rest) = outcome.split_first_chunk::<2>()?;
    let mut id = |bit: u8| -> Option<Option<FileId>> {
        if flags & bit == 0 {
            return Some(None);
        }
        let (ino, tail) = rest.split_first_chunk::<8>()?;
        let (generation, tail) = tail.split_first_chunk::<4>()?;
        rest = tail;
        Some(Some(FileId {
            ino: u64::from_le_bytes(*ino),
            generation: u32::from_le_bytes(*generation),
        }))
    };
    let (object, dir, other) = (id(OBJECT)?, id(DIR)?, id(OTHER)?);
    let amount = match flags & AMOUNT {
        0 => None,
        _ => {
            let (amount, tail) = rest.split_first_chunk::<8>()?;
            rest = tail;
            Some(u64::from_le_bytes(*amount))
        }
    };
    (rest.is_empty() && flags <= 15).then_some(Done {
        procedure,
        object,
        dir,
        other,
        amount,
        seq: remembered.seq,
    })
}
