//! A volume and a model that go through the same random operations; answers and trees are compared.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)] // tests

pub mod lives;
pub mod machine;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use esker_tests::model::{self, Model};
use fs::{
    Access, Attributes, Caller, Context, CreateHow, Failure, FileId, FsError, Kind, NodeKind,
    SetAttributes, SetTime, Timestamp, Tuning, Volume, Wcc,
};
use futures_util::FutureExt;
use headhunter::Index;
use swiftclient::seam::{Clock, Env};
use tokio::{
    runtime::{Handle, Runtime},
    time::Instant,
};

/// Where choices come from: SplitMix64, so that the seed is the whole story of a run; or a list, so
/// that a failing run can be made smaller choice by choice (behind its end all are 0).
pub enum Dice {
    Mixed(u64),
    Listed(Vec<u16>),
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self::Mixed(seed)
    }

    /// `choices` from the last to the first.
    pub fn listed(choices: Vec<u16>) -> Self {
        Self::Listed(choices)
    }

    pub fn roll(&mut self) -> u64 {
        match self {
            Self::Mixed(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
            Self::Listed(choices) => choices.pop().map_or(0, u64::from),
        }
    }
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % n as u64).unwrap()
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        match self {
            Self::Mixed(_) => self.roll().is_multiple_of(n),
            // The smallest choice is the usual case.
            Self::Listed(_) => self.roll() % n == n - 1,
        }
    }
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A wall clock that jumps, also back. Its other hand is the runtime's paused clock: what waits for
/// a time to pass does not wait, and finds that it has passed.
pub struct Jumping(pub AtomicU64);

impl Clock for Jumping {
    fn wall(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
    fn monotonic(&self) -> Duration {
        match (Handle::try_current(), BEGAN.get()) {
            (Ok(_), Some(began)) => began.elapsed(),
            _ => Duration::ZERO,
        }
    }
}

const NAMES: [&[u8]; 13] =
    [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"\xff\xfe", b"..", b".", b"", b"x/y", &[b'n'; 256]];

/// Names of extended attributes.
const XATTRS: [&[u8]; 9] = [
    b"user.a",
    b"user.b",
    b"trusted.t",
    b"security.s",
    b"user.longer-than-most-names-are-and-all-in-one",
    b"user.",
    b"system.posix_acl_access",
    b"user.\0",
    &[b'u'; 256],
];

/// What happens to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The wall clock jumps.
    Clock,
    Create,
    Mkdir,
    /// Symlinks and devices.
    Node,
    Write,
    Punch,
    Read,
    Seek,
    Remove,
    Rename,
    Link,
    SetAttributes,
    /// To a size that may be far from what it was.
    Truncate,
    SetXattr,
    Hold,
    Release,
    Look,
}

/// By weight.
pub const DEEDS: [Deed; 30] = [
    Deed::Create,
    Deed::Create,
    Deed::Create,
    Deed::Mkdir,
    Deed::Mkdir,
    Deed::Node,
    Deed::Write,
    Deed::Write,
    Deed::Write,
    Deed::Write,
    Deed::Punch,
    Deed::Read,
    Deed::Read,
    Deed::Seek,
    Deed::Remove,
    Deed::Remove,
    Deed::Remove,
    Deed::Rename,
    Deed::Rename,
    Deed::Rename,
    Deed::Link,
    Deed::Link,
    Deed::SetAttributes,
    Deed::SetAttributes,
    Deed::Truncate,
    Deed::SetXattr,
    Deed::SetXattr,
    Deed::Hold,
    Deed::Release,
    Deed::Look,
];

pub struct Pair {
    pub v: Volume,
    pub index: Index,
    pub clock: Arc<Jumping>,
    pub m: Model,
    /// Every object ever seen, alive or not: (model's, volume's).
    pub known: Vec<(u64, FileId)>,
    /// Inode numbers of objects that a crash took away again.
    pub lost: BTreeSet<u64>,
    /// Newest ctime seen of each.
    pub ctimes: BTreeMap<FileId, Timestamp>,
    pub dice: Dice,
}

