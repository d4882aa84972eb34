//! What happened, in words: kept only where somebody is to read it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Most lines kept.
const LINES: usize = 20_000;

/// The story of a world. Clones share it.
#[derive(Clone)]
pub struct Story {
    lines: Option<Arc<Mutex<Vec<String>>>>,
    began: Instant,
}

impl Story {
    /// Call within the runtime. Keeps lines only if `told`.
    pub fn new(told: bool) -> Self {
        Self { lines: told.then(Arc::default), began: Instant::now() }
    }

    /// Adds a line under the time of the world.
    pub fn tell(&self, line: impl FnOnce() -> String) {
        let Some(lines) = &self.lines else { return };
        let mut lines = lines.lock();
        if lines.len() < LINES {
            let at = self.began.elapsed();
            lines.push(format!("{:9.3} s  {}", at.as_secs_f64(), line()));
        }
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.lines.as_ref().map_or(String::new(), |lines| lines.lock().join("\n"))
    }
}
