use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::{
    FRAME_BYTES,
    format::{
        Tail,
        tests::{key, noise},
    },
    format::{open_body, scan_sealed},
    spy::{PutFault, Spy},
};

#[derive(Default)]
struct Ids(AtomicU32);

impl SideIds for Ids {
    fn next_side_id(&self) -> BoxFuture<'_, Result<SegmentId, LogError>> {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { Ok(SegmentId::side(6, n)) })
    }
}

fn config(spy: &Spy, segment_bytes: u64, codec: Codec, encrypted: bool) -> SideConfig {
    SideConfig {
        store: Arc::new(spy.clone()),
        ids: Arc::new(Ids::default()),
        pool: Handle::current(),
        env: Env::real(),
        volume: [3; 16],
        journal: [4; 16],
        durability: Durability::Journal,
        segment_bytes,
        key: encrypted.then(key),
        codec,
    }
}

fn writer(spy: &Spy, segment_bytes: u64) -> SideWriter {
    SideWriter::new(config(spy, segment_bytes, Codec::Stored, false), SegmentId::chain(6, 2))
}

/// Decoded body of the entry at `location`, from the stored object.
async fn stored(spy: &Spy, location: &Location, encrypted: bool) -> (Kind, Bytes) {
    let object = spy.object(&segment_name(location.segment)).await;
    let s = scan_sealed(&object).unwrap();
    assert!(matches!(s.tail, Tail::Footer(_)));
    assert_eq!(s.header.id, location.segment);
    assert_eq!((s.header.volume, s.header.stored_through), ([3; 16], SegmentId::chain(6, 2)));
    let cipher = encrypted.then(|| SegmentCipher::new(&key(), &s.header.nonce));
    let e = s.entries.iter().find(|e| e.location(s.header.id) == *location).unwrap();
    let body = object.slice_ref(e.body(&object));
    (e.header.kind, open_body(&e.header, e.offset, &body, cipher.as_ref()).unwrap())
}

#[tokio::test]
async fn everything_appended_is_stored_at_its_location() {
    for (codec, encrypted) in [(Codec::Stored, false), (Codec::Zstd, false), (Codec::Zstd, true)] {
        let spy = Spy::new();
        let config = config(&spy, 200_000, codec, encrypted);
        let mut w = SideWriter::new(config, SegmentId::chain(6, 2));
        let mut at = Vec::new();
        for i in 0..100 {
            let page = [noise(i, 5000), vec![1; 5000]].concat();
            at.push((w.page(&page).await.unwrap(), Kind::Page, page));
        }
        let frame = Frame::data(Owner(9), Bytes::from(noise(7, FRAME_BYTES)), Codec::Stored);
        let data = w.data(&frame).await.unwrap();
        at.push((data, Kind::Data, noise(7, FRAME_BYTES)));
        at.push((w.replies(b"replies").await.unwrap(), Kind::Replies, b"replies".to_vec()));
        at.push((w.root(b"root").await.unwrap(), Kind::Root, b"root".to_vec()));
        let ids = w.finish().await.unwrap();
        assert_eq!(
            ids,
            (0..ids.len())
                .map(|n| SegmentId::side(6, u32::try_from(n).unwrap()))
                .collect::<Vec<_>>()
        );
        assert!(ids.len() > if codec == Codec::Stored { 5 } else { 3 });
        for (location, kind, bytes) in at {
            assert_eq!(stored(&spy, &location, encrypted).await, (kind, Bytes::from(bytes)));
        }
        assert_eq!(spy.seen.lock().puts.len(), ids.len());
        assert!(spy.seen.lock().putting.1 <= SIDE_IN_FLIGHT);
        for id in ids {
            assert!(spy.object(&segment_name(id)).await.len() <= 200_000);
        }
    }
}

#[tokio::test]
async fn nothing_appended_makes_no_object_and_a_page_too_long_is_refused() {
    let spy = Spy::new();
    assert_eq!(writer(&spy, 1 << 20).finish().await.unwrap(), []);
    let mut w = writer(&spy, 1 << 20);
    let long = vec![0; crate::PAGE_BYTES + 1];
    assert!(matches!(w.page(&long).await, Err(LogError::Refused(_))));
    // As long as allowed, in a segment that is smaller: it gets one of its own.
    let mut w = writer(&spy, 1 << 16);
    w.page(b"x").await.unwrap();
    let at = w.page(&long[1..]).await.unwrap();
    assert_eq!(at.segment.counter(), 1);
    assert_eq!(w.finish().await.unwrap().len(), 2);
    assert_eq!(stored(&spy, &at, false).await.1.len(), crate::PAGE_BYTES);
}