thread_local! {
    static RUNTIME: RefCell<Option<Rc<Runtime>>> = const { RefCell::new(None) };
    /// When the runtime's clock began.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// From now on this thread's volumes may wait.
pub fn use_runtime() -> Rc<Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = Rc::new(builder.enable_time().start_paused(true).build().unwrap());
    BEGAN.set(Some(runtime.block_on(async { Instant::now() })));
    RUNTIME.set(Some(runtime.clone()));
    runtime
}

/// The result of a future; without a runtime it may not wait.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match RUNTIME.with_borrow(Clone::clone) {
        Some(runtime) => runtime.block_on(future),
        None => future.now_or_never().expect("waits although everything is in memory"),
    }
}

pub fn tuning(dice: &mut Dice) -> Tuning {
    Tuning {
        hash_bits: *dice.pick(&[2, 3, 55]),
        links: 6,
        slice_keys: *dice.pick(&[3, 8, 1_024]),
        orphan_grace: Duration::ZERO,
        ..Tuning::default()
    }
}

impl Pair {
    /// On an index in memory.
    pub fn in_memory(seed: u64) -> (Self, Tuning) {
        let mut dice = Dice::new(seed);
        let tuning = tuning(&mut dice);
        let clock = Arc::new(Jumping(AtomicU64::new(1 << 60)));
        let index = Index::in_memory(Env { clock: clock.clone(), ..Env::real() });
        (Self::on(index, clock, dice, tuning), tuning)
    }

    /// On an empty index.
    pub fn on(index: Index, clock: Arc<Jumping>, dice: Dice, tuning: Tuning) -> Self {
        let v = now(Volume::open_tuned(index.clone(), (0, 0), tuning)).unwrap();
        let known = vec![(model::ROOT, v.root())];
        let m = Model::new((0, 0), tuning.links);
        let (lost, ctimes) = (BTreeSet::new(), BTreeMap::new());
        let pair = Self { v, index, clock, m, known, lost, ctimes, dice };
        let open = SetAttributes { mode: Some(0o777), ..Default::default() };
        let cx = pair.context(&caller(0, 0, &[]));
        now(pair.v.setattr(&cx, pair.v.root(), open.clone(), None)).unwrap();
        let mut pair = pair;
        pair.m.setattr(&caller(0, 0, &[]), model::ROOT, &open).unwrap();
        pair
    }

    fn context(&self, who: &Caller) -> Context {
        Context { caller: who.clone(), request: None }
    }

    fn object(&mut self) -> (u64, FileId) {
        // Mostly the newer half, so that something happens.
        let half = if self.dice.one_in(3) { 0 } else { self.known.len() / 2 };
        let at = half + self.dice.below(self.known.len() - half);
        self.known[at]
    }

    fn directory(&mut self) -> (u64, FileId) {
        for _ in 0..8 {
            let object = self.object();
            if self.m.node(object.0).is_ok_and(|n| n.kind == Kind::Directory) {
                return object;
            }
        }
        if self.dice.one_in(8) { self.object() } else { self.known[0] }
    }

    fn caller(&mut self) -> Caller {
        let all = [
            caller(0, 0, &[]),
            caller(0, 0, &[]),
            caller(1, 10, &[]),
            caller(1, 11, &[10]),
            caller(2, 20, &[10, 30]),
            caller(3, 30, &[]),
        ];
        let mut who = self.dice.pick(&all).clone();
        who.owner_override = self.dice.one_in(2);
        who
    }

    fn set(&mut self, with_size: bool) -> SetAttributes {
        let mut set = SetAttributes::default();
        let modes = [0o755, 0o777, 0o7777, 0o644, 0o600, 0o2775, 0o1777, 0o4711, 0o070, 0, 0o007];
        if self.dice.one_in(2) {
            set.mode = Some(*self.dice.pick(&modes));
        }
        if self.dice.one_in(4) {
            set.uid = Some(*self.dice.pick(&[0, 1, 2, 3]));
        }
        if self.dice.one_in(4) {
            set.gid = Some(*self.dice.pick(&[0, 10, 20, 30]));
        }
        if with_size && self.dice.one_in(2) {
            set.size = Some(self.dice.roll() % 3_000);
        }
        if self.dice.one_in(6) {
            set.mtime =
                *self.dice.pick(&[SetTime::Now, SetTime::To(Timestamp { sec: 5, nsec: 7 })]);
        }
        set
    }

