//! One server per volume on one machine (R2): `lock/<epoch>`, flocked, naming its holder.
//!
//! ```text
//!   DIR/lock/new            flocked while a server opens the volume
//!   DIR/lock/<epoch>        the same file, renamed once the epoch is known; 8 hex digits
//!   DIR/lock/superseded-…   a file whose holder was overruled by --take-over; means nothing
//! ```
//!
//! Nothing has to be removed by hand after a kill: a lock ends with its process, a file without a
//! lock means nothing.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use swiftclient::{
    disk::{Disk, DiskFile},
    seam::Env,
};

use crate::{LogError, error::journal_error};

/// Longest text of a holder, bytes.
const HOLDER_BYTES: usize = 512;
/// A starter may rename its file between our look and our lock; so often we look again.
const TRIES: usize = 16;
const NEW: &str = "new";
const SUPERSEDED: &str = "superseded-";

/// The lock files of one opening, one in each local home of the volume. Dropping it unlocks.
pub(crate) struct Locks {
    homes: Vec<Home>,
}

struct Home {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// Held until dropped.
    ours: Arc<dyn DiskFile>,
    /// Released files of dead servers: held meanwhile, unlinked when our epoch is known.
    dead: Vec<(PathBuf, Arc<dyn DiskFile>)>,
    /// Files whose holder was overruled.
    overruled: Vec<PathBuf>,
    /// True where any holder was, that of `new` included.
    any_overruled: bool,
}

/// What an opener says about itself and may do.
pub(crate) struct Claim<'a> {
    pub holder: &'a str,
    pub take_over: bool,
    pub env: &'a Env,
}

impl Locks {
    /// Takes `lock/new` in each of `dirs`, and makes sure that no `lock/<epoch>` is held.
    ///
    /// Errors: `Refused` naming the holder, unless `take_over` overrules it.
    pub(crate) fn take(
        disk: &Arc<dyn Disk>,
        dirs: &[PathBuf],
        claim: &Claim<'_>,
    ) -> Result<Self, LogError> {
        let mut homes: Vec<Home> = Vec::new();
        for dir in dirs {
            homes.push(Home::take(disk, &dir.join("lock"), claim)?);
        }
        Ok(Self { homes })
    }

    /// True where somebody's lock was overruled: what it wrote may still be open there.
    pub(crate) fn overruled(&self) -> bool {
        self.homes.iter().any(|h| h.any_overruled)
    }

    /// Whether they are ours still, while the volume is being opened.
    ///
    /// Errors: `Fenced` naming the opener who has overruled us.
    pub(crate) fn still_ours(&self) -> Result<(), LogError> {
        self.homes.iter().try_for_each(|home| home.still_ours(&home.dir.join(NEW)))
    }

    /// Gives our files the name of the epoch, and removes or sets aside the older ones.
    ///
    /// Errors: `Fenced` where another opener has overruled us meanwhile: it did not see a lock of
    /// our epoch, so that it will not look for our marks in the journal either (R5), and we may
    /// acknowledge nothing.
    pub(crate) fn settle(&mut self, epoch: u32, env: &Env) -> Result<(), LogError> {
        for home in &mut self.homes {
            home.settle(epoch, env)?;
        }
        Ok(())
    }
}

