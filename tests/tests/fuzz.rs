//! The short form of `cargo run -p esker-tests --bin fuzz`: every target bears its corpus and some
//! thousand changes of it; and what throws the bytes would see a target that does not.
#![allow(clippy::unwrap_used)]

use esker_tests::fuzz::{TARGETS, Target, corpus, input, throw};

/// Changes of each target's corpus.
const INPUTS: u64 = 3_000;

#[test]
fn every_target_bears_its_corpus_and_changes_of_it() {
    assert!(TARGETS.len() <= 12);
    for target in TARGETS {
        assert!(!corpus(target.name).is_empty(), "{} has no corpus", target.name);
        let thrown = throw(target, 1, |n| n == INPUTS);
        assert_eq!(thrown.map_err(|f| format!("{f:?}")), Ok(INPUTS));
    }
}

#[test]
fn a_target_that_breaks_is_seen_and_its_input_is_made_again() {
    fn breaks(bytes: &[u8]) {
        // A length from the wire that is believed.
        let len = usize::from(bytes.first().copied().unwrap_or(0));
        let _ = &bytes[..if len < 0x80 { 0 } else { len }];
    }
    let target = Target { name: "exports", run: breaks };
    let failure = throw(&target, 7, |n| n == 100_000).unwrap_err();
    let again = input(&corpus("exports"), 7, failure.number.unwrap());
    assert_eq!(again, failure.input);
    assert!(failure.said.contains("range"), "{}", failure.said);
}
