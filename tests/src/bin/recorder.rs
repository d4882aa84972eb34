//! `recorder`: works on a mounted directory and notes, outside of it, what was acknowledged.
//!
//! ```text
//!   recorder run DIR LOG SEED OPS STOP      works until OPS operations or until STOP exists
//!   recorder verify DIR LOG SEED            compares DIR with what LOG says was acknowledged
//! ```
//!
//! The operations follow from SEED alone, so that LOG needs to hold nothing but how many of them
//! were tried and how many were acknowledged: one line `N try` before and `N ok` after each.  Data
//! is acknowledged when fsync returned, a change of names when the call returned: a server that
//! exports with `sync` has promised both.  Any error of any call ends the run with status 1: with
//! a hard mount no program may notice that the server was away.
//!
//! `verify` rebuilds the tree in memory and compares names, types, link counts, modes, sizes and
//! every byte.  The one operation that was tried and not acknowledged may have happened or not.
//!
//! Invariants: (1) the same seed gives the same operations, (2) `LOG` is never ahead of the server,
//! (3) a difference that the pending operation does not explain is an error.

#![allow(clippy::cast_possible_truncation, reason = "sizes here are below 500,000")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::ExitCode;

/// Longest single write, bytes: spans several pages and two frames of 4 KiB writes.
const WRITE_MAX: u64 = 20_000;
/// Longest file, bytes; longer ones are cut.
const FILE_MAX: u64 = 400_000;
/// Most names; above it operations remove more than they add.
const NAMES_MAX: usize = 400;

/// Splitmix64: the same on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { of.get(self.below(of.len() as u64) as usize) }
    }
}

/// The bytes that operation `op` of `seed` writes; never zero, so that a hole shows.
fn pattern(seed: u64, op: u64, len: u64) -> Vec<u8> {
    let mut dice = Dice(seed ^ op.wrapping_mul(0x1000_0000_01b3));
    let mut bytes = Vec::with_capacity(len as usize + 8);
    while (bytes.len() as u64) < len {
        bytes.extend(dice.next().to_le_bytes().map(|b| b | 1));
    }
    bytes.truncate(len as usize);
    bytes
}

