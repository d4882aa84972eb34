//! The view alone: random lives, and all short ones.

#![allow(clippy::cast_possible_truncation)]

use std::{
    collections::HashSet,
    hash::{Hash, Hasher},
};

use proptest::prelude::*;

use super::*;

const SEGMENT: u64 = 16 << 20;
const S: Duration = Duration::from_secs(1);

fn rules() -> Rules {
    let age = Duration::from_secs(5);
    Rules { links: false, streams: false, journal: true, age, segment: SEGMENT }
}

fn id(counter: u32) -> SegmentId {
    SegmentId::chain(2, counter)
}

/// The view and what stands around it: writer, flusher, store.
#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    view: View,
    now: Duration,
    next: u32,
    in_txn: bool,
    roll_wanted: bool,
    flying: Vec<SegmentId>,
    streams: Vec<SegmentId>,
    forgone: Vec<SegmentId>,
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Append(u64),
    /// Everything that is sealed, and what is open, is fdatasynced.
    Durable,
    Stored(usize),
    Failed(usize),
    StreamWhole,
    StreamBreaks,
    Tick(u32),
    /// As long as the decision says.
    Sleep,
    Force,
    Sync,
    Enable(bool),
    Hold(bool),
    Forgo(usize),
    Txn(bool),
    Budget(u64),
}

impl World {
    fn new(rules: Rules, budget: u64) -> Self {
        let mut view = View::new(rules, budget, std::iter::empty(), id(0), Duration::ZERO);
        view.opened(id(0));
        let (flying, streams, forgone) = (Vec::new(), Vec::new(), Vec::new());
        let now = Duration::ZERO;
        let (in_txn, roll_wanted, closed) = (false, false, false);
        Self { view, now, next: 1, in_txn, roll_wanted, flying, streams, forgone, closed }
    }

    fn roll(&mut self) {
        if self.view.open().is_none_or(|o| o.born.is_none()) {
            return;
        }
        self.view.sealed(100);
        self.view.opened(id(self.next));
        self.next += 1;
    }

    fn event(&mut self, event: Event) {
        let pick = |list: &mut Vec<SegmentId>, n: usize| {
            (!list.is_empty()).then(|| list.remove(n % list.len()))
        };
        match event {
            Event::Append(bytes) => {
                if self.view.open().is_some_and(|o| o.bytes + bytes > SEGMENT) && !self.in_txn {
                    self.roll();
                }
                self.view.appended(bytes, self.now);
            }
            Event::Durable => self.durable(),
            Event::Stored(n) => {
                if let Some(id) = pick(&mut self.flying, n) {
                    self.view.stored(id);
                }
            }
            Event::Failed(n) => {
                if let Some(id) = pick(&mut self.flying, n) {
                    self.view.failed(id, self.now + S);
                }
            }
            Event::StreamWhole => {
                let ready = |id: &SegmentId| self.view.unit(*id).is_some_and(|u| u.ready);
                if let Some(at) = self.streams.iter().position(ready) {
                    let id = self.streams.remove(at);
                    self.view.stream_ends(id);
                    self.flying.push(id);
                }
            }
            Event::StreamBreaks => {
                if let Some(id) = pick(&mut self.streams, 0) {
                    self.view.stream_broke(id, self.now + S);
                }
            }
            Event::Tick(millis) => self.now += Duration::from_millis(millis.into()),
            Event::Sleep => {
                if let Some(until) = decide(&self.view, self.now).sleep_until {
                    self.now = until;
                }
            }
            Event::Force => self.view.force(id(self.next), Wake::Force),
            Event::Sync => self.view.sync_waits(),
            Event::Enable(on) => self.view.enable(on),
            Event::Hold(on) => self.view.hold(on),
            Event::Forgo(n) => {
                let id = self.view.units().nth(n).map_or(id(0), |u| u.id);
                let unit = self.view.unit(id).cloned();
                let gone = self.view.forgo(id);
                let sealed = |u: &Unit| !u.flies() && u.phase != Phase::Open;
                assert_eq!(gone, unit.as_ref().is_none_or(sealed), "{unit:?}");
                if gone {
                    self.forgone.push(id);
                }
            }
            Event::Txn(on) => {
                self.in_txn = on;
                if !on && std::mem::take(&mut self.roll_wanted) {
                    self.roll();
                }
            }
            Event::Budget(bytes) => self.view.set_budget(bytes),
        }
        self.keep();
        self.check();
    }

    fn durable(&mut self) {
        let units: Vec<(SegmentId, u64)> = self.view.units().map(|u| (u.id, u.bytes)).collect();
        for (id, bytes) in units {
            self.view.wrote(id, bytes);
            self.view.ready(id);
        }
    }

