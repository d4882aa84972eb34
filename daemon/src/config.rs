//! The configuration file, and what holds once file and command line are put together.

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use nfssvr::Exports;
use rpcsvr::Listen;
use serde::Deserialize;

use crate::{
    args,
    interval::Interval,
    keeping::{Durability, Keeping, Wishes},
    size::Size,
    store_url::StoreUrl,
};

/// Least `memory`, bytes: below it the parts would not have room for one large call each.
const LEAST_MEMORY: u64 = 64 << 20;
/// Of one request to a network store: below it a busy one would be asked again for nothing.
const STORE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
const DEFAULT_MEMORY: u64 = 512 << 20;

/// The file, in TOML. Every key may be absent; an unknown one is refused.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Read later: the parser's own messages repeat the line, and it might hold a password.
    store: Option<String>,
    nfs: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    #[serde(default)]
    rpc: Vec<String>,
    rpc_secret: Option<PathBuf>,
    rpc_cert: Option<PathBuf>,
    rpc_key: Option<PathBuf>,
    #[serde(default)]
    rpc_plain_tcp: bool,
    durability: Option<Durability>,
    journal: Option<PathBuf>,
    flush_interval: Option<Interval>,
    dirty_budget: Option<Size>,
    cache: Option<PathBuf>,
    cache_size: Option<Size>,
    store_timeout: Option<Interval>,
    memory: Option<Size>,
    trace: Option<PathBuf>,
    /// Lines as in exports(5).
    exports: Option<String>,
}

/// Everything `serve` needs to know.
#[derive(Debug)]
pub struct Settings {
    pub store: StoreUrl,
    pub nfs: SocketAddr,
    pub admin: SocketAddr,
    pub rpc: Rpc,
    pub keeping: Keeping,
    /// Of one request to a network store; `None`: as the store's own limits say.
    pub store_timeout: Option<Duration>,
    pub memory: Memory,
    pub take_over: bool,
    pub abandon_journal: bool,
    pub exports: Exports,
    /// Where the trace goes, if anywhere.
    pub trace: Option<PathBuf>,
}

/// What the RPC server is to be.
#[derive(Debug)]
pub struct Rpc {
    /// Where it listens; nowhere: there is none.
    pub listen: Vec<Listen>,
    /// File of the secret.
    pub secret: Option<PathBuf>,
    /// Files of the certificate chain and its key: TCP is TLS then.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Plain TCP where others can reach it is meant.
    pub plain_tcp: bool,
}

impl Rpc {
    fn of(args: &mut args::Serve, file: &mut File) -> Result<Self, String> {
        let words = if args.rpc.is_empty() { &mut file.rpc } else { &mut args.rpc };
        let cert = args.rpc_cert.take().or(file.rpc_cert.take());
        let key = args.rpc_key.take().or(file.rpc_key.take());
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err("rpc_cert and rpc_key go together".into()),
        };
        let listen = words.iter().map(|w| w.parse().map_err(|e| format!("rpc: {e}")));
        Ok(Self {
            listen: listen.collect::<Result<_, _>>()?,
            secret: args.rpc_secret.take().or(file.rpc_secret.take()),
            tls,
            plain_tcp: args.rpc_plain_tcp || file.rpc_plain_tcp,
        })
    }
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
    /// The operator's number.
    pub fn sum(&self) -> u64 {
        self.index + self.cache + self.unsynced + self.calls
    }

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

impl File {
    fn read(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

/// True where `serve` would take this configuration file alone.
pub fn is_legal(text: &str) -> bool {
    let file = File::read(text);
    file.is_ok_and(|file| Settings::put_together(args::Serve::default(), file).is_ok())
}

impl Settings {
    /// The command line over the file over the defaults.
    pub fn of(args: args::Serve) -> Result<Self, String> {
        let file = match &args.config {
            None => File::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| format!("{}: {e}", path.display()))?;
                File::read(&text).map_err(|e| format!("{}: {e}", path.display()))?
            }
        };
        Self::put_together(args, file)
    }

    fn put_together(mut args: args::Serve, mut file: File) -> Result<Self, String> {
        let rpc = Rpc::of(&mut args, &mut file)?;
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut rules = file.exports.unwrap_or_default();
        for rule in &args.exports {
            rules.push('\n');
            rules.push_str(rule);
        }
        let store = args.store.or(file.store).ok_or("no STORE named: say esker serve PATH")?;
        let store: StoreUrl = store.parse()?;
        // A journal named on the command line for a volume whose file says `store` means both were
        // meant; `Keeping` refuses that in words.
        let wishes = Wishes {
            durability: args.durability.or(file.durability),
            journal: args.journal.or(file.journal),
            flush_interval: args.flush_interval.or(file.flush_interval),
            dirty_budget: args.dirty_budget.or(file.dirty_budget),
            cache: args.cache.or(file.cache),
            cache_size: args.cache_size.or(file.cache_size),
        };
        Ok(Self {
            keeping: Keeping::decide(&store, wishes)?,
            store,
            nfs: args.nfs.or(file.nfs).unwrap_or(local(2049)),
            admin: args.admin.or(file.admin).unwrap_or(local(2050)),
            rpc,
            store_timeout: store_timeout(args.store_timeout.or(file.store_timeout))?,
            memory: Memory::divide(args.memory.or(file.memory))?,
            take_over: args.take_over,
            abandon_journal: args.abandon_journal,
            trace: args.trace.or(file.trace),
            exports: Exports::parse(&rules).map_err(|e| format!("exports: {e}"))?,
        })
    }
}

fn store_timeout(wish: Option<Interval>) -> Result<Option<Duration>, String> {
    match wish {
        Some(Interval(time)) if !STORE_TIMEOUT.contains(&time) => {
            let (least, most) = (Interval(*STORE_TIMEOUT.start()), Interval(*STORE_TIMEOUT.end()));
            let time = Interval(time);
            Err(format!("store_timeout {time}: must be from {least} to {most}"))
        }
        wish => Ok(wish.map(|Interval(time)| time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_adds_up() {
        for mib in [64, 100, 512, 4096] {
            let m = Memory::divide(Some(Size(mib << 20))).unwrap();
            assert_eq!(m.sum(), mib << 20);
        }
        assert!(Memory::divide(Some(Size(1 << 20))).is_err());
    }

    #[test]
    fn a_time_out_is_neither_rash_nor_endless() {
        let of = |text: &str| store_timeout(Some(text.parse().unwrap()));
        assert_eq!(of("5s"), Ok(Some(Duration::from_secs(5))));
        assert!(of("999ms").is_err() && of("11m").unwrap_err().contains("10m"));
        assert_eq!(store_timeout(None), Ok(None));
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<File>("memroy = '1GiB'").is_err());
        let file: File = toml::from_str("memory = '1GiB'\nnfs = '127.0.0.1:1'").unwrap();
        assert_eq!(file.memory, Some(Size(1 << 30)));
        let file: File = toml::from_str("durability = 'store'\nflush_interval = '5s'").unwrap();
        assert_eq!(file.durability, Some(Durability::Store));
        for bad in ["durability = 'maybe'", "flush_interval = 5", "dirty_budget = 'much'"] {
            assert!(toml::from_str::<File>(bad).is_err(), "{bad}");
        }
    }
}
