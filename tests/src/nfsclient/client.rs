use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use super::NFS;
use super::conn::{Conn, Cred, Fault, Reply, RpcStatus, envelope};
use super::proc::*;
use super::types::{Attr, Fh, Sattr, Status, Wcc};
use super::xdr::Dec;

/// A connection with an identity: sends typed calls one at a time, or several by
/// [`send`](Self::send) and [`recv`](Self::recv).
pub struct Client {
    /// The connection underneath.
    pub conn: Conn,
    /// Identity of the next calls.
    pub cred: Cred,
    early: VecDeque<Reply>,
}

/// What a whole listing gave.
#[derive(Debug, Default)]
pub struct Listed {
    /// Entries in the order they came, `.` and `..` included.
    pub entries: Vec<Entry>,
    /// Calls it took.
    pub calls: usize,
}

/// The results of a reply, decoded to the last byte.
pub fn decode<C: Call>(reply: &Reply) -> Result<C::Res, Fault> {
    if reply.status != RpcStatus::Success {
        return Err(Fault::Rpc(reply.status));
    }
    let mut d = Dec(&reply.body);
    let res = C::res(&mut d)?;
    d.end()?;
    Ok(res)
}

impl Client {
    /// Connects (from a low port where that is allowed) as uid 0.
    pub fn root(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(Conn::open(addr)?, Cred::sys(0, 0, &[])))
    }
    /// Connects with an identity.
    pub fn user(addr: SocketAddr, uid: u32, gid: u32, groups: &[u32]) -> io::Result<Self> {
        Ok(Self::over(Conn::open(addr)?, Cred::sys(uid, gid, groups)))
    }
    /// Uses a connection that exists.
    pub fn over(conn: Conn, cred: Cred) -> Self {
        Self { conn, cred, early: VecDeque::new() }
    }
    /// The same connection under another identity from here on.
    pub fn become_user(&mut self, uid: u32, gid: u32, groups: &[u32]) {
        self.cred = Cred::sys(uid, gid, groups);
    }

    /// Sends a call at once; gives its xid.
    pub fn send<C: Call>(&mut self, call: &C) -> io::Result<u32> {
        let xid = self.conn.next_xid();
        self.send_as(xid, call)?;
        Ok(xid)
    }
    /// Sends a call under a chosen xid.
    pub fn send_as<C: Call>(&mut self, xid: u32, call: &C) -> io::Result<()> {
        self.conn.queue(xid, (NFS, 3, C::PROC), &self.cred, |e| call.args(e));
        self.conn.flush()
    }
    /// The reply to `xid`; replies to others wait for their turn.
    pub fn recv_raw(&mut self, xid: u32) -> Result<Reply, Fault> {
        if let Some(reply) = self.take_early(xid) {
            return Ok(reply);
        }
        loop {
            let mut d = Dec(self.conn.record()?);
            let (got, status) = envelope(&mut d)?;
            let reply = Reply { xid: got, status, body: d.0.to_vec() };
            if got == xid {
                return Ok(reply);
            }
            self.early.push_back(reply);
        }
    }
    /// The decoded reply to `xid`.
    pub fn recv<C: Call>(&mut self, xid: u32) -> Result<C::Res, Fault> {
        decode::<C>(&self.recv_raw(xid)?)
    }
    /// A reply to `xid` that came while another was waited for, if there was one.
    pub fn take_early(&mut self, xid: u32) -> Option<Reply> {
        let i = self.early.iter().position(|r| r.xid == xid)?;
        self.early.remove(i)
    }
    /// One call, one answer.
    pub fn call<C: Call>(&mut self, call: &C) -> Result<C::Res, Fault> {
        let xid = self.send(call)?;
        self.recv::<C>(xid)
    }
    /// A call given by numbers and raw arguments, for what the types do not allow.
    pub fn call_raw(&mut self, target: (u32, u32, u32), args: &[u8]) -> Result<Reply, Fault> {
        let xid = self.conn.next_xid();
        self.conn.queue(xid, target, &self.cred, |e| e.0.extend_from_slice(args));
        self.conn.flush()?;
        self.recv_raw(xid)
    }

    /// GETATTR; a status that is not OK is an error.
    pub fn attr(&mut self, fh: &Fh) -> Result<Attr, Refused> {
        let r = self.call(&Getattr(fh))?;
        r.attr.ok_or(Refused::Status(r.status))
    }
    /// LOOKUP.
    pub fn lookup(&mut self, dir: &Fh, name: &str) -> Result<LookupRes, Fault> {
        self.call(&Lookup { dir, name: name.as_bytes() })
    }
    /// LOOKUP of what must be there.
    pub fn walk(&mut self, dir: &Fh, name: &str) -> Result<Fh, Refused> {
        let r = self.lookup(dir, name)?;
        r.fh.ok_or(Refused::Status(r.status))
    }
    /// UNCHECKED CREATE.
    pub fn create(&mut self, dir: &Fh, name: &str, mode: u32) -> Result<Fh, Refused> {
        let how = How::Unchecked(Sattr::mode(mode));
        let r = self.call(&Create { dir, name: name.as_bytes(), how })?;
        r.fh.ok_or(Refused::Status(r.status))
    }
    /// MKDIR.
    pub fn mkdir(&mut self, dir: &Fh, name: &str, mode: u32) -> Result<Fh, Refused> {
        let set = Sattr::mode(mode);
        let r = self.call(&Mkdir { dir, name: name.as_bytes(), set })?;
        r.fh.ok_or(Refused::Status(r.status))
    }
    /// WRITE.
    pub fn write(
        &mut self,
        fh: &Fh,
        offset: u64,
        stable: u32,
        data: &[u8],
    ) -> Result<WriteRes, Fault> {
        self.call(&Write { fh, offset, stable, data })
    }
    /// READ.
    pub fn read(&mut self, fh: &Fh, offset: u64, count: u32) -> Result<ReadRes, Fault> {
        self.call(&Read { fh, offset, count })
    }
    /// SETATTR without guard.
    pub fn setattr(&mut self, fh: &Fh, set: Sattr) -> Result<WccRes, Fault> {
        self.call(&Setattr { fh, set, guard: None })
    }
    /// REMOVE.
    pub fn remove(&mut self, dir: &Fh, name: &str) -> Result<(Status, Wcc), Fault> {
        let r = self.call(&Remove { dir, name: name.as_bytes() })?;
        Ok((r.status, r.wcc))
    }
    /// COMMIT of the whole file.
    pub fn commit(&mut self, fh: &Fh) -> Result<CommitRes, Fault> {
        self.call(&Commit { fh, offset: 0, count: 0 })
    }

    /// Reads a whole directory by READDIR, `count` bytes a call.
    pub fn list(&mut self, dir: &Fh, count: u32) -> Result<Listed, Refused> {
        self.list_from(dir, 0, |dir, cookie, verf| Readdir { dir, cookie, verf, count })
    }
    /// Reads a whole directory by READDIRPLUS.
    pub fn list_plus(&mut self, dir: &Fh, maxcount: u32) -> Result<Listed, Refused> {
        self.list_from(dir, 0, |dir, cookie, verf| Readdirplus {
            dir,
            cookie,
            verf,
            dircount: maxcount,
            maxcount,
        })
    }
    /// Reads a directory from `cookie` on with calls made by `call`.
    pub fn list_from<'a, C: Call<Res = ReaddirRes>>(
        &mut self,
        dir: &'a Fh,
        mut cookie: u64,
        call: impl Fn(&'a Fh, u64, [u8; 8]) -> C,
    ) -> Result<Listed, Refused> {
        let mut all = Listed::default();
        let mut verf = [0; 8];
        loop {
            let r = self.call(&call(dir, cookie, verf))?;
            if !r.status.ok() {
                return Err(Refused::Status(r.status));
            }
            all.calls += 1;
            verf = r.verf;
            let Some(last) = r.entries.last() else {
                return if r.eof { Ok(all) } else { Err(Refused::Stuck) };
            };
            cookie = last.cookie;
            all.entries.extend(r.entries);
            if r.eof {
                return Ok(all);
            }
        }
    }
}

/// Why something that must work did not.
#[derive(Debug)]
pub enum Refused {
    /// The server said no.
    Status(Status),
    /// No result came.
    Fault(Fault),
    /// A listing neither gave an entry nor ended.
    Stuck,
}
impl From<Fault> for Refused {
    fn from(f: Fault) -> Self {
        Self::Fault(f)
    }
}
impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(s) => write!(f, "refused: {s:?}"),
            Self::Fault(e) => e.fmt(f),
            Self::Stuck => f.write_str("a listing that neither goes on nor ends"),
        }
    }
}
impl std::error::Error for Refused {}
