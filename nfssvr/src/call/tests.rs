use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    task::Waker,
    time::Duration,
};

use fs::seam::Env;

use super::*;
use crate::{
    Exports, Limits,
    counters::{Counters, ReactorCounters},
    drc::{Begin, Class},
    peer::Link,
    reactor::Reactor,
    service::{Parts, Service},
};

const BEGIN: Duration = Duration::from_millis(50);

fn peer() -> Rc<Peer> {
    let open = Volume::open(headhunter::Index::in_memory(Env::real()), (0, 0));
    let mut open = Box::pin(open);
    let Poll::Ready(Ok(volume)) = open.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    else {
        panic!("a volume in memory opens at once")
    };
    let service = Arc::new(Service::new(Parts {
        volume,
        exports: Exports::loopback(),
        fsid: 1,
        handle_key: [1; 32],
        limits: Limits { begin: BEGIN, ..Limits::default() },
        env: Env::real(),
    }));
    let counters = Arc::new(ReactorCounters::default());
    let reactor = Rc::new(Reactor::new(service, counters, Arc::new(AtomicU64::new(0))));
    let address: SocketAddr = "127.0.0.1:700".parse().unwrap();
    let link = Arc::new(Link::new(1, Env::real()));
    Rc::new(Peer { grants: reactor.service.exports.grants(address.ip()), reactor, link, address })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn never(peer: &Rc<Peer>, procedure: Procedure) -> Running {
    let future = Box::pin(std::future::pending());
    Running::new(peer.clone(), 77, Kind::Nfs(procedure), future, 100)
}

fn ticket(peer: &Rc<Peer>, id: u64) -> Ticket {
    let tag = RequestTag { client: [0; 16], id, digest: 0 };
    match peer.reactor.service.drc.begin(tag, Class::Metadata, &peer.link) {
        Begin::New(ticket, _) => ticket,
        _ => panic!("a new call"),
    }
}

fn counts(peer: &Peer, procedure: Procedure, outcome: Outcome) -> u64 {
    Counters::sum(std::slice::from_ref(&peer.reactor.counters)).outcomes(procedure, outcome)
}

#[test]
fn what_cannot_begin_is_answered_jukebox_with_the_body_of_its_procedure() {
    runtime().block_on(async {
        let peer = peer();
        for (procedure, words) in [
            (Procedure::GetAttr, 0),
            (Procedure::Read, 1),
            (Procedure::Write, 2),
            (Procedure::Commit, 2),
            (Procedure::Link, 3),
            (Procedure::Rename, 4),
        ] {
            let (reply, bytes) = never(&peer, procedure).await;
            let reply = reply.unwrap();
            assert_eq!((reply.status, bytes), (10008, 100));
            let body = &reply.head[4 + 24..];
            assert_eq!(body[..4], 10008u32.to_be_bytes());
            assert_eq!(body.len(), 4 + words * 4, "{procedure:?}");
            assert!(body[4..].iter().all(|b| *b == 0));
            assert_eq!(counts(&peer, procedure, Outcome::Jukebox), 1);
        }
    });
}

#[test]
fn a_call_put_off_may_be_made_again() {
    runtime().block_on(async {
        let peer = peer();
        let running = never(&peer, Procedure::Create);
        let running = running.remembered(ticket(&peer, 1), Rc::default());
        assert_eq!(running.await.0.unwrap().status, 10008);
        ticket(&peer, 1);
    });
}

#[test]
fn a_committed_call_is_waited_for_however_long() {
    runtime().block_on(async {
        let peer = peer();
        let committed: Rc<Cell<bool>> = Rc::default();
        let (send, wait) = tokio::sync::oneshot::channel();
        let inner = committed.clone();
        let future = Box::pin(async move {
            // Not begun in the first poll, committed in the second, durable much later.
            tokio::time::sleep(BEGIN / 5).await;
            inner.set(true);
            wait.await.unwrap()
        });
        let kind = Kind::Nfs(Procedure::Create);
        let running = Running::new(peer.clone(), 7, kind, future, 100);
        let mut running = running.remembered(ticket(&peer, 1), committed);
        let early = tokio::time::timeout(BEGIN * 4, &mut running).await;
        assert!(early.is_err(), "no JUKEBOX for what is committed");
        let tag = RequestTag { client: [0; 16], id: 1, digest: 0 };
        let repeat = || peer.reactor.service.drc.begin(tag.clone(), Class::Metadata, &peer.link);
        assert!(matches!(repeat(), Begin::Running), "a repeat finds it in progress");
        let reply = Reply { head: b"    reply".to_vec(), data: Vec::new(), status: 0 };
        send.send(reply).unwrap();
        assert_eq!(running.await.0.unwrap().head, b"    reply");
        assert!(matches!(repeat(), Begin::Repeat(bytes) if bytes == b"    reply"[..]));
        assert_eq!(counts(&peer, Procedure::Create, Outcome::Ok), 1);
    });
}

#[test]
fn the_answer_goes_to_the_newest_connection() {
    runtime().block_on(async {
        let peer = peer();
        let (send, wait) = tokio::sync::oneshot::channel::<Reply>();
        let future = Box::pin(async move { wait.await.unwrap() });
        let kind = Kind::Nfs(Procedure::Remove);
        let first = Running::new(peer.clone(), 7, kind, future, 100);
        let first = first.remembered(ticket(&peer, 1), Rc::new(Cell::new(true)));
        let newer = Arc::new(Link::new(2, Env::real()));
        let tag = RequestTag { client: [0; 16], id: 1, digest: 0 };
        let Begin::Wait(waiter) = peer.reactor.service.drc.begin(tag, Class::Metadata, &newer)
        else {
            panic!("it runs")
        };
        let second = Running::elsewhere(peer.clone(), 7, kind, waiter, 100);
        send.send(Reply { head: b"    done".to_vec(), data: Vec::new(), status: 0 }).unwrap();
        let (first, second) = tokio::join!(first, second);
        assert!(first.0.is_none());
        assert_eq!(second.0.unwrap().head, b"    done");
        assert_eq!(counts(&peer, Procedure::Remove, Outcome::Repeat), 1);
    });
}

#[test]
fn pending_calls_are_counted_until_they_end() {
    let peer = peer();
    let mut one = never(&peer, Procedure::Read);
    one.set_pending();
    one.set_pending();
    assert_eq!(peer.reactor.pending.get(), 1);
    assert!(!peer.reactor.alone());
    drop(one);
    assert_eq!(peer.reactor.pending.get(), 0);
}

#[test]
fn alone_is_who_has_been_the_only_one_for_a_while() {
    let peer = peer();
    let reactor = &peer.reactor;
    for _ in 0..=crate::limits::ALONE_AFTER {
        reactor.batch(1);
    }
    assert!(reactor.alone());
    reactor.more.set(true);
    assert!(!reactor.alone(), "another whole record waits");
    reactor.more.set(false);
    reactor.batch(2);
    reactor.batch(1);
    assert!(!reactor.alone(), "two connections take turns");
}
