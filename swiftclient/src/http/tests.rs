use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    ErrorKind,
    disk::{Disk, OsDisk},
};

mod breaks;
mod secure;

/// A raw TCP server: `serve` gets each connection with its number, from 0.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn new<F, G>(serve: F) -> Self
    where
        F: Fn(TcpStream, usize) -> G + Send + 'static,
        G: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(tcp, count.fetch_add(1, Ordering::SeqCst)));
            }
        });
        Self { address, accepted, task }
    }

    fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn request(&self, method: Method, body: Body) -> Request<Body> {
        let uri = format!("http://{}/a/b?c=d", self.address);
        Request::builder().method(method).uri(uri).body(body).unwrap()
    }

    fn get(&self) -> Request<Body> {
        self.request(Method::GET, Body::Empty)
    }
}

/// Reads up to and with the empty line; gives the head and what came behind it.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut seen = Vec::new();
    loop {
        if let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = seen.split_off(end + 4);
            return Some((String::from_utf8(seen).unwrap(), rest));
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => seen.extend_from_slice(&piece[..n]),
        }
    }
}

/// Reads `len` bytes, `seen` among them.
async fn body(stream: &mut (impl AsyncRead + Unpin), mut seen: Vec<u8>, len: usize) -> Vec<u8> {
    let have = seen.len();
    seen.resize(len, 0);
    stream.read_exact(&mut seen[have..]).await.unwrap();
    seen
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    // The client may have gone: that is some tests' point.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
}

fn config() -> HttpConfig {
    HttpConfig { idle_timeout: Duration::from_millis(400), ..HttpConfig::default() }
}

