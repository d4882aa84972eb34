//! Reading ahead: frames that somebody is likely to want, named by a plan over the newest view.

use std::sync::Arc;

use logseg::Location;

use crate::{Index, Miss, View, home::Home, limits};

impl Index {
    /// Runs `plan` on the newest view, in the background, and brings the frames it names into
    /// memory as far as that allows. Where it misses, the page is fetched and it runs again. Nobody
    /// waits, nobody learns of an error, and the volume may end meanwhile.
    pub fn read_ahead(
        &self,
        plan: impl Fn(&View) -> Result<Vec<Location>, Miss> + Send + Sync + 'static,
    ) {
        let Home::Log(log) = &self.inner.home else { return };
        let inner = Arc::downgrade(&self.inner);
        log.in_background(async move {
            for _ in 0..limits::AHEAD_FAULTS {
                let Some(alive) = inner.upgrade() else { return };
                let index = Self { inner: alive };
                let miss = match plan(&index.view()) {
                    Err(miss) => miss,
                    Ok(places) => {
                        if let Home::Log(log) = &index.inner.home {
                            log.prefetch(&places);
                        }
                        return;
                    }
                };
                if index.fault(miss).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Most bytes that may have been asked for ahead and not yet been read; 0: it does not pay.
    pub fn ahead_bytes(&self) -> u64 {
        match &self.inner.home {
            Home::Memory(_) | Home::Still(_) => 0,
            Home::Log(log) => log.ahead_bytes(),
        }
    }
}
