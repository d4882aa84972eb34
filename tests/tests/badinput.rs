//! What must not hurt: malformed, endless, slow and unread traffic. Broken framing closes that
//! connection, everything decodable is answered, memory stays bounded, others notice nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use esker_tests::load::now;
use esker_tests::nfsclient::proc::{Call, Getattr, Null, Read, UNSTABLE, Write};
use esker_tests::nfsclient::{Client, Conn, Cred, Fh, NFS, Sattr, open_socket, put_call};
use esker_tests::server::{Esker, Setup, pause, until};
use tempfile::TempDir;

struct Lab {
    server: Esker,
    root: Fh,
    _work: TempDir,
}

impl Lab {
    fn new() -> Self {
        Self::with(Setup::default())
    }
    /// Any port may call: the tests need more connections than there are low ports.
    fn with(mut setup: Setup) -> Self {
        setup.exports = vec!["/ 127.0.0.0/8(rw,insecure,no_root_squash)".into()];
        let work = tempfile::tempdir().unwrap();
        let server = Esker::start(work.path(), &setup).unwrap();
        server.prove_ours().unwrap();
        let root = server.mount("/").unwrap();
        Self { server, root, _work: work }
    }
    fn socket(&self) -> TcpStream {
        let s = open_socket(self.server.nfs, Ipv4Addr::UNSPECIFIED, 0).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        s.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        s
    }
    fn client(&self) -> Client {
        Client::over(Conn::over(self.socket()).unwrap(), Cred::sys(0, 0, &[]))
    }
    /// Another client works, within `time`.
    fn others_work(&self, time: Duration) {
        let begin = now();
        let mut c = self.client();
        let fh = c.create(&self.root, "others", 0o644).unwrap();
        let w = c.write(&fh, 0, UNSTABLE, b"fine").unwrap();
        assert!(w.status.ok() && c.commit(&fh).unwrap().status.ok());
        assert_eq!(c.read(&fh, 0, 10).unwrap().data, b"fine");
        assert!(now() - begin < time, "another client waited {:?}", now() - begin);
    }
}

/// True once the server has closed this connection.
fn is_closed(s: &mut TcpStream) -> bool {
    let mut b = [0; 65_536];
    loop {
        match s.read(&mut b) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return true,
            Err(_) => return false,
        }
    }
}

fn mark(len: u32, last: bool) -> [u8; 4] {
    (len | if last { 0x8000_0000 } else { 0 }).to_be_bytes()
}

const MIB: u64 = 1 << 20;

/// Lengths up to 0x7fffffff, announced by many connections: none of it is believed.
#[test]
fn announced_lengths_take_no_memory() {
    let lab = Lab::new();
    let before = lab.server.rss();
    let mut open: Vec<TcpStream> = Vec::new();
    for i in 0..200u32 {
        let mut s = lab.socket();
        let len = [0x7fff_ffff, 0x7fff_ffff, 2 << 20, 0x4000_0000][i as usize % 4];
        s.write_all(&mark(len, i % 2 == 0)).unwrap();
        let _ = s.write_all(&[0x55; 100]);
        open.push(s);
    }
    let closed = open.iter_mut().filter_map(|s| is_closed(s).then_some(())).count();
    assert_eq!(closed, 200, "records over the limit close their connection");
    let grown = lab.server.rss().saturating_sub(before);
    assert!(grown < 32 * MIB, "{} MiB more", grown / MIB);
    lab.others_work(Duration::from_secs(2));
}

/// Legal lengths announced and never sent: many at once stay cheap.
#[test]
fn promised_megabytes_are_not_reserved() {
    let lab = Lab::new();
    let before = lab.server.rss();
    let open: Vec<TcpStream> = (0..400)
        .map(|_| {
            let mut s = lab.socket();
            let mut call = Vec::new();
            put_call(&mut call, 1, (NFS, 3, 7), &Cred::sys(0, 0, &[]));
            s.write_all(&mark(1 << 20, true)).unwrap();
            s.write_all(&call).unwrap();
            s
        })
        .collect();
    lab.others_work(Duration::from_secs(2));
    let grown = lab.server.rss().saturating_sub(before);
    assert!(grown < 64 * MIB, "400 unfinished records hold {} MiB", grown / MIB);
    drop(open);
}