fn client() -> HttpClient {
    HttpClient::new(&config()).unwrap()
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Answers every request without a body by `OK`.
async fn polite(mut tcp: TcpStream, _: usize) {
    while head(&mut tcp).await.is_some() {
        answer(&mut tcp, OK).await;
    }
}

#[tokio::test]
async fn a_request_is_sent_in_origin_form_with_its_host() {
    let (heads, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::new(move |mut tcp, _| {
        let heads = heads.clone();
        async move {
            while let Some((head, _)) = head(&mut tcp).await {
                heads.send(head).unwrap();
                answer(&mut tcp, OK).await;
            }
        }
    })
    .await;
    let reply = client().call(server.get(), 100).await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.body(), &b"hello"[..]);
    let head = seen.recv().await.unwrap();
    assert!(head.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", server.address)), "{head}");
}

/// After a wrong answer neither a kept connection serves again, nor one that was lent then.
#[tokio::test]
async fn distrusted_connections_serve_no_more() {
    let server = Server::new(polite).await;
    let client = client();
    client.call(server.get(), 100).await.unwrap();
    let lent = client.send(server.get()).await.unwrap();
    assert!(!lent.first);
    client.call(server.get(), 100).await.unwrap();
    assert_eq!(server.connections(), 2);
    client.distrust();
    lent.collect(100).await.unwrap();
    client.call(server.get(), 100).await.unwrap();
    assert_eq!(server.connections(), 3);
    client.call(server.get(), 100).await.unwrap();
    assert_eq!(server.connections(), 3, "the new one is kept");
    let alone = client.send_by(server.get(), Way::New).await.unwrap();
    assert!(alone.first);
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_two_at_once_take_two() {
    let server = Server::new(polite).await;
    let client = client();
    for _ in 0..20 {
        client.call(server.get(), 100).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
    let (a, b) = (client.send(server.get()).await.unwrap(), client.send(server.get()).await);
    assert_eq!(server.connections(), 2);
    a.collect(100).await.unwrap();
    b.unwrap().collect(100).await.unwrap();
    client.call(server.get(), 100).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn kept_connections_have_a_limit_in_number_and_in_time() {
    let server = Server::new(polite).await;
    let config =
        HttpConfig { idle_connections: 2, idle_keep: Duration::from_millis(100), ..config() };
    let client = HttpClient::new(&config).unwrap();
    let mut replies = Vec::new();
    for _ in 0..5 {
        replies.push(client.send(server.get()).await.unwrap());
    }
    for reply in replies {
        reply.collect(100).await.unwrap();
    }
    assert_eq!(server.connections(), 5);
    let both = (client.send(server.get()).await.unwrap(), client.send(server.get()).await.unwrap());
    assert_eq!(server.connections(), 5, "two are kept");
    let third = client.send(server.get()).await.unwrap();
    assert_eq!(server.connections(), 6, "and not a third");
    for reply in [both.0, both.1, third] {
        reply.collect(100).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.call(server.get(), 100).await.unwrap();
    assert_eq!(server.connections(), 7, "the kept ones were too old");
}

/// Reads one request with a body and gives all its bytes as they were on the wire.
async fn recorder(until: &'static [u8]) -> (Server, tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>) {
    let (bodies, seen) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::new(move |mut tcp, _| {
        let bodies = bodies.clone();
        async move {
            // Nothing at all where the client gave up before its head had left.
            let (head, mut seen) = head(&mut tcp).await.unwrap_or_default();
            let mut piece = vec![0; 1 << 16];
            while ![head.as_bytes(), &seen].concat().ends_with(until) {
                match tcp.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => seen.extend_from_slice(&piece[..n]),
                }
            }
            bodies.send([head.as_bytes(), &seen].concat()).unwrap();
            answer(&mut tcp, OK).await;
        }
    })
    .await;
    (server, seen)
}

#[tokio::test]
async fn pieces_are_one_body_of_known_length() {
    let (server, mut seen) = recorder(b"the end").await;
    let pieces = ["one, ", "", "two, ", "", "the end"];
    let pieces = pieces.into_iter().map(|p| Bytes::from_static(p.as_bytes())).collect();
    let request = server.request(Method::PUT, Body::Pieces(pieces));
    client().call(request, 100).await.unwrap();
    let seen = String::from_utf8(seen.recv().await.unwrap()).unwrap();
    assert!(seen.contains("content-length: 17\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\none, two, the end"), "{seen}");
}

#[tokio::test]
async fn an_empty_body_has_a_length_too() {
    let (server, mut seen) = recorder(b"\r\n\r\n").await;
    let head = |seen: Vec<u8>| String::from_utf8(seen).unwrap();
    for body in [Body::Empty, Body::Pieces(vec![Bytes::new()])] {
        client().call(server.request(Method::PUT, body), 100).await.unwrap();
        let seen = head(seen.recv().await.unwrap());
        assert_eq!(seen.matches("content-length: 0\r\n").count(), 1, "{seen}");
    }
    client().call(server.get(), 100).await.unwrap();
    let seen = head(seen.recv().await.unwrap());
    assert!(!seen.contains("content-length"), "{seen}");
}

#[tokio::test]
async fn a_streamed_body_is_chunked_byte_for_byte() {
    let (server, mut seen) = recorder(b"0\r\n\r\n").await;
    let (sender, body) = Body::channel();
    let client = client();
    let put = tokio::spawn({
        let (request, client) = (server.request(Method::PUT, body), client.clone());
        async move { client.call(request, 100).await }
    });
    sender.send(Bytes::from_static(b"hello")).await.unwrap();
    sender.send(Bytes::new()).await.unwrap();
    sender.send(Bytes::from(vec![b'x'; 20])).await.unwrap();
    sender.finish().await.unwrap();
    put.await.unwrap().unwrap();
    let seen = String::from_utf8(seen.recv().await.unwrap()).unwrap();
    assert!(seen.contains("transfer-encoding: chunked\r\n"), "{seen}");
    assert!(!seen.contains("content-length"), "{seen}");
    let x = "x".repeat(20);
    assert!(seen.ends_with(&format!("\r\n\r\n5\r\nhello\r\n14\r\n{x}\r\n0\r\n\r\n")), "{seen}");
}

#[tokio::test]
async fn a_streamed_body_that_is_given_up_never_ends_whole() {
    let (server, mut seen) = recorder(b"0\r\n\r\n").await;
    let (sender, body) = Body::channel();
    let client = client();
    let put = tokio::spawn({
        let request = server.request(Method::PUT, body);
        async move { client.call(request, 100).await }
    });
    sender.send(Bytes::from_static(b"hello")).await.unwrap();
    drop(sender);
    let error = put.await.unwrap().unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Source, "{error}");
    assert!(!seen.recv().await.unwrap().ends_with(b"0\r\n\r\n"), "it was ended whole");
}

#[tokio::test]
async fn a_slow_sender_is_no_stall() {
    let (server, mut seen) = recorder(b"0\r\n\r\n").await;
    let (sender, body) = Body::channel();
    let client = client();
    let put = tokio::spawn({
        let request = server.request(Method::PUT, body);
        async move { client.call(request, 100).await }
    });
    sender.send(Bytes::from_static(b"hello")).await.unwrap();
    tokio::time::sleep(config().idle_timeout * 2).await;
    sender.send(Bytes::from_static(b"again")).await.unwrap();
    sender.finish().await.unwrap();
    put.await.unwrap().unwrap();
    assert!(seen.recv().await.unwrap().ends_with(b"5\r\nhello\r\n5\r\nagain\r\n0\r\n\r\n"));
}

fn file_of(bytes: &[u8], len: u64) -> (tempfile::TempDir, Body) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    (dir, Body::File(SourceFile { disk, path, len }))
}

#[tokio::test]
async fn a_file_is_sent_by_its_first_bytes() {
    let mut bytes: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    bytes.truncate(2_345_678);
    bytes[2_222_222 - 4..2_222_222].copy_from_slice(b"<<<<");
    let (server, mut seen) = recorder(b"<<<<").await;
    let (_dir, body) = file_of(&bytes, 2_222_222);
    client().call(server.request(Method::PUT, body), 100).await.unwrap();
    let seen = seen.recv().await.unwrap();
    assert!(seen.ends_with(&bytes[..2_222_222]));
    let head = String::from_utf8_lossy(&seen[..seen.len() - 2_222_222]).into_owned();
    assert!(head.contains("content-length: 2222222\r\n"), "{head}");
}

#[tokio::test]
async fn a_file_that_is_too_short_or_missing_is_the_senders_fault() {
    let (server, mut seen) = recorder(b"never").await;
    let (_dir, body) = file_of(&[7; 300_000], 300_001);
    let error = client().call(server.request(Method::PUT, body), 100).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Source, "{error}");
    assert!(error.reason.contains("ends at"), "{error}");
    let error = error.into_store("put x", true);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(seen.recv().await.unwrap().len() < 300_300);
    let (dir, body) = file_of(b"", 5);
    drop(dir);
    let error = client().call(server.request(Method::PUT, body), 100).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Source, "{error}");
}

#[tokio::test]
async fn addresses_that_are_none_are_invalid() {
    for uri in ["ftp://127.0.0.1/x", "/only/a/path", "127.0.0.1:80"] {
        let request = Request::builder().uri(uri).body(Body::Empty).unwrap();
        let error = client().call(request, 1).await.unwrap_err();
        assert_eq!((error.kind, error.sent), (HttpErrorKind::Invalid, false), "{error}");
    }
}
