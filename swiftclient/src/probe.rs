//! What a store's create-only put is worth: found out, not believed.
//!
//! ```text
//!   at format   race: 8 creators of one name, 10 rounds ─► Fencing │ Plain ─► volume header
//!   at a mount  create, create again ──────────────────► still so, or refused
//! ```
//!
//! Some stores ignore the condition and replace the object, some look at it only before the body
//! comes, some answer a server error to whoever loses (docs/stores.md has who does what). Nothing in
//! their answers tells them apart but trying.
//!
//! It must never know: segments, volumes, who asks.
//!
//! Invariants
//! 1. `Fencing` is said only after [`PROBE_ROUNDS`] races that really were races had one winner
//!    each, whose bytes stood there afterwards and could not be created again.
//! 2. One round with two winners, or with other bytes than the winner's, is enough for `Plain`.
//! 3. An unknown outcome is no win; only bytes read back make it one.
//! 4. What it creates lies under `probe/` and is deleted; what a killed probe left, [`sweep`]
//!    deletes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;

use crate::{
    ErrorKind, ObjectName, ObjectStore, StoreClass, StoreError,
    limits::{PROBE_CREATORS, PROBE_MOUNT_TRIES, PROBE_ROUNDS, PROBE_TRIES},
    seam::Env,
};

/// What the names of its objects begin with.
pub const PREFIX: &str = "probe/";
/// Leftovers deleted at a time, names.
const PAGE: usize = 100;
/// Upper end of the pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// True for the names that a probe gives its objects, and for nobody else's under `probe/`.
pub fn is_ours(name: &ObjectName) -> bool {
    let hex = |text: &str, len| {
        text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let rest = name.as_str().strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    rest.is_some_and(|(run, number)| hex(run, 16) && hex(number, 2))
}

/// What one round of the race showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// One winner among several who were answered.
    One,
    /// More than one, or the winner's bytes did not stay.
    Several,
    /// Too few were answered for a race, or nobody won.
    NoRace,
}

struct Probe<'a> {
    store: &'a dyn ObjectStore,
    env: &'a Env,
    /// Random: two servers that probe at the same time use names of their own.
    run: u64,
}

/// Races creators against each other on `store` and says what its create-only put is worth. About
/// 12 requests per round; ask the store itself, beneath whatever tries again or holds requests back,
/// or there would be no race.
///
/// A store that calls itself plain is believed: what is known not to be atomic may well seem so in a
/// few rounds. A local directory is believed to fence: `link(2)` does.
///
/// Errors: whatever kept it from being found out; nothing is then to be believed.
pub async fn race(store: &dyn ObjectStore, env: &Env) -> Result<StoreClass, StoreError> {
    if store.local_dir().is_some() || store.class() == StoreClass::Plain {
        return Ok(store.class());
    }
    let probe = Probe { store, env, run: env.random_u64() };
    let class = probe.rounds().await;
    probe.tidy(PROBE_ROUNDS + PROBE_TRIES).await;
    class
}

/// Creates one object and creates it again: what a mount can afford to ask. `Plain` where the second
/// creator was not told of the first; `Fencing` says only that nothing speaks against it.
///
/// Errors: whatever kept it from being found out.
pub async fn again(store: &dyn ObjectStore, env: &Env) -> Result<StoreClass, StoreError> {
    if store.local_dir().is_some() || store.class() == StoreClass::Plain {
        return Ok(store.class());
    }
    let probe = Probe { store, env, run: env.random_u64() };
    let (mut last, mut tried) = (Ok(StoreClass::Plain), 0);
    for number in 0..PROBE_MOUNT_TRIES {
        tried = number + 1;
        match probe.create_twice(number).await {
            Err(e) if e.is_transient() => last = Err(e),
            other => {
                last = other;
                break;
            }
        }
        probe.pause().await;
    }
    probe.tidy(tried).await;
    last
}