    /// The keeper's round.
    fn keep(&mut self) {
        for rounds in 0.. {
            assert!(rounds < 50, "the keeper never sleeps: {:?}", decide(&self.view, self.now));
            let decision = decide(&self.view, self.now);
            self.view.carry_out(&decision, self.now);
            self.flying.extend(&decision.begin);
            self.streams.extend(decision.stream);
            if decision.seal {
                if self.in_txn {
                    self.roll_wanted = true;
                } else {
                    self.roll();
                }
            }
            if !decision.acts() {
                assert_eq!(decision.reason, None);
                return;
            }
            assert!(decision.reason.is_some());
        }
    }

    /// What holds whenever the keeper sleeps.
    fn check(&self) {
        let view = &self.view;
        let decision = decide(view, self.now);
        assert!(!decision.acts(), "slept through: {decision:?} in {view:?}");
        // Until the time named nothing becomes due by itself; then something does.
        let until = decision.sleep_until;
        for later in [1, 300, 999, 1_000, 4_999, 5_000, 60_000, 86_400_000] {
            let then = self.now + Duration::from_millis(later);
            if until.is_none_or(|until| then < until) {
                assert!(!decide(view, then).acts(), "overslept after {later} ms: {view:?}");
            }
        }
        if let Some(until) = until {
            assert!(until > self.now);
            assert!(decide(view, until).acts(), "woken for nothing: {view:?}");
        }
        let unstored = || view.units.iter().filter(|u| u.phase != Phase::Stored);
        assert_eq!(view.dirty, unstored().map(|u| u.bytes).sum::<u64>());
        let sealed = unstored().filter(|u| u.phase != Phase::Open);
        assert_eq!(view.sealed, sealed.map(|u| u.bytes).sum::<u64>());
        assert_eq!(view.in_flight, self.flying.len() + self.streams.len());
        assert!(view.in_flight <= view.parallel().max(8));
        let unready = |u: &&Unit| u.phase == Phase::Sealed && !u.ready;
        assert_eq!(view.unready, view.units.iter().filter(unready).count());
        // R19.
        assert!(view.units.front().is_none_or(|u| u.phase != Phase::Stored));
        let beyond = view.units.iter().skip(DESTAGE_WINDOW as usize + 1);
        let stored = |u: &Unit| u.phase == Phase::Stored && !self.forgone.contains(&u.id);
        assert!(beyond.into_iter().all(|u| !u.flies() && !stored(u)));
        // R18.
        assert!(!view.held || (decision.begin.is_empty() && decision.stream.is_none()));
        // R4.
        for unit in unstored().filter(|u| u.phase == Phase::Storing) {
            assert!(unit.ready || !view.rules.journal, "{unit:?}");
        }
    }

    /// Lets everything go well from now on, without any further request; all must be stored by
    /// itself.
    fn heals(mut self) {
        self.event(Event::Enable(true));
        self.event(Event::Hold(false));
        self.event(Event::Txn(false));
        let all = self.next;
        for _ in 0..400 {
            self.event(Event::Durable);
            self.event(Event::StreamWhole);
            if !self.flying.is_empty() {
                self.event(Event::Stored(0));
            } else if self.view.dirty > 0 {
                assert!(
                    decide(&self.view, self.now).sleep_until.is_some() || !self.streams.is_empty(),
                    "nothing would ever happen: {:?}",
                    self.view
                );
                self.event(Event::Sleep);
            } else {
                let through = self.view.stored_through();
                assert!(through >= id(all - 1), "{through}");
                return;
            }
        }
        panic!("not stored: {:?}", self.view);
    }
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1_u64..SEGMENT).prop_map(Event::Append),
        4 => (1_u64..100_000).prop_map(Event::Append),
        4 => Just(Event::Durable),
        4 => (0_usize..9).prop_map(Event::Stored),
        2 => (0_usize..9).prop_map(Event::Failed),
        2 => Just(Event::StreamWhole),
        1 => Just(Event::StreamBreaks),
        3 => (1_u32..20_000).prop_map(Event::Tick),
        3 => Just(Event::Sleep),
        1 => Just(Event::Force),
        2 => Just(Event::Sync),
        1 => any::<bool>().prop_map(Event::Enable),
        1 => any::<bool>().prop_map(Event::Hold),
        1 => (0_usize..12).prop_map(Event::Forgo),
        2 => any::<bool>().prop_map(Event::Txn),
        1 => (SEGMENT..100 * SEGMENT).prop_map(Event::Budget),
    ]
}

