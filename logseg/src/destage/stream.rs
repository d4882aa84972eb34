//! An open segment travels while it fills (R13), on stores that take an object of unknown length.
//!
//! ```text
//!   written to the journal ─► pieces ─► put_stream        the same bytes in both homes (R4)
//!   sealed, all fdatasynced ─────────► rest, footer, end   only now the object can exist
//! ```
//!
//! Nothing is visible in the store before the end is sent, and the end is sent only after all of
//! the segment, footer included, is durable in the journal. A stream that breaks costs nothing but
//! its bytes: the segment goes whole, by an ordinary put, when it is sealed.

use std::sync::Arc;

use bytes::Bytes;
use swiftclient::{ObjectWriter, StoreError};
use tokio::sync::Notify;

use super::put::Sent;
use crate::{
    LogError, STREAM_GIVEN_UP_AFTER, STREAM_PIECE_BYTES, SegmentId,
    chain::{Flow, JournalFile},
    core::Core,
    error::journal_error,
    format::segment_name,
};

/// What a stream is to send next.
enum Next {
    Pieces(Vec<Bytes>, u64),
    /// These bytes are in the file only.
    File(Arc<JournalFile>, u64, u64),
    /// All is sent, and durable in the journal where there is one.
    Whole,
    Wait(Arc<Notify>),
    /// The journal failed, and with it what was sent from it (R10).
    Broken,
    /// The log takes nothing more, or has forgotten the segment.
    Over,
}

impl Core {
    /// Sends segment `id` while it fills, and completes it.
    pub(super) async fn stream_segment(self: &Arc<Self>, id: SegmentId) {
        match self.send(id).await {
            Ok(Some(writer)) => {
                self.lock().view.stream_ends(id);
                self.complete(id, Sent::Streamed(writer)).await;
            }
            Ok(None) => {}
            Err(error) => self.note_broken(id, &error),
        }
        self.keeper.notify_one();
    }

    /// Sends all of it but the end.
    async fn send(&self, id: SegmentId) -> Result<Option<Box<dyn ObjectWriter>>, LogError> {
        let name = segment_name(id);
        let mut writer = self.store.put_stream(&name).await?;
        let mut sent = 0;
        loop {
            match self.next_bytes(id, sent) {
                Next::Pieces(pieces, upto) => {
                    for piece in pieces {
                        writer.write(piece).await?;
                    }
                    sent = upto;
                }
                Next::File(file, from, to) => {
                    let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0)];
                    let read = file.file.read_at(from, &mut bytes);
                    let read = read.map_err(|e| journal_error("read", &file.path, e))?;
                    if read < bytes.len() {
                        let short = std::io::ErrorKind::UnexpectedEof.into();
                        return Err(journal_error("read", &file.path, short));
                    }
                    writer.write(bytes.into()).await?;
                    sent = to;
                }
                Next::Whole => return Ok(Some(writer)),
                Next::Over => return Ok(None),
                Next::Broken => {
                    return Err(LogError::Store(StoreError::Unavailable {
                        what: format!("stream {name}"),
                        reason: "the journal failed: the segment goes whole".into(),
                        retry_after: None,
                    }));
                }
                Next::Wait(told) => {
                    let told = tokio::time::timeout(STREAM_GIVEN_UP_AFTER, told.notified());
                    if told.await.is_err() {
                        return Err(LogError::Store(StoreError::Unavailable {
                            what: format!("stream {name}"),
                            reason: "it was idle too long and is given up".into(),
                            retry_after: None,
                        }));
                    }
                    continue;
                }
            }
            self.lock().view.stream_moved(id, self.env.clock.monotonic());
        }
    }

    fn next_bytes(&self, id: SegmentId, from: u64) -> Next {
        let mut state = self.lock();
        if state.failure.is_some() || state.stop {
            return Next::Over;
        }
        let Some(segment) = state.chain.find_mut(id) else { return Next::Over };
        let told = segment.flow.get_or_insert_with(Flow::default).told.clone();
        let limit = if self.journal.is_none() { segment.made().0 } else { segment.written };
        if segment.rescued.is_some() {
            return Next::Broken;
        }
        if segment.sealed {
            let whole = if self.journal.is_none() { limit } else { segment.durable };
            if whole < segment.end {
                // The file may yet have to be written again (R10); its end is one piece.
                return Next::Wait(told);
            }
            if from == segment.end {
                return Next::Whole;
            }
        } else if limit < from + STREAM_PIECE_BYTES {
            return Next::Wait(told);
        }
        let upto = limit.min(from + 4 * STREAM_PIECE_BYTES);
        let pieces = segment.slices(from, upto);
        let next = if !pieces.is_empty() {
            Next::Pieces(pieces, upto)
        } else if let Some(file) = segment.file.clone() {
            // What is durable is kept in the file alone.
            let edge = if from < segment.durable { segment.durable } else { limit };
            Next::File(file, from, upto.min(edge))
        } else {
            return Next::Wait(told);
        };
        let reached = match &next {
            Next::Pieces(_, upto) | Next::File(_, _, upto) => *upto,
            _ => from,
        };
        segment.flow.get_or_insert_with(Flow::default).taken = reached;
        next
    }

    fn note_broken(&self, id: SegmentId, error: &LogError) {
        let now = self.env.clock.monotonic();
        let dice = self.env.random_u64();
        let mut state = self.lock();
        let attempts = state.view.unit(id).map_or(1, |u| u.attempts + 1);
        let pause = super::put::backoff(attempts, dice);
        tracing::warn!(segment = %id, error = %error, "the stream broke: it goes again, whole");
        state.note_error(id, error);
        state.view.stream_broke(id, now + pause);
    }
}

#[cfg(test)]
mod tests;
