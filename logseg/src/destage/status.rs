use std::time::Duration;

use super::view::Phase;
use crate::{SegmentId, core::Core};

/// Figures of destage, for `esker status` and `/metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestageStatus {
    /// Bytes appended and not stored, durable or not.
    pub dirty_bytes: u64,
    /// Most that `dirty_bytes` may be: as configured, or less where the journal's disk is small.
    pub budget_bytes: u64,
    /// Age of the oldest byte that is not stored.
    pub oldest_age: Option<Duration>,
    /// Segments being filled: 1, or 0 once the log is closed.
    pub open: u64,
    /// Segments sealed that wait for their turn.
    pub sealed: u64,
    /// Segments being put now; streams of open segments included.
    pub storing: u64,
    /// Segments stored that wait for older ones to be.
    pub stored: u64,
    /// Segments whose last put failed. Never dropped: they are tried again.
    pub failed: u64,
    /// Most puts that failed in a row for one segment.
    pub attempts: u32,
    /// What the store said to the last put that failed, while that segment is not stored.
    pub last_error: Option<String>,
    /// First chain segment that is not stored; its epoch and counter.
    pub stored_through: Option<SegmentId>,
    /// How often something was begun, by the first reason for it.
    pub wakes: Vec<(&'static str, u64)>,
    /// Writes that wait for their slot now.
    pub slowed: u64,
    /// False while destage is switched off by [`crate::Log::set_destage`].
    pub enabled: bool,
}

impl Core {
    pub(crate) fn destage_status(&self) -> DestageStatus {
        let now = self.env.clock.monotonic();
        let state = self.lock();
        let view = &state.view;
        let count = |phase| view.units().filter(|u| u.phase == phase).count() as u64;
        let streams = view.units().filter(|u| u.phase != Phase::Storing && u.flies()).count();
        let oldest = view.units().find(|u| u.phase != Phase::Stored).and_then(|u| u.born);
        DestageStatus {
            dirty_bytes: view.dirty(),
            budget_bytes: view.budget(),
            oldest_age: oldest.map(|born| now.saturating_sub(born)),
            open: count(Phase::Open),
            sealed: count(Phase::Sealed),
            storing: count(Phase::Storing) + streams as u64,
            stored: count(Phase::Stored),
            failed: count(Phase::Failed),
            attempts: view.units().map(|u| u.attempts).max().unwrap_or(0),
            last_error: state.put_error.as_ref().map(|(id, e)| format!("{id}: {e}")),
            stored_through: Some(view.stored_through()),
            wakes: view.wakes().map(|(wake, n)| (wake.name(), n)).collect(),
            slowed: state.pace.waiting(),
            enabled: view.is_enabled(),
        }
    }
}
