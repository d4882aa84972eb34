use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{ErrorKind, ObjectName, ObjectStore, StoreError, http::HttpConfig, seam::Env};

mod config;
mod identity;
mod lies;
mod refusals;
mod requests;

/// A request as it came.
#[derive(Clone, Debug, Default)]
struct Seen {
    method: String,
    /// Path and query.
    target: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What a fake answers: status line and headers, and a body.
#[derive(Clone)]
struct Said(String, Vec<u8>);

fn say(status: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Said {
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    Said(head, body.into())
}

fn refuse(status: &str, code: &str) -> Said {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>because</Message><Resource>/b/k</Resource><RequestId>1</RequestId></Error>"
    );
    say(status, &[("content-type", "application/xml")], body)
}

type Answers = Arc<dyn Fn(&Seen) -> Said + Send + Sync>;

/// An HTTP server that says what it is told to and remembers what it was asked.
struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    async fn new(answers: impl Fn(&Seen) -> Said + Send + Sync + 'static) -> Self {
        Self::with(answers, false).await
    }

    /// Each connection is one answer behind: its second request gets what its first got, its third
    /// what the second was to get.
    async fn one_behind(answers: impl Fn(&Seen) -> Said + Send + Sync + 'static) -> Self {
        Self::with(answers, true).await
    }

    async fn with(answers: impl Fn(&Seen) -> Said + Send + Sync + 'static, behind: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (kept, answers): (_, Answers) = (Arc::clone(&seen), Arc::new(answers));
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(tcp, Arc::clone(&kept), Arc::clone(&answers), behind));
            }
        });
        Self { address, seen, task }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn config(&self, prefix: &str) -> S3Config {
        let url = self.url();
        S3Config::from_env(move |name| variable(name, &url), "bucket", prefix).unwrap()
    }

    fn store(&self) -> S3 {
        self.store_below("")
    }

    fn store_below(&self, prefix: &str) -> S3 {
        let idle_timeout = Duration::from_secs(2);
        let http = HttpConfig { idle_timeout, ..HttpConfig::default() };
        S3::with_http(self.config(prefix), &Env::simulated(1), &http).unwrap()
    }
}

fn variable(name: &str, url: &str) -> Option<String> {
    match name {
        "AWS_ENDPOINT_URL" => Some(url.to_owned()),
        "AWS_ACCESS_KEY_ID" => Some("AKIDEXAMPLE".to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
        _ => None,
    }
}

async fn serve(mut tcp: TcpStream, seen: Arc<Mutex<Vec<Seen>>>, answers: Answers, behind: bool) {
    let (mut buffer, mut before) = (Vec::new(), None);
    loop {
        let Some(request) = request(&mut tcp, &mut buffer).await else { return };
        let mut said = answers(&request);
        if behind {
            let own = said.clone();
            said = before.replace(own).unwrap_or(said);
        }
        let Said(mut head, body) = said;
        let quiet = request.method == "HEAD" || head.contains("content-length:");
        seen.lock().push(request.clone());
        if !quiet {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let body = if request.method == "HEAD" { Vec::new() } else { body };
        if tcp.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
            return;
        }
        if head.contains("connection: close") {
            return;
        }
    }
}

async fn request(tcp: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let mut piece = vec![0; 1 << 16];
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        match tcp.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => buffer.extend_from_slice(&piece[..n]),
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let len: usize = headers.get("content-length").map_or(0, |l| l.parse().unwrap());
    while buffer.len() < len {
        match tcp.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => buffer.extend_from_slice(&piece[..n]),
        }
    }
    let body = buffer.drain(..len).collect();
    Some(Seen { method, target, headers, body })
}

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn md5_hex(bytes: &[u8]) -> String {
    use md5::Digest;
    md5::Md5::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn crc_base64(bytes: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(crc_fast::crc32_iscsi(bytes).to_be_bytes())
}

/// Stores nothing, says what an honest store says to a put.
fn honest_put(seen: &Seen) -> Said {
    say("200 OK", &[("etag", &format!("\"{}\"", md5_hex(&seen.body)))], "")
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> (ErrorKind, String) {
    let error = outcome.unwrap_err();
    (error.kind(), error.to_string())
}
