//! What every store must do. One suite for all of them: a directory, memory, Swift, S3, and each
//! behind its wrappers.
//!
//! Needs a prefix below which nothing exists, on a runtime with time and I/O; a multi-thread
//! runtime makes the races real.

mod bulk;
mod creation;
mod names;
mod thorough;

use std::{
    fmt,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;

use crate::{ObjectName, ObjectStore, StoreError, disk::Disk};

/// The store under trial.
#[derive(Clone)]
pub struct Trial {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    scratch: Option<(Arc<dyn Disk>, PathBuf)>,
    thorough: bool,
}

/// One clause that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its name.
    pub clause: &'static str,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.clause, self.seen)
    }
}

/// Outcome of a clause; the text is what was seen instead.
pub(crate) type Verdict = Result<(), String>;
type Running<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// A clause: its name, and its trial.
pub(crate) struct Clause {
    name: &'static str,
    run: for<'a> fn(&'a Trial) -> Running<'a>,
}

macro_rules! clauses {
    ($($name:ident),* $(,)?) => {
        pub(crate) const CLAUSES: &[crate::conformance::Clause] = &[$(
            crate::conformance::Clause { name: stringify!($name), run: |t| Box::pin($name(t)) },
        )*];
    };
}
pub(crate) use clauses;

macro_rules! ensure {
    ($holds:expr, $($seen:tt)*) => {
        if !$holds {
            return Err(format!($($seen)*));
        }
    };
}
pub(crate) use ensure;

impl Trial {
    /// A trial of `store` below `prefix` (legal object name parts, without a final `/`).
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { store, prefix: prefix.to_owned(), scratch: None, thorough: false }
    }

    /// Try `put_file` too, with files made in `dir` on `disk`.
    #[must_use]
    pub fn with_files(mut self, disk: Arc<dyn Disk>, dir: &Path) -> Self {
        self.scratch = Some((disk, dir.to_owned()));
        self
    }

    /// Try large objects and thousands of names too: for stores over a network, which divide them.
    #[must_use]
    pub fn thorough(mut self) -> Self {
        self.thorough = true;
        self
    }

    /// Runs every clause; gives those that failed.
    pub async fn run(&self) -> Vec<Failed> {
        self.run_those(|_| true).await
    }

    /// Runs the clauses whose name `wanted` accepts.
    pub async fn run_those(&self, wanted: impl Fn(&str) -> bool) -> Vec<Failed> {
        let mut failed = Vec::new();
        let thorough = if self.thorough { thorough::CLAUSES } else { &[] };
        let all = [creation::CLAUSES, names::CLAUSES, bulk::CLAUSES, thorough];
        let all = all.into_iter().flatten();
        for clause in all.filter(|c| wanted(c.name)) {
            if let Err(seen) = (clause.run)(self).await {
                failed.push(Failed { clause: clause.name, seen });
            }
        }
        failed
    }

    /// The name `prefix/tail`.
    fn name(&self, tail: &str) -> Result<ObjectName, String> {
        let full = format!("{}/{tail}", self.prefix);
        ObjectName::new(full.clone()).ok_or_else(|| format!("{full} is no legal name"))
    }

    async fn put(&self, name: &ObjectName, bytes: impl Into<Bytes>) -> Verdict {
        let put = self.store.put_new(name, vec![bytes.into()]).await;
        put.map_err(|e| format!("put_new {name}: {e}"))
    }

    async fn whole(&self, name: &ObjectName) -> Result<Bytes, String> {
        let got = self.store.get(name, 0..u64::MAX).await;
        got.map_err(|e| format!("get {name}: {e}"))
    }

    /// Absent to every way of looking.
    async fn absent(&self, name: &ObjectName) -> Verdict {
        expect_not_found("head", self.store.head(name).await)?;
        expect_not_found("get", self.store.get(name, 0..1).await)?;
        let listed = self.listed(name.as_str(), None, 10).await?;
        ensure!(!listed.contains(&name.to_string()), "{name} is listed");
        Ok(())
    }

    async fn listed(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, String> {
        let names =
            self.store.list(prefix, after, limit).await.map_err(|e| format!("list: {e}"))?;
        Ok(names.iter().map(ToString::to_string).collect())
    }
}

/// Runs the suite and panics with every clause that failed. For tests.
///
/// # Panics
/// Where a clause failed.
pub async fn assert_conforms(trial: &Trial) {
    let failed = trial.run().await;
    let text: Vec<String> = failed.iter().map(ToString::to_string).collect();
    assert!(failed.is_empty(), "the store fails:\n  {}", text.join("\n  "));
}

pub(crate) fn expect_exists(what: &str, outcome: Result<(), StoreError>) -> Verdict {
    match outcome {
        Err(StoreError::Exists { .. }) => Ok(()),
        Err(e) => Err(format!("{what}: {e}, not Exists")),
        Ok(()) => Err(format!("{what}: replaced an object")),
    }
}

pub(crate) fn expect_not_found<T>(what: &str, outcome: Result<T, StoreError>) -> Verdict {
    match outcome {
        Err(StoreError::NotFound { .. }) => Ok(()),
        Err(e) => Err(format!("{what}: {e}, not NotFound")),
        Ok(_) => Err(format!("{what}: an object is there")),
    }
}

/// `len` bytes that differ from place to place and from seed to seed.
pub(crate) fn pattern(seed: u64, len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut x = seed;
    while bytes.len() < len {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(x ^ (x >> 29)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

#[cfg(test)]
mod tests;
