//! A server for tests that keeps its promises, and may be killed: what was not durable is gone then.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rpc::{
    Attributes, Call, FileId, Frame, Header, Kind, Object, Op, Place, Request, Text, Time, Wire,
    calls, errno,
    frame::{AFTER, DURABLE, RESENT},
    hello::{self, Answer, Auth, Challenge, Hello, Side, Welcome},
    put_frame,
};

/// What is there. A pure function of the log.
#[derive(Clone, Default)]
struct Tree {
    names: BTreeMap<Vec<u8>, u64>,
    contents: BTreeMap<u64, Vec<u8>>,
    next: u64,
}

/// A change that was carried out.
#[derive(Clone)]
struct Record {
    seq: u64,
    id: u64,
    op: Op,
    body: Bytes,
    payload: Bytes,
    reply: Bytes,
    /// What a WRITE's handle was, which does not live as long.
    file: Option<u64>,
}

/// The server. One session.
pub struct Fake {
    pub boot: u64,
    pub secret: Option<Vec<u8>>,
    pub requests: u32,
    pub bytes: u32,
    pub window: u32,
    /// Durable after so many changes behind the newest; `u64::MAX`: by syncs only.
    pub lag: u64,
    /// Refuses everything until this session's first answer.
    pub known: bool,
    seq: u64,
    durable: u64,
    log: Vec<Record>,
    tree: Tree,
    handles: BTreeMap<u32, u64>,
    pub locks: BTreeSet<(u64, u64, u64, u64)>,
    waiting: BTreeMap<u64, (Op, calls::Lock)>,
    remembered: BTreeMap<u64, (Bytes, Bytes)>,
    mark: u64,
    hello: Option<Hello>,
    nonce: [u8; 32],
    live: bool,
    pub reclaimed: u32,
    /// Ids that came without the flag RESENT, and those that came again without it.
    seen: BTreeSet<u64>,
    pub wrong: Vec<String>,
    pub served: u64,
}

impl Fake {
    pub fn new() -> Self {
        Self {
            boot: 1,
            secret: None,
            requests: 64,
            bytes: 4 << 20,
            window: 256,
            lag: u64::MAX,
            known: false,
            seq: 0,
            durable: 0,
            log: Vec::new(),
            tree: Tree { next: 2, ..Tree::default() },
            handles: BTreeMap::new(),
            locks: BTreeSet::new(),
            waiting: BTreeMap::new(),
            remembered: BTreeMap::new(),
            mark: 0,
            hello: None,
            nonce: [7; 32],
            live: false,
            reclaimed: 0,
            seen: BTreeSet::new(),
            wrong: Vec::new(),
            served: 0,
        }
    }

    /// kill -9: what was not durable is gone, and with it every number that was given for it.
    pub fn kill(&mut self) {
        self.boot += 1;
        self.log.retain(|record| record.seq <= self.durable);
        self.seq = self.durable;
        // A new epoch has inode numbers of its own.
        let mut tree = Tree { next: self.boot * 1000, ..Tree::default() };
        for record in &self.log {
            let (_, request) = Request::decode(record.op, &record.body).unwrap();
            let opened = (record.op == Op::Open)
                .then(|| calls::Opened::whole(&record.reply).unwrap().attributes.id.ino);
            apply(&mut tree, &request, &record.payload, record.file, opened).unwrap();
        }
        self.tree = tree;
        self.known = false;
        self.handles.clear();
        self.locks.clear();
        self.remembered.clear();
        self.reclaimed = 0;
        self.disconnect();
    }

    /// The connection is lost.
    pub fn disconnect(&mut self) {
        self.hello = None;
        self.live = false;
        // It waits on for a new connection in the real one; here it is asked for again.
        self.waiting.clear();
    }

    pub fn content(&self, name: &[u8]) -> Option<&[u8]> {
        Some(&self.tree.contents[self.tree.names.get(name)?])
    }

    /// Another client has removed a file.
    pub fn remove(&mut self, name: &[u8]) {
        let ino = self.tree.names.remove(name).unwrap();
        self.tree.contents.remove(&ino);
    }

    pub fn names(&self) -> Vec<Vec<u8>> {
        self.tree.names.keys().cloned().collect()
    }

    pub fn handle_count(&self) -> usize {
        self.handles.len()
    }

    pub fn changes(&self) -> usize {
        self.log.len()
    }

