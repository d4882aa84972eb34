//! The conformance suite on a real S3 store: `ESKER_TEST_S3_ENDPOINT` and `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY` name it. Without the variable each test says that it is skipped.

#![allow(clippy::unwrap_used)] // tests, all of it

use std::sync::Arc;

use bytes::Bytes;
use swiftclient::{
    ErrorKind, ObjectName, ObjectStore, Retrying, S3, S3Config, StoreClass, StoreError,
    conformance::{Trial, assert_conforms},
    disk::OsDisk,
    probe,
    retrying::Policy,
    seam::Env,
};

const ENDPOINT: &str = "ESKER_TEST_S3_ENDPOINT";

/// The environment with the endpoint under test, whatever else it names.
fn lookup(name: &str) -> Option<String> {
    match name {
        "AWS_ENDPOINT_URL_S3" => std::env::var(ENDPOINT).ok(),
        // This machine's own bundle, not the store's.
        "AWS_CA_BUNDLE" => None,
        _ => std::env::var(name).ok(),
    }
}

/// A bucket of its own for each test of each run.
fn fresh(test: &str) -> String {
    format!("esker-{test}-{:016x}", Env::real().random_u64())
}

fn config(bucket: &str, prefix: &str) -> S3Config {
    S3Config::from_env(lookup, bucket, prefix).unwrap()
}

/// A store in a new bucket, or `None` and a word about it.
async fn store(test: &str, prefix: &str) -> Option<(S3, String)> {
    if std::env::var_os(ENDPOINT).is_none() {
        // On a line of its own, whatever the test runner has begun to print.
        eprintln!("\nskipped: s3 {test}: {ENDPOINT} is not set");
        return None;
    }
    let bucket = fresh(test);
    let store = S3::new(config(&bucket, prefix), &Env::real()).unwrap();
    store.create_bucket().await.unwrap();
    Some((store, bucket))
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

/// What a client that is behind a retry wrapper sees: losers of races may be answered by a server
/// error (RGW), which reading back settles.
fn patient(store: S3) -> Arc<dyn ObjectStore> {
    Arc::new(Retrying::new(Arc::new(store), Policy::default(), &Env::real()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_conforms() {
    let Some((store, _)) = store("conforms", "pre/fix").await else { return };
    let scratch = tempfile::tempdir().unwrap();
    let trial = Trial::new(patient(store), "trial").with_files(Arc::new(OsDisk), scratch.path());
    assert_conforms(&trial.thorough()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_conforms_without_a_prefix() {
    let Some((store, _)) = store("bare", "").await else { return };
    let scratch = tempfile::tempdir().unwrap();
    let trial = Trial::new(patient(store), "trial").with_files(Arc::new(OsDisk), scratch.path());
    let failed = trial.run_those(|clause| !clause.contains("twenty")).await;
    assert!(failed.is_empty(), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn its_puts_fence() {
    let Some((store, _)) = store("fences", "v").await else { return };
    let class = probe::race(&store, &Env::real()).await.unwrap();
    assert_eq!(class, StoreClass::Fencing);
    assert!(store.list("", None, 10).await.unwrap().is_empty(), "the probe left objects");
}

#[tokio::test]
async fn two_prefixes_of_one_bucket_do_not_see_each_other() {
    let Some((one, bucket)) = store("prefixes", "a").await else { return };
    let two = S3::new(config(&bucket, "a/b"), &Env::real()).unwrap();
    one.put_new(&name("x"), vec![Bytes::from_static(b"one")]).await.unwrap();
    two.put_new(&name("x"), vec![Bytes::from_static(b"two")]).await.unwrap();
    assert_eq!(one.get(&name("x"), 0..9).await.unwrap(), &b"one"[..]);
    assert_eq!(two.list("", None, 9).await.unwrap(), [name("x")]);
    assert_eq!(one.list("", None, 9).await.unwrap(), [name("b/x"), name("x")]);
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> (ErrorKind, String) {
    let error = outcome.unwrap_err();
    (error.kind(), error.to_string())
}

#[tokio::test]
async fn a_missing_bucket_is_no_missing_object() {
    let Some((_, bucket)) = store("missing", "").await else { return };
    let store = S3::new(config(&format!("{bucket}-not"), ""), &Env::real()).unwrap();
    let x = name("x");
    let (listed, told) = kind(store.list("", None, 1).await);
    assert_eq!(listed, ErrorKind::Denied, "{told}");
    assert!(told.contains("no bucket"), "{told}");
    assert_eq!(kind(store.get(&x, 0..1).await).0, ErrorKind::Denied);
    assert_eq!(kind(store.head(&x).await).0, ErrorKind::Denied);
    assert_eq!(kind(store.put_new(&x, Vec::new()).await).0, ErrorKind::Denied);
}

#[tokio::test]
async fn wrong_credentials_are_named() {
    let Some((_, bucket)) = store("wrongkeys", "").await else { return };
    let with = |key: &'static str, value: &'static str| {
        let lookup = move |n: &str| if n == key { Some(value.to_owned()) } else { lookup(n) };
        let config = S3Config::from_env(lookup, &bucket, "").unwrap();
        S3::new(config, &Env::real()).unwrap()
    };
    let secret = with("AWS_SECRET_ACCESS_KEY", "not-the-secret-key");
    let (denied, told) = kind(secret.list("", None, 1).await);
    assert_eq!(denied, ErrorKind::Denied, "{told}");
    assert!(told.contains("AWS_SECRET_ACCESS_KEY"), "{told}");
    assert!(!told.contains("not-the-secret-key"), "{told}");
    assert_eq!(kind(secret.head(&name("x")).await).0, ErrorKind::Denied);
    let (denied, told) = kind(with("AWS_ACCESS_KEY_ID", "NOBODY").list("", None, 1).await);
    assert_eq!(denied, ErrorKind::Denied, "{told}");
    assert!(told.contains("AWS_ACCESS_KEY_ID"), "{told}");
}

#[tokio::test]
async fn tls_against_its_plain_port_is_named() {
    let Some((_, bucket)) = store("plain", "").await else { return };
    let Some(rest) = std::env::var(ENDPOINT).unwrap().strip_prefix("http://").map(str::to_owned)
    else {
        return;
    };
    let https = move |n: &str| match n {
        "AWS_ENDPOINT_URL_S3" => Some(format!("https://{rest}")),
        _ => lookup(n),
    };
    let store = S3::new(S3Config::from_env(https, &bucket, "").unwrap(), &Env::real()).unwrap();
    let (denied, told) = kind(store.list("", None, 1).await);
    assert_eq!(denied, ErrorKind::Denied, "{told}");
}
