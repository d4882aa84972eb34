use std::collections::VecDeque;

use bytes::Bytes;
use rpc::{
    Call, Header, Identity, List, Object, Place, Refusal, SetAttributes, Wire, calls, errno,
    frame::AFTER, put_frame,
};

use super::{Asked, Core, Outcome, Setup, Ticket};
use crate::{Error, fake::Fake, inbox::Inbox};

/// A client and a server with a wire between them that can be cut at any frame.
struct Pair {
    core: Core,
    fake: Fake,
    inbox: Inbox,
    /// Answers under way to the client.
    answers: VecDeque<Bytes>,
    done: Vec<(Ticket, Outcome)>,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self {
            core: Core::new(Setup::default(), [5; 16]),
            fake: Fake::new(),
            inbox: Inbox::default(),
            answers: VecDeque::new(),
            done: Vec::new(),
        };
        pair.connect();
        pair
    }

    fn connect(&mut self) {
        self.inbox = Inbox::default();
        self.inbox.open();
        self.answers.clear();
        self.core.connected([1; 32]);
        self.run();
    }

    fn cut(&mut self) {
        self.core.lost();
        self.fake.disconnect();
    }

    fn kill(&mut self) {
        self.core.lost();
        self.fake.kill();
    }

    /// Requests reach the server.
    fn ship(&mut self) {
        let mut out = VecDeque::new();
        self.core.take_out(&mut out);
        for piece in out {
            let room = self.inbox.room();
            let mut piece = &piece[..];
            let mut left = room.len();
            while !piece.is_empty() {
                let n = piece.len().min(left);
                self.inbox.room()[..n].copy_from_slice(&piece[..n]);
                self.inbox.took(n);
                piece = &piece[n..];
                left = self.inbox.room().len();
            }
            while let Some(frame) = self.inbox.next().unwrap() {
                self.answers.extend(self.fake.serve(&frame));
            }
        }
    }

    /// The next answer reaches the client.
    fn answer(&mut self) -> bool {
        let Some(answer) = self.answers.pop_front() else { return false };
        self.core.frame(&rpc::Frame::of(&answer).unwrap()).unwrap();
        self.collect();
        true
    }

    fn collect(&mut self) {
        while let Some(done) = self.core.take_done() {
            self.done.push(done);
        }
    }

    fn run(&mut self) {
        loop {
            self.ship();
            if !self.answer() {
                self.collect();
                return;
            }
        }
    }

    fn submit<C: Call>(&mut self, call: &C, payload: &[u8], flags: u16) -> Ticket {
        let payload = Bytes::copy_from_slice(payload);
        let asked = Asked::new(&Identity::default(), call, payload, flags).unwrap();
        self.core.submit(asked).map_err(|_| "no room").unwrap()
    }

    fn outcome(&mut self, ticket: Ticket) -> Option<Outcome> {
        let at = self.done.iter().position(|(t, _)| *t == ticket)?;
        Some(self.done.remove(at).1)
    }

    fn ask<C: Call>(&mut self, call: &C, payload: &[u8]) -> Result<C::Reply, Error> {
        let ticket = self.submit(call, payload, 0);
        self.run();
        let outcome = self.outcome(ticket).expect("answered");
        outcome.map(|reply| C::Reply::whole(&reply.body).unwrap())
    }

    fn open(&mut self, name: &str, flags: u32) -> u32 {
        let handle = self.core.new_handle();
        let call = opening(name, flags, handle);
        self.ask(&call, b"").unwrap();
        handle
    }
}

fn opening(name: &str, flags: u32, handle: u32) -> calls::Open {
    calls::Open {
        place: Place::of(Object::Root, name.as_bytes()),
        flags: flags | calls::open::READ | calls::open::WRITE,
        handle,
        set: SetAttributes::default(),
        wanted: List::default(),
    }
}

fn append(handle: u32) -> calls::Write {
    calls::Write { file: Object::Handle(handle), offset: 0, flags: calls::write::APPEND }
}

