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
    // The put, the head; not a second put.
    assert_eq!(bed.faulty.calls(), 2);
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
    // Of equal length: only the checksum tells them apart.
    for rival in ["them", "other length"] {
        let bed = bed();
        bed.memory.put_new(&name("a"), body(rival)).await.unwrap();
        bed.faulty.add(Rule::nth(0, UNKNOWN).of(Verb::Put));
        let e = bed.store.put_new(&name("a"), body("mine")).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Exists);
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
