use super::*;
use crate::{
    Faulty, Memory, Verb,
    faulty::{Fault, Rule},
    racy::{Manner, Racy},
};

fn racy(manner: Manner) -> (Racy, Memory) {
    let memory = Memory::new();
    (Racy::new(Arc::new(memory.clone()), manner), memory)
}

#[tokio::test(start_paused = true)]
async fn stores_are_told_apart_by_what_they_do() {
    use StoreClass::{Fencing, Plain};
    let cases = [
        (Manner::Ignores, Plain, Plain),
        // One after another it answers right: only the race shows it.
        (Manner::CheckThenAct, Plain, Fencing),
        (Manner::LosersInDoubt, Fencing, Fencing),
    ];
    for (manner, raced, created_again) in cases {
        let (store, memory) = racy(manner);
        let env = Env::simulated(3);
        assert_eq!(race(&store, &env).await.unwrap(), raced, "{manner:?}");
        assert_eq!(again(&store, &env).await.unwrap(), created_again, "{manner:?}");
        assert_eq!(memory.used(), 0, "{manner:?}: the probe's objects are gone");
    }
    let env = Env::simulated(3);
    assert_eq!(race(&Memory::new(), &env).await.unwrap(), Fencing);
    assert_eq!(again(&Memory::new(), &env).await.unwrap(), Fencing);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_calls_itself_plain_is_asked_nothing() {
    let faulty = Faulty::new(Arc::new(Memory::new()));
    let store = Classed::new(Arc::new(faulty.clone()), StoreClass::Plain);
    let env = Env::simulated(1);
    assert_eq!(race(&store, &env).await.unwrap(), StoreClass::Plain);
    assert_eq!(again(&store, &env).await.unwrap(), StoreClass::Plain);
    assert_eq!(faulty.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_busy_store_is_raced_again_and_never_called_fencing_unraced() {
    let memory = Memory::new();
    let faulty = Faulty::new(Arc::new(memory.clone()));
    let env = Env::simulated(1);
    // Seven of eight turned away: that was no race.
    faulty.add(Rule::nth(0, Fault::Refuse(ErrorKind::Unavailable)).of(Verb::Put).times(7));
    assert_eq!(race(&faulty, &env).await.unwrap(), StoreClass::Fencing);
    faulty.add(Rule::always(Fault::Refuse(ErrorKind::Unavailable)).of(Verb::Put));
    let e = race(&faulty, &env).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
    let e = again(&faulty, &env).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
    faulty.heal();
    faulty.add(Rule::always(Fault::Refuse(ErrorKind::Denied)).of(Verb::Put));
    assert_eq!(race(&faulty, &env).await.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(memory.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_a_win_only_when_its_bytes_stand_there() {
    let faulty = Faulty::new(Arc::new(Memory::new()));
    let env = Env::simulated(1);
    // The winner of the first round never hears of it.
    faulty.add(Rule::nth(0, Fault::LoseReply).of(Verb::Put));
    assert_eq!(race(&faulty, &env).await.unwrap(), StoreClass::Fencing);
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_probe_left_is_swept_and_nothing_else() {
    let memory = Memory::new();
    for name in ["probe/0123456789abcdef-00", "probe/0123456789abcdef-01", "probe/x"] {
        memory.put_new(&ObjectName::new(name).unwrap(), vec!["left".into()]).await.unwrap();
    }
    assert_eq!(sweep(&memory).await.unwrap(), 2);
    assert_eq!(sweep(&memory).await.unwrap(), 0);
    assert_eq!(memory.used(), 4);
}