impl Probe<'_> {
    fn name(&self, number: u32) -> Result<ObjectName, StoreError> {
        let text = format!("{PREFIX}{:016x}-{number:02x}", self.run);
        let illegal = || ErrorKind::Invalid.error("probe", &text, "no legal name");
        ObjectName::new(text.clone()).ok_or_else(illegal)
    }

    fn body(&self, creator: u32) -> Bytes {
        format!(
            "Esker asks whether creators of one name exclude each other: {:016x}, {creator}\n",
            self.run
        )
        .into()
    }

    async fn pause(&self) {
        let most = u64::try_from(PAUSE.as_nanos()).unwrap_or(u64::MAX);
        tokio::time::sleep(Duration::from_nanos(self.env.dice.below(most))).await;
    }

    async fn rounds(&self) -> Result<StoreClass, StoreError> {
        let mut races = 0;
        let mut failed = None;
        for number in 0..PROBE_ROUNDS + PROBE_TRIES {
            match self.round(number).await {
                Ok(Round::One) => races += 1,
                Ok(Round::Several) => return Ok(StoreClass::Plain),
                Ok(Round::NoRace) => self.pause().await,
                Err(e) if e.is_transient() => {
                    failed = Some(e);
                    self.pause().await;
                }
                Err(e) => return Err(e),
            }
            if races == PROBE_ROUNDS {
                return Ok(StoreClass::Fencing);
            }
        }
        let reason = format!("only {races} of {PROBE_ROUNDS} races of creators could be held");
        Err(failed.unwrap_or_else(|| ErrorKind::Unavailable.error("probe", PREFIX, &reason)))
    }

    async fn round(&self, number: u32) -> Result<Round, StoreError> {
        let name = self.name(number)?;
        let create = |creator| self.store.put_new(&name, vec![self.body(creator)]);
        let outcomes = join_all((0..PROBE_CREATORS).map(create)).await;
        let (mut won, mut answered, mut doubt) = (Vec::new(), 0, false);
        for (creator, outcome) in (0..).zip(outcomes) {
            answered += 1;
            match outcome {
                Ok(()) => won.push(creator),
                Err(StoreError::Exists { .. }) => {}
                Err(StoreError::Unknown { .. }) => doubt = true,
                Err(StoreError::Unavailable { .. }) => answered -= 1,
                Err(e) => return Err(e),
            }
        }
        if won.len() > 1 {
            return Ok(Round::Several);
        }
        let stands = match self.store.get(&name, 0..u64::MAX).await {
            Err(e) if e.is_not_found() => None,
            other => Some(other?),
        };
        let winner = match (won.first(), stands) {
            (Some(&creator), Some(bytes)) if bytes == self.body(creator) => bytes,
            (Some(_), Some(_)) => return Ok(Round::Several),
            // Of those in doubt one has won. (And nothing at all: somebody sweeps.)
            (None, Some(bytes)) if doubt => bytes,
            (_, None) | (None, _) => return Ok(Round::NoRace),
        };
        match self.store.put_new(&name, vec![self.body(PROBE_CREATORS)]).await {
            Ok(()) => return Ok(Round::Several),
            Err(StoreError::Exists { .. }) => {}
            Err(e) => return Err(e),
        }
        // Looked at last: whoever was answered by an error may yet have replaced it.
        if self.store.get(&name, 0..u64::MAX).await? != winner {
            return Ok(Round::Several);
        }
        Ok(if answered > PROBE_CREATORS / 2 { Round::One } else { Round::NoRace })
    }

    async fn create_twice(&self, number: u32) -> Result<StoreClass, StoreError> {
        let name = self.name(number)?;
        self.store.put_new(&name, vec![self.body(0)]).await?;
        match self.store.put_new(&name, vec![self.body(1)]).await {
            Ok(()) => Ok(StoreClass::Plain),
            Err(StoreError::Exists { .. }) => Ok(StoreClass::Fencing),
            Err(e) => Err(e),
        }
    }

    /// Deletes the objects numbered below `tried`. A failure leaves a few bytes for [`sweep`].
    async fn tidy(&self, tried: u32) {
        let names: Vec<ObjectName> = (0..tried).filter_map(|n| self.name(n).ok()).collect();
        if let Err(error) = self.store.delete_many(&names).await {
            tracing::debug!(%error, "what the probe created stays");
        }
    }
}

/// Deletes what killed probes left; gives how many objects. For who holds the volume: a probe that
/// runs meanwhile would find its objects gone and have to be held again.
pub async fn sweep(store: &dyn ObjectStore) -> Result<usize, StoreError> {
    let mut left = store.list(PREFIX, None, PAGE).await?;
    left.retain(is_ours);
    if left.is_empty() {
        return Ok(0);
    }
    store.delete_many(&left).await?.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(left.len())
}

/// A store with the class that was found and recorded, whatever it says of itself.
pub struct Classed {
    store: Arc<dyn ObjectStore>,
    class: StoreClass,
}

impl Classed {
    /// `store`, of `class`.
    pub fn new(store: Arc<dyn ObjectStore>, class: StoreClass) -> Self {
        Self { store, class }
    }
}

impl ObjectStore for Classed {
    fn class(&self) -> StoreClass {
        self.class
    }

    crate::forward!((store): put_new, put_stream, put_file, get, head, list, delete_many, sweep, distrust, streams, attests, capacity, local_dir);
}

#[cfg(test)]
mod tests;