    fn reply(&self, header: Header, body: &[u8], payload: &[u8]) -> Bytes {
        let mut out = Vec::new();
        let header = Header { mark: self.durable, ..header };
        put_frame(&mut out, header, payload.len(), |out| out.extend_from_slice(body));
        out.extend_from_slice(payload);
        out.into()
    }

    /// What it answers to a frame.
    pub fn serve(&mut self, frame: &Frame) -> Vec<Bytes> {
        if !self.live {
            return vec![self.greet(frame)];
        }
        self.served += 1;
        let header = frame.header;
        let op = Op::of(header.op).unwrap();
        let (_, request) = Request::decode(op, &frame.body).unwrap();
        if header.mark < self.mark {
            self.wrong.push(format!("the mark fell from {} to {}", self.mark, header.mark));
        }
        self.mark = header.mark;
        self.remembered = self.remembered.split_off(&self.mark);
        let first = self.seen.insert(header.id);
        if !first && header.status & RESENT == 0 {
            self.wrong.push(format!("{} came twice without saying so", header.id));
        }
        if header.id < self.mark || (op.once() && header.id >= self.mark + u64::from(self.window)) {
            self.wrong.push(format!("{} is outside of the window", header.id));
        }
        if header.status & AFTER != 0 && !self.waiting.is_empty() {
            self.wrong.push(format!("{} waits for a lock", header.id));
        }
        let answer = Header { id: header.id, op: header.op, ..Header::default() };
        if let Some((body, reply)) = self.remembered.get(&header.id) {
            assert_eq!(body, &frame.body, "an id with other bytes");
            let reply = reply.clone();
            self.reopen(&request, &reply);
            return vec![self.reply(answer, &reply, &[])];
        }
        // What was logged is known after a crash, too (R23).
        if let Some(record) = self.log.iter().find(|record| record.id == header.id) {
            assert_eq!(record.body, frame.body, "an id with other bytes");
            let reply = record.reply.clone();
            self.reopen(&request, &reply);
            return vec![self.reply(answer, &reply, &[])];
        }
        let mut out = Vec::new();
        match self.run(header, op, &request, frame) {
            Ok(Some((body, payload))) => {
                if op.once() {
                    self.remembered.insert(header.id, (frame.body.clone(), body.clone()));
                }
                out.push(self.reply(answer, &body, &payload));
            }
            Ok(None) => {}
            Err(errno) => {
                let mut text = Vec::new();
                Text::from(errno::words(errno)).put(&mut text);
                out.push(self.reply(Header { status: errno, ..answer }, &text, &[]));
            }
        }
        out.extend(self.grant());
        out
    }

    /// A remembered OPEN opens its handle, where it is not open.
    fn reopen(&mut self, request: &Request, reply: &Bytes) {
        if let Request::Open(open) = request {
            let opened = calls::Opened::whole(reply).unwrap();
            self.handles.entry(open.handle).or_insert(opened.attributes.id.ino);
        }
    }

    fn greet(&mut self, frame: &Frame) -> Bytes {
        let answer = match frame.header.op {
            hello::HELLO => {
                let hello = Hello::whole(&frame.body).unwrap();
                let answer = self.secret.as_ref().map(|secret| {
                    let proof = hello::proof(Side::Server, secret, &hello, &self.nonce);
                    Answer::Challenge(Challenge { nonce: self.nonce, proof })
                });
                self.hello = Some(hello);
                answer
            }
            hello::AUTH => {
                let auth = Auth::whole(&frame.body).unwrap();
                let hello = self.hello.as_ref().unwrap();
                let secret = self.secret.as_ref().unwrap();
                assert_eq!(auth.proof, hello::proof(Side::Client, secret, hello, &self.nonce));
                None
            }
            op => panic!("operation {op} before a session stands"),
        };
        let answer = answer.unwrap_or_else(|| Answer::Welcome(self.welcome()));
        let mut body = Vec::new();
        answer.put(&mut body);
        let header = Header { id: frame.header.id, op: frame.header.op, ..Header::default() };
        self.reply(header, &body, &[])
    }

    fn welcome(&mut self) -> Welcome {
        let resumed = std::mem::replace(&mut self.known, true);
        self.live = true;
        Welcome {
            version: 1,
            resumed,
            boot: self.boot,
            grace_ms: 1000,
            requests: self.requests,
            bytes: self.bytes,
            payload: 1 << 20,
            window: self.window,
            handles: 100,
            volume: [9; 16],
            root: FileId { ino: 1, generation: 0 },
            server: "fake".into(),
        }
    }

