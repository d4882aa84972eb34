//! Bits flip in a stored volume, one at a time, at least 100 in each kind of byte. Whatever is hit:
//! reads give the right bytes or an error that names the place, never wrong bytes, never a panic; a
//! server starts on it, or says why not; `esker check --data` finds each. Above the journal's durable
//! mark rot looks like a torn tail: it is named, and dropped as one.
#![allow(clippy::unwrap_used)] // tests

mod pair;

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use esker_daemon::check::{self, Options, Outcome};
use fs::{Caller, Context, CreateHow, FileId, FsError, Kind, Seq, SetAttributes, SyncMode, Volume};
use headhunter::{Index, IndexConfig};
use inode::Tuning;
use logseg::format::{self, Stretch, examine};
use pair::{Dice, machine::Machine, now};
use swiftclient::disk::{Disk, EntryKind, plan::Operation};

/// Flips in each kind of byte that the rules name, and in the few others.
const FLIPS: usize = 126;
const FEW: usize = 28;
const NAMED: [&str; 8] = [
    "segment header",
    "frame",
    "page",
    "record",
    "footer",
    "checkpoint",
    "journal below the mark",
    "journal above the mark",
];
/// A server is started on each so manieth wreck; all others are only looked at.
const STARTS: usize = 4;

/// What one path shows.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    kind: Kind,
    mode: u32,
    nlink: u32,
    bytes: Vec<u8>,
}

type Tree = BTreeMap<Vec<u8>, Shown>;
type Read = BTreeMap<Vec<u8>, Result<Shown, FsError>>;

fn root() -> Caller {
    Caller { uid: 0, gid: 0, groups: Vec::new(), owner_override: false }
}

/// Everything that a volume shows; what cannot be read stands there with its error.
fn read_all(volume: &Volume) -> Read {
    let mut read = Read::new();
    let mut todo = vec![(Vec::new(), volume.root())];
    while let Some((path, dir)) = todo.pop() {
        let mut cookie = 0;
        loop {
            let page = match now(volume.readdir(&root(), dir, cookie, 100, false)) {
                Ok(page) => page,
                Err(failure) => {
                    read.insert(path.clone(), Err(failure.error));
                    break;
                }
            };
            for entry in &page.entries {
                cookie = entry.cookie;
                if matches!(&entry.name[..], b"." | b"..") {
                    continue;
                }
                let path = [&path[..], b"/", &entry.name].concat();
                let shown = show(volume, dir, &entry.name);
                if let Ok((Shown { kind: Kind::Directory, .. }, id)) = &shown {
                    todo.push((path.clone(), *id));
                }
                read.insert(path, shown.map(|(shown, _)| shown));
            }
            if page.end {
                break;
            }
        }
    }
    read
}

fn show(volume: &Volume, dir: FileId, name: &[u8]) -> Result<(Shown, FileId), FsError> {
    let object = now(volume.lookup(&root(), dir, name)).map_err(|f| f.error)?.0;
    let bytes = match object.kind {
        Kind::File => {
            let len = u32::try_from(object.size).unwrap();
            let read = now(volume.read(&root(), object.id, 0, len)).map_err(|f| f.error)?;
            read.pieces.concat()
        }
        Kind::Symlink => now(volume.readlink(&root(), object.id)).map_err(|f| f.error)?.0.to_vec(),
        _ => Vec::new(),
    };
    let shown = Shown { kind: object.kind, mode: object.mode, nlink: object.nlink, bytes };
    Ok((shown, object.id))
}

/// A volume with stored segments, two checkpoints, and an open segment in the journal.
struct Scene {
    machine: Machine,
    /// The tree after each record that a test may find.
    states: Vec<(Seq, Tree)>,
}

struct Builder {
    volume: Volume,
    index: Index,
    states: Vec<(Seq, Tree)>,
    dice: Dice,
    /// Whether the state after each record is noted.
    noting: bool,
}

impl Builder {
    fn cx() -> Context {
        Context { caller: root(), request: None }
    }

    fn write(&mut self, dir: FileId, name: &str, len: usize) -> FileId {
        let how = CreateHow::Unchecked(SetAttributes { mode: Some(0o644), ..Default::default() });
        let made = now(self.volume.create(&Self::cx(), dir, name.as_bytes(), how)).unwrap();
        let id = made.object.id;
        self.note();
        // Small enough to be one record each.
        for at in (0..len).step_by(4_000) {
            let len = (len - at).min(4_000);
            let data: Vec<u8> = (0..len).map(|_| self.dice.roll().to_le_bytes()[0]).collect();
            now(self.volume.write(&Self::cx(), id, at as u64, Bytes::from(data))).unwrap();
            self.note();
        }
        id
    }

