//! Opening a volume: newest checkpoint, replay, seal (R2, R3, R5, R6, R20), and closing it.

pub(crate) mod look;
pub(crate) mod rebuild;
pub(crate) mod roots;

use std::time::Duration;

use logseg::{
    CheckpointName, Codec, LogConfig, LogError, Recovery, Sealed, SegmentId, Start, Survey,
    VolumeHeader,
};

use crate::{
    Index,
    checkpoint::{
        Keeper, Kept,
        format::{Body, Checkpoint, Ended},
    },
    home::{Home, Pen},
    index::Settings,
    limits,
    tree::Shape,
};
use rebuild::{Past, Rebuild};

/// How to open an index.
#[derive(Clone)]
pub struct IndexConfig {
    /// How to open its log.
    pub log: LogConfig,
    /// The volume's constants.
    pub header: VolumeHeader,
    /// Memory for pages, bytes (R16); at least [`limits::MEMORY_LEAST`].
    pub memory_bytes: u64,
    /// How frames are stored.
    pub codec: Codec,
    /// A checkpoint is made this long after the first change since the last.
    pub checkpoint_every: Duration,
    /// Whether checkpoints and retirement run by themselves, on the log's pool.
    pub background: bool,
}

impl IndexConfig {
    /// With the defaults for everything else: frames stored as they are, background work on.
    pub fn new(log: LogConfig, header: VolumeHeader, memory_bytes: u64) -> Self {
        Self {
            log,
            header,
            memory_bytes,
            codec: Codec::Stored,
            checkpoint_every: Duration::from_secs(limits::CHECKPOINT_SECS),
            background: true,
        }
    }
}

/// What the store says about checkpoints.
struct Found {
    names: Vec<CheckpointName>,
    /// The newest that can be read.
    newest: Option<(CheckpointName, Checkpoint)>,
    /// The one before it.
    older: Option<(CheckpointName, Option<Checkpoint>)>,
    /// Those that are not sound, with the reason.
    damaged: Vec<(CheckpointName, String)>,
    /// R3: below it nothing of the log may be missing, whatever `newest` says.
    through: SegmentId,
}

impl IndexConfig {
    fn settings(&self) -> Settings {
        Settings {
            memory: self.memory_bytes.max(limits::MEMORY_LEAST),
            shape: Shape::default(),
            codec: self.codec,
            header: self.header.clone(),
            env: self.log.env.clone(),
            checkpoint_every: self.checkpoint_every,
        }
    }
}

/// Where the log goes on behind what looks like its end, segments were lost. And a volume without
/// checkpoints is a young one, whose log is there from its beginning: where it goes on later, its
/// checkpoints were lost; read without them it would seem empty, and be ended there.
async fn refuse_a_lost_end(config: &IndexConfig, end: Option<SegmentId>) -> Result<(), LogError> {
    let survey = Survey::new(&config.log, &config.header);
    let Some(end) = end else { return Ok(()) };
    match survey.goes_on_behind(end).await? {
        None => Ok(()),
        Some(id) => Err(LogError::Refused(format!(
            "the log ends at {end}, which is missing, though {id} shows that more was stored: its \
             checkpoints or segments were lost. `esker rebuild` looks for a root in the log"
        ))),
    }
}

/// Where replay begins on top of a checkpoint.
fn start_at(checkpoint: Option<&Checkpoint>) -> Start {
    match checkpoint {
        Some(Checkpoint { body, .. }) => {
            Start { segment: body.replay_start, seq: body.seq, stored_through: body.replay_start }
        }
        None => Start::NEW,
    }
}

impl Index {
    /// Opens the volume: the newest checkpoint, the records after it, and a new epoch of our own.
    /// Reads no page that no record needs.
    ///
    /// Errors: `Refused` or `Fenced`, naming the holder, where another has it; `Corrupt` where
    /// durable bytes are damaged; whatever the store gave.
    pub async fn open(config: IndexConfig) -> Result<Self, LogError> {
        for _ in 0..limits::OPEN_ATTEMPTS {
            let found = match Found::look(&config.log).await {
                // Deleted since it was listed: a living writer has published newer ones.
                Err(LogError::Store(error)) if error.is_not_found() => continue,
                other => other?,
            };
            let tried = Self::open_at(&config, &found).await;
            let overtaken = match &tried {
                Ok(None) => true,
                // A living writer may have retired what we were reading (R3 lets us say so only
                // if it has published meanwhile).
                Err(LogError::Store(error)) if error.is_not_found() => {
                    Recovery::checkpoints(&config.log).await? != found.names
                }
                Err(LogError::Corrupt { .. }) => {
                    Recovery::checkpoints(&config.log).await? != found.names
                }
                _ => false,
            };
            if overtaken {
                tracing::info!("another writer published a checkpoint meanwhile: starting over");
                continue;
            }
            let index = tried?.ok_or_else(|| LogError::Refused("unreachable".into()))?;
            if config.background {
                index.start_driver(&config.log.pool);
            }
            return Ok(index);
        }
        let holder = "a writer that publishes checkpoints faster than they can be read".into();
        Err(LogError::Fenced { holder })
    }

