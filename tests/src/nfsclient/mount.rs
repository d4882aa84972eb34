//! The MOUNT protocol, version 3 (RFC 1813 appendix I).

use super::MOUNT;
use super::conn::{Conn, Cred, Fault, RpcStatus};
use super::types::Fh;
use super::xdr::{Dec, Enc, Malformed};

/// What MNT answered: mountstat3, and with 0 the root and the flavours.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Mounted {
    pub status: u32,
    pub fh: Option<Fh>,
    pub flavors: Vec<u32>,
}

/// One line of EXPORT: a directory and the clients it is for (none: all).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Export {
    pub dir: Vec<u8>,
    pub groups: Vec<Vec<u8>>,
}

fn call<T>(
    conn: &mut Conn,
    cred: &Cred,
    proc_: u32,
    args: impl FnOnce(&mut Enc),
    res: impl FnOnce(&mut Dec) -> Result<T, Malformed>,
) -> Result<T, Fault> {
    let xid = conn.next_xid();
    conn.queue(xid, (MOUNT, 3, proc_), cred, args);
    conn.flush()?;
    let reply = conn.reply()?;
    if reply.xid != xid {
        return Err(Malformed("reply to another call").into());
    }
    if reply.status != RpcStatus::Success {
        return Err(Fault::Rpc(reply.status));
    }
    let mut d = Dec(&reply.body);
    let r = res(&mut d)?;
    d.end()?;
    Ok(r)
}

/// Procedure 1.
pub fn mnt(conn: &mut Conn, cred: &Cred, path: &[u8]) -> Result<Mounted, Fault> {
    call(
        conn,
        cred,
        1,
        |e| e.opaque(path),
        |d| {
            let status = d.u32()?;
            let (mut fh, mut flavors) = (None, Vec::new());
            if status == 0 {
                fh = Some(Fh::get(d)?);
                for _ in 0..d.u32()?.min(64) {
                    flavors.push(d.u32()?);
                }
            }
            Ok(Mounted { status, fh, flavors })
        },
    )
}

/// One line of DUMP: host and directory.
pub type Host = (Vec<u8>, Vec<u8>);

/// Procedure 2: every mount remembered.
pub fn dump(conn: &mut Conn, cred: &Cred) -> Result<Vec<Host>, Fault> {
    call(
        conn,
        cred,
        2,
        |_| {},
        |d| {
            let mut all = Vec::new();
            while d.bool()? {
                all.push((d.opaque(255)?.to_vec(), d.opaque(1024)?.to_vec()));
            }
            Ok(all)
        },
    )
}

/// Procedure 3.
pub fn umnt(conn: &mut Conn, cred: &Cred, path: &[u8]) -> Result<(), Fault> {
    call(conn, cred, 3, |e| e.opaque(path), |_| Ok(()))
}

/// Procedure 4.
pub fn umntall(conn: &mut Conn, cred: &Cred) -> Result<(), Fault> {
    call(conn, cred, 4, |_| {}, |_| Ok(()))
}

/// Procedure 5.
pub fn exports(conn: &mut Conn, cred: &Cred) -> Result<Vec<Export>, Fault> {
    call(
        conn,
        cred,
        5,
        |_| {},
        |d| {
            let mut all = Vec::new();
            while d.bool()? {
                let mut e = Export { dir: d.opaque(1024)?.to_vec(), groups: Vec::new() };
                while d.bool()? {
                    e.groups.push(d.opaque(255)?.to_vec());
                }
                all.push(e);
            }
            Ok(all)
        },
    )
}