    fn dir(&mut self, name: &str) -> FileId {
        let set = SetAttributes { mode: Some(0o755), ..Default::default() };
        let made = now(self.volume.mkdir(&Self::cx(), self.volume.root(), name.as_bytes(), set));
        self.note();
        made.unwrap().object.id
    }

    fn note(&mut self) {
        if !self.noting {
            return;
        }
        let tree = read_all(&self.volume).into_iter().map(|(path, shown)| (path, shown.unwrap()));
        self.states.push((self.index.last_seq(), tree.collect()));
    }

    fn sync(&self) {
        now(self.volume.sync(self.index.last_seq(), SyncMode::Inline)).unwrap();
    }

    fn many(&mut self, round: usize) {
        for d in 0..2 {
            let name = format!("dir-{round}-{d}");
            let dir = self.dir(&name);
            for f in 0..8 {
                let len = (f * 977 + d * 131 + round) % 5_000;
                let id = self.write(dir, &format!("file-{f}"), len);
                if f % 5 == 0 {
                    let link = format!("link-{f}");
                    let top = self.volume.root();
                    let name = format!("{name}-{link}");
                    now(self.volume.link(&Self::cx(), id, top, name.as_bytes())).unwrap();
                    self.note();
                }
            }
        }
    }
}

fn scene() -> Scene {
    let runtime = pair::use_runtime();
    let mut machine = Machine::new(1, runtime, 64 << 10);
    machine.disk.set_capacity(Some(16 << 20));
    let index = machine.open();
    let volume = now(Volume::open(index.clone(), (0, 0))).unwrap();
    let mut b = Builder { volume, index, states: Vec::new(), dice: Dice::new(7), noting: false };
    b.many(0);
    now(b.index.checkpoint_now()).unwrap();
    b.many(1);
    let top = b.volume.root();
    b.write(top, "large", 40_000);
    now(b.index.checkpoint_now()).unwrap();
    b.noting = true;
    b.note();
    b.many(2);
    now(b.volume.remove(&Builder::cx(), top, b"large")).unwrap();
    b.note();
    while now(b.volume.tend()).unwrap() {}
    b.note();
    b.write(top, "large again", 30_000);
    now(b.index.flush_through(b.index.last_seq())).unwrap();
    // Now in the journal alone: what one sync made durable, then what the next did. The marks of the
    // second say that the first was.
    for group in ["below", "above"] {
        for n in 0..6 {
            b.write(top, &format!("{group}-{n}"), 700);
        }
        b.sync();
    }
    let Builder { states, .. } = b;
    machine.disk.kill();
    machine.disk.crash_losing_unsynced();
    machine.disk = machine.disk.process();
    // A file made in advance, as a threaded server leaves it.
    let spare = machine.disk.create_new(Path::new("/volume/journal/00000002-000000ff.g0")).unwrap();
    spare.write_at(0, &[&[0; 4_096]]).unwrap();
    drop(spare);
    Scene { machine, states }
}

/// A file of the volume, a stretch of it, and what the place is called.
type Place = (PathBuf, Range<usize>, String);

/// All bytes that mean something, by kind.
fn kinds(machine: &Machine) -> BTreeMap<&'static str, Vec<Place>> {
    let mut kinds: BTreeMap<&'static str, Vec<Place>> = BTreeMap::new();
    let mut todo = vec![PathBuf::from("/volume")];
    while let Some(dir) = todo.pop() {
        for entry in machine.disk.entries(&dir).unwrap() {
            let path = dir.join(&entry.name);
            if entry.kind == EntryKind::Directory {
                if !["lock", "tmp"].iter().any(|skip| path.ends_with(skip)) {
                    todo.push(path);
                }
                continue;
            }
            let bytes = machine.disk.bytes(&path).unwrap();
            let name = path.strip_prefix("/volume").unwrap().to_str().unwrap().to_owned();
            let mut add = |kind, range: Range<usize>| {
                kinds.entry(kind).or_default().push((path.clone(), range, name.clone()));
            };
            if name.starts_with("journal/") && name.contains(".g") {
                journal_kinds(&bytes, &mut add);
            } else if bytes.starts_with(b"EskerSeg") {
                segment_kinds(&bytes, &mut add);
            } else if bytes.starts_with(b"EskerCkp") {
                add("checkpoint", 0..bytes.len());
            } else if bytes.starts_with(b"EskerEnd") {
                add("seal", 0..bytes.len());
            } else if bytes.starts_with(b"EskerVol") || bytes.starts_with(b"EskerJrn") {
                add("identity", 0..bytes.len());
            } else {
                assert_eq!(name, "reserve", "what is this?");
            }
        }
    }
    kinds
}

