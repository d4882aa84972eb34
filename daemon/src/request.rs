//! One HTTP/1.1 request to a server's admin address.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer, bytes.
const ANSWER_BYTES: u64 = 16 << 20;

/// The body of `path`, or what went wrong.
pub fn get(admin: SocketAddr, path: &str) -> Result<String, String> {
    get_within(admin, path, PATIENCE)
}

/// The same of an answer that may take `patience`.
pub fn get_within(admin: SocketAddr, path: &str, patience: Duration) -> Result<String, String> {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    ask(admin, path, head.as_bytes(), patience)
}

/// Sends `body` to `path`, and waits for the answer for `patience`.
pub fn post(
    admin: SocketAddr,
    path: &str,
    body: &[u8],
    patience: Duration,
) -> Result<String, String> {
    let length = body.len();
    let mut message = format!(
        "POST {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes();
    message.extend_from_slice(body);
    ask(admin, path, &message, patience)
}

fn ask(
    admin: SocketAddr,
    path: &str,
    message: &[u8],
    patience: Duration,
) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("no answer from a server at {admin}: {e}");
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(patience)).map_err(failed)?;
    stream.write_all(message).map_err(failed)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("that is no HTTP server")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_string()),
        // The server's own words say more than its status.
        Some(_) if !body.trim().is_empty() => Err(body.trim().to_string()),
        status => Err(format!("{admin}{path}: status {}", status.unwrap_or("none"))),
    }
}
