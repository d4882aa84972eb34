//! Opening a volume only to look at it: the newest checkpoint and the records after it, in memory.
//! No lock, no seal, no epoch, not a byte written; damage is noted and passed over as far as it goes.

use std::sync::Arc;

use logseg::{CheckpointName, LogError, Recovery, SegmentId, Seq, Start};

use super::{
    Found, IndexConfig,
    rebuild::{Past, Rebuild},
    refuse_a_lost_end, start_at,
};
use crate::{
    Index,
    check::is_damage,
    checkpoint::{Keeper, format::Checkpoint},
    home::{Home, Pen},
    limits,
};

/// A volume as it was last left, as far as it can be read.
pub struct Looked {
    /// Everything that changes it fails with `ReadOnly`.
    pub index: Index,
    /// The checkpoint it stands on; `None`: on none, or on a root entry.
    pub checkpoint: Option<CheckpointName>,
    /// Newest record in it.
    pub seq: Seq,
    /// Records replayed on top of the checkpoint.
    pub records: u64,
    /// Damage met on the way, in words that name the place. What comes after it in the log is not
    /// in the index.
    pub trouble: Vec<String>,
    /// The first id that the log does not have: where it ends.
    pub end: Option<SegmentId>,
    /// The torn tail of the log, which was never acknowledged (R11).
    pub torn: Option<String>,
}

impl Index {
    /// The volume as it was last left. With a living writer: as it was a moment ago, as far as it is
    /// in the store or in the journal.
    ///
    /// Errors: `Refused` where no checkpoint is sound, or where the journal that the volume was last
    /// written with is missing; `Store`, `Journal` where nothing can be read now. Damage behind the
    /// checkpoint's object is no error: [`Looked::trouble`].
    pub async fn look(config: &IndexConfig) -> Result<Looked, LogError> {
        for _ in 0..limits::OPEN_ATTEMPTS {
            let found = match Found::look(&config.log).await {
                Err(LogError::Store(error)) if error.is_not_found() => continue,
                other => other?,
            };
            let newest = found.newest.as_ref();
            let checkpoint = newest.map(|(_, checkpoint)| checkpoint);
            let start = start_at(checkpoint);
            let looked = Self::look_at(config, checkpoint, start, found.keeper()).await;
            // A living writer may have retired what we were reading.
            if Recovery::checkpoints(&config.log).await? != found.names {
                continue;
            }
            let mut looked = looked?;
            looked.checkpoint = newest.map(|(name, _)| *name);
            for (name, reason) in &found.damaged {
                let object = logseg::format::checkpoint_name(*name);
                looked.trouble.insert(0, format!("{object}: {reason}"));
            }
            return Ok(looked);
        }
        let why = "a writer publishes checkpoints faster than they can be read";
        Err(LogError::Refused(why.into()))
    }

    /// The volume as `checkpoint` and the log after it say.
    pub(crate) async fn look_at(
        config: &IndexConfig,
        checkpoint: Option<&Checkpoint>,
        start: Start,
        keeper: Keeper,
    ) -> Result<Looked, LogError> {
        let mut recovery = Recovery::look(config.log.clone(), config.header.clone(), start).await?;
        if let Some(checkpoint) = checkpoint {
            recovery.lean(&checkpoint.body.leans).await?;
        }
        let mut past = Past::Log(Box::new(recovery));
        let mut rebuild = match checkpoint {
            Some(checkpoint) => {
                Rebuild::from_checkpoint(config.settings(), checkpoint, &past, true).await?
            }
            None => Rebuild::empty(config.settings()),
        };
        let replayed = rebuild.replay(&mut past).await;
        let mut trouble = rebuild.trouble.take().unwrap_or_default();
        match replayed {
            Err(error) if is_damage(&error) => trouble
                .push(format!("the log is replayed up to record {} only: {error}", rebuild.seq.0)),
            other => other?,
        }
        let Past::Log(recovery) = past else {
            return Err(LogError::Refused("unreachable".into()));
        };
        match refuse_a_lost_end(config, recovery.end()).await {
            Err(LogError::Refused(why)) if checkpoint.is_some() => trouble.push(why),
            other => other?,
        }
        let torn = recovery.torn().map(|(segment, offset, fault)| {
            format!("{segment}: torn at byte {offset} ({fault}): never acknowledged, dropped")
        });
        let (seq, records, end) = (rebuild.seq, rebuild.records, recovery.end());
        let index = rebuild.finish(Home::Still(Arc::from(recovery)), Pen::Still, keeper);
        Ok(Looked { index, checkpoint: None, seq, records, trouble, end, torn })
    }
}
