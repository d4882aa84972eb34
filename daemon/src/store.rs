//! Opening a store by its name, and refusing what holds something else.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use logseg::{VolumeHeader, format::volume_name};
use swiftclient::{
    Directory, Memory, Metered, ObjectStore, Retrying, S3, S3Config, StoreClass, StoreError, Swift,
    disk::Disk, http::HttpConfig, probe, retrying::Policy, seam::Env, swift::SwiftConfig,
};

use crate::store_url::StoreUrl;

/// A store as the log uses it, and the meter in it.
///
/// ```text
///   log ──► Retrying (network stores) ──► Metered ──► the store
/// ```
///
/// The meter lies beneath what tries again: an operator who sees a slow or failing store wants the
/// requests that it got and how each ended; what patience made of them, `patience` tells. And the
/// probe of the store's class goes in beneath it too: retries would settle what it wants to see, and
/// a window of requests in flight would turn a race into a queue.
pub struct Store {
    pub objects: Arc<dyn ObjectStore>,
    pub meter: Arc<Metered>,
    /// `None`: the store is on this machine, where a second try finds what the first did.
    pub patience: Option<Retrying>,
    /// What the store stands in.
    pub ground: Ground,
}

/// What a store stands in, where things may lie that are no objects of a volume: a store shows only
/// names that could be its own.
pub enum Ground {
    /// Nobody else's: memory, or a directory, which was looked at before it was opened.
    Own,
    Bucket(S3),
    Container(Swift),
}

impl Ground {
    /// Errors where anything lies there: called before a volume is made, when it has no object yet.
    ///
    /// What a format left that was killed while it probed `store` is nobody's.
    pub async fn refuse_foreign(
        &self,
        url: &StoreUrl,
        store: &dyn ObjectStore,
    ) -> Result<(), String> {
        if !matches!(self, Self::Own) {
            probe::sweep(store).await.map_err(|e| format!("{url}: {e}"))?;
        }
        let first = match self {
            Self::Own => return Ok(()),
            Self::Bucket(s3) => s3.first().await,
            Self::Container(swift) => swift.first().await,
        };
        match first.map_err(|e| format!("{url}: {e}"))? {
            None => Ok(()),
            Some(name) => Err(format!(
                "{url} is not empty and no volume: it holds {name:?}. Nothing was written; name a \
                 prefix of the volume's own: {url}/NAME"
            )),
        }
    }
}

impl Store {
    /// Opens `url`. Nothing is written but the directory of a directory store.
    /// `timeout` is that of one request to a network store.
    pub fn open(
        url: &StoreUrl,
        timeout: Option<Duration>,
        disk: &Arc<dyn Disk>,
        env: &Env,
    ) -> Result<Self, String> {
        let failed = |e: StoreError| format!("{url}: {e}");
        let variable = |name: &str| std::env::var(name).ok();
        let mut ground = Ground::Own;
        let bare: Arc<dyn ObjectStore> = match url {
            StoreUrl::Memory => Arc::new(Memory::new()),
            StoreUrl::Directory(path) => {
                // Links and locks need one name for the directory, wherever the process stands.
                let path = absolute(path)?;
                refuse_foreign(&path)?;
                Arc::new(Directory::create(disk.clone(), path, env).map_err(|e| e.to_string())?)
            }
            StoreUrl::Swift { container, prefix } => {
                let mut config =
                    SwiftConfig::from_env(variable, container, prefix).map_err(failed)?;
                config.idle_timeout = timeout.unwrap_or(config.idle_timeout);
                let swift = Swift::new(&config, env).map_err(failed)?.on_disk(disk.clone());
                ground = Ground::Container(swift.clone());
                Arc::new(swift)
            }
            StoreUrl::S3 { bucket, prefix } => {
                let config = S3Config::from_env(variable, bucket, prefix).map_err(failed)?;
                let usual = HttpConfig::default();
                let idle_timeout = timeout.unwrap_or(usual.idle_timeout);
                let http = HttpConfig { idle_timeout, ..usual };
                let s3 = S3::with_http(config, env, &http).map_err(failed)?.on_disk(disk.clone());
                ground = Ground::Bucket(s3.clone());
                Arc::new(s3)
            }
        };
        let remote = matches!(url, StoreUrl::S3 { .. } | StoreUrl::Swift { .. });
        let meter = Arc::new(Metered::new(bare, env));
        let usual = Policy::default();
        let policy = Policy { attempt: timeout.or(usual.attempt), ..usual };
        let patience =
            remote.then(|| Retrying::new(meter.clone(), policy, env).on_disk(disk.clone()));
        let objects: Arc<dyn ObjectStore> = match &patience {
            Some(patience) => Arc::new(patience.clone()),
            None => meter.clone(),
        };
        Ok(Self { objects, meter, patience, ground })
    }

    /// Asks the store once. One that does not answer is asked again by whoever opens the volume, for
    /// as long as its patience lasts: the operator learns at once what is being waited for.
    pub async fn greet(&self, url: &StoreUrl) {
        if self.patience.is_none() {
            return;
        }
        if let Err(error) = self.meter.head(&volume_name()).await
            && error.is_transient()
        {
            let budget = Policy::default().budget;
            tracing::warn!(store = %url, %error, ?budget, "the store does not answer yet");
        }
    }
}

/// The class that the volume's header records, where a small probe of the store (which lies beneath
/// what tries again) does not speak against it.
pub async fn recorded_class(
    store: &dyn ObjectStore,
    header: &VolumeHeader,
    env: &Env,
) -> Result<StoreClass, String> {
    if !header.fencing {
        return Ok(StoreClass::Plain);
    }
    match probe::again(store, env).await {
        Ok(StoreClass::Fencing) => Ok(StoreClass::Fencing),
        // A full store must open, or nothing could ever be deleted from it.
        Err(error @ StoreError::Full { .. }) => {
            tracing::warn!(%error, "the store's class could not be looked at again");
            Ok(StoreClass::Fencing)
        }
        Ok(StoreClass::Plain) => Err(
            "the volume was formatted on a store whose create-only puts exclude each other, and \
             this store let a second creator replace an object. Two servers here would destroy \
             each other's data, so it is not opened. Is it another store, or a gateway in front \
             of it that drops If-None-Match?"
                .into(),
        ),
        Err(error) => Err(format!("cannot probe the store: {error}")),
    }
}

/// A directory without the object `volume` must be empty: nothing of anybody else's is mixed with
/// ours. (The store itself sees only names that could be objects.)
fn refuse_foreign(dir: &Path) -> Result<(), String> {
    if dir.join("volume").exists() {
        return Ok(());
    }
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(format!("{}: {e}", dir.display())),
    };
    for entry in entries {
        let name = entry.map_err(|e| format!("{}: {e}", dir.display()))?.file_name();
        // What a file system or a start that was cut short leaves behind.
        if !LEFT_BEHIND.iter().any(|ours| name == *ours) {
            let (dir, name) = (dir.display(), name.to_string_lossy());
            return Err(format!("{dir} is not empty and no volume: it holds {name}"));
        }
    }
    Ok(())
}

const LEFT_BEHIND: [&str; 5] = ["lost+found", "tmp", "lock", "journal", "reserve"];

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))
}