    /// Body and payload; `None`: it waits.
    #[allow(clippy::type_complexity)]
    fn run(
        &mut self,
        header: Header,
        op: Op,
        request: &Request,
        frame: &Frame,
    ) -> Result<Option<(Bytes, Bytes)>, u16> {
        let empty = Ok(Some((Bytes::new(), Bytes::new())));
        match request {
            Request::Ping(_) | Request::Bye(_) => return empty,
            Request::Reclaimed(_) => {
                self.reclaimed += 1;
                return empty;
            }
            Request::Sync(_) | Request::FSync(_) => {
                self.durable = self.seq;
                return empty;
            }
            Request::Close(close) => {
                self.handles.remove(&close.handle).ok_or(errno::EBADF)?;
                return empty;
            }
            Request::Lock(lock) => {
                if self.take(lock)? {
                    return empty;
                }
                if lock.flags & calls::lock::WAIT == 0 {
                    return Err(errno::EAGAIN);
                }
                self.waiting.insert(header.id, (op, lock.clone()));
                return Ok(None);
            }
            Request::Unlock(unlock) => {
                let ino = self.ino(unlock.file)?;
                let (owner, start) = (unlock.owner, unlock.start);
                self.locks.retain(|l| (l.0, l.1, l.2) != (ino, owner, start));
                return empty;
            }
            Request::Open(open) if open.flags & calls::open::RECLAIM != 0 => {
                let ino = self.ino(open.place.from)?;
                if !self.tree.contents.contains_key(&ino) {
                    return Err(errno::ESTALE);
                }
                self.handles.insert(open.handle, ino);
                let opened = opened(&self.tree, ino, false, 0);
                return Ok(Some((whole(&opened), Bytes::new())));
            }
            Request::Read(read) => {
                let all = &self.tree.contents[&self.ino(read.file)?];
                let from = usize::try_from(read.offset).unwrap().min(all.len());
                let to = (from + read.count as usize).min(all.len());
                let data = Bytes::copy_from_slice(&all[from..to]);
                return Ok(Some((whole(&calls::Data { eof: to == all.len() }), data)));
            }
            _ => {}
        }
        let file = match request {
            Request::Write(write) => Some(self.ino(write.file)?),
            _ => None,
        };
        if let Request::Open(open) = request
            && self.handles.contains_key(&open.handle)
        {
            return Err(errno::EEXIST);
        }
        let (reply, changed) = apply(&mut self.tree, request, &frame.payload, file, None)?;
        let seq = if changed { self.seq + 1 } else { 0 };
        let reply = with_seq(op, &reply, seq);
        if let Request::Open(open) = request {
            let opened = calls::Opened::whole(&reply).unwrap();
            self.handles.insert(open.handle, opened.attributes.id.ino);
        }
        if changed {
            self.seq += 1;
            let record = Record {
                seq: self.seq,
                id: header.id,
                op,
                file,
                body: frame.body.clone(),
                payload: frame.payload.clone(),
                reply: reply.clone(),
            };
            self.log.push(record);
            if header.status & DURABLE != 0 {
                self.durable = self.seq;
            }
            self.durable = self.durable.max(self.seq.saturating_sub(self.lag));
        }
        Ok(Some((reply, Bytes::new())))
    }

    fn ino(&self, object: Object) -> Result<u64, u16> {
        match object {
            Object::Root => Ok(1),
            Object::Id(id) => Ok(id.ino),
            Object::Handle(handle) => self.handles.get(&handle).copied().ok_or(errno::EBADF),
        }
    }

    fn take(&mut self, lock: &calls::Lock) -> Result<bool, u16> {
        let ino = self.ino(lock.file)?;
        let free = !self.locks.iter().any(|l| l.0 == ino && l.2 == lock.start && l.1 != lock.owner);
        if free {
            self.locks.insert((ino, lock.owner, lock.start, lock.len));
        }
        Ok(free)
    }

    /// Locks that can be had now.
    fn grant(&mut self) -> Vec<Bytes> {
        let mut out = Vec::new();
        for (id, (op, lock)) in self.waiting.clone() {
            if self.take(&lock) == Ok(true) {
                self.waiting.remove(&id);
                let header = Header { id, op: op as u16, ..Header::default() };
                out.push(self.reply(header, &[], &[]));
            }
        }
        out
    }
}