fn segment_kinds(bytes: &[u8], add: &mut impl FnMut(&'static str, Range<usize>)) {
    add("segment header", 0..format::SEGMENT_HEADER);
    for stretch in examine(bytes).stretches {
        let range = stretch.range().start as usize..stretch.range().end as usize;
        match stretch {
            Stretch::Entry(entry) => match entry.header.kind {
                format::Kind::Data => add("frame", range),
                format::Kind::Page | format::Kind::Root | format::Kind::Replies => {
                    add("page", range);
                }
                _ => add("record", range),
            },
            Stretch::Footer(_) => add("footer", range),
            other => panic!("{other:?} in a sound segment"),
        }
    }
}

fn journal_kinds(bytes: &[u8], add: &mut impl FnMut(&'static str, Range<usize>)) {
    let examined = examine(bytes);
    if examined.header.is_err() {
        // Made in advance: zeros. The first 32 bytes say that it is so.
        add("spare, padding", 32..bytes.len());
        return;
    }
    let mark = examined.mark as usize;
    let end = examined.entries().last().map(|e| (e.offset + e.header.stored()) as usize).unwrap();
    assert!(mark > 1_000 && end > mark + 1_000, "mark {mark}, end {end}");
    add("journal below the mark", 0..mark);
    add("journal above the mark", mark..end);
    add("journal, zeros ahead", end..bytes.len());
}

fn check(config: &IndexConfig) -> Outcome {
    now(check::offline(config, Options { data: true }, &|_, _, _| ())).unwrap()
}

/// What came of one flip.
#[derive(Default, Debug)]
struct Tally {
    flips: usize,
    found: usize,
    right: usize,
    eio: usize,
    refused: usize,
}

impl Scene {
    /// The tree that belongs to a seq.
    fn state(&self, seq: Seq) -> &Tree {
        let (_, tree) = self.states.iter().rev().find(|(at, _)| *at <= seq).unwrap_or_else(|| {
            panic!("nothing is known of the tree at {seq:?}");
        });
        tree
    }

    /// Right bytes, or an error; nothing else, nothing missing but below what cannot be read. Gives
    /// the number of errors.
    fn compare(&self, volume: &Volume, seq: Seq, story: &str) -> usize {
        let (right, read) = (self.state(seq), read_all(volume));
        let mut errors = 0;
        for (path, shown) in &read {
            let name = String::from_utf8_lossy(path);
            match shown {
                Ok(shown) => assert!(right.get(path) == Some(shown), "{story}: {name} is wrong"),
                Err(error) => {
                    assert_eq!(*error, FsError::Io, "{story}: {name}");
                    errors += 1;
                }
            }
        }
        for path in right.keys().filter(|path| !read.contains_key(*path)) {
            let above = |(at, shown): (&Vec<u8>, &Result<Shown, FsError>)| {
                shown.is_err() && path.starts_with(at)
            };
            let name = String::from_utf8_lossy(path);
            assert!(read.iter().any(above), "{story}: {name} is gone");
        }
        errors
    }

    /// Reads as a server would that only looks, then as one that starts on a copy of the disk.
    fn reads(&self, config: &IndexConfig, names: &[String], tally: &mut Tally, story: &str) {
        self.looks(config, names, tally, story);
        if tally.flips.is_multiple_of(STARTS) {
            self.starts(names, story);
        }
    }

    fn looks(&self, config: &IndexConfig, names: &[String], tally: &mut Tally, story: &str) {
        let named = |text: &str| names.iter().any(|name| text.contains(name));
        match now(Index::look(config)) {
            Ok(looked) => {
                let volume = now(Volume::still(looked.index, Tuning::default()));
                let errors = self.compare(&volume, looked.seq, story);
                tally.eio += usize::from(errors > 0);
                tally.right += usize::from(errors == 0);
                if errors > 0 {
                    assert!(error_names_the_place(&volume, &named), "{story}: place not named");
                }
            }
            Err(error) => {
                assert!(named(&error.to_string()), "{story}: {error} does not name it");
                tally.refused += 1;
            }
        }
    }

    fn starts(&self, names: &[String], story: &str) {
        let named = |text: &str| names.iter().any(|name| text.contains(name));
        let copy = Machine {
            disk: self.machine.disk.wreck(&*self.machine.dice),
            clock: self.machine.clock.clone(),
            dice: self.machine.dice.clone(),
            runtime: self.machine.runtime.clone(),
            segment_bytes: self.machine.segment_bytes,
        };
        match copy.try_open() {
            Ok(index) => {
                let seq = index.last_seq();
                match now(Volume::open(index, (0, 0))) {
                    Ok(volume) => _ = self.compare(&volume, seq, story),
                    Err(error) => assert_eq!(error, FsError::Io, "{story}"),
                }
            }
            Err(error) => assert!(named(&error.to_string()), "{story}: start: {error}"),
        }
    }
}

/// What the log itself says of a read that fails: the reader's EIO, in full.
fn error_names_the_place(volume: &Volume, named: &dyn Fn(&str) -> bool) -> bool {
    let index = volume.files().index();
    let refers = |key: &[u8], value: &[u8]| inode::referenced(key, value).into_iter().collect();
    let report = now(index.check(refers)).unwrap();
    if report.problems.iter().any(|problem| named(problem)) {
        return true;
    }
    for ino in 2..200 {
        let Ok(Some(dump)) = now(volume.files().dump(ino)) else { continue };
        for extent in dump.extents {
            if let Err(error) = now(index.read(&extent.location))
                && named(&error.to_string())
            {
                return true;
            }
        }
    }
    false
}

/// What a place may be called: the object, or the segment.
fn names_of(name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    let id = match format::parse_name(name) {
        Some(format::ChainName::Segment(id)) => Some(id),
        // journal/EEEEEEEE-CCCCCCCC.gN
        _ => name.strip_prefix("journal/").and_then(|file| {
            let (id, _) = file.split_once(".g")?;
            match format::parse_name(&format!("seg/{}", id.replace('-', "/"))) {
                Some(format::ChainName::Segment(id)) => Some(id),
                _ => None,
            }
        }),
    };
    names.extend(id.map(|id| id.to_string()));
    names
}

/// The n-th of `of` bytes spread evenly, each with another bit.
fn nth(places: &[Place], n: usize, of: usize, dice: &mut Dice) -> (usize, usize, u8) {
    let total: usize = places.iter().map(|(_, range, _)| range.len()).sum();
    let share = total / of;
    let mut at = n * share + dice.below(share.max(1));
    for (i, (_, range, _)) in places.iter().enumerate() {
        if at < range.len() {
            return (i, range.start + at, 1 << dice.below(8));
        }
        at -= range.len();
    }
    panic!("beyond the end");
}

#[test]
fn every_flipped_bit_is_found_and_never_read() {
    let scene = scene();
    let config = scene.machine.index_config();
    let sound = check(&config);
    assert_eq!((&sound.findings, &sound.notes), (&vec![], &vec![]));
    let newest = scene.states.last().unwrap().0;
    assert_eq!(scene.compare(&open_still(&config), newest, "sound"), 0);
    let mut dice = Dice::new(3);
    let (mut all, mut named_kinds, mut paddings) = (0, 0, 0);
    for (kind, places) in kinds(&scene.machine) {
        let mut tally = Tally::default();
        // What no read and no check needs to see, and what is dropped as torn.
        let padding = kind.contains("padding");
        let torn = kind == "journal above the mark" || kind == "journal, zeros ahead";
        let flips = if NAMED.contains(&kind) { FLIPS } else { FEW };
        for n in 0..flips {
            let (place, at, bit) = nth(&places, n, flips, &mut dice);
            let (path, _, name) = &places[place];
            let story = format!("{kind}: {name} at byte {at}, bit {bit:#x}");
            scene.machine.disk.edit(path, |bytes| bytes[at] ^= bit).unwrap();
            let outcome = check(&config);
            let mut names = names_of(name);
            if kind == "identity" {
                names.extend(["volume".into(), "journal".into()]);
            }
            let named = |text: &String| names.iter().any(|name| text.contains(name));
            if padding {
                assert_eq!(outcome.findings, Vec::<String>::new(), "{story}");
            } else if torn {
                assert_eq!(outcome.findings, Vec::<String>::new(), "{story}");
                let torn = |note: &&String| named(note) && note.contains("torn at byte");
                assert!(outcome.notes.iter().any(|n| torn(&n)), "{story}: {:?}", outcome.notes);
            } else {
                assert!(outcome.findings.iter().any(named), "{story}: {:?}", outcome.findings);
            }
            tally.found += usize::from(!padding);
            scene.reads(&config, &names, &mut tally, &story);
            tally.flips += 1;
            scene.machine.disk.edit(path, |bytes| bytes[at] ^= bit).unwrap();
        }
        println!(
            "{kind}: {} flips, {} found by check; reads: {} right, {} EIO, {} refused to open",
            tally.flips, tally.found, tally.right, tally.eio, tally.refused
        );
        if padding {
            assert_eq!(tally.right, tally.flips, "{kind}");
            paddings += 1;
        }
        if NAMED.contains(&kind) {
            assert!(tally.flips >= 100);
            named_kinds += 1;
            all += tally.flips;
        }
    }
    assert_eq!((named_kinds, paddings), (NAMED.len(), 1));
    println!("{all} flips in all");
    assert!(all >= 1_000);
    assert_eq!(check(&config).findings, Vec::<String>::new());
}

fn open_still(config: &IndexConfig) -> Volume {
    let looked = now(Index::look(config)).unwrap();
    assert_eq!(looked.trouble, Vec::<String>::new());
    now(Volume::still(looked.index, Tuning::default()))
}

fn all_bytes(disk: &swiftclient::disk::SimDisk, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in disk.entries(&dir).unwrap() {
            let path = dir.join(&entry.name);
            match entry.kind {
                EntryKind::Directory => todo.push(path),
                _ => _ = found.insert(path.clone(), disk.bytes(&path).unwrap()),
            }
        }
    }
    found
}

/// A check of store and journal puts, deletes, creates and writes nothing at all: directories may be
/// synced, so that what is read is known to last.
#[test]
fn a_check_changes_nothing() {
    let scene = scene();
    let disk = &scene.machine.disk;
    let config = scene.machine.index_config();
    let before = all_bytes(disk, Path::new("/"));
    disk.forget_log();
    for data in [false, true] {
        let outcome = now(check::offline(&config, Options { data }, &|_, _, _| ())).unwrap();
        assert_eq!(outcome.findings, Vec::<String>::new());
        assert_eq!(outcome.objects > 0, data);
    }
    let changes: Vec<_> = disk
        .log()
        .into_iter()
        .filter(|(operation, _)| operation.changes() && *operation != Operation::SyncDir)
        .collect();
    assert_eq!(changes, vec![]);
    assert!(disk.count(Operation::Read) > 0, "nothing was read at all");
    assert!(all_bytes(disk, Path::new("/")) == before);
}

/// The file whose bytes are damaged is named by its path; the others are not.
#[test]
fn a_check_names_the_file() {
    let scene = scene();
    let config = scene.machine.index_config();
    let volume = open_still(&config);
    let ino = now(volume.files().resolve(b"/dir-1-1/file-7")).unwrap().unwrap();
    let dump = now(volume.files().dump(ino)).unwrap().unwrap();
    let at = dump.extents[0].location;
    let path = Path::new("/volume").join(format::segment_name(at.segment).as_str());
    scene.machine.disk.edit(&path, |bytes| bytes[at.offset as usize + 200] ^= 4).unwrap();
    let findings = check(&config).findings;
    let object = format::segment_name(at.segment).to_string();
    let owner = format!("data of inode {ino}");
    assert!(
        findings.iter().any(|f| f.contains(&object)
            && f.contains(&format!("byte {}", at.offset))
            && f.contains(&owner)),
        "{findings:?}"
    );
    let paths: Vec<_> = findings.iter().filter(|f| f.starts_with('/')).collect();
    assert_eq!(paths.len(), 1, "{findings:?}");
    assert!(paths[0].starts_with(&format!("/dir-1-1/file-7 (inode {ino}): bytes 0 to")));
    // Without --data only what metadata say is looked at: the frame's bytes are not.
    let quick = now(check::offline(&config, Options { data: false }, &|_, _, _| ())).unwrap();
    assert_eq!(quick.findings, Vec::<String>::new());
    // A segment that is gone is seen without reading data.
    scene.machine.disk.unlink(&path).unwrap();
    // The store keeps files open.
    let config = scene.machine.index_config();
    let quick = now(check::offline(&config, Options { data: false }, &|_, _, _| ())).unwrap();
    assert!(quick.findings.iter().any(|f| f.contains("missing")), "{:?}", quick.findings);
}
