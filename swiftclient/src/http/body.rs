//! Request bodies: what is sent is never copied.

use std::{
    collections::VecDeque,
    fmt, io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

use crate::{
    disk::{Disk, DiskFile},
    limits::{CHANNEL_PIECES, SEND_BYTES},
};

/// The first `len` bytes of a local file.
#[derive(Clone)]
pub struct SourceFile {
    /// The file's own disk.
    pub disk: Arc<dyn Disk>,
    /// Its path there.
    pub path: PathBuf,
    /// Bytes sent, from its start.
    pub len: u64,
}

/// What a request carries.
pub enum Body {
    /// Nothing.
    Empty,
    /// These pieces, one after another; Content-Length is their sum.
    Pieces(Vec<Bytes>),
    /// A file, read in pieces of 256 KiB as it goes out; Content-Length is `len`.
    File(SourceFile),
    /// Pieces as they come: `Transfer-Encoding: chunked`. See [`Body::channel`].
    Channel(Channel),
}

/// The receiving end of [`Body::channel`].
pub struct Channel(mpsc::Receiver<Piece>);

enum Piece {
    More(Bytes),
    End,
}

/// The end of a streamed body that pieces are put in. Dropping it without [`BodySender::finish`]
/// breaks the request: the last chunk is never sent, so that no server keeps a part for the whole.
pub struct BodySender(mpsc::Sender<Piece>);

/// The request has ended, with its reply or by an error: it takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl BodySender {
    /// Gives the next piece; waits while the connection has 4 pieces before it. An empty one is
    /// nothing.
    pub async fn send(&self, piece: Bytes) -> Result<(), Ended> {
        if piece.is_empty() {
            return Ok(());
        }
        self.0.send(Piece::More(piece)).await.map_err(|_| Ended)
    }

    /// Ends the body whole.
    pub async fn finish(self) -> Result<(), Ended> {
        self.0.send(Piece::End).await.map_err(|_| Ended)
    }
}

impl Body {
    /// A body of unknown length and the end that feeds it.
    pub fn channel() -> (BodySender, Self) {
        let (sender, receiver) = mpsc::channel(CHANNEL_PIECES);
        (BodySender(sender), Self::Channel(Channel(receiver)))
    }

    /// Length in bytes where it is known beforehand.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Pieces(pieces) => Some(pieces.iter().map(|p| p.len() as u64).sum()),
            Self::File(file) => Some(file.len),
            Self::Channel(_) => None,
        }
    }

    /// True where it is known to be empty.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The same body once more, where it can be sent again.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Pieces(pieces) => Some(Self::Pieces(pieces.clone())),
            Self::File(file) => Some(Self::File(file.clone())),
            Self::Channel(_) => None,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Pieces(vec![bytes])
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len() {
            Some(len) => write!(f, "{len} bytes"),
            None => f.write_str("streamed"),
        }
    }
}

/// How far a body on its way has come; shared with who waits for the reply.
#[derive(Debug, Default)]
pub(super) struct Progress {
    whole: AtomicBool,
    waiting: AtomicBool,
    failed: parking_lot::Mutex<Option<String>>,
}

impl Progress {
    /// All of it was handed to the connection.
    pub(super) fn whole(&self) -> bool {
        self.whole.load(Ordering::Acquire)
    }

    /// It is the caller's next piece that is waited for, not the server.
    pub(super) fn waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Why it could not be sent whole.
    pub(super) fn failure(&self) -> Option<String> {
        self.failed.lock().clone()
    }
}

enum Source {
    Pieces(VecDeque<Bytes>),
    File { file: SourceFile, open: Option<Arc<dyn DiskFile>>, at: u64 },
    Channel(mpsc::Receiver<Piece>),
}

/// A body on its way through hyper.
pub(super) struct Outgoing {
    source: Source,
    left: Option<u64>,
    progress: Arc<Progress>,
}

impl Outgoing {
    pub(super) fn new(body: Body) -> (Self, Arc<Progress>) {
        let left = body.len();
        let source = match body {
            Body::Empty => Source::Pieces(VecDeque::new()),
            Body::Pieces(pieces) => {
                Source::Pieces(pieces.into_iter().filter(|p| !p.is_empty()).collect())
            }
            Body::File(file) => Source::File { file, open: None, at: 0 },
            Body::Channel(channel) => Source::Channel(channel.0),
        };
        let progress = Arc::new(Progress::default());
        progress.whole.store(left == Some(0), Ordering::Release);
        (Self { source, left, progress: Arc::clone(&progress) }, progress)
    }

    fn fail<T>(&self, reason: String) -> Poll<Option<io::Result<T>>> {
        *self.progress.failed.lock() = Some(reason.clone());
        Poll::Ready(Some(Err(io::Error::other(reason))))
    }

    fn piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match &mut self.source {
            Source::Pieces(pieces) => Poll::Ready(pieces.pop_front().map(Ok)),
            Source::File { file, open, at } => match next_of_file(file, open, at) {
                Ok(piece) => Poll::Ready(piece.map(Ok)),
                Err(e) => {
                    let reason = format!("{}: {e}", file.path.display());
                    self.fail(reason)
                }
            },
            Source::Channel(pieces) => {
                let next = pieces.poll_recv(cx);
                self.progress.waiting.store(next.is_pending(), Ordering::Release);
                match next {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Some(Piece::More(piece))) => Poll::Ready(Some(Ok(piece))),
                    Poll::Ready(Some(Piece::End)) => Poll::Ready(None),
                    Poll::Ready(None) => self.fail("the stream was given up".to_owned()),
                }
            }
        }
    }
}

/// Reads on the calling thread: the bytes were just written, they come from the page cache.
fn next_of_file(
    file: &SourceFile,
    open: &mut Option<Arc<dyn DiskFile>>,
    at: &mut u64,
) -> io::Result<Option<Bytes>> {
    if *at >= file.len {
        return Ok(None);
    }
    let source = match open {
        Some(source) => source,
        None => open.insert(file.disk.open_read(&file.path)?),
    };
    let want = usize::try_from(file.len - *at).unwrap_or(SEND_BYTES).min(SEND_BYTES);
    let mut piece = vec![0; want];
    let n = source.read_at(*at, &mut piece)?;
    if n < want {
        let end = *at + n as u64;
        let reason = format!("{} bytes were to be sent, it ends at {end}", file.len);
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
    }
    *at += n as u64;
    Ok(Some(piece.into()))
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = std::task::ready!(self.piece(cx));
        if let (Some(left), Some(Ok(piece))) = (&mut self.left, &next) {
            *left = left.saturating_sub(piece.len() as u64);
        }
        // hyper does not ask again after the last byte of a known length.
        if next.is_none() || self.left == Some(0) {
            self.progress.whole.store(true, Ordering::Release);
        }
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
