use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { flight: 4000, request: 1000, gap: 50 };

fn at(segment: u32, offset: u32, stored: u32) -> Location {
    Location { segment: SegmentId::chain(1, segment), offset, stored }
}

fn places(load: &Load) -> Vec<u32> {
    load.places.iter().map(|(place, _)| place.offset).collect()
}

/// Takes what travels next, and lands it at once.
fn fly(board: &mut Board) -> Option<Vec<u32>> {
    let load = board.take()?;
    for (at, _) in &load.places {
        board.over(&Wanted { location: *at, part: None });
    }
    board.land(load.span);
    Some(places(&load))
}

#[test]
fn neighbours_travel_together_within_gap_and_length() {
    let mut board = Board::new(LIMITS);
    // The oldest in the middle: it takes those behind it and those before it along.
    for offset in [400, 1000, 200, 600, 3000, 0, 851] {
        drop(board.book(at(1, offset, 200), false));
    }
    drop(board.book(at(2, 800, 100), false));
    assert_eq!(fly(&mut board), Some(vec![0, 200, 400, 600]), "851 lies 51 beyond 800");
    assert_eq!(fly(&mut board), Some(vec![851, 1000]), "what overlaps is one range");
    assert_eq!(fly(&mut board), Some(vec![3000]));
    assert_eq!(fly(&mut board), Some(vec![800]), "another segment");
    assert_eq!(fly(&mut board), None);
    // One longer than a request travels alone; what must be alone, too.
    drop(board.book(at(1, 0, 1500), false));
    drop(board.book(at(1, 1500, 100), false));
    drop(board.book(at(1, 1600, 100), true));
    drop(board.book(at(1, 1700, 100), false));
    for want in [0, 1500, 1600, 1700] {
        assert_eq!(fly(&mut board), Some(vec![want]));
    }
    assert!(board.is_idle());
}

#[test]
fn who_waits_goes_first_and_what_flies_is_limited() {
    let mut board = Board::new(LIMITS);
    for n in 0..4 {
        assert!(board.book_ahead(at(1, n * 1000, 1000)));
    }
    assert!(!board.book_ahead(at(1, 9000, 1000)), "as much waits as may fly");
    assert!(!board.book_ahead(at(1, 0, 1000)), "booked");
    drop(board.book(at(2, 0, 1000), false));
    let mut loads = vec![board.take().unwrap()];
    assert_eq!(loads[0].places[0].0.segment, SegmentId::chain(1, 2), "demand first");
    loads.push(board.take().unwrap());
    loads.push(board.take().unwrap());
    assert!(board.take().is_none(), "read-ahead leaves a quarter to those who wait");
    // One of those ahead is wanted now: it goes at once.
    let wanted = Wanted { location: at(1, 3000, 1000), part: None };
    assert!(!board.join(&wanted).unwrap().ahead);
    loads.push(board.take().unwrap());
    assert_eq!(places(&loads[3]), [3000]);
    drop(board.book(at(3, 0, 8), false));
    assert!(board.take().is_none(), "full");
    for load in loads {
        board.land(load.span);
    }
    assert_eq!(fly(&mut board), Some(vec![0]));
    assert_eq!(fly(&mut board), Some(vec![2000]));
    assert_eq!(fly(&mut board), None);
    // Alone in the air, anything may fly, however long.
    drop(board.book(at(1, 0, 9999), false));
    assert_eq!(fly(&mut board), Some(vec![0]));
}

#[derive(Clone, Debug)]
enum Step {
    Book(u32, u32, u32),
    Ahead(u32, u32, u32),
    Join(u32, u32, u32),
    Take,
    Land(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let place = || (0..3_u32, 0..40_u32, prop_oneof![Just(60_u32), Just(100), Just(1200)]);
    prop_oneof![
        place().prop_map(|(s, o, l)| Step::Book(s, o * 100, l)),
        place().prop_map(|(s, o, l)| Step::Ahead(s, o * 100, l)),
        place().prop_map(|(s, o, l)| Step::Join(s, o * 100, l)),
        Just(Step::Take),
        (0..9_usize).prop_map(Step::Land),
    ]
}

proptest! {
    /// Against a plain model: everything booked travels exactly once, in loads of one segment that
    /// keep their limits, and nothing is left when all have landed.
    #[test]
    fn everything_booked_travels_once(steps in prop::collection::vec(step(), 0..200)) {
        let mut board = Board::new(LIMITS);
        let mut waiting = std::collections::BTreeSet::new();
        let mut flying: Vec<Load> = Vec::new();
        let flies = |flying: &[Load], at: &Location| {
            flying.iter().any(|l| l.places.iter().any(|(p, _)| p == at))
        };
        let steps = steps.into_iter().chain((0..2000).flat_map(|_| [Step::Take, Step::Land(0)]));
        for step in steps {
            match step {
                Step::Book(s, o, l) => {
                    let at = at(s, o, l);
                    let wanted = Wanted { location: at, part: None };
                    let known = board.join(&wanted).is_some();
                    prop_assert_eq!(known, waiting.contains(&at) || flies(&flying, &at));
                    if !known {
                        drop(board.book(at, l == 60));
                        waiting.insert(at);
                    }
                }
                Step::Ahead(s, o, l) => {
                    if board.book_ahead(at(s, o, l)) {
                        prop_assert!(!flies(&flying, &at(s, o, l)));
                        prop_assert!(waiting.insert(at(s, o, l)));
                    }
                }
                Step::Join(s, o, l) => {
                    let at = at(s, o, l);
                    let known = board.join(&Wanted { location: at, part: None }).is_some();
                    prop_assert_eq!(known, waiting.contains(&at) || flies(&flying, &at));
                }
                Step::Take => if let Some(load) = board.take() {
                    let mut last: Option<Location> = None;
                    for (at, _) in &load.places {
                        prop_assert!(waiting.remove(at));
                        if let Some(last) = last {
                            prop_assert_eq!(last.segment, at.segment);
                            prop_assert!(last < *at);
                        }
                        last = Some(*at);
                    }
                    prop_assert!(load.span <= LIMITS.request || load.places.len() == 1);
                    flying.push(load);
                    let sum: u64 = flying.iter().map(|l| l.span).sum();
                    prop_assert!(sum <= LIMITS.flight || flying.len() == 1);
                } else {
                    prop_assert!(waiting.is_empty() || !flying.is_empty(), "stuck");
                },
                Step::Land(n) => if n < flying.len() {
                    let load = flying.swap_remove(n);
                    for (at, _) in &load.places {
                        board.over(&Wanted { location: *at, part: None });
                    }
                    board.land(load.span);
                },
            }
        }
        prop_assert!(board.is_idle() && waiting.is_empty() && flying.is_empty());
    }
}
