//! Whether the epoch is still ours, on a plain store (R2): a put there fences nobody, so the writer
//! looks, after a put and before it acknowledges, publishes or deletes anything.

use crate::{
    LogError,
    core::{Core, Failure},
    recovery::plain::read_epoch,
};

impl Core {
    /// On a plain store: looks for the object that begins the next epoch, and whether the one that
    /// began ours is still ours. On a fencing store nothing is asked.
    ///
    /// Errors: `Fenced` naming the holder (the log then takes nothing more); what the store gave.
    pub(crate) async fn still_ours(&self) -> Result<(), LogError> {
        if self.header.fencing {
            return Ok(());
        }
        let (ours, next) = futures_util::future::try_join(
            read_epoch(&*self.store, self.epoch),
            read_epoch(&*self.store, self.epoch + 1),
        )
        .await?;
        let holder = match (ours, next) {
            (_, Some(next)) => next.holder,
            (Some(ours), None) if ours.nonce == self.nonce => return Ok(()),
            (Some(other), None) => other.holder,
            (None, None) => "somebody who deleted the beginning of our epoch".to_owned(),
        };
        let failure = Failure::Fenced(holder);
        let error = failure.error();
        self.fail(failure);
        Err(error)
    }
}