fn lock(handle: u32, owner: u64, flags: u32) -> calls::Lock {
    let kind = calls::lock::EXCLUSIVE;
    calls::Lock { file: Object::Handle(handle), owner, start: 0, len: 10, kind, flags }
}

const CREATE: u32 = calls::open::CREATE;

#[test]
fn requests_in_flight_are_bounded_and_none_is_forgotten() {
    let mut pair = Pair::new();
    pair.fake.requests = 8;
    pair.cut();
    pair.connect();
    let mut taken = 0;
    loop {
        let asked = Asked::new(&Identity::default(), &calls::Ping {}, Bytes::new(), 0).unwrap();
        if pair.core.submit(asked).is_err() {
            break;
        }
        taken += 1;
    }
    assert_eq!(taken, 8);
    pair.ship();
    assert_eq!(pair.answers.len(), 8);
    assert!(pair.answer());
    let asked = Asked::new(&Identity::default(), &calls::Ping {}, Bytes::new(), 0).unwrap();
    assert!(pair.core.submit(asked).is_ok(), "an answer makes room");
    pair.run();
    assert_eq!(pair.done.len(), 9);
}

#[test]
fn bytes_in_flight_are_bounded() {
    let mut pair = Pair::new();
    let handle = pair.open("a", CREATE);
    let asked = || {
        let read = calls::Read { file: Object::Handle(handle), offset: 0, count: 1 << 20 };
        Asked::new(&Identity::default(), &read, Bytes::new(), 0).unwrap()
    };
    let mut taken = 0;
    while pair.core.submit(asked()).is_ok() {
        taken += 1;
    }
    // Of the server's 4 MiB; what comes back counts.
    assert_eq!(taken, 3);
    pair.run();
    assert_eq!(pair.done.len(), 3);
}

#[test]
fn a_request_whose_answer_was_lost_is_carried_out_once() {
    let mut pair = Pair::new();
    let handle = pair.open("a", CREATE);
    let ticket = pair.submit(&append(handle), b"x", 0);
    pair.ship();
    pair.cut();
    assert!(pair.outcome(ticket).is_none());
    pair.connect();
    assert!(pair.outcome(ticket).unwrap().is_ok());
    assert_eq!(pair.fake.content(b"a"), Some(&b"x"[..]));
    assert_eq!(pair.fake.wrong, Vec::<String>::new());
}

#[test]
fn a_killed_server_gets_back_what_it_lost_in_order() {
    let mut pair = Pair::new();
    let handle = pair.open("a", CREATE);
    pair.ask(&append(handle), b"1").unwrap();
    pair.ask(&calls::Sync {}, b"").unwrap();
    assert_eq!(pair.core.kept(), (0, 0));
    let second = pair.open("b", CREATE | calls::open::EXCLUSIVE);
    pair.ask(&append(second), b"x").unwrap();
    pair.ask(&append(handle), b"2").unwrap();
    pair.ask(&calls::Close { handle: second }, b"").unwrap();
    let rename = calls::Rename {
        from: Place::of(Object::Root, b"b"),
        to: Place::of(Object::Root, b"c"),
        flags: 0,
    };
    pair.ask(&rename, b"").unwrap();
    // Sent, never answered.
    let ticket = pair.submit(&append(handle), b"3", 0);
    pair.ship();
    pair.kill();
    assert_eq!(pair.fake.content(b"a"), Some(&b"1"[..]));
    pair.connect();
    assert!(pair.outcome(ticket).unwrap().is_ok());
    assert_eq!(pair.fake.content(b"a"), Some(&b"123"[..]));
    assert_eq!(pair.fake.content(b"c"), Some(&b"x"[..]));
    assert_eq!(pair.fake.names(), [b"a".to_vec(), b"c".to_vec()]);
    assert_eq!((pair.fake.handle_count(), pair.fake.reclaimed), (1, 1));
    assert_eq!(pair.fake.wrong, Vec::<String>::new());
    // And again: what was brought back is kept until it is durable.
    pair.kill();
    pair.connect();
    assert_eq!(pair.fake.content(b"a"), Some(&b"123"[..]));
    pair.ask(&calls::Sync {}, b"").unwrap();
    assert_eq!(pair.core.kept(), (0, 0));
}

