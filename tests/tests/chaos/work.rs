//! A client that writes, syncs, renames, removes and reads, and knows what it was told.

use std::collections::BTreeMap;
use std::time::Duration;

use esker_tests::load::Pool;
use esker_tests::nfsclient::proc::{Create, FILE_SYNC, How, Remove, Rename, UNSTABLE};
use esker_tests::nfsclient::{Client, Fault, Fh, Sattr, Status};
use esker_tests::server::{Esker, pause};
use swiftclient::seam::sim::SeededDice;

const MIB: usize = 1 << 20;
/// NFS3ERR_JUKEBOX and NFS3ERR_IO (RFC 1813 §2.6).
pub const JUKEBOX: Status = Status(10_008);
pub const IO: Status = Status(5);
/// Tries of a call that is answered JUKEBOX, 100 ms apart.
const TRIES: usize = 600;

/// What a file holds: `len` bytes of the pool from block `block` on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Content {
    block: u64,
    len: usize,
}

impl Content {
    fn bytes(self, pool: &Pool) -> Vec<u8> {
        let pieces = (0..self.len.div_ceil(MIB))
            .map(|i| pool.block(self.block + i as u64, MIB.min(self.len - i * MIB)));
        pieces.collect::<Vec<_>>().concat()
    }
}

/// What reading everything gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Files whose bytes were right.
    pub right: usize,
    /// Files that were answered EIO.
    pub refused: usize,
}

/// The client's knowledge.
pub struct Work {
    pool: Pool,
    dice: SeededDice,
    files: BTreeMap<String, Content>,
    /// What the call that got no answer was about: both outcomes are right.
    open: Vec<String>,
    next: u64,
    /// Calls that were told to come again later.
    pub put_off: usize,
}

/// Calls again while the answer is JUKEBOX.
fn patient<T>(
    put_off: &mut usize,
    mut call: impl FnMut() -> Result<(Status, T), Fault>,
) -> Result<(Status, T), Fault> {
    for _ in 0..TRIES {
        let (status, got) = call()?;
        if status != JUKEBOX {
            return Ok((status, got));
        }
        *put_off += 1;
        pause(Duration::from_millis(100));
    }
    panic!("put off {TRIES} times");
}

/// A client that waits longer than a server may hold a call whose store does harm.
pub fn connect(server: &Esker) -> Client {
    let c = server.root_client().unwrap();
    c.conn.set_timeout(Some(Duration::from_secs(120))).unwrap();
    c
}

impl Work {
    /// Knows nothing yet.
    pub fn new(seed: u64) -> Self {
        let (files, open) = (BTreeMap::new(), Vec::new());
        let dice = SeededDice::new(seed);
        Self { pool: Pool::new(), dice, files, open, next: 0, put_off: 0 }
    }

    /// Files that are there.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Some steps on a server. A connection that ends is an error; a refusal is a failure.
    pub fn steps(&mut self, server: &Esker, n: u64) -> Result<(), Fault> {
        let root = server.mount("/").expect("mount");
        let mut c = connect(server);
        (0..n).try_for_each(|_| self.step(&mut c, &root))
    }

    fn some(&self) -> Option<String> {
        let n = usize::try_from(self.dice.below(self.files.len().max(1) as u64)).unwrap();
        self.files.keys().nth(n).cloned()
    }

    fn step(&mut self, c: &mut Client, dir: &Fh) -> Result<(), Fault> {
        let name = format!("f{}", self.next);
        self.next += 1;
        match (self.dice.below(8), self.some()) {
            (0, Some(old)) => {
                self.open = vec![old.clone()];
                let name = old.as_bytes();
                let gone = patient(&mut self.put_off, || {
                    c.call(&Remove { dir, name }).map(|r| (r.status, ()))
                })?;
                assert!(gone.0.ok(), "REMOVE {old}: {:?}", gone.0);
                self.files.remove(&old);
            }
            (1, Some(old)) => {
                self.open = vec![old.clone(), name.clone()];
                let (from, to) = ((dir, old.as_bytes()), (dir, name.as_bytes()));
                let moved = patient(&mut self.put_off, || {
                    c.call(&Rename { from, to }).map(|r| (r.status, ()))
                })?;
                assert!(moved.0.ok(), "RENAME {old}: {:?}", moved.0);
                let content = self.files.remove(&old).unwrap();
                self.files.insert(name, content);
            }
            (2, Some(old)) => {
                let content = self.files[&old];
                let fh = c.walk(dir, &old).unwrap_or_else(|e| panic!("{old} is lost: {e}"));
                assert_eq!(self.read(c, &fh, &old, content)?, Status(0), "{old}");
            }
            (kind, _) => self.write(c, dir, name, kind < 5)?,
        }
        self.open.clear();
        Ok(())
    }

