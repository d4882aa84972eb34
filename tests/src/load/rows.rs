//! The rows: what each kind of call asks and what it checks.

use std::time::Duration;

use super::engine::{Lap, Until, Work, drive, ok, put, together};
use super::outcome::{Outcome, cpu_seconds, now};
use super::{LoadError, Pool, Target};
use crate::nfsclient::proc::{
    Call, Commit, Create, FILE_SYNC, Getattr, How, Lookup, Null, Read, Remove, UNSTABLE, Write,
};
use crate::nfsclient::xdr::Dec;
use crate::nfsclient::{Client, Conn, Cred, Fh, NFS, Sattr};

/// Kind of call measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// NULL.
    Null,
    /// GETATTR over 1,000 files.
    Getattr,
    /// LOOKUP over 1,000 names of one directory.
    Lookup,
    /// READ of 4 KiB at random places of a 64 MiB file that was read before.
    Read4k,
    /// READ of 1 MiB through the same file; true: every byte is compared.
    Read1m(bool),
    /// WRITE of 1 MiB UNSTABLE through new 256 MiB files, COMMIT after each file.
    Write1m,
    /// WRITE of 4 KiB FILE_SYNC, each behind the last.
    Sync4k,
    /// CREATE, WRITE 4 KiB UNSTABLE, COMMIT (left out if the WRITE was answered FILE_SYNC, as a
    /// client does); one such chain at a time on each connection, each in a directory of its own.
    Chain,
}

impl Row {
    /// All rows by the names they have on the command line.
    pub const NAMES: [(&'static str, Self); 9] = [
        ("null", Self::Null),
        ("getattr", Self::Getattr),
        ("lookup", Self::Lookup),
        ("read4k", Self::Read4k),
        ("read1m", Self::Read1m(false)),
        ("read1m-verify", Self::Read1m(true)),
        ("write1m", Self::Write1m),
        ("sync4k", Self::Sync4k),
        ("chain", Self::Chain),
    ];
    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, r)| *r == self).map_or("?", |(n, _)| n)
    }
}

/// How a row is driven.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Connections.
    pub conns: usize,
    /// Calls in flight on each.
    pub window: usize,
    /// Measured time.
    pub time: Duration,
}

/// A mounted target with the files that the rows need.
pub struct Prepared {
    target: Target,
    /// The directory everything happens in.
    pub dir: Fh,
    pool: Pool,
    files: Vec<Fh>,
    names: Vec<String>,
    big: Fh,
    runs: u32,
}

const FILES: usize = 1000;
const BIG_BLOCKS: u64 = 64;
const MIB: usize = 1 << 20;
const STREAM_BLOCKS: u64 = 256;

impl Prepared {
    /// Mounts and makes a directory, 1,000 small files and one of 64 MiB.
    pub fn new(target: Target) -> Result<Self, LoadError> {
        let root = target.root()?;
        let mut c = target.client()?;
        let name = format!("load-{}-{}", std::process::id(), c.conn.next_xid());
        let dir = c.mkdir(&root, &name, 0o755)?;
        let pool = Pool::new();
        let mut files = Vec::with_capacity(FILES);
        let names: Vec<String> = (0..FILES).map(|i| format!("file-{i:05}")).collect();
        for name in &names {
            files.push(c.create(&dir, name, 0o644)?);
        }
        let big = c.create(&dir, "big", 0o644)?;
        let mut w = Writes { fh: big.clone(), pool: &pool, cred: c.cred.clone() };
        drive(&mut c.conn, &mut w, 4, Until::Count(BIG_BLOCKS))?;
        let mut p = Self { target, dir, pool, files, names, big, runs: 0 };
        p.commit(&mut c, &p.big.clone())?;
        let once = Shape { conns: 1, window: 4, time: Duration::from_millis(300) };
        p.run(Row::Read1m(true), once)?;
        Ok(p)
    }

    fn commit(&self, c: &mut Client, fh: &Fh) -> Result<(), LoadError> {
        match c.commit(fh)?.status {
            s if s.ok() => Ok(()),
            s => Err(LoadError::Status("COMMIT", s)),
        }
    }

