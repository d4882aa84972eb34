//! Sockets, record marking (RFC 5531 §11) and the RPC envelope (RFC 5531 §9).

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::xdr::{Dec, Enc, Malformed};

/// Why a call gave no result.
#[derive(Debug)]
pub enum Fault {
    /// The connection failed or ended.
    Io(io::Error),
    /// The server answered, but not with a result.
    Rpc(RpcStatus),
    /// The server's bytes are not what the RFC says.
    Malformed(Malformed),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => write!(f, "connection: {e}"),
            Self::Rpc(s) => write!(f, "rpc: {s:?}"),
            Self::Malformed(m) => m.fmt(f),
        }
    }
}
impl std::error::Error for Fault {}
impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}
impl From<Malformed> for Fault {
    fn from(e: Malformed) -> Self {
        Self::Malformed(e)
    }
}

/// What the RPC envelope of a reply says (RFC 5531 §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcStatus {
    /// A result follows.
    Success,
    /// That program is not here.
    ProgUnavail,
    /// That program, but only versions low..=high.
    ProgMismatch(u32, u32),
    /// No such procedure.
    ProcUnavail,
    /// The arguments do not decode.
    GarbageArgs,
    /// The server failed.
    SystemErr,
    /// RPC versions low..=high only.
    RpcMismatch(u32, u32),
    /// The identity is refused (auth_stat).
    AuthError(u32),
}

/// One reply record, decoded as far as the envelope.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Transaction id it answers.
    pub xid: u32,
    /// Outcome.
    pub status: RpcStatus,
    /// Results, undecoded; empty unless `Success`.
    pub body: Vec<u8>,
}

/// Who calls: the body of an AUTH_SYS credential, or none (RFC 5531 appendix A).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cred {
    /// Flavour: 0 AUTH_NONE, 1 AUTH_SYS; others are sent as they are, to be refused.
    pub flavor: u32,
    /// Encoded body.
    pub body: Vec<u8>,
}

impl Cred {
    /// AUTH_NONE.
    pub fn none() -> Self {
        Self { flavor: 0, body: Vec::new() }
    }
    /// AUTH_SYS.
    pub fn sys(uid: u32, gid: u32, groups: &[u32]) -> Self {
        let mut body = Vec::with_capacity(64);
        let mut e = Enc(&mut body);
        e.u32(0);
        e.opaque(b"client");
        e.u32(uid);
        e.u32(gid);
        e.u32(u32::try_from(groups.len()).unwrap_or(u32::MAX));
        groups.iter().for_each(|&g| e.u32(g));
        Self { flavor: 1, body }
    }
}

