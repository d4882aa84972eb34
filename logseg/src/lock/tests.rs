use super::*;
use swiftclient::disk::OsDisk;

fn take(dir: &Path, holder: &str, take_over: bool) -> Result<Locks, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let env = Env::real();
    Locks::take(&disk, &[dir.to_owned()], &Claim { holder, take_over, env: &env })
}

fn refusal(result: Result<Locks, LogError>) -> String {
    match result {
        Err(LogError::Refused(text)) => text,
        Err(e) => panic!("another error: {e}"),
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn a_second_server_is_refused_by_name_before_and_after_settling() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = take(dir.path(), "host a, pid 1", false).unwrap();
    assert!(refusal(take(dir.path(), "b", false)).contains("host a, pid 1"));
    first.settle(7, &Env::real()).unwrap();
    assert!(refusal(take(dir.path(), "b", false)).contains("host a, pid 1"));
    // The refused one left nothing that holds.
    assert!(refusal(take(dir.path(), "c", false)).contains("host a, pid 1"));
    drop(first);
    let mut second = take(dir.path(), "b", false).unwrap();
    assert!(!second.overruled());
    second.settle(8, &Env::real()).unwrap();
    let names = OsDisk.list(&dir.path().join("lock")).unwrap();
    assert_eq!(names, [PathBuf::from("00000008")]);
}

#[test]
fn an_overruled_holder_does_not_stand_in_the_way_of_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut stopped = take(dir.path(), "stopped", false).unwrap();
    stopped.settle(1, &Env::real()).unwrap();
    let mut taker = take(dir.path(), "taker", true).unwrap();
    assert!(taker.overruled());
    taker.settle(2, &Env::real()).unwrap();
    assert!(refusal(take(dir.path(), "third", false)).contains("taker"));
    drop(taker);
    let third = take(dir.path(), "third", false).unwrap();
    assert!(!third.overruled());
    drop(stopped);
}

#[test]
fn an_opener_that_was_overruled_gives_way_and_leaves_the_others_lock_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut slow = take(dir.path(), "slow", false).unwrap();
    let mut quick = take(dir.path(), "quick", true).unwrap();
    // It overruled nobody who serves: it will look for no marks of the slow one's epoch.
    match slow.settle(3, &Env::real()) {
        Err(LogError::Fenced { holder }) => assert_eq!(holder, "quick"),
        other => panic!("{other:?}"),
    }
    quick.settle(4, &Env::real()).unwrap();
    drop(slow);
    assert!(refusal(take(dir.path(), "third", false)).contains("quick"));
}
