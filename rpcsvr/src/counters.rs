//! Counts per reactor, summed on demand. Only its own reactor writes to a set, with plain loads and
//! stores: no locked instruction on the way of a request.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rpc::Op;

const OUTCOMES: usize = 3;
const OPS: usize = 96;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Outcome {
    /// Status 0.
    Ok,
    /// An errno.
    Error,
    /// A repeat: answered from memory, or dropped because the request still runs.
    Repeat,
}

impl Outcome {
    const ALL: [(Self, &str); OUTCOMES] =
        [(Self::Ok, "ok"), (Self::Error, "error"), (Self::Repeat, "repeat")];

    /// The outcome of a reply's status.
    pub fn of(status: u16) -> Self {
        if status == 0 { Self::Ok } else { Self::Error }
    }
}

macro_rules! singles {
    ($($name:ident $help:literal),+ $(,)?) => {
        /// The counts of one reactor.
        pub struct ReactorCounters {
            ops: Vec<[AtomicU64; OUTCOMES]>,
            $(#[doc = $help] pub $name: AtomicU64,)+
        }

        impl Default for ReactorCounters {
            fn default() -> Self {
                Self { ops: (0..OPS).map(|_| Default::default()).collect(), $($name: AtomicU64::new(0),)+ }
            }
        }

        /// The counts of a server.
        #[derive(Clone, Debug)]
        pub struct Counters {
            ops: Vec<[u64; OUTCOMES]>,
            /// Connections open now.
            pub connections: u64,
            /// Sessions that stand.
            pub sessions: u64,
            $(#[doc = $help] pub $name: u64,)+
        }

        impl Default for Counters {
            fn default() -> Self {
                Self { ops: vec![[0; OUTCOMES]; OPS], connections: 0, sessions: 0, $($name: 0,)+ }
            }
        }

        impl Counters {
            fn add_singles(&mut self, from: &ReactorCounters) {
                $(self.$name += from.$name.load(Relaxed);)+
            }
            fn singles(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), $help, self.$name),)+]
            }
        }
    };
}

singles! {
    accepted "Connections accepted.",
    closed "Connections ended.",
    accept_errors "Errors of accept.",
    strangers "Connections refused at the handshake.",
    malformed "Connections closed because what arrived was no frame.",
    timed_out "Connections closed because a frame or a reply did not move.",
    unknown "Requests for operations that there are not.",
    replays "Requests refused because their id was used or given up.",
    waited "Requests that could not be answered at once.",
    wakes "Turns of connections.",
    receives "Receives that brought bytes.",
    sends "Vectored writes.",
    bytes_in "Bytes received.",
    bytes_out "Bytes sent.",
    syncs_inline "Waits for durability on the reactor itself.",
    syncs_queued "Waits for durability left to the journal's thread.",
    expired "Sessions ended because they had no connection for the grace time.",
}

/// Adds to a counter that one thread writes.
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

impl ReactorCounters {
    /// Counts a request.
    pub fn op(&self, op: Op, outcome: Outcome) {
        if let Some(row) = self.ops.get(op as usize) {
            bump(&row[outcome as usize], 1);
        }
    }
}

impl Counters {
    /// Sums the reactors' counts.
    pub fn sum(reactors: &[Arc<ReactorCounters>], sessions: usize) -> Self {
        let mut sum = Self { sessions: sessions as u64, ..Self::default() };
        for r in reactors {
            for (into, from) in sum.ops.iter_mut().zip(&r.ops) {
                for (into, from) in into.iter_mut().zip(from) {
                    *into += from.load(Relaxed);
                }
            }
            sum.add_singles(r);
        }
        sum.connections = sum.accepted.saturating_sub(sum.closed);
        sum
    }

    /// Requests of one operation, repeats included.
    pub fn requests(&self, op: Op) -> u64 {
        self.ops.get(op as usize).map_or(0, |row| row.iter().sum())
    }

    /// Requests of one operation that ended so.
    pub fn outcomes(&self, op: Op, outcome: Outcome) -> u64 {
        self.ops.get(op as usize).map_or(0, |row| row[outcome as usize])
    }

    /// The counts as Prometheus text (exposition format 0.0.4).
    pub fn prometheus(&self) -> String {
        let mut out = String::with_capacity(8 << 10);
        out.push_str("# HELP esker_rpc_requests_total Requests by operation and outcome.\n");
        out.push_str("# TYPE esker_rpc_requests_total counter\n");
        for op in Op::ALL {
            for (outcome, word) in Outcome::ALL {
                let (name, n) = (op.name(), self.outcomes(*op, outcome));
                // Writing to a String cannot fail.
                let _ = writeln!(
                    out,
                    "esker_rpc_requests_total{{operation=\"{name}\",outcome=\"{word}\"}} {n}"
                );
            }
        }
        for (name, help, n) in self.singles() {
            let _ = writeln!(out, "# HELP esker_rpc_{name}_total {help}");
            let _ = writeln!(out, "# TYPE esker_rpc_{name}_total counter");
            let _ = writeln!(out, "esker_rpc_{name}_total {n}");
        }
        let gauges = [
            ("connections", "Connections open now.", self.connections),
            ("sessions", "Sessions that stand.", self.sessions),
        ];
        for (name, help, n) in gauges {
            let _ = writeln!(out, "# HELP esker_rpc_{name} {help}");
            let _ = writeln!(out, "# TYPE esker_rpc_{name} gauge");
            let _ = writeln!(out, "esker_rpc_{name} {n}");
        }
        out
    }
}