/// Fragments without end: of one byte, of none at all, of many bytes.
#[test]
fn endless_fragments_are_cut_off() {
    let lab = Lab::new();
    let before = lab.server.rss();
    for piece in [&[][..], &[0x11], &[0x22; 1000], &[0x33; 60_000]] {
        let mut s = lab.socket();
        let mut one = mark(piece.len() as u32, false).to_vec();
        one.extend_from_slice(piece);
        let mut sent = 0;
        // Enough to pass any limit in number or in bytes.
        let closed = until(Duration::from_secs(20), || {
            for _ in 0..50 {
                if s.write_all(&one).is_err() {
                    return Some(());
                }
                sent += one.len();
            }
            (sent > 64 << 20).then_some(())
        });
        assert!(closed.is_some());
        assert!(sent < 64 << 20, "fragments of {} bytes were taken for ever", piece.len());
    }
    let grown = lab.server.rss().saturating_sub(before);
    assert!(grown < 32 * MIB, "{} MiB more", grown / MIB);
    lab.others_work(Duration::from_secs(2));
}

/// Random bytes, random bytes in a frame, and a real call with each of its bytes changed.
#[test]
fn garbage() {
    let lab = Lab::new();
    let mut c = lab.client();
    let fh = c.create(&lab.root, "f", 0o644).unwrap();
    let mut dice = 0x1234_5678_9abc_def0u64;
    let mut roll = || {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice
    };
    for round in 0..300 {
        let mut s = lab.socket();
        let n = roll() as usize % 2000;
        let bytes: Vec<u8> = (0..n).map(|_| roll() as u8).collect();
        if round % 2 == 0 {
            let _ = s.write_all(&mark(n as u32, true));
        }
        let _ = s.write_all(&bytes);
    }
    let mut real = Vec::new();
    put_call(&mut real, 7, (NFS, 3, Write::PROC), &Cred::sys(0, 0, &[1, 2, 3]));
    let call = Write { fh: &fh, offset: 0, stable: UNSTABLE, data: b"0123456789" };
    call.args(&mut esker_tests::nfsclient::xdr::Enc(&mut real));
    let mut conn = Conn::over(lab.socket()).unwrap();
    let mut answered = 0;
    for at in 0..real.len() {
        for bit in [0, 3, 7] {
            let mut broken = real.clone();
            broken[at] ^= 1 << bit;
            conn.queue_raw(&mark(broken.len() as u32, true));
            conn.queue_raw(&broken);
            conn.flush().unwrap();
            // Bytes 4..8 say whether it is a call at all: what is none is dropped or closes.
            if (4..8).contains(&at) {
                conn = Conn::over(lab.socket()).unwrap();
                continue;
            }
            conn.reply().unwrap_or_else(|e| panic!("byte {at} bit {bit}: {e}"));
            answered += 1;
        }
    }
    assert!(answered > 300, "only {answered} broken calls");
    // And cut short at each length, in a frame that says so.
    for len in 24..real.len() {
        conn.queue_raw(&mark(len as u32, true));
        conn.queue_raw(&real[..len]);
        conn.flush().unwrap();
        if len < 40 {
            // The envelope itself is not whole: no proper answer exists.
            conn = Conn::over(lab.socket()).unwrap();
            continue;
        }
        let r = conn.reply().unwrap_or_else(|e| panic!("cut to {len}: {e}"));
        assert_eq!(r.xid, 7);
    }
    lab.others_work(Duration::from_secs(2));
}

/// One byte a while: the slow one gets its answer in the end, nobody waits for it.
#[test]
fn slow_senders() {
    let lab = Lab::new();
    let mut record = Vec::new();
    put_call(&mut record, 3, (NFS, 3, 0), &Cred::none());
    let mut all = mark(record.len() as u32, true).to_vec();
    all.extend(record);
    let mut slow: Vec<TcpStream> = (0..50).map(|_| lab.socket()).collect();
    for (i, byte) in all.iter().enumerate() {
        for s in &mut slow {
            s.write_all(&[*byte]).unwrap();
        }
        if i % 10 == 0 {
            lab.others_work(Duration::from_secs(2));
        }
    }
    for s in slow {
        let mut c = Conn::over(s).unwrap();
        assert_eq!(c.reply().unwrap().xid, 3);
    }
}

/// 10,000 clients connect and reset at once; half of them in the middle of a call.
#[test]
fn connect_and_reset() {
    let lab = Lab::new();
    let before = lab.server.rss();
    std::thread::scope(|s| {
        for t in 0..4 {
            let lab = &lab;
            s.spawn(move || {
                for i in 0..2500 {
                    let Ok(mut s) = TcpStream::connect(lab.server.nfs) else { continue };
                    socket2::SockRef::from(&s).set_linger(Some(Duration::ZERO)).unwrap();
                    if (i + t) % 2 == 0 {
                        let _ = s.write_all(&[0x80, 0, 0, 40, 1, 2, 3]);
                    }
                }
            });
        }
    });
    lab.others_work(Duration::from_secs(2));
    let open = until(Duration::from_secs(10), || {
        let m = lab.server.metrics().unwrap();
        (m["esker_nfs_connections"] < 20.0).then_some(m["esker_nfs_accepted_connections_total"])
    });
    assert!(open.expect("closed connections are forgotten") >= 10_000.0);
    let grown = lab.server.rss().saturating_sub(before);
    assert!(grown < 32 * MIB, "{} MiB more", grown / MIB);
}

