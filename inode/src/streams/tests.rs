use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const MOST: u64 = 64 * MIB;
const SIZE: u64 = 1 << 30;

/// Reads in order, each of them a miss only where nothing was asked for ahead; gives what was.
fn read_on(streams: &Streams, ino: u64, from: u64, to: u64, step: u64) -> Vec<Range<u64>> {
    let mut asked: Vec<Range<u64>> = Vec::new();
    for at in (from..to).step_by(usize::try_from(step).unwrap()) {
        let there = asked.iter().any(|r| r.start <= at && at + step <= r.end);
        asked.extend(streams.note(ino, at, at + step, SIZE, !there));
    }
    asked
}

#[test]
fn the_window_doubles_and_nothing_is_asked_for_twice() {
    let streams = Streams::new(MOST);
    let asked = read_on(&streams, 7, 0, 300 * MIB, 64 * KIB);
    assert_eq!(asked[0], 64 * KIB..64 * KIB + AHEAD_FIRST_BYTES);
    for pair in asked.windows(2) {
        assert_eq!(pair[0].end, pair[1].start, "without gap or overlap");
    }
    let widest = asked.iter().map(|r| r.end - r.start).max().unwrap();
    assert!((AHEAD_MOST_BYTES / 2..=AHEAD_MOST_BYTES).contains(&widest), "{widest}");
    // In the end half a window at a time.
    assert!(asked.len() < 40, "{}", asked.len());
    let last = asked.last().unwrap();
    assert!(last.end >= 300 * MIB + AHEAD_MOST_BYTES / 2);
    let done = streams.done();
    assert_eq!((done.asked, done.wasted), (last.end - 64 * KIB, 0));
    assert_eq!(done.used, 300 * MIB - 64 * KIB);
}

#[test]
fn only_who_goes_on_is_read_ahead_for() {
    let streams = Streams::new(MOST);
    // Random reads, all of them misses, all apart.
    for n in 0..1000 {
        let at = (n * 7919 % 1009) * MIB;
        assert_eq!(streams.note(7, at + 4 * KIB, at + 8 * KIB, 2 * SIZE, true), None);
    }
    // The start of a file alone says nothing, unless much of it is wanted.
    assert_eq!(streams.note(8, 0, 4 * KIB, SIZE, true), None);
    assert_eq!(streams.note(8, 4 * KIB, 8 * KIB, SIZE, true), Some(8 * KIB..264 * KIB));
    // Backwards is not forwards; and again the same is nothing.
    for n in (1..50).rev() {
        assert_eq!(streams.note(9, n * MIB, (n + 1) * MIB, SIZE, true), None);
    }
    for _ in 0..10 {
        assert_eq!(streams.note(10, 5 * MIB, 6 * MIB, SIZE, true), None);
    }
    // In the cache and nobody streams: nothing is even looked at.
    for n in 0..10 {
        assert_eq!(streams.note(11, n * MIB, (n + 1) * MIB, SIZE, false), None);
    }
    assert!(!streams.table.lock().files.contains_key(&11));
    // A directory store grants nothing.
    let off = Streams::new(0);
    assert_eq!(read_on(&off, 7, 0, 100 * MIB, MIB), []);
    assert_eq!(off.done(), ReadAhead::default());
}

#[test]
fn parallel_reads_in_any_order_are_one_stream() {
    let streams = Streams::new(MOST);
    let mut asked = Vec::new();
    let mut at = Vec::new();
    for group in 0..20 {
        // Eight in flight, each group in another order.
        for n in 0..8 {
            at.push(group * 8 + (n * 5 + group) % 8);
        }
    }
    for n in at {
        asked.extend(streams.note(7, n * MIB, (n + 1) * MIB, SIZE, true));
    }
    let reached = asked.iter().map(|r| r.end).max().unwrap();
    assert!(reached >= 160 * MIB + AHEAD_MOST_BYTES / 2, "{reached}");
    let bytes: u64 = asked.iter().map(|r| r.end - r.start).sum();
    assert!(bytes <= reached, "not twice");
    assert!(streams.done().wasted == 0);
}

