//! Esker on an object store, beside a bare client that moves the same bytes.
//!
//! ```text
//!   NFS load ─► esker ─┐                     medians of interleaved pairs;
//!                      ├─► (proxy) ─► store  the proxy adds latency, limits, counts
//!   bare client ───────┘
//! ```
//!
//! It must never know: which store it is. URL and credentials are those that `esker` itself takes.
//!
//! Invariants: 1. both sides move incompressible bytes in objects of the same size, with the same
//! number of requests under way; 2. a stream's time ends when the store has all of it.

mod bare;
mod plot;
mod throttle;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use bare::Bare;

use super::median;
use super::report::{Fact, Report};
use crate::chaos::{Line, Proxy, Seen, Verb};
use crate::load::{LoadError, Pool, Prepared, now, read_file, write_file};
use crate::nfsclient::Fh;
use crate::server::{Esker, Setup, pause, until};

/// Bytes of an object of the bare client: a segment of a store without an end.
pub const OBJECT_BYTES: u64 = logseg::SEGMENT_BYTES;
/// Added per request where latency is measured.
const LATENCY_MS: u64 = 20;
/// At rest nothing may be asked for so long.
const REST: Duration = Duration::from_secs(60);
/// Longest wait until a store has everything.
const SETTLE: Duration = Duration::from_secs(300);

/// A store to measure on.
pub struct Stores {
    /// `s3://BUCKET/PREFIX` or `swift://CONTAINER/PREFIX`; each server adds a part of its own.
    pub url: String,
    /// Its name in the tables.
    pub label: String,
    /// Interleaved pairs per figure.
    pub pairs: usize,
    /// MiB of each stream, a multiple of 16.
    pub mib: u64,
    /// Requests that the bare client has under way.
    pub parallel: usize,
    /// A directory for journals.
    pub work: PathBuf,
}

fn wrong(e: impl std::fmt::Display) -> LoadError {
    LoadError::Wrong(e.to_string())
}

/// The variable that says where the store is.
fn endpoint_variable(url: &str) -> &'static str {
    match (url.starts_with("swift:"), std::env::var_os("AWS_ENDPOINT_URL_S3").is_some()) {
        (true, _) => "ST_AUTH",
        (_, true) => "AWS_ENDPOINT_URL_S3",
        _ => "AWS_ENDPOINT_URL",
    }
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