impl Home {
    fn take(disk: &Arc<dyn Disk>, dir: &Path, claim: &Claim<'_>) -> Result<Self, LogError> {
        let failed = |e| journal_error("lock", dir, e);
        disk.create_dir_all(dir).map_err(failed)?;
        let mut overruled = Vec::new();
        let (ours, mut any_overruled) = lock_new(disk, dir, claim)?;
        let text = claim.holder.as_bytes();
        let text = &text[..text.len().min(HOLDER_BYTES)];
        match ours.set_len(0).and_then(|()| ours.write_at(0, &[text])) {
            // The lock is the flock, the text only tells who: a full disk must not keep us out.
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {}
            other => other.map_err(failed)?,
        }
        let mut dead = Vec::new();
        for name in disk.list(dir).map_err(failed)? {
            let Some(text) = name.to_str() else { continue };
            if u32::from_str_radix(text, 16).is_err() || text.len() != 8 {
                continue;
            }
            let path = dir.join(&name);
            let file = match disk.open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed)?,
            };
            if file.try_lock().map_err(failed)? {
                dead.push((path, file));
            } else if claim.take_over {
                tracing::warn!(holder = %holder_of(&*file), "the holder's lock is overruled");
                overruled.push(path);
                any_overruled = true;
            } else {
                let refusal = held(dir, &*file);
                drop(ours);
                return Err(refusal);
            }
        }
        let (dir, disk) = (dir.to_owned(), disk.clone());
        Ok(Self { dir, disk, ours, dead, overruled, any_overruled })
    }

    fn settle(&mut self, epoch: u32, env: &Env) -> Result<(), LogError> {
        let failed = |e| journal_error("settle", &self.dir, e);
        let (new, name) = (self.dir.join(NEW), self.dir.join(format!("{epoch:08x}")));
        self.still_ours(&new)?;
        for path in self.overruled.drain(..) {
            let aside = self.dir.join(format!("{SUPERSEDED}{:016x}", env.random_u64()));
            self.disk.rename(&path, &aside).map_err(failed)?;
        }
        for (path, _held) in self.dead.drain(..) {
            gone(self.disk.unlink(&path)).map_err(failed)?;
        }
        self.disk.rename(&new, &name).map_err(failed)?;
        if let Err(overruled) = self.still_ours(&name) {
            // Between the look and the rename: give the file back.
            gone(self.disk.rename(&name, &new)).map_err(failed)?;
            return Err(overruled);
        }
        Ok(())
    }

    /// Whether `path` is the file that we hold.
    fn still_ours(&self, path: &Path) -> Result<(), LogError> {
        let failed = |e| journal_error("look at", path, e);
        let ours = self.ours.identity().map_err(failed)?;
        match self.disk.identity(path) {
            Ok(there) if there == ours => Ok(()),
            Ok(_) => {
                let holder = self.disk.open_read(path).map(|file| holder_of(&*file));
                Err(LogError::Fenced { holder: holder.unwrap_or_else(|_| "another opener".into()) })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(LogError::Fenced { holder: "an opener that has ended".into() })
            }
            Err(e) => Err(failed(e)),
        }
    }
}

/// Locks `new`, making it where it is not; true where a holder was overruled for it.
fn lock_new(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    claim: &Claim<'_>,
) -> Result<(Arc<dyn DiskFile>, bool), LogError> {
    let path = dir.join(NEW);
    let mut overruled = false;
    let failed = |e| journal_error("lock", &path, e);
    for _ in 0..TRIES {
        let file = match disk.create_new(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match disk.open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed)?,
            },
            other => other.map_err(failed)?,
        };
        if file.try_lock().map_err(failed)? {
            // Its holder may have renamed it to its epoch before it ended.
            match disk.identity(&path) {
                Ok(there) if there == file.identity().map_err(failed)? => {
                    return Ok((file, overruled));
                }
                Ok(_) => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(failed(e)),
            }
        }
        if !claim.take_over {
            return Err(held(dir, &*file));
        }
        let aside = dir.join(format!("{SUPERSEDED}{:016x}", claim.env.random_u64()));
        tracing::warn!(holder = %holder_of(&*file), "the lock of an opener is overruled");
        gone(disk.rename(&path, &aside)).map_err(failed)?;
        overruled = true;
    }
    Err(LogError::Refused(format!("{}: others open this volume all the time", path.display())))
}

/// Who holds the volume with one of these homes, if anybody does. Writes nothing.
///
/// It asks by taking each lock for an instant: a server that opens the volume in just that instant
/// is refused once.
pub(crate) fn holder(disk: &Arc<dyn Disk>, dirs: &[PathBuf]) -> Result<Option<String>, LogError> {
    for dir in dirs.iter().map(|dir| dir.join("lock")) {
        let failed = |e| journal_error("look at the locks in", &dir, e);
        let names = match disk.list(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(failed)?,
        };
        for name in names {
            let Some(text) = name.to_str() else { continue };
            if text != NEW && (u32::from_str_radix(text, 16).is_err() || text.len() != 8) {
                continue;
            }
            let file = match disk.open_read(&dir.join(&name)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed)?,
            };
            if !file.try_lock().map_err(failed)? {
                return Ok(Some(holder_of(&*file)));
            }
        }
    }
    Ok(None)
}

fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn holder_of(file: &dyn DiskFile) -> String {
    let mut text = [0; HOLDER_BYTES];
    let n = file.read_at(0, &mut text).unwrap_or(0);
    match String::from_utf8_lossy(&text[..n]).trim() {
        "" => "a server that is just starting".into(),
        text => text.to_owned(),
    }
}

fn held(dir: &Path, file: &dyn DiskFile) -> LogError {
    LogError::Refused(format!(
        "the volume is in use by {} (it holds a lock in {}); stop it, or overrule it with --take-over",
        holder_of(file),
        dir.display()
    ))
}

#[cfg(test)]
mod tests;