    /// Measures one row.
    pub fn run(&mut self, row: Row, shape: Shape) -> Result<Outcome, LoadError> {
        self.runs += 1;
        let mut clients = Vec::new();
        for _ in 0..shape.conns {
            clients.push(self.target.client()?);
        }
        let made = matches!(row, Row::Write1m | Row::Sync4k | Row::Chain);
        let dirs = if made { self.directories(shape.conns)? } else { Vec::new() };
        let cpu = self.target.pid.and_then(cpu_seconds);
        let end = now() + shape.time;
        let this = &*self;
        let jobs: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(i, c)| {
                let dir = dirs.get(i).map(|(_, fh)| fh);
                move || this.one(row, shape, c, i, dir, end)
            })
            .collect();
        let (lap, wall) = together(jobs)?;
        let used = self.target.pid.and_then(cpu_seconds).zip(cpu).map(|(b, a)| b - a);
        for (name, dir) in &dirs {
            self.remove_all(name, dir)?;
        }
        // A stream's COMMIT belongs to its time; other rows count until the bell only.
        let wall = if row == Row::Write1m { wall } else { wall.min(shape.time) };
        Ok(Outcome {
            name: format!("{} {}x{}", row.name(), shape.conns, shape.window),
            ops: lap.ops,
            bytes: lap.bytes,
            wall,
            latency: lap.latency,
            cpu: used,
        })
    }

    fn directories(&self, n: usize) -> Result<Vec<(String, Fh)>, LoadError> {
        let mut c = self.target.client()?;
        (0..n)
            .map(|i| {
                let name = format!("run-{}-{i}", self.runs);
                let fh = c.mkdir(&self.dir, &name, 0o755)?;
                Ok((name, fh))
            })
            .collect()
    }

    fn one(
        &self,
        row: Row,
        shape: Shape,
        mut c: Client,
        index: usize,
        dir: Option<&Fh>,
        end: std::time::Instant,
    ) -> Result<Lap, LoadError> {
        let until = Until::Clock(end);
        let dir = dir.unwrap_or(&self.dir);
        let mut asks = Asks {
            p: self,
            row,
            cred: c.cred.clone(),
            dice: index as u64 + 1,
            at: vec![0; shape.window],
        };
        match row {
            Row::Null | Row::Getattr | Row::Lookup | Row::Read4k | Row::Read1m(_) => {
                drive(&mut c.conn, &mut asks, shape.window, until)
            }
            Row::Write1m => self.streams(&mut c, dir, shape.window, end),
            Row::Sync4k => {
                let fh = c.create(dir, "synced", 0o644)?;
                let mut w = Syncs { fh, pool: &self.pool, cred: c.cred.clone() };
                drive(&mut c.conn, &mut w, shape.window, until)
            }
            Row::Chain => self.chains(&mut c, dir, end),
        }
    }

    /// 256 MiB files, each committed, until the time is over; whole files only.
    fn streams(
        &self,
        c: &mut Client,
        dir: &Fh,
        window: usize,
        end: std::time::Instant,
    ) -> Result<Lap, LoadError> {
        let mut sum = Lap::default();
        let mut n = 0;
        while n == 0 || now() < end {
            let fh = c.create(dir, &format!("stream-{n}"), 0o644)?;
            let mut w = Writes { fh: fh.clone(), pool: &self.pool, cred: c.cred.clone() };
            let lap = drive(&mut c.conn, &mut w, window, Until::Count(STREAM_BLOCKS))?;
            self.commit(c, &fh)?;
            sum.ops += lap.ops;
            sum.bytes += lap.bytes;
            sum.latency.extend(lap.latency);
            n += 1;
        }
        Ok(sum)
    }

    fn chains(&self, c: &mut Client, dir: &Fh, end: std::time::Instant) -> Result<Lap, LoadError> {
        let mut lap = Lap::default();
        let mut begin = now();
        while begin < end {
            let name = format!("small-{:07}", lap.ops);
            let how = How::Guarded(Sattr::mode(0o644));
            let made = c.call(&Create { dir, name: name.as_bytes(), how })?;
            let Some(fh) = made.fh else { return Err(LoadError::Status("CREATE", made.status)) };
            let w = c.write(&fh, 0, UNSTABLE, self.pool.block(lap.ops, 4096))?;
            if !w.status.ok() || w.count != 4096 {
                return Err(LoadError::Status("WRITE", w.status));
            }
            if w.committed != FILE_SYNC {
                let done = c.call(&Commit { fh: &fh, offset: 0, count: 4096 })?;
                if !done.status.ok() || done.verf != w.verf {
                    return Err(LoadError::Status("COMMIT", done.status));
                }
            }
            let at = now();
            if at < end {
                lap.ops += 1;
                lap.latency.push(u32::try_from((at - begin).as_nanos()).unwrap_or(u32::MAX));
            }
            begin = at;
        }
        Ok(lap)
    }

    fn remove_all(&self, name: &str, dir: &Fh) -> Result<(), LoadError> {
        let mut c = self.target.client()?;
        let names: Vec<Vec<u8>> = c
            .list(dir, 32 << 10)?
            .entries
            .into_iter()
            .map(|e| e.name)
            .filter(|n| n != b"." && n != b"..")
            .collect();
        let n = names.len() as u64;
        let mut w = Removes { dir: dir.clone(), names, cred: c.cred.clone() };
        drive(&mut c.conn, &mut w, 64, Until::Count(n))?;
        c.call(&crate::nfsclient::proc::Rmdir { dir: &self.dir, name: name.as_bytes() })?;
        Ok(())
    }

    /// Makes `n` files of 4 KiB over 8 connections as fast as it goes, nothing committed, in a new
    /// directory each; gives the time it took.
    pub fn flood(&mut self, n: u64) -> Result<Duration, LoadError> {
        self.runs += 1;
        let dirs = self.directories(8)?;
        let mut jobs = Vec::new();
        for (_, dir) in &dirs {
            let mut c = self.target.client()?;
            let pool = &self.pool;
            jobs.push(move || {
                let mut made = Floods::new(dir.clone(), pool, c.cred.clone(), 16);
                drive(&mut c.conn, &mut made, 16, Until::Count(n / 8 * 2))
            });
        }
        Ok(together(jobs)?.1)
    }
}

