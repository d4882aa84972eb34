//! `esker ls`, `cat`, `stat`, `mkdir`, `rm`, `put`, `get`: files of a running server, by its RPC.
//!
//! Each says what went wrong with which path and goes on with the next; the exit code is 1 then.

pub mod args;
mod copy;
mod progress;
mod show;

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use client::{
    Address, Error,
    blocking::{Client, Options, TlsSetup},
    rpc::{Attributes, Entry, Identity, Kind, List, Object, Place, SetAttributes, calls, errno},
};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};

use args::{MakeDir, Paths, Reach, Remove};

/// A secret is not longer than this, bytes: whatever is, is another file.
const SECRET_MOST: u64 = 64 << 10;
/// Entries asked for at once.
const ENTRIES: u32 = 1024;

/// A volume, as one caller sees it.
struct Volume {
    client: Client,
    who: Identity,
}

/// What went wrong with one path.
struct Failed {
    path: Vec<u8>,
    why: String,
}

type Outcome = Result<(), Failed>;

fn failed(path: &[u8], why: impl std::fmt::Display) -> Failed {
    Failed { path: path.to_vec(), why: why.to_string() }
}

/// Carries `each` out for every path, says what failed; makes all durable at the end.
fn every(
    reach: &Reach,
    paths: &[OsString],
    mut each: impl FnMut(&Volume, &[u8]) -> Outcome,
) -> Result<ExitCode, String> {
    let volume = Volume::reach(reach)?;
    let mut code = ExitCode::SUCCESS;
    for path in paths {
        if let Err(failed) = each(&volume, path.as_bytes()) {
            complain(&failed);
            code = ExitCode::FAILURE;
        }
    }
    volume.client.close().map_err(|e| format!("not all is durable: {e}"))?;
    Ok(code)
}

fn complain(failed: &Failed) {
    eprintln!("esker: {}: {}", show::printable(&failed.path), failed.why);
}

/// `esker ls`
pub fn list(args: &args::List) -> Result<ExitCode, String> {
    let several = args.paths.len() > 1;
    every(&args.reach, &args.paths, |volume, path| {
        let about = volume.stat(path, calls::FOLLOW)?;
        if about.kind != Kind::Directory {
            return show::entry(path, &about, args.long).map_err(|e| failed(path, e));
        }
        if several {
            show::title(path).map_err(|e| failed(path, e))?;
        }
        volume.entries(path, |entry| match (&entry.attributes, args.long) {
            (Some(about), _) => show::entry(&entry.name, about, args.long),
            (None, _) => Ok(()),
        })
    })
}

/// `esker stat`
pub fn stat(args: &Paths) -> Result<ExitCode, String> {
    every(&args.reach, &args.paths, |volume, path| {
        let about = volume.stat(path, 0)?;
        show::all(path, &about).map_err(|e| failed(path, e))
    })
}

/// `esker cat`
pub fn cat(args: &Paths) -> Result<ExitCode, String> {
    every(&args.reach, &args.paths, |volume, path| {
        let mut out = std::io::stdout().lock();
        copy::read_file(volume, path, &mut out, &mut |_| {})
    })
}

/// `esker mkdir`
pub fn make_dir(args: &MakeDir) -> Result<ExitCode, String> {
    every(&args.reach, &args.paths, |volume, path| {
        if !args.parents {
            return volume.make_dir(path, 0o777);
        }
        let mut so_far = Vec::new();
        for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            so_far.push(b'/');
            so_far.extend_from_slice(part);
            volume.make_dir_if_absent(&so_far, 0o777)?;
        }
        Ok(())
    })
}

/// `esker rm`
pub fn remove(args: &Remove) -> Result<ExitCode, String> {
    every(&args.reach, &args.paths, |volume, path| volume.remove(path, args))
}

pub use copy::{get, put};

impl Volume {
    /// Connects.
    fn reach(reach: &Reach) -> Result<Self, String> {
        let address: Address = reach.rpc.parse()?;
        let mut options = Options::new(address.clone());
        options.patience = reach.patience.0;
        options.setup.secret = reach.rpc_secret.as_deref().map(secret).transpose()?;
        options.tls = reach.rpc_ca.as_deref().map(|ca| tls(ca, &address)).transpose()?;
        let client = Client::connect(options).map_err(|e| e.to_string())?;
        // In the order of getgroups(2).
        let groups = rustix::process::getgroups().map_err(|e| e.to_string())?;
        let who = Identity {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups: List(groups.iter().map(|group| group.as_raw()).collect()),
        };
        Ok(Self { client, who })
    }

    /// Attributes; `flags`: whether a link at the end is followed.
    fn stat(&self, path: &[u8], flags: u32) -> Result<Attributes, Failed> {
        let call = calls::Stat { place: place(path), flags, wanted: List::default() };
        let statted = self.client.stat(&self.who, &call).map_err(|e| failed(path, words(&e)))?;
        Ok(statted.attributes)
    }

    /// The same; `None` where there is nothing.
    fn stat_if_there(&self, path: &[u8], flags: u32) -> Result<Option<Attributes>, Failed> {
        let call = calls::Stat { place: place(path), flags, wanted: List::default() };
        match self.client.stat(&self.who, &call) {
            Ok(statted) => Ok(Some(statted.attributes)),
            Err(e) if e.errno() == errno::ENOENT => Ok(None),
            Err(e) => Err(failed(path, words(&e))),
        }
    }

