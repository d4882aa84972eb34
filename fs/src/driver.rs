//! Runs the closures that operations are: again after each missing page, from the first check on.

use headhunter::{Abort, Committed, Index, Intent, LogError, Miss, Seq, Txn, View};
use inode::{Fault, Inode, StoreError};

use crate::{Failure, FsError, Volume, Wcc, convert::unchanged};

/// Why a closure stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    Miss(Miss),
    /// Pending work of this inode must go on before.
    Slice(u64),
    Refused(Box<Failure>),
}

impl Stop {
    /// Adds what was seen of the object, where the refusal does not say it yet.
    pub(crate) fn seen(self, object: &Inode) -> Self {
        self.fill(object, |f| &mut f.wcc)
    }

    /// Adds what was seen of the second object.
    pub(crate) fn seen_other(self, object: &Inode) -> Self {
        self.fill(object, |f| &mut f.other)
    }

    fn fill(mut self, object: &Inode, place: fn(&mut Failure) -> &mut Wcc) -> Self {
        if let Self::Refused(failure) = &mut self {
            let wcc = place(failure);
            if wcc.after.is_none() {
                *wcc = unchanged(object);
            }
        }
        self
    }
}

impl From<Miss> for Stop {
    fn from(miss: Miss) -> Self {
        Self::Miss(miss)
    }
}

impl From<FsError> for Stop {
    fn from(error: FsError) -> Self {
        Self::Refused(Box::new(error.into()))
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Miss(miss) => Self::Miss(miss),
            Fault::Slice(ino) => Self::Slice(ino),
            Fault::NoRoom => FsError::NoSpc.into(),
            Fault::Damaged(what) => {
                tracing::error!("damaged: {what}");
                FsError::Io.into()
            }
            // Writers catch it and write less at once.
            Fault::Dense(_) => FsError::Io.into(),
        }
    }
}

/// The one place where the log's words become POSIX's; logged here and nowhere else.
pub(crate) fn failed(error: &LogError) -> FsError {
    let code = match error {
        LogError::Full | LogError::Store(StoreError::Full { .. }) => FsError::NoSpc,
        LogError::ReadOnly { .. } => FsError::RoFs,
        LogError::Fenced { .. } => FsError::Fenced,
        LogError::Store(store) if store.is_transient() => FsError::TryLater,
        LogError::Store(_)
        | LogError::Journal { .. }
        | LogError::Corrupt { .. }
        | LogError::Refused(_) => FsError::Io,
    };
    match code {
        // That it is fenced the log has said, once and for all calls.
        FsError::NoSpc | FsError::TryLater | FsError::Fenced => tracing::debug!("{error}"),
        _ => tracing::error!("{error}"),
    }
    code
}

impl Volume {
    pub(crate) fn index(&self) -> &Index {
        self.files().index()
    }

    /// Runs `body` on the newest view until it does not miss; gives the view too, which keeps the
    /// segments that the answer points into (R8). A server that another has overruled gives nothing:
    /// the other has changed the volume since.
    pub(crate) async fn look<R>(
        &self,
        body: impl Fn(&View) -> Result<R, Stop>,
    ) -> Result<(R, View), Failure> {
        loop {
            self.index().overruled().map_err(|e| failed(&e))?;
            let view = self.index().view();
            match body(&view) {
                Ok(answer) => return Ok((answer, view)),
                Err(Stop::Refused(failure)) => return Err(*failure),
                Err(Stop::Miss(miss)) => {
                    drop(view);
                    self.index().fault(miss).await.map_err(|e| failed(&e))?;
                }
                Err(Stop::Slice(_)) => return Err(FsError::Io.into()),
            }
        }
    }

    /// Admits `intent`, then runs `body` as a transaction until it does not miss.
    pub(crate) async fn change<R>(
        &self,
        intent: Intent,
        mut body: impl FnMut(&mut Txn<'_>) -> Result<R, Stop>,
    ) -> Result<(R, Seq), Failure> {
        self.index().admit(intent).await.map_err(|e| failed(&e))?;
        // Before, not after: the commit is the last step of an operation.
        self.files().tend_now();
        loop {
            let done = self.index().transact(|txn| {
                body(txn).map_err(|stop| match stop {
                    Stop::Miss(miss) => Abort::Miss(miss),
                    other => Abort::Refused(other),
                })
            });
            match done {
                Ok(Committed { value, seq }) => return Ok((value, seq)),
                Err(Abort::Miss(miss) | Abort::Refused(Stop::Miss(miss))) => {
                    self.index().fault(miss).await.map_err(|e| failed(&e))?;
                }
                Err(Abort::Refused(Stop::Slice(ino))) => {
                    self.files().slice(ino).await.map_err(|e| failed(&e))?;
                }
                Err(Abort::Refused(Stop::Refused(failure))) => return Err(*failure),
                Err(Abort::Log(error)) => return Err(failed(&error).into()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