#[tokio::test]
async fn an_unknown_outcome_is_read_back() {
    let spy = Spy::new();
    spy.faults.lock().extend([PutFault::UnknownStored]);
    let mut w = writer(&spy, 1 << 20);
    let at = w.page(b"page").await.unwrap();
    w.finish().await.unwrap();
    assert_eq!(stored(&spy, &at, false).await.1, "page");
    assert_eq!(spy.seen.lock().puts.len(), 1);

    let spy = Spy::new();
    spy.faults.lock().extend([PutFault::UnknownLost, PutFault::UnknownLost]);
    let mut w = writer(&spy, 1 << 20);
    let at = w.page(b"page").await.unwrap();
    w.finish().await.unwrap();
    assert_eq!(stored(&spy, &at, false).await.1, "page");
    assert_eq!(spy.seen.lock().puts.len(), 3);
}

#[tokio::test]
async fn what_is_not_stored_is_never_called_stored() {
    for (fault, times) in [(PutFault::Unavailable, 1), (PutFault::UnknownLost, 9)] {
        let spy = Spy::new();
        spy.faults.lock().extend(std::iter::repeat_n(fault, times));
        let mut w = writer(&spy, 1 << 20);
        w.page(b"page").await.unwrap();
        assert!(w.finish().await.is_err(), "{fault:?}");
    }
    // What was stored by half is replaced by the whole.
    let spy = Spy::new();
    spy.faults.lock().extend([PutFault::Half]);
    let mut w = writer(&spy, 1 << 20);
    let at = w.page(b"page").await.unwrap();
    w.finish().await.unwrap();
    assert_eq!(stored(&spy, &at, false).await.1, "page");
    // Another's object of equal length under our name: equal length is not enough.
    let (ours, theirs) = (Spy::new(), Spy::new());
    let mut w = writer(&theirs, 1 << 20);
    w.page(b"pagf").await.unwrap();
    let ids = w.finish().await.unwrap();
    let name = segment_name(ids[0]);
    let object = theirs.object(&name).await;
    ours.inner.put_new(&name, vec![object.clone()]).await.unwrap();
    let mut w = writer(&ours, 1 << 20);
    w.page(b"page").await.unwrap();
    assert!(matches!(w.finish().await, Err(LogError::Refused(_))));
    assert_eq!(ours.object(&name).await, object, "and it is left as it is");
}

/// Ours at its start, but longer: not equal.
#[tokio::test]
async fn an_object_with_a_suffix_is_not_ours() {
    let spy = Spy::new();
    let name = segment_name(SegmentId::side(6, 0));
    let mut open = writer(&spy, 1 << 20).new_segment().await.unwrap();
    let body = Body::new(Kind::Page, &Bytes::from_static(b"page"), Codec::Stored).unwrap();
    open.append(Kind::Page, Owner(0), &body);
    let (mut pieces, ours) = open.seal();
    put_segment(&spy, &name, &pieces, ours).await.unwrap();
    put_segment(&spy, &name, &pieces, ours).await.unwrap();
    assert_eq!(Likeness::of_bytes(&pieces.concat()), Some(ours));
    spy.inner.delete_many(std::slice::from_ref(&name)).await.unwrap();
    pieces.push(Bytes::from_static(b"suffix"));
    assert_eq!(Likeness::of_bytes(&pieces.concat()), None);
    spy.inner.put_new(&name, pieces.clone()).await.unwrap();
    pieces.pop();
    assert!(matches!(put_segment(&spy, &name, &pieces, ours).await, Err(LogError::Refused(_))));
}

/// The error of a segment stored in the background comes out, whichever call meets it.
#[tokio::test]
async fn an_early_failure_is_not_forgotten() {
    let spy = Spy::new();
    spy.faults.lock().extend([PutFault::Unavailable]);
    let mut w = writer(&spy, 1 << 16);
    let mut failed = false;
    for i in 0..50 {
        failed |= w.page(&noise(i, 9000)).await.is_err();
    }
    assert!(failed);
}
