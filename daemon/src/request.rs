//! One HTTP/1.1 GET to a server's admin address.

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
    let failed = |e: std::io::Error| format!("no answer from a server at {admin}: {e}");
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("that is no HTTP server")?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_string()),
        status => Err(format!("{admin}{path}: status {}", status.unwrap_or("none"))),
    }
}