    /// Shows every entry of a directory to `each`, but `.` and `..`.
    fn entries(&self, path: &[u8], mut each: impl FnMut(&Entry) -> std::io::Result<()>) -> Outcome {
        let mut call = calls::ReadDir {
            place: place(path),
            flags: calls::readdir::ATTRIBUTES,
            cookie: 0,
            count: ENTRIES,
            wanted: List::default(),
        };
        loop {
            let (listed, entries) =
                self.client.read_dir(&self.who, &call).map_err(|e| failed(path, words(&e)))?;
            for entry in &entries {
                call.cookie = entry.cookie;
                if matches!(&entry.name[..], b"." | b"..") {
                    continue;
                }
                if entry.name.is_empty() || entry.name.contains(&b'/') {
                    return Err(failed(path, "the server lists a name that is none"));
                }
                each(entry).map_err(|e| failed(path, e))?;
            }
            if listed.end {
                return Ok(());
            }
            if entries.is_empty() {
                return Err(failed(path, "the server lists nothing, and no end"));
            }
        }
    }

    fn make_dir(&self, path: &[u8], mode: u32) -> Outcome {
        self.try_make_dir(path, mode).map_err(|e| failed(path, words(&e)))
    }

    fn try_make_dir(&self, path: &[u8], mode: u32) -> Result<(), Error> {
        let set = SetAttributes { mode: Some(mode & !umask()), ..SetAttributes::default() };
        self.client.make_dir(&self.who, &calls::MkDir { place: place(path), set }).map(drop)
    }

    fn make_dir_if_absent(&self, path: &[u8], mode: u32) -> Outcome {
        match self.try_make_dir(path, mode) {
            Err(e) if e.errno() == errno::EEXIST => match self.stat(path, calls::FOLLOW)?.kind {
                Kind::Directory => Ok(()),
                _ => Err(failed(path, "is there, and is no directory")),
            },
            other => other.map_err(|e| failed(path, words(&e))),
        }
    }

    fn remove(&self, path: &[u8], args: &Remove) -> Outcome {
        let about = match self.stat_if_there(path, 0)? {
            Some(about) => about,
            None if args.force => return Ok(()),
            None => return Err(failed(path, errno::words(errno::ENOENT))),
        };
        if about.kind != Kind::Directory {
            return self.unlink(path, 0);
        }
        if !args.recursive {
            return Err(failed(path, "is a directory: say --recursive"));
        }
        if path.iter().all(|b| *b == b'/') {
            return Err(failed(path, "is the root, which stays"));
        }
        // Entries never move: a name that is removed hides none behind it.
        let mut names = Vec::new();
        self.entries(path, |entry| {
            names.push(entry.name.to_vec());
            Ok(())
        })?;
        for name in names {
            self.remove(&join(path, &name), args)?;
        }
        self.unlink(path, calls::unlink::DIRECTORY)
    }

    fn unlink(&self, path: &[u8], flags: u32) -> Outcome {
        let call = calls::Unlink { place: place(path), flags };
        self.client.unlink(&self.who, &call).map(drop).map_err(|e| failed(path, words(&e)))
    }
}

/// A path, from the root.
fn place(path: &[u8]) -> Place {
    Place::of(Object::Root, path)
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let separator: &[u8] = if dir.ends_with(b"/") { b"" } else { b"/" };
    [dir, separator, name].concat()
}

/// An error in the words that a person expects.
fn words(error: &Error) -> String {
    match error {
        Error::Refused(refusal) if refusal.text.is_empty() => {
            errno::words(refusal.errno).to_owned()
        }
        Error::Refused(refusal) => refusal.text.clone(),
        other => other.to_string(),
    }
}

fn umask() -> u32 {
    // It can only be asked for by setting it; this process has one thread that makes files.
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

fn secret(path: &Path) -> Result<Vec<u8>, String> {
    let named = |e: std::io::Error| format!("{}: {e}", path.display());
    if std::fs::metadata(path).map_err(named)?.len() > SECRET_MOST {
        return Err(format!("{}: over {SECRET_MOST} bytes: no secret", path.display()));
    }
    let mut secret = std::fs::read(path).map_err(named)?;
    if secret.last() == Some(&b'\n') {
        secret.pop();
    }
    Ok(secret)
}

fn tls(ca: &Path, address: &Address) -> Result<TlsSetup, String> {
    let Address::Tcp(host) = address else {
        return Err("--rpc-ca is for TCP, not for a Unix socket".into());
    };
    let host = host.rsplit_once(':').map_or(&host[..], |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let mut roots = rustls::RootCertStore::empty();
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", ca.display());
    for root in CertificateDer::pem_file_iter(ca).map_err(|e| named(&e))? {
        roots.add(root.map_err(|e| named(&e))?).map_err(|e| named(&e))?;
    }
    if roots.is_empty() {
        return Err(named(&"no certificate"));
    }
    let name = ServerName::try_from(host).map_err(|e| format!("{address}: {e}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsSetup { config: Arc::new(config), name })
}

/// Last component of a path.
fn last(path: &OsStr) -> Option<&[u8]> {
    Path::new(path).file_name().map(OsStrExt::as_bytes)
}