/// Every change once, wherever the wire is cut or the server killed.
#[test]
fn appends_are_counted_through_any_number_of_losses() {
    for lag in [0, 1, 5, u64::MAX] {
        let mut pair = Pair::new();
        pair.fake.lag = lag;
        let handle = pair.open("a", CREATE);
        let mut sent = Vec::new();
        let mut tickets = Vec::new();
        for step in 0..400u32 {
            let byte = u8::try_from(step % 251).unwrap();
            sent.push(byte);
            tickets.push(pair.submit(&append(handle), &[byte], AFTER));
            match step % 7 {
                0 => pair.run(),
                1 | 4 => pair.ship(),
                2 => {
                    pair.ship();
                    pair.answer();
                }
                _ => {}
            }
            match step % 23 {
                3 => {
                    pair.cut();
                    pair.connect();
                }
                11 | 12 => {
                    pair.kill();
                    pair.connect();
                }
                // Lost again while it is being brought back.
                17 => {
                    pair.kill();
                    pair.core.connected([1; 32]);
                    pair.answers.clear();
                    pair.inbox = Inbox::default();
                    pair.inbox.open();
                    pair.ship();
                    pair.answer();
                    pair.ship();
                    pair.answer();
                    pair.answer();
                    pair.kill();
                    pair.connect();
                }
                _ => {}
            }
        }
        pair.run();
        for ticket in tickets {
            assert!(pair.outcome(ticket).unwrap().is_ok());
        }
        assert_eq!(pair.fake.content(b"a"), Some(&sent[..]), "lag {lag}");
        assert_eq!(pair.fake.changes(), 401);
        assert_eq!(pair.fake.wrong, Vec::<String>::new());
        assert_eq!(pair.core.unanswered(), 0);
    }
}

#[test]
fn what_is_kept_is_bounded_by_a_sync_of_its_own() {
    let mut pair = Pair::new();
    pair.fake.window = 1 << 20;
    pair.cut();
    pair.connect();
    let handle = pair.open("a", CREATE);
    for _ in 0..200 {
        pair.ask(&append(handle), &[0; 256 << 10]).unwrap();
        let (_, bytes) = pair.core.kept();
        assert!(bytes <= crate::limits::KEPT_BYTES, "{bytes}");
    }
    // And by the server's window, where that is what is short.
    pair.fake.window = 64;
    pair.cut();
    pair.connect();
    for _ in 0..500 {
        pair.ask(&append(handle), b"x").unwrap();
    }
    assert_eq!(pair.fake.wrong, Vec::<String>::new());
}

#[test]
fn locks_are_claimed_again() {
    let mut pair = Pair::new();
    let handle = pair.open("a", CREATE);
    pair.ask(&calls::Sync {}, b"").unwrap();
    pair.ask(&lock(handle, 1, 0), b"").unwrap();
    let waiting = pair.submit(&lock(handle, 2, calls::lock::WAIT), b"", 0);
    pair.run();
    assert!(pair.outcome(waiting).is_none());
    // Nothing is held up behind it, AFTER or not.
    let ticket = pair.submit(&append(handle), b"x", AFTER);
    pair.run();
    assert!(pair.outcome(ticket).unwrap().is_ok());
    pair.kill();
    pair.connect();
    assert_eq!(pair.fake.locks.iter().map(|l| l.1).collect::<Vec<_>>(), [1]);
    assert!(pair.outcome(waiting).is_none());
    let unlock = calls::Unlock { file: Object::Handle(handle), owner: 1, start: 0, len: 10 };
    pair.ask(&unlock, b"").unwrap();
    assert!(pair.outcome(waiting).unwrap().is_ok());
    assert_eq!(pair.fake.locks.iter().map(|l| l.1).collect::<Vec<_>>(), [2]);
    assert_eq!(pair.fake.wrong, Vec::<String>::new());
}

