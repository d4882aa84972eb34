//! One connection with a window of calls in flight.

use std::time::{Duration, Instant};

use super::LoadError;
use super::outcome::now;
use crate::nfsclient::xdr::Dec;
use crate::nfsclient::{Conn, Cred, NFS, RpcStatus, Status, envelope};

/// What one connection does. `queue` puts call number `n` under `xid`; `check` looks at the
/// results of a call whose slot is `slot`, and says what it was worth in bytes.
pub(super) trait Work {
    /// Queues a call (or sends it at once, if it carries a payload).
    fn queue(&mut self, conn: &mut Conn, xid: u32, slot: usize, n: u64) -> Result<(), LoadError>;
    /// Checks results; gives bytes of payload.
    fn check(&mut self, slot: usize, results: Dec) -> Result<u64, LoadError>;
}

/// What one connection measured.
#[derive(Default)]
pub(super) struct Lap {
    pub ops: u64,
    pub bytes: u64,
    pub latency: Vec<u32>,
}

/// Ends a run: at a moment, or after so many calls.
#[derive(Clone, Copy)]
pub(super) enum Until {
    Clock(Instant),
    Count(u64),
}

/// Puts a call with plain arguments.
pub(super) fn put(
    conn: &mut Conn,
    xid: u32,
    cred: &Cred,
    proc_: u32,
    args: impl FnOnce(&mut crate::nfsclient::xdr::Enc),
) {
    conn.queue(xid, (NFS, 3, proc_), cred, args);
}

/// Takes a status that must be OK.
pub(super) fn ok(what: &'static str, d: &mut Dec) -> Result<(), LoadError> {
    match d.u32()? {
        0 => Ok(()),
        s => Err(LoadError::Status(what, Status(s))),
    }
}

/// Keeps `window` calls in flight until the end, then takes the rest of the replies uncounted
/// (all are counted with [`Until::Count`]).
pub(super) fn drive(
    conn: &mut Conn,
    work: &mut dyn Work,
    window: usize,
    until: Until,
) -> Result<Lap, LoadError> {
    // The slot is in the low bits of the xid: a reply finds its start time without a map.
    let slots = window.next_power_of_two() as u32;
    let base = conn.next_xid() & !(slots - 1);
    let mut round = vec![0u32; window];
    let mut started = vec![now(); window];
    let mut lap = Lap::default();
    let (mut sent, mut inflight) = (0u64, 0usize);
    let more = |sent: u64, at: Instant| match until {
        Until::Clock(end) => at < end,
        Until::Count(n) => sent < n,
    };
    let mut at = now();
    for (slot, started) in started.iter_mut().enumerate() {
        if more(sent, at) {
            work.queue(conn, base.wrapping_add(slot as u32), slot, sent)?;
            (sent, inflight, *started) = (sent + 1, inflight + 1, at);
        }
    }
    conn.flush()?;
    while inflight > 0 {
        let mut first = true;
        while inflight > 0 && (first || conn.has_record()) {
            let mut d = Dec(conn.record()?);
            let (xid, status) = envelope(&mut d)?;
            if first {
                at = now();
                first = false;
            }
            let slot = (xid & (slots - 1)) as usize;
            let want = base.wrapping_add(round[slot] * slots + slot as u32);
            if status != RpcStatus::Success || xid != want {
                return Err(LoadError::Wrong(format!("xid {xid} (for {want}): {status:?}")));
            }
            let bytes = work.check(slot, d)?;
            inflight -= 1;
            if matches!(until, Until::Count(_)) || more(sent, at) {
                lap.ops += 1;
                lap.bytes += bytes;
                let ns = at.saturating_duration_since(started[slot]).as_nanos();
                lap.latency.push(u32::try_from(ns).unwrap_or(u32::MAX));
            }
            if more(sent, at) {
                round[slot] += 1;
                let xid = base.wrapping_add(round[slot] * slots + slot as u32);
                work.queue(conn, xid, slot, sent)?;
                (sent, inflight, started[slot]) = (sent + 1, inflight + 1, at);
            }
        }
        conn.flush()?;
    }
    let rounds = round.iter().max().map_or(0, |r| r + 1);
    conn.xids_used_to(base.wrapping_add(rounds * slots));
    Ok(lap)
}

/// Runs one closure per connection, all beginning at the same moment; gives the laps and the time
/// from that moment to the last end.
pub(super) fn together<F>(jobs: Vec<F>) -> Result<(Lap, Duration), LoadError>
where
    F: FnOnce() -> Result<Lap, LoadError> + Send,
{
    let begin = now();
    let laps = std::thread::scope(|s| {
        let all: Vec<_> = jobs.into_iter().map(|j| s.spawn(j)).collect();
        all.into_iter()
            .map(|h| {
                h.join().unwrap_or_else(|_| Err(LoadError::Wrong("a connection panicked".into())))
            })
            .collect::<Result<Vec<_>, _>>()
    })?;
    let wall = now() - begin;
    let mut sum = Lap::default();
    for lap in laps {
        sum.ops += lap.ops;
        sum.bytes += lap.bytes;
        sum.latency.extend(lap.latency);
    }
    sum.latency.sort_unstable();
    Ok((sum, wall))
}
