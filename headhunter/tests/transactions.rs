//! Transactions and views through the public door, on a log in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use headhunter::{Abort, Codec, Frame, Index, LogError, Owner, RequestTag, SegmentId, Seq};
use proptest::prelude::*;
use swiftclient::seam::Env;

type Never = std::convert::Infallible;
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn index() -> Index {
    Index::in_memory(Env::real())
}

fn key(n: u16) -> Vec<u8> {
    [&(u64::from(n % 50) + 1).to_be_bytes()[..], &n.to_be_bytes()[..]].concat()
}

#[derive(Clone, Debug)]
enum Step {
    Put(u16, Vec<u8>),
    Delete(u16),
    Look(u16, u16, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u16..400, proptest::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(k, v)| Step::Put(k, v)),
        2 => (0u16..400).prop_map(Step::Delete),
        2 => (0u16..400, 0u16..400, 0usize..20).prop_map(|(a, b, n)| Step::Look(a, b, n)),
    ]
}

proptest! {
    #[test]
    fn a_transaction_sees_its_own_writes_and_a_view_its_moment(
        transactions in proptest::collection::vec(
            (proptest::collection::vec(step(), 0..20), any::<bool>()), 1..30)
    ) {
        let index = index();
        let mut model = Model::new();
        let mut moments = Vec::new();
        for (steps, commits) in transactions {
            let before = index.last_seq();
            let mut draft = model.clone();
            let done = index.transact(|txn| {
                for step in &steps {
                    match step {
                        Step::Put(k, v) => {
                            txn.put(key(*k), v.clone());
                            draft.insert(key(*k), v.clone());
                        }
                        Step::Delete(k) => {
                            txn.delete(key(*k));
                            draft.remove(&key(*k));
                        }
                        Step::Look(a, b, n) => {
                            let (a, b) = (key(*a.min(b)), key(*a.max(b)));
                            assert_eq!(txn.get(&a)?.map(|v| v.to_vec()), draft.get(&a).cloned());
                            if a > b { continue }
                            let last = draft.range(a.clone()..b.clone()).next_back();
                            assert_eq!(
                                txn.last(&a, &b)?.map(|(k, v)| (k.to_vec(), v.to_vec())),
                                last.map(|(k, v)| (k.clone(), v.clone()))
                            );
                            let some: Vec<_> = draft.range(a.clone()..b.clone()).take(*n).collect();
                            let found = txn.range(&a, &b, *n)?;
                            assert_eq!(found.len(), some.len());
                            assert!(found.iter().zip(some).all(|(f, s)| f.0 == s.0 && f.1 == s.1));
                        }
                    }
                }
                if commits { Ok(()) } else { Err(Abort::Refused("no")) }
            });
            let stages = steps.iter().any(|s| !matches!(s, Step::Look(..)));
            if commits {
                model = draft;
                prop_assert_eq!(done.unwrap().seq, Seq(before.0 + u64::from(stages)));
            } else {
                prop_assert!(matches!(done, Err(Abort::Refused("no"))));
                prop_assert_eq!(index.last_seq(), before);
            }
            moments.push((index.view(), model.clone()));
        }
        for (view, model) in moments {
            let all = view.range(&[0, 0, 0, 0, 0, 0, 0, 1], &[0xff; 9], usize::MAX).unwrap();
            let all: Model = all.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(all, model);
        }
    }
}

#[test]
fn what_breaks_a_limit_is_refused_and_changes_nothing() {
    let index = index();
    let put = |key: Vec<u8>, value: Vec<u8>| {
        index.transact::<(), Never>(|txn| {
            txn.put(key, value);
            Ok(())
        })
    };
    for (key, value) in [
        (vec![1; 281], vec![]),
        (vec![1; 9], vec![0; 3073]),
        (vec![0; 8], vec![]),
        ([&[0; 8][..], &[1, 2, 3]].concat(), vec![]),
    ] {
        let refused = put(key.clone(), value);
        assert!(matches!(refused, Err(Abort::Log(LogError::Refused(_)))), "{key:?}");
    }
    assert_eq!(index.last_seq(), Seq(0));
    assert!(put(vec![1; 280], vec![0; 3072]).is_ok());
    assert!(put([&[0; 7][..], &[1]].concat(), vec![]).is_ok());

    let frame = Frame::data(Owner(1), Bytes::from(vec![5; 128 << 10]), Codec::Stored);
    let big = index.transact::<(), Never>(|txn| {
        for _ in 0..16 {
            txn.append(&frame);
        }
        Ok(())
    });
    assert!(matches!(big, Err(Abort::Log(LogError::Refused(_)))));
    let tag = RequestTag { client: [1; 16], id: 1, digest: 1 };
    let long = index.transact::<(), Never>(|txn| {
        txn.remember(tag.clone(), vec![0; 65]);
        Ok(())
    });
    assert!(matches!(long, Err(Abort::Log(LogError::Refused(_)))));
    assert_eq!(index.last_seq(), Seq(2));
}

#[tokio::test]
async fn frames_are_read_back_and_requests_remembered() {
    let index = index();
    let tag = RequestTag { client: [9; 16], id: 77, digest: 5 };
    let bytes = Bytes::from(vec![42; 5000]);
    let frame = Frame::data(Owner(1), bytes.clone(), index.codec());
    let done = index
        .transact::<_, Never>(|txn| {
            let location = txn.append(&frame);
            txn.account(location.segment, 5000);
            txn.put(key(1), txn.seq().0.to_le_bytes().to_vec());
            txn.remember(tag.clone(), &b"made"[..]);
            Ok(location)
        })
        .unwrap();
    assert_eq!(index.read_now(&done.value), Some(bytes.clone()));
    assert_eq!(index.read(&done.value).await.unwrap(), bytes);
    let remembered = index.remembered(&tag).unwrap();
    assert_eq!((remembered.seq, &remembered.outcome[..]), (done.seq, &b"made"[..]));
    assert_eq!(index.remembered(&RequestTag { digest: 6, ..tag }), None);
    assert_ne!(done.value.segment, SegmentId(0));
    // What a refused transaction appended is nowhere.
    let lost = index.transact(|txn| Err::<(), _>(Abort::Refused(txn.append(&frame))));
    let Err(Abort::Refused(location)) = lost else { panic!("committed") };
    assert_eq!(index.read_now(&location), None);
}
