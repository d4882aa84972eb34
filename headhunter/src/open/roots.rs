//! Roots found in the log itself (R25): for a volume whose checkpoints are gone, or whose newest one
//! refers to pages that cannot be read.
//!
//! ```text
//!   side segments ─► root entries, newest first ─► does the chain vouch for it? ─► a root
//!   root + the log after it ─► looked at ─► opened from: a new epoch, two checkpoints
//! ```
//!
//! 1. A root whose checkpoint was never published counts only where the chain before its replay start
//!    is known to have been durable: else it may hold what the log went on without.
//! 2. What the newest published checkpoint, or root that counts, says was stored may not be missing
//!    (R3), however old the root is that the log is replayed on.
//! 3. Nothing is written before [`Index::open_from`].

use logseg::{CheckpointName, Location, LogError, Recovery, SegmentId, Seq, Survey};

use super::{Found, IndexConfig, look::Looked, start_at};
use crate::{
    Index,
    checkpoint::{
        Keeper,
        format::{Body, Checkpoint},
    },
    limits,
};

/// A root of the index, as an entry in the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootEntry {
    checkpoint: Checkpoint,
    /// R3: below it nothing of the log may be missing: the replay start of the newest checkpoint that
    /// was published, or root that counts.
    through: SegmentId,
}

impl RootEntry {
    /// Newest record that it contains.
    pub fn seq(&self) -> Seq {
        self.checkpoint.body.seq
    }

    /// When it was made, nanoseconds since 1970.
    pub fn wall(&self) -> u64 {
        self.checkpoint.body.wall
    }

    /// The chain segment in which later records begin.
    pub fn replay_start(&self) -> SegmentId {
        self.checkpoint.body.replay_start
    }

    /// Where the entry stands.
    pub fn location(&self) -> Location {
        self.checkpoint.entry
    }
}

impl Index {
    /// All roots in the store's side segments that the chain vouches for, newest first; and what
    /// could not be read or does not count, in words that name the place.
    ///
    /// Errors: `Store`, `Journal`.
    pub async fn roots(config: &IndexConfig) -> Result<(Vec<RootEntry>, Vec<String>), LogError> {
        let survey = Survey::new(&config.log, &config.header);
        let (mut roots, mut trouble) = (Vec::new(), Vec::new());
        for id in survey.segments().await?.into_iter().filter(|id| id.is_side()) {
            match survey.root_of(id).await {
                Ok(None) => {}
                Ok(Some((entry, body))) => match Body::decode(&body) {
                    Some(body) => {
                        let through = body.replay_start;
                        roots.push(RootEntry { checkpoint: Checkpoint { body, entry }, through });
                    }
                    None => trouble.push(format!("{id}: its root entry does not decode")),
                },
                Err(error @ LogError::Corrupt { .. }) => {
                    trouble.push(format!("{error}: there may have been a root in it"));
                }
                Err(error) => return Err(error),
            }
        }
        roots.sort_by_key(|root| (root.seq(), root.location().segment));
        roots.reverse();
        let mut sound = Vec::new();
        for root in roots {
            let (start, side) = (root.replay_start(), root.location().segment);
            match survey.vouches(start, root.seq(), side).await? {
                Ok(()) => sound.push(root),
                Err(why) => trouble.push(format!("the root in {side} does not count: {why}")),
            }
        }
        let published = match Found::look(&config.log).await {
            Ok(found) => found.newest.map(|(_, checkpoint)| checkpoint.body.replay_start),
            Err(LogError::Refused(_)) => None,
            Err(error) => return Err(error),
        };
        let through = sound.iter().map(RootEntry::replay_start).chain(published).max();
        for root in &mut sound {
            root.through = through.unwrap_or(root.through);
        }
        Ok((sound, trouble))
    }

    /// The volume as `root` and the log after it say. Writes nothing.
    ///
    /// Errors: as [`Index::look`].
    pub async fn look_from(config: &IndexConfig, root: &RootEntry) -> Result<Looked, LogError> {
        let mut start = start_at(Some(&root.checkpoint));
        start.stored_through = start.stored_through.max(root.through);
        Self::look_at(config, Some(&root.checkpoint), start, Keeper::default()).await
    }

    /// Opens the volume from `root`, whatever its checkpoints say, and puts two checkpoints in their
    /// place. Call it only with a root that was looked at and found whole.
    ///
    /// Errors: as [`Index::open`]; what was published by then stays, and it can be tried again.
    pub async fn open_from(config: &IndexConfig, root: &RootEntry) -> Result<Self, LogError> {
        let names = Recovery::checkpoints(&config.log).await?;
        // No object is called so: what is there of checkpoints goes once ours are published.
        let epoch = root.checkpoint.body.epoch;
        let name = CheckpointName { epoch, number: u32::MAX };
        let newest = Some((name, root.checkpoint.clone()));
        let found =
            Found { names, newest, older: None, damaged: Vec::new(), through: root.through };
        let Some(index) = Self::open_at(config, &found).await? else {
            let holder = "a writer that published a checkpoint meanwhile".into();
            return Err(LogError::Fenced { holder });
        };
        for _ in 0..limits::REBUILT_CHECKPOINTS {
            index.checkpoint_now().await?;
        }
        Ok(index)
    }
}