/// The rows that only ask.
struct Asks<'a> {
    p: &'a Prepared,
    row: Row,
    cred: Cred,
    dice: u64,
    at: Vec<u64>,
}

impl Work for Asks<'_> {
    fn queue(&mut self, conn: &mut Conn, xid: u32, slot: usize, n: u64) -> Result<(), LoadError> {
        let i = usize::try_from(n).unwrap_or(0) % FILES;
        match self.row {
            Row::Null => put(conn, xid, &self.cred, Null::PROC, |_| {}),
            Row::Getattr => {
                let call = Getattr(&self.p.files[i]);
                put(conn, xid, &self.cred, Getattr::PROC, |e| call.args(e));
            }
            Row::Lookup => {
                let call = Lookup { dir: &self.p.dir, name: self.p.names[i].as_bytes() };
                put(conn, xid, &self.cred, Lookup::PROC, |e| call.args(e));
            }
            _ => {
                let (offset, count) = if self.row == Row::Read4k {
                    self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    ((self.dice >> 33) % (BIG_BLOCKS * 256) * 4096, 4096)
                } else {
                    (n % BIG_BLOCKS * MIB as u64, MIB as u32)
                };
                self.at[slot] = n % BIG_BLOCKS;
                let call = Read { fh: &self.p.big, offset, count };
                put(conn, xid, &self.cred, Read::PROC, |e| call.args(e));
            }
        }
        Ok(())
    }

    fn check(&mut self, slot: usize, mut d: Dec) -> Result<u64, LoadError> {
        match self.row {
            Row::Null => return Ok(0),
            Row::Getattr => ok("GETATTR", &mut d)?,
            Row::Lookup => ok("LOOKUP", &mut d)?,
            _ => {
                ok("READ", &mut d)?;
                if d.bool()? {
                    d.take(84)?;
                }
                let (count, _eof) = (d.u32()? as usize, d.bool()?);
                let data = d.opaque(MIB)?;
                let want = if self.row == Row::Read4k { 4096 } else { MIB };
                if count != want || data.len() != want {
                    return Err(LoadError::Wrong(format!("READ gave {count} bytes of {want}")));
                }
                if self.row == Row::Read1m(true) && data != self.p.pool.block(self.at[slot], MIB) {
                    return Err(LoadError::Wrong(format!("MiB {} differs", self.at[slot])));
                }
                return Ok(if self.row == Row::Read4k { 0 } else { count as u64 });
            }
        }
        Ok(0)
    }
}

/// Checks the reply to a WRITE of `len` bytes; gives them.
fn written(mut d: Dec, len: usize) -> Result<u64, LoadError> {
    ok("WRITE", &mut d)?;
    if d.bool()? {
        d.take(24)?;
    }
    if d.bool()? {
        d.take(84)?;
    }
    match d.u32()? as usize {
        n if n == len => Ok(n as u64),
        n => Err(LoadError::Wrong(format!("WRITE took {n} bytes of {len}"))),
    }
}

/// 1 MiB UNSTABLE, one behind the other.
pub(super) struct Writes<'a> {
    pub(super) fh: Fh,
    pub(super) pool: &'a Pool,
    pub(super) cred: Cred,
}
impl Work for Writes<'_> {
    fn queue(&mut self, conn: &mut Conn, xid: u32, _: usize, n: u64) -> Result<(), LoadError> {
        let data = self.pool.block(n, MIB);
        let call = Write { fh: &self.fh, offset: n * MIB as u64, stable: UNSTABLE, data };
        let target = (NFS, 3, Write::PROC);
        Ok(conn.send_with_payload(xid, target, &self.cred, |e| call.head(e), data)?)
    }
    fn check(&mut self, _: usize, d: Dec) -> Result<u64, LoadError> {
        written(d, MIB)
    }
}

