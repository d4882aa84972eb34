#![allow(clippy::cast_possible_truncation)] // test patterns

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::{Cursor, Enc, Garbage, Inbound, OutQueue, Reply, record::Malformed};
use crate::limits::{FRAGMENTS, READ_BUFFER_BYTES, RECORD_BYTES, WRITE_PIECES};

fn mark(len: usize, last: bool) -> [u8; 4] {
    (u32::try_from(len).unwrap() | if last { 1 << 31 } else { 0 }).to_be_bytes()
}

fn fresh() -> BytesMut {
    BytesMut::with_capacity(READ_BUFFER_BYTES)
}

/// Feeds `stream` in steps of at most `step` bytes (or whatever room there is) and gives the
/// records.
fn records(stream: &[u8], step: usize) -> Result<Vec<Bytes>, Malformed> {
    let mut inbound = Inbound::default();
    let mut found = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let room = inbound.room(fresh);
        let spare = room.capacity() - room.len();
        assert!(spare > 0, "there is always room to read");
        let n = step.min(spare).min(stream.len() - at);
        room.put_slice(&stream[at..at + n]);
        at += n;
        loop {
            let promised = inbound.has_record();
            match inbound.next_record()? {
                Some(record) => found.push(record),
                None => {
                    assert!(!promised || inbound.partial().is_some());
                    break;
                }
            }
        }
    }
    Ok(found)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_come_out_as_they_went_in(
        list in prop::collection::vec((1usize..200_000, 1usize..6), 1..5),
        step in 1usize..100_000,
    ) {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for (n, (len, parts)) in list.iter().enumerate() {
            let record: Vec<u8> = (0..*len).map(|i| (i * 7 + n) as u8).collect();
            let chunk = len.div_ceil(*parts);
            let count = record.chunks(chunk).count();
            for (i, part) in record.chunks(chunk).enumerate() {
                stream.extend(mark(part.len(), i + 1 == count));
                stream.extend(part);
            }
            expected.push(record);
        }
        // Small steps are slow: bound the number of them.
        let step = step.max(stream.len() / 2_000 + 1);
        let found = records(&stream, step).unwrap();
        prop_assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(&expected) {
            prop_assert!(f[..] == e[..]);
        }
    }

    #[test]
    fn any_bytes_are_records_or_malformed(
        stream in prop::collection::vec(any::<u8>(), 0..400),
        step in 1usize..50,
    ) {
        let _ = records(&stream, step);
    }

    #[test]
    fn the_queue_writes_what_was_pushed(
        list in prop::collection::vec(
            (0usize..300, prop::collection::vec(0usize..40_000, 0..4)), 1..20),
        steps in prop::collection::vec(1usize..70_000, 1..400),
    ) {
        let mut queue = OutQueue::default();
        let mut expected = Vec::new();
        let mut written = Vec::new();
        let mut steps = steps.into_iter().cycle();
        let mut take = |queue: &mut OutQueue, written: &mut Vec<u8>| {
            let mut slices = [std::io::IoSlice::new(&[]); WRITE_PIECES];
            let n = queue.slices(&mut slices);
            let all: Vec<u8> = slices[..n].iter().flat_map(|s| s.iter().copied()).collect();
            let n = steps.next().unwrap_or(1).min(all.len());
            written.extend(&all[..n]);
            queue.written(n);
        };
        for (n, (head, data)) in list.into_iter().enumerate() {
            let body: Vec<Bytes> = data
                .iter()
                .map(|len| Bytes::from(vec![n as u8; *len]))
                .collect();
            let len: usize = data.iter().sum();
            let mut reply = Enc::new(Vec::new());
            reply.raw(&vec![0xaa; head]);
            let total = head + len.next_multiple_of(4);
            expected.extend(mark(total, true));
            expected.extend(vec![0xaa; head]);
            body.iter().for_each(|b| expected.extend(b));
            expected.extend(vec![0; len.next_multiple_of(4) - len]);
            let reply = Reply { head: reply.into_inner(), data: body, status: 0 };
            queue.push(reply, fresh);
            take(&mut queue, &mut written);
            prop_assert_eq!(queue.len() + written.len(), expected.len());
        }
        while !queue.is_empty() {
            take(&mut queue, &mut written);
        }
        prop_assert!(written == expected);
        prop_assert!(queue.give_back().is_some());
    }
}

