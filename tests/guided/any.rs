//! The target that `ESKER_FUZZ_TARGET` names, driven by libFuzzer: the same plain function that the
//! program `fuzz` throws its own changes at.
#![no_main]

use std::sync::LazyLock;

use esker_tests::fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("ESKER_FUZZ_TARGET").unwrap_or_default();
    let known = TARGETS.iter().find(|target| target.name == name);
    known.unwrap_or_else(|| panic!("ESKER_FUZZ_TARGET={name:?} names no target"))
});

fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
