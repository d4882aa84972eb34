use std::time::Duration;

use super::{
    super::keystone::{Granted, granted, request},
    fake::{Answer, Fake},
};
use crate::{
    ObjectName, ObjectStore, StoreError,
    swift::{Credential, Domain, Named, Secret},
};

fn document(credential: &Credential) -> String {
    String::from_utf8(request(credential).unwrap()).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret(text.into())
}

/// The API reference's own examples, white space taken out.
#[test]
fn documents_are_the_references() {
    let user = Named::Id("ee4dfb6e5540447cb3741905149d9b6e".into());
    let project = Named::Id("a6944d763bf64ee6a275f1263fae0352".into());
    let by_id =
        Credential::Password { user: user.clone(), password: secret("devstacker"), project };
    assert_eq!(
        document(&by_id),
        r#"{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"ee4dfb6e5540447cb3741905149d9b6e","password":"devstacker"}}},"scope":{"project":{"id":"a6944d763bf64ee6a275f1263fae0352"}}}}"#
    );
    let by_name = Credential::Password {
        user: Named::Name("admin".into(), Domain::Name("Default".into())),
        password: secret(r#"de"v\"#),
        project: Named::Name("demo".into(), Domain::Id("default".into())),
    };
    assert_eq!(
        document(&by_name),
        r#"{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"name":"Default"},"password":"de\"v\\"}}},"scope":{"project":{"name":"demo","domain":{"id":"default"}}}}}"#
    );
    let application = Credential::ApplicationId {
        id: "423f19a4ac1e4f48bbb4180756e6eb6c".into(),
        secret: secret("rEaqvJka48mpv"),
    };
    assert_eq!(
        document(&application),
        r#"{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"id":"423f19a4ac1e4f48bbb4180756e6eb6c","secret":"rEaqvJka48mpv"}}}}"#
    );
    let named =
        Credential::ApplicationName { name: "monitoring".into(), user, secret: secret("s") };
    assert_eq!(
        document(&named),
        r#"{"auth":{"identity":{"methods":["application_credential"],"application_credential":{"name":"monitoring","user":{"id":"ee4dfb6e5540447cb3741905149d9b6e"},"secret":"s"}}}}"#
    );
}

fn answer(catalog: &str) -> Vec<u8> {
    format!(
        r#"{{"token":{{"methods":["password"],"expires_at":"2026-03-01T00:59:59.000000Z",
        "issued_at":"2026-02-28T23:59:59.123456Z","catalog":[{catalog}]}}}}"#
    )
    .into_bytes()
}

const OBJECT_STORE: &str = r#"{"type":"identity","name":"keystone","endpoints":[]},
    {"type":"object-store","name":"swift","id":"1","endpoints":[
     {"id":"a","interface":"admin","region":"one","region_id":"one","url":"http://a/v1"},
     {"id":"b","interface":"public","region":"one","region_id":"one","url":"http://b/v1/AUTH_1"},
     {"id":"c","interface":"public","region":"two","region_id":"two","url":"http://c/v1/AUTH_1"}]}"#;

#[test]
fn the_catalog_is_searched_by_interface_and_region() {
    let body = answer(OBJECT_STORE);
    let url = |interface, region| {
        granted(&body, interface, region).map(|g| g.storage_url.unwrap().to_string())
    };
    assert_eq!(url("public", None).unwrap(), "http://b/v1/AUTH_1");
    assert_eq!(url("public", Some("two")).unwrap(), "http://c/v1/AUTH_1");
    assert_eq!(url("admin", Some("one")).unwrap(), "http://a/v1");
    let error = url("admin", Some("two")).unwrap_err();
    assert!(error.contains("OS_REGION_NAME") && error.contains("public in two"), "{error}");
    // One hour between issue and expiry, across the end of February.
    assert_eq!(granted(&body, "public", None).unwrap().life, Some(Duration::from_secs(3600)));
    let none = granted(&answer(""), "public", None).unwrap();
    assert_eq!(none, Granted { storage_url: None, life: Some(Duration::from_secs(3600)) });
    assert!(granted(b"<html>", "public", None).unwrap_err().contains("no token document"));
    // Leap day and year's end.
    for (issued, expires, want) in [
        ("2024-02-28T23:00:00Z", "2024-03-01T01:00:00Z", Some(26 * 3600)),
        ("2025-12-31T23:59:59.9Z", "2026-01-01T00:00:00.0Z", Some(1)),
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", None),
        ("yesterday", "2026-01-01T00:00:00Z", None),
    ] {
        let body = format!(r#"{{"token":{{"issued_at":"{issued}","expires_at":"{expires}"}}}}"#);
        let life = granted(body.as_bytes(), "public", None).unwrap().life;
        assert_eq!(life, want.map(Duration::from_secs), "{issued} {expires}");
    }
}

/// From the variables to an object, past a Keystone that compares what it is sent byte for byte.
#[tokio::test]
async fn a_token_of_keystone_opens_the_store() {
    let fake = Fake::start().await;
    let base = format!("http://{}", fake.address);
    let storage = format!("{base}/v1/A");
    let catalog = format!(
        r#"{{"type":"object-store","endpoints":[{{"interface":"internal","url":"{storage}"}}]}}"#
    );
    let document = concat!(
        r#"{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"u","#,
        r#""domain":{"name":"ud"},"password":"pw"}}},"#,
        r#""scope":{"project":{"name":"pr","domain":{"id":"pd"}}}}}"#
    );
    fake.world.lock().tokens.insert("keystone-1".into());
    fake.rule(move |seen| {
        (seen.path == "/identity/v3/auth/tokens").then(|| {
            let right = seen.line() == "POST /identity/v3/auth/tokens"
                && seen.header("content-type") == "application/json"
                && seen.header("x-auth-token").is_empty()
                && seen.body == document.as_bytes();
            if !right {
                return Answer::new(401).body("{\"error\":{\"message\":\"no\"}}");
            }
            Answer::new(201).header("X-Subject-Token", "keystone-1").body(answer(&catalog))
        })
    });
    let url = format!("{base}/identity");
    let mut variables = vec![
        ("OS_AUTH_URL", url.as_str()),
        ("OS_USERNAME", "u"),
        ("OS_USER_DOMAIN_NAME", "ud"),
        ("OS_PASSWORD", "pw"),
        ("OS_PROJECT_NAME", "pr"),
        ("OS_PROJECT_DOMAIN_ID", "pd"),
        ("OS_INTERFACE", "internalURL"),
    ];
    let store = fake.store_of(&variables);
    let name = ObjectName::new("volume").unwrap();
    store.put_new(&name, vec!["bytes".into()]).await.unwrap();
    assert_eq!(store.get(&name, 0..9).await.unwrap(), "bytes");
    // Without that interface in the catalog, with another password.
    variables[6] = ("OS_INTERFACE", "public");
    let error = fake.store_of(&variables).head(&name).await.unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("OS_INTERFACE"), "{error}");
    variables[3] = ("OS_PASSWORD", "other");
    let error = fake.store_of(&variables).head(&name).await.unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert!(error.to_string().contains("OS_PASSWORD"), "{error}");
}