fn any_rules() -> impl Strategy<Value = Rules> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(links, streams, journal)| {
        let journal = journal || links;
        Rules { links, streams: streams && !links, journal, ..rules() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn every_segment_is_stored_at_last_and_no_condition_is_slept_through(
        rules in any_rules(),
        budget in SEGMENT..80 * SEGMENT,
        life in prop::collection::vec(events(), 1..60),
    ) {
        let mut world = World::new(rules, budget);
        for event in life {
            world.event(event);
        }
        world.heals();
    }

    #[test]
    fn whatever_fails_is_seen_and_kept(
        life in prop::collection::vec(events(), 1..60),
    ) {
        let mut world = World::new(rules(), 8 * SEGMENT);
        for event in life {
            let event = if let Event::Stored(n) = event { Event::Failed(n) } else { event };
            let event = if let Event::StreamWhole = event { Event::StreamBreaks } else { event };
            let event = if let Event::Forgo(_) = event { Event::Sleep } else { event };
            world.event(event);
        }
        prop_assert_eq!(world.view.stored_through(), id(0));
        prop_assert_eq!(world.view.units.len() as u32, world.next);
        for unit in world.view.units() {
            prop_assert_eq!(unit.attempts > 0, unit.phase == Phase::Failed
                || (unit.attempts > 0 && unit.phase == Phase::Storing));
        }
    }
}

#[test]
fn all_short_lives() {
    let events = [
        Event::Append(SEGMENT),
        Event::Append(STREAM_FROM_BYTES),
        Event::Durable,
        Event::Stored(0),
        Event::Stored(1),
        Event::Failed(0),
        Event::StreamWhole,
        Event::StreamBreaks,
        Event::Sleep,
        Event::Force,
        Event::Sync,
        Event::Enable(false),
        Event::Hold(true),
        Event::Forgo(0),
        Event::Txn(true),
        Event::Txn(false),
    ];
    let mut states = 0;
    for kind in 0..4 {
        let (links, streams, journal) = (kind == 1, kind == 2, kind != 3);
        let rules = Rules { links, streams, journal, ..rules() };
        let mut seen: HashSet<u64> = HashSet::new();
        let mut edge = vec![World::new(rules, 4 * SEGMENT)];
        for _ in 0..5 {
            let mut next = Vec::new();
            for world in edge {
                for event in events {
                    let mut world = world.clone();
                    world.event(event);
                    let mut hasher = std::hash::DefaultHasher::new();
                    world.hash(&mut hasher);
                    if seen.insert(hasher.finish()) {
                        world.clone().heals();
                        next.push(world);
                    }
                }
            }
            edge = next;
        }
        states += seen.len();
    }
    assert!(states > 3_000, "{states} states");
}

/// Rows 4-2, 4-5: starts at the high mark, stops at the low one, idle in between; a put that ends
/// begins the next.
#[test]
fn sealed_bytes_start_at_the_high_mark_and_stop_at_the_low_one() {
    // Half of the budget is less than two segments: the shares count.
    let small = Rules { segment: 1 << 30, ..rules() };
    let mut world = World::new(small, 20 << 20);
    let piece = 1 << 20;
    let seal = |world: &mut World| {
        world.view.appended(piece, world.now);
        world.roll();
        world.event(Event::Durable);
    };
    let mark = (20 << 20) / 100 * 50;
    while world.view.sealed + piece + 100 < mark {
        seal(&mut world);
        assert_eq!(world.flying, [], "{} bytes", world.view.sealed);
    }
    seal(&mut world);
    assert_eq!(world.flying.len(), PARALLEL_LEAST, "the high mark is passed");
    let begun = world.view.wakes[Wake::Quota as usize] + world.view.wakes[Wake::Bytes as usize];
    assert_eq!(begun, 1);
    let mut ended = 0;
    while !world.flying.is_empty() {
        world.event(Event::Stored(0));
        ended += 1;
    }
    let low = mark / 50 * 45;
    assert!(world.view.sealed <= low && world.view.sealed + 2 * piece + 200 > low);
    assert_eq!(world.view.wakes[Wake::Completion as usize], ended - PARALLEL_LEAST as u64);
    seal(&mut world);
    assert_eq!(world.flying, [], "idle between the marks");
    // Their age takes the rest.
    world.event(Event::Sleep);
    assert_eq!(world.now, 5 * S);
    assert_eq!(world.flying.len(), PARALLEL_LEAST);
    world.heals();
}

/// Where the budget is large, two segments are the mark.
#[test]
fn a_stream_of_writes_waits_for_two_segments_and_not_for_half_of_the_budget() {
    let mut world = World::new(rules(), 1 << 30);
    world.event(Event::Append(SEGMENT - 200));
    world.event(Event::Append(SEGMENT - 200));
    world.event(Event::Durable);
    assert_eq!(world.flying, []);
    world.event(Event::Append(SEGMENT - 200));
    world.event(Event::Durable);
    assert_eq!(world.flying.len(), 2);
    assert_eq!(world.view.wakes[Wake::Bytes as usize], 2);
}

/// Row 4-3: the oldest goes first.
#[test]
fn half_of_the_journal_in_use_starts_with_the_oldest() {
    let mut world = World::new(rules(), 1 << 30);
    world.event(Event::Append(SEGMENT - 200));
    world.event(Event::Append(1000));
    world.event(Event::Durable);
    assert_eq!(world.flying, []);
    world.event(Event::Budget(SEGMENT));
    assert_eq!(world.flying, [id(0)]);
    assert_eq!(world.view.wakes[Wake::Quota as usize], 1);
}

/// Row 4-4. Without the timer the last write would stay for ever.
#[test]
fn one_small_write_and_silence_is_stored_by_its_age() {
    let mut world = World::new(rules(), 1 << 30);
    world.event(Event::Append(4096));
    world.event(Event::Durable);
    world.event(Event::Tick(4_999));
    assert_eq!(world.next, 1, "still open");
    world.event(Event::Tick(1));
    world.event(Event::Durable);
    assert_eq!(world.flying, [id(0)]);
    assert_eq!(world.view.wakes[Wake::Age as usize], 2, "sealed, and put");
    world.event(Event::Stored(0));
    assert_eq!(decide(&world.view, world.now), Decision::default(), "at rest nothing is timed");
}

/// Row 4-11 as R19 has it.
#[test]
fn after_back_off_the_oldest_goes_first_and_at_most_eight_go_beyond_it() {
    let mut world = World::new(rules(), 1 << 40);
    for _ in 0..14 {
        world.event(Event::Append(SEGMENT - 200));
    }
    world.event(Event::Force);
    world.event(Event::Durable);
    assert_eq!(world.flying, (0..8).map(id).collect::<Vec<_>>());
    world.event(Event::Failed(0));
    assert_eq!(world.flying, (1..9).map(id).collect::<Vec<_>>());
    while !world.flying.is_empty() {
        world.event(Event::Stored(0));
    }
    // 1 to 8 are stored and wait for 0.
    assert_eq!(world.view.stored_through(), id(0));
    world.event(Event::Tick(999));
    assert_eq!(world.flying, []);
    world.event(Event::Tick(1));
    assert_eq!(world.flying, [id(0)]);
    assert_eq!(world.view.wakes[Wake::Retry as usize], 1);
    world.event(Event::Stored(0));
    assert_eq!(world.flying, (9..14).map(id).collect::<Vec<_>>());
    world.heals();
}

/// Without a journal: one wave for all that wait, and the next gathers meanwhile.
#[test]
fn syncs_without_a_journal_share_a_wave() {
    let rules = Rules { journal: false, ..rules() };
    let mut world = World::new(rules, 1 << 30);
    world.event(Event::Append(1000));
    assert_eq!(world.flying, []);
    world.event(Event::Sync);
    assert_eq!(world.flying, [id(0)]);
    world.event(Event::Append(1000));
    world.event(Event::Sync);
    world.event(Event::Append(1000));
    world.event(Event::Sync);
    assert_eq!(world.flying, [id(0)], "the next group gathers");
    // A full segment goes at once, beside it.
    world.event(Event::Append(SEGMENT - 3000));
    world.event(Event::Append(5000));
    assert_eq!(world.flying, [id(0), id(1)]);
    world.event(Event::Sync);
    world.event(Event::Stored(0));
    assert_eq!(world.flying, [id(1), id(2)]);
    world.heals();
}

/// R13: an idle stream is ended before the store ends it.
#[test]
fn an_idle_stream_is_sealed_in_time() {
    let age = Duration::from_secs(3600);
    let mut world = World::new(Rules { streams: true, age, ..rules() }, 1 << 30);
    world.event(Event::Append(STREAM_FROM_BYTES - 1));
    world.event(Event::Durable);
    assert_eq!(world.streams, []);
    world.event(Event::Append(1));
    world.event(Event::Durable);
    assert_eq!(world.streams, [id(0)]);
    world.event(Event::Sleep);
    assert_eq!(world.now, STREAM_SEAL_AFTER);
    assert_eq!(world.view.units[0].phase, Phase::Sealed);
    world.event(Event::Durable);
    assert_eq!(world.flying, [], "its stream ends it");
    world.event(Event::StreamWhole);
    assert_eq!(world.flying, [id(0)]);
    world.heals();
}
