use super::*;

fn with(variables: &[(&str, &str)], bucket: &str) -> Result<S3Config, StoreError> {
    let find = |name: &str| {
        variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
    };
    S3Config::from_env(find, bucket, "/a/b/")
}

fn base(variables: &[(&str, &str)], bucket: &str) -> String {
    let (scheme, authority, path) = with(variables, bucket).unwrap().base().unwrap();
    format!("{scheme}://{authority}{path}")
}

#[test]
fn the_environment_says_where_the_bucket_is() {
    for (variables, bucket, want) in [
        (&[][..], "b", "https://b.s3.us-east-1.amazonaws.com"),
        (&[("AWS_DEFAULT_REGION", "eu-west-1")], "b", "https://b.s3.eu-west-1.amazonaws.com"),
        (
            &[("AWS_REGION", "eu-west-1"), ("AWS_DEFAULT_REGION", "x")],
            "b",
            "https://b.s3.eu-west-1.amazonaws.com",
        ),
        (&[("AWS_REGION", "cn-north-1")], "b", "https://b.s3.cn-north-1.amazonaws.com.cn"),
        // The certificate is for one part before the host, not two.
        (&[], "my.b", "https://s3.us-east-1.amazonaws.com/my.b"),
        (&[("AWS_ENDPOINT_URL", "http://h:9000")], "b", "http://h:9000/b"),
        (&[("AWS_ENDPOINT_URL", "http://h:9000/")], "b", "http://h:9000/b"),
        (&[("AWS_ENDPOINT_URL", "https://h/s3/")], "b", "https://h/s3/b"),
        (
            &[("AWS_ENDPOINT_URL", "http://no"), ("AWS_ENDPOINT_URL_S3", "https://yes")],
            "b",
            "https://yes/b",
        ),
        (&[("AWS_ENDPOINT_URL", "")], "b", "https://b.s3.us-east-1.amazonaws.com"),
        (
            &[("AWS_ENDPOINT_URL", "http://h:90"), ("ESKER_S3_ADDRESSING", "host")],
            "b",
            "http://b.h:90",
        ),
        (&[("ESKER_S3_ADDRESSING", "path")], "b", "https://s3.us-east-1.amazonaws.com/b"),
    ] {
        assert_eq!(base(variables, bucket), want, "{variables:?}");
    }
    let config = with(&[("AWS_CA_BUNDLE", "/ca.pem")], "b").unwrap();
    assert_eq!(config.extra_ca.as_deref(), Some(std::path::Path::new("/ca.pem")));
    assert_eq!(config.prefix, "a/b");
}

#[test]
fn what_is_wrong_in_it_is_named() {
    for (variable, value) in [
        ("AWS_ENDPOINT_URL", "h:9000"),
        ("AWS_ENDPOINT_URL", "ftp://h"),
        ("AWS_ENDPOINT_URL_S3", "http://h?x=y"),
        ("AWS_ENDPOINT_URL", "http://"),
        ("AWS_REGION", "eu west"),
        ("ESKER_S3_ADDRESSING", "both"),
    ] {
        let (invalid, told) = kind(with(&[(variable, value)], "b"));
        assert_eq!(invalid, ErrorKind::Invalid);
        assert!(told.contains(variable), "{told}");
    }
}

#[test]
fn secrets_are_in_no_error_and_no_debug_text() {
    let (_, told) = kind(with(&[("AWS_ENDPOINT_URL", "http://user:hunter2@h")], "b"));
    assert!(!told.contains("hunter2"), "{told}");
    let keys = [("AWS_SECRET_ACCESS_KEY", "hunter2"), ("AWS_SESSION_TOKEN", "hunter3")];
    let text = format!("{:?}", with(&keys, "b").unwrap());
    assert!(!text.contains("hunter"), "{text}");
}

#[test]
fn keys_are_names_below_the_prefix() {
    let config = with(&[], "b").unwrap();
    assert_eq!(config.key("seg/1"), "a/b/seg/1");
    assert_eq!(config.name("a/b/seg/1"), Some("seg/1"));
    for foreign in ["a/bseg/1", "seg/1", "a/b", "a/c/x"] {
        assert_eq!(config.name(foreign), None, "{foreign}");
    }
}
