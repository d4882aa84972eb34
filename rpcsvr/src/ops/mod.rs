//! The operations: each from its request to its reply.

pub mod control;
pub mod data;
pub mod dirs;
pub mod locks;
pub mod names;
pub mod open;
pub mod xattrs;

use fs::{Attributes, Done, FsError};
use rpc::{
    Along, Blob, Found, List, Request, Wanted,
    calls::{self, Changed},
    limits::ALONG_BYTES,
};

use crate::{
    call::{Cx, Fail},
    convert,
    wire::Reply,
};

/// True where a link at the end is to be followed.
pub(crate) fn follows(flags: u32) -> bool {
    flags & calls::FOLLOW != 0
}

/// EINVAL where `flags` holds anything but `known`.
pub(crate) fn known(flags: u32, known: u32) -> Result<(), Fail> {
    if flags & !known == 0 {
        Ok(())
    } else {
        Err(Fail::saying(rpc::errno::EINVAL, "unknown flags of an operation"))
    }
}

impl Cx {
    /// Extended attributes that are to come along.
    pub async fn along(&self, of: &Attributes, wanted: &Wanted) -> Result<Found, Fail> {
        let mut found = Vec::with_capacity(wanted.0.len());
        for name in &wanted.0 {
            found.push(match self.volume().getxattr(&self.caller, of.id, name).await {
                Ok(value) if value.len() > ALONG_BYTES => Along::Large,
                Ok(value) => Along::Value(Blob(value)),
                Err(e @ (FsError::Io | FsError::TryLater | FsError::Fenced | FsError::Stale)) => {
                    return Err(e.into());
                }
                Err(_) => Along::Absent,
            });
        }
        Ok(List(found))
    }

    /// Waits as the request says, and answers with the object's attributes.
    pub async fn changed(&self, object: Attributes, seq: fs::Seq) -> Result<Reply, Fail> {
        self.settled(seq).await?;
        let attributes = convert::attributes(&object);
        Ok(self.reply(&Changed { attributes, seq: seq.0 }))
    }
}

/// Attributes of something that was there when the request was carried out first, and may be gone.
async fn as_it_is(cx: &Cx, done: &Done) -> Result<Attributes, Fail> {
    let id = done.object.unwrap_or(cx.volume().root());
    match cx.volume().getattr(id).await {
        Err(FsError::Stale) => Ok(gone(id)),
        other => Ok(other?),
    }
}

fn gone(id: fs::FileId) -> Attributes {
    Attributes {
        id,
        kind: fs::Kind::File,
        mode: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        size: 0,
        used: 0,
        rdev: (0, 0),
        atime: Default::default(),
        mtime: Default::default(),
        ctime: Default::default(),
    }
}

/// A request that a former process carried out (R23): its reply, from things as they are now.
pub async fn remembered(cx: Cx, request: Request, done: Done) -> Result<Reply, Fail> {
    match request {
        Request::Open(call) => open::remembered(cx, call, done).await,
        Request::Unlink(_) | Request::Rename(_) => {
            cx.settled(done.seq).await?;
            Ok(cx.reply(&calls::Done { seq: done.seq.0 }))
        }
        Request::Write(_) => {
            cx.settled(done.seq).await?;
            let size = as_it_is(&cx, &done).await?.size;
            Ok(cx.reply(&calls::Written { seq: done.seq.0, size }))
        }
        Request::Copy(call) => {
            cx.settled(done.seq).await?;
            let bytes = done.amount.unwrap_or(call.len);
            Ok(cx.reply(&calls::Copied { bytes, seq: done.seq.0 }))
        }
        _ => {
            let object = as_it_is(&cx, &done).await?;
            cx.changed(object, done.seq).await
        }
    }
}
