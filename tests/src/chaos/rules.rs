//! What is to go wrong, when, and how often.

use std::time::Duration;

use serde::Deserialize;

use super::wire::Head;

/// What a request asks of an object store, whichever dialect it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// PUT of an object.
    Put,
    /// GET of an object.
    Get,
    /// HEAD.
    Head,
    /// A listing.
    List,
    /// DELETE of one object.
    Delete,
    /// POST: a bulk delete.
    Bulk,
    /// Anything else (tokens, the bucket itself).
    Other,
}

impl Verb {
    /// The verb of a request. A listing is a GET with one of the parameters that only listings
    /// have (S3 ListObjectsV2: `list-type`; Swift containers: `prefix`, `limit`, `format`, `marker`).
    pub fn of(head: &Head) -> Self {
        let segments = head.path().split('/').filter(|s| !s.is_empty()).count();
        let lists = ["list-type=", "prefix=", "limit=", "format=", "marker="];
        let query = head.query();
        let least = if head.path().starts_with("/v1/") { 4 } else { 2 };
        match head.method() {
            "GET" if query.split('&').any(|p| lists.iter().any(|l| p.starts_with(l))) => Self::List,
            _ if head.path().starts_with("/auth/") => Self::Other,
            // The account or a container itself, not an object in it.
            _ if segments < least && head.method() != "POST" => Self::Other,
            "GET" => Self::Get,
            "PUT" => Self::Put,
            "HEAD" => Self::Head,
            "DELETE" => Self::Delete,
            "POST" => Self::Bulk,
            _ => Self::Other,
        }
    }
}

/// Which requests a rule is for. An empty condition holds for all.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// Any of these verbs; empty: all.
    pub verbs: Vec<Verb>,
    /// The path contains this.
    pub path: String,
    /// Matching requests passed over at first.
    pub skip: u64,
    /// Most requests that are hit; `None`: no end.
    pub times: Option<u64>,
    /// Chance per matching request, of 1,000; 0 is taken for 1,000.
    pub per_mille: u64,
    /// Body of at least so many bytes (as the head says it).
    pub least_bytes: u64,
}

impl When {
    /// Requests of these verbs.
    pub fn verbs(verbs: &[Verb]) -> Self {
        Self { verbs: verbs.to_vec(), ..Self::default() }
    }

    /// With this text in their path.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// At most so many.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// With this chance each, of 1,000.
    #[must_use]
    pub fn per_mille(self, per_mille: u64) -> Self {
        Self { per_mille, ..self }
    }

    /// After so many.
    #[must_use]
    pub fn skip(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// Whether it is for this request, dice and counts left aside.
    pub fn matches(&self, verb: Verb, head: &Head) -> bool {
        (self.verbs.is_empty() || self.verbs.contains(&verb))
            && head.path().contains(&self.path)
            && (self.least_bytes == 0 || head.length().unwrap_or(0) >= self.least_bytes)
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// RST, as a host that died or a middle box that lost its state.
    Rst,
    /// FIN, as a process that ended.
    Fin,
}

/// A place in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum At {
    /// In the middle of the head.
    Head,
    /// Before byte N of the body.
    Byte(u64),
    /// Anywhere in the body, by the dice.
    Somewhere,
    /// Behind the last byte.
    End,
}

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Waits before the request is passed on: `least` plus up to `jitter` ms.
    Delay {
        /// ms.
        least: u64,
        /// ms.
        jitter: u64,
    },
    /// Cuts both connections at a place of the request.
    CutRequest {
        /// Where.
        at: At,
        /// How.
        how: Cut,
    },
    /// Cuts the client's connection at a place of the answer; the store has done its work.
    CutAnswer {
        /// Where.
        at: At,
        /// How.
        how: Cut,
    },
    /// Answers by itself.
    Answer {
        /// HTTP status.
        status: u16,
        /// Retry-After, seconds.
        retry_after: Option<u64>,
        /// True: the store does the work first, and its own answer is thrown away (the outcome is
        /// not what the answer says).
        after: bool,
    },
    /// The store gets a shorter body, whose length is said as if it were right.
    TruncateRequest {
        /// Where it ends.
        at: At,
    },
    /// The store gets a body with one bit turned.
    CorruptRequest {
        /// Where.
        at: At,
    },
    /// The client gets a shorter body, whose length is said as if it were right.
    TruncateAnswer {
        /// Where it ends.
        at: At,
    },
    /// The client gets a body with one bit turned.
    CorruptAnswer {
        /// Where.
        at: At,
    },
    /// The answer comes twice, the copy right behind it.
    Duplicate,
    /// From here on this connection gives each request the answer of the one before.
    Shift,
    /// This answer and that of the next such request on another connection change places. Without
    /// a partner within `wait` ms the answer goes its way.
    Swap {
        /// ms.
        wait: u64,
    },
    /// A GET is answered with the bytes of another object (at the same place).
    Other,
    /// GET and HEAD are answered as before the last change: with what was there, or 404.
    Old,
    /// Objects put less than `ms` ago are missing in the listing.
    Lag {
        /// ms.
        ms: u64,
    },
    /// The request is read whole, kept for `ms`, and passed on then, whether the client has gone
    /// or not (or never, if not `lands`).
    Stall {
        /// ms.
        ms: u64,
        /// Whether it is passed on.
        lands: bool,
    },
}

/// A fault and the requests it is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name, for counts.
    #[serde(default)]
    pub name: String,
    /// Which requests.
    #[serde(default)]
    pub when: When,
    /// What goes wrong.
    pub fault: Fault,
}

impl Rule {
    /// A rule.
    pub fn new(when: When, fault: Fault) -> Self {
        Self { name: format!("{fault:?}"), when, fault }
    }
}

/// What holds for all requests.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Line {
    /// Added before each request is passed on, ms.
    pub latency_ms: u64,
    /// Bytes a second towards the store, all connections together; 0: no limit.
    pub up: u64,
    /// Bytes a second from the store; 0: no limit.
    pub down: u64,
}

impl Line {
    /// The added latency.
    pub fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }
}

/// Rules and line as a file gives them (TOML).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// The line.
    pub line: Line,
    /// The rules, the first that hits counts.
    pub rule: Vec<Rule>,
}
