//! MOUNT version 3 (RFC 1813 §5): from a path to a file handle.

use std::{collections::VecDeque, net::IpAddr, rc::Rc};

use fs::FsError;
use parking_lot::Mutex;

use crate::{
    call::{CallFuture, done},
    exports::{join_path, split_path},
    handle::Handle,
    limits::{MOUNT_LIST, MOUNT_PATH_BYTES},
    nfs3::Status,
    peer::Peer,
    rpc::{self, AUTH_SYS, Call},
    wire::{Cursor, Enc, Garbage, Reply},
};

/// MOUNT procedures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum MountProcedure {
    Null,
    Mnt,
    Dump,
    Umnt,
    UmntAll,
    Export,
}

impl MountProcedure {
    /// All, by number.
    pub const ALL: [Self; 6] =
        [Self::Null, Self::Mnt, Self::Dump, Self::Umnt, Self::UmntAll, Self::Export];

    /// The procedure of a number.
    pub fn of(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Mnt => "MNT",
            Self::Dump => "DUMP",
            Self::Umnt => "UMNT",
            Self::UmntAll => "UMNTALL",
            Self::Export => "EXPORT",
        }
    }
}

/// Who mounted what, as far as it is remembered: for DUMP only, nothing depends on it.
#[derive(Default)]
pub struct MountList {
    list: Mutex<VecDeque<(IpAddr, Vec<u8>)>>,
}

impl MountList {
    fn add(&self, client: IpAddr, path: Vec<u8>) {
        let mut list = self.list.lock();
        let entry = (client, path);
        if list.contains(&entry) {
            return;
        }
        if list.len() == MOUNT_LIST {
            list.pop_front();
        }
        list.push_back(entry);
    }

    fn remove(&self, client: IpAddr, path: Option<&[u8]>) {
        self.list.lock().retain(|(c, p)| *c != client || path.is_some_and(|path| path != p));
    }
}

/// Begins a MOUNT call.
pub fn dispatch(
    peer: &Rc<Peer>,
    call: &Call,
    procedure: MountProcedure,
    cur: &mut Cursor<'_>,
) -> Result<CallFuture, Garbage> {
    let service = &peer.reactor.service;
    let client = peer.address.ip().to_canonical();
    let mut e = rpc::accepted(peer.reactor.head(), call.xid);
    match procedure {
        MountProcedure::Null => {}
        MountProcedure::Mnt => {
            let path = cur.opaque(MOUNT_PATH_BYTES)?;
            return Ok(Box::pin(mnt(peer.clone(), e, path)));
        }
        MountProcedure::Dump => {
            for (client, path) in service.mounts.list.lock().iter() {
                e.bool(true).opaque(client.to_string().as_bytes()).opaque(path);
            }
            e.bool(false);
        }
        MountProcedure::Umnt => {
            let path = cur.opaque(MOUNT_PATH_BYTES)?;
            if let Some(parts) = split_path(&path) {
                service.mounts.remove(client, Some(&join_path(&parts)));
            }
        }
        MountProcedure::UmntAll => service.mounts.remove(client, None),
        MountProcedure::Export => exports(peer, &mut e),
    }
    Ok(Box::pin(std::future::ready(done(e, Status::Ok))))
}

fn exports(peer: &Peer, e: &mut Enc) {
    for export in peer.reactor.service.exports.list() {
        e.bool(true).opaque(&export.path_bytes());
        for (network, _) in &export.rules {
            e.bool(true).opaque(network.to_string().as_bytes());
        }
        e.bool(false);
    }
    e.bool(false);
}

async fn mnt(peer: Rc<Peer>, mut e: Enc, path: bytes::Bytes) -> Reply {
    match mount(&peer, &path).await {
        Ok(handle) => {
            let service = &peer.reactor.service;
            e.u32(Status::Ok as u32).opaque(&service.handles.seal(handle));
            e.u32(1).u32(AUTH_SYS);
            done(e, Status::Ok)
        }
        Err(status) => {
            e.u32(status as u32);
            done(e, status)
        }
    }
}

/// The directory at `path`, if the client may mount it: it must lie in an export granted to the
/// client. Symlinks are not followed, so a path cannot lead out of the export.
async fn mount(peer: &Peer, path: &[u8]) -> Result<Handle, Status> {
    let service = &peer.reactor.service;
    // Some clients ask for the empty path where they mean the root.
    let parts = if path.is_empty() { Some(Vec::new()) } else { split_path(path) };
    let parts = parts.ok_or(Status::Acces)?;
    let export = service.exports.holding(&parts, &peer.grants).ok_or(Status::Acces)?;
    let grant = service.exports.index_of(export.id).and_then(|n| peer.grants[n]);
    if grant.is_none_or(|o| o.secure && !peer.privileged()) {
        return Err(Status::Acces);
    }
    let id = service.walk(&parts).await.map_err(status)?;
    service.mounts.add(peer.address.ip().to_canonical(), join_path(&parts));
    Ok(Handle { export: export.id, id })
}

/// mountstat3 (RFC 1813 §5.1.5): numbers as in nfsstat3.
fn status(error: FsError) -> Status {
    match error {
        FsError::NoEnt | FsError::Stale => Status::NoEnt,
        FsError::NotDir => Status::NotDir,
        FsError::Perm => Status::Perm,
        FsError::Access => Status::Acces,
        FsError::NameTooLong => Status::NameTooLong,
        FsError::Inval => Status::Inval,
        FsError::NotSupp => Status::NotSupp,
        FsError::Io
        | FsError::Nxio
        | FsError::Exist
        | FsError::XDev
        | FsError::IsDir
        | FsError::FBig
        | FsError::NoSpc
        | FsError::RoFs
        | FsError::MLink
        | FsError::NotEmpty
        | FsError::NoData
        | FsError::Range
        | FsError::NotSync
        | FsError::TryLater
        | FsError::Fenced => Status::Io,
    }
}
