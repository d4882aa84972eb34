//! Harm while a client writes and segments are on their way to the store.

use std::time::Duration;

use esker_tests::chaos::{At, Cut, Fault, Rule, Verb, When};
use esker_tests::load::Pool;
use esker_tests::nfsclient::proc::{FILE_SYNC, UNSTABLE};
use esker_tests::server::{pause, until};

use crate::place::Place;
use crate::work::{JUKEBOX, Work, connect};

/// Rounds of ten steps, at most, until every rule has done its harm.
const ROUNDS: usize = 400;
/// How often each rule must have done it.
const LEAST: u64 = 2;

/// Works under `rules` (each hit by some chance), is killed in the middle, goes on; then calm, a
/// clean stop, and a server that has only the store.
fn survives(seed: u64, journal: bool, rules: &[(When, Fault)], more: &[&str]) {
    let place = Place::new(seed, journal, more);
    let mut work = Work::new(seed);
    let mut server = place.start().unwrap();
    work.steps(&server, 10).unwrap();
    let rules: Vec<Rule> = rules.iter().map(|(w, f)| Rule::new(w.clone(), f.clone())).collect();
    place.proxy.rules(rules.clone());
    let mut rounds = 0;
    let all_done = || place.proxy.done().iter().all(|n| *n >= LEAST);
    while rounds < 6 || !all_done() {
        work.steps(&server, 10).unwrap();
        // Segments go to the store at the latest after 200 ms.
        pause(Duration::from_millis(100));
        rounds += 1;
        assert!(rounds < ROUNDS, "{:?} of {rules:?}", place.proxy.done());
        if rounds == 4 {
            // Every start finds a store that does harm, too: but the kinds of harm that a start
            // does not survive have tests of their own.
            server.kill().unwrap();
            place.proxy.calm();
            server.start_again().unwrap();
            work.verify(&server);
            place.proxy.rules(rules.clone());
        }
    }
    place.proxy.calm();
    whole(&place, &mut work, server);
}

/// Everything is there: now, after a clean stop without the journal, and inside.
pub fn whole(place: &Place, work: &mut Work, server: esker_tests::server::Esker) {
    let found = work.verify(&server);
    assert_eq!((found.right, found.refused), (work.files(), 0), "{}", server.log_text());
    place.stop_without_journal(server);
    let server = place.start().unwrap();
    let found = work.verify(&server);
    assert_eq!((found.right, found.refused), (work.files(), 0), "{}", server.log_text());
    assert!(server.stop().unwrap().success());
    let checked = place.check();
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{text}{}", String::from_utf8_lossy(&checked.stderr));
}

/// With a journal and without one.
fn both(seed: u64, rules: &[(When, Fault)]) {
    survives(seed, true, rules, &[]);
    survives(seed + 1, false, rules, &[]);
}

fn puts() -> When {
    When::verbs(&[Verb::Put]).per_mille(300)
}

#[test]
fn answers_come_late() {
    both(1, &[(When::default(), Fault::Delay { least: 20, jitter: 100 })]);
}

#[test]
fn requests_are_cut() {
    let cut = |at, how| (puts().per_mille(150), Fault::CutRequest { at, how });
    let rules = [
        cut(At::Head, Cut::Fin),
        cut(At::Byte(0), Cut::Rst),
        cut(At::Byte(1000), Cut::Fin),
        cut(At::Somewhere, Cut::Rst),
        cut(At::End, Cut::Rst),
    ];
    both(3, &rules);
}

#[test]
fn answers_are_cut_after_the_work() {
    let cut = |at, how| (puts(), Fault::CutAnswer { at, how });
    both(5, &[cut(At::Head, Cut::Rst), cut(At::Byte(0), Cut::Fin), cut(At::Head, Cut::Fin)]);
}

fn storm(seed: u64, after: bool) {
    let answer = |status| {
        let retry_after = (status == 503).then_some(1);
        (puts().per_mille(120), Fault::Answer { status, retry_after, after })
    };
    both(seed, &[500, 503, 409, 412, 403, 429].map(answer));
}

#[test]
fn storms_without_the_work() {
    storm(7, false);
}

#[test]
fn storms_after_the_work() {
    storm(9, true);
}

#[test]
fn bodies_are_shortened_and_turned_on_their_way() {
    let rules = [
        (puts(), Fault::TruncateRequest { at: At::Somewhere }),
        (puts(), Fault::CorruptRequest { at: At::Somewhere }),
    ];
    both(11, &rules);
}

