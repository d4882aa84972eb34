//! A blocking client of the crate `rpc` alone.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)] // tests

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
};

use bytes::Bytes;
use rpc::{
    Call, Frame, Header, Identity, Object, Place, Refusal, Wire, expected,
    hello::{AUTH, Answer, Auth, HELLO, Hello, MAGIC, Side, Welcome, proof, same},
    limits::FRAME_BYTES,
    put_frame, put_request,
};

pub const SECRET: &[u8] = b"a secret of sufficient length";

/// Something that frames go over.
pub trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

pub struct Wires(Box<dyn Both>);

impl Wires {
    pub fn new(stream: impl Both + 'static) -> Self {
        Self(Box::new(stream))
    }
    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }
    /// False where the connection has ended.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }
    /// Fills `into`; false at the end of the stream.
    pub fn read(&mut self, into: &mut [u8]) -> bool {
        self.0.read_exact(into).is_ok()
    }
}

pub fn hello(session: [u8; 16]) -> Hello {
    Hello {
        magic: MAGIC,
        oldest: 1,
        newest: 1,
        flags: 0,
        session,
        nonce: [9; 32],
        volume: "".into(),
        client: "test".into(),
    }
}

/// One connection.
pub struct Client {
    pub wires: Wires,
    pub welcome: Welcome,
    pub next: u64,
    pub mark: u64,
    pub who: Identity,
    pub durable: u64,
    early: HashMap<u64, Frame>,
}

pub fn root() -> Identity {
    Identity::default()
}

pub fn user(uid: u32) -> Identity {
    Identity { uid, gid: uid, groups: Default::default() }
}

/// `path` from the root on.
pub fn at(path: &str) -> Place {
    Place::of(Object::Root, path.as_bytes())
}

pub fn raw(op: u16, id: u64, body: &impl Wire) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Header { id, op, ..Header::default() };
    put_frame(&mut out, header, 0, |out| body.put(out));
    out
}

pub fn next_frame(wires: &mut Wires) -> Option<Frame> {
    let mut len = [0; 4];
    if !wires.read(&mut len) {
        return None;
    }
    let whole = expected(&len, FRAME_BYTES).unwrap().unwrap();
    let mut bytes = vec![0; whole];
    bytes[..4].copy_from_slice(&len);
    assert!(wires.read(&mut bytes[4..]));
    Some(Frame::of(&Bytes::from(bytes)).unwrap())
}

impl Client {
    pub fn unix(path: &std::path::Path, session: [u8; 16]) -> Self {
        let mut wires = Wires::new(UnixStream::connect(path).unwrap());
        wires.write(&raw(HELLO, 1, &hello(session)));
        let frame = next_frame(&mut wires).unwrap();
        Self::begun(wires, &frame)
    }

    pub fn tcp(address: SocketAddr, session: [u8; 16], secret: &[u8]) -> Result<Self, Refusal> {
        Self::over(Wires::new(TcpStream::connect(address).unwrap()), session, secret)
    }

    pub fn over(mut wires: Wires, session: [u8; 16], secret: &[u8]) -> Result<Self, Refusal> {
        let hello = hello(session);
        wires.write(&raw(HELLO, 1, &hello));
        let frame = next_frame(&mut wires).unwrap();
        assert_eq!(frame.header.status, 0, "{}", Refusal::of(&frame));
        let Answer::Challenge(challenge) = Answer::whole(&frame.body).unwrap() else {
            panic!("no challenge")
        };
        let theirs = proof(Side::Server, SECRET, &hello, &challenge.nonce);
        assert!(same(&theirs, &challenge.proof));
        let mine = proof(Side::Client, secret, &hello, &challenge.nonce);
        wires.write(&raw(AUTH, 2, &Auth { proof: mine }));
        let frame = next_frame(&mut wires).unwrap();
        if frame.header.status != 0 {
            assert!(next_frame(&mut wires).is_none());
            return Err(Refusal::of(&frame));
        }
        Ok(Self::begun(wires, &frame))
    }

    fn begun(wires: Wires, frame: &Frame) -> Self {
        assert_eq!(frame.header.status, 0, "{}", Refusal::of(frame));
        let Answer::Welcome(welcome) = Answer::whole(&frame.body).unwrap() else {
            panic!("no welcome")
        };
        let early = HashMap::new();
        Self { wires, welcome, next: 3, mark: 3, who: root(), durable: 0, early }
    }

    /// Sends a request and returns its id.
    pub fn send<C: Call>(&mut self, call: &C, payload: &[u8], flags: u16) -> u64 {
        let id = self.next;
        self.next += 1;
        self.send_as(id, call, payload, flags);
        id
    }

    pub fn send_as<C: Call>(&mut self, id: u64, call: &C, payload: &[u8], flags: u16) {
        let out = self.frame(id, call, payload, flags);
        self.wires.write(&out);
    }

    pub fn frame<C: Call>(&self, id: u64, call: &C, payload: &[u8], flags: u16) -> Vec<u8> {
        let mut out = Vec::new();
        let header =
            Header { id, op: C::OP as u16, status: flags, mark: self.mark, ..Header::default() };
        put_frame(&mut out, header, payload.len(), |out| put_request(out, &self.who, call));
        out.extend_from_slice(payload);
        out
    }

    /// Waits for the reply to `id`.
    pub fn reply(&mut self, id: u64) -> Frame {
        loop {
            if let Some(frame) = self.early.remove(&id) {
                return frame;
            }
            let frame = next_frame(&mut self.wires).expect("the connection ended");
            self.durable = self.durable.max(frame.header.mark);
            self.early.insert(frame.header.id, frame);
        }
    }

    pub fn taken<C: Call>(&mut self, id: u64) -> Result<(C::Reply, Bytes), u16> {
        let frame = self.reply(id);
        if frame.header.status != 0 {
            return Err(frame.header.status);
        }
        Ok((C::Reply::whole(&frame.body).unwrap(), frame.payload))
    }

    /// Sends and waits.
    pub fn call<C: Call>(&mut self, call: &C) -> Result<C::Reply, u16> {
        self.both(call, b"").map(|(reply, _)| reply)
    }

    /// Sends with a payload and waits; gives the reply's payload too.
    pub fn both<C: Call>(&mut self, call: &C, payload: &[u8]) -> Result<(C::Reply, Bytes), u16> {
        let id = self.send(call, payload, 0);
        let reply = self.taken::<C>(id);
        self.mark = self.next;
        reply
    }
}
