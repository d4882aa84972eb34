use bytes::Bytes;

use super::fake::{Answer, Fake, bulk_answer};
use crate::{ObjectName, ObjectStore, Swift};

fn names(n: usize) -> Vec<ObjectName> {
    (0..n).map(|i| ObjectName::new(format!("d/{i}")).unwrap()).collect()
}

async fn filled(fake: &Fake, n: usize) -> (Swift, Vec<ObjectName>) {
    let store = fake.store();
    let names = names(n);
    for name in &names {
        store.put_new(name, vec![Bytes::from_static(b"x")]).await.unwrap();
    }
    fake.forget_log();
    (store, names)
}

#[tokio::test]
async fn batches_are_as_large_as_the_server_takes() {
    let fake = Fake::start().await;
    let (store, names) = filled(&fake, 10).await;
    let outcomes = store.delete_many(&names).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok) && outcomes.len() == 10);
    // The fake takes four.
    assert_eq!(fake.lines(), ["POST /v1/A?bulk-delete"; 3]);
    assert!(fake.world.lock().containers["c"].is_empty());
    // Absent ones are deleted.
    assert!(store.delete_many(&names).await.unwrap().iter().all(Result::is_ok));
}

#[tokio::test]
async fn what_a_bulk_delete_refused_or_left_open_is_told_apart() {
    let fake = Fake::start().await;
    let (store, names) = filled(&fake, 4).await;
    fake.rule(|seen| {
        let errors = [("/c/p/d/1", "403 Forbidden"), ("/c/p/d/2", "503 Service Unavailable")];
        let answer = bulk_answer("400 Bad Request", 1, 1, &errors);
        (seen.query == "bulk-delete").then(|| Answer::new(200).body(answer))
    });
    let outcomes = store.delete_many(&names).await.unwrap();
    let kinds: Vec<_> =
        outcomes.iter().map(|o| o.as_ref().err().map(|e| e.kind().name())).collect();
    assert_eq!(kinds, [None, Some("denied"), Some("unknown"), None]);
    assert_eq!(fake.lines(), ["POST /v1/A?bulk-delete"]);

    // It stopped after one, without saying which: each of the others is asked for alone.
    fake.forget_log();
    fake.rule(|seen| {
        let answer = bulk_answer("502 Bad Gateway", 1, 0, &[("/c/p/d/3", "401 Unauthorized")]);
        (seen.query == "bulk-delete").then(|| Answer::new(200).body(answer))
    });
    assert!(store.delete_many(&names).await.unwrap().iter().all(Result::is_ok));
    let mut lines = fake.lines();
    lines.sort();
    let each = (0..4).map(|i| format!("DELETE /v1/A/c/p/d/{i}"));
    assert_eq!(lines, each.chain(["POST /v1/A?bulk-delete".into()]).collect::<Vec<_>>());
}

#[tokio::test]
async fn where_bulk_is_unknown_each_is_deleted_alone() {
    // One says so in /info, one only by its answer.
    for info in [Some(r#"{"swift": {}}"#.to_owned()), None] {
        let fake = Fake::start().await;
        let told = info.is_some();
        (fake.world.lock().info, fake.world.lock().bulk) = (info, false);
        let (store, names) = filled(&fake, 20).await;
        for _ in 0..2 {
            assert!(store.delete_many(&names).await.unwrap().iter().all(Result::is_ok));
        }
        let lines = fake.lines();
        let bulk = lines.iter().filter(|line| line.starts_with("POST")).count();
        assert_eq!((lines.len() - bulk, bulk), (40, usize::from(!told)));
        assert!(fake.world.lock().containers["c"].is_empty());
    }
}

#[tokio::test]
async fn an_unanswered_batch_fails_its_own_names_alone() {
    let fake = Fake::start().await;
    let (store, names) = filled(&fake, 12).await;
    let mut batches = 0;
    fake.rule(move |seen| {
        batches += usize::from(seen.query == "bulk-delete");
        (seen.query == "bulk-delete" && batches == 2).then(|| Answer::new(500))
    });
    let outcomes = store.delete_many(&names).await.unwrap();
    let failed: Vec<bool> = outcomes.iter().map(Result::is_err).collect();
    assert_eq!(failed, [[false; 4], [true; 4], [false; 4]].concat());
    assert_eq!(fake.world.lock().containers["c"].len(), 4);
}
