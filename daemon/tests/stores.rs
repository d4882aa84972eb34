//! What `esker serve` says at a start on a network store that cannot be used: what is wrong, and what
//! to do. Each store here is a few lines that answer as the real ones do; docs/troubleshooting.md has
//! the same list for operators.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)] // tests
#[allow(dead_code)] // each test program uses its part
mod lab;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use lab::{ports, refusal};

/// What a fake store answers to a request line: status line, headers, body.
type Answer = fn(&str) -> (&'static str, &'static str, Vec<u8>);

/// Serves connections until the process ends; gives its port.
fn listen(serve: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    port
}

/// Answers requests on `stream` until it closes.
fn talk(stream: impl Read + Write, answer: Answer) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut header, mut length) = (String::new(), String::new(), 0);
        match stream.read_line(&mut line) {
            Ok(0) => return,
            Ok(_) => {}
            Err(_) => {
                // No text: what servers in the clear say to a TLS handshake.
                let _ = stream.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                return;
            }
        }
        loop {
            header.clear();
            if stream.read_line(&mut header).unwrap_or(0) == 0 {
                return;
            }
            let lower = header.to_ascii_lowercase();
            if let Some(n) = lower.strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let (status, headers, body) = answer(&line);
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n");
        let bytes = if line.starts_with("HEAD") { Vec::new() } else { body };
        let sent = stream.get_mut().write_all(head.as_bytes());
        if sent.and_then(|()| stream.get_mut().write_all(&bytes)).is_err() {
            return;
        }
    }
}

fn http(answer: Answer) -> u16 {
    listen(move |stream| talk(stream, answer))
}

/// An S3 error document.
fn s3_error(code: &str, more: &str) -> Vec<u8> {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
         <Message>as the store says it</Message>{more}</Error>"
    )
    .into_bytes()
}

/// `esker serve s3://bucket/p` against `endpoint`.
fn s3(endpoint: &str) -> Command {
    let mut command = lab::serve("s3://bucket/p", ports());
    command
        .env("AWS_ENDPOINT_URL", endpoint)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "hunter2-secret")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent");
    command
}

/// What it says to a store that answers so; never the secret.
fn s3_refusal(answer: Answer) -> String {
    let port = http(answer);
    let said = refusal(&mut s3(&format!("http://127.0.0.1:{port}")));
    assert!(!said.contains("hunter2"), "{said}");
    said
}

