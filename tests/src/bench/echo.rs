//! RPC over a Unix socket, beside a bare echo of the same sizes in the same run, and beside our own
//! NFS.
//!
//! The echo is the floor: a thread that reads all that has arrived, answers each request by as many
//! bytes as the server's reply has, and writes once. The client is one thread, too, the same for both.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    time::Duration,
};

use rpc::{
    Call, FileId, Frame, Header, Identity, List, Object, Place, SetAttributes,
    calls::{self, Open, Read as ReadCall, Stat, Sync, Write as WriteCall},
    hello::{HELLO, Hello, MAGIC},
    put_frame, put_request,
};

use super::{median, report::Fact};
use crate::{
    load::{LoadError, Prepared, Row, Shape, now},
    server::{Esker, Setup},
};

/// Requests in flight where they are pipelined.
const WINDOW: usize = 32;
/// Reads of 1 MiB in flight.
const WINDOW_LARGE: usize = 4;
/// Bytes of the file that is read: well within the cache.
const FILE_BYTES: u64 = 64 << 20;
const MIB: u32 = 1 << 20;

fn wrong(what: impl std::fmt::Debug) -> LoadError {
    LoadError::Wrong(format!("rpc: {what:?}"))
}

/// Reads whole frames off a stream, many at a time.
struct Frames {
    stream: UnixStream,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Frames {
    fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: vec![0; 4 << 20], from: 0, to: 0 }
    }

    /// The next frame, if it is here whole.
    fn here(&mut self) -> Option<&[u8]> {
        let have = &self.buffer[self.from..self.to];
        let len = u32::from_le_bytes(*have.first_chunk::<4>()?) as usize + 4;
        if have.len() < len {
            return None;
        }
        let at = self.from;
        self.from += len;
        Some(&self.buffer[at..at + len])
    }

    /// Reads more; false at the end.
    fn more(&mut self) -> std::io::Result<bool> {
        if self.from > 0 {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.to, self.from) = (self.to - self.from, 0);
        }
        let n = self.stream.read(&mut self.buffer[self.to..])?;
        self.to += n;
        Ok(n > 0)
    }

    /// Waits for a frame.
    fn wait(&mut self) -> Result<Vec<u8>, LoadError> {
        loop {
            if let Some(frame) = self.here() {
                return Ok(frame.to_vec());
            }
            if !self.more()? {
                return Err(wrong("the connection ended"));
            }
        }
    }
}

/// What one side measured.
struct Lap {
    per_second: f64,
    p50_us: f64,
}

/// Keeps `window` of the same request in flight for `time`. Each reply must have `len` bytes.
fn drive(
    frames: &mut Frames,
    request: &[u8],
    len: usize,
    window: usize,
    time: Duration,
) -> Result<Lap, LoadError> {
    let mut out = request.repeat(window);
    let begin = now();
    frames.stream.write_all(&out)?;
    let (mut done, mut in_flight, mut sent_at) = (0u64, window, begin);
    let mut laps = Vec::new();
    loop {
        let mut got = 0;
        while let Some(frame) = frames.here() {
            if frame.len() != len || frame[18..20] != [0, 0] {
                return Err(wrong((frame.len(), len, &frame[..32])));
            }
            got += 1;
        }
        if got == 0 {
            if !frames.more()? {
                return Err(wrong("the connection ended"));
            }
            continue;
        }
        (done, in_flight) = (done + got as u64, in_flight - got);
        let at = now();
        if window == 1 {
            laps.push((at - sent_at).as_secs_f64() * 1e6);
        }
        if at - begin < time {
            out.truncate(0);
            (0..got).for_each(|_| out.extend_from_slice(request));
            frames.stream.write_all(&out)?;
            in_flight += got;
            sent_at = at;
        } else if in_flight == 0 {
            let per_second = done as f64 / (at - begin).as_secs_f64();
            return Ok(Lap { per_second, p50_us: median(laps) });
        }
    }
}

/// Answers requests of `request` bytes by frames of `reply` bytes until the client goes.
fn echo(listener: &UnixListener, request: usize, reply: usize) -> std::io::Result<()> {
    let (stream, _) = listener.accept()?;
    let mut answer = vec![0; reply];
    let len = u32::try_from(reply - 4).unwrap_or(u32::MAX);
    answer[..4].copy_from_slice(&len.to_le_bytes());
    let mut frames = Frames::new(stream);
    let mut out = Vec::new();
    loop {
        out.clear();
        while let Some(frame) = frames.here() {
            debug_assert_eq!(frame.len(), request);
            out.extend_from_slice(&answer);
        }
        if out.is_empty() {
            if !frames.more()? {
                return Ok(());
            }
        } else {
            frames.stream.write_all(&out)?;
        }
    }
}

/// A connection to the server, beyond its handshake.
struct Client {
    frames: Frames,
    next: u64,
}

fn request<C: Call>(id: u64, call: &C, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Header { id, op: C::OP as u16, mark: id, ..Header::default() };
    put_frame(&mut out, header, payload.len(), |out| {
        put_request(out, &Identity::default(), call);
    });
    out.extend_from_slice(payload);
    out
}

