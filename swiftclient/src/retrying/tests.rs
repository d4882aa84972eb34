use super::*;
use crate::{
    Faulty, Memory,
    faulty::{Fault, Rule},
};

struct Bed {
    store: Retrying,
    faulty: Faulty,
    memory: Memory,
    env: Env,
}

/// Within a runtime whose time is paused.
fn bed() -> Bed {
    let env = Env::simulated(7);
    let memory = Memory::new();
    let faulty = Faulty::new(Arc::new(memory.clone()));
    let policy = Policy { budget: Duration::from_secs(20), ..Policy::default() };
    let policy = Policy { attempt: Some(Duration::from_secs(4)), ..policy };
    let store = Retrying::new(Arc::new(faulty.clone()), policy, &env);
    Bed { store, faulty, memory, env }
}

fn name(n: &str) -> ObjectName {
    ObjectName::new(n).unwrap()
}

fn body(text: &'static str) -> Vec<Bytes> {
    vec![text.into()]
}

const UNAVAILABLE: Fault = Fault::Refuse(ErrorKind::Unavailable);
const UNKNOWN: Fault = Fault::Refuse(ErrorKind::Unknown);

#[tokio::test(start_paused = true)]
async fn what_is_unavailable_for_a_while_succeeds() {
    let bed = bed();
    bed.faulty.add(Rule::nth(0, UNAVAILABLE).times(5));
    bed.store.put_new(&name("a"), body("1")).await.unwrap();
    bed.faulty.add(Rule::nth(0, UNAVAILABLE).times(5));
    assert_eq!(bed.store.get(&name("a"), 0..9).await.unwrap(), "1");
    bed.faulty.add(Rule::nth(0, UNAVAILABLE).times(5));
    assert_eq!(bed.store.list("", None, 9).await.unwrap(), [name("a")]);
    bed.faulty.add(Rule::nth(0, UNAVAILABLE).times(5));
    assert!(bed.store.delete_many(&[name("a")]).await.unwrap()[0].is_ok());
    assert_eq!(bed.memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_budget_ends_it_and_says_that_nothing_happened() {
    let bed = bed();
    bed.faulty.add(Rule::always(UNAVAILABLE));
    let e = bed.store.put_new(&name("a"), body("1")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    let took = bed.env.clock.monotonic();
    assert!(took <= Duration::from_secs(20), "{took:?}");
    assert!((4..200).contains(&bed.faulty.calls()), "{} calls", bed.faulty.calls());
}

#[tokio::test(start_paused = true)]
async fn what_retrying_cannot_help_is_passed_on_at_once() {
    use ErrorKind::{Corrupt, Denied, Exists, Full, Invalid, NotFound};
    for kind in [Corrupt, Denied, Exists, Full, Invalid, NotFound] {
        let bed = bed();
        bed.faulty.add(Rule::always(Fault::Refuse(kind)));
        assert_eq!(bed.store.put_new(&name("a"), body("1")).await.unwrap_err().kind(), kind);
        assert_eq!(bed.store.head(&name("a")).await.unwrap_err().kind(), kind);
        assert_eq!(bed.faulty.calls(), 2);
        assert_eq!(bed.env.clock.monotonic(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn the_stores_own_wish_is_kept() {
    let bed = bed();
    // A wish longer than the budget ends the call at once instead of sleeping in vain.
    let mut patience = bed.store.inner.patience();
    let busy = |secs| StoreError::Unavailable {
        what: "put a".into(),
        reason: "503".into(),
        retry_after: Some(Duration::from_secs(secs)),
    };
    assert!(patience.wait(&busy(7)).await);
    assert!(bed.env.clock.monotonic() >= Duration::from_secs(7));
    assert!(!patience.wait(&busy(60)).await);
    assert!(bed.env.clock.monotonic() < Duration::from_secs(13));
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_settled_by_reading_back() {
    let bed = bed();
    bed.faulty.add(Rule::nth(0, Fault::LoseReply).of(Verb::Put));
    bed.store.put_new(&name("a"), body("mine")).await.unwrap();
    // The put, the head, the bytes; not a second put.
    assert_eq!(bed.faulty.calls(), 3);
    bed.faulty.add(Rule::nth(0, Fault::LoseReply).of(Verb::FinishStream));
    let stream = name("s");
    let mut writer = bed.store.put_stream(&stream).await.unwrap();
    writer.write("mine".into()).await.unwrap();
    writer.finish().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unknown_put_that_did_nothing_is_put_again() {
    let bed = bed();
    bed.faulty.add(Rule::nth(0, UNKNOWN).of(Verb::Put));
    bed.store.put_new(&name("a"), body("mine")).await.unwrap();
    assert_eq!(bed.memory.get(&name("a"), 0..9).await.unwrap(), "mine");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_put_of_a_rivals_name_is_exists() {
    // Of equal length, and not.
    for rival in ["them", "other length"] {
        let bed = bed();
        bed.memory.put_new(&name("a"), body(rival)).await.unwrap();
        bed.faulty.add(Rule::nth(0, UNKNOWN).of(Verb::Put));
        let e = bed.store.put_new(&name("a"), body("mine")).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Exists);
    }
}

/// Every object that ends with the CRC-32C of the rest has one and the same CRC-32C: two seals of
/// equal length, of which each opener took the other's for its own.
#[tokio::test(start_paused = true)]
async fn a_rivals_object_of_the_same_checksum_is_exists() {
    let sealed = |who: &[u8]| [who, &crc_fast::crc32_iscsi(who).to_le_bytes()].concat();
    let (ours, theirs) = (sealed(b"begun by us  "), sealed(b"begun by them"));
    assert_eq!(crc_fast::crc32_iscsi(&ours), crc_fast::crc32_iscsi(&theirs));
    for whole in [true, false] {
        let bed = bed();
        bed.memory.put_new(&name("a"), vec![theirs.clone().into()]).await.unwrap();
        bed.faulty.add(Rule::nth(0, UNKNOWN).of(Verb::Put));
        let (head, tail) = ours.split_at(if whole { ours.len() } else { 7 });
        let pieces: Vec<Bytes> = vec![head.to_vec().into(), tail.to_vec().into()];
        let e = bed.store.put_new(&name("a"), pieces.clone()).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Exists);
        // And what is ours, in whatever pieces it went, is known again.
        bed.faulty.add(Rule::nth(0, Fault::LoseReply).of(Verb::Put).at("b"));
        bed.store.put_new(&name("b"), pieces).await.unwrap();
    }
}

/// Read back in other pieces than it was put in.
#[test]
fn what_was_put_is_found_at_any_place() {
    let bytes: Vec<u8> = (0..=255).collect();
    let put = print_of(&[bytes[..3].to_vec().into(), Bytes::new(), bytes[3..].to_vec().into()]);
    for at in 0..256 {
        for end in at..=256 {
            assert!(put.has(at as u64, &bytes[at..end]));
        }
        let mut other = bytes[at..].to_vec();
        *other.last_mut().unwrap() ^= 1;
        assert!(!put.has(at as u64, &other), "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_arrives_late_is_known_again() {
    let bed = bed();
    // Unknown, absent when read back, and there after all at the second put.
    bed.faulty.add(Rule::nth(0, UNKNOWN).of(Verb::Put));
    let (put, late) = (name("a"), body("mine"));
    let arrives = async {
        while bed.faulty.calls() < 2 {
            tokio::task::yield_now().await;
        }
        bed.memory.put_new(&put, late).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(bed.store.put_new(&put, body("mine")), arrives);
    outcome.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_put_once_in_doubt_never_ends_as_nothing_happened() {
    let bed = bed();
    bed.faulty.add(Rule::nth(0, UNKNOWN).of(Verb::Put));
    bed.faulty.add(Rule::always(UNAVAILABLE).of(Verb::Put));
    let e = bed.store.put_new(&name("a"), body("mine")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unknown, "{e}");
    let bed = self::bed();
    bed.faulty.add(Rule::nth(0, Fault::LoseReply).of(Verb::Put));
    bed.faulty.add(Rule::always(UNAVAILABLE).of(Verb::Head));
    let e = bed.store.put_new(&name("a"), body("mine")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unknown, "{e}");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_is_left_after_its_time() {
    let bed = bed();
    bed.faulty.add(Rule::nth(0, Fault::HangAfter).of(Verb::Put));
    bed.store.put_new(&name("a"), body("mine")).await.unwrap();
    bed.faulty.add(Rule::nth(0, Fault::Hang).of(Verb::Get));
    assert_eq!(bed.store.get(&name("a"), 0..9).await.unwrap(), "mine");
    bed.faulty.add(Rule::always(Fault::Hang).of(Verb::Head));
    let e = bed.store.head(&name("a")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_file_in_doubt_is_compared_with_what_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f");
    std::fs::write(&file, "mine and more").unwrap();
    let bed = bed();
    bed.faulty.add(Rule::nth(0, Fault::LoseReply).of(Verb::PutFile));
    bed.store.put_file(&name("a"), &file, 4).await.unwrap();
    bed.memory.put_new(&name("b"), body("them")).await.unwrap();
    bed.faulty.add(Rule::nth(0, UNKNOWN).of(Verb::PutFile));
    let e = bed.store.put_file(&name("b"), &file, 4).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Exists);
}

#[tokio::test(start_paused = true)]
async fn only_the_names_that_failed_are_deleted_again() {
    let bed = bed();
    let names: Vec<_> = (0..8).map(|i| name(&format!("n{i}"))).collect();
    for name in &names {
        bed.memory.put_new(name, body("x")).await.unwrap();
    }
    bed.faulty.add(Rule::nth(0, Fault::Truncate).of(Verb::Delete).times(2));
    let outcome = bed.store.delete_many(&names).await.unwrap();
    assert!(outcome.iter().all(Result::is_ok));
    assert_eq!((bed.memory.used(), bed.faulty.calls()), (0, 3));
}

#[test]
fn waits_are_jittered_over_the_whole_doubling_interval() {
    let waits = |seed| {
        let run = async move {
            let env = Env::simulated(seed);
            let store = Arc::new(Memory::new());
            let policy = Policy { budget: Duration::MAX / 2, ..Policy::default() };
            let retrying = Retrying::new(store, policy, &env);
            let mut patience = retrying.inner.patience();
            let error = ErrorKind::Unavailable.error("get", "a", "busy");
            let mut waits = Vec::new();
            for _ in 0..12 {
                let before = env.clock.monotonic();
                assert!(patience.wait(&error).await);
                waits.push(env.clock.monotonic() - before);
            }
            waits
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(run)
    };
    let runs: Vec<_> = (0..50).map(waits).collect();
    let millis = |n: u64| Duration::from_millis(n);
    for (step, most) in [(0, 50), (1, 100), (2, 200), (6, 3200), (7, 5000), (11, 5000)] {
        let of_step: Vec<_> = runs.iter().map(|run| run[step]).collect();
        // Sleeps are rounded up to the timer's millisecond.
        assert!(of_step.iter().all(|w| *w <= millis(most + 2)), "{step}: {of_step:?}");
        assert!(of_step.iter().any(|w| *w < millis(most / 3)), "{step}: {of_step:?}");
        assert!(of_step.iter().any(|w| *w > millis(most * 2 / 3)), "{step}: {of_step:?}");
    }
}

fn paced(policy: Policy) -> Bed {
    let bed = bed();
    Bed { store: Retrying::new(Arc::new(bed.faulty.clone()), policy, &bed.env), ..bed }
}

#[tokio::test(start_paused = true)]
async fn however_many_calls_fail_a_sick_store_gets_a_trickle_of_retries() {
    let bed = paced(Policy::default());
    bed.faulty.add(Rule::always(UNAVAILABLE));
    let calls = (0..200).map(|_| async { bed.store.head(&name("a")).await });
    let failed = futures_util::future::join_all(calls).await;
    assert!(failed.iter().all(|f| f.as_ref().is_err_and(|e| e.kind() == ErrorKind::Unavailable)));
    let figures = bed.store.figures();
    // Saved ones, and two per second of a minute; 200 calls on their own would have made thousands.
    assert!((20..=140).contains(&figures.retries), "{figures:?}");
    assert!(bed.faulty.calls() <= 200 + figures.retries);
    assert!(figures.starved > 0);
    assert_eq!((figures.window, figures.in_flight), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn when_the_store_is_back_all_who_wait_follow_at_once() {
    let bed = paced(Policy { in_flight: 1000, ..Policy::default() });
    bed.memory.put_new(&name("a"), body("1")).await.unwrap();
    bed.faulty.add(Rule::always(UNAVAILABLE));
    let calls = (0..100).map(|_| async { bed.store.get(&name("a"), 0..1).await });
    let back = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        bed.faulty.heal();
    };
    let (done, ()) = tokio::join!(futures_util::future::join_all(calls), back);
    assert!(done.iter().all(Result::is_ok));
    // By time alone 100 tokens would take 50 seconds more.
    let took = bed.env.clock.monotonic();
    assert!(took < Duration::from_secs(40), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn slow_down_halves_what_is_in_flight_once_and_answers_give_it_back_one_by_one() {
    let bed = bed();
    // Sixteen at once are all turned away: one congestion.
    let busy = Busy::new(&bed.memory, 16, None);
    let policy = Policy { in_flight: 16, ..Policy::default() };
    let store = Retrying::new(Arc::new(busy), policy, &bed.env);
    let names: Vec<_> = (0..200).map(|n| name(&format!("n{n}"))).collect();
    let puts = names[..16].iter().map(|name| store.put_new(name, body("1")));
    assert!(futures_util::future::join_all(puts).await.iter().all(Result::is_ok));
    let figures = store.figures();
    assert_eq!(figures.throttled, 1, "{figures:?}");
    assert!((8..=11).contains(&figures.window), "{figures:?}");
    for name in &names[16..] {
        store.put_new(name, body("1")).await.unwrap();
    }
    assert_eq!(store.figures().window, 16);
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_than_the_window_are_in_flight() {
    let bed = paced(Policy { in_flight: 4, ..Policy::default() });
    bed.memory.put_new(&name("a"), body("1")).await.unwrap();
    bed.faulty.add(Rule::always(Fault::Delay(Duration::from_secs(1))));
    let calls = (0..20).map(|_| async { bed.store.head(&name("a")).await });
    let seen = async {
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(900)).await;
            assert_eq!(bed.store.figures().in_flight, 4);
        }
    };
    let (done, ()) = tokio::join!(futures_util::future::join_all(calls), seen);
    assert!(done.iter().all(Result::is_ok));
    assert_eq!(bed.env.clock.monotonic().as_secs(), 5);
}

/// Turns the first puts away, with a wish; each takes a hundredth of a second.
struct Busy {
    memory: Memory,
    turned_away: std::sync::atomic::AtomicU64,
    wish: Option<Duration>,
}

impl Busy {
    fn new(memory: &Memory, turned_away: u64, wish: Option<Duration>) -> Self {
        Self { memory: memory.clone(), turned_away: turned_away.into(), wish }
    }
}

impl ObjectStore for Busy {
    fn put_new<'a>(&'a self, name: &'a ObjectName, body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let less = |left: u64| left.checked_sub(1);
            let order = std::sync::atomic::Ordering::Relaxed;
            if self.turned_away.fetch_update(order, order, less).is_err() {
                return self.memory.put_new(name, body).await;
            }
            let (what, reason) = (format!("put {name}"), "503".into());
            Err(StoreError::Unavailable { what, reason, retry_after: self.wish })
        })
    }

    crate::forward!((memory): put_stream, put_file, get, head, list, delete_many, class);
}

#[tokio::test(start_paused = true)]
async fn the_pause_that_a_store_wishes_for_is_kept_by_all_calls() {
    let bed = bed();
    let busy = Busy::new(&bed.memory, 1, Some(Duration::from_secs(7)));
    let store = Retrying::new(Arc::new(busy), Policy::default(), &bed.env);
    let (a, b) = (name("a"), name("b"));
    let second = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.put_new(&b, body("2")).await.unwrap();
        bed.env.clock.monotonic()
    };
    let (first, second) = tokio::join!(store.put_new(&a, body("1")), second);
    first.unwrap();
    assert!(second >= Duration::from_secs(7), "{second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_try_may_take_as_long_as_its_bytes_need() {
    let bed = paced(Policy { least_rate: 1000, ..Policy::default() });
    bed.faulty.add(Rule::always(Fault::Delay(Duration::from_secs(40))).of(Verb::Put));
    let big = vec![Bytes::from(vec![7; 20_000])];
    bed.store.put_new(&name("big"), big).await.unwrap();
    assert_eq!(bed.store.figures().retries, 0);
    // The same time is too long for a small one.
    bed.store.put_new(&name("small"), body("1")).await.unwrap_err();
    assert!(bed.store.figures().retries > 0);
}