/// Every one of `words` must be in `said`.
fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn s3_credentials() {
    let said = s3_refusal(|_| ("403 Forbidden", "", s3_error("SignatureDoesNotMatch", "")));
    says(&said, &["s3://bucket/p", "AWS_SECRET_ACCESS_KEY"]);
    let said = s3_refusal(|_| ("403 Forbidden", "", s3_error("InvalidAccessKeyId", "")));
    says(&said, &["AWS_ACCESS_KEY_ID"]);
    let said = s3_refusal(|_| ("400 Bad Request", "", s3_error("ExpiredToken", "")));
    says(&said, &["expired", "renew"]);
    let mut none = s3("http://127.0.0.1:9");
    none.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    says(&refusal(&mut none), &["no credentials", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"]);
}

#[test]
fn s3_places() {
    let said = s3_refusal(|_| ("404 Not Found", "", s3_error("NoSuchBucket", "")));
    says(&said, &["there is no bucket bucket", "create it"]);
    let region = |_: &str| {
        let more = "<Region>eu-west-1</Region>";
        ("400 Bad Request", "", s3_error("AuthorizationHeaderMalformed", more))
    };
    says(&s3_refusal(region), &["eu-west-1", "AWS_REGION=eu-west-1"]);
    let said = s3_refusal(|_| {
        let headers = "x-amz-bucket-region: eu-north-1\r\n";
        ("301 Moved Permanently", headers, s3_error("PermanentRedirect", ""))
    });
    says(&said, &["AWS_REGION=eu-north-1"]);
    let said = s3_refusal(|_| ("404 Not Found", "", b"<html>nginx</html>".to_vec()));
    says(&said, &["does not answer as an S3 store", "AWS_ENDPOINT_URL"]);
}

#[test]
fn s3_clock() {
    let said = s3_refusal(|_| {
        let more = "<ServerTime>2031-02-03T04:05:06Z</ServerTime>";
        ("403 Forbidden", "", s3_error("RequestTimeTooSkewed", more))
    });
    says(&said, &["clock", "2031-02-03T04:05:06Z", "NTP"]);
}

/// Who may not list gets 403 for what is absent: nothing can be concluded from it, so nothing is.
#[test]
fn s3_rights() {
    let said = s3_refusal(|_| ("403 Forbidden", "", s3_error("AccessDenied", "")));
    says(&said, &["s3:GetObject", "s3:ListBucket"]);
    let said = s3_refusal(|line| match line {
        line if line.contains("list-type") => ("403 Forbidden", "", s3_error("AccessDenied", "")),
        _ => ("404 Not Found", "", s3_error("NoSuchKey", "")),
    });
    says(&said, &["s3:ListBucket"]);
}

#[test]
fn s3_holds_something_else() {
    fn listing(keys: &str) -> Vec<u8> {
        format!("<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>")
            .into_bytes()
    }
    // A name that could be an object's, and one that could not: the store shows only the first.
    let said = s3_refusal(|line| match line {
        line if line.contains("list-type") => {
            let keys = "<Contents><Key>p/backup.tar</Key></Contents>";
            ("200 OK", "", listing(keys))
        }
        _ => ("404 Not Found", "", s3_error("NoSuchKey", "")),
    });
    says(&said, &["backup.tar", "no volume"]);
    let said = s3_refusal(|line| match line {
        line if line.contains("list-type") => {
            let keys = "<Contents><Key>p/my photos/a b.jpg</Key></Contents>";
            ("200 OK", "", listing(keys))
        }
        line if line.starts_with("GET") || line.starts_with("HEAD") => {
            ("404 Not Found", "", s3_error("NoSuchKey", ""))
        }
        line => panic!("nothing may be written: {line}"),
    });
    says(&said, &["my photos/a b.jpg", "Nothing was written", "s3://bucket/p/NAME"]);
}

/// An object `volume` that is none of ours, or of another version.
#[test]
fn s3_holds_another_format() {
    const ETAG: &str = "ETag: \"x\"\r\n";
    let said = s3_refusal(|_| ("200 OK", ETAG, b"a volume of poems, second edition".to_vec()));
    says(&said, &["object volume"]);
    let said = s3_refusal(|_| {
        let mut bytes = include_bytes!("../../logseg/tests/golden/volume.bin").to_vec();
        bytes[8] = 9;
        ("200 OK", ETAG, bytes)
    });
    says(&said, &["object volume", "version", "9"]);
}

/// A server with a certificate that no authority on this machine has signed; its own in PEM.
fn tls(answer: Answer) -> (u16, String) {
    let (config, pem) = tls_config();
    let port = listen(move |stream| {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        talk(rustls::StreamOwned::new(connection, stream), answer);
    });
    (port, pem)
}

fn tls_config() -> (Arc<rustls::ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let pem = made.cert.pem();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    (Arc::new(config), pem)
}

#[test]
fn tls_that_does_not_fit() {
    let denied: Answer = |_| ("403 Forbidden", "", s3_error("InvalidAccessKeyId", ""));
    let (port, pem) = tls(denied);
    let https = format!("https://127.0.0.1:{port}");
    says(&refusal(&mut s3(&https)), &["authority", "AWS_CA_BUNDLE"]);
    // What the message says helps: the next thing that is wrong is the key.
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("ca.pem");
    std::fs::write(&bundle, pem).unwrap();
    says(&refusal(s3(&https).env("AWS_CA_BUNDLE", &bundle)), &["AWS_ACCESS_KEY_ID"]);
    let missing = Path::new("/nonexistent/ca.pem");
    let said = refusal(s3(&https).env("AWS_CA_BUNDLE", missing));
    says(&said, &["AWS_CA_BUNDLE", "/nonexistent/ca.pem"]);
    // https:// against a server in the clear.
    let clear = http(denied);
    says(
        &refusal(&mut s3(&format!("https://127.0.0.1:{clear}"))),
        &["does not speak TLS", "http://"],
    );
    // http:// against TLS: what servers answer to that in the clear.
    let said = s3_refusal(|_| {
        let body = b"Client sent an HTTP request to an HTTPS server.\n".to_vec();
        ("400 Bad Request", "", body)
    });
    says(&said, &["speaks TLS", "https://"]);
}

/// What many servers do with bytes that they do not understand: they close, without a word. Speaks
/// TLS (`true`) or HTTP to who comes right. Gives its port and how many came wrong.
fn curt(secure: bool, answer: Answer) -> (u16, Arc<AtomicUsize>) {
    let config = tls_config().0;
    let wrong = Arc::new(AtomicUsize::new(0));
    let count = wrong.clone();
    let port = listen(move |stream| {
        let mut first = [0];
        let got = stream.peek(&mut first).unwrap_or(0);
        // The first byte of a TLS handshake record (RFC 8446 §5.1).
        match (got == 1 && first[0] == 0x16, secure) {
            (true, true) => {
                let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                talk(rustls::StreamOwned::new(connection, stream), answer);
            }
            (false, false) => talk(stream, answer),
            _ => {
                count.fetch_add(1, Relaxed);
            }
        }
    });
    (port, wrong)
}

/// The wrong scheme is named at once, also where the server says nothing about it.
#[test]
fn tls_and_plain_http_that_meet_are_told_apart_by_trying() {
    let answer: Answer = |_| ("403 Forbidden", "", s3_error("InvalidAccessKeyId", ""));
    let (port, wrong) = curt(true, answer);
    let said = refusal(&mut s3(&format!("http://127.0.0.1:{port}")));
    says(&said, &["speaks TLS on this port", "https://"]);
    assert!(wrong.load(Relaxed) <= 3, "{wrong:?} tries");
    let (port, wrong) = curt(false, answer);
    let said = refusal(&mut s3(&format!("https://127.0.0.1:{port}")));
    says(&said, &["does not speak TLS on this port", "http://"]);
    assert!(wrong.load(Relaxed) <= 3, "{wrong:?} tries");
    // One that says what TLS servers say: an alert.
    let (port, _) = tls(answer);
    let said = refusal(&mut s3(&format!("http://127.0.0.1:{port}")));
    says(&said, &["speaks TLS on this port", "https://"]);
    let (port, _) = curt(true, |_| ("401 Unauthorized", "", Vec::new()));
    says(&refusal(&mut swift(port)), &["speaks TLS on this port", "https://", "ST_AUTH"]);
    let (port, _) = curt(false, |_| ("401 Unauthorized", "", Vec::new()));
    let mut command = swift(port);
    command.env("ST_AUTH", format!("https://127.0.0.1:{port}/auth/v1.0"));
    says(&refusal(&mut command), &["does not speak TLS on this port", "http://", "ST_AUTH"]);
}

/// `esker serve swift://c/p` with v1 credentials at `port`.
fn swift(port: u16) -> Command {
    let mut command = lab::serve("swift://c/p", ports());
    command
        .env("ST_AUTH", format!("http://127.0.0.1:{port}/auth/v1.0"))
        .env("ST_USER", "test:tester")
        .env("ST_KEY", "hunter2-key")
        .env("HOME", "/nonexistent");
    command
}

fn swift_refusal(answer: Answer) -> String {
    let said = refusal(&mut swift(http(answer)));
    assert!(!said.contains("hunter2"), "{said}");
    said
}

#[test]
fn swift_credentials() {
    let said = swift_refusal(|_| ("401 Unauthorized", "", b"<html>Unauthorized</html>".to_vec()));
    says(&said, &["swift://c/p", "ST_USER", "ST_KEY"]);
    let said = swift_refusal(|_| ("404 Not Found", "", Vec::new()));
    says(&said, &["ST_AUTH"]);
    let mut nothing = lab::serve("swift://c/p", ports());
    says(&refusal(&mut nothing), &["ST_AUTH", "OS_AUTH_URL"]);
    let port = http(|_| ("401 Unauthorized", "", Vec::new()));
    let mut token = lab::serve("swift://c/p", ports());
    token
        .env("OS_AUTH_TOKEN", "hunter2")
        .env("OS_STORAGE_URL", format!("http://127.0.0.1:{port}/v1/AUTH_x"));
    says(&refusal(&mut token), &["OS_AUTH_TOKEN", "expired"]);
}

#[test]
fn swift_rights_and_certificates() {
    // The token is good, and the user may do nothing with it. (The address comes by OS_STORAGE_URL:
    // a fake does not know its own port.)
    let port = http(|line| match line {
        line if line.contains("/auth/v1.0") => {
            let headers = "X-Auth-Token: t\r\nX-Storage-Url: http://127.0.0.1:1/v1/AUTH_x\r\n";
            ("200 OK", headers, Vec::new())
        }
        _ => ("403 Forbidden", "", Vec::new()),
    });
    let storage = format!("http://127.0.0.1:{port}/v1/AUTH_x");
    says(&refusal(swift(port).env("OS_STORAGE_URL", storage)), &["403", "role"]);
    let (secure, _) = tls(|_| ("401 Unauthorized", "", Vec::new()));
    let mut command = swift(secure);
    command.env("ST_AUTH", format!("https://127.0.0.1:{secure}/auth/v1.0"));
    says(&refusal(&mut command), &["OS_CACERT"]);
}

#[test]
fn swift_holds_something_else() {
    let port = http(|line| match line {
        line if line.contains("/auth/v1.0") => {
            let headers = "X-Auth-Token: t\r\nX-Storage-Url: http://127.0.0.1:1/v1/AUTH_x\r\n";
            ("200 OK", headers, Vec::new())
        }
        line if line.starts_with("HEAD /v1/AUTH_x/c/p/volume")
            || line.starts_with("GET /v1/AUTH_x/c/p/volume") =>
        {
            ("404 Not Found", "X-Trans-Id: tx1\r\n", Vec::new())
        }
        line if line.starts_with("HEAD") => ("204 No Content", "", Vec::new()),
        line if line.contains("/c?") => {
            ("200 OK", "", br#"[{"name": "p/my photos/a b.jpg"}]"#.to_vec())
        }
        line if line.starts_with("GET") => ("200 OK", "", b"[]".to_vec()),
        line => panic!("nothing may be written: {line}"),
    });
    let storage = format!("http://127.0.0.1:{port}/v1/AUTH_x");
    let said = refusal(swift(port).env("OS_STORAGE_URL", storage));
    says(&said, &["my photos/a b.jpg", "Nothing was written"]);
}

#[test]
fn a_password_in_the_name_of_a_store_is_not_repeated() {
    for name in ["s3://key:hunter2@bucket/p", "swift://user:hunter2@c"] {
        let said = refusal(&mut lab::serve(name, ports()));
        assert!(!said.contains("hunter2"), "{said}");
        assert!(said.contains("AWS_SECRET_ACCESS_KEY") || said.contains("ST_KEY"), "{said}");
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("esker.toml");
    std::fs::write(&file, "store = 's3://key:hunter2@bucket/p'\n").unwrap();
    let said = refusal(lab::program().args(["serve", "--config"]).arg(&file));
    assert!(!said.contains("hunter2") && said.contains("AWS_SECRET_ACCESS_KEY"), "{said}");
}

#[test]
fn a_journal_needs_a_place() {
    let mut command = lab::serve("s3://bucket/p", ports());
    let said = refusal(command.args(["--durability", "journal"]));
    says(&said, &["--journal DIR", "durability \"store\""]);
}
