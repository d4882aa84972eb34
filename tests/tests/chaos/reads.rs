//! Harm while a client reads what only the store has.

use std::time::Duration;

use esker_tests::chaos::{At, Cut, Fault, Rule, Seen, Verb, When};
use esker_tests::load::Pool;
use esker_tests::nfsclient::proc::FILE_SYNC;
use esker_tests::server::until;

use crate::place::Place;
use crate::work::{Found, IO, Work, connect};
use crate::writes::whole;

/// Times everything is read, at most, until every rule has done its harm.
const ROUNDS: usize = 10;

/// Writes, then reads everything from the store alone under `rules`, again and again by servers that
/// have nothing yet; gives the worst that was found. What was refused is right afterwards: nothing
/// wrong was kept.
fn found(seed: u64, rules: &[(When, Fault)]) -> Found {
    let place = Place::new(seed, true, &[]);
    place.proxy.remember();
    let mut work = Work::new(seed);
    let mut server = place.start().unwrap();
    work.steps(&server, 60).unwrap();
    let (mut worst, mut harm) = (Found::default(), vec![0; rules.len()]);
    for _ in 0..ROUNDS {
        place.stop_without_journal(server);
        server = place.start().unwrap();
        place.proxy.rules(rules.iter().map(|(w, f)| Rule::new(w.clone(), f.clone())).collect());
        let found = work.verify(&server);
        assert_eq!(found.right + found.refused, work.files());
        for (sum, done) in harm.iter_mut().zip(place.proxy.done()) {
            *sum += done;
        }
        place.proxy.calm();
        if found.refused >= worst.refused {
            worst = found;
        }
        if harm.iter().all(|n| *n > 0) {
            break;
        }
    }
    assert!(harm.iter().all(|n| *n > 0), "{harm:?} of {rules:?}");
    whole(&place, &mut work, server);
    worst
}

/// Harm that passes: every read is answered with the right bytes.
fn passes(seed: u64, rules: &[(When, Fault)]) {
    assert_eq!(found(seed, rules).refused, 0);
}

fn gets() -> When {
    When::verbs(&[Verb::Get, Verb::Head]).per_mille(200)
}

/// So seldom that hardly ever all of an answer's repetitions are hit, too.
fn seldom() -> When {
    gets().per_mille(50)
}

#[test]
fn answers_are_cut() {
    let cut = |at, how| (gets(), Fault::CutAnswer { at, how });
    let rules = [
        cut(At::Head, Cut::Rst),
        cut(At::Byte(0), Cut::Fin),
        cut(At::Byte(1000), Cut::Rst),
        cut(At::Somewhere, Cut::Fin),
    ];
    passes(31, &rules);
}

#[test]
fn storms() {
    let answer =
        |status| (gets().per_mille(150), Fault::Answer { status, retry_after: None, after: false });
    passes(32, &[500, 503, 429].map(answer));
}

#[test]
fn bytes_are_missing_or_turned_now_and_then() {
    let rules = [
        (seldom(), Fault::TruncateAnswer { at: At::Somewhere }),
        (seldom(), Fault::CorruptAnswer { at: At::Somewhere }),
    ];
    passes(33, &rules);
}

#[test]
fn answers_come_twice_or_to_the_wrong_request() {
    let rules = [(gets(), Fault::Duplicate), (gets(), Fault::Shift)];
    passes(34, &rules);
}

#[test]
fn another_object_now_and_then() {
    passes(35, &[(seldom(), Fault::Other)]);
}

#[test]
fn a_store_that_always_lies_is_refused_and_never_believed() {
    for fault in [Fault::Other, Fault::Old, Fault::CorruptAnswer { at: At::Somewhere }] {
        let always = When::verbs(&[Verb::Get]);
        let found = found(36, &[(always, fault.clone())]);
        assert!(found.refused > 0, "{fault:?}: {found:?}");
    }
}

/// One segment of which the store gives wrong bytes: its file is answered EIO, the log names object,
/// offset and owner, and the rest of the volume works.
#[test]
fn a_damaged_segment_is_named_and_the_rest_works() {
    let place = Place::new(37, true, &[]);
    let server = place.start().unwrap();
    let root = server.mount("/").unwrap();
    let (pool, mut c) = (Pool::new(), connect(&server));
    let mut put = |name: &str, block: u64| {
        let fh = c.create(&root, name, 0o644).unwrap();
        place.proxy.forget();
        let w = c.write(&fh, 0, FILE_SYNC, pool.block(block, 1 << 20)).unwrap();
        assert!(w.status.ok());
        let stored = || {
            let segment = |s: &&Seen| s.path.contains("/seg/") && s.up >= 1 << 20;
            let put = |s: &&Seen| s.verb == Verb::Put && segment(s);
            place.proxy.seen().iter().find(put).map(|s| s.path.clone())
        };
        (fh, until(Duration::from_secs(60), stored).expect("never stored"))
    };
    let (harmed, object) = put("harmed", 1);
    let (whole, another) = put("whole", 2);
    assert_ne!(object, another);
    let inode = c.attr(&harmed).unwrap().fileid;
    place.stop_without_journal(server);
    let server = place.start().unwrap();
    let always = When::verbs(&[Verb::Get]).path(&object);
    place.proxy.rules(vec![Rule::new(always, Fault::CorruptAnswer { at: At::Byte(2000) })]);
    let mut c = connect(&server);
    let read = c.read(&harmed, 0, 1 << 20).unwrap();
    assert_eq!(read.status, IO, "{:?} of {object}", place.proxy.done());
    let read = c.read(&whole, 0, 1 << 20).unwrap();
    assert!(read.status.ok() && read.data == pool.block(2, 1 << 20));
    assert!(c.create(&root, "new", 0o644).is_ok());
    let log = server.log_text();
    let told = log.lines().find(|l| l.contains("damaged") && l.contains("object=seg/"));
    let told = told.unwrap_or_else(|| panic!("not named: {log}"));
    assert!(told.contains("offset=") && told.contains("owner"), "{told}");
    assert!(log.contains(&format!("inode={inode}")), "{log}");
    place.proxy.calm();
    let read = c.read(&harmed, 0, 1 << 20).unwrap();
    assert!(read.status.ok() && read.data == pool.block(1, 1 << 20), "nothing wrong was kept");
    assert!(server.stop().unwrap().success());
}
