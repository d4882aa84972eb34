//! Credentials: found, renewed, never shown.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn store_with(url: &str, variables: &[(&str, String)]) -> S3 {
    let find = |name: &str| match name {
        "AWS_ENDPOINT_URL" => Some(url.to_owned()),
        // No test may ask the network around it.
        "AWS_EC2_METADATA_DISABLED" => Some("true".to_owned()),
        _ => variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone()),
    };
    let config = S3Config::from_env(find, "bucket", "").unwrap();
    S3::new(config, &Env::simulated(1)).unwrap()
}

fn key_of(seen: &Seen) -> String {
    let rest = seen.header("authorization").split("Credential=").nth(1).unwrap_or("");
    rest.split('/').next().unwrap_or("").to_owned()
}

/// Listings are empty; credentials for containers are `K1`, `K2`, …, each for `seconds`; those in
/// `refused` are answered as expired.
async fn service(seconds: i64, refused: &'static [&'static str]) -> Fake {
    let handed = AtomicUsize::new(0);
    Fake::new(move |seen| {
        if seen.target == "/credentials" {
            if seen.header("authorization") != "Bearer door" {
                return say("403 Forbidden", &[], "who are you");
            }
            let n = handed.fetch_add(1, Ordering::SeqCst) + 1;
            if seconds < 0 && n > 1 {
                return say("500 Internal Server Error", &[], "");
            }
            let ends =
                reqsign_core::time::Timestamp::now() + Duration::from_secs(seconds.unsigned_abs());
            return say(
                "200 OK",
                &[],
                format!(
                    "{{\"AccessKeyId\":\"K{n}\",\"SecretAccessKey\":\"hunter2\",\"Token\":\"T{n}\",\
                 \"Expiration\":\"{}\"}}",
                    ends.format_rfc3339_zulu()
                ),
            );
        }
        if refused.contains(&key_of(seen).as_str()) {
            return refuse("400 Bad Request", "ExpiredToken");
        }
        say("200 OK", &[], "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
    })
    .await
}

fn container(fake: &Fake) -> S3 {
    let url = fake.url();
    store_with(
        &url,
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/credentials")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer door".to_owned()),
        ],
    )
}

/// The keys with which the bucket was asked, in order.
fn keys(fake: &Fake) -> Vec<String> {
    fake.seen().iter().filter(|s| s.target != "/credentials").map(key_of).collect()
}

#[tokio::test]
async fn credentials_of_a_role_are_fetched_once_while_they_hold() {
    let fake = service(3600, &[]).await;
    let store = container(&fake);
    for _ in 0..3 {
        store.list("", None, 1).await.unwrap();
    }
    assert_eq!(keys(&fake), ["K1", "K1", "K1"]);
    assert_eq!(fake.seen().len(), 4);
    assert_eq!(fake.seen()[1].header("x-amz-security-token"), "T1");
}

#[tokio::test]
async fn they_are_renewed_before_they_expire() {
    // Less than what a renewal is ahead of the end.
    let fake = service(60, &[]).await;
    let store = container(&fake);
    for _ in 0..3 {
        store.list("", None, 1).await.unwrap();
    }
    assert_eq!(keys(&fake), ["K1", "K2", "K3"]);
}

#[tokio::test]
async fn while_they_cannot_be_renewed_those_that_hold_serve_on() {
    let fake = service(-60, &[]).await;
    let store = container(&fake);
    for _ in 0..3 {
        store.list("", None, 1).await.unwrap();
    }
    assert_eq!(keys(&fake), ["K1", "K1", "K1"]);
    let asked = fake.seen().len() - 3;
    assert_eq!(asked, 2, "a source that failed is left alone for a while");
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_the_request_repeated() {
    let fake = service(3600, &["K1"]).await;
    container(&fake).list("", None, 1).await.unwrap();
    assert_eq!(keys(&fake), ["K1", "K2"]);
    let fake = service(3600, &["K1", "K2"]).await;
    let (denied, told) = kind(container(&fake).list("", None, 1).await);
    assert_eq!(denied, ErrorKind::Denied, "{told}");
    assert!(told.contains("expired"), "{told}");
    assert_eq!(keys(&fake), ["K1", "K2"]);
}

#[tokio::test]
async fn none_at_all_says_what_to_set_and_asks_nobody() {
    let fake = service(3600, &[]).await;
    let (denied, told) = kind(store_with(&fake.url(), &[]).list("", None, 1).await);
    assert_eq!(denied, ErrorKind::Denied);
    assert!(told.contains("AWS_ACCESS_KEY_ID") && told.contains("AWS_PROFILE"), "{told}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_source_that_refuses_is_told_without_secrets() {
    let fake = service(3600, &[]).await;
    let url = fake.url();
    let store = store_with(
        &url,
        &[
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{url}/credentials")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer hunter4".to_owned()),
        ],
    );
    let (denied, told) = kind(store.list("", None, 1).await);
    assert_eq!(denied, ErrorKind::Denied);
    assert!(told.contains("not authorized") && !told.contains("hunter4"), "{told}");
}

#[tokio::test]
async fn a_profile_of_the_shared_file_is_used() {
    let fake = service(3600, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    let text = "[default]\naws_access_key_id = D\naws_secret_access_key = d\n\
                [work]\naws_access_key_id = W\naws_secret_access_key = w\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap().to_owned();
    let shared = ("AWS_SHARED_CREDENTIALS_FILE", file);
    store_with(&fake.url(), std::slice::from_ref(&shared)).list("", None, 1).await.unwrap();
    let work = [shared.clone(), ("AWS_PROFILE", "work".to_owned())];
    store_with(&fake.url(), &work).list("", None, 1).await.unwrap();
    // What is said directly comes first.
    let direct =
        [shared, ("AWS_ACCESS_KEY_ID", "E".to_owned()), ("AWS_SECRET_ACCESS_KEY", "e".to_owned())];
    store_with(&fake.url(), &direct).list("", None, 1).await.unwrap();
    assert_eq!(keys(&fake), ["D", "W", "E"]);
}

#[tokio::test]
async fn the_home_directory_holds_the_shared_file() {
    let fake = service(3600, &[]).await;
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".aws")).unwrap();
    let text = "[default]\naws_access_key_id = H\naws_secret_access_key = h\n";
    std::fs::write(home.path().join(".aws/credentials"), text).unwrap();
    let home = ("HOME", home.path().to_str().unwrap().to_owned());
    store_with(&fake.url(), &[home]).list("", None, 1).await.unwrap();
    assert_eq!(keys(&fake), ["H"]);
}