    /// `None`: a checkpoint was published after the look.
    async fn open_at(config: &IndexConfig, found: &Found) -> Result<Option<Self>, LogError> {
        let settings = config.settings();
        let mut start = start_at(found.newest.as_ref().map(|(_, checkpoint)| checkpoint));
        start.stored_through = start.stored_through.max(found.through);
        let mut recovery =
            Recovery::begin(config.log.clone(), config.header.clone(), start).await?;
        if let Some((_, checkpoint)) = &found.newest {
            recovery.lean(&checkpoint.body.leans).await?;
        }
        let mut past = Past::Log(Box::new(recovery));
        let mut rebuild = match &found.newest {
            Some((_, checkpoint)) => {
                Rebuild::from_checkpoint(settings, checkpoint, &past, false).await?
            }
            None => Rebuild::empty(settings),
        };
        let mut keeper = found.keeper();
        let (log, writer) = loop {
            rebuild.replay(&mut past).await?;
            let Past::Log(recovery) = past else {
                return Err(LogError::Refused("unreachable".into()));
            };
            if found.newest.is_none() {
                refuse_a_lost_end(config, recovery.end()).await?;
            }
            let mut ended = recovery.ended().to_vec();
            ended.extend(recovery.end().map(|id| (id.epoch(), id.counter())));
            let marks = recovery.side_marks().to_vec();
            match recovery.seal().await? {
                Sealed::Open(open) => {
                    keeper.note_ended(&ended, &marks, found.newest.as_ref().map(|n| &n.1.body));
                    break *open;
                }
                Sealed::More(recovery) => past = Past::Log(recovery),
            }
        };
        if Recovery::checkpoints(&config.log).await? != found.names {
            return Ok(None);
        }
        let pen = Pen::Log(Box::new(writer));
        Ok(Some(rebuild.finish(Home::Log(log), pen, keeper)))
    }

    /// A clean stop: a checkpoint if anything changed, the chain closed, everything durable. After
    /// it nothing more can be committed. A store that does not answer costs the checkpoint, never
    /// the stop: the next start then replays the journal. It takes [`limits::CLOSE_SECS`] at most,
    /// twice that without a journal.
    ///
    /// Errors: whatever kept something from becoming durable; `Store` where there is no journal and
    /// the store takes nothing: what no sync has answered for is lost then.
    pub async fn close(&self) -> Result<(), LogError> {
        let inner = &self.inner;
        let limit = Duration::from_secs(limits::CLOSE_SECS);
        let over = tokio::time::Instant::now() + limit;
        let mut answers = true;
        // Whoever holds it may wait for the store: a checkpoint under way.
        match tokio::time::timeout_at(over, inner.keeper.lock()).await {
            Ok(mut keeper) => {
                if inner.pulse.age(inner.settings.env.clock.monotonic()).is_some() {
                    let made = tokio::time::timeout_at(over, inner.checkpoint(&mut keeper)).await;
                    answers = matches!(made, Ok(Ok(())));
                    match made {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::warn!(%error, "stopping without a checkpoint"),
                        Err(_) => {
                            tracing::warn!("stopping without a checkpoint: the store is too slow");
                        }
                    }
                }
            }
            Err(_) => {
                answers = false;
                tracing::warn!("stopping while a checkpoint waits for the store");
            }
        }
        let (seq, last) = {
            let mut committer = inner.commit.lock();
            if let Some(reason) = &committer.broken {
                return Err(LogError::ReadOnly { reason: reason.clone() });
            }
            let last = committer.pen.open_segment();
            let seq = committer.pen.close()?;
            committer.broken = Some("the volume is closed".into());
            (seq, last)
        };
        let sync = inner.home.sync(seq, logseg::SyncMode::Queued);
        tokio::time::timeout(limit, sync).await.unwrap_or_else(|_| Err(too_late(limit)))?;
        // R5: who finds the *closed* record in the store needs no journal.
        let end = SegmentId::chain(last.epoch(), last.counter() + 1);
        let stored = tokio::time::timeout_at(over, inner.home.stored(end));
        if !answers || stored.await.is_err() {
            tracing::warn!(
                "stopping before all is stored: the journal is needed at the next start"
            );
        }
        inner.pulse.wake();
        inner.room.notify_waiters();
        Ok(())
    }
}