    fn write(&mut self, c: &mut Client, dir: &Fh, name: String, stable: bool) -> Result<(), Fault> {
        self.open = vec![name.clone()];
        let before = self.put_off;
        let (status, fh) = patient(&mut self.put_off, || {
            let how = How::Guarded(Sattr::mode(0o644));
            c.call(&Create { dir, name: name.as_bytes(), how }).map(|made| (made.status, made.fh))
        })?;
        let later = self.put_off - before;
        let fh = fh.unwrap_or_else(|| panic!("CREATE {name}: {status:?}, put off {later} times"));
        let len = [0, 1, 4096, 70_000, 300_000, MIB, 3 * MIB]
            [usize::try_from(self.dice.below(7)).unwrap()];
        let content = Content { block: self.next, len };
        let bytes = content.bytes(&self.pool);
        // An UNSTABLE write whose server changed its verifier would have to be sent again; within
        // one connection to one server it must not change.
        let how = if stable { FILE_SYNC } else { UNSTABLE };
        let (mut verifier, mut open) = (None, false);
        for (i, piece) in bytes.chunks(MIB).enumerate() {
            let at = (i * MIB) as u64;
            let (status, (count, committed, verf)) = patient(&mut self.put_off, || {
                let w = c.write(&fh, at, how, piece)?;
                Ok((w.status, (w.count, w.committed, w.verf)))
            })?;
            assert!(status.ok() && count as usize == piece.len(), "WRITE {name}: {status:?}");
            assert!(verifier.is_none_or(|v| v == verf), "the verifier changed under {name}");
            (verifier, open) = (Some(verf), open || committed != FILE_SYNC);
        }
        if open {
            let (status, verf) =
                patient(&mut self.put_off, || c.commit(&fh).map(|k| (k.status, k.verf)))?;
            assert!(status.ok(), "COMMIT {name}: {status:?}");
            assert_eq!(Some(verf), verifier, "{name}");
        }
        self.files.insert(name, content);
        Ok(())
    }

    /// Reads and compares; the status is OK or EIO.
    fn read(
        &mut self,
        c: &mut Client,
        fh: &Fh,
        name: &str,
        content: Content,
    ) -> Result<Status, Fault> {
        let wanted = content.bytes(&self.pool);
        for (i, piece) in wanted.chunks(MIB).enumerate() {
            let (status, got) = patient(&mut self.put_off, || {
                let r = c.read(fh, (i * MIB) as u64, MIB as u32)?;
                Ok((r.status, r.data))
            })?;
            if status == IO {
                return Ok(IO);
            }
            assert!(status.ok(), "READ {name}: {status:?}");
            assert!(got == piece, "{name}: MiB {i} of {content:?} is not what was written");
        }
        Ok(Status(0))
    }

    /// Reads everything on a server and compares: nothing acknowledged is lost, nothing is wrong.
    pub fn verify(&mut self, server: &Esker) -> Found {
        let root = server.mount("/").unwrap();
        let mut c = connect(server);
        let open = std::mem::take(&mut self.open);
        let listed = self.list(&mut c, &root);
        for name in &listed {
            let known = self.files.contains_key(name) || open.contains(name);
            assert!(known, "{name} is there, but was removed or never made");
        }
        let mut found = Found::default();
        for (name, content) in self.files.clone() {
            if open.contains(&name) {
                continue;
            }
            assert!(listed.contains(&name), "{name} is lost");
            let Some(fh) = self.walk(&mut c, &root, &name) else {
                found.refused += 1;
                continue;
            };
            match self.read(&mut c, &fh, &name, content).unwrap() {
                IO => found.refused += 1,
                _ => found.right += 1,
            }
        }
        for name in open {
            self.files.remove(&name);
            if listed.contains(&name) {
                assert!(c.remove(&root, &name).unwrap().0.ok());
            }
        }
        found
    }

    fn list(&mut self, c: &mut Client, root: &Fh) -> Vec<String> {
        for _ in 0..TRIES {
            if let Ok(listed) = c.list(root, 32_768) {
                let names = listed.entries.into_iter().skip(2).map(|e| e.name);
                return names.map(|n| String::from_utf8(n).unwrap()).collect();
            }
            pause(Duration::from_millis(100));
        }
        panic!("the directory cannot be listed");
    }

    /// The handle of a name; `None` where the answer is EIO.
    fn walk(&mut self, c: &mut Client, root: &Fh, name: &str) -> Option<Fh> {
        let looked = patient(&mut self.put_off, || c.lookup(root, name).map(|r| (r.status, r.fh)));
        match looked.unwrap() {
            (IO, _) => None,
            (status, fh) => Some(fh.unwrap_or_else(|| panic!("LOOKUP {name}: {status:?}"))),
        }
    }
}