/// Connects to `addr`. `port` is the source port: 0 any, [`Conn::LOW`] any free one below 1024
/// (needs root). `source` is the source address.
pub fn open_socket(addr: SocketAddr, source: Ipv4Addr, port: u16) -> io::Result<TcpStream> {
    let try_one = |port: u16| -> io::Result<TcpStream> {
        let s = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        s.set_reuse_address(true)?;
        if port != 0 || source != Ipv4Addr::UNSPECIFIED {
            s.bind(&SocketAddr::new(IpAddr::V4(source), port).into())?;
        }
        s.connect_timeout(&addr.into(), Duration::from_secs(5))?;
        s.set_tcp_nodelay(true)?;
        Ok(s.into())
    };
    if port != Conn::LOW {
        return try_one(port);
    }
    // Ports of closed connections wait a minute, so each process begins elsewhere.
    let first = std::process::id().wrapping_mul(97);
    for i in 0..420u32 {
        let port = 600 + u16::try_from(first.wrapping_add(i * 11) % 420).unwrap_or(0);
        match try_one(port) {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
                ) => {}
            r => return r,
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no low port is free"))
}

/// One connection: calls are queued, flushed with one write, replies are read in bulk.
pub struct Conn {
    stream: TcpStream,
    out: Vec<u8>,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    xid: u32,
}

impl Conn {
    /// Source port: any free one below 1024.
    pub const LOW: u16 = u16::MAX;
    /// Bytes asked from the socket at once. Holds a 1 MiB READ reply whole.
    const BUF: usize = (1 << 20) + (64 << 10);

    /// Connects from a low port if allowed to, from any port otherwise; 20 s of silence fail.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = match open_socket(addr, Ipv4Addr::UNSPECIFIED, Self::LOW) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                open_socket(addr, Ipv4Addr::UNSPECIFIED, 0)?
            }
            r => r?,
        };
        Self::over(stream)
    }

    /// Speaks over a socket that is connected already.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self {
            stream,
            out: Vec::new(),
            buf: Vec::new(),
            start: 0,
            end: 0,
            xid: std::process::id().wrapping_shl(16) ^ entropy(),
        })
    }

    /// The socket, for what this type does not do.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Silence of this length fails a read; `None` waits for ever.
    pub fn set_timeout(&self, t: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(t)
    }

    /// A transaction id not used before on this connection.
    pub fn next_xid(&mut self) -> u32 {
        self.xid = self.xid.wrapping_add(1);
        self.xid
    }

    /// The next id will follow `xid`.
    pub fn xids_used_to(&mut self, xid: u32) {
        self.xid = xid;
    }

    /// Queues one call as a record of one fragment.
    pub fn queue(
        &mut self,
        xid: u32,
        target: (u32, u32, u32),
        cred: &Cred,
        args: impl FnOnce(&mut Enc),
    ) {
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        put_call(&mut self.out, xid, target, cred);
        args(&mut Enc(&mut self.out));
        self.mark(at, 0);
    }

    /// Sends what is queued, and one call whose last argument is the counted `payload`, without
    /// copying that.
    pub fn send_with_payload(
        &mut self,
        xid: u32,
        target: (u32, u32, u32),
        cred: &Cred,
        args: impl FnOnce(&mut Enc),
        payload: &[u8],
    ) -> io::Result<()> {
        let at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        put_call(&mut self.out, xid, target, cred);
        let mut e = Enc(&mut self.out);
        args(&mut e);
        e.u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        let pad = &[0u8; 3][..payload.len().wrapping_neg() & 3];
        self.mark(at, payload.len() + pad.len());
        let mut pieces = [IoSlice::new(&self.out), IoSlice::new(payload), IoSlice::new(pad)];
        let mut rest = &mut pieces[..];
        while rest.iter().any(|p| !p.is_empty()) {
            let n = self.stream.write_vectored(rest)?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut rest, n);
        }
        self.out.clear();
        Ok(())
    }

    /// Queues bytes as they are, no mark added.
    pub fn queue_raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn mark(&mut self, at: usize, more: usize) {
        let len = u32::try_from(self.out.len() - at - 4 + more).unwrap_or(0x7fff_ffff);
        self.out[at..at + 4].copy_from_slice(&(len | 0x8000_0000).to_be_bytes());
    }

    /// Sends everything queued with one write (more only if the socket is full).
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// True if a whole record is here already: taking it will not block.
    pub fn has_record(&self) -> bool {
        let b = &self.buf[self.start..self.end];
        b.first_chunk::<4>()
            .is_some_and(|m| b.len() - 4 >= (u32::from_be_bytes(*m) & 0x7fff_ffff) as usize)
    }

    /// The next record, waiting for it; read in bulk and not copied if it is of one fragment.
    pub fn record(&mut self) -> io::Result<&[u8]> {
        let (at, len, last) = self.fragment()?;
        if last {
            return Ok(&self.buf[at..at + len]);
        }
        let mut whole = self.buf[at..at + len].to_vec();
        loop {
            let (at, len, last) = self.fragment()?;
            whole.extend_from_slice(&self.buf[at..at + len]);
            if last {
                break;
            }
        }
        // Keep it where a slice can be handed out: in front of what is still unread.
        let rest = self.buf[self.start..self.end].to_vec();
        let n = whole.len();
        self.buf.clear();
        self.buf.extend_from_slice(&whole);
        self.buf.extend_from_slice(&rest);
        self.end = self.buf.len();
        self.start = n;
        Ok(&self.buf[..n])
    }

    fn fragment(&mut self) -> io::Result<(usize, usize, bool)> {
        self.fill(4)?;
        let mut m = [0; 4];
        m.copy_from_slice(&self.buf[self.start..self.start + 4]);
        let m = u32::from_be_bytes(m);
        let len = (m & 0x7fff_ffff) as usize;
        if len > 64 << 20 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "reply over 64 MiB"));
        }
        self.fill(4 + len)?;
        let at = self.start + 4;
        self.start = at + len;
        Ok((at, len, m & 0x8000_0000 != 0))
    }

    /// Makes `n` bytes available at `start`.
    fn fill(&mut self, n: usize) -> io::Result<()> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        if self.end - self.start >= n {
            return Ok(());
        }
        if self.start + n > self.buf.len() {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            let want = n.max(Self::BUF);
            if self.buf.len() < want {
                self.buf.resize(want, 0);
            }
        }
        while self.end - self.start < n {
            match self.stream.read(&mut self.buf[self.end..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(k) => self.end += k,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The next reply, waiting for it.
    pub fn reply(&mut self) -> Result<Reply, Fault> {
        let mut d = Dec(self.record()?);
        let (xid, status) = envelope(&mut d)?;
        Ok(Reply { xid, status, body: d.0.to_vec() })
    }
}

/// Dice for first xids, good enough to differ between connections and runs.
fn entropy() -> u32 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or(1)
}

/// The fixed head of a call: xid, version, target and identity (RFC 5531 §9).
pub fn put_call(out: &mut Vec<u8>, xid: u32, target: (u32, u32, u32), cred: &Cred) {
    let mut e = Enc(out);
    for v in [xid, 0, 2, target.0, target.1, target.2, cred.flavor] {
        e.u32(v);
    }
    e.opaque(&cred.body);
    e.u32(0);
    e.u32(0);
}

/// Takes the envelope of a reply: its xid and what became of the call.
pub fn envelope(d: &mut Dec) -> Result<(u32, RpcStatus), Malformed> {
    let xid = d.u32()?;
    if d.u32()? != 1 {
        return Err(Malformed("not a reply"));
    }
    let status = if d.u32()? == 0 {
        d.u32()?;
        d.opaque(400)?;
        match d.u32()? {
            0 => return Ok((xid, RpcStatus::Success)),
            1 => RpcStatus::ProgUnavail,
            2 => RpcStatus::ProgMismatch(d.u32()?, d.u32()?),
            3 => RpcStatus::ProcUnavail,
            4 => RpcStatus::GarbageArgs,
            5 => RpcStatus::SystemErr,
            _ => return Err(Malformed("accept_stat")),
        }
    } else {
        match d.u32()? {
            0 => RpcStatus::RpcMismatch(d.u32()?, d.u32()?),
            1 => RpcStatus::AuthError(d.u32()?),
            _ => return Err(Malformed("reject_stat")),
        }
    };
    d.end()?;
    Ok((xid, status))
}
