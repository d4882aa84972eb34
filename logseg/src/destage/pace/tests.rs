use super::*;

const S: Duration = Duration::from_secs(1);
const BUDGET: u64 = 1_000_000_000;
const FLYING: u64 = 40_000_000;

fn at(per_cent: u64) -> Level {
    Level { dirty: BUDGET / 100 * per_cent, budget: BUDGET, flying: FLYING }
}

/// A pace that has measured 20 MB/s until second 100.
fn measured() -> Pace {
    let mut pace = Pace::default();
    pace.begins(Duration::ZERO);
    for second in 1..=100 {
        pace.stored(20_000_000, &at(75), second * S);
    }
    pace
}

fn allowed(per_cent: u64) -> f64 {
    let now = 100 * S;
    measured().allowed(&at(per_cent), now).unwrap_or(0.0) / 20e6
}

#[test]
fn the_rate_falls_smoothly_from_sixty_per_cent_and_meets_the_drain_at_seventy_five() {
    assert!((measured().drain.rate - 20e6).abs() < 1e3);
    assert!((allowed(75) - 1.0).abs() < 1e-3);
    assert!((allowed(59) - RATE_MOST).abs() < 1e-9);
    let rates: Vec<f64> = (60..=100).map(allowed).collect();
    assert!(rates.is_sorted_by(|a, b| a >= b), "{rates:?}");
    // Row 4-15: no cliff. Beyond the first per cent a step of one changes the rate by less than 3.
    for (n, pair) in rates[2..39].windows(2).enumerate() {
        assert!(pair[0] / pair[1] < 3.0, "{} %: {pair:?}", n + 62);
    }
    assert_eq!(measured().allowed(&at(100), 100 * S), None);
    assert_eq!(measured().allowed(&at(120), 100 * S), None);
}

#[test]
fn slots_are_given_in_order_and_each_takes_its_bytes_worth_of_time() {
    let mut pace = measured();
    let now = 100 * S;
    pace.slot = now;
    let tickets: Vec<u64> = (0..3).map(|_| pace.enter().0).collect();
    // 2 MB at 20 MB/s.
    let due = now + Duration::from_millis(100);
    assert_eq!(pace.ask(tickets[1], 2_000_000, &at(75), now), Slot::Later);
    let Slot::At(first) = pace.ask(tickets[0], 2_000_000, &at(75), now) else { panic!() };
    assert!(first.abs_diff(due) < Duration::from_millis(2), "{first:?}");
    assert_eq!(pace.ask(tickets[0], 2_000_000, &at(75), first), Slot::Now);
    pace.leave(tickets[0]);
    // Who gives up gives his turn away, and takes no time.
    pace.leave(tickets[1]);
    let Slot::At(third) = pace.ask(tickets[2], 2_000_000, &at(75), first) else { panic!() };
    assert!(third.abs_diff(first + Duration::from_millis(100)) < Duration::from_millis(5));
    assert_eq!(pace.ask(tickets[2], 2_000_000, &at(100), third), Slot::Later);
    assert!(!pace.is_free(&at(10)));
    pace.leave(tickets[2]);
    assert!(pace.is_free(&at(60)) && !pace.is_free(&at(61)));
}

#[test]
fn the_next_in_the_queue_is_told() {
    let mut pace = measured();
    let (first, told_first) = pace.enter();
    let (_, told_second) = pace.enter();
    pace.leave(first);
    let is_told = |notify: &Notify| {
        use futures_util::FutureExt;
        notify.notified().now_or_never().is_some()
    };
    assert!(is_told(&told_second));
    assert!(!is_told(&told_first));
    pace.stored(1, &at(75), 100 * S);
    assert!(is_told(&told_second));
}

#[test]
fn a_store_that_goes_silent_slows_the_writers_before_anything_fails() {
    let pace = measured();
    let level = at(75);
    let rate = |seconds| pace.allowed(&level, seconds * S).unwrap_or(0.0);
    // As expected for two seconds; then less and less.
    assert!(rate(102) >= 20e6);
    assert!(rate(110) < 8e6);
    assert!(rate(200) < 3e6);
    assert!(rate(10_000) > 1e5, "the rest of the budget is there to be used");
}

/// Four segments that end together are 6 % of this budget: the writers must not notice.
#[test]
fn the_rate_does_not_saw_by_whole_segments() {
    let mut pace = measured();
    let now = 100 * S + Duration::from_millis(3_200);
    let before = Level { dirty: 780_000_000, budget: BUDGET, flying: 64_000_000 };
    let slow = pace.allowed(&before, now).unwrap();
    pace.stored(64_000_000, &before, now);
    let after = Level { dirty: 716_000_000, ..before };
    let fast = pace.allowed(&after, now).unwrap();
    assert!((fast / slow - 1.0).abs() < 0.05, "{slow} and then {fast}");
}

/// A store that was asked for little is not slow: what it was seen to take then slows nobody later.
#[test]
fn what_a_store_with_little_to_do_took_is_not_its_rate() {
    let mut pace = Pace::default();
    let little = Level { dirty: 10_000, budget: BUDGET, flying: 10_000 };
    for second in 0..50 {
        pace.begins(second * 2 * S);
        pace.stored(10_000, &little, (second * 2 + 1) * S);
    }
    let now = 100 * S;
    pace.begins(now);
    assert!(pace.allowed(&at(75), now).unwrap() > 1e9);
    // The first sample of a store that has enough to do is taken soon, and is its rate.
    let soon = now + Duration::from_millis(200);
    pace.stored(4_000_000, &at(75), soon);
    assert!((pace.drain.rate - 20e6).abs() < 1e3);
    // One with little to do is taken for more where it was more.
    pace.stored(10_000, &little, soon + S);
    assert!((pace.drain.rate - 20e6).abs() < 1e3);
    pace.stored(40_000_000, &little, soon + 2 * S);
    assert!(pace.drain.rate > 22e6);
}

/// Before anything has arrived, what does not arrive is all that is known of the rate.
#[test]
fn nothing_is_known_and_nothing_comes() {
    let mut pace = Pace::default();
    pace.begins(Duration::ZERO);
    let rate = |ms| pace.allowed(&at(75), Duration::from_millis(ms)).unwrap();
    let rates: Vec<f64> = [0, 20, 100, 1_000, 10_000].map(rate).into();
    assert!(rates.is_sorted_by(|a, b| a > b), "{rates:?}");
    assert!(rates[0] > 1e9 && rates[4] < 10e6);
}
