//! The binary `esker` as a child process: started on a directory with free ports, waited for,
//! asked for its counters, stopped, killed and started again.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::load::{Target, now, rss_bytes};
use crate::nfsclient::{Client, Conn, Cred, Fh, mnt};

/// Longest wait for a start or a stop.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something another process does, where there is no event to wait for.
#[allow(clippy::disallowed_methods)]
pub fn pause(t: Duration) {
    std::thread::sleep(t);
}

/// Asks again and again until `f` gives something or the time is over.
pub fn until<T>(time: Duration, mut f: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + time;
    loop {
        if let Some(v) = f() {
            return Some(v);
        }
        if now() > end {
            return None;
        }
        pause(Duration::from_millis(5));
    }
}

/// Path of the binary: `ESKER_BIN`, or built by cargo (once per process) beside this program.
pub fn binary() -> io::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(path) = std::env::var_os("ESKER_BIN") {
        return Ok(path.into());
    }
    BUILT.get_or_init(|| build().map_err(|e| e.to_string())).clone().map_err(io::Error::other)
}

fn build() -> io::Result<PathBuf> {
    // target/PROFILE/PROGRAM or target/PROFILE/deps/PROGRAM
    let exe = std::env::current_exe()?;
    let profile = exe
        .ancestors()
        .skip(1)
        .find(|d| !d.ends_with("deps"))
        .ok_or_else(|| io::Error::other("this program has no directory"))?;
    let mut cmd = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cmd.args(["build", "--quiet", "--package", "esker", "--bin", "esker"])
        .arg("--target-dir")
        .arg(profile.parent().unwrap_or(profile))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        cmd.arg("--release");
    }
    let out = cmd.stdin(Stdio::null()).output()?;
    if !out.status.success() {
        let why = String::from_utf8_lossy(&out.stderr);
        return Err(io::Error::other(format!("building esker: {}\n{why}", out.status)));
    }
    Ok(profile.join("esker"))
}

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// STORE, where it is not the directory (`mem:`).
    pub store: Option<String>,
    /// More arguments of `serve`.
    pub args: Vec<String>,
    /// Export rules, one line each; none: the defaults of loopback.
    pub exports: Vec<String>,
    /// Most descriptors the process may have (RLIMIT_NOFILE).
    pub descriptors: Option<u64>,
    /// Words in front of the command, e.g. `faketime …`.
    pub wrap: Vec<String>,
    /// Longest wait for a start where it is not [`PATIENCE`].
    pub patience: Option<Duration>,
}

impl Setup {
    /// With these export rules.
    pub fn exporting(rules: &[&str]) -> Self {
        Self { exports: rules.iter().map(ToString::to_string).collect(), ..Self::default() }
    }
}

/// A running server on `dir`. Dropping kills it.
pub struct Esker {
    child: Child,
    /// Its volume.
    pub dir: PathBuf,
    /// Where NFS and MOUNT are.
    pub nfs: SocketAddr,
    /// Where /metrics and /healthz are.
    pub admin: SocketAddr,
    /// From exec to a healthy answer.
    pub started_in: Duration,
    setup: Setup,
    log: PathBuf,
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

impl Esker {
    /// Starts a server on `work`/volume; its log goes to `work`/log.
    pub fn start(work: &Path, setup: &Setup) -> io::Result<Self> {
        let ports = (free_port()?, free_port()?);
        Self::start_at(&work.join("volume"), work, setup, ports)
    }

    /// Starts a server on `dir` with the given ports.
    pub fn start_at(
        dir: &Path,
        work: &Path,
        setup: &Setup,
        (nfs, admin): (u16, u16),
    ) -> io::Result<Self> {
        let nfs = SocketAddr::from((Ipv4Addr::LOCALHOST, nfs));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
        let mut words: Vec<std::ffi::OsString> = setup.wrap.iter().map(Into::into).collect();
        if let Some(n) = setup.descriptors {
            words.extend(["prlimit".into(), format!("--nofile={n}:{n}").into(), "--".into()]);
        }
        words.push(binary()?.into());
        words.push("serve".into());
        words.push(setup.store.as_ref().map_or(dir.into(), Into::into));
        for w in ["--nfs".into(), nfs.to_string(), "--admin".into(), admin.to_string()] {
            words.push(w.into());
        }
        for rule in &setup.exports {
            words.extend(["--export".into(), rule.into()]);
        }
        words.extend(setup.args.iter().map(Into::into));
        let log = work.join("log");
        let out = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let begin = now();
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()?;
        let mut this = Self {
            child,
            dir: dir.to_path_buf(),
            nfs,
            admin,
            started_in: Duration::ZERO,
            setup: setup.clone(),
            log,
        };
        this.wait_healthy()?;
        this.started_in = now() - begin;
        Ok(this)
    }

