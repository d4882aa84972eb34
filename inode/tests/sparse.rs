//! Extents against a plain vector: writes, truncates both ways, holes, with the pending work left
//! lying, so that truncate marks pile up and dead extents are everywhere (R22).
#![allow(clippy::unwrap_used, clippy::expect_used)] // tests

use bytes::Bytes;
use futures_util::FutureExt;
use headhunter::{Abort, Index, Txn};
use inode::{Fault, FileId, Files, Frame, Inode, Kind, Tuning, check};
use proptest::prelude::*;
use swiftclient::seam::Env;

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("waits although everything is in memory")
}

struct File {
    files: Files,
    id: FileId,
    /// Slices that were asked for because all marks were in use.
    forced: u32,
    /// Most marks ever seen at once.
    marks: usize,
}

impl File {
    fn new(slice_keys: usize) -> Self {
        let index = Index::in_memory(Env::real());
        let tuning = Tuning { slice_keys, ..Tuning::default() };
        let files = now(Files::open(index, (0, 0), tuning)).unwrap();
        let ino = now(files.take_number()).unwrap();
        let id = files
            .index()
            .transact::<_, Fault>(|txn| {
                let id = FileId { ino, generation: txn.epoch() };
                let mut inode = Inode { nlink: 1, ..Inode::new(id, Kind::File) };
                let mut root = files.load_number(txn, inode::ROOT).unwrap().unwrap();
                let slot = files.find(txn, inode::ROOT, b"f").unwrap();
                files.insert(txn, &mut root, &slot, b"f", (Kind::File, id)).unwrap();
                files.count_made(txn).unwrap();
                files.save(txn, &mut root);
                files.save(txn, &mut inode);
                Ok(id)
            })
            .unwrap()
            .value;
        Self { files, id, forced: 0, marks: 0 }
    }

