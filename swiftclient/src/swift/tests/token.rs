use std::time::Duration;

use super::fake::{Answer, Fake};
use crate::{ErrorKind, ObjectName, ObjectStore, StoreError, Swift};

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

async fn filled(fake: &Fake) -> Swift {
    let store = fake.store();
    store.put_new(&name("n"), vec!["x".into()]).await.unwrap();
    assert_eq!(given(fake), 1);
    store
}

fn given(fake: &Fake) -> u32 {
    fake.world.lock().tokens_given
}

/// Many readers at once; gives how many failed.
async fn crowd(store: &Swift) -> Vec<StoreError> {
    let readers: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.head(&name("n")).await })
        })
        .collect();
    let mut failed = Vec::new();
    for reader in readers {
        failed.extend(reader.await.unwrap().err());
    }
    failed
}

#[tokio::test]
async fn one_token_serves_all() {
    let fake = Fake::start().await;
    let store = fake.store();
    crowd(&store).await;
    assert_eq!(given(&fake), 1);
}

#[tokio::test]
async fn it_is_renewed_once_before_it_ends() {
    let fake = Fake::start().await;
    let store = filled(&fake).await;
    // It lives 1,000 s: renewed a tenth of that before.
    fake.clock.advance(Duration::from_secs(899));
    assert_eq!(crowd(&store).await.len(), 0);
    assert_eq!(given(&fake), 1);
    fake.clock.advance(Duration::from_secs(2));
    assert_eq!(crowd(&store).await.len(), 0);
    assert_eq!(given(&fake), 2);
    // Long silence: it ended meanwhile, and no request is made with it.
    fake.clock.advance(Duration::from_secs(5000));
    fake.world.lock().tokens.clear();
    fake.forget_log();
    assert_eq!(crowd(&store).await.len(), 0);
    assert_eq!(given(&fake), 3);
    assert_eq!(fake.world.lock().log.iter().filter(|s| s.path == "/v1/A/c/p/n").count(), 20);
}

#[tokio::test]
async fn it_is_renewed_once_when_it_is_refused() {
    let fake = Fake::start().await;
    let store = filled(&fake).await;
    for round in 2..5 {
        fake.world.lock().tokens.clear();
        assert_eq!(crowd(&store).await.len(), 0);
        assert_eq!(given(&fake), round);
    }
    // The body of a put is sent once more.
    fake.world.lock().tokens.clear();
    store.put_new(&name("m"), vec!["yz".into()]).await.unwrap();
    assert_eq!(store.get(&name("m"), 0..9).await.unwrap(), "yz");
}

#[tokio::test]
async fn a_new_token_that_is_refused_is_the_end() {
    let fake = Fake::start().await;
    let store = filled(&fake).await;
    fake.rule(|seen| seen.path.starts_with("/v1/").then(|| Answer::new(401)));
    fake.forget_log();
    let error = store.head(&name("n")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("ST_KEY"), "{error}");
    // Once with the old, once with the new one.
    assert_eq!(fake.lines(), ["HEAD /v1/A/c/p/n"; 2]);
    assert_eq!(given(&fake), 2);
    // The first one ever: another would be refused as well.
    fake.forget_log();
    let error = fake.store().head(&name("n")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_eq!((fake.lines().len(), given(&fake)), (1, 3));
    // A ready token cannot be renewed.
    let url = format!("http://{}/v1/A", fake.address);
    let store = fake.store_of(&[("OS_AUTH_TOKEN", "old"), ("OS_STORAGE_URL", &url)]);
    let error = store.head(&name("n")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("OS_AUTH_TOKEN"), "{error}");
}

#[tokio::test]
async fn a_renewal_that_fails_harms_nobody_while_the_old_one_lives() {
    let fake = Fake::start().await;
    let store = filled(&fake).await;
    let auths =
        |fake: &Fake| fake.world.lock().log.iter().filter(|s| s.path == "/auth/v1.0").count();
    fake.rule(|seen| (seen.path == "/auth/v1.0").then(|| Answer::new(503)));
    fake.clock.advance(Duration::from_secs(950));
    assert_eq!(crowd(&store).await.len(), 0);
    // It has ended: everybody is told so, by one question.
    fake.clock.advance(Duration::from_secs(100));
    let before = auths(&fake);
    let failed = crowd(&store).await;
    assert_eq!(failed.len(), 20);
    assert!(failed.iter().all(|e| e.kind() == ErrorKind::Unavailable), "{failed:?}");
    assert_eq!(auths(&fake) - before, 1);
    fake.rule(|_| None);
    assert_eq!(crowd(&store).await.len(), 0);
}

#[tokio::test]
async fn a_wrong_key_or_address_says_what_to_check() {
    let fake = Fake::start().await;
    let url = |path: &str| format!("http://{}{path}", fake.address);
    let wrong_key = fake.store_of(&[
        ("ST_AUTH", &url("/auth/v1.0")),
        ("ST_USER", "test:tester"),
        ("ST_KEY", "hunter2"),
    ]);
    let error = wrong_key.head(&name("n")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let text = error.to_string();
    assert!(text.contains("ST_KEY") && !text.contains("hunter2"), "{text}");
    fake.rule(|seen| (seen.path == "/elsewhere").then(|| Answer::new(404)));
    let wrong_url = fake.store_of(&[
        ("ST_AUTH", &url("/elsewhere")),
        ("ST_USER", "test:tester"),
        ("ST_KEY", "testing"),
    ]);
    let error = wrong_url.head(&name("n")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("ST_AUTH"), "{error}");
}