    fn name(&mut self) -> &'static [u8] {
        let n = if self.dice.one_in(10) { NAMES.len() } else { 8 };
        NAMES[self.dice.below(n)]
    }

    /// One random operation on both; their answers must agree.
    pub fn step(&mut self) {
        if self.dice.one_in(4) {
            self.does(Deed::Clock);
        }
        let deed = *self.dice.pick(&DEEDS);
        self.does(deed);
    }

    /// One operation on both, its details from the dice.
    pub fn does(&mut self, deed: Deed) {
        let who = self.caller();
        let cx = self.context(&who);
        match deed {
            Deed::Clock => {
                let back = self.dice.one_in(3);
                let by = self.dice.roll() % (1 << 40);
                let clock = &self.clock.0;
                if back {
                    clock.fetch_sub(by, Ordering::Relaxed)
                } else {
                    clock.fetch_add(by, Ordering::Relaxed)
                };
            }
            Deed::Create => self.create(&cx),
            Deed::Mkdir => self.mkdir(&cx),
            Deed::Node => self.node(&cx),
            Deed::Write => self.write(&cx),
            Deed::Punch => self.punch(&cx),
            Deed::Read => self.read(&who),
            Deed::Seek => self.seek(&who),
            Deed::Remove => self.remove(&cx),
            Deed::Rename => self.rename(&cx),
            Deed::Link => self.link(&cx),
            Deed::SetAttributes => self.setattr(&cx),
            Deed::Truncate => self.truncate(&cx),
            Deed::SetXattr => self.setxattr(&cx),
            Deed::Hold => {
                let (m, v) = self.object();
                assert_eq!(self.m.hold(m), now(self.v.hold(v)));
            }
            Deed::Release => {
                let (m, v) = self.object();
                self.m.release(m);
                now(self.v.release(v)).unwrap();
            }
            Deed::Look => self.lookup(&who),
        }
    }

    fn made(&mut self, m: Result<u64, FsError>, v: Result<(Attributes, Wcc), Failure>) {
        match (m, v) {
            (Ok(m), Ok((object, dir))) => {
                if !self.known.contains(&(m, object.id)) {
                    let used = self.known.iter().any(|k| k.1.ino == object.id.ino);
                    assert!(!used && !self.lost.contains(&object.id.ino), "number reused");
                    self.known.push((m, object.id));
                }
                self.same_attributes(m, &object);
                self.seen(&dir);
            }
            (m, v) => self.refused(m.map(drop), v.map(drop)),
        }
    }

    fn refused(&mut self, m: Result<(), FsError>, v: Result<(), Failure>) {
        if let Err(failure) = &v {
            for wcc in [&failure.wcc, &failure.other] {
                if let (Some(before), Some(after)) = (&wcc.before, &wcc.after) {
                    assert_eq!(before.ctime, after.ctime, "a refused operation changed something");
                }
            }
        }
        assert_eq!(m, v.map_err(|f| f.error));
    }

    /// ctime rises with each change, and what was before is what was seen last.
    fn seen(&mut self, wcc: &Wcc) {
        let (before, after) = (wcc.before.unwrap(), wcc.after.as_ref().unwrap());
        if let Some(last) = self.ctimes.get(&after.id) {
            assert!(before.ctime >= *last, "ctime went back");
        }
        if (before.size, before.mtime) != (after.size, after.mtime) {
            assert!(after.ctime > before.ctime, "changed without a new ctime");
        }
        self.ctimes.insert(after.id, after.ctime);
    }

    fn create(&mut self, cx: &Context) {
        let ((md, vd), name) = (self.directory(), self.name());
        let mut set = self.set(true);
        set.size = set.size.map(|s| s % 100);
        let how = match self.dice.below(3) {
            0 => CreateHow::Unchecked(set),
            1 => CreateHow::Guarded(set),
            _ => CreateHow::Exclusive([u8::try_from(self.dice.below(2)).unwrap(); 8]),
        };
        let m = self.m.create(&cx.caller, md, name, &how);
        let v = now(self.v.create(cx, vd, name, how));
        self.made(m, v.map(|made| (made.object, made.dir)));
    }

    fn mkdir(&mut self, cx: &Context) {
        let ((md, vd), name) = (self.directory(), self.name());
        let set = self.set(false);
        let m = self.m.mkdir(&cx.caller, md, name, &set);
        let v = now(self.v.mkdir(cx, vd, name, set));
        self.made(m, v.map(|made| (made.object, made.dir)));
    }

    fn node(&mut self, cx: &Context) {
        let ((md, vd), name) = (self.directory(), self.name());
        if self.dice.one_in(2) {
            let target = vec![b't'; 1 + self.dice.below(4_095)];
            let m = self.m.symlink(&cx.caller, md, name, &target);
            let v = now(self.v.symlink(cx, vd, name, &target, SetAttributes::default()));
            if let Ok(made) = &v {
                let back = now(self.v.readlink(&cx.caller, made.object.id)).unwrap();
                assert_eq!(back.0, target);
            }
            return self.made(m, v.map(|made| (made.object, made.dir)));
        }
        let kinds =
            [NodeKind::Fifo, NodeKind::Socket, NodeKind::Char(1, 3), NodeKind::Block(7, 1 << 20)];
        let (kind, set) = (*self.dice.pick(&kinds), self.set(false));
        let m = self.m.mknod(&cx.caller, md, name, kind, &set);
        let v = now(self.v.mknod(cx, vd, name, kind, set));
        self.made(m, v.map(|made| (made.object, made.dir)));
    }

    fn write(&mut self, cx: &Context) {
        let (mo, vo) = self.object();
        let (mut offset, len) = (self.dice.below(2_000), self.dice.below(600));
        if self.dice.one_in(12) {
            offset *= 20; // leaves a hole
        }
        let (first, by) = (self.dice.roll(), self.dice.roll() | 1);
        let byte = |n: u64| (first.wrapping_add(n.wrapping_mul(by)) % 255).to_le_bytes()[0] + 1;
        let data: Vec<u8> = (0..len as u64).map(byte).collect();
        let m = self.m.write(&cx.caller, mo, offset, &data);
        match now(self.v.write(cx, vo, offset as u64, Bytes::from(data))) {
            Ok(changed) => {
                assert_eq!(m, Ok(()));
                self.seen(&changed.wcc);
            }
            Err(f) => self.refused(m, Err(f)),
        }
    }

    fn read(&mut self, who: &Caller) {
        let (mo, vo) = self.object();
        let (offset, len) = (self.dice.below(3_000), self.dice.below(3_000));
        let m = self.m.read(who, mo, offset, len);
        let v = now(self.v.read(who, vo, offset as u64, u32::try_from(len).unwrap()));
        match (m, v) {
            (Ok(m), Ok(v)) => {
                assert!(v.pieces.concat() == m, "other bytes at {offset} + {len}");
                assert_eq!(v.eof, (offset + m.len()) as u64 >= v.attributes.size);
            }
            (m, v) => assert_eq!(m.map(drop), v.map(drop).map_err(|f| f.error)),
        }
    }

    fn punch(&mut self, cx: &Context) {
        let (mo, vo) = self.object();
        let (offset, len) = (self.dice.below(2_500), self.dice.below(1_500) + 1);
        let m = self.m.punch(&cx.caller, mo, offset, len);
        match now(self.v.punch(cx, vo, offset as u64, len as u64)) {
            Ok(changed) => {
                assert_eq!(m, Ok(()));
                self.seen(&changed.wcc);
            }
            Err(f) => self.refused(m, Err(f)),
        }
    }

    /// Where there is said to be no data, there are zeros; what comes first is data or a hole.
    fn seek(&mut self, who: &Caller) {
        let (mo, vo) = self.object();
        let (offset, data) = (self.dice.below(3_000), self.dice.one_in(2));
        let m = self.m.read(who, mo, offset, usize::MAX / 2).map(<[u8]>::to_vec);
        match (m, now(self.v.seek(who, vo, offset as u64, data))) {
            (Ok(rest), Ok(found)) => {
                let before = usize::try_from(found).unwrap() - offset;
                assert!(before <= rest.len(), "beyond the end");
                let zeros = rest[..before].iter().all(|b| *b == 0);
                assert!(zeros || !data, "data before {found}, the first data");
            }
            (Ok(rest), Err(f)) => {
                assert_eq!(f.error, FsError::Nxio);
                // Beyond the end, or nothing but a hole follows.
                assert!(rest.is_empty() || data && rest.iter().all(|b| *b == 0));
            }
            (m, v) => assert_eq!(m.map(drop), v.map(drop).map_err(|f| f.error)),
        }
    }

    fn setxattr(&mut self, cx: &Context) {
        let (mo, vo) = self.object();
        let n = if self.dice.one_in(6) { XATTRS.len() } else { 5 };
        let name = XATTRS[self.dice.below(n)];
        let (set, how) = (!self.dice.one_in(3), self.dice.below(4));
        let (create, replace) = (how == 1, how == 2);
        let len = if self.dice.one_in(10) { 4_000 } else { 60 };
        let value = vec![b'v'; self.dice.below(len)];
        let value = set.then_some(&value[..]);
        let m = self.m.setxattr(&cx.caller, mo, name, value, (create, replace));
        match now(self.v.setxattr(cx, vo, name, value, create, replace)) {
            Ok(changed) => {
                assert_eq!(m, Ok(()));
                self.seen(&changed.wcc);
            }
            Err(f) => self.refused(m, Err(f)),
        }
        self.same_xattrs(&cx.caller, (mo, vo), name);
    }

    fn same_xattrs(&self, who: &Caller, (mo, vo): (u64, FileId), name: &[u8]) {
        let (m, v) = (self.m.getxattr(who, mo, name), now(self.v.getxattr(who, vo, name)));
        assert_eq!(m.map(<[u8]>::to_vec), v.map(|v| v.to_vec()));
        let m = self.m.listxattr(who, mo).map(|n| n.iter().map(|n| n.to_vec()).collect());
        let v = now(self.v.listxattr(who, vo));
        let sorted = |names: Vec<Bytes>| names.iter().map(|n| n.to_vec()).collect::<BTreeSet<_>>();
        assert_eq!(m, v.map(sorted));
    }

    fn remove(&mut self, cx: &Context) {
        let ((md, vd), name) = (self.directory(), self.name());
        let directory = self.dice.one_in(3);
        let m = self.m.remove(&cx.caller, md, name, directory);
        let v = if directory {
            now(self.v.rmdir(cx, vd, name))
        } else {
            now(self.v.remove(cx, vd, name))
        };
        match v {
            Ok(changed) => {
                assert_eq!(m, Ok(()));
                self.seen(&changed.wcc);
            }
            Err(f) => self.refused(m, Err(f)),
        }
    }

    fn rename(&mut self, cx: &Context) {
        let ((ma, va), from) = (self.directory(), self.name());
        let ((mb, vb), to) = if self.dice.one_in(2) {
            ((ma, va), self.name())
        } else {
            (self.directory(), self.name())
        };
        let m = self.m.rename(&cx.caller, ma, from, mb, to);
        match now(self.v.rename(cx, va, from, vb, to)) {
            Ok(moved) => {
                assert_eq!(m, Ok(()));
                self.seen(&moved.from);
                if va != vb {
                    self.seen(&moved.to);
                }
            }
            Err(f) => self.refused(m, Err(f)),
        }
    }

    fn link(&mut self, cx: &Context) {
        let ((mo, vo), (md, vd), name) = (self.object(), self.directory(), self.name());
        let m = self.m.link(&cx.caller, mo, md, name);
        match now(self.v.link(cx, vo, vd, name)) {
            Ok(moved) => {
                assert_eq!(m, Ok(()));
                self.seen(&moved.from);
                self.seen(&moved.to);
            }
            Err(f) => self.refused(m, Err(f)),
        }
    }

    fn truncate(&mut self, cx: &Context) {
        let object = self.object();
        let most = *self.dice.pick(&[1, 1_000, 60_000]);
        let size = self.dice.roll() % most;
        self.set_on(cx, object, SetAttributes { size: Some(size), ..Default::default() });
    }

    fn setattr(&mut self, cx: &Context) {
        let object = self.object();
        let set = self.set(true);
        self.set_on(cx, object, set);
    }

    fn set_on(&mut self, cx: &Context, (mo, vo): (u64, FileId), set: SetAttributes) {
        let m = self.m.setattr(&cx.caller, mo, &set);
        match now(self.v.setattr(cx, vo, set, None)) {
            Ok(changed) => {
                assert_eq!(m, Ok(()));
                self.seen(&changed.wcc);
                self.same_attributes(mo, changed.wcc.after.as_ref().unwrap());
            }
            Err(f) => self.refused(m, Err(f)),
        }
    }

    fn lookup(&mut self, who: &Caller) {
        let ((md, vd), name) = (self.directory(), self.name());
        let m = self.m.lookup(who, md, name);
        match now(self.v.lookup(who, vd, name)) {
            Ok((object, _dir)) => self.same_attributes(m.unwrap(), &object),
            Err(f) => assert_eq!(m.map(drop), Err(f.error)),
        }
        let (mo, vo) = self.object();
        let m = self.m.access(who, mo);
        let v = now(self.v.access(who, vo, Access { bits: 63 }));
        assert_eq!(m, v.map(|(a, _)| a.bits).map_err(|f| f.error));
    }

    fn same_attributes(&self, m: u64, v: &Attributes) {
        let n = self.m.node(m).unwrap();
        let theirs = (v.kind, v.mode, v.uid, v.gid, v.nlink, v.rdev);
        assert_eq!((n.kind, n.mode, n.uid, n.gid, n.nlink, n.rdev), theirs);
        if n.kind != Kind::Directory {
            assert_eq!(n.bytes.len() as u64, v.size);
        }
        assert!(self.known.contains(&(m, v.id)), "another object");
    }

    /// Every object and every name, and the volume's own check.
    pub fn compare(&self) {
        let root = caller(0, 0, &[]);
        let mut alive = 0;
        for (m, v) in &self.known {
            let node = match (self.m.node(*m), now(self.v.getattr(*v))) {
                (Ok(node), Ok(attributes)) => {
                    self.same_attributes(*m, &attributes);
                    node
                }
                (m, v) => {
                    assert_eq!(m.map(drop), v.map(drop));
                    continue;
                }
            };
            alive += 1;
            let names: BTreeSet<_> =
                now(self.v.listxattr(&root, *v)).unwrap().into_iter().collect();
            assert!(
                names.iter().map(|n| &n[..]).eq(node.xattrs.keys().map(|n| &n[..])),
                "{names:?}"
            );
            for (name, value) in &node.xattrs {
                assert!(now(self.v.getxattr(&root, *v, name)).unwrap() == value[..], "other xattr");
            }
            match node.kind {
                Kind::File => {
                    let read = now(self.v.read(&root, *v, 0, 1 << 20)).unwrap();
                    assert!(read.pieces.concat() == node.bytes, "other bytes in {v:?}");
                }
                Kind::Directory => self.same_entries(*v, node),
                _ => {}
            }
        }
        assert_eq!(alive, self.m.inodes());
        let report = now(self.v.check()).unwrap();
        assert_eq!(report.findings, Vec::<String>::new());
    }

    fn same_entries(&self, dir: FileId, node: &model::Node) {
        let root = caller(0, 0, &[]);
        let (mut cookie, mut found) = (0, BTreeMap::new());
        loop {
            let page = now(self.v.readdir(&root, dir, cookie, 3, true)).unwrap();
            for entry in &page.entries {
                assert!(entry.cookie > cookie, "cookies rise");
                cookie = entry.cookie;
                let parent_gone = node.nlink == 0 && entry.cookie == 2;
                let shown = entry.attributes.as_ref().map(|a| a.id.ino);
                assert!(shown == Some(entry.ino) || parent_gone && shown.is_none());
                assert!(found.insert(entry.name.to_vec(), entry.ino).is_none(), "doubled");
            }
            if page.end {
                break;
            }
        }
        let mut wanted: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        let dots = [(b".".to_vec(), dir.ino), (b"..".to_vec(), self.ino_of(node.parent))];
        wanted.extend(dots);
        wanted.extend(node.entries.iter().map(|(n, m)| (n.clone(), self.ino_of(*m))));
        assert_eq!(found, wanted);
    }

    fn ino_of(&self, m: u64) -> u64 {
        self.known.iter().find(|k| k.0 == m).unwrap().1.ino
    }
}

fn caller(uid: u32, gid: u32, groups: &[u32]) -> Caller {
    Caller { uid, gid, groups: groups.to_vec(), owner_override: true }
}