    fn change(
        &mut self,
        mut body: impl FnMut(&Files, &mut Txn<'_>, &mut Inode) -> Result<(), Fault>,
    ) -> Result<(), u64> {
        loop {
            let done = self.files.index().transact(|txn| {
                let mut inode = self.files.load(txn, self.id).unwrap().unwrap();
                body(&self.files, txn, &mut inode).map_err(Abort::Refused)?;
                self.files.save(txn, &mut inode);
                Ok(inode.marks.len())
            });
            match done {
                Ok(committed) => {
                    self.marks = self.marks.max(committed.value);
                    return Ok(());
                }
                Err(Abort::Refused(Fault::Slice(ino))) => {
                    self.forced += 1;
                    now(self.files.slice(ino)).unwrap();
                }
                Err(Abort::Refused(Fault::Dense(fit))) => return Err(fit),
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    fn write(&mut self, mut offset: u64, mut data: &[u8], cut: usize) {
        while !data.is_empty() {
            let mut take = data.len();
            loop {
                let pieces: Vec<Frame> = data[..take]
                    .chunks(cut)
                    .flat_map(|c| self.files.frames(self.id.ino, 0, &Bytes::copy_from_slice(c)))
                    .collect();
                match self.change(|files, txn, inode| files.write(txn, inode, offset, &pieces)) {
                    Ok(()) => break,
                    Err(fit) => take = usize::try_from(fit).unwrap(),
                }
            }
            offset += take as u64;
            data = &data[take..];
        }
    }

    fn truncate(&mut self, size: u64) {
        self.change(|files, txn, inode| files.truncate(txn, inode, size)).unwrap();
    }

    fn punch(&mut self, mut from: u64, to: u64) {
        while from < to {
            let mut end = to;
            while let Err(fit) = self.change(|files, txn, inode| files.punch(txn, inode, from, end))
            {
                end = from + fit;
            }
            from = end;
        }
    }

    fn read(&self) -> Vec<u8> {
        let view = self.files.index().view();
        let inode = self.files.load(&view, self.id).unwrap().unwrap();
        let pieces = self.files.pieces(&view, &inode, 0, inode.size).unwrap();
        let bytes = now(self.files.fetch(&pieces)).unwrap().concat();
        assert_eq!(bytes.len() as u64, inode.size);
        bytes
    }

    fn seek(&self, from: u64, data: bool) -> Option<u64> {
        let view = self.files.index().view();
        let inode = self.files.load(&view, self.id).unwrap().unwrap();
        self.files.seek(&view, &inode, from, data).unwrap()
    }

    fn unlink(&self) {
        let (files, id) = (&self.files, self.id);
        let body = |txn: &mut Txn<'_>| {
            let mut root = files.load_number(txn, inode::ROOT).unwrap().unwrap();
            let slot = files.find(txn, inode::ROOT, b"f").unwrap();
            files.erase(txn, &mut root, slot.entry().unwrap());
            files.save(txn, &mut root);
            let mut inode = files.load(txn, id).unwrap().unwrap();
            inode.nlink = 0;
            files.unlinked(txn, &mut inode).unwrap();
            Ok(())
        };
        files.index().transact::<_, Fault>(body).unwrap();
    }

    fn sound(&self) -> inode::Report {
        let report = now(check(&self.files)).unwrap();
        assert_eq!(report.findings, Vec::<String>::new());
        report
    }
}

#[derive(Clone, Debug)]
enum Op {
    Write(u16, u16, u8),
    Truncate(u16),
    Punch(u16, u16),
    Slice,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..900u16, 1..300u16, 1..40u8).prop_map(|(o, l, c)| Op::Write(o, l, c)),
        3 => (0..1_000u16).prop_map(Op::Truncate),
        1 => (0..900u16, 1..300u16).prop_map(|(o, l)| Op::Punch(o, l)),
        1 => Just(Op::Slice),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn like_a_vector(ops in prop::collection::vec(op(), 1..60), keys in 2..12usize) {
        let mut file = File::new(keys);
        // What a byte is says when it was written, and 0 that it is a hole.
        let mut plain: Vec<u8> = Vec::new();
        for (n, op) in ops.iter().enumerate() {
            let mark = u8::try_from(n + 1).unwrap();
            match *op {
                Op::Write(offset, len, cut) => {
                    let data = vec![mark; usize::from(len)];
                    file.write(u64::from(offset), &data, usize::from(cut));
                    let (from, to) = (usize::from(offset), usize::from(offset + len));
                    plain.resize(plain.len().max(to), 0);
                    plain[from..to].fill(mark);
                }
                Op::Truncate(size) => {
                    file.truncate(u64::from(size));
                    plain.resize(usize::from(size), 0);
                }
                Op::Punch(from, len) => {
                    file.punch(u64::from(from), u64::from(from + len));
                    let end = plain.len().min(usize::from(from + len));
                    if usize::from(from) < end {
                        plain[usize::from(from)..end].fill(0);
                    }
                }
                Op::Slice => now(file.files.slice(file.id.ino)).unwrap(),
            }
            prop_assert!(file.read() == plain, "after operation {n}: {op:?}");
            file.sound();
        }
        for at in 0..plain.len() {
            let data = plain[at..].iter().position(|b| *b != 0).map(|n| (at + n) as u64);
            prop_assert_eq!(file.seek(at as u64, true), data);
            let hole = plain[at..].iter().position(|b| *b == 0).unwrap_or(plain.len() - at);
            prop_assert_eq!(file.seek(at as u64, false), Some((at + hole) as u64));
        }
        while now(file.files.tend()).unwrap() {}
        prop_assert!(file.read() == plain);
        let report = file.sound();
        let held: u64 = report.usage.values().sum();
        let data = plain.iter().filter(|b| **b != 0).count() as u64;
        prop_assert_eq!(held, data, "nothing leaks: every byte held is a byte written and alive");
    }
}

/// Four truncates of a large file leave four marks; the fifth makes the work go on first.
#[test]
fn marks_pile_up_and_are_bounded() {
    let mut file = File::new(8);
    let mut plain = vec![0; 400];
    for round in 1..=7u8 {
        // Ever larger, so that no mark covers another.
        let keep = usize::from(round) * 50;
        file.write(0, &vec![round; 400], 1);
        plain.fill(round);
        file.truncate(keep as u64);
        plain.truncate(keep);
        file.truncate(400);
        plain.resize(400, 0);
        assert!(file.read() == plain, "round {round}");
        file.sound();
    }
    assert_eq!(file.marks, inode::limits::MARKS);
    assert!(file.forced > 0, "the fifth mark had to wait for a slice");
}

/// A file of many extents goes in slices; the volume is whole between any two of them.
#[test]
fn a_large_file_is_freed_in_slices() {
    let mut file = File::new(10);
    file.write(0, &[7; 95], 1);
    let id = file.id;
    file.unlink();
    let gone = file.files.load(&file.files.index().view(), id).unwrap();
    assert!(gone.is_none(), "gone at once for everybody");
    let mut slices = 0;
    loop {
        let left = file.sound().extents;
        assert_eq!(left, 85u64.saturating_sub(slices * 10));
        if !now(file.files.tend()).unwrap() {
            break;
        }
        slices += 1;
    }
    let report = file.sound();
    assert_eq!((report.inodes, report.extents, slices), (1, 0, 9));
}

/// The marks of an open file without a name can be worked off; it stays on the list until closed.
#[test]
fn slices_of_an_open_file_without_a_name() {
    let mut file = File::new(10);
    file.write(0, &[7; 95], 1);
    assert!(now(file.files.hold(file.id)).unwrap());
    file.unlink();
    file.truncate(5);
    for _ in 0..12 {
        now(file.files.slice(file.id.ino)).unwrap();
        file.sound();
    }
    assert_eq!((file.read(), file.sound().extents), (vec![7; 5], 5));
    now(file.files.release(file.id)).unwrap();
    assert_eq!(file.sound().inodes, 1);
}

/// 8 EiB − 1: the last byte of the largest file.
#[test]
fn the_far_end() {
    let mut file = File::new(100);
    let last = inode::limits::MAX_FILE_BYTES - 1;
    file.write(last, b"x", 1);
    assert_eq!(file.seek(0, true), Some(last));
    assert_eq!(file.seek(last, false), Some(last + 1));
    file.sound();
    file.truncate(last);
    assert_eq!(file.seek(0, true), None);
    assert_eq!(file.sound().extents, 0);
}

/// Writing the same range over and over holds one extent.
#[test]
fn overwrites_leak_nothing() {
    let mut file = File::new(100);
    for round in 0..50u8 {
        file.write(0, &[round; 4_096], 4_096);
        file.write(4_096, &[round; 4_096], 4_096);
    }
    let report = file.sound();
    assert_eq!((report.extents, report.usage.values().sum::<u64>()), (2, 8_192));
}
