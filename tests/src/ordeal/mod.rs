//! Ordeals of a whole server on a real store: it is killed, loses its machine, fills the store up.
//! The client is our own (a kernel's waits 3 s after each death), the store is one that
//! `tests/stores/up` has started, and what lies in it is asked by code that is not ours.
//!
//! ```text
//!   ordeal::kills ──► Client ──► esker (child) ──► store
//!        │                                           ▲
//!        └── Told: what was acknowledged     ask.py ─┘  what is there
//! ```
//!
//! It must never know: formats, names of objects beyond the volume's prefix.
//!
//! Invariants
//! 1. What is called acknowledged was answered by FILE_SYNC or a COMMIT under the WRITE's verifier.
//! 2. A step that had no answer may have happened or not; nothing else may differ.
//! 3. Every ordeal asserts that it really met what it is about (segments in flight, a full store).

mod full;
mod kills;
mod lost;
mod sequence;
mod takeover;
mod token;
mod told;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

pub use full::full;
pub use kills::kills;
pub use lost::lost;
pub use sequence::sequence;
pub use takeover::take_over;
pub use token::token;

use crate::server::{Esker, Setup};

/// What went wrong, for a person.
pub type Outcome<T> = Result<T, String>;

/// The store that an ordeal works on, and a directory for what else it needs.
pub struct Bed {
    work: PathBuf,
    /// `esker serve`'s STORE.
    url: String,
    /// Swift, MinIO or Ceph: answers over the network.
    network: bool,
}

impl Bed {
    /// The store named by `STORE_URL`, as `tests/stores/up` has written it, with `name` as the
    /// volume's prefix; without `STORE_URL` a directory.
    pub fn new(name: &str) -> Outcome<Self> {
        let made = tempfile::Builder::new().prefix("ordeal").disable_cleanup(true).tempdir();
        let work = made.map_err(|e| format!("no directory: {e}"))?.keep();
        let network = std::env::var("STORE_URL").ok();
        let url = match &network {
            Some(url) => {
                let (kind, place) = url.split_once("://").ok_or("STORE_URL is no URL")?;
                let container = place.split('/').next().unwrap_or_default();
                format!("{kind}://{container}/{name}")
            }
            None => format!("dir:{}", work.join("volume").display()),
        };
        Ok(Self { work, url, network: network.is_some() })
    }

    /// All went well: nothing of it is looked at any more. (Otherwise logs and journal stay.)
    pub fn done(self) -> Outcome<()> {
        std::fs::remove_dir_all(&self.work).map_err(|e| format!("{}: {e}", self.work.display()))
    }

    /// The volume's name.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A directory of this ordeal.
    pub fn dir(&self, name: &str) -> Outcome<PathBuf> {
        let dir = self.work.join(name);
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(dir)
    }

    /// Starts a server whose log goes to `work`, with these arguments beside the store.
    pub fn serve(&self, work: &Path, args: &[&str]) -> Outcome<Esker> {
        let setup = Setup {
            store: Some(self.url.clone()),
            args: args.iter().map(ToString::to_string).collect(),
            // A put that the last server had half sent when it was stopped may hold the store's lock
            // on that object until the store has had enough of it.
            patience: Some(Duration::from_secs(120)),
            ..Setup::default()
        };
        Esker::start(work, &setup).map_err(|e| format!("no server: {e}"))
    }

    /// Size and name of all objects below the volume's prefix, asked by `tests/stores/ask.py`.
    pub fn objects(&self) -> Outcome<Vec<(u64, String)>> {
        if !self.network {
            return Ok(files_below(&self.work.join("volume")));
        }
        let place = self.url.split_once("://").map_or("", |(_, place)| place);
        let (container, prefix) = place.split_once('/').unwrap_or((place, ""));
        let text = self.ask(&["list", container, &format!("{prefix}/")])?;
        let line = |line: &str| {
            let (size, name) = line.split_once(' ')?;
            Some((size.parse().ok()?, name.to_owned()))
        };
        text.lines().map(|l| line(l).ok_or_else(|| format!("ask.py said {l:?}"))).collect()
    }

    /// What `tests/stores/ask.py` says.
    pub fn ask(&self, words: &[&str]) -> Outcome<String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("stores/ask");
        run(Command::new(script).args(words))
    }

    /// `esker check --strays` of the stopped volume: whole, and nothing in the store that nobody
    /// refers to. Gives its last line.
    pub fn check(&self, args: &[&str]) -> Outcome<String> {
        let binary = crate::server::binary().map_err(|e| e.to_string())?;
        let mut check = Command::new(binary);
        let text = run(check.args(["check", &self.url, "--strays"]).args(args))?;
        Ok(text.lines().last().unwrap_or_default().to_owned())
    }
}

/// Runs a command to its end; its output if it succeeded.
fn run(command: &mut Command) -> Outcome<String> {
    let out = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    if out.status.success() {
        return Ok(text);
    }
    let error = String::from_utf8_lossy(&out.stderr);
    Err(format!("{command:?}: {}\n{text}{error}", out.status))
}

fn files_below(dir: &Path) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => found.extend(files_below(&entry.path())),
            Ok(meta) => found.push((meta.len(), entry.path().display().to_string())),
            Err(_) => (),
        }
    }
    found
}

/// The same on every machine: xorshift64.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n.max(1)
    }
}
