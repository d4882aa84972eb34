//! RPC against the real binary, which is killed: what was answered stays, and nothing is done twice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../rpcsvr/tests/at/client.rs"]
mod client;

use std::{collections::VecDeque, path::Path, time::Duration};

use client::{Client, at, next_frame};
use esker_tests::server::{Esker, Setup, until};
use rpc::{
    Call, FileId, List, Object, Place, SetAttributes,
    calls::{self, *},
    errno::ESTALE,
    frame::{AFTER, RESENT},
};

const SESSION: [u8; 16] = [0x51; 16];
const RW: u32 = calls::open::READ | calls::open::WRITE;

fn dice(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// A request that is kept until what it did is durable.
struct Kept {
    id: u64,
    frame: Vec<u8>,
    /// Its seq, once it was answered.
    seq: Option<u64>,
}

/// A client that loses nothing: it keeps what is not durable, and sends it again.
struct Careful {
    c: Client,
    kept: VecDeque<Kept>,
    file: FileId,
}

fn connect(path: &Path) -> Client {
    until(Duration::from_secs(30), || std::os::unix::net::UnixStream::connect(path).ok().map(drop))
        .expect("nobody listens");
    Client::unix(path, SESSION)
}

impl Careful {
    fn keep<C: Call>(&mut self, call: &C, payload: &[u8]) -> bool {
        let id = self.c.next;
        self.c.next += 1;
        self.c.mark = self.kept.front().map_or(id, |kept| kept.id);
        let frame = self.c.frame(id, call, payload, AFTER);
        let sent = self.c.wires.try_write(&frame);
        self.kept.push_back(Kept { id, frame, seq: None });
        sent
    }

    /// Takes answers until `left` are open, or the connection ends.
    fn take(&mut self, left: usize) -> bool {
        while self.kept.iter().filter(|kept| kept.seq.is_none()).count() > left {
            let Some(frame) = next_frame(&mut self.c.wires) else { return false };
            let id = frame.header.id;
            assert_eq!(frame.header.status, 0, "request {id}: {}", rpc::Refusal::of(&frame));
            // Each of them ends with, or is, its seq; WRITE has it first.
            let seq = match rpc::Op::of(frame.header.op).unwrap() {
                Op::Write => frame.body.first_chunk::<8>(),
                _ => frame.body.last_chunk::<8>(),
            };
            let seq = u64::from_le_bytes(*seq.unwrap());
            let kept = self.kept.iter_mut().find(|kept| kept.id == id);
            kept.expect("an answer to nothing").seq = Some(seq);
            let durable = frame.header.mark;
            while self.kept.front().is_some_and(|k| k.seq.is_some_and(|seq| seq <= durable)) {
                self.kept.pop_front();
            }
        }
        true
    }

    /// At the next server: the handle is claimed, then all that is kept is sent in order.
    fn come_back(&mut self, path: &Path) {
        let next = self.c.next;
        self.c = connect(path);
        self.c.mark = self.kept.front().map_or(next, |kept| kept.id);
        self.c.next = next;
        if !self.c.welcome.resumed {
            let claim = Open {
                place: Place::at(Object::Id(self.file)),
                flags: RW | calls::open::RECLAIM,
                handle: 1,
                set: SetAttributes::default(),
                wanted: List::default(),
            };
            let id = self.c.send(&claim, b"", 0);
            self.c.taken::<Open>(id).unwrap();
            let id = self.c.send(&Reclaimed {}, b"", 0);
            self.c.taken::<Reclaimed>(id).unwrap();
        }
        for kept in &mut self.kept {
            // The mark of then may be below that of now.
            kept.frame[24..32].copy_from_slice(&self.c.mark.to_le_bytes());
            kept.frame[18..20].copy_from_slice(&(RESENT | AFTER).to_le_bytes());
            kept.seq = None;
            self.c.wires.write(&kept.frame);
        }
    }
}

/// Where the server says that it listens; it is healthy a moment before it says so.
fn announced(server: &Esker) -> String {
    let line = || {
        let log = server.log_text();
        // Whole lines only.
        let (whole, _) = log.rsplit_once('\n')?;
        whole.lines().find_map(|line| line.strip_prefix("rpc: ").map(str::to_owned))
    };
    until(Duration::from_secs(30), line).expect("it does not say where it listens")
}

#[test]
fn killed_again_and_again_everything_is_done_once() {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("rpc");
    let listen = format!("unix:{}", path.display());
    let setup = Setup { args: vec!["--rpc".into(), listen.clone()], ..Setup::default() };
    let mut server = Esker::start(work.path(), &setup).unwrap();
    let mut c = connect(&path);
    assert_eq!(announced(&server), listen);
    let open = Open {
        place: at("f"),
        flags: RW | calls::open::CREATE,
        handle: 1,
        set: SetAttributes { mode: Some(0o600), ..SetAttributes::default() },
        wanted: List::default(),
    };
    let opened = c.call(&open).unwrap();
    c.call(&Sync {}).unwrap();
    // Without a name from now on: only the handle keeps it.
    c.call(&Unlink { place: at("f"), flags: 0 }).unwrap();
    c.call(&Sync {}).unwrap();
    let mut careful = Careful { c, kept: VecDeque::new(), file: opened.attributes.id };
    let (mut seed, mut appended, mut made) = (0x5eed_u64, 0_u64, 0_u64);
    let append = Write { file: Object::Handle(1), offset: 0, flags: calls::write::APPEND };
    for round in 0..6 {
        for _ in 0..60 + dice(&mut seed) % 200 {
            if dice(&mut seed).is_multiple_of(4) {
                let set = SetAttributes { mode: Some(0o700), ..SetAttributes::default() };
                careful.keep(&MkDir { place: at(&format!("d{made}")), set }, b"");
                made += 1;
            } else {
                careful.keep(&append, &appended.to_le_bytes());
                appended += 1;
            }
        }
        let unread = usize::try_from(dice(&mut seed) % 100).unwrap();
        assert!(careful.take(unread), "round {round}: the connection ended");
        if round == 5 {
            server.restart().unwrap(); // by SIGTERM
        } else {
            server.kill().unwrap();
            server.start_again().unwrap();
        }
        careful.come_back(&path);
    }
    assert!(careful.take(0));
    let mut c = careful.c;
    for n in 0..made {
        let again = MkDir { place: at(&format!("d{n}")), set: SetAttributes::default() };
        assert_eq!(c.call(&again), Err(rpc::errno::EEXIST));
    }
    let mut found = Vec::new();
    loop {
        let read = Read { file: Object::Handle(1), offset: found.len() as u64, count: 1 << 20 };
        let (data, bytes) = c.both(&read, b"").unwrap();
        found.extend_from_slice(&bytes);
        if data.eof {
            break;
        }
    }
    let expected: Vec<u8> = (0..appended).flat_map(u64::to_le_bytes).collect();
    assert!(found == expected, "{} bytes in place of {}", found.len(), expected.len());
    c.call(&Close { handle: 1 }).unwrap();
    let gone = Place::at(Object::Id(opened.attributes.id));
    let stat = Stat { place: gone, flags: 0, wanted: List::default() };
    assert_eq!(c.call(&stat).unwrap_err(), ESTALE);
}

#[test]
fn tcp_asks_for_a_secret_that_nobody_else_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let work = tempfile::tempdir().unwrap();
    let secret = work.path().join("secret");
    std::fs::write(&secret, [client::SECRET, b"\n"].concat()).unwrap();
    let args = ["--rpc", "127.0.0.1:0", "--rpc-secret"].map(String::from).into_iter();
    let args: Vec<String> = args.chain([secret.display().to_string()]).collect();
    let setup = Setup { args, ..Setup::default() };
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).unwrap();
    let why = Esker::start(work.path(), &setup).err().unwrap().to_string();
    assert!(why.contains("chmod 600"), "{why}");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let server = Esker::start(work.path(), &setup).unwrap();
    let address = announced(&server).parse().unwrap();
    assert!(Client::tcp(address, SESSION, b"what somebody else may know").is_err());
    let mut c = Client::tcp(address, SESSION, client::SECRET).unwrap();
    c.call(&Ping {}).unwrap();
    let metrics = server.metrics().unwrap();
    assert_eq!(metrics["esker_rpc_strangers_total"], 1.0);
    assert_eq!(metrics["esker_rpc_requests_total{operation=\"PING\",outcome=\"ok\"}"], 1.0);
}