#[test]
fn several_streams_in_one_file_and_in_many_share_what_there_is() {
    let streams = Streams::new(MOST);
    let mut asked = Vec::new();
    for n in 0..40 {
        for start in [0, 300 * MIB, 600 * MIB] {
            let at = start + n * MIB;
            asked.extend(streams.note(7, at, at + MIB, SIZE, true));
        }
        let done = streams.done();
        assert!(done.asked - done.used - done.wasted <= MOST);
    }
    for start in [0, 300 * MIB, 600 * MIB] {
        let reached = asked.iter().filter(|r| (start..start + 299 * MIB).contains(&r.start));
        assert!(reached.map(|r| r.end).max().unwrap() > start + 40 * MIB);
    }
    for ino in 100..200 {
        for n in 0..4 {
            streams.note(ino, n * MIB, (n + 1) * MIB, SIZE, true);
            let done = streams.done();
            assert!(done.asked - done.used - done.wasted <= MOST);
        }
    }
}

#[test]
fn who_stops_gives_his_share_back() {
    let streams = Streams::new(MOST);
    for ino in 1..=4 {
        read_on(&streams, ino, 0, 60 * MIB, MIB);
    }
    let done = streams.done();
    let unread = done.asked - done.used;
    assert!(unread > MOST / 2, "{unread}");
    // They never come back; another does.
    let asked = read_on(&streams, 9, 0, 1000 * MIB + 500 * MIB, MIB);
    let widest = asked.iter().map(|r| r.end - r.start).max().unwrap();
    assert!(widest >= AHEAD_MOST_BYTES / 2, "{widest}");
    assert!(streams.done().wasted >= unread / 2);
    // At the end of a file nothing is left of it.
    let before = streams.done().wasted;
    for n in 0..3 {
        streams.note(11, n * MIB, (n + 1) * MIB, 3 * MIB, true);
    }
    assert_eq!(streams.done().wasted, before);
    assert!(!streams.table.lock().files.contains_key(&11));
    // A file that is read from memory at random is left alone in the end.
    streams.note(12, 5 * MIB, 6 * MIB, SIZE, true);
    for n in 0..1000 {
        streams.note(12, (n * 7919 % 1009) * MIB, (n * 7919 % 1009) * MIB + 4, SIZE, false);
    }
    assert!(!streams.table.lock().files.contains_key(&12));
}

#[test]
fn the_table_is_limited() {
    let streams = Streams::new(MOST);
    for ino in 1..10_000 {
        for n in 0..3 {
            streams.note(ino, n * 3 * MIB, n * 3 * MIB + 9, SIZE, true);
        }
        let table = streams.table.lock();
        assert!(table.files.len() <= STREAM_FILES);
    }
    for n in 0..1000 {
        streams.note(5, n * 3 * MIB, n * 3 * MIB + 9, 4 * SIZE, true);
    }
    assert!(streams.table.lock().files[&5].runs.len() <= STREAM_RUNS);
}

proptest! {
    /// Whatever is read in whatever order: what is asked for lies in the file, behind what was
    /// read, is never more than granted, and the figures add up.
    #[test]
    fn advice_is_within_bounds(
        reads in prop::collection::vec((0..4_u64, 0..64_u64, 1..6_u64, any::<bool>()), 0..300),
        most in prop_oneof![Just(0), Just(MIB), Just(MOST)],
    ) {
        let streams = Streams::new(most);
        let mut unread = BTreeSet::new();
        for (ino, at, len, missed) in reads {
            let size = 40 * 100 * KIB + ino * 7;
            let (from, to) = (at * 100 * KIB, ((at + len) * 100 * KIB).min(size));
            let asked = streams.note(ino, from, to, size, missed);
            if let Some(range) = asked {
                prop_assert!(range.start < range.end && range.end <= size);
                prop_assert!(range.start >= to.min(size));
                unread.insert((ino, range.start));
            }
            let done = streams.done();
            prop_assert!(done.used + done.wasted <= done.asked);
            prop_assert!(done.asked - done.used - done.wasted <= most);
        }
    }
}
