//! Histories of a volume on the real log and a disk that dies, beside the model: at least 500 of at
//! least 200 steps each. A step is an operation with all its answers compared, or an end of the
//! server and what the next one finds. One that fails is made smaller, by leaving out steps and by
//! making the choices in each smaller, until nothing can be left out any more.
//!
//!     ESKER_SEEDS=20000 cargo test -p esker-tests --test histories      more of them
#![allow(clippy::unwrap_used)] // tests

mod pair;

use std::fmt::{self, Debug, Formatter};

use fs::Tuning;
use pair::{
    DEEDS, Deed, Dice, Pair,
    lives::{End, History},
    machine::Machine,
    now,
};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::{NewTree, ValueTree},
    test_runner::{Config, TestRunner},
};

/// Histories in an ordinary run.
const HISTORIES: u32 = 500;
const STEPS: usize = 200;
/// Most choices that an operation makes; what it wants beyond is 0.
const CHOICES: usize = 16;
/// Small, because each life writes its reserve (R18), a sixteenth of it, anew.
const DISK: u64 = 16 << 20;

#[derive(Clone, Copy, Debug)]
enum Do {
    Deed(Deed),
    Sync,
    Checkpoint,
    /// A slice of pending work: orphans, large truncates.
    Tend,
    Compare,
    End(End),
}

#[derive(Clone)]
struct Step {
    what: Do,
    choices: Vec<u16>,
}

impl Debug for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {:?}", self.what, self.choices)
    }
}

fn step() -> impl Strategy<Value = Step> {
    let deed = prop::sample::select(DEEDS.to_vec()).prop_map(Do::Deed);
    let what = prop_oneof![
        170 => deed,
        4 => Just(Do::Deed(Deed::Clock)),
        8 => Just(Do::Sync),
        3 => Just(Do::Checkpoint),
        4 => Just(Do::Tend),
        1 => Just(Do::Compare),
        1 => Just(Do::End(End::Closed)),
        1 => Just(Do::End(End::Killed)),
        2 => Just(Do::End(End::Crashed)),
    ];
    (what, vec(any::<u16>(), CHOICES)).prop_map(|(what, choices)| Step { what, choices })
}

/// Steps in a row; a number of them is drawn, and any may be left out to make them fewer.
#[derive(Clone, Debug)]
struct Steps;

struct StepsTree {
    all: Vec<Box<dyn ValueTree<Value = Step>>>,
    left_out: Vec<bool>,
    /// So many are left out at once; 0: then each is made smaller in itself.
    chunk: usize,
    at: usize,
    /// What was left out last.
    last: Vec<usize>,
}

impl Strategy for Steps {
    type Tree = StepsTree;
    type Value = Vec<Step>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let count = (STEPS..STEPS + 60).new_tree(runner)?.current();
        let step = step().boxed();
        let all = (0..count).map(|_| step.new_tree(runner)).collect::<Result<Vec<_>, _>>()?;
        let left_out = vec![false; count];
        Ok(StepsTree { all, left_out, chunk: count / 2, at: 0, last: Vec::new() })
    }
}

impl ValueTree for StepsTree {
    type Value = Vec<Step>;

    fn current(&self) -> Vec<Step> {
        let kept = self.all.iter().zip(&self.left_out).filter(|(_, out)| !**out);
        kept.map(|(step, _)| step.current()).collect()
    }

    fn simplify(&mut self) -> bool {
        while self.chunk > 0 {
            let to = self.all.len().min(self.at + self.chunk);
            self.last = (self.at..to).filter(|n| !self.left_out[*n]).collect();
            self.at = to;
            if to == self.all.len() {
                (self.at, self.chunk) = (0, self.chunk / 2);
            }
            if !self.last.is_empty() {
                self.last.iter().for_each(|n| self.left_out[*n] = true);
                return true;
            }
        }
        while self.at < self.all.len() {
            if !self.left_out[self.at] && self.all[self.at].simplify() {
                return true;
            }
            self.at += 1;
        }
        false
    }

    fn complicate(&mut self) -> bool {
        if self.last.is_empty() {
            return self.all.get_mut(self.at).is_some_and(ValueTree::complicate);
        }
        self.last.drain(..).for_each(|n| self.left_out[n] = false);
        true
    }
}

/// What a volume is like.
#[derive(Clone, Debug)]
struct Nature {
    choices: Vec<u16>,
    segment: u64,
    seed: u64,
}

fn nature() -> impl Strategy<Value = Nature> {
    let segment = prop::sample::select(vec![64 << 10, 256 << 10, 1 << 20]);
    (vec(any::<u16>(), CHOICES), segment, any::<u64>())
        .prop_map(|(choices, segment, seed)| Nature { choices, segment, seed })
}

fn live(nature: &Nature, steps: &[Step]) {
    let runtime = pair::use_runtime();
    let mut dice = Dice::listed(nature.choices.clone());
    let tuning = Tuning { numbers_block: 64, ..pair::tuning(&mut dice) };
    let mut machine = Machine::new(nature.seed, runtime, nature.segment);
    machine.disk.set_capacity(Some(DISK));
    let clock = machine.clock.clone();
    let mut pair = Pair::on(machine.open(), clock, dice, tuning);
    let mut history = History::begin(&pair);
    for step in steps {
        pair.dice = Dice::listed(step.choices.clone());
        match step.what {
            Do::Deed(deed) => pair.does(deed),
            Do::Sync => history.sync(&pair),
            Do::Checkpoint => now(pair.index.checkpoint_now()).unwrap(),
            Do::Tend => drop(now(pair.v.tend()).unwrap()),
            Do::Compare => pair.compare(),
            Do::End(end) => history.die(&mut machine, &mut pair, tuning, end),
        }
        history.note(&pair);
    }
    while now(pair.v.tend()).unwrap() {}
    pair.compare();
}

#[test]
fn histories_agree_with_the_model() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let config = Config {
        cases: number("ESKER_SEEDS").unwrap_or(HISTORIES),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&(nature(), Steps), |(nature, steps)| {
            live(&nature, &steps);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

/// What fails because of two steps among many is told as those two.
#[test]
fn a_failure_is_made_small() {
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let syncs = |steps: &[Step]| steps.iter().filter(|s| matches!(s.what, Do::Sync)).count();
    let failed = runner.run(&Steps, |steps| {
        prop_assert!(syncs(&steps) < 2);
        Ok(())
    });
    let Err(proptest::test_runner::TestError::Fail(_, steps)) = failed else {
        panic!("{failed:?}")
    };
    assert_eq!((steps.len(), syncs(&steps)), (2, 2), "{steps:?}");
    assert!(steps.iter().flat_map(|s| &s.choices).all(|choice| *choice == 0), "{steps:?}");
}
