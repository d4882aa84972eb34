//! The configuration file, and what holds once file and command line are put together.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use nfssvr::Exports;
use serde::Deserialize;

use crate::{args, size::Size, store_url::StoreUrl};

/// Least `memory`, bytes: below it the parts would not have room for one large call each.
const LEAST_MEMORY: u64 = 64 << 20;
const DEFAULT_MEMORY: u64 = 512 << 20;

/// The file, in TOML. Every key may be absent; an unknown one is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    store: Option<StoreUrl>,
    nfs: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    journal: Option<PathBuf>,
    memory: Option<Size>,
    /// Lines as in exports(5).
    exports: Option<String>,
}

/// Everything `serve` needs to know.
#[derive(Debug)]
pub struct Settings {
    pub store: StoreUrl,
    pub nfs: SocketAddr,
    pub admin: SocketAddr,
    pub journal: Option<PathBuf>,
    pub memory: Memory,
    pub take_over: bool,
    pub abandon_journal: bool,
    pub exports: Exports,
}

/// How the operator's one number is divided, bytes. The shares add up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Pages of the index.
    pub index: u64,
    /// Decoded frames.
    pub cache: u64,
    /// Committed bytes that are not yet durable.
    pub unsynced: u64,
    /// Calls and replies in flight.
    pub calls: u64,
}

impl Memory {
    /// Divides `bytes`.
    pub fn divide(size: Option<Size>) -> Result<Self, String> {
        let bytes = size.map_or(DEFAULT_MEMORY, |s| s.0);
        if bytes < LEAST_MEMORY {
            return Err(format!("--memory {} is too little: at least 64MiB", Size(bytes)));
        }
        let (index, unsynced, calls) = (bytes / 4, bytes / 8, bytes / 8);
        Ok(Self { index, unsynced, calls, cache: bytes - index - unsynced - calls })
    }
}

impl Settings {
    /// The command line over the file over the defaults.
    pub fn of(args: args::Serve) -> Result<Self, String> {
        let file = match &args.config {
            None => File::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| format!("{}: {e}", path.display()))?;
                toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?
            }
        };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut rules = file.exports.unwrap_or_default();
        for rule in &args.exports {
            rules.push('\n');
            rules.push_str(rule);
        }
        Ok(Self {
            store: args.store.or(file.store).ok_or("no STORE named: say esker serve PATH")?,
            nfs: args.nfs.or(file.nfs).unwrap_or(local(2049)),
            admin: args.admin.or(file.admin).unwrap_or(local(2050)),
            journal: args.journal.or(file.journal),
            memory: Memory::divide(args.memory.or(file.memory))?,
            take_over: args.take_over,
            abandon_journal: args.abandon_journal,
            exports: Exports::parse(&rules).map_err(|e| format!("exports: {e}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_adds_up() {
        for mib in [64, 100, 512, 4096] {
            let m = Memory::divide(Some(Size(mib << 20))).unwrap();
            assert_eq!(m.index + m.cache + m.unsynced + m.calls, mib << 20);
        }
        assert!(Memory::divide(Some(Size(1 << 20))).is_err());
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<File>("memroy = '1GiB'").is_err());
        let file: File = toml::from_str("memory = '1GiB'\nnfs = '127.0.0.1:1'").unwrap();
        assert_eq!(file.memory, Some(Size(1 << 30)));
    }
}
