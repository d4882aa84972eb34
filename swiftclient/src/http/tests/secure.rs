//! TLS: whom to trust, and what to say when nobody is.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server for `localhost`, its certificate signed by an authority of its own.
struct Authority {
    dir: tempfile::TempDir,
    acceptor: TlsAcceptor,
}

impl Authority {
    fn new(host: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        let name = format!("authority {}", NUMBER.fetch_add(1, Ordering::SeqCst));
        ca.distinguished_name.push(rcgen::DnType::CommonName, name);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Self { dir, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    async fn server(&self) -> Server {
        let acceptor = self.acceptor.clone();
        Server::new(move |tcp, _| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else { return };
                while let Some((head, seen)) = head(&mut tls).await {
                    let len = head.split("content-length: ").nth(1);
                    let len = len.map_or(0, |l| l.split("\r\n").next().unwrap().parse().unwrap());
                    let sent = body(&mut tls, seen, len).await;
                    let echo = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n");
                    answer(&mut tls, &[echo.as_bytes(), &sent].concat()).await;
                }
            }
        })
        .await
    }

    fn client(&self) -> HttpClient {
        let extra_ca = Some(self.dir.path().join("ca.pem"));
        HttpClient::new(&HttpConfig { extra_ca, ..config() }).unwrap()
    }
}

fn to(server: &Server, scheme: &str, body: Body) -> Request<Body> {
    let uri = format!("{scheme}://localhost:{}/", server.address.port());
    Request::put(uri).body(body).unwrap()
}

#[tokio::test]
async fn an_own_authority_is_trusted_once_its_file_is_named() {
    let authority = Authority::new("localhost");
    let server = authority.server().await;
    let client = authority.client();
    let sent = Bytes::from((0..1_000_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    for len in [4_000_000, 1, 0] {
        let body = Body::Pieces(vec![sent.slice(..len / 2), sent.slice(len / 2..len)]);
        let reply = client.call(to(&server, "https", body), 5_000_000).await.unwrap();
        assert!(reply.body() == &sent.slice(..len), "{len} bytes came back as others");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_unknown_authority_is_refused_and_the_setting_named() {
    let server = Authority::new("localhost").server().await;
    let stranger = Authority::new("localhost").client();
    let plain = HttpConfig { ca_setting: "AWS_CA_BUNDLE", ..config() };
    for client in [HttpClient::new(&plain).unwrap(), stranger] {
        let put = to(&server, "https", Body::from(Bytes::from_static(b"x")));
        let error = client.call(put, 100).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (HttpErrorKind::Refused, false), "{error}");
        let named = error.reason.contains("AWS_CA_BUNDLE") || error.reason.contains("the CA file");
        assert!(named, "{error}");
        assert_eq!(error.into_store("put x", true).kind(), ErrorKind::Denied);
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new("store.example");
    let server = authority.server().await;
    let error = authority.client().call(to(&server, "https", Body::Empty), 1).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Refused, false), "{error}");
}

#[tokio::test]
async fn plain_http_against_tls_says_https() {
    let authority = Authority::new("localhost");
    let server = authority.server().await;
    let error = authority.client().call(to(&server, "http", Body::Empty), 1).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Refused, "{error}");
    assert!(error.reason.contains("https://"), "{error}");
}

#[tokio::test]
async fn tls_against_plain_http_says_http() {
    // As plain servers answer to a handshake.
    let server = Server::new(|mut tcp, _| async move {
        let mut hello = [0; 64];
        let _ = tcp.read(&mut hello).await;
        answer(&mut tcp, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    })
    .await;
    let error = client().call(to(&server, "https", Body::Empty), 1).await.unwrap_err();
    assert_eq!((error.kind, error.sent), (HttpErrorKind::Refused, false), "{error}");
    assert!(error.reason.contains("http://"), "{error}");
}

#[tokio::test]
async fn a_ca_file_that_is_none_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    for text in
        [None, Some(""), Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")]
    {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let config =
            HttpConfig { extra_ca: Some(file.clone()), ca_setting: "AWS_CA_BUNDLE", ..config() };
        let error = HttpClient::new(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("AWS_CA_BUNDLE"), "{error}");
    }
}