impl Client {
    fn new(path: &Path) -> Result<Self, LoadError> {
        let mut frames = Frames::new(UnixStream::connect(path)?);
        let hello = Hello {
            magic: MAGIC,
            oldest: 1,
            newest: 1,
            flags: 0,
            session: *b"benchmark client",
            nonce: [1; 32],
            volume: "".into(),
            client: "bench".into(),
        };
        let mut out = Vec::new();
        let header = Header { id: 1, op: HELLO, ..Header::default() };
        put_frame(&mut out, header, 0, |out| rpc::Wire::put(&hello, out));
        frames.stream.write_all(&out)?;
        frames.wait()?;
        Ok(Self { frames, next: 3 })
    }

    fn call<C: Call>(&mut self, call: &C, payload: &[u8]) -> Result<C::Reply, LoadError> {
        let bytes = request(self.next, call, payload);
        self.next += 1;
        self.frames.stream.write_all(&bytes)?;
        let frame = Frame::of(&self.frames.wait()?.into()).map_err(wrong)?;
        if frame.header.status != 0 {
            return Err(wrong(rpc::Refusal::of(&frame)));
        }
        rpc::Wire::whole(&frame.body).map_err(wrong)
    }

    fn file(&mut self) -> Result<FileId, LoadError> {
        let open = Open {
            place: Place::of(Object::Root, b"read"),
            flags: calls::open::READ | calls::open::WRITE | calls::open::CREATE,
            handle: 1,
            set: SetAttributes { mode: Some(0o600), ..SetAttributes::default() },
            wanted: List::default(),
        };
        let id = self.call(&open, b"")?.attributes.id;
        let piece: Vec<u8> =
            (0..MIB).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for offset in (0..FILE_BYTES).step_by(MIB as usize) {
            self.call(&WriteCall { file: Object::Handle(1), offset, flags: 0 }, &piece)?;
        }
        self.call(&Sync {}, b"")?;
        Ok(id)
    }
}

/// One comparison: the same request again and again, at the server and at the echo, in turns. Gives
/// the medians of the server's rate, of the ratio of rates, and of the ratio of round trips.
fn beside(
    work: &Path,
    ours: &mut Client,
    bytes: &[u8],
    (window, pairs, time): (usize, usize, Duration),
) -> Result<(f64, f64, f64), LoadError> {
    ours.frames.stream.write_all(bytes)?;
    let len = ours.frames.wait()?.len();
    let path = work.join("echo");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::thread::scope(|scope| {
        let server = scope.spawn(|| echo(&listener, bytes.len(), len));
        let mut theirs = Frames::new(UnixStream::connect(&path)?);
        let (mut rates, mut ratios, mut trips) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..pairs {
            let floor = drive(&mut theirs, bytes, len, window, time)?;
            let mine = drive(&mut ours.frames, bytes, len, window, time)?;
            rates.push(mine.per_second);
            ratios.push(mine.per_second / floor.per_second);
            trips.push(mine.p50_us / floor.p50_us);
        }
        drop(theirs);
        match server.join() {
            Ok(done) => done?,
            Err(_) => return Err(wrong("the echo panicked")),
        }
        Ok((median(rates), median(ratios), median(trips)))
    })
}

fn fact(name: &str, value: f64, unit: &str, wanted: &str, met: bool) -> Fact {
    let value = format!("{value:.2}{unit}");
    Fact { name: name.into(), value, wanted: wanted.into(), met }
}

/// The part `rpc`.
pub fn rpc_beside_echo(work: &Path, pairs: usize, time: Duration) -> Result<Vec<Fact>, LoadError> {
    let path = work.join("rpc");
    let args = vec!["--rpc".to_string(), format!("unix:{}", path.display())];
    let esker = Esker::start(work, &Setup { args, ..Setup::default() })?;
    let mut nfs = Prepared::new(esker.target())?;
    let shape = Shape { conns: 1, window: WINDOW, time };
    let mut client = Client::new(&path)?;
    let id = client.file()?;
    // The id of a request is not looked at where it is not carried out once.
    let place = Place::at(Object::Id(id));
    let stat = request(client.next, &Stat { place, flags: 0, wanted: List::default() }, b"");
    let (rate, ratio, _) = beside(work, &mut client, &stat, (WINDOW, pairs, time))?;
    let over_nfs: Result<Vec<f64>, LoadError> =
        (0..pairs).map(|_| Ok(nfs.run(Row::Getattr, shape)?.rate().0)).collect();
    let over_nfs = rate / median(over_nfs?);
    let (_, _, trip) = beside(work, &mut client, &stat, (1, pairs, time))?;
    let read = |count| {
        let read = ReadCall { file: Object::Handle(1), offset: 0, count };
        request(client.next, &read, b"")
    };
    let (one, large) = (read(1), read(MIB));
    let (_, _, byte) = beside(work, &mut client, &one, (1, pairs, time))?;
    let (_, reads, _) = beside(work, &mut client, &large, (WINDOW_LARGE, pairs, time))?;
    Ok(vec![
        fact("RPC: pipelined STAT, messages : echo", ratio, "", "≥ 0.3", ratio >= 0.3),
        fact("RPC: pipelined STAT : our NFS GETATTR", over_nfs, "", "≥ 2", over_nfs >= 2.0),
        fact("RPC: 1 MiB reads from cache : echo", reads, "", "≥ 0.6", reads >= 0.6),
        fact("RPC: round trip of a one-byte read, p50 : echo", byte, "", "≤ 3", byte <= 3.0),
        fact("RPC: round trip of STAT, p50 : echo", trip, "", "–", true),
        fact("RPC: pipelined STAT", rate / 1e3, " k/s", "–", true),
    ])
}