    fn wait_healthy(&mut self) -> io::Result<()> {
        let end = now() + self.setup.patience.unwrap_or(PATIENCE);
        loop {
            if let Ok((200, _)) = self.http("/healthz") {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("esker: {status}\n{}", self.log_text())));
            }
            if now() > end {
                return Err(io::Error::other(format!("not healthy in time\n{}", self.log_text())));
            }
            pause(Duration::from_millis(5));
        }
    }

    /// What it has written to standard output and error.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident bytes.
    pub fn rss(&self) -> u64 {
        rss_bytes(self.pid()).unwrap_or(0)
    }

    /// False once the process has ended.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    fn http(&self, path: &str) -> io::Result<(u16, String)> {
        let mut s = TcpStream::connect_timeout(&self.admin, Duration::from_secs(2))?;
        s.set_read_timeout(Some(Duration::from_secs(5)))?;
        s.write_all(format!("GET {path} HTTP/1.0\r\nHost: esker\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        s.read_to_string(&mut text)?;
        let status = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, b)| b);
        Ok((status, body.to_string()))
    }

    /// Status and words of /healthz.
    pub fn healthz(&self) -> io::Result<(u16, String)> {
        self.http("/healthz")
    }

    /// All metrics, by name and labels as they are written.
    pub fn metrics(&self) -> io::Result<BTreeMap<String, f64>> {
        let (status, body) = self.http("/metrics")?;
        if status != 200 {
            return Err(io::Error::other(format!("/metrics: {status}")));
        }
        Ok(body
            .lines()
            .filter(|l| !l.starts_with('#'))
            .filter_map(|l| l.rsplit_once(' '))
            .filter_map(|(name, v)| Some((name.to_string(), v.parse().ok()?)))
            .collect())
    }

    /// NFS calls of `procedure` (lower case, as in /metrics) that this server has answered.
    pub fn calls(&self, procedure: &str) -> io::Result<u64> {
        let label = format!("procedure=\"{}\"", procedure.to_lowercase());
        let sum: f64 = self
            .metrics()?
            .iter()
            .filter(|(k, _)| k.starts_with("esker_nfs_calls_total{program=\"nfs\""))
            .filter(|(k, _)| k.to_lowercase().contains(&label))
            .map(|(_, v)| v)
            .sum();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
        Ok(sum as u64)
    }

    /// Proves that NULL calls sent to this address are counted by this very process.
    pub fn prove_ours(&self) -> io::Result<()> {
        let before = self.calls("null")?;
        let mut c = self.root_client()?;
        for _ in 0..3 {
            c.call(&crate::nfsclient::proc::Null).map_err(io::Error::other)?;
        }
        match self.calls("null")? {
            n if n >= before + 3 => Ok(()),
            n => Err(io::Error::other(format!("not our server: {before} NULL before, {n} after"))),
        }
    }

    /// How the load generator reaches it.
    pub fn target(&self) -> Target {
        Target { nfs: self.nfs, mount: self.nfs, export: "/".into(), pid: Some(self.pid()) }
    }

    /// A client that is uid 0, from a low port where that is allowed.
    pub fn root_client(&self) -> io::Result<Client> {
        Client::root(self.nfs)
    }

    /// Handle of the export `path`.
    pub fn mount(&self, path: &str) -> io::Result<Fh> {
        let mut conn = Conn::open(self.nfs)?;
        let m = mnt(&mut conn, &Cred::sys(0, 0, &[]), path.as_bytes()).map_err(io::Error::other)?;
        m.fh.ok_or_else(|| io::Error::other(format!("MNT {path}: status {}", m.status)))
    }

    /// SIGTERM, and its exit status.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        self.terminate()
    }

    fn terminate(&mut self) -> io::Result<ExitStatus> {
        self.signal(rustix::process::Signal::TERM)?;
        let end = now() + self.setup.patience.unwrap_or(PATIENCE);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if now() > end {
                return Err(io::Error::other(format!("does not stop\n{}", self.log_text())));
            }
            pause(Duration::from_millis(5));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("no process id"))?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// SIGKILL, waited for; the server can be started again.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    /// Starts again on the same volume and ports what was killed or has ended.
    pub fn start_again(&mut self) -> io::Result<()> {
        let work = self.log.parent().unwrap_or(Path::new(".")).to_path_buf();
        let ports = (self.nfs.port(), self.admin.port());
        let next = Self::start_at(&self.dir, &work, &self.setup, ports)?;
        *self = next;
        Ok(())
    }

    /// Clean stop and start.
    pub fn restart(&mut self) -> io::Result<()> {
        let status = self.terminate()?;
        if !status.success() {
            return Err(io::Error::other(format!("stopped with {status}\n{}", self.log_text())));
        }
        self.start_again()
    }
}

impl Drop for Esker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
