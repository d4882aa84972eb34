//! What one client was told is durable, and the steps that change it.

use std::{collections::BTreeMap, time::Duration};

use super::{Dice, Outcome};
use crate::{
    nfsclient::{
        Client, Fault, Fh, Sattr, Status,
        proc::{Create, FILE_SYNC, How, Remove, Rename, UNSTABLE},
    },
    server::pause,
};

/// Lengths of files, bytes: a name alone, parts of a page, several frames.
const LENGTHS: [u32; 8] = [0, 1, 100, 4096, 5000, 70_000, 300_000, 1_000_000];
/// Most files; above it a step removes one.
const FILES: usize = 60;
/// How often a call is repeated that was answered "later" (NFS3ERR_JUKEBOX), and the pause between.
const LATER: (u32, Duration) = (120, Duration::from_millis(500));

/// One file: its bytes follow from these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Body {
    seed: u64,
    len: u32,
}

impl Body {
    fn bytes(self) -> Vec<u8> {
        let mut dice = Dice::new(self.seed);
        let mut bytes = Vec::with_capacity(self.len as usize + 8);
        while bytes.len() < self.len as usize {
            bytes.extend(dice.below(u64::MAX).to_le_bytes());
        }
        bytes.truncate(self.len as usize);
        bytes
    }
}

/// A directory of one client, and what it knows of it.
pub(super) struct Told {
    pub dir: Fh,
    files: BTreeMap<String, Body>,
    /// Names of the step that had no answer when the server died: they may be or not be.
    open: Vec<String>,
    /// Names touched since the last look.
    fresh: Vec<String>,
    dice: Dice,
    next: u64,
}

/// Why a step has no outcome.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection ended: the server died.
    Gone,
    /// The server refused what it should do.
    Refused(String, Status),
    /// The server answered something that it must not.
    Wrong(String),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io(_) => Self::Gone,
            other => Self::Wrong(other.to_string()),
        }
    }
}

/// Repeats what is answered "later".
pub(super) fn patiently<T>(
    mut call: impl FnMut() -> Result<(Status, T), Fault>,
) -> Result<(Status, T), Fault> {
    for _ in 0..LATER.0 {
        match call()? {
            (Status::JUKEBOX, _) => pause(LATER.1),
            answer => return Ok(answer),
        }
    }
    call()
}

fn demand(what: &str, status: Status) -> Result<(), Broken> {
    match status.ok() {
        true => Ok(()),
        false => Err(Broken::Refused(what.to_owned(), status)),
    }
}

impl Told {
    pub fn new(dir: Fh, seed: u64) -> Self {
        let (files, open, fresh) = Default::default();
        Self { dir, files, open, fresh, dice: Dice::new(seed), next: 0 }
    }

    /// Bytes in the files.
    pub fn len(&self) -> u64 {
        self.files.values().map(|body| u64::from(body.len)).sum()
    }

    /// Makes, writes, renames or removes a file.
    pub fn step(&mut self, c: &mut Client) -> Result<(), Broken> {
        self.next += 1;
        let name = format!("f{}", self.next);
        let nth = self.dice.below(self.files.len() as u64);
        let some = self.files.keys().nth(usize::try_from(nth).unwrap_or(0)).cloned();
        match (self.dice.below(10), some) {
            (kind, Some(old)) if kind == 0 || self.files.len() > FILES => self.remove(c, old)?,
            (1, Some(old)) => self.rename(c, old, name)?,
            (kind, _) => self.make(c, name, kind < 6)?,
        }
        self.open.clear();
        Ok(())
    }

    fn remove(&mut self, c: &mut Client, old: String) -> Result<(), Broken> {
        self.open = vec![old.clone()];
        let call = Remove { dir: &self.dir, name: old.as_bytes() };
        let (status, _) = patiently(|| c.call(&call).map(|r| (r.status, ())))?;
        demand(&format!("REMOVE {old}"), status)?;
        self.files.remove(&old);
        self.fresh.push(old);
        Ok(())
    }

    fn rename(&mut self, c: &mut Client, old: String, new: String) -> Result<(), Broken> {
        self.open = vec![old.clone(), new.clone()];
        let call = Rename { from: (&self.dir, old.as_bytes()), to: (&self.dir, new.as_bytes()) };
        let (status, _) = patiently(|| c.call(&call).map(|r| (r.status, ())))?;
        demand(&format!("RENAME {old}"), status)?;
        if let Some(body) = self.files.remove(&old) {
            self.files.insert(new.clone(), body);
        }
        self.fresh.extend([old, new]);
        Ok(())
    }

