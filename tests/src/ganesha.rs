//! The yardstick: nfs-ganesha over VFS, from Debian's packages, unpacked and not installed.
//!
//! It wants a port mapper while it starts, and that wants port 111, a user of its own and /run: so
//! everything happens in a network and mount namespace of the caller ([`in_own_namespace`]).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::load::{Target, now};
use crate::nfsclient::Conn;
use crate::server::pause;

const PACKAGES: [&str; 8] = [
    "nfs-ganesha",
    "nfs-ganesha-vfs",
    "rpcbind",
    "libntirpc4.3",
    "liburcu8",
    "libwbclient0",
    "libwrap0",
    "libnfsidmap1",
];
const NFS_PORT: u16 = 22049;
const MOUNT_PORT: u16 = 22050;
const MARK: &str = "ESKER_BENCH_NAMESPACE";

fn run(cmd: &mut Command) -> io::Result<()> {
    let status = cmd.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{cmd:?}: {status}"))) }
}

/// Starts this very program again in new network and mount namespaces, and gives its exit code;
/// inside them it sets up loopback, /run and the port mapper's user, and gives `None`.
pub fn in_own_namespace() -> io::Result<Option<i32>> {
    if std::env::var_os(MARK).is_none() {
        let exe = std::env::current_exe()?;
        let status = Command::new("unshare")
            .args(["--net", "--mount", "--"])
            .arg(exe)
            .args(std::env::args_os().skip(1))
            .env(MARK, "1")
            .status()?;
        return Ok(Some(status.code().unwrap_or(1)));
    }
    run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    run(Command::new("mount").args(["-t", "tmpfs", "run", "/run"]))?;
    std::fs::create_dir_all("/run/rpcbind")?;
    let users = std::fs::read_to_string("/etc/passwd")?;
    let more = "_rpc:x:107:65534::/run/rpcbind:/usr/sbin/nologin\n";
    std::fs::write("/run/passwd", users + more)?;
    run(Command::new("mount").args(["--bind", "/run/passwd", "/etc/passwd"]))?;
    Ok(None)
}

/// Downloads and unpacks the packages below `cache`, once.
pub fn unpack(cache: &Path) -> io::Result<PathBuf> {
    let root = cache.join("root");
    if root.join("usr/bin/ganesha.nfsd").exists() {
        return Ok(root);
    }
    std::fs::create_dir_all(cache)?;
    run(Command::new("apt-get").arg("download").args(PACKAGES).current_dir(cache))?;
    let partial = cache.join("partial");
    for entry in std::fs::read_dir(cache)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&path).arg(&partial))?;
        }
    }
    std::fs::rename(partial, &root)?;
    Ok(root)
}

/// A running ganesha and its port mapper; both end when it is dropped.
pub struct Ganesha {
    server: Child,
    mapper: Child,
    export: PathBuf,
}

impl Ganesha {
    /// Starts both over an empty directory `work`/export; needs [`in_own_namespace`].
    pub fn start(root: &Path, work: &Path) -> io::Result<Self> {
        let lib = root.join("usr/lib/x86_64-linux-gnu");
        let paths = format!(
            "{}:{}:{}",
            lib.display(),
            root.join("usr/lib/ganesha").display(),
            root.join("lib/x86_64-linux-gnu").display()
        );
        let export = work.join("export");
        std::fs::create_dir_all(&export)?;
        std::fs::create_dir_all(work.join("state"))?;
        std::fs::create_dir_all("/run/ganesha")?;
        let config = work.join("ganesha.conf");
        std::fs::write(&config, Self::config(&lib, work, &export))?;
        let mapper = Command::new(root.join("sbin/rpcbind"))
            .args(["-f", "-w", "-a"])
            .env("LD_LIBRARY_PATH", &paths)
            .stderr(Stdio::null())
            .spawn()?;
        wait_for_port(111)?;
        let server = Command::new(root.join("usr/bin/ganesha.nfsd"))
            .arg("-F")
            .arg("-L")
            .arg(work.join("ganesha.log"))
            .arg("-f")
            .arg(&config)
            .arg("-p")
            .arg(work.join("ganesha.pid"))
            .env("LD_LIBRARY_PATH", &paths)
            .spawn()?;
        let this = Self { server, mapper, export };
        wait_for_port(NFS_PORT)?;
        wait_for_port(MOUNT_PORT)?;
        Ok(this)
    }

    fn config(lib: &Path, work: &Path, export: &Path) -> String {
        format!(
            "NFS_CORE_PARAM {{ NFS_Port = {NFS_PORT}; MNT_Port = {MOUNT_PORT}; Protocols = 3; \
             Enable_UDP = false; Enable_NLM = false; Enable_RQUOTA = false; \
             mount_path_pseudo = true; Plugins_Dir = \"{}\"; }}\n\
             NFSV4 {{ Graceless = true; UseGetpwnam = true; DomainName = \"localdomain\"; \
             Only_Numeric_Owners = true; RecoveryRoot = \"{}\"; }}\n\
             NFS_KRB5 {{ Active_krb5 = false; }}\n\
             EXPORT {{ Export_Id = 77; Path = \"{}\"; Pseudo = /export; Access_Type = RW; \
             Squash = No_Root_Squash; Protocols = 3; Transports = TCP; SecType = sys; \
             FSAL {{ Name = VFS; }} }}\n\
             LOG {{ Default_Log_Level = EVENT; }}\n",
            lib.join("ganesha").display(),
            work.join("state").display(),
            export.display()
        )
    }

    /// How to reach it.
    pub fn target(&self) -> Target {
        Target {
            nfs: SocketAddr::from((Ipv4Addr::LOCALHOST, NFS_PORT)),
            mount: SocketAddr::from((Ipv4Addr::LOCALHOST, MOUNT_PORT)),
            export: "/export".into(),
            pid: Some(self.server.id()),
        }
    }

    /// The directory it exports.
    pub fn export(&self) -> &Path {
        &self.export
    }
}

impl Drop for Ganesha {
    fn drop(&mut self) {
        for child in [&mut self.server, &mut self.mapper] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn wait_for_port(port: u16) -> io::Result<()> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let end = now() + Duration::from_secs(20);
    loop {
        match Conn::open(addr) {
            Ok(_) => return Ok(()),
            Err(e) if now() > end => return Err(e),
            Err(_) => pause(Duration::from_millis(50)),
        }
    }
}
