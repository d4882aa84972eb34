//! R10: a journal file whose write or fdatasync failed is never trusted or synced again.
//!
//! Linux marks pages clean after a failed fsync: a retry would say yes to bytes that are gone. So
//! the same bytes go to a new file: what was durable before is read from the old one, the rest is
//! still in memory.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::Work;
use crate::{
    chain::JournalFile,
    core::{Core, Failure},
    journal::Journal,
};

/// The old file's durable part is copied in pieces of this size, bytes.
const COPY_BYTES: usize = 1 << 20;

impl Core {
    /// Replaces the file of `item` by its next generation, durable on return, directory included.
    pub(super) fn rewrite(
        &self,
        journal: &Journal,
        item: &mut Work,
        verb: &str,
        cause: &io::Error,
    ) -> Result<(), Failure> {
        let Some(old) = item.file.clone() else { return Ok(()) };
        tracing::error!(
            file = %old.path.display(), error = %cause,
            "{verb} failed; the segment is written again to a new file"
        );
        let pieces = match self.lock().chain.find_mut(item.id) {
            Some(segment) => segment.pieces(item.durable, item.end),
            None => return Ok(()),
        };
        match self.write_again(journal, item, &old, &pieces) {
            Ok(new) => {
                let new = Arc::new(new);
                if let Some(segment) = self.lock().chain.find_mut(item.id) {
                    segment.file = Some(new.clone());
                    segment.zeros = item.end;
                }
                item.zeros = item.end;
                item.file = Some(new);
                if let Err(e) = journal.remove(item.id, old.generation) {
                    // Recovery takes the one with more good entries, then the newer.
                    tracing::warn!(error = %e, "the distrusted file stays");
                }
                Ok(())
            }
            Err(again) => Err(Failure::ReadOnly(format!(
                "{verb} {}: {cause}; written again: {again}",
                old.path.display()
            ))),
        }
    }

    fn write_again(
        &self,
        journal: &Journal,
        item: &Work,
        old: &JournalFile,
        pieces: &[Bytes],
    ) -> io::Result<JournalFile> {
        let mut generation = old.generation + 1;
        let new = loop {
            match self.with_reserve(item.end, || journal.create_segment(item.id, generation)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => generation += 1,
                other => break other?,
            }
        };
        let filled = self.fill(&new, old, item, pieces);
        if let Err(e) = filled {
            // A torn copy must not compete with the old file.
            let _ = journal.disk.unlink(&new.path);
            return Err(e);
        }
        journal.disk.sync_dir(&journal.dir)?;
        Ok(new)
    }

    fn fill(
        &self,
        new: &JournalFile,
        old: &JournalFile,
        item: &Work,
        pieces: &[Bytes],
    ) -> io::Result<()> {
        let mut at = 0;
        while at < item.durable {
            let len = usize::try_from(item.durable - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let mut piece = vec![0; len];
            if old.file.read_at(at, &mut piece)? < len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.with_reserve(len as u64, || new.file.write_at(at, &[&piece]))?;
            at += len as u64;
        }
        let slices: Vec<&[u8]> = pieces.iter().map(AsRef::as_ref).collect();
        self.with_reserve(item.end - at, || new.file.write_at(at, &slices))?;
        new.file.sync_data()
    }
}
