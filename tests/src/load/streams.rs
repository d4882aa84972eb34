//! One long file, written or read from its beginning to its end.

use std::time::Duration;

use super::engine::{Lap, Until, Work, drive, ok, put};
use super::outcome::{Outcome, cpu_seconds, now};
use super::rows::Writes;
use super::{LoadError, Pool, Target};
use crate::nfsclient::proc::{Call, Read};
use crate::nfsclient::xdr::Dec;
use crate::nfsclient::{Conn, Cred, Fh};

const MIB: usize = 1 << 20;
/// A reply may take as long as a slow store does.
const PATIENCE: Duration = Duration::from_secs(120);

fn outcome(target: &Target, lap: Lap, name: String, wall: Duration, cpu: Option<f64>) -> Outcome {
    let used = target.pid.and_then(cpu_seconds).zip(cpu).map(|(b, a)| b - a);
    let mut latency = lap.latency;
    latency.sort_unstable();
    Outcome { name, ops: lap.ops, bytes: lap.bytes, wall, latency, cpu: used }
}

/// Writes a new file of `mib` MiB by UNSTABLE WRITEs of 1 MiB, `window` in flight, and COMMITs it.
/// The time is that of all, the COMMIT included. Gives the file.
pub fn write_file(
    target: &Target,
    pool: &Pool,
    (dir, name): (&Fh, &str),
    mib: u64,
    window: usize,
) -> Result<(Fh, Outcome), LoadError> {
    let mut c = target.client()?;
    c.conn.set_timeout(Some(PATIENCE))?;
    let fh = c.create(dir, name, 0o644)?;
    let cpu = target.pid.and_then(cpu_seconds);
    let begin = now();
    let mut w = Writes { fh: fh.clone(), pool, cred: c.cred.clone() };
    let lap = drive(&mut c.conn, &mut w, window, Until::Count(mib))?;
    let done = c.commit(&fh)?;
    if !done.status.ok() {
        return Err(LoadError::Status("COMMIT", done.status));
    }
    let wall = now() - begin;
    Ok((fh, outcome(target, lap, format!("write {mib} MiB"), wall, cpu)))
}

/// Reads `mib` MiB of a file that [`write_file`] wrote by READs of 1 MiB, `window` in flight, and
/// compares every byte.
pub fn read_file(
    target: &Target,
    pool: &Pool,
    fh: &Fh,
    mib: u64,
    window: usize,
) -> Result<Outcome, LoadError> {
    let mut c = target.client()?;
    c.conn.set_timeout(Some(PATIENCE))?;
    let cpu = target.pid.and_then(cpu_seconds);
    let mut r = Reads { fh, pool, cred: c.cred.clone(), at: vec![0; window] };
    let begin = now();
    let lap = drive(&mut c.conn, &mut r, window, Until::Count(mib))?;
    Ok(outcome(target, lap, format!("read {mib} MiB"), now() - begin, cpu))
}

/// 1 MiB, one behind the other.
struct Reads<'a> {
    fh: &'a Fh,
    pool: &'a Pool,
    cred: Cred,
    at: Vec<u64>,
}

impl Work for Reads<'_> {
    fn queue(&mut self, conn: &mut Conn, xid: u32, slot: usize, n: u64) -> Result<(), LoadError> {
        self.at[slot] = n;
        let call = Read { fh: self.fh, offset: n * MIB as u64, count: MIB as u32 };
        put(conn, xid, &self.cred, Read::PROC, |e| call.args(e));
        Ok(())
    }

    fn check(&mut self, slot: usize, mut d: Dec) -> Result<u64, LoadError> {
        ok("READ", &mut d)?;
        if d.bool()? {
            d.take(84)?;
        }
        let (count, _eof) = (d.u32()? as usize, d.bool()?);
        let data = d.opaque(MIB)?;
        if count != MIB || data != self.pool.block(self.at[slot], MIB) {
            return Err(LoadError::Wrong(format!("MiB {} differs", self.at[slot])));
        }
        Ok(MIB as u64)
    }
}