    fn make(&mut self, c: &mut Client, name: String, stable: bool) -> Result<(), Broken> {
        self.open = vec![name.clone()];
        let at = self.dice.below(LENGTHS.len() as u64);
        let len = LENGTHS[usize::try_from(at).unwrap_or(0)];
        let body = Body { seed: self.dice.below(u64::MAX), len };
        let how = How::Guarded(Sattr::mode(0o644));
        let call = Create { dir: &self.dir, name: name.as_bytes(), how };
        let (status, fh) = patiently(|| c.call(&call).map(|r| (r.status, r.fh)))?;
        demand(&format!("CREATE {name}"), status)?;
        let fh = fh.ok_or_else(|| Broken::Wrong(format!("CREATE {name}: no handle")))?;
        write_all(c, &fh, &body.bytes(), stable)?;
        self.files.insert(name.clone(), body);
        self.fresh.push(name);
        Ok(())
    }

    /// Looks whether all is there that was acknowledged, and nothing else: every byte of the files
    /// touched since the last look, of all if `whole`. What was in doubt is removed.
    pub fn verify(&mut self, c: &mut Client, whole: bool) -> Outcome<()> {
        let listed = c.list(&self.dir, 32_768).map_err(|e| format!("READDIR: {e}"))?;
        let names = listed.entries.into_iter().skip(2).map(|e| e.name);
        let there: Vec<String> =
            names.map(|name| String::from_utf8_lossy(&name).into_owned()).collect();
        let open = std::mem::take(&mut self.open);
        let known = |name: &String| self.files.contains_key(name) || open.contains(name);
        if let Some(name) = there.iter().find(|name| !known(name)) {
            return Err(format!("{name} is there, but was removed or never made"));
        }
        for (name, body) in &self.files {
            if open.contains(name) {
                continue;
            }
            if !there.contains(name) {
                return Err(format!("{name} is lost"));
            }
            if whole || self.fresh.contains(name) {
                compare(c, &self.dir, name, *body)?;
            }
        }
        self.fresh.clear();
        for name in open {
            self.files.remove(&name);
            if there.contains(&name) {
                let (status, _) = c.remove(&self.dir, &name).map_err(|e| e.to_string())?;
                demand(&format!("REMOVE {name}"), status).map_err(|e| format!("{e:?}"))?;
            }
        }
        Ok(())
    }
}

/// Writes a file from its beginning and makes it durable.
pub(super) fn write_all(c: &mut Client, fh: &Fh, bytes: &[u8], stable: bool) -> Result<(), Broken> {
    let how = if stable { FILE_SYNC } else { UNSTABLE };
    let mut at = 0;
    loop {
        let piece = &bytes[at..bytes.len().min(at + (1 << 20))];
        let offset = at as u64;
        let (status, r) = patiently(|| c.write(fh, offset, how, piece).map(|r| (r.status, r)))?;
        demand("WRITE", status)?;
        if r.committed != FILE_SYNC {
            let (status, k) = patiently(|| c.commit(fh).map(|k| (k.status, k)))?;
            demand("COMMIT", status)?;
            if k.verf != r.verf {
                return Err(Broken::Wrong("the verifier changed in a living server".into()));
            }
        }
        at += r.count as usize;
        if at >= bytes.len() {
            return Ok(());
        }
    }
}

fn compare(c: &mut Client, dir: &Fh, name: &str, body: Body) -> Outcome<()> {
    let fh = c.walk(dir, name).map_err(|e| format!("{name} is lost: {e}"))?;
    let want = body.bytes();
    let (status, r) = patiently(|| c.read(&fh, 0, 1 << 20).map(|r| (r.status, r)))
        .map_err(|e| format!("READ {name}: {e}"))?;
    if !status.ok() || !r.eof {
        return Err(format!("READ {name}: {status:?}, eof {}", r.eof));
    }
    if r.data != want {
        return Err(format!(
            "{name}: {} bytes differ from the {} written",
            r.data.len(),
            want.len()
        ));
    }
    Ok(())
}