/// One operation.  Paths are relative to the directory.
#[derive(Clone, Debug, PartialEq)]
enum Op {
    /// Create a new file by `O_EXCL`, write, fsync.
    Create {
        path: String,
        len: u64,
    },
    /// Write at `offset`, fsync.
    Write {
        path: String,
        offset: u64,
        len: u64,
    },
    Truncate {
        path: String,
        size: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Symlink {
        target: String,
        path: String,
    },
    Unlink {
        path: String,
    },
    Mkdir {
        path: String,
    },
    Rmdir {
        path: String,
    },
    Chmod {
        path: String,
        mode: u32,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Name {
    Dir,
    Symlink(String),
    /// Index into `Tree::files`.
    File(u64),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    bytes: Vec<u8>,
    mode: u32,
}

/// What the directory must look like.
#[derive(Clone, Debug, Default, PartialEq)]
struct Tree {
    names: BTreeMap<String, Name>,
    files: BTreeMap<u64, Content>,
}

impl Tree {
    fn of_kind(&self, want: impl Fn(&Name) -> bool) -> Vec<String> {
        self.names.iter().filter(|(_, n)| want(n)).map(|(p, _)| p.clone()).collect()
    }

    fn links(&self, file: u64) -> u64 {
        self.names.values().filter(|n| **n == Name::File(file)).count() as u64
    }

    fn is_empty_dir(&self, dir: &str) -> bool {
        !self.names.keys().any(|p| p.strip_prefix(dir).is_some_and(|r| r.starts_with('/')))
    }

    fn drop_unnamed(&mut self) {
        let named: BTreeSet<u64> = self
            .names
            .values()
            .filter_map(|n| if let Name::File(f) = n { Some(*f) } else { None })
            .collect();
        self.files.retain(|f, _| named.contains(f));
    }

    fn file_at(&mut self, path: &str) -> Option<&mut Content> {
        let Some(Name::File(f)) = self.names.get(path) else { return None };
        self.files.get_mut(f)
    }

    /// Draws the operation number `op`.  It is always one that must succeed.
    fn draw(&self, dice: &mut Dice, op: u64) -> Op {
        let files = self.of_kind(|n| matches!(n, Name::File(_)));
        let dirs = self.of_kind(|n| *n == Name::Dir);
        let place = |dice: &mut Dice, what: &str| match dice.below(3) {
            0 => format!("{what}{op}"),
            _ => dice.pick(&dirs).map_or(format!("{what}{op}"), |d| format!("{d}/{what}{op}")),
        };
        let crowded = self.names.len() >= NAMES_MAX;
        let kind = dice.below(100);
        let file = dice.pick(&files).cloned();
        match (kind, file) {
            (0..35, Some(path)) => {
                let size = self.names.get(&path).map_or(0, |n| match n {
                    Name::File(f) => self.files.get(f).map_or(0, |c| c.bytes.len() as u64),
                    _ => 0,
                });
                if size > FILE_MAX {
                    return Op::Truncate { path, size: dice.below(size) };
                }
                let offset = if dice.below(3) == 0 { dice.below(size + 5000) } else { size };
                Op::Write { path, offset, len: 1 + dice.below(WRITE_MAX) }
            }
            (35..40, Some(path)) => Op::Truncate { path, size: dice.below(30_000) },
            (40..52, Some(from)) => match dice.pick(&files) {
                // Over an existing name: two names of one file would be no change at all.
                Some(to) if dice.below(3) == 0 && self.names.get(to) != self.names.get(&from) => {
                    Op::Rename { from, to: to.clone() }
                }
                _ => Op::Rename { from, to: place(dice, "moved") },
            },
            (52..57, Some(from)) if !crowded => Op::Link { from, to: place(dice, "link") },
            (57..62, Some(path)) => {
                Op::Chmod { path, mode: 0o600 | (dice.below(0o100) as u32 & 0o077) }
            }
            (62..72, Some(path)) => Op::Unlink { path },
            (72..75, _) if !crowded => {
                Op::Symlink { target: format!("target-{op}"), path: place(dice, "symlink") }
            }
            (75..78, _) if !crowded => Op::Mkdir { path: place(dice, "dir") },
            (78..80, _) => {
                let empty: Vec<&String> = dirs.iter().filter(|d| self.is_empty_dir(d)).collect();
                match dice.pick(&empty) {
                    Some(path) => Op::Rmdir { path: (*path).clone() },
                    None => Op::Mkdir { path: place(dice, "dir") },
                }
            }
            (_, Some(path)) if crowded => Op::Unlink { path },
            _ => Op::Create { path: place(dice, "file"), len: dice.below(WRITE_MAX) },
        }
    }

    /// Applies operation number `op` to the picture in memory.
    fn apply(&mut self, what: &Op, seed: u64, op: u64) {
        match what {
            Op::Create { path, len } => {
                self.names.insert(path.clone(), Name::File(op));
                let bytes = pattern(seed, op, *len);
                self.files.insert(op, Content { bytes, mode: 0o644 });
            }
            Op::Write { path, offset, len } => {
                let Some(file) = self.file_at(path) else { return };
                let (start, end) = (*offset as usize, (*offset + *len) as usize);
                if file.bytes.len() < end {
                    file.bytes.resize(end, 0);
                }
                file.bytes[start..end].copy_from_slice(&pattern(seed, op, *len));
            }
            Op::Truncate { path, size } => {
                if let Some(file) = self.file_at(path) {
                    file.bytes.resize(*size as usize, 0);
                }
            }
            Op::Rename { from, to } => {
                if let Some(name) = self.names.remove(from) {
                    self.names.insert(to.clone(), name);
                }
            }
            Op::Link { from, to } => {
                if let Some(name) = self.names.get(from).cloned() {
                    self.names.insert(to.clone(), name);
                }
            }
            Op::Symlink { target, path } => {
                self.names.insert(path.clone(), Name::Symlink(target.clone()));
            }
            Op::Unlink { path } | Op::Rmdir { path } => {
                self.names.remove(path);
            }
            Op::Mkdir { path } => {
                self.names.insert(path.clone(), Name::Dir);
            }
            Op::Chmod { path, mode } => {
                if let Some(file) = self.file_at(path) {
                    file.mode = *mode;
                }
            }
        }
        self.drop_unnamed();
    }
}

/// Does the operation on the real directory and waits until it is acknowledged.
fn perform(dir: &Path, what: &Op, seed: u64, op: u64) -> io::Result<()> {
    match what {
        Op::Create { path, len } => {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o644).open(dir.join(path))?;
            file.write_all(&pattern(seed, op, *len))?;
            file.sync_all()
        }
        Op::Write { path, offset, len } => {
            let file = OpenOptions::new().write(true).open(dir.join(path))?;
            file.write_all_at(&pattern(seed, op, *len), *offset)?;
            if op.is_multiple_of(2) { file.sync_data() } else { file.sync_all() }
        }
        Op::Truncate { path, size } => {
            let file = OpenOptions::new().write(true).open(dir.join(path))?;
            file.set_len(*size)?;
            file.sync_all()
        }
        Op::Rename { from, to } => fs::rename(dir.join(from), dir.join(to)),
        Op::Link { from, to } => fs::hard_link(dir.join(from), dir.join(to)),
        Op::Symlink { target, path } => symlink(target, dir.join(path)),
        Op::Unlink { path } => fs::remove_file(dir.join(path)),
        Op::Mkdir { path } => fs::create_dir(dir.join(path)),
        Op::Rmdir { path } => fs::remove_dir(dir.join(path)),
        Op::Chmod { path, mode } => {
            fs::set_permissions(dir.join(path), fs::Permissions::from_mode(*mode))
        }
    }
}

/// Status 0 after `ops` operations or when `stop` exists; an error names the operation.
fn run(dir: &Path, log: &Path, seed: u64, ops: u64, stop: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut log = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
    let mut note = |line: String| log.write_all(line.as_bytes()).map_err(|e| format!("log: {e}"));
    let (mut tree, mut dice) = (Tree::default(), Dice(seed));
    for op in 0..ops {
        if stop.exists() {
            break;
        }
        let what = tree.draw(&mut dice, op);
        note(format!("{op} try\n"))?;
        perform(dir, &what, seed, op).map_err(|e| format!("operation {op} {what:?}: {e}"))?;
        note(format!("{op} ok\n"))?;
        tree.apply(&what, seed, op);
    }
    Ok(())
}

/// How many operations the log calls tried and acknowledged.
fn read_log(log: &Path) -> Result<(u64, u64), String> {
    let mut text = String::new();
    File::open(log)
        .and_then(|mut f| f.read_to_string(&mut text))
        .map_err(|e| format!("{}: {e}", log.display()))?;
    let (mut tried, mut done) = (0, 0);
    for line in text.lines() {
        match line.split_once(' ') {
            Some((n, "try")) => tried = n.parse::<u64>().map_err(|e| e.to_string())? + 1,
            Some((n, "ok")) => done = n.parse::<u64>().map_err(|e| e.to_string())? + 1,
            _ => {}
        }
    }
    if tried < done || tried > done + 1 {
        return Err(format!("log says {tried} tried and {done} done"));
    }
    Ok((tried, done))
}

/// Compares the real directory with `tree`; returns the differences, one line each.
fn differences(dir: &Path, tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut todo = vec![String::new()];
    while let Some(at) = todo.pop() {
        let entries = match fs::read_dir(dir.join(&at)) {
            Ok(entries) => entries,
            Err(e) => {
                found.push(format!("{at}: {e}"));
                continue;
            }
        };
        for entry in entries {
            let name = match entry {
                Ok(entry) => entry.file_name().to_string_lossy().into_owned(),
                Err(e) => {
                    found.push(format!("listing {at}: {e}"));
                    break;
                }
            };
            let path = if at.is_empty() { name } else { format!("{at}/{name}") };
            if !seen.insert(path.clone()) {
                found.push(format!("{path}: listed twice"));
            }
            match tree.names.get(&path) {
                None => found.push(format!("{path}: is there and should not be")),
                Some(Name::Dir) => todo.push(path),
                Some(_) => {}
            }
        }
    }
    for (path, name) in &tree.names {
        if !seen.contains(path) {
            found.push(format!("{path}: is not listed"));
        }
        if let Err(e) = compare_name(&dir.join(path), name, tree) {
            found.push(format!("{path}: {e}"));
        }
    }
    found
}

fn compare_name(path: &Path, name: &Name, tree: &Tree) -> Result<(), String> {
    let meta = fs::symlink_metadata(path).map_err(|e| e.to_string())?;
    match name {
        Name::Dir if meta.is_dir() => Ok(()),
        Name::Symlink(target) if meta.is_symlink() => {
            let real = fs::read_link(path).map_err(|e| e.to_string())?;
            if real == Path::new(target) { Ok(()) } else { Err(format!("points to {real:?}")) }
        }
        Name::File(file) if meta.is_file() => {
            let want = tree.files.get(file).ok_or("no content known")?;
            if meta.nlink() != tree.links(*file) {
                return Err(format!("{} links, not {}", meta.nlink(), tree.links(*file)));
            }
            if meta.mode() & 0o7777 != want.mode {
                return Err(format!("mode {:o}, not {:o}", meta.mode() & 0o7777, want.mode));
            }
            let real = fs::read(path).map_err(|e| e.to_string())?;
            if real.len() != want.bytes.len() {
                return Err(format!("{} bytes, not {}", real.len(), want.bytes.len()));
            }
            match real.iter().zip(&want.bytes).position(|(a, b)| a != b) {
                None => Ok(()),
                Some(at) => Err(format!(
                    "byte {at} is {:#04x}, not {:#04x}; {} of {} bytes differ",
                    real[at],
                    want.bytes[at],
                    real.iter().zip(&want.bytes).filter(|(a, b)| a != b).count(),
                    real.len()
                )),
            }
        }
        _ => Err(format!("is a {:?}, not {name:?}", meta.file_type())),
    }
}

/// The paths whose state the pending operation may have left in between.
fn touched(what: &Op) -> Vec<&str> {
    match what {
        Op::Create { path, .. } | Op::Write { path, .. } | Op::Truncate { path, .. } => {
            vec![path]
        }
        _ => Vec::new(),
    }
}

fn verify(dir: &Path, log: &Path, seed: u64) -> Result<String, String> {
    let (tried, done) = read_log(log)?;
    if done == 0 {
        return Err("nothing was acknowledged, so nothing is shown".to_owned());
    }
    let (mut tree, mut dice) = (Tree::default(), Dice(seed));
    for op in 0..done {
        let what = tree.draw(&mut dice, op);
        tree.apply(&what, seed, op);
    }
    let mut wrong = differences(dir, &tree);
    if tried > done && !wrong.is_empty() {
        let what = tree.draw(&mut dice, done);
        tree.apply(&what, seed, done);
        // A write that was not acknowledged may be there in part, through every name of the file.
        let mut partly: Vec<&str> = touched(&what);
        let same: Vec<String> = partly
            .first()
            .and_then(|p| tree.names.get(*p))
            .map(|n| tree.of_kind(|m| m == n))
            .unwrap_or_default();
        partly.extend(same.iter().map(String::as_str));
        wrong = differences(dir, &tree);
        wrong.retain(|line| !partly.iter().any(|p| line.starts_with(&format!("{p}: "))));
    }
    let bytes: usize = tree.files.values().map(|c| c.bytes.len()).sum();
    if wrong.is_empty() {
        return Ok(format!("{done} operations, {} names, {bytes} bytes", tree.names.len()));
    }
    wrong.truncate(40);
    Err(format!("after {done} of {tried} operations:\n  {}", wrong.join("\n  ")))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    let outcome = match words.as_slice() {
        ["run", dir, log, seed, ops, stop] => number(seed).and_then(|seed| {
            let ops = number(ops)?;
            run(Path::new(dir), Path::new(log), seed, ops, Path::new(stop))?;
            Ok("stopped".to_owned())
        }),
        ["verify", dir, log, seed] => {
            number(seed).and_then(|seed| verify(Path::new(dir), Path::new(log), seed))
        }
        _ => Err("usage: recorder run DIR LOG SEED OPS STOP | verify DIR LOG SEED".to_owned()),
    };
    match outcome {
        Ok(text) => {
            println!("recorder: {text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("recorder: {text}");
            ExitCode::FAILURE
        }
    }
}