/// 4 KiB FILE_SYNC, one behind the other.
struct Syncs<'a> {
    fh: Fh,
    pool: &'a Pool,
    cred: Cred,
}
impl Work for Syncs<'_> {
    fn queue(&mut self, conn: &mut Conn, xid: u32, _: usize, n: u64) -> Result<(), LoadError> {
        let data = self.pool.block(n, 4096);
        let call = Write { fh: &self.fh, offset: n * 4096, stable: FILE_SYNC, data };
        put(conn, xid, &self.cred, Write::PROC, |e| call.args(e));
        Ok(())
    }
    fn check(&mut self, _: usize, d: Dec) -> Result<u64, LoadError> {
        written(d, 4096).map(|_| 0)
    }
}

/// Makes `n` empty files below `root` over 8 connections, 1,000 a directory, nothing waited for but
/// the replies.
pub fn make_files(target: &Target, root: &Fh, n: u64) -> Result<(), LoadError> {
    let per = 1000;
    let mut jobs = Vec::new();
    for part in 0..8 {
        let mut c = target.client()?;
        jobs.push(move || {
            let mut lap = Lap::default();
            for d in (part..n.div_ceil(per)).step_by(8) {
                let dir = c.mkdir(root, &format!("dir-{d:06}"), 0o755)?;
                let mut w = Creates { dir, cred: c.cred.clone() };
                let count = per.min(n - d * per);
                lap.ops += drive(&mut c.conn, &mut w, 64, Until::Count(count))?.ops;
            }
            Ok(lap)
        });
    }
    together(jobs).map(|_| ())
}

struct Creates {
    dir: Fh,
    cred: Cred,
}
impl Work for Creates {
    fn queue(&mut self, conn: &mut Conn, xid: u32, _: usize, n: u64) -> Result<(), LoadError> {
        let name = format!("file-{n:07}");
        let how = How::Unchecked(Sattr::mode(0o644));
        let call = Create { dir: &self.dir, name: name.as_bytes(), how };
        put(conn, xid, &self.cred, Create::PROC, |e| call.args(e));
        Ok(())
    }
    fn check(&mut self, _: usize, mut d: Dec) -> Result<u64, LoadError> {
        ok("CREATE", &mut d).map(|()| 0)
    }
}

struct Removes {
    dir: Fh,
    names: Vec<Vec<u8>>,
    cred: Cred,
}
impl Work for Removes {
    fn queue(&mut self, conn: &mut Conn, xid: u32, _: usize, n: u64) -> Result<(), LoadError> {
        let name = &self.names[usize::try_from(n).unwrap_or(0)];
        let call = Remove { dir: &self.dir, name };
        put(conn, xid, &self.cred, Remove::PROC, |e| call.args(e));
        Ok(())
    }
    fn check(&mut self, _: usize, mut d: Dec) -> Result<u64, LoadError> {
        ok("REMOVE", &mut d).map(|()| 0)
    }
}

/// CREATE, then an UNSTABLE WRITE of 4 KiB to what it made; calls 2k and 2k+1 of a slot.
struct Floods<'a> {
    dir: Fh,
    pool: &'a Pool,
    cred: Cred,
    made: Vec<Option<Fh>>,
    named: u64,
}
impl<'a> Floods<'a> {
    fn new(dir: Fh, pool: &'a Pool, cred: Cred, window: usize) -> Self {
        Self { dir, pool, cred, made: vec![None; window], named: 0 }
    }
}
impl Work for Floods<'_> {
    fn queue(&mut self, conn: &mut Conn, xid: u32, slot: usize, n: u64) -> Result<(), LoadError> {
        if let Some(fh) = &self.made[slot] {
            let call = Write { fh, offset: 0, stable: UNSTABLE, data: self.pool.block(n, 4096) };
            put(conn, xid, &self.cred, Write::PROC, |e| call.args(e));
        } else {
            let name = format!("flood-{:07}", self.named);
            self.named += 1;
            let how = How::Guarded(Sattr::mode(0o644));
            let call = Create { dir: &self.dir, name: name.as_bytes(), how };
            put(conn, xid, &self.cred, Create::PROC, |e| call.args(e));
        }
        Ok(())
    }
    fn check(&mut self, slot: usize, mut d: Dec) -> Result<u64, LoadError> {
        if self.made[slot].take().is_some() {
            return written(d, 4096).map(|_| 0);
        }
        ok("CREATE", &mut d)?;
        if !d.bool()? {
            return Err(LoadError::Wrong("CREATE gave no handle".into()));
        }
        self.made[slot] = Some(Fh(d.opaque(64)?.to_vec()));
        Ok(0)
    }
}