fn too_late(limit: Duration) -> LogError {
    LogError::Store(swiftclient::StoreError::Unavailable {
        what: "make everything durable at the stop".into(),
        reason: format!("not within {} s: what no sync has answered for is lost", limit.as_secs()),
        retry_after: None,
    })
}

impl Keeper {
    /// Epochs whose end the chain shows are to be swept: side ids up to the mark that the chain,
    /// or the checkpoint that hides the chain's beginning, names.
    fn note_ended(&mut self, ended: &[(u32, u32)], marks: &[(u32, u32)], from: Option<&Body>) {
        for (epoch, seal) in ended {
            let marks = marks.iter().filter(|(of, _)| of == epoch).map(|(_, mark)| *mark);
            let body = from.filter(|body| body.epoch == *epoch).map(|body| body.side_mark);
            let side_mark = marks.chain(body).max().unwrap_or(0);
            if !self.ended.iter().any(|known| known.epoch == *epoch) {
                self.ended.push(Ended { epoch: *epoch, seal: *seal, side_mark, rounds: 0 });
            }
        }
    }
}

impl Found {
    async fn look(config: &LogConfig) -> Result<Self, LogError> {
        let names = Recovery::checkpoints(config).await?;
        let mut newest = None;
        let mut older = None;
        let mut damaged = Vec::new();
        for name in names.iter().rev() {
            let read = match Recovery::checkpoint(config, *name).await {
                Ok(bytes) => Checkpoint::decode(&bytes).ok_or("it does not decode".to_owned()),
                Err(LogError::Corrupt { reason, .. } | LogError::Refused(reason)) => Err(reason),
                Err(error) => return Err(error),
            };
            let read = read.map_err(|reason| {
                tracing::error!(?name, %reason, "checkpoint is damaged");
                damaged.push((*name, reason));
            });
            let read = read.ok();
            match (&newest, read) {
                (None, Some(checkpoint)) => newest = Some((*name, checkpoint)),
                (None, None) => {
                    tracing::error!(?name, "checkpoint is damaged: trying the one before it");
                }
                (Some(_), read) => {
                    older = Some((*name, read));
                    break;
                }
            }
        }
        if newest.is_none() && !names.is_empty() {
            let reason = damaged.first().map_or("", |(_, reason)| reason.as_str());
            return Err(LogError::Refused(format!(
                "none of {} checkpoints is sound ({reason}); `esker rebuild` looks for a root in \
                 the log",
                names.len()
            )));
        }
        let through = Start::NEW.stored_through;
        Ok(Self { names, newest, older, damaged, through })
    }

    fn keeper(&self) -> Keeper {
        let first = Some(Start::NEW.segment);
        let mut keeper = Keeper { chain_from: first, ..Keeper::default() };
        if let Some((name, checkpoint)) = &self.older {
            keeper.kept.push(Kept {
                name: *name,
                replay_start: checkpoint.as_ref().map(|c| c.body.replay_start),
                held: checkpoint.as_ref().map(Checkpoint::held).unwrap_or_default(),
                freeze: -1,
            });
        }
        if let Some((name, checkpoint)) = &self.newest {
            keeper.kept.push(Kept {
                name: *name,
                replay_start: Some(checkpoint.body.replay_start),
                held: checkpoint.held(),
                freeze: 0,
            });
            keeper.ended.clone_from(&checkpoint.body.ended);
            keeper.chain_from = Some(checkpoint.body.replay_start);
        }
        let kept = |name: &CheckpointName| keeper.kept.iter().any(|k| k.name == *name);
        keeper.doomed = self.names.iter().filter(|name| !kept(name)).copied().collect();
        keeper
    }
}