#[test]
fn a_change_that_cannot_be_made_again_is_told_by_the_next_sync_once() {
    let mut pair = Pair::new();
    let first = pair.open("a", CREATE);
    pair.ask(&calls::Sync {}, b"").unwrap();
    pair.ask(&append(first), b"x").unwrap();
    pair.kill();
    // Somebody else was there first.
    pair.fake.remove(b"a");
    pair.connect();
    assert!(matches!(pair.ask(&calls::Sync {}, b""), Err(Error::Lost(_))));
    assert!(pair.ask(&calls::Sync {}, b"").is_ok());
}

#[test]
fn a_server_that_is_given_up_leaves_nobody_waiting_and_gets_the_rest_later() {
    let mut pair = Pair::new();
    let handle = pair.open("a", CREATE);
    pair.ask(&append(handle), b"1").unwrap();
    let ticket = pair.submit(&append(handle), b"2", 0);
    pair.kill();
    pair.core.give_up(&Error::Away("gone".into()));
    pair.collect();
    assert_eq!(pair.outcome(ticket).unwrap().unwrap_err(), Error::Away("gone".into()));
    pair.connect();
    assert_eq!(pair.fake.content(b"a"), Some(&b"1"[..]));
    // Given up in the middle of bringing back: brought back all the same.
    pair.kill();
    pair.core.connected([1; 32]);
    pair.inbox = Inbox::default();
    pair.inbox.open();
    pair.ship();
    pair.answer();
    pair.cut();
    pair.core.give_up(&Error::Away("gone".into()));
    pair.connect();
    assert_eq!(pair.fake.content(b"a"), Some(&b"1"[..]));
}

#[test]
fn the_secret_is_proved_and_the_servers_is_checked_first() {
    let secret = Some(b"a secret of some length".to_vec());
    let with = |theirs: Option<Vec<u8>>, ours: Option<Vec<u8>>| {
        let mut fake = Fake::new();
        fake.secret = theirs;
        let mut core = Core::new(Setup { secret: ours, ..Setup::default() }, [5; 16]);
        core.connected([1; 32]);
        loop {
            let mut out = VecDeque::new();
            core.take_out(&mut out);
            let Some(hello) = out.pop_front() else { return Ok(core.is_live()) };
            for answer in fake.serve(&rpc::Frame::of(&hello).unwrap()) {
                core.frame(&rpc::Frame::of(&answer).unwrap())?;
            }
        }
    };
    assert_eq!(with(secret.clone(), secret.clone()), Ok(true));
    for (theirs, ours) in [(Some(b"another secret ....".to_vec()), secret.clone()), (secret, None)]
    {
        assert!(
            matches!(with(theirs, ours), Err(Error::Denied(r)) if r.errno == errno::EKEYREJECTED)
        );
    }
}

#[test]
fn answers_to_nothing_end_the_connection() {
    let mut pair = Pair::new();
    let answer = |id, op, status| {
        let mut out = Vec::new();
        put_frame(&mut out, Header { id, op, status, ..Header::default() }, 0, |_| {});
        rpc::Frame::of(&out.into()).unwrap()
    };
    assert!(matches!(pair.core.frame(&answer(99, 4, 0)), Err(Error::Malformed(_))));
    let ticket = pair.submit(&calls::Ping {}, b"", 0);
    // Another operation than was asked for.
    assert!(matches!(pair.core.frame(&answer(3, 5, 0)), Err(Error::Malformed(_))));
    pair.core.frame(&answer(3, 4, errno::EIO)).unwrap();
    pair.collect();
    let refused = pair.outcome(ticket).unwrap().unwrap_err();
    assert_eq!(refused, Error::Refused(Refusal { errno: errno::EIO, text: String::new() }));
    // Too late, once more: nobody waits.
    pair.core.frame(&answer(3, 4, 0)).unwrap();
    let write = calls::Write { file: Object::Root, offset: 0, flags: 0 };
    pair.submit(&write, b"x", 0);
    assert!(matches!(pair.core.frame(&answer(4, 49, 0)), Err(Error::Malformed(_))));
}
