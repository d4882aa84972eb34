//! Segments in the store that nothing refers to. Retire and sweep (R8) see to it that after two
//! checkpoints there are none; this looks, by listing, which they never do.

use logseg::{LogError, SegmentId, Survey};

use crate::{Index, checkpoint::Keeper, home::Home};

impl Index {
    /// What lies in store and journal below; `None` of a volume in memory.
    pub fn survey(&self) -> Option<Survey> {
        match &self.inner.home {
            Home::Log(log) => Some(log.survey()),
            Home::Still(past) => Some(past.survey()),
            Home::Memory(_) => None,
        }
    }

    /// Ids of objects in the store that neither usage, nor a kept checkpoint, nor a replay, nor the
    /// running epoch can want, and that are no seals. What an ended epoch left behind is among them
    /// until it has been swept, after the next two checkpoints. Checkpoints wait meanwhile.
    ///
    /// Errors: whatever listing the store and reading pages gave.
    pub async fn strays(&self) -> Result<Vec<SegmentId>, LogError> {
        let inner = &*self.inner;
        let Some(survey) = self.survey() else { return Ok(Vec::new()) };
        let keeper = inner.keeper.lock().await;
        let epoch = inner.commit.lock().pen.epoch();
        let mut strays = Vec::new();
        for id in survey.segments().await? {
            if id.epoch() == epoch || keeper.wants(id) || inner.is_known(id).await? {
                continue;
            }
            if id.is_side() || !survey.is_seal(id).await? {
                strays.push(id);
            }
        }
        Ok(strays)
    }
}

impl Keeper {
    /// Whether a kept checkpoint holds this segment, or a replay from it would read it.
    fn wants(&self, id: SegmentId) -> bool {
        let replayed = match &self.kept[..] {
            [older, _] => older.replay_start.is_none_or(|start| id >= start),
            // Not yet two: the chain may be wanted from its beginning.
            _ => true,
        };
        (!id.is_side() && replayed)
            || self.owed.contains_key(&id)
            || self.kept.iter().any(|kept| kept.held.contains(&id))
    }
}
