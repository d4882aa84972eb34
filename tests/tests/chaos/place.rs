//! A store, the proxy before it, and a server that knows only the proxy.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use esker_tests::chaos::{Fake, Proxy};
use esker_tests::server::{Esker, Setup, binary, until};

/// Longest wait for a start. The server itself asks a store that does harm for a minute (each of the
/// few requests that come one after another), spending its retries slowly, before it says why not.
const STARTS_WITHIN: Duration = Duration::from_secs(240);
/// Bucket or container of these tests.
const BUCKET: &str = "esker-chaos";

/// The store that is lied about.
pub enum Backend {
    /// The small S3 store in this process.
    Fake(Fake),
    /// A real S3 store: address, key, secret, region.
    S3(SocketAddr, [String; 3]),
    /// A real Swift store: address, path of the authentication, user, key.
    Swift(SocketAddr, String, [String; 2]),
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// Host and port of `http://HOST:PORT/PATH`, and the path.
fn address(url: &str) -> (SocketAddr, String) {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url}: not http://"));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let addr = host.to_socket_addrs().unwrap().next().unwrap();
    (addr, format!("/{path}"))
}

impl Backend {
    /// What `ESKER_CHAOS_STORE` says: `fake` (also where it is not set), `s3` with the endpoint in
    /// `ESKER_TEST_S3_ENDPOINT` and the usual credentials, `swift` with `ST_AUTH` and its like. The
    /// bucket of a real store is made by `tests/stores/ask.py`.
    pub fn named() -> Self {
        match std::env::var("ESKER_CHAOS_STORE").as_deref() {
            Err(_) | Ok("fake") => Self::Fake(Fake::start(&[BUCKET]).unwrap()),
            Ok("s3") => {
                let (addr, _) = address(&variable("ESKER_TEST_S3_ENDPOINT"));
                let region = std::env::var("AWS_REGION").unwrap_or("us-east-1".into());
                let keys =
                    [variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"), region];
                make(&[("AWS_ENDPOINT_URL", &variable("ESKER_TEST_S3_ENDPOINT"))]);
                Self::S3(addr, keys)
            }
            Ok("swift") => {
                let (addr, path) = address(&variable("ST_AUTH"));
                make(&[]);
                Self::Swift(addr, path, [variable("ST_USER"), variable("ST_KEY")])
            }
            Ok(other) => panic!("ESKER_CHAOS_STORE={other}: say fake, s3 or swift"),
        }
    }

    fn addr(&self) -> SocketAddr {
        match self {
            Self::Fake(fake) => fake.addr(),
            Self::S3(addr, _) | Self::Swift(addr, ..) => *addr,
        }
    }

    /// The environment of a server that finds this store at `proxy`; an S3's credentials at `role`.
    fn environment(&self, proxy: SocketAddr, role: Option<&str>) -> Vec<String> {
        if let Some(url) = role {
            return vec![
                format!("AWS_ENDPOINT_URL=http://{proxy}"),
                format!("AWS_CONTAINER_CREDENTIALS_FULL_URI={url}"),
                "AWS_REGION=us-east-1".to_owned(),
            ];
        }
        let keys = match self {
            Self::Swift(_, path, [user, key]) => {
                return vec![
                    format!("ST_AUTH=http://{proxy}{path}"),
                    format!("ST_USER={user}"),
                    format!("ST_KEY={key}"),
                ];
            }
            Self::Fake(_) => [Fake::KEY, Fake::SECRET, "us-east-1"].map(str::to_owned),
            Self::S3(_, keys) => keys.clone(),
        };
        let [key, secret, region] = keys;
        vec![
            format!("AWS_ENDPOINT_URL=http://{proxy}"),
            format!("AWS_ACCESS_KEY_ID={key}"),
            format!("AWS_SECRET_ACCESS_KEY={secret}"),
            format!("AWS_REGION={region}"),
        ]
    }

    fn url(&self, prefix: &str) -> String {
        let kind = if matches!(self, Self::Swift(..)) { "swift" } else { "s3" };
        format!("{kind}://{BUCKET}/{prefix}")
    }
}

/// Makes the bucket of a real store.
fn make(env: &[(&str, &str)]) {
    let ask = Path::new(env!("CARGO_MANIFEST_DIR")).join("stores/ask.py");
    let made = Command::new("python3")
        .arg(ask)
        .args(["make", BUCKET])
        .envs(env.iter().copied())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Where the tests happen. The server's journal is a directory of its own, if it has one.
pub struct Place {
    /// The store.
    pub store: Backend,
    /// What stands before it.
    pub proxy: Proxy,
    url: String,
    journal: bool,
    more: Vec<String>,
    /// Where the server finds its credentials, if not in its environment.
    role: Option<String>,
    /// Generation of the journal directory: a new one is empty.
    lives: AtomicU32,
    work: tempfile::TempDir,
}

impl Place {
    /// A place with a new volume. With `journal`, a sync is durable in the journal; without, in the
    /// store. `more` are arguments of `serve` in place of a flush interval of 200 ms.
    pub fn new(seed: u64, journal: bool, more: &[&str]) -> Self {
        static VOLUMES: AtomicU32 = AtomicU32::new(0);
        let store = Backend::named();
        let proxy = Proxy::start(store.addr(), seed).unwrap();
        let n = VOLUMES.fetch_add(1, Relaxed);
        let url = store.url(&format!("chaos-{}-{n}", std::process::id()));
        let work = tempfile::tempdir().unwrap();
        let more = if more.is_empty() { &["--flush-interval", "200ms"] } else { more };
        let more = more.iter().map(ToString::to_string).collect();
        let (role, lives) = (None, AtomicU32::new(0));
        Self { store, proxy, url, journal, more, role, lives, work }
    }

    /// A service at `url` hands out the credentials.
    pub fn role(&mut self, url: &str) {
        self.role = Some(url.to_owned());
    }

    fn journal(&self) -> PathBuf {
        self.work.path().join(format!("journal-{}", self.lives.load(Relaxed)))
    }

    fn setup(&self) -> Setup {
        let mut wrap = vec!["env".to_owned()];
        wrap.extend(self.store.environment(self.proxy.addr(), self.role.as_deref()));
        let mut args = self.more.clone();
        if !args.iter().any(|arg| arg == "--memory") {
            args.extend(["--memory", "64MiB"].map(str::to_owned));
        }
        if self.journal {
            args.extend(["--journal".to_owned(), self.journal().display().to_string()]);
        }
        let patience = Some(STARTS_WITHIN);
        Setup { store: Some(self.url.clone()), args, wrap, patience, ..Setup::default() }
    }

    /// A server on the journal as it is.
    pub fn start(&self) -> std::io::Result<Esker> {
        Esker::start(self.work.path(), &self.setup())
    }

    /// Stops a server once the store has everything, and forgets its journal: the next has an empty
    /// one. A stop in which the store was too slow says that the journal is needed; then again.
    pub fn stop_without_journal(&self, mut server: Esker) {
        let needed = |text: &str| text.matches("the journal is needed").count();
        for _ in 0..5 {
            let stored = || {
                let metrics = server.metrics().ok()?;
                (metrics.get("esker_log_unstored_bytes") == Some(&0.0)).then_some(())
            };
            until(Duration::from_secs(60), stored).unwrap_or_else(|| {
                panic!("not stored in a minute without harm\n{}", server.log_text())
            });
            let log = self.work.path().join("log");
            let before = needed(&server.log_text());
            assert!(server.stop().unwrap().success());
            if needed(&std::fs::read_to_string(log).unwrap()) == before {
                self.lives.fetch_add(1, Relaxed);
                return;
            }
            server = self.start().unwrap();
        }
        panic!("no stop with everything stored");
    }

    /// `esker check` of the volume, while no server runs.
    pub fn check(&self) -> Output {
        let mut cmd = Command::new("env");
        cmd.args(self.store.environment(self.proxy.addr(), self.role.as_deref()))
            .arg(binary().unwrap());
        cmd.args(["check", &self.url]);
        if self.journal {
            cmd.arg("--journal").arg(self.journal());
        }
        cmd.stdin(Stdio::null()).output().unwrap()
    }
}
