//! ONC RPC version 2 over TCP (RFC 5531): what a call says about itself, and the replies that say
//! why it was not run.

use bytes::Bytes;

use crate::{
    limits::{AUTH_BYTES, GROUPS, MACHINE_BYTES},
    wire::{Cursor, Enc, Garbage, Reply},
};

/// NFS (RFC 1813 §3).
pub const NFS_PROGRAM: u32 = 100_003;
/// MOUNT (RFC 1813 §5).
pub const MOUNT_PROGRAM: u32 = 100_005;
/// The one version of both programs.
pub const VERSION: u32 = 3;

const CALL: u32 = 0;
const REPLY: u32 = 1;
const RPC_VERSION: u32 = 2;
const AUTH_NONE: u32 = 0;
/// AUTH_SYS, the only flavour that carries an identity here.
pub const AUTH_SYS: u32 = 1;

/// Who the client says is calling, before squashing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// AUTH_NONE: nobody.
    None,
    /// AUTH_SYS (RFC 5531 appendix A).
    Sys {
        /// Effective uid.
        uid: u32,
        /// Effective gid.
        gid: u32,
        /// At most 16 supplementary groups.
        groups: Vec<u32>,
    },
}

/// Header of a call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Transaction id.
    pub xid: u32,
    /// Program number.
    pub program: u32,
    /// Program version.
    pub version: u32,
    /// Procedure number.
    pub procedure: u32,
    /// Identity.
    pub auth: Auth,
    /// Offset of the arguments in the record.
    pub args: usize,
}

/// Why a call is refused by RPC itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The RPC version is not 2.
    RpcMismatch,
    /// AUTH_BADCRED: the credential does not decode or its flavour is not known.
    BadCredential,
    /// AUTH_BADVERF.
    BadVerifier,
    /// No such program on this port.
    ProgramUnavailable,
    /// Only version 3.
    ProgramMismatch,
    /// No such procedure.
    ProcedureUnavailable,
    /// The arguments do not decode.
    GarbageArguments,
}

/// What a record holds.
#[derive(Debug)]
pub enum Parsed {
    /// A call to run.
    Call(Call),
    /// A call that gets a refusal.
    Refused(u32, Refusal),
    /// Not a call: there is nobody to answer.
    Nonsense,
}

/// Reads the header of `record`.
pub fn parse(record: &Bytes) -> Parsed {
    let mut cur = Cursor::new(record, 0);
    let (Ok(xid), Ok(CALL)) = (cur.u32(), cur.u32()) else { return Parsed::Nonsense };
    match header(&mut cur, xid) {
        Ok(call) => Parsed::Call(call),
        Err(refusal) => Parsed::Refused(xid, refusal),
    }
}

impl From<Garbage> for Refusal {
    fn from(Garbage: Garbage) -> Self {
        Self::GarbageArguments
    }
}

fn header(cur: &mut Cursor<'_>, xid: u32) -> Result<Call, Refusal> {
    if cur.u32()? != RPC_VERSION {
        return Err(Refusal::RpcMismatch);
    }
    let (program, version, procedure) = (cur.u32()?, cur.u32()?, cur.u32()?);
    let auth = credential(cur)?;
    let _flavour = cur.u32()?;
    cur.opaque_ref(AUTH_BYTES).map_err(|Garbage| Refusal::BadVerifier)?;
    Ok(Call { xid, program, version, procedure, auth, args: cur.position() })
}

fn credential(cur: &mut Cursor<'_>) -> Result<Auth, Refusal> {
    let flavour = cur.u32()?;
    let start = cur.position() + 4;
    let body = cur.opaque_ref(AUTH_BYTES).map_err(|Garbage| Refusal::BadCredential)?;
    match flavour {
        AUTH_NONE => Ok(Auth::None),
        AUTH_SYS => auth_sys(cur, start, body.len()).map_err(|Garbage| Refusal::BadCredential),
        _ => Err(Refusal::BadCredential),
    }
}

fn auth_sys(cur: &Cursor<'_>, start: usize, len: usize) -> Result<Auth, Garbage> {
    let mut body = cur.at(start);
    let _stamp = body.u32()?;
    body.opaque_ref(MACHINE_BYTES)?;
    let (uid, gid) = (body.u32()?, body.u32()?);
    let count = body.u32()? as usize;
    if count > GROUPS {
        return Err(Garbage);
    }
    let groups = (0..count).map(|_| body.u32()).collect::<Result<Vec<_>, _>>()?;
    if body.position() > start + len {
        return Err(Garbage);
    }
    Ok(Auth::Sys { uid, gid, groups })
}

/// Begins the reply to a call that is run: results follow.
pub fn accepted(buf: Vec<u8>, xid: u32) -> Enc {
    let mut e = Enc::new(buf);
    // xid, REPLY, MSG_ACCEPTED, verifier AUTH_NONE of no bytes, SUCCESS
    e.u32(xid).u32(REPLY).u32(0).u32(AUTH_NONE).u32(0).u32(0);
    e
}

/// The whole reply to a call that is refused.
pub fn refused(buf: Vec<u8>, xid: u32, refusal: Refusal) -> Reply {
    let mut e = Enc::new(buf);
    e.u32(xid).u32(REPLY);
    match refusal {
        // MSG_DENIED, RPC_MISMATCH, low, high
        Refusal::RpcMismatch => e.u32(1).u32(0).u32(RPC_VERSION).u32(RPC_VERSION),
        // MSG_DENIED, AUTH_ERROR, why
        Refusal::BadCredential => e.u32(1).u32(1).u32(1),
        Refusal::BadVerifier => e.u32(1).u32(1).u32(3),
        // MSG_ACCEPTED, verifier, accept_stat
        Refusal::ProgramUnavailable => e.u32(0).u32(AUTH_NONE).u32(0).u32(1),
        Refusal::ProgramMismatch => e.u32(0).u32(AUTH_NONE).u32(0).u32(2).u32(VERSION).u32(VERSION),
        Refusal::ProcedureUnavailable => e.u32(0).u32(AUTH_NONE).u32(0).u32(3),
        Refusal::GarbageArguments => e.u32(0).u32(AUTH_NONE).u32(0).u32(4),
    };
    Reply { head: e.into_inner(), data: Vec::new(), status: u32::MAX }
}
