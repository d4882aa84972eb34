//! HTTP/1.1 as bytes (RFC 9112): heads, and bodies by length, in chunks, or until the end.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest head, bytes.
pub const HEAD_BYTES: usize = 64 << 10;
/// Most that is passed on in one piece, bytes.
pub const PIECE_BYTES: usize = 64 << 10;

/// First line and header fields of a request or an answer.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The first line, without its end.
    pub line: String,
    /// Names as they came, and values.
    pub fields: Vec<(String, String)>,
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Head {
    /// Reads a head that ends in an empty line.
    pub fn parse(text: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(text).map_err(|_| wrong("a head that is no text"))?;
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter(|l| !l.is_empty())
            .map(|l| {
                let (name, value) =
                    l.split_once(':').ok_or_else(|| wrong("a field without ':'"))?;
                Ok((name.to_owned(), value.trim().to_owned()))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { line, fields })
    }

    /// An answer without a body.
    pub fn answer(status: u16, reason: &str) -> Self {
        Self { line: format!("HTTP/1.1 {status} {reason}"), fields: Vec::new() }
    }

    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, v)| v.as_str())
    }

    /// Sets a field, in place of all of that name.
    #[allow(clippy::needless_pass_by_value)] // texts and numbers
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.remove(name);
        self.fields.push((name.to_owned(), value.to_string()));
    }

    /// Takes a field away.
    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// The head as bytes.
    pub fn encode(&self) -> Bytes {
        let mut text = self.line.clone();
        for (name, value) in &self.fields {
            text.push_str("\r\n");
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
        }
        text.push_str("\r\n\r\n");
        Bytes::from(text)
    }

    /// Method of a request.
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// Target of a request: path and query.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// Path of a request.
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// Query of a request, as it is written.
    pub fn query(&self) -> &str {
        self.target().split_once('?').map_or("", |(_, q)| q)
    }

    /// False for what stands between answers and is none, such as a last chunk too many.
    pub fn is_answer(&self) -> bool {
        self.line.starts_with("HTTP/")
    }

    /// Status of an answer.
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    /// True where the connection ends after this message.
    pub fn closes(&self) -> bool {
        let said = self.field("connection").map(str::to_ascii_lowercase);
        match said.as_deref() {
            Some("close") => true,
            Some("keep-alive") => false,
            _ => self.line.contains("HTTP/1.0"),
        }
    }

    fn chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked"))
    }

    /// Length of the body where it is said.
    pub fn length(&self) -> Option<u64> {
        self.field("content-length")?.parse().ok()
    }

    /// How the body of this request is framed.
    pub fn request_body(&self) -> Body {
        match (self.chunked(), self.length()) {
            (true, _) => Body::Chunked(Chunk::Size),
            (_, Some(n)) => Body::Length(n),
            _ => Body::Length(0),
        }
    }

    /// How the body of this answer to `method` is framed (RFC 9112 §6.3).
    pub fn answer_body(&self, method: &str) -> Body {
        let status = self.status();
        if method == "HEAD" || status / 100 == 1 || status == 204 || status == 304 {
            return Body::Length(0);
        }
        match (self.chunked(), self.length()) {
            (true, _) => Body::Chunked(Chunk::Size),
            (_, Some(n)) => Body::Length(n),
            _ => Body::ToEnd,
        }
    }
}

/// Where the reader of a chunked body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Before a chunk's size.
    Size,
    /// Within a chunk: bytes left.
    Data(u64),
    /// Behind the last chunk.
    Done,
}

/// What of a body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// All until the connection ends.
    ToEnd,
}

/// One direction of a connection, read through a buffer.
pub struct Source<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Source<R> {
    /// Reads from `from`.
    pub fn new(from: R) -> Self {
        Self { from, buffer: BytesMut::new() }
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> io::Result<bool> {
        self.buffer.reserve(PIECE_BYTES);
        Ok(self.from.read_buf(&mut self.buffer).await? > 0)
    }

    fn early() -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a message")
    }

