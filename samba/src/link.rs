//! The way to the server: one Unix socket, one request at a time.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rpc::{
    FileId, Frame, Header, Identity, Wire,
    calls::{Call, put_request},
    expected, frame,
    hello::{Answer, HELLO, Hello, MAGIC, VERSION, Welcome},
    limits::FRAME_BYTES,
    put_frame,
};

use crate::share::Errno;

/// A connection.
pub struct Link {
    state: Mutex<State>,
    welcome: Welcome,
    handles: AtomicU32,
}

/// A request that was sent.
pub struct Sent<C: Call>((C::Reply, Bytes));

impl<C: Call> Sent<C> {
    /// Its answer.
    pub fn wait(self) -> Result<(C::Reply, Bytes), Errno> {
        Ok(self.0)
    }
}

struct State {
    socket: UnixStream,
    next: u64,
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().unwrap_or(libc::EIO)
}

impl Link {
    /// Connects to the socket at `path`; why not, in words.
    pub fn connect(
        path: &str,
        secret: Option<&str>,
        patience: Duration,
    ) -> Result<Self, (Errno, String)> {
        if secret.is_some() {
            return Err((libc::EOPNOTSUPP, "a secret belongs to TCP".into()));
        }
        let told = |what: &str, error: &io::Error| (errno(error), format!("{what}: {error}"));
        let path = path.strip_prefix("unix:").unwrap_or(path);
        let socket = UnixStream::connect(path).map_err(|e| told("connect", &e))?;
        for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
            set(&socket, Some(patience)).map_err(|e| told("time-out", &e))?;
        }
        let mut dice = [0; 48];
        let mut random = std::fs::File::open("/dev/urandom").map_err(|e| told("dice", &e))?;
        random.read_exact(&mut dice).map_err(|e| told("dice", &e))?;
        let (mut session, mut nonce) = ([0; 16], [0; 32]);
        session.copy_from_slice(&dice[..16]);
        nonce.copy_from_slice(&dice[16..]);
        let hello = Hello {
            magic: MAGIC,
            oldest: VERSION,
            newest: VERSION,
            flags: 0,
            session,
            nonce,
            volume: "".into(),
            client: "smbd".into(),
        };
        let mut state = State { socket, next: 2 };
        let mut out = Vec::new();
        let header = Header { id: 1, op: HELLO, mark: 1, ..Header::default() };
        put_frame(&mut out, header, 0, |body| hello.put(body));
        let reply = state.exchange(&out, &[]).map_err(|e| told("hello", &e))?;
        if reply.header.status != 0 {
            let refusal = rpc::Refusal::of(&reply);
            return Err((i32::from(refusal.errno), refusal.text));
        }
        match Answer::whole(&reply.body) {
            Ok(Answer::Welcome(welcome)) => {
                Ok(Self { state: Mutex::new(state), welcome, handles: AtomicU32::new(1) })
            }
            Ok(Answer::Challenge(_)) => Err((libc::EACCES, "a secret is asked for".into())),
            Err(malformed) => Err((libc::EPROTO, malformed.to_string())),
        }
    }

    /// The same in every process: names the volume.
    pub fn device(&self) -> u64 {
        let (mut low, mut high) = ([0; 8], [0; 8]);
        low.copy_from_slice(&self.welcome.volume[..8]);
        high.copy_from_slice(&self.welcome.volume[8..]);
        u64::from_le_bytes(low) ^ u64::from_le_bytes(high)
    }

    pub fn volume_root(&self) -> FileId {
        self.welcome.root
    }

    /// Most bytes of one request's or reply's payload.
    pub fn payload(&self) -> usize {
        self.welcome.payload as usize
    }

    /// A number for a handle that none of this session has.
    pub fn new_handle(&self) -> u32 {
        self.handles.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends.
    pub fn send<C: Call>(
        &self,
        who: &Identity,
        call: &C,
        payload: Bytes,
    ) -> Result<Sent<C>, Errno> {
        Ok(Sent(self.call(who, call, &payload)?))
    }

    /// Asks, waits, answers; errors as errno.
    pub fn call<C: Call>(
        &self,
        who: &Identity,
        call: &C,
        payload: &[u8],
    ) -> Result<(C::Reply, Bytes), Errno> {
        let mut out = Vec::with_capacity(256);
        let mut state = self.state.lock();
        let id = state.next;
        state.next += 1;
        let header = Header { id, op: C::OP as u16, mark: id, ..Header::default() };
        put_frame(&mut out, header, payload.len(), |body| put_request(body, who, call));
        let reply = state.exchange(&out, payload).map_err(|error| {
            tracing::error!(op = C::OP.name(), %error, "the server is gone");
            libc::EIO
        })?;
        drop(state);
        if reply.header.id != id || reply.header.op != C::OP as u16 {
            return Err(libc::EPROTO);
        }
        if reply.header.status != 0 {
            return Err(i32::from(reply.header.status));
        }
        let body = C::Reply::whole(&reply.body).map_err(|_| libc::EPROTO)?;
        Ok((body, reply.payload))
    }
}

impl State {
    fn exchange(&mut self, frame: &[u8], payload: &[u8]) -> io::Result<Frame> {
        self.socket.write_all(frame)?;
        self.socket.write_all(payload)?;
        let malformed = |m: rpc::Malformed| io::Error::new(io::ErrorKind::InvalidData, m);
        let mut begun = [0; 4];
        self.socket.read_exact(&mut begun)?;
        let len = expected(&begun, FRAME_BYTES).map_err(malformed)?;
        let len = len.ok_or(io::ErrorKind::InvalidData)?;
        let mut bytes = vec![0; len];
        bytes[..4].copy_from_slice(&begun);
        self.socket.read_exact(&mut bytes[4..])?;
        frame::Frame::of(&Bytes::from(bytes)).map_err(malformed)
    }
}
