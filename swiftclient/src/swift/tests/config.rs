use std::collections::HashMap;

use crate::{
    StoreError,
    swift::{Auth, Credential, Domain, Named, SwiftConfig},
};

fn config(variables: &[(&str, &str)]) -> Result<SwiftConfig, StoreError> {
    let map: HashMap<&str, &str> = variables.iter().copied().collect();
    SwiftConfig::from_env(|name| map.get(name).map(|v| (*v).to_owned()), "c", "p")
}

fn refused(variables: &[(&str, &str)], word: &str) {
    let error = config(variables).unwrap_err().to_string();
    assert!(error.contains(word), "{error}: not a word of {word}");
}

const V1: [(&str, &str); 3] =
    [("ST_AUTH", "https://h/auth/v1.0"), ("ST_USER", "a:u"), ("ST_KEY", "hunter2")];
const V3: [(&str, &str); 4] = [
    ("OS_AUTH_URL", "https://h:5000"),
    ("OS_USERNAME", "u"),
    ("OS_PASSWORD", "hunter2"),
    ("OS_PROJECT_NAME", "proj"),
];

fn with<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    base.iter().chain(more).copied().collect()
}

#[test]
fn each_kind_of_credentials_is_found() {
    let v1 = config(&with(&V1, &V3)).unwrap();
    assert!(matches!(&v1.auth, Auth::V1 { user, .. } if user == "a:u"));
    let v3 = config(&with(&V3, &[("OS_CACERT", "/ca.pem"), ("OS_REGION_NAME", "r")])).unwrap();
    assert_eq!(v3.extra_ca.as_deref(), Some(std::path::Path::new("/ca.pem")));
    let Auth::Keystone { url, credential, region, interface } = &v3.auth else { panic!("{v3:?}") };
    assert_eq!((url.as_str(), interface.as_str()), ("https://h:5000/v3", "public"));
    assert_eq!(region.as_deref(), Some("r"));
    let Credential::Password { user, project, .. } = credential else { panic!("{credential:?}") };
    assert_eq!(*user, Named::Name("u".into(), Domain::Id("default".into())));
    assert_eq!(*project, Named::Name("proj".into(), Domain::Id("default".into())));
    let token = [("OS_AUTH_TOKEN", "t"), ("OS_STORAGE_URL", "https://h/v1/A")];
    assert!(matches!(config(&with(&token, &V1)).unwrap().auth, Auth::Token { .. }));
    let secret = ("OS_APPLICATION_CREDENTIAL_SECRET", "hunter2");
    let id = with(&V3, &[secret, ("OS_APPLICATION_CREDENTIAL_ID", "i")]);
    let auth = config(&id).unwrap().auth;
    assert!(matches!(auth, Auth::Keystone { credential: Credential::ApplicationId { .. }, .. }));
    // An id beats a name; an empty variable is none.
    let ids = [("OS_USER_ID", "7"), ("OS_PROJECT_ID", "8"), ("ST_AUTH", "")];
    let auth = config(&with(&V3, &ids)).unwrap().auth;
    let Auth::Keystone { credential: Credential::Password { user, project, .. }, .. } = auth else {
        panic!()
    };
    assert_eq!((user, project), (Named::Id("7".into()), Named::Id("8".into())));
}

#[test]
fn the_version_of_the_identity_service_is_added() {
    for (given, used) in [
        ("http://h:5000", "http://h:5000/v3"),
        ("http://h:5000/", "http://h:5000/v3"),
        ("http://h/identity", "http://h/identity/v3"),
        ("http://h/identity/v3/", "http://h/identity/v3"),
    ] {
        let auth = config(&with(&V3, &[("OS_AUTH_URL", given)])).unwrap().auth;
        assert!(matches!(&auth, Auth::Keystone { url, .. } if url.as_str() == used), "{auth:?}");
    }
    refused(&with(&V3, &[("OS_AUTH_URL", "http://h/v2.0")]), "/v3");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    refused(&[], "ST_AUTH, ST_USER and ST_KEY");
    refused(&V1[..2], "ST_KEY");
    refused(&[V1[0], V1[2]], "ST_USER");
    refused(&V3[..2], "OS_PASSWORD");
    refused(&V3[..3], "OS_PROJECT_NAME");
    refused(&[V3[0], V3[2], V3[3]], "OS_USERNAME");
    refused(&[("OS_AUTH_TOKEN", "t")], "OS_STORAGE_URL");
    refused(&with(&V3, &[("OS_INTERFACE", "secret")]), "OS_INTERFACE");
    refused(&with(&V1, &[("ST_AUTH", "h/auth")]), "ST_AUTH");
    refused(&with(&V1, &[("ST_AUTH", "ftp://h/auth")]), "http://");
    refused(
        &with(&V3, &[("OS_APPLICATION_CREDENTIAL_SECRET", "s")]),
        "OS_APPLICATION_CREDENTIAL_NAME",
    );
}

#[test]
fn secrets_are_not_shown() {
    let token = [("OS_AUTH_TOKEN", "hunter2"), ("OS_STORAGE_URL", "https://h/v1/A")];
    for variables in [&V1[..], &V3, &token] {
        let shown = format!("{:?}", config(variables).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let inside = with(&V1, &[("ST_AUTH", "https://u:hunter2@h/auth")]);
    let error = config(&inside).unwrap_err().to_string();
    assert!(error.contains("ST_AUTH") && !error.contains("hunter2"), "{error}");
}
