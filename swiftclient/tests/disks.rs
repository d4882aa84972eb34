//! The simulated disk beside the machine's own: whatever a living process can see must be the same.
//! (What a dead machine leaves is the simulated one's own affair, and harsher on purpose.)

#![allow(clippy::unwrap_used)]

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use swiftclient::{
    disk::{Disk, DiskFile, OsDisk, SimDisk},
    seam::sim::SeededDice,
};

/// Both disks, with the files held open on each.
struct Pair {
    real: (Arc<dyn Disk>, PathBuf),
    simulated: (Arc<dyn Disk>, PathBuf),
    open: Vec<(Arc<dyn DiskFile>, Arc<dyn DiskFile>)>,
    log: Vec<String>,
}

/// What can be compared of an outcome: its value, or the errno.
fn seen<T>(outcome: io::Result<T>) -> Result<T, Option<i32>> {
    outcome.map_err(|e| e.raw_os_error())
}

impl Pair {
    fn both<T: PartialEq + std::fmt::Debug>(
        &mut self,
        what: &str,
        call: impl Fn(&dyn Disk, &Path) -> io::Result<T>,
    ) {
        let real = seen(call(self.real.0.as_ref(), &self.real.1));
        let simulated = seen(call(self.simulated.0.as_ref(), &self.simulated.1));
        self.log.push(format!("{what}: {real:?}"));
        assert_eq!(real, simulated, "\n  {}", self.log.join("\n  "));
    }

    fn opened(
        &mut self,
        what: &str,
        call: impl Fn(&dyn Disk, &Path) -> io::Result<Arc<dyn DiskFile>>,
    ) {
        let real = call(self.real.0.as_ref(), &self.real.1);
        let simulated = call(self.simulated.0.as_ref(), &self.simulated.1);
        match (real, simulated) {
            (Ok(real), Ok(simulated)) => {
                self.log.push(format!("{what}: file {}", self.open.len()));
                self.open.push((real, simulated));
            }
            (real, simulated) => {
                let (real, simulated) = (seen(real.map(drop)), seen(simulated.map(drop)));
                self.log.push(format!("{what}: {real:?}"));
                assert_eq!(real, simulated, "\n  {}", self.log.join("\n  "));
            }
        }
    }

    fn on_file<T: PartialEq + std::fmt::Debug>(
        &mut self,
        index: usize,
        what: &str,
        call: impl Fn(&dyn DiskFile) -> io::Result<T>,
    ) {
        let Some((real, simulated)) = self.open.get(index) else { return };
        let (real, simulated) = (seen(call(real.as_ref())), seen(call(simulated.as_ref())));
        self.log.push(format!("{what} on file {index}: {real:?}"));
        assert_eq!(real, simulated, "\n  {}", self.log.join("\n  "));
    }
}

fn sorted_names(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> =
        disk.entries(dir)?.iter().map(|e| format!("{} {:?}", e.name.display(), e.kind)).collect();
    names.sort();
    Ok(names)
}

/// Which of `paths` are one file.
fn same_files(disk: &dyn Disk, root: &Path, paths: &[&str]) -> Vec<Option<usize>> {
    let identity = |p: &&str| disk.identity(&root.join(p)).ok();
    let all: Vec<_> = paths.iter().map(identity).collect();
    all.iter().map(|i| i.and_then(|_| all.iter().position(|other| other == i))).collect()
}

const PATHS: [&str; 8] = ["a", "b", "c", "d", "d/a", "d/b", "e/a", "e"];

fn step(pair: &mut Pair, dice: &SeededDice) {
    let index = |n: usize| usize::try_from(dice.below(n as u64)).unwrap();
    let pick = || PATHS[index(PATHS.len())];
    let (p, q) = (pick(), pick());
    let held = index(pair.open.len().max(1));
    let (at, len) = (dice.below(5000), dice.below(3000));
    match dice.below(17) {
        0 | 1 => pair.opened(&format!("create {p}"), |d, r| d.create_new(&r.join(p))),
        2 => pair.opened(&format!("open {p}"), |d, r| d.open(&r.join(p))),
        3 => pair.both(&format!("link {p} {q}"), |d, r| d.link(&r.join(p), &r.join(q))),
        4 => pair.both(&format!("unlink {p}"), |d, r| d.unlink(&r.join(p))),
        5 => pair.both(&format!("rename {p} {q}"), |d, r| d.rename(&r.join(p), &r.join(q))),
        6 => pair.both(&format!("mkdir {p}"), |d, r| d.create_dir(&r.join(p))),
        7 => pair.both(&format!("rmdir {p}"), |d, r| d.remove_dir(&r.join(p))),
        8 => pair.both(&format!("list {p}"), |d, r| sorted_names(d, &r.join(p))),
        9 => pair.both(&format!("sync {p}"), |d, r| d.sync_dir(&r.join(p))),
        10 | 11 => {
            let byte = u8::try_from(dice.below(255)).unwrap() + 1;
            let bytes = vec![byte; usize::try_from(len).unwrap()];
            let (one, two) = bytes.split_at(bytes.len() / 3);
            pair.on_file(held, &format!("write {at} {len} {byte}"), |f| {
                f.write_at(at, &[one, b"", two])
            });
        }
        12 => pair.on_file(held, &format!("read {at} {len}"), |f| {
            let mut into = vec![0; usize::try_from(len).unwrap()];
            let n = f.read_at(at, &mut into)?;
            Ok((n, into[..n].iter().fold(7_u64, |h, b| h.wrapping_mul(31) ^ u64::from(*b))))
        }),
        13 => pair.on_file(held, &format!("set_len {at}"), |f| f.set_len(at)),
        14 => pair.on_file(held, &format!("allocate {at}"), |f| f.allocate(at)),
        15 => pair.on_file(held, "lock", |f| f.try_lock()),
        _ => {
            if held < pair.open.len() {
                pair.log.push(format!("close file {held}"));
                pair.open.remove(held);
            }
        }
    }
    pair.on_file(held, "len", |f| Ok((f.len()?, f.is_regular()?)));
    pair.both("exists", |d, r| Ok(PATHS.map(|p| seen(d.exists(&r.join(p))))));
    pair.both("identities", |d, r| Ok(same_files(d, r, &PATHS)));
}

#[test]
fn a_living_process_cannot_tell_the_simulated_disk_from_the_machines() {
    for seed in 0..60 {
        let dir = tempfile::tempdir().unwrap();
        let simulated = SimDisk::new();
        simulated.create_dir(Path::new("/root")).unwrap();
        let mut pair = Pair {
            real: (Arc::new(OsDisk), dir.path().to_owned()),
            simulated: (Arc::new(simulated), "/root".into()),
            open: Vec::new(),
            log: vec![format!("seed {seed}")],
        };
        let dice = SeededDice::new(seed);
        for _ in 0..150 {
            step(&mut pair, &dice);
        }
    }
}