#[test]
fn answers_come_twice_or_to_the_wrong_request() {
    let some = || When::default().per_mille(150);
    let rules =
        [(some(), Fault::Duplicate), (some(), Fault::Shift), (some(), Fault::Swap { wait: 300 })];
    // A HEAD's answer in a GET's place announces bytes that never come: only time tells.
    let more = ["--flush-interval", "200ms", "--store-timeout", "5s"];
    survives(13, true, &rules, &more);
    survives(14, false, &rules, &more);
}

/// A PUT that lands when its sender has given it up: 4 s against 1 s, or in long runs 90 s against
/// the time-out that is usual.
#[test]
fn requests_land_after_their_time() {
    let long = std::env::var_os("ESKER_LONG").is_some();
    let ms = if long { 90_000 } else { 4_000 };
    let usual = ["--flush-interval", "200ms"];
    let short = ["--flush-interval", "200ms", "--store-timeout", "1s"];
    let more = if long { &usual[..] } else { &short[..] };
    // Each costs its sender a time-out; a few, before the kill and behind it, are all that is wanted.
    let rules = [(puts().per_mille(200).times(5), Fault::Stall { ms, lands: true })];
    survives(15, true, &rules, more);
    survives(16, false, &rules, more);
}

#[test]
fn the_store_is_away_for_a_while() {
    let place = Place::new(17, true, &[]);
    let mut work = Work::new(17);
    let mut server = place.start().unwrap();
    for _ in 0..3 {
        work.steps(&server, 10).unwrap();
        place.proxy.away(true);
        // A read of what only the store has is told to come again until the store is back.
        std::thread::scope(|s| {
            s.spawn(|| {
                pause(Duration::from_millis(1_500));
                place.proxy.away(false);
            });
            work.steps(&server, 20).unwrap();
        });
    }
    place.proxy.away(true);
    server.kill().unwrap();
    place.proxy.away(false);
    server.start_again().unwrap();
    whole(&place, &mut work, server);
}

/// Away for longer than the journal has room: writes go on into it, then each call that is not yet
/// committed is put off and nothing else is said; what memory has is read; the process lives; and
/// when the store is back, what was put off goes through.
#[test]
fn the_store_is_away_until_writers_must_wait() {
    const PIECE: usize = 1 << 20;
    let more = ["--flush-interval", "200ms", "--dirty-budget", "64MiB"];
    let place = Place::new(19, true, &more);
    let server = place.start().unwrap();
    let root = server.mount("/").unwrap();
    let (pool, mut c) = (Pool::new(), connect(&server));
    let warm = c.create(&root, "warm", 0o644).unwrap();
    assert!(c.write(&warm, 0, FILE_SYNC, pool.block(0, PIECE)).unwrap().status.ok());
    let fh = c.create(&root, "large", 0o644).unwrap();
    let budget = server.metrics().unwrap()["esker_destage_budget_bytes"];
    place.proxy.away(true);
    let mut taken = 0;
    let put_off = loop {
        let at = (taken * PIECE) as u64;
        let w = c.write(&fh, at, UNSTABLE, pool.block(1 + taken as u64, PIECE)).unwrap();
        if !w.status.ok() {
            break w.status;
        }
        taken += 1;
        assert!(taken < 1000, "{budget} bytes of budget, and no end");
    };
    assert_eq!(put_off, JUKEBOX);
    assert!((taken * PIECE) as f64 >= budget / 2.0, "{taken} MiB of {budget}");
    // What memory has is answered, and sockets go on being read.
    let mut other = connect(&server);
    let read = other.read(&warm, 0, PIECE as u32).unwrap();
    assert!(read.status.ok() && read.data == pool.block(0, PIECE));
    assert!(other.lookup(&root, "large").unwrap().status.ok());
    place.proxy.away(false);
    let again = || {
        let at = (taken * PIECE) as u64;
        let w = c.write(&fh, at, FILE_SYNC, pool.block(1 + taken as u64, PIECE)).unwrap();
        assert!(w.status.ok() || w.status == JUKEBOX, "{:?}", w.status);
        w.status.ok().then_some(())
    };
    until(Duration::from_secs(120), again).expect("put off for ever");
    place.stop_without_journal(server);
    let server = place.start().unwrap();
    let mut c = connect(&server);
    for n in 0..=taken {
        let read = c.read(&fh, (n * PIECE) as u64, PIECE as u32).unwrap();
        assert!(read.status.ok() && read.data == pool.block(1 + n as u64, PIECE), "MiB {n}");
    }
    assert!(server.stop().unwrap().success());
    assert!(place.check().status.success());
}