fn whole(value: &impl Wire) -> Bytes {
    let mut out = Vec::new();
    value.put(&mut out);
    out.into()
}

fn attributes(tree: &Tree, ino: u64) -> Attributes {
    let time = Time::default();
    Attributes {
        id: FileId { ino, generation: 0 },
        kind: Kind::File,
        reserved: 0,
        mode: 0o644,
        nlink: 1,
        uid: 0,
        gid: 0,
        major: 0,
        minor: 0,
        size: tree.contents.get(&ino).map_or(0, |c| c.len() as u64),
        used: 0,
        atime: time,
        mtime: time,
        ctime: time,
    }
}

fn opened(tree: &Tree, ino: u64, created: bool, seq: u64) -> calls::Opened {
    let attributes = attributes(tree, ino);
    calls::Opened { attributes, created, seq, along: rpc::List::default() }
}

/// Carries a change out: the reply without its seq, and whether anything changed. `ino`: of the
/// handle; `as_before`: what a file that is made was called the first time.
fn apply(
    tree: &mut Tree,
    request: &Request,
    payload: &[u8],
    ino: Option<u64>,
    as_before: Option<u64>,
) -> Result<(Bytes, bool), u16> {
    let path = |place: &Place| place.path.to_vec();
    Ok(match request {
        Request::Open(open) => {
            let name = path(&open.place);
            let found = tree.names.get(&name).copied();
            let exclusive = open.flags & calls::open::EXCLUSIVE != 0;
            match found {
                Some(_) if exclusive => return Err(errno::EEXIST),
                Some(ino) => (whole(&opened(tree, ino, false, 0)), false),
                None if open.flags & calls::open::CREATE == 0 => return Err(errno::ENOENT),
                None => {
                    let ino = as_before.unwrap_or(tree.next);
                    tree.next = tree.next.max(ino + 1);
                    tree.names.insert(name, ino);
                    tree.contents.insert(ino, Vec::new());
                    (whole(&opened(tree, ino, true, 0)), true)
                }
            }
        }
        Request::Stat(stat) => {
            let ino = *tree.names.get(&path(&stat.place)).ok_or(errno::ENOENT)?;
            let attributes = attributes(tree, ino);
            (whole(&calls::Statted { attributes, along: rpc::List::default() }), false)
        }
        Request::Write(write) => {
            let ino = match write.file {
                Object::Id(id) => id.ino,
                _ => ino.ok_or(errno::EBADF)?,
            };
            let content = tree.contents.get_mut(&ino).ok_or(errno::ESTALE)?;
            let at = match write.flags & calls::write::APPEND {
                0 => usize::try_from(write.offset).unwrap(),
                _ => content.len(),
            };
            if content.len() < at + payload.len() {
                content.resize(at + payload.len(), 0);
            }
            content[at..at + payload.len()].copy_from_slice(payload);
            (whole(&calls::Written { seq: 0, size: content.len() as u64 }), true)
        }
        Request::Rename(rename) => {
            let ino = tree.names.remove(&path(&rename.from)).ok_or(errno::ENOENT)?;
            tree.names.insert(path(&rename.to), ino);
            (whole(&calls::Done { seq: 0 }), true)
        }
        Request::Unlink(unlink) => {
            tree.names.remove(&path(&unlink.place)).ok_or(errno::ENOENT)?;
            (whole(&calls::Done { seq: 0 }), true)
        }
        other => panic!("the fake has no {other:?}"),
    })
}

fn with_seq(op: Op, reply: &Bytes, seq: u64) -> Bytes {
    fn set<C: Call>(reply: &Bytes, change: impl FnOnce(&mut C::Reply)) -> Bytes {
        let mut value = C::Reply::whole(reply).unwrap();
        change(&mut value);
        whole(&value)
    }
    match op {
        Op::Open => set::<calls::Open>(reply, |r| r.seq = seq),
        Op::Write => set::<calls::Write>(reply, |r| r.seq = seq),
        Op::Rename => set::<calls::Rename>(reply, |r| r.seq = seq),
        Op::Unlink => set::<calls::Unlink>(reply, |r| r.seq = seq),
        _ => reply.clone(),
    }
}
