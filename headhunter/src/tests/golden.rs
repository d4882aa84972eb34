//! Golden files freeze format version 1 (docs/format.md, section 4): each must decode, and encode
//! back to the same bytes. A change here is a new format version.
//!
//! `ESKER_BLESS=1 cargo test -p headhunter golden` writes files that are absent, never others.

use std::{path::PathBuf, sync::Arc};

use logseg::{Location, Seq};

use super::*;
use crate::{
    apply::usage_key,
    checkpoint::format::{Body, Ended},
    record::{Outcome, Reply},
    replies::{Replies, ReplyWriter},
    tree::{Edit, Ledger, PageRef, Place, budget::Budget, page::Page, put},
};

/// The golden file, after checking that `built` equals it.
fn golden(name: &str, built: &[u8]) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !path.exists() && std::env::var_os("ESKER_BLESS").is_some() {
        std::fs::write(&path, built).unwrap();
    }
    let file = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let at = file.iter().zip(built).position(|(a, b)| a != b);
    assert_eq!(at, None, "{name}: first difference");
    assert_eq!(file.len(), built.len(), "{name}: length");
    Bytes::from(file)
}

fn reply(id: u64) -> Reply {
    let tag = RequestTag { client: *b"client address 1", id, digest: 0x0123_4567_89ab_cdef };
    Reply { tag, wall: 1_795_262_400_000_000_000, outcome: Bytes::from_static(b"outcome") }
}

fn at(counter: u32) -> Location {
    Location { segment: SegmentId::side(3, counter), offset: 4096 * counter, stored: 9000 }
}

#[test]
fn a_record_is_as_it_was() {
    let outcome = Outcome {
        writes: vec![
            (Bytes::from_static(b"\0\0\0\0\0\0\0\x01attr"), Some(Bytes::from_static(b"value"))),
            (Bytes::from_static(b"\0\0\0\0\0\0\0\x01name"), None),
            (Bytes::from_static(b"\0\0\0\0\0\0\0\x02"), Some(Bytes::new())),
        ],
        usage: vec![(SegmentId::chain(2, 7), -4096), (SegmentId::chain(3, 1), 8192)],
        reply: Some(reply(42)),
    };
    let bytes = golden("record.bin", &outcome.encode());
    assert_eq!(Outcome::decode(&bytes), Some(outcome));
    let mut other = bytes.to_vec();
    other[0] = 2;
    assert_eq!(Outcome::decode(&Bytes::from(other)), None);
}

#[test]
fn pages_are_as_they_were() {
    let budget = Arc::new(Budget::default());
    let mut root = Arc::new(PageRef::dirty(Page::empty(&budget), Seq(0)));
    let mut ledger = Ledger::default();
    let shape = Shape { leaf: 300, inner: 300 };
    for n in (0..12u64).rev() {
        let mut edit = Edit { seq: Seq(100 + n), shape, frozen: None, ledger: &mut ledger };
        let key = if n == 0 { usage_key(SegmentId::chain(2, 7)).to_vec() } else { key(n) };
        put(&mut root, &mut edit, &key, &n.to_le_bytes()).unwrap();
    }
    let state = root.state.read();
    let page = state.page.as_ref().unwrap();
    assert!(page.level == 1 && page.children.len() > 1);
    for (n, child) in page.children.iter().enumerate() {
        let mut state = child.state.write();
        if n == 1 {
            let leaf = state.page.as_ref().unwrap().encode(state.birth).unwrap();
            let bytes = golden("leaf.bin", &leaf);
            let (again, birth) = Page::decode(&bytes, &budget).unwrap();
            assert_eq!(birth, state.birth);
            assert_eq!(again.encode(birth).unwrap(), leaf);
        }
        state.place = Place::Stored(at(u32::try_from(n).unwrap()));
    }
    let inner = page.encode(state.birth).unwrap();
    let bytes = golden("inner.bin", &inner);
    let (again, birth) = Page::decode(&bytes, &budget).unwrap();
    assert_eq!((birth, again.level), (Seq(100), 1));
    assert_eq!(again.encode(birth).unwrap(), inner);
}

#[test]
fn a_checkpoint_is_as_it_was() {
    let body = Body {
        seq: Seq(0x1234_5678),
        replay_start: SegmentId::chain(3, 17),
        wall: 1_795_262_400_000_000_000,
        epoch: 3,
        side_mark: 128,
        root: (at(1), Seq(0x1234_5000)),
        replies: Some(at(2)),
        usage: [(SegmentId::chain(3, 16), 0), (SegmentId::side(2, 9), -64)].into(),
        ended: vec![Ended { epoch: 2, seal: 40, side_mark: 64, rounds: 1 }],
        leans: Vec::new(),
    };
    let leaning =
        Body { leans: vec![SegmentId::chain(2, 39), SegmentId::chain(3, 11)], ..body.clone() };
    for (name, body) in [("checkpoint.bin", body), ("checkpoint-leaning.bin", leaning)] {
        let checkpoint = Checkpoint { body, entry: at(3) };
        let bytes = golden(name, &checkpoint.encode());
        assert_eq!(Checkpoint::decode(&bytes), Some(checkpoint));
    }
}

#[test]
fn a_reply_table_is_as_it_was() {
    let mut replies = Replies::default();
    for id in 1..4 {
        replies.insert(Seq(10 * id), &reply(id));
    }
    let mut writer = ReplyWriter::new(Seq(20));
    while replies.write_some(&mut writer) {}
    let bytes = golden("replies.bin", &writer.finish().unwrap());
    let again = Replies::decode(&bytes).unwrap();
    assert_eq!(again.len(), 2);
    assert_eq!(again.get(&reply(2).tag, reply(2).wall), replies.get(&reply(2).tag, reply(2).wall));
}

/// The largest table that its own limit allows can be written as one entry.
#[test]
fn a_full_reply_table_fits_its_entry() {
    for len in [0, 40, 64] {
        let mut replies = Replies::default();
        for id in 0..40_000 {
            let outcome = Bytes::from(vec![1; len]);
            replies.insert(Seq(id + 1), &Reply { outcome, ..reply(id) });
        }
        let mut writer = ReplyWriter::new(Seq(u64::MAX));
        while replies.write_some(&mut writer) {}
        let bytes = writer.finish().unwrap();
        assert!(bytes.len() <= logseg::RECORD_BYTES, "{} bytes", bytes.len());
    }
}