    /// The next head; `None` where the connection ends before one. Gives its length in bytes too.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let mut looked = 0;
        loop {
            let found = self.buffer[looked..].windows(4).position(|w| w == b"\r\n\r\n");
            if let Some(at) = found {
                let text = self.buffer.split_to(looked + at + 4);
                return Head::parse(&text[..text.len() - 4]).map(Some);
            }
            looked = self.buffer.len().saturating_sub(3);
            if self.buffer.len() > HEAD_BYTES {
                return Err(wrong("a head that is too long"));
            }
            if !self.more().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(Self::early()) };
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let text = self.buffer.split_to(at + 2);
                return Ok(String::from_utf8_lossy(&text[..at]).into_owned());
            }
            if self.buffer.len() > HEAD_BYTES || !self.more().await? {
                return Err(Self::early());
            }
        }
    }

    /// Up to `most` bytes; empty at the end of the connection.
    async fn some(&mut self, most: u64) -> io::Result<Bytes> {
        if self.buffer.is_empty() && !self.more().await? {
            return Ok(Bytes::new());
        }
        let n = usize::try_from(most).unwrap_or(usize::MAX).min(self.buffer.len());
        Ok(self.buffer.split_to(n.min(PIECE_BYTES)).freeze())
    }

    /// The next piece of payload, at most [`PIECE_BYTES`]; `None` at the body's end.
    pub async fn piece(&mut self, body: &mut Body) -> io::Result<Option<Bytes>> {
        loop {
            match body {
                Body::Length(0) | Body::Chunked(Chunk::Done) => return Ok(None),
                Body::ToEnd => {
                    let got = self.some(u64::MAX).await?;
                    return Ok((!got.is_empty()).then_some(got));
                }
                Body::Length(left) | Body::Chunked(Chunk::Data(left)) if *left > 0 => {
                    let got = self.some(*left).await?;
                    if got.is_empty() {
                        return Err(Self::early());
                    }
                    *left -= got.len() as u64;
                    return Ok(Some(got));
                }
                Body::Chunked(Chunk::Data(_)) => {
                    self.line().await?;
                    *body = Body::Chunked(Chunk::Size);
                }
                Body::Chunked(Chunk::Size) => {
                    let line = self.line().await?;
                    let size = line.split(';').next().unwrap_or_default().trim();
                    let n = u64::from_str_radix(size, 16).map_err(|_| wrong("a chunk's size"))?;
                    *body = Body::Chunked(Chunk::Data(n));
                    if n == 0 {
                        // Trailers, which nobody here uses, end with an empty line.
                        while !self.line().await?.is_empty() {}
                        *body = Body::Chunked(Chunk::Done);
                    }
                }
                Body::Length(_) => return Ok(None),
            }
        }
    }

    /// The whole rest of a body, at most `most` bytes.
    pub async fn whole(&mut self, body: &mut Body, most: usize) -> io::Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.piece(body).await? {
            if all.len() + piece.len() > most {
                return Err(wrong("a body that is too long"));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// Reads a body away.
    pub async fn drain(&mut self, body: &mut Body) -> io::Result<u64> {
        let mut n = 0;
        while let Some(piece) = self.piece(body).await? {
            n += piece.len() as u64;
        }
        Ok(n)
    }

    /// What comes without having been asked for; empty at the end of the connection.
    pub async fn unasked(&mut self) -> io::Result<Bytes> {
        self.some(u64::MAX).await
    }

    /// Waits until the other side ends the connection; what it sends until then is thrown away.
    pub async fn gone(&mut self) {
        while matches!(self.unasked().await, Ok(got) if !got.is_empty()) {}
    }
}

/// Writes a piece of payload as `framing` wants it.
pub async fn put_piece<W: AsyncWrite + Unpin>(
    to: &mut W,
    chunked: bool,
    mut piece: Bytes,
) -> io::Result<()> {
    if chunked {
        let mut framed = BytesMut::with_capacity(piece.len() + 16);
        framed.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        framed.extend_from_slice(&piece);
        framed.extend_from_slice(b"\r\n");
        piece = framed.freeze();
    }
    while piece.has_remaining() {
        to.write_buf(&mut piece).await?;
    }
    Ok(())
}

/// Ends a body.
pub async fn put_end<W: AsyncWrite + Unpin>(to: &mut W, chunked: bool) -> io::Result<()> {
    if chunked {
        to.write_all(b"0\r\n\r\n").await?;
    }
    to.flush().await
}

/// Turns `%41` into `A`.
pub fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[i], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A parameter of a query, decoded; `+` is a blank.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (n, v) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(n) == name).then(|| decoded(&v.replace('+', " ")))
    })
}