impl Stores {
    /// Endpoint as the environment has it: before and behind host and port, and these.
    fn endpoint(&self) -> Result<(String, SocketAddr), LoadError> {
        let name = endpoint_variable(&self.url);
        let value = std::env::var(name).map_err(|e| wrong(format!("{name}: {e}")))?;
        let rest =
            value.strip_prefix("http://").ok_or_else(|| wrong("only http:// is measured"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let addr = host.to_socket_addrs()?.next().ok_or_else(|| wrong("no such host"))?;
        Ok((path.to_owned(), addr))
    }

    fn proxy(&self) -> Result<Proxy, LoadError> {
        Ok(Proxy::start(self.endpoint()?.1, 1)?)
    }

    /// The endpoint variable as it is, or led through a proxy.
    fn through(&self, proxy: Option<&Proxy>) -> Result<(&'static str, String), LoadError> {
        let (path, addr) = self.endpoint()?;
        let addr = proxy.map_or(addr, Proxy::addr);
        Ok((endpoint_variable(&self.url), format!("http://{addr}/{path}")))
    }

    /// A server on a new volume; `journal`: a sync is durable there.
    fn server(
        &self,
        part: &str,
        proxy: Option<&Proxy>,
        journal: bool,
        more: &[&str],
    ) -> Result<(Esker, Setup, tempfile::TempDir), LoadError> {
        let dir = tempfile::tempdir_in(&self.work)?;
        let (name, value) = self.through(proxy)?;
        let mut args: Vec<String> = more.iter().map(ToString::to_string).collect();
        if journal {
            args.extend(["--journal".into(), dir.path().join("journal").display().to_string()]);
        }
        let stamp = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_millis());
        let setup = Setup {
            store: Some(format!("{}/{part}-{stamp}", self.url)),
            args,
            wrap: vec!["env".into(), format!("{name}={}", value.trim_end_matches('/'))],
            ..Setup::default()
        };
        Ok((Esker::start(dir.path(), &setup)?, setup, dir))
    }

    fn fact(&self, name: &str, value: String, wanted: &str, met: bool) -> Fact {
        Fact { name: format!("{}: {name}", self.label), value, wanted: wanted.into(), met }
    }

    fn ratio(&self, name: &str, pairs: &[(f64, f64)], least: f64) -> Fact {
        let of = |f: &dyn Fn(&(f64, f64)) -> f64| median(pairs.iter().map(f).collect());
        let ratio = of(&|p| p.0 / p.1);
        let value = format!(
            "{ratio:.2} ({:.0} : {:.0} MiB/s, {} pairs, load {})",
            of(&|p| p.0),
            of(&|p| p.1),
            pairs.len(),
            load_average()
        );
        self.fact(name, value, &format!("≥ {least}"), ratio >= least * 0.95)
    }

    /// Streams to the store and back, beside the bare client; `latency_ms` by the proxy.
    fn streams(&self, latency_ms: u64, least: f64, report: &mut Report) -> Result<(), LoadError> {
        let proxy = if latency_ms > 0 { Some(self.proxy()?) } else { None };
        if let Some(proxy) = &proxy {
            proxy.line(Line { latency_ms, ..Line::default() });
        }
        let added = if latency_ms > 0 { format!(", {latency_ms} ms added") } else { String::new() };
        let (name, value) = self.through(proxy.as_ref())?;
        let bare = Bare::open(&self.url, (name, value.trim_end_matches('/')), self.parallel)?;
        let pool = Pool::new();
        for journal in [false, true] {
            let (mut wrote, mut read) = (Vec::new(), Vec::new());
            let (mut server, _, _dir) = self.server("stream", proxy.as_ref(), journal, &[])?;
            self.in_use(&mut server, &pool)?;
            bare.stream(self.mib)?;
            for turn in 0..self.pairs {
                let (mut ours, mut theirs) = ((0.0, 0.0), (0.0, 0.0));
                for side in [turn % 2, 1 - turn % 2] {
                    if side == 0 {
                        theirs = bare.stream(self.mib)?;
                    } else {
                        ours = self.ours(&mut server, &pool)?;
                    }
                }
                wrote.push((ours.0, theirs.0));
                read.push((ours.1, theirs.1));
            }
            let kind = if journal { "journal" } else { "store" };
            report.fact(self.ratio(
                &format!("streaming write to a bare client's, `{kind}`{added}"),
                &wrote,
                least,
            ));
            report.fact(self.ratio(
                &format!("cold sequential read to bare parallel GETs, `{kind}`{added}"),
                &read,
                least,
            ));
        }
        Ok(())
    }

    /// Writes as much as gives a volume its whole ballast, which is made once in its life.
    fn in_use(&self, server: &mut Esker, pool: &Pool) -> Result<(), LoadError> {
        let root = server.mount("/")?;
        let mib = (logseg::BALLAST_BYTES * logseg::BALLAST_SHARE) >> 20;
        write_file(&server.target(), pool, (&root, "first"), mib, 4)?;
        self.at_rest(server, &root, "first")
    }

    /// Removes the file, and waits until the store has given its room back.
    fn at_rest(&self, server: &mut Esker, root: &Fh, name: &str) -> Result<(), LoadError> {
        server.target().client()?.remove(root, name).map_err(wrong)?;
        wait_stored(server, 1)?;
        server.restart()?;
        pause(Duration::from_secs(1));
        wait_stored(server, 1)?;
        Ok(())
    }

    /// One file to the store, then read by a server that has nothing of it; MiB/s each.
    fn ours(&self, server: &mut Esker, pool: &Pool) -> Result<(f64, f64), LoadError> {
        let root = server.mount("/")?;
        let begin = now();
        let (fh, _) = write_file(&server.target(), pool, (&root, "stream"), self.mib, 4)?;
        // With a journal the COMMIT does not wait for the store: its last piece, less than a
        // segment, may wait there for its age.
        let rest = wait_stored(server, OBJECT_BYTES)?;
        let bytes = (self.mib << 20).saturating_sub(rest);
        let wrote = bytes as f64 / f64::from(1 << 20) / (now() - begin).as_secs_f64();
        server.restart()?;
        let read = read_file(&server.target(), pool, &fh, self.mib, 8)?.mib_per_s();
        self.at_rest(server, &root, "stream")?;
        Ok((wrote, read))
    }

    /// Objects of 20,000 small durable files; requests at rest.
    fn counts(&self, report: &mut Report) -> Result<(), LoadError> {
        let proxy = self.proxy()?;
        let (server, _, _dir) = self.server("objects", Some(&proxy), true, &[])?;
        let files = 20_000u64;
        let mut load = Prepared::new(server.target())?;
        wait_stored(&server, 1)?;
        proxy.forget();
        load.flood(files)?;
        wait_stored(&server, 1)?;
        let seen = proxy.seen();
        let puts = |part: &str| puts(&seen).filter(|s| s.path.contains(part)).count();
        let (segments, side, checkpoints) = (puts("/seg/"), puts("/side/"), puts("/ckpt/"));
        let per = (segments + side + checkpoints) as f64 * 1000.0 / files as f64;
        report.fact(self.fact(
            "objects per 1,000 durable files of 4 KiB, with a journal",
            format!("{per:.2} ({segments} segments, {side} side, {checkpoints} checkpoints)"),
            "≤ 5",
            per <= 5.0 && segments > 0,
        ));
        // What there is to do after work is done first: until nothing was asked for 20 s.
        let quiet = Duration::from_secs(20);
        let mut asked = (proxy.requests(), now());
        while now() - asked.1 < quiet {
            pause(Duration::from_millis(200));
            if proxy.requests() != asked.0 {
                asked = (proxy.requests(), now());
            }
        }
        let before = proxy.requests();
        pause(REST);
        let asked = proxy.requests() - before;
        report.fact(self.fact(
            "requests of a volume at rest in 60 s",
            asked.to_string(),
            "0",
            asked == 0,
        ));
        Ok(())
    }

    /// The store limited by the proxy.
    fn throttled(&self, report: &mut Report, out: &Path) -> Result<(), LoadError> {
        let proxy = self.proxy()?;
        let budget = format!("{}MiB", throttle::BUDGET >> 20);
        let (server, _, _dir) =
            self.server("throttle", Some(&proxy), true, &["--dirty-budget", &budget])?;
        proxy.line(Line { up: throttle::RATE, ..Line::default() });
        let run = throttle::run(&server)?;
        proxy.line(Line::default());
        for fact in run.facts(&self.label) {
            report.fact(fact);
        }
        let pictures = run.pictures(&self.label);
        for picture in &pictures {
            println!("{}", picture.text());
        }
        std::fs::write(out, plot::svg(&pictures))?;
        println!("drawn in {}", out.display());
        Ok(())
    }

    /// All parts whose name begins with `only`: `streams`, `latency`, `counts`, `throttle`.
    pub fn run(&self, only: &str, report: &mut Report, out: &Path) -> Result<(), LoadError> {
        if "streams".starts_with(only) {
            self.streams(0, 0.8, report)?;
        }
        if "latency".starts_with(only) {
            self.streams(LATENCY_MS, 0.7, report)?;
        }
        if "counts".starts_with(only) {
            self.counts(report)?;
        }
        if "throttle".starts_with(only) {
            self.throttled(report, &out.with_extension("svg"))?;
        }
        Ok(())
    }
}

fn puts(seen: &[Seen]) -> impl Iterator<Item = &Seen> {
    seen.iter().filter(|s| s.verb == Verb::Put && s.status / 100 == 2)
}

/// Waits until less than `least` bytes are not stored; gives them.
#[allow(clippy::cast_possible_truncation)] // a count, though metrics are floats
fn wait_stored(server: &Esker, least: u64) -> Result<u64, LoadError> {
    let rest = || {
        let metrics = server.metrics().ok()?;
        let bytes = *metrics.get("esker_log_unstored_bytes")?;
        (bytes < least as f64).then_some(bytes as u64)
    };
    until(SETTLE, rest).ok_or_else(|| wrong(format!("not stored in {SETTLE:?}")))
}