/// 256 descriptors meet 1,000 connections: those that have one go on, the accept loop lives, and
/// when some leave others get in; the log keeps the descriptors it needs.
#[test]
fn more_connections_than_descriptors() {
    let lab = Lab::with(Setup { descriptors: Some(256), ..Setup::default() });
    let mut first = lab.client();
    let fh = first.create(&lab.root, "f", 0o644).unwrap();
    let crowd: Vec<TcpStream> = (0..1000)
        .filter_map(|_| {
            let s = TcpStream::connect_timeout(&lab.server.nfs, Duration::from_millis(500)).ok()?;
            Some(s)
        })
        .collect();
    assert!(crowd.len() > 200);
    for i in 0..100u64 {
        let w = first.write(&fh, i * 70_000, UNSTABLE, &[3; 70_000]).unwrap();
        assert!(w.status.ok() && first.commit(&fh).unwrap().status.ok(), "the log goes on");
    }
    let m = lab.server.metrics().unwrap();
    assert!(m["esker_nfs_connections"] < 256.0);
    drop(crowd);
    let back = until(Duration::from_secs(15), || {
        let s = TcpStream::connect_timeout(&lab.server.nfs, Duration::from_secs(1)).ok()?;
        let mut c = Client::over(Conn::over(s).ok()?, Cred::none());
        c.conn.set_timeout(Some(Duration::from_secs(2))).ok()?;
        c.call(&Null).ok()
    });
    assert!(back.is_some(), "nobody gets in after the crowd has left");
    lab.others_work(Duration::from_secs(2));
}

/// Replies that are never read: the client is held back, not the server's memory spent on it.
#[test]
fn replies_never_read() {
    let lab = Lab::new();
    let mut c = lab.client();
    let fh = c.create(&lab.root, "big", 0o644).unwrap();
    for i in 0..8u64 {
        assert!(c.write(&fh, i << 20, UNSTABLE, &vec![i as u8; 1 << 20]).unwrap().status.ok());
    }
    assert!(c.commit(&fh).unwrap().status.ok());
    c.read(&fh, 0, 1 << 20).unwrap();
    let before = lab.server.rss();
    let deaf: Vec<Conn> = (0..20)
        .map(|_| {
            let s = lab.socket();
            s.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let mut conn = Conn::over(s).unwrap();
            conn.stream().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
            let cred = Cred::sys(0, 0, &[]);
            for i in 0..500u32 {
                let call = Read { fh: &fh, offset: u64::from(i % 8) << 20, count: 1 << 20 };
                conn.queue(i, (NFS, 3, Read::PROC), &cred, |e| call.args(e));
            }
            let _ = conn.flush();
            conn
        })
        .collect();
    pause(Duration::from_millis(500));
    lab.others_work(Duration::from_secs(3));
    let grown = lab.server.rss().saturating_sub(before);
    assert!(grown < 200 * MIB, "20 deaf clients hold {} MiB", grown / MIB);
    // One of them begins to listen after all: nothing was lost.
    let mut one = deaf.into_iter().next().unwrap();
    for _ in 0..100 {
        let r = one.reply().unwrap();
        assert!(r.body.len() > 1 << 20);
    }
}

/// WRITEs whose length words disagree, and payloads at and beyond the limit.
#[test]
fn writes_that_lie() {
    let lab = Lab::new();
    let mut c = lab.client();
    let fh = c.create(&lab.root, "f", 0o644).unwrap();
    let exact = vec![5; 1 << 20];
    let w = c.write(&fh, 0, UNSTABLE, &exact).unwrap();
    assert_eq!((w.status.ok(), w.count), (true, 1 << 20));
    // count says 10, the data are 4: the server may take 4, or refuse; it must answer.
    let mut args = Vec::new();
    let mut e = esker_tests::nfsclient::xdr::Enc(&mut args);
    e.opaque(&fh.0);
    e.u64(0);
    e.u32(10);
    e.u32(0);
    e.opaque(b"four");
    c.call_raw((NFS, 3, 7), &args).unwrap();
    assert!(c.setattr(&fh, Sattr::size(0)).unwrap().status.ok());
    // Beyond wtmax, but within what a record may be: cut short, refused, or the connection ends.
    let over = vec![6; (1 << 20) + 2048];
    match c.write(&fh, 0, UNSTABLE, &over) {
        Ok(w) => assert!(!w.status.ok() || w.count <= 1 << 20),
        Err(_) => c = lab.client(),
    }
    c.call(&Getattr(&fh)).unwrap();
    lab.others_work(Duration::from_secs(2));
}
