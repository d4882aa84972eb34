use std::task::Waker;

use fs::seam::Env;

use super::*;

fn drc(limits: &Limits) -> Arc<Drc> {
    Arc::new(Drc::new(limits))
}

/// A connection that is not alive: repeats of its calls are repeats.
fn link(id: u64) -> Arc<Link> {
    Arc::new(Link::new(id, Env::real()))
}

fn tag(id: u64) -> RequestTag {
    RequestTag { client: [1; 16], id, digest: 9 }
}

fn ticket(begin: Begin) -> Ticket {
    match begin {
        Begin::New(ticket, _) => ticket,
        _ => panic!("expected a new call"),
    }
}

fn waiter(begin: Begin) -> Waiter {
    match begin {
        Begin::Wait(waiter) => waiter,
        _ => panic!("expected to wait"),
    }
}

fn poll(waiter: &mut Waiter) -> Poll<Elsewhere> {
    Pin::new(waiter).poll(&mut Context::from_waker(Waker::noop()))
}

const REPLY: &[u8] = b"the reply of the call";
const NOW: Duration = Duration::from_secs(100);

#[test]
fn a_finished_call_is_answered_from_memory() {
    let drc = drc(&Limits::default());
    let first = ticket(drc.begin(tag(1), Class::Metadata, &link(1)));
    assert!(first.finish(&Bytes::from_static(REPLY), true, NOW));
    for n in 1..4 {
        match drc.begin(tag(1), Class::Metadata, &link(n)) {
            Begin::Repeat(reply) => assert_eq!(reply, REPLY),
            _ => panic!("a repeat"),
        }
    }
    assert!(matches!(drc.begin(tag(2), Class::Metadata, &link(1)), Begin::New(_, false)));
    let other_client = RequestTag { client: [2; 16], ..tag(1) };
    assert!(matches!(drc.begin(other_client, Class::Metadata, &link(1)), Begin::New(..)));
    let other_bytes = RequestTag { digest: 8, ..tag(1) };
    assert!(matches!(drc.begin(other_bytes, Class::Metadata, &link(1)), Begin::New(..)));
}

#[test]
fn a_running_call_is_not_begun_again_and_the_newest_connection_gets_the_answer() {
    let drc = drc(&Limits::default());
    let one = link(1);
    let first = ticket(drc.begin(tag(1), Class::Metadata, &one));
    assert!(matches!(drc.begin(tag(1), Class::Metadata, &one), Begin::Running));
    let mut second = waiter(drc.begin(tag(1), Class::Metadata, &link(2)));
    assert!(poll(&mut second).is_pending());
    let mut third = waiter(drc.begin(tag(1), Class::Metadata, &link(3)));
    assert!(matches!(poll(&mut second), Poll::Ready(Elsewhere::TakenOver)));
    assert!(poll(&mut third).is_pending());
    let sends_itself = first.finish(&Bytes::from_static(REPLY), true, NOW);
    assert!(!sends_itself, "the first connection is silent now");
    match poll(&mut third) {
        Poll::Ready(Elsewhere::Reply(reply)) => assert_eq!(reply, REPLY),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_put_off_is_forgotten_but_its_waiter_is_told() {
    let drc = drc(&Limits::default());
    let first = ticket(drc.begin(tag(1), Class::Metadata, &link(1)));
    let mut second = waiter(drc.begin(tag(1), Class::Metadata, &link(2)));
    first.finish(&Bytes::from_static(REPLY), false, NOW);
    assert!(matches!(poll(&mut second), Poll::Ready(Elsewhere::Reply(_))));
    assert!(matches!(drc.begin(tag(1), Class::Metadata, &link(2)), Begin::New(..)));
}

#[test]
fn a_dropped_call_leaves_nothing() {
    let drc = drc(&Limits::default());
    let first = ticket(drc.begin(tag(1), Class::Metadata, &link(1)));
    let mut second = waiter(drc.begin(tag(1), Class::Metadata, &link(2)));
    drop(first);
    assert!(matches!(poll(&mut second), Poll::Ready(Elsewhere::Dropped)));
    assert_eq!(drc.len(), 0);
}

#[test]
fn entries_leave_by_age() {
    let limits = Limits { drc_age: Duration::from_secs(900), ..Limits::default() };
    let drc = drc(&limits);
    ticket(drc.begin(tag(1), Class::Metadata, &link(1))).finish(&Bytes::new(), true, NOW);
    // Another entry of the same shard sweeps it out.
    let later = NOW + Duration::from_secs(899);
    for n in 2..200 {
        ticket(drc.begin(tag(n), Class::Metadata, &link(1))).finish(&Bytes::new(), true, later);
    }
    assert!(matches!(drc.begin(tag(1), Class::Metadata, &link(2)), Begin::Repeat(_)));
    let later = NOW + Duration::from_secs(900);
    for n in 200..400 {
        ticket(drc.begin(tag(n), Class::Metadata, &link(1))).finish(&Bytes::new(), true, later);
    }
    assert!(matches!(drc.begin(tag(1), Class::Metadata, &link(2)), Begin::New(..)));
}

#[test]
fn entries_leave_by_bytes_and_writes_do_not_push_metadata_out() {
    let limits = Limits { drc_bytes: 64 << 10, drc_write_bytes: 64 << 10, ..Limits::default() };
    let drc = drc(&limits);
    let reply = Bytes::from_static(&[0; 200]);
    ticket(drc.begin(tag(0), Class::Metadata, &link(1))).finish(&reply, true, NOW);
    for n in 1..5_000 {
        ticket(drc.begin(tag(n), Class::Write, &link(1))).finish(&reply, true, NOW);
    }
    let most = (64 << 10) / (ENTRY_BYTES + 200) + DRC_SHARDS + 1;
    assert!(drc.len() <= most, "{} entries", drc.len());
    assert!(matches!(drc.begin(tag(0), Class::Metadata, &link(2)), Begin::Repeat(_)));
    assert!(matches!(drc.begin(tag(4_999), Class::Write, &link(2)), Begin::Repeat(_)));
    assert!(matches!(drc.begin(tag(1), Class::Write, &link(2)), Begin::New(..)));
}
