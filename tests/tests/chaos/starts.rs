//! Harm while a server starts: it comes up right, or says why not; it never comes up wrong.

use esker_tests::chaos::{At, Cut, Fault, Rule, Verb, When};

use crate::place::Place;
use crate::work::Work;
use crate::writes::whole;

/// Starts of which each finds other dice.
const STARTS: usize = 5;

/// Starts under `rules` after a clean stop without the journal, and after a kill with it. Gives how
/// many starts came up.
fn comes_up_right(seed: u64, rules: &[(When, Fault)]) -> usize {
    comes_up(seed, rules, &[])
}

fn comes_up(seed: u64, rules: &[(When, Fault)], more: &[&str]) -> usize {
    let place = Place::new(seed, true, more);
    place.proxy.remember();
    let mut work = Work::new(seed);
    let mut server = place.start().unwrap();
    let (mut up, mut harm) = (0, vec![0; rules.len()]);
    for n in 0..STARTS {
        work.steps(&server, 20).unwrap();
        if n % 2 == 0 {
            place.stop_without_journal(server);
        } else {
            server.kill().unwrap();
        }
        place.proxy.rules(rules.iter().map(|(w, f)| Rule::new(w.clone(), f.clone())).collect());
        let started = place.start();
        for (sum, done) in harm.iter_mut().zip(place.proxy.done()) {
            *sum += done;
        }
        place.proxy.calm();
        server = match started {
            Ok(server) => {
                up += 1;
                server
            }
            Err(e) => {
                let why = e.to_string();
                assert!(why.contains("esker:"), "no reason: {why}");
                println!("start {n}: {why}");
                place.start().unwrap()
            }
        };
        let found = work.verify(&server);
        assert_eq!((found.right, found.refused), (work.files(), 0), "{}", server.log_text());
    }
    assert!(harm.iter().all(|n| *n > 0), "{harm:?} of {rules:?}");
    whole(&place, &mut work, server);
    up
}

#[test]
fn harm_that_passes_delays_a_start() {
    let some = || When::default().per_mille(100);
    let rules = [
        (some(), Fault::CutAnswer { at: At::Head, how: Cut::Rst }),
        (some(), Fault::CutRequest { at: At::Head, how: Cut::Rst }),
        (some(), Fault::Answer { status: 503, retry_after: None, after: false }),
        (some(), Fault::Answer { status: 500, retry_after: None, after: true }),
    ];
    assert_eq!(comes_up_right(51, &rules), STARTS);
}

#[test]
fn bytes_turned_or_missing() {
    let some = || When::verbs(&[Verb::Get]).per_mille(250);
    let rules = [
        (some(), Fault::CorruptAnswer { at: At::Somewhere }),
        (some(), Fault::TruncateAnswer { at: At::Somewhere }),
    ];
    comes_up_right(52, &rules);
}

#[test]
fn bytes_of_another_object() {
    comes_up_right(56, &[(When::verbs(&[Verb::Get]).per_mille(300), Fault::Other)]);
}

#[test]
fn listings_that_lag() {
    comes_up_right(53, &[(When::verbs(&[Verb::List]), Fault::Lag { ms: 3_600_000 })]);
}

#[test]
fn objects_that_are_said_to_be_absent() {
    let gets = When::verbs(&[Verb::Get, Verb::Head]).per_mille(300);
    comes_up_right(54, &[(gets, Fault::Old)]);
}

#[test]
fn answers_to_the_wrong_request() {
    let some = || When::default().per_mille(150);
    let rules = [(some(), Fault::Shift), (some(), Fault::Duplicate)];
    // Answers that are believed although they are another's would end every one of them; that two
    // in a row go astray may end one.
    let more = ["--flush-interval", "200ms", "--store-timeout", "5s"];
    assert!(comes_up(55, &rules, &more) > STARTS / 2);
}
