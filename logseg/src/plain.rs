//! Whether the epoch is still ours, on a plain store (R2): a put there fences nobody, so the writer
//! looks, after a put and before it acknowledges, publishes or deletes anything. And, on any store,
//! before it puts what no seal stands in the way of: side segments.

use swiftclient::StoreError;

use crate::{
    LogError,
    core::{Core, Failure},
    format::epoch_name,
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
        let mut doubted = false;
        let holder = loop {
            let (ours, next) = futures_util::future::try_join(
                read_epoch(&*self.store, self.epoch),
                read_epoch(&*self.store, self.epoch + 1),
            )
            .await?;
            let holder = match (ours, next) {
                (Some(ours), None) if ours.nonce == self.nonce => return Ok(()),
                // No server deletes it, so it is the store that does not show it now.
                (None, None) => {
                    return Err(LogError::Store(StoreError::Unavailable {
                        what: format!("look at {}", epoch_name(self.epoch)),
                        reason: "what this server began its epoch with is not to be seen: nothing \
                                 is acknowledged until it is"
                            .into(),
                        retry_after: None,
                    }));
                }
                (_, Some(next)) => next.holder,
                (Some(other), None) => other.holder,
            };
            // It ends this server, so it takes two answers that cannot both have gone astray.
            if doubted {
                break holder;
            }
            doubted = true;
            self.store.distrust();
        };
        let failure = Failure::Fenced(holder);
        let error = failure.error();
        self.fail(failure);
        Err(error)
    }

    /// On any store: looks whether the next epoch has begun. What a writer that was overruled and
    /// stopped for a long time puts beside the chain, nobody sweeps any more (R8). One request.
    ///
    /// Errors: `Fenced` naming the holder (the log then takes nothing more); what the store gave.
    pub(crate) async fn not_succeeded(&self) -> Result<(), LogError> {
        if !self.header.fencing {
            return self.still_ours().await;
        }
        for doubted in [false, true] {
            let next = read_epoch(&*self.store, self.epoch + 1).await?;
            let Some(next) = next.filter(|next| next.at.epoch() == self.epoch) else { break };
            if doubted {
                let failure = Failure::Fenced(next.holder);
                let error = failure.error();
                self.fail(failure);
                return Err(error);
            }
            // It ends this server, so it takes two answers that cannot both have gone astray.
            self.store.distrust();
        }
        Ok(())
    }
}
