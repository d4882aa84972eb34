//! Counts per reactor, summed on demand. Only its own reactor writes to a set, with plain loads and
//! stores: no locked instruction on the way of a call.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    mount::MountProcedure,
    nfs3::{PROCEDURES, Procedure, Status},
    rpc::Refusal,
};

const MOUNT_PROCEDURES: usize = MountProcedure::ALL.len();
const OUTCOMES: usize = 4;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Outcome {
    /// Status 0.
    Ok,
    /// Another status.
    Error,
    /// NFS3ERR_JUKEBOX.
    Jukebox,
    /// A repeat: answered from memory, or dropped because the call still runs.
    Repeat,
}

impl Outcome {
    const ALL: [Self; OUTCOMES] = [Self::Ok, Self::Error, Self::Jukebox, Self::Repeat];

    /// The outcome of a reply's status.
    pub fn of(status: u32) -> Self {
        match status {
            0 => Self::Ok,
            s if s == Status::Jukebox as u32 => Self::Jukebox,
            _ => Self::Error,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Jukebox => "jukebox",
            Self::Repeat => "repeat",
        }
    }
}

macro_rules! singles {
    ($($name:ident $metric:literal $help:literal),+ $(,)?) => {
        /// The counts of one reactor.
        #[derive(Default)]
        pub struct ReactorCounters {
            nfs: [[AtomicU64; OUTCOMES]; PROCEDURES],
            mount: [[AtomicU64; OUTCOMES]; MOUNT_PROCEDURES],
            refusals: [AtomicU64; REFUSALS.len()],
            $(#[doc = $help] pub $name: AtomicU64,)+
        }

        /// A sum over all reactors, at one moment.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            nfs: [[u64; OUTCOMES]; PROCEDURES],
            mount: [[u64; OUTCOMES]; MOUNT_PROCEDURES],
            refusals: [u64; REFUSALS.len()],
            $(#[doc = $help] pub $name: u64,)+
            /// Connections open now.
            pub connections: u64,
        }

        impl Counters {
            fn add_singles(&mut self, from: &ReactorCounters) {
                $(self.$name += from.$name.load(Relaxed);)+
            }

            fn singles(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$(($metric, $help, self.$name)),+]
            }
        }
    };
}

singles! {
    bytes_in "received_bytes" "Bytes received.",
    bytes_out "sent_bytes" "Bytes sent.",
    receives "receives" "System calls that received.",
    sends "sends" "System calls that sent.",
    wakes "wakes" "Times a connection was woken.",
    accepted "accepted_connections" "Connections accepted.",
    closed "closed_connections" "Connections closed.",
    malformed "malformed_connections" "Connections closed for broken framing.",
    timed_out "timed_out_connections" "Connections closed for an unfinished record or unread replies.",
    accept_errors "accept_errors" "Errors of the accept loop, all survived.",
    syncs_inline "syncs_inline" "Syncs offered to be carried out on the reactor itself.",
    syncs_queued "syncs_queued" "Syncs left to the journal thread.",
    waited "waited_calls" "Calls that could not be answered at once.",
}

const REFUSALS: [(Refusal, &str); 7] = [
    (Refusal::RpcMismatch, "rpc_mismatch"),
    (Refusal::BadCredential, "bad_credential"),
    (Refusal::BadVerifier, "bad_verifier"),
    (Refusal::ProgramUnavailable, "program_unavailable"),
    (Refusal::ProgramMismatch, "program_mismatch"),
    (Refusal::ProcedureUnavailable, "procedure_unavailable"),
    (Refusal::GarbageArguments, "garbage_arguments"),
];

/// Adds to a count that only this thread writes.
pub fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

impl ReactorCounters {
    /// Counts an NFS call.
    pub fn nfs(&self, procedure: Procedure, outcome: Outcome) {
        bump(&self.nfs[procedure as usize][outcome as usize], 1);
    }

    /// Counts a MOUNT call.
    pub fn mount(&self, procedure: MountProcedure, outcome: Outcome) {
        bump(&self.mount[procedure as usize][outcome as usize], 1);
    }

    /// Counts a call refused by RPC.
    pub fn refused(&self, refusal: Refusal) {
        if let Some(n) = REFUSALS.iter().position(|(r, _)| *r == refusal) {
            bump(&self.refusals[n], 1);
        }
    }
}

impl Counters {
    /// Sums the reactors' counts.
    pub fn sum(reactors: &[Arc<ReactorCounters>]) -> Self {
        let mut sum = Self::default();
        for r in reactors {
            let rows = sum.nfs.iter_mut().zip(&r.nfs).chain(sum.mount.iter_mut().zip(&r.mount));
            for (into, from) in rows {
                for (into, from) in into.iter_mut().zip(from) {
                    *into += from.load(Relaxed);
                }
            }
            for (into, from) in sum.refusals.iter_mut().zip(&r.refusals) {
                *into += from.load(Relaxed);
            }
            sum.add_singles(r);
        }
        sum.connections = sum.accepted.saturating_sub(sum.closed);
        sum
    }

    /// Calls of one procedure, repeats included.
    pub fn calls(&self, procedure: Procedure) -> u64 {
        self.nfs[procedure as usize].iter().sum()
    }

    /// Calls of one procedure that ended so.
    pub fn outcomes(&self, procedure: Procedure, outcome: Outcome) -> u64 {
        self.nfs[procedure as usize][outcome as usize]
    }

    /// Calls that RPC refused for `refusal`.
    pub fn refusals(&self, refusal: Refusal) -> u64 {
        let at = REFUSALS.iter().position(|(r, _)| *r == refusal);
        at.map_or(0, |n| self.refusals[n])
    }

    /// The counts as Prometheus text (exposition format 0.0.4).
    pub fn prometheus(&self) -> String {
        let mut out = String::with_capacity(8 << 10);
        out.push_str("# HELP esker_nfs_calls_total Calls by procedure and outcome.\n");
        out.push_str("# TYPE esker_nfs_calls_total counter\n");
        let mut rows = |program: &str, name: &str, row: &[u64; OUTCOMES]| {
            for (outcome, n) in Outcome::ALL.iter().zip(row) {
                let outcome = outcome.name();
                // Writing to a String cannot fail.
                let _ = writeln!(
                    out,
                    "esker_nfs_calls_total{{program=\"{program}\",procedure=\"{name}\",\
                     outcome=\"{outcome}\"}} {n}"
                );
            }
        };
        for (p, row) in Procedure::ALL.iter().zip(&self.nfs) {
            rows("nfs", p.name(), row);
        }
        for (p, row) in MountProcedure::ALL.iter().zip(&self.mount) {
            rows("mount", p.name(), row);
        }
        out.push_str("# HELP esker_nfs_refused_total Calls refused by RPC.\n");
        out.push_str("# TYPE esker_nfs_refused_total counter\n");
        for ((_, name), n) in REFUSALS.iter().zip(&self.refusals) {
            let _ = writeln!(out, "esker_nfs_refused_total{{reason=\"{name}\"}} {n}");
        }
        for (name, help, n) in self.singles() {
            let _ = writeln!(out, "# HELP esker_nfs_{name}_total {help}");
            let _ = writeln!(out, "# TYPE esker_nfs_{name}_total counter");
            let _ = writeln!(out, "esker_nfs_{name}_total {n}");
        }
        out.push_str("# HELP esker_nfs_connections Connections open now.\n");
        out.push_str("# TYPE esker_nfs_connections gauge\n");
        let _ = writeln!(out, "esker_nfs_connections {}", self.connections);
        out
    }
}
