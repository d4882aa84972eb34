//! What is to go wrong with a disk, and when: for countdown tests and simulation.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
};

/// The operations of a [`super::Disk`], one kind per system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `create_new`.
    Create,
    /// `open` and `open_read`.
    Open,
    /// `write_at`.
    Write,
    /// `read_at`.
    Read,
    /// `sync_data`.
    SyncData,
    /// `start_writeout`.
    StartWriteout,
    /// `set_len`.
    SetLen,
    /// `allocate`.
    Allocate,
    /// `try_lock`.
    Lock,
    /// `link`.
    Link,
    /// `rename`.
    Rename,
    /// `unlink`.
    Unlink,
    /// `sync_dir`.
    SyncDir,
    /// `create_dir`.
    CreateDir,
    /// `remove_dir`.
    RemoveDir,
    /// `list`, `entries`, `exists`, `len`, `identity`, `capacity`.
    Look,
}

impl Operation {
    /// True where it changes what is, or will be, on the disk.
    pub fn changes(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::StartWriteout | Self::Lock | Self::Look)
    }
}

/// How an operation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Nothing is done; this `errno` is answered. For `SyncData` and `SyncDir` with Linux's
    /// consequence: what was not yet synced counts as clean from now on and is lost in a crash.
    Errno(i32),
    /// A write of only this many bytes, then the `errno`; other operations just fail.
    Short(usize, i32),
    /// This and every later operation of every process fails (`EIO`): the power is off. What is on
    /// the disk is decided by the crash that the test calls next.
    PowerOff,
}

/// One thing that will go wrong.
#[derive(Clone, Debug)]
pub struct Harmed {
    /// Kind of operation; `None`: any that changes the disk.
    pub operation: Option<Operation>,
    /// Only for paths that contain this.
    pub path: Option<String>,
    /// Matching operations that still go well before.
    pub skip: u64,
    /// Matching operations harmed after them.
    pub times: u64,
    /// What happens.
    pub harm: Harm,
}

impl Harmed {
    /// The `nth` operation of a kind from now (0: the next) fails once with `errno`.
    pub fn nth(operation: Operation, nth: u64, errno: i32) -> Self {
        let harm = Harm::Errno(errno);
        Self { operation: Some(operation), path: None, skip: nth, times: 1, harm }
    }

    /// The power goes off at the `nth` changing operation from now (0: the next).
    pub fn power_off(nth: u64) -> Self {
        Self { operation: None, path: None, skip: nth, times: u64::MAX, harm: Harm::PowerOff }
    }

    /// Only for paths that contain `part`.
    #[must_use]
    pub fn at(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Harms this many in a row.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn matches(&self, operation: Operation, path: &Path) -> bool {
        let kind = match self.operation {
            Some(wanted) => wanted == operation,
            None => operation.changes(),
        };
        let part = self.path.as_deref();
        kind && part.is_none_or(|part| path.to_string_lossy().contains(part))
    }
}

/// Most operations kept in the log.
const LOG_LENGTH: usize = 100_000;

/// The harms to come, and the operations that were.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    harms: Vec<Harmed>,
    counts: BTreeMap<Operation, u64>,
    log: VecDeque<(Operation, PathBuf)>,
    power_off: bool,
    hits: u64,
}

impl Plan {
    /// Adds a harm.
    pub fn add(&mut self, harm: Harmed) {
        self.harms.push(harm);
    }

    /// Forgets all harms still to come, and switches the power on.
    pub fn clear(&mut self) {
        self.harms.clear();
        self.power_off = false;
    }

    /// True from the first [`Harm::PowerOff`] on.
    pub fn is_power_off(&self) -> bool {
        self.power_off
    }

    /// Operations harmed so far: a countdown ends where its harm hit nothing.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// How often each kind was asked for.
    pub fn counts(&self) -> &BTreeMap<Operation, u64> {
        &self.counts
    }

    /// The last operations, oldest first.
    pub fn log(&self) -> impl Iterator<Item = &(Operation, PathBuf)> {
        self.log.iter()
    }

    /// Forgets counts and log.
    pub fn forget(&mut self) {
        self.counts.clear();
        self.log.clear();
    }

    /// Notes an operation; gives what goes wrong with it.
    pub fn note(&mut self, operation: Operation, path: &Path) -> Option<Harm> {
        if self.power_off {
            return Some(Harm::PowerOff);
        }
        *self.counts.entry(operation).or_default() += 1;
        if self.log.len() == LOG_LENGTH {
            self.log.pop_front();
        }
        self.log.push_back((operation, path.to_owned()));
        let mut hit = None;
        for harm in &mut self.harms {
            if harm.times > 0 && harm.matches(operation, path) {
                if harm.skip > 0 {
                    harm.skip -= 1;
                } else if hit.is_none() {
                    harm.times -= 1;
                    hit = Some(harm.harm);
                }
            }
        }
        self.hits += u64::from(hit.is_some());
        self.power_off |= hit == Some(Harm::PowerOff);
        hit
    }
}

impl Harm {
    /// The error that the caller sees.
    pub fn error(self) -> io::Error {
        match self {
            Self::Errno(errno) | Self::Short(_, errno) => io::Error::from_raw_os_error(errno),
            Self::PowerOff => io::Error::from_raw_os_error(libc::EIO),
        }
    }
}