#[test]
fn limits_of_framing() {
    assert_eq!(records(&mark(RECORD_BYTES + 1, true), 4), Err(Malformed::TooLong));
    assert_eq!(records(&[0x7f, 0xff, 0xff, 0xff], 1), Err(Malformed::TooLong));
    let two = [&mark(RECORD_BYTES - 10, false)[..], &vec![0; RECORD_BYTES - 10], &mark(11, true)];
    assert_eq!(records(&two.concat(), 1 << 20), Err(Malformed::TooLong));
    let endless = mark(0, false).repeat(FRAGMENTS as usize + 1);
    assert_eq!(records(&endless, 4), Err(Malformed::TooManyFragments));
    let most = [mark(1, false).as_slice(), b"x"].concat().repeat(FRAGMENTS as usize - 1);
    let most = [&most[..], &mark(1, true), b"y"].concat();
    assert_eq!(records(&most, 7).unwrap()[0].len(), FRAGMENTS as usize);
    let largest = [&mark(RECORD_BYTES, true)[..], &vec![1; RECORD_BYTES]].concat();
    assert_eq!(records(&largest, 1 << 16).unwrap()[0].len(), RECORD_BYTES);
}

#[test]
fn an_announced_record_reserves_nothing_until_it_comes() {
    let mut inbound = Inbound::default();
    inbound.room(fresh).put_slice(&mark(1 << 20, true));
    assert_eq!(inbound.next_record(), Ok(None));
    assert!(inbound.room(fresh).capacity() <= READ_BUFFER_BYTES);
    inbound.room(fresh).put_slice(&[0; 1000]);
    assert!(inbound.room(fresh).capacity() <= READ_BUFFER_BYTES);
    inbound.room(fresh).put_slice(&[0; 20_000]);
    let room = inbound.room(fresh);
    assert!(room.capacity() >= (1 << 20) + 4, "then exactly the record's room is there");
    assert!(room.capacity() < (1 << 20) + READ_BUFFER_BYTES);
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let mut inbound = Inbound::default();
    let stream = [&mark(8, true)[..], &[1; 8]].concat();
    inbound.room(fresh).put_slice(&stream);
    let record = inbound.next_record().unwrap().unwrap();
    assert_eq!(record.len(), 8);
    assert!(inbound.give_back().is_some());
    assert!(inbound.give_back().is_none());
    assert_eq!(inbound.partial(), None);
}

#[test]
fn a_slow_small_record_keeps_a_small_buffer() {
    let mut inbound = Inbound::default();
    let record: Vec<u8> = (0..100).collect();
    inbound.room(fresh).put_slice(&mark(100, true));
    inbound.room(fresh).put_slice(&record[..40]);
    assert_eq!(inbound.next_record(), Ok(None));
    assert_eq!(inbound.needs(), 0, "small: it need not ask for memory");
    assert!(inbound.shrink().is_some_and(|shared| shared.capacity() >= READ_BUFFER_BYTES));
    assert!(inbound.shrink().is_none());
    assert!(inbound.room(fresh).capacity() <= 4096, "and does not grow while it waits");
    inbound.room(fresh).put_slice(&record[40..]);
    assert_eq!(inbound.next_record().unwrap().unwrap(), record);
    // A larger one asks, and keeps its buffer.
    inbound.room(fresh).put_slice(&mark(20_000, true));
    assert_eq!(inbound.next_record(), Ok(None));
    assert_eq!(inbound.needs(), READ_BUFFER_BYTES);
    assert!(inbound.shrink().is_none());
}

#[test]
fn xdr_is_read_strictly() {
    let at = |bytes: &'static [u8]| Bytes::from_static(bytes);
    let record = at(&[0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 2]);
    let mut cur = Cursor::new(&record, 0);
    assert_eq!(cur.opaque(5).unwrap(), [1, 2, 3, 4, 5][..]);
    assert_eq!(cur.position(), 12);
    assert_eq!(cur.bool(), Err(Garbage));
    assert_eq!(Cursor::new(&record, 0).opaque(4), Err(Garbage), "over the maximum");
    // Padding that is missing, a length that wraps.
    assert_eq!(Cursor::new(&at(&[0, 0, 0, 1, 9]), 0).opaque(9), Err(Garbage));
    assert_eq!(Cursor::new(&at(&[0xff; 8]), 0).opaque(usize::MAX), Err(Garbage));
    assert_eq!(Cursor::new(&record, 99).u32(), Err(Garbage));
}
