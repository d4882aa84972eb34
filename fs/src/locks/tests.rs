use proptest::prelude::*;

use super::*;

const FILE: FileId = FileId { ino: 9, generation: 1 };
const OTHER: FileId = FileId { ino: 10, generation: 1 };

fn of(n: u64) -> LockOwner {
    LockOwner { session: n, owner: 1 }
}

fn range(exclusive: bool, first: u64, last: u64) -> LockRange {
    LockRange { exclusive, first, last }
}

fn ready(wait: &mut LockWait) -> Option<Result<(), LockError>> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    match Pin::new(wait).poll(&mut cx) {
        Poll::Ready(told) => Some(told),
        Poll::Pending => None,
    }
}

#[test]
fn who_waits_is_served_in_turn() {
    let locks = Arc::new(Locks::default());
    let all = range(true, 0, u64::MAX);
    locks.try_lock(FILE, of(1), all).unwrap();
    let mut two = locks.lock(FILE, of(2), range(true, 5, 9)).unwrap().unwrap();
    let mut three = locks.lock(FILE, of(3), range(false, 9, 9)).unwrap().unwrap();
    let mut four = locks.lock(FILE, of(4), range(false, 20, u64::MAX)).unwrap().unwrap();
    assert_eq!((ready(&mut two), ready(&mut three), ready(&mut four)), (None, None, None));
    // One half of it is given back.
    locks.unlock(FILE, of(1), 10, u64::MAX);
    assert_eq!((ready(&mut two), ready(&mut four)), (None, Some(Ok(()))));
    // A weaker lock gives way, too.
    locks.try_lock(FILE, of(1), range(false, 0, 9)).unwrap();
    assert_eq!((ready(&mut two), ready(&mut three)), (None, Some(Ok(()))));
    locks.end_session(1);
    assert_eq!(ready(&mut two), None);
    locks.unlock(FILE, of(3), 0, u64::MAX);
    assert_eq!(ready(&mut two), Some(Ok(())));
    assert_eq!(locks.count(), (2, 0));
    locks.end_session(2);
    locks.end_session(4);
    assert_eq!(locks.count(), (0, 0));
    assert!(locks.table.lock().files.is_empty() && locks.table.lock().sessions.is_empty());
}

#[test]
fn a_circle_is_refused_and_a_chain_is_not() {
    let locks = Arc::new(Locks::default());
    let a = range(true, 0, 0);
    locks.try_lock(FILE, of(1), a).unwrap();
    locks.try_lock(OTHER, of(2), a).unwrap();
    locks.try_lock(FILE, of(3), range(true, 7, 7)).unwrap();
    let _two = locks.lock(FILE, of(2), a).unwrap().unwrap();
    let _three = locks.lock(OTHER, of(3), a).unwrap().unwrap();
    // 3 waits for 2, which waits for 1: 1 may not wait for either.
    assert_eq!(locks.lock(OTHER, of(1), a).err(), Some(LockError::Deadlock));
    assert_eq!(locks.lock(FILE, of(1), range(false, 7, 7)).err(), Some(LockError::Deadlock));
    // Another owner of the same session may.
    let apart = LockOwner { session: 1, owner: 2 };
    assert!(locks.lock(OTHER, apart, a).unwrap().is_some());
}

#[test]
fn who_gives_up_has_nothing() {
    let locks = Arc::new(Locks::default());
    locks.try_lock(FILE, of(1), range(true, 0, 9)).unwrap();
    let wait = locks.lock(FILE, of(2), range(true, 0, 9)).unwrap().unwrap();
    let mut ended = locks.lock(FILE, of(3), range(true, 0, 9)).unwrap().unwrap();
    drop(wait);
    locks.end_session(3);
    assert_eq!(ready(&mut ended), Some(Err(LockError::Ended)));
    drop(ended);
    // Granted, but given up before it was looked at.
    let granted = locks.lock(FILE, of(4), range(true, 0, 9)).unwrap().unwrap();
    locks.unlock(FILE, of(1), 0, u64::MAX);
    assert_eq!(locks.count(), (1, 0));
    drop(granted);
    assert_eq!(locks.count(), (0, 0));
    locks.unlock(FILE, of(1), 0, u64::MAX);
    assert_eq!(locks.count(), (0, 0));
}

#[test]
fn a_session_has_a_limit() {
    let locks = Locks::default();
    let mut table = locks.table.lock();
    table.sessions.insert(1, Share { files: HashMap::new(), sum: SESSION_LOCKS });
    drop(table);
    assert_eq!(locks.try_lock(FILE, of(1), range(true, 0, 0)), Err(LockError::TooMany));
    assert_eq!(locks.try_lock(FILE, of(2), range(true, 0, 0)), Ok(()));
}

/// Each byte of a short file, and who holds it how.
type Bytes = Vec<Vec<(u64, bool)>>;
const LENGTH: usize = 12;

fn model(locks: &Locks) -> Bytes {
    let mut bytes = vec![Vec::new(); LENGTH];
    let table = locks.table.lock();
    for held in table.files.get(&FILE).map(|f| f.held.clone()).unwrap_or_default() {
        for (at, byte) in bytes.iter_mut().enumerate() {
            if (held.range.first..=held.range.last).contains(&(at as u64)) {
                byte.push((held.owner.session, held.range.exclusive));
            }
        }
    }
    bytes.iter_mut().for_each(|byte| byte.sort_unstable());
    bytes
}

proptest! {
    /// Against a model that knows bytes only: each byte alone decides.
    #[test]
    fn ranges_are_as_if_each_byte_were_locked(
        steps in proptest::collection::vec((1u64..4, 0usize..LENGTH, 0usize..LENGTH, 0u8..3), 1..60)
    ) {
        let locks = Locks::default();
        let mut bytes: Bytes = vec![Vec::new(); LENGTH];
        for (owner, a, b, what) in steps {
            let (first, last) = (a.min(b), a.max(b));
            let wide = (first as u64, last as u64);
            if what == 0 {
                locks.unlock(FILE, of(owner), wide.0, wide.1);
                bytes[first..=last].iter_mut().for_each(|byte| byte.retain(|(o, _)| *o != owner));
            } else {
                let exclusive = what == 2;
                let free = bytes[first..=last].iter().flatten()
                    .all(|(o, x)| *o == owner || !(*x || exclusive));
                let got = locks.try_lock(FILE, of(owner), range(exclusive, wide.0, wide.1));
                prop_assert_eq!(got.is_ok(), free);
                if free {
                    for byte in &mut bytes[first..=last] {
                        byte.retain(|(o, _)| *o != owner);
                        byte.push((owner, exclusive));
                        byte.sort_unstable();
                    }
                }
            }
            prop_assert_eq!(&model(&locks), &bytes);
            // Of one owner nothing overlaps, and what touches is not alike.
            let table = locks.table.lock();
            for f in table.files.values() {
                for x in &f.held {
                    for y in f.held.iter().filter(|y| y.owner == x.owner && *y != x) {
                        prop_assert!(!x.range.overlaps(&y.range));
                        let touch = x.range.last + 1 == y.range.first;
                        prop_assert!(!touch || x.range.exclusive != y.range.exclusive);
                    }
                }
            }
        }
    }
}
