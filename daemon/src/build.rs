//! Assembly, bottom-up, in plain sight: store → log → index → files. Also `format`.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use fs::Volume;
use headhunter::{Index, IndexConfig};
use logseg::{LogConfig, Recovery, VolumeHeader};
use swiftclient::{
    Classed, Metered, ObjectStore, Retrying, StoreClass,
    disk::{Disk, os::OsDisk},
    probe,
    seam::Env,
};

use crate::{
    args, config,
    keeping::{Durability, Keeping, Wishes},
    size::Size,
    store::{Store, recorded_class},
    store_url::StoreUrl,
};

/// Threads of the pool for store I/O, destage and checkpoints (DESIGN §8.7).
const POOL_THREADS: usize = 2;
/// The pool's threads step back behind the reactors by this much (nice(2)).
const POOL_NICE: i32 = 5;

/// How a volume is to be opened.
pub struct Plan {
    pub store: StoreUrl,
    pub keeping: Keeping,
    /// Of one request to a network store.
    pub store_timeout: Option<Duration>,
    pub memory: config::Memory,
    pub take_over: bool,
    pub abandon_journal: bool,
    /// Format what is empty or absent.
    pub may_format: bool,
}

/// An open volume, with the storeys that an operator asks about.
pub struct House {
    pub meter: Arc<Metered>,
    pub patience: Option<Retrying>,
    pub class: StoreClass,
    /// Directory of the journal, with durability `journal`.
    pub journal: Option<PathBuf>,
    /// Age at which an open segment is sealed and stored.
    pub flush_interval: Duration,
    pub index: Index,
    pub volume: Volume,
    pub header: VolumeHeader,
    pub env: Env,
}

impl House {
    /// The volume's number for clients: for ever the same.
    pub fn fsid(&self) -> u64 {
        let (high, low) = self.header.uuid.split_at(8);
        let half = |b: &[u8]| b.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        half(high) ^ half(low)
    }
}

/// The pool on which everything slow runs.
pub fn pool() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(POOL_THREADS)
        .thread_name("pool")
        .on_thread_start(|| {
            // Only a wish: without it the pool is merely as eager as the reactors.
            let _ = rustix::process::nice(POOL_NICE);
        })
        .enable_all()
        .build()
        .map_err(|e| format!("cannot start threads: {e}"))
}

impl Plan {
    /// Of a command that does its work while no server runs.
    pub fn offline(
        store: &str,
        journal: Option<PathBuf>,
        memory: Option<Size>,
        may_format: bool,
    ) -> Result<Self, String> {
        let store: StoreUrl = store.parse()?;
        Ok(Self {
            keeping: Keeping::decide(&store, Wishes { journal, ..Wishes::default() })?,
            store,
            store_timeout: None,
            memory: config::Memory::divide(memory)?,
            take_over: false,
            abandon_journal: false,
            may_format,
        })
    }

    /// Opens the volume; one that is empty is formatted first if `may_format`.
    pub async fn open(&self, pool: &tokio::runtime::Handle) -> Result<House, String> {
        let env = Env::real();
        let disk = disk()?;
        if let StoreUrl::Directory(path) = &self.store
            && !self.may_format
            && !path.exists()
        {
            return Err(format!("{}: no such directory", path.display()));
        }
        let store = Store::open(&self.store, self.store_timeout, &disk, &env)?;
        store.greet(&self.store).await;
        let Store { objects, meter, patience, ground } = store;
        let mut log = self.log_config(objects, disk, env.clone(), pool);
        let journal = log.journal.clone();
        let found = Recovery::volume(&log).await.map_err(|e| format!("{}: {e}", self.store))?;
        let header = match found {
            Some(header) => header,
            None if self.may_format => {
                ground.refuse_foreign(&self.store, &*meter).await?;
                new_volume(&log, &*meter).await?
            }
            None => return Err(format!("{}: no volume there", self.store)),
        };
        let class = recorded_class(&*meter, &header, &env).await?;
        log.store = Arc::new(Classed::new(log.store, class));
        let config = IndexConfig::new(log, header.clone(), self.memory.index);
        let index = Index::open(config).await.map_err(|e| e.to_string())?;
        let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let volume = Volume::open(index.clone(), owner)
            .await
            .map_err(|e| format!("{}: cannot open the files: {e:?}", self.store))?;
        let flush_interval = self.flush_interval();
        Ok(House { meter, patience, class, journal, flush_interval, index, volume, header, env })
    }

    /// Errors where there is nothing that could be looked at, and opening it would make a directory.
    pub fn is_there(&self) -> Result<(), String> {
        match &self.store {
            StoreUrl::Memory => Err("mem: has nothing that one could look at".into()),
            StoreUrl::Directory(path) if !path.exists() => {
                Err(format!("{}: no such directory", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// What is needed to look at the volume. Nothing is opened yet, nothing is written.
    pub async fn look(&self, pool: &tokio::runtime::Handle) -> Result<IndexConfig, String> {
        let env = Env::real();
        let disk = disk()?;
        self.is_there()?;
        let store = Store::open(&self.store, self.store_timeout, &disk, &env)?;
        store.greet(&self.store).await;
        let log = self.log_config(store.objects, disk, env, pool);
        match Recovery::volume(&log).await.map_err(|e| format!("{}: {e}", self.store))? {
            Some(header) => Ok(IndexConfig::new(log, header, self.memory.index)),
            None => Err(format!("{}: no volume there", self.store)),
        }
    }

    fn flush_interval(&self) -> Duration {
        let usual = match self.store {
            StoreUrl::Directory(_) => logseg::AGE_LINKED,
            _ => logseg::AGE_STREAMED,
        };
        self.keeping.destage.age.unwrap_or(usual)
    }

    fn log_config(
        &self,
        store: Arc<dyn ObjectStore>,
        disk: Arc<dyn Disk>,
        env: Env,
        pool: &tokio::runtime::Handle,
    ) -> LogConfig {
        let journal = match self.keeping.durability {
            Durability::Store => None,
            Durability::Journal => {
                let inside = || store.local_dir().map(|dir| dir.join("journal"));
                self.keeping.journal.clone().or_else(inside)
            }
        };
        LogConfig {
            store,
            disk,
            env,
            journal,
            pool: pool.clone(),
            cache_bytes: self.memory.cache,
            unsynced_bytes: self.memory.unsynced,
            holder: holder(),
            take_over: self.take_over,
            abandon_journal: self.abandon_journal,
            key: None,
            inline_only: false,
            destage: logseg::DestageConfig {
                // A directory tells its room and has a reserve of its own; memory has no checkpoints
                // worth saving.
                ballast_bytes: match self.store {
                    StoreUrl::S3 { .. } | StoreUrl::Swift { .. } => logseg::BALLAST_BYTES,
                    StoreUrl::Directory(_) | StoreUrl::Memory => 0,
                },
                ..self.keeping.destage.clone()
            },
            disk_cache: self.keeping.cache.clone(),
        }
    }
}

/// Writes a new, empty volume with fresh secrets. What the store's create-only put is worth is found
/// out by a race on `bare`, the store beneath what tries again.
async fn new_volume(log: &LogConfig, bare: &dyn ObjectStore) -> Result<VolumeHeader, String> {
    let class = probe::race(bare, &log.env)
        .await
        .map_err(|e| format!("cannot probe the store, nothing was formatted: {e}"))?;
    let mut header = VolumeHeader {
        uuid: [0; 16],
        segment_bytes: VolumeHeader::segment_bytes_for(log.store.capacity().map(|c| c.total)),
        fencing: class == StoreClass::Fencing,
        name_secret: [0; 16],
        handle_key: [0; 32],
        wrapped_key: None,
    };
    header.uuid = uuid::Uuid::new_v4().into_bytes();
    log.env.dice.fill(&mut header.name_secret);
    log.env.dice.fill(&mut header.handle_key);
    Recovery::format(log, &header).await.map_err(|e| e.to_string())?;
    tracing::info!(uuid = %uuid::Uuid::from_bytes(header.uuid), "formatted a new volume");
    Ok(header)
}

/// Who holds the volume, in words an operator understands.
fn holder() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let env = Env::real();
    let pid = std::process::id();
    format!("esker on {host}, pid {pid}, started at {} s UTC", env.clock.wall().as_secs())
}

/// The machine's disk; with the feature `faults`, one that leaves out a class of sync.
fn disk() -> Result<Arc<dyn Disk>, String> {
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    #[cfg(feature = "faults")]
    if let Ok(name) = std::env::var("ESKER_OMIT_SYNC") {
        use swiftclient::disk::omit::{Omitting, SyncClass};
        let class = SyncClass::ALL
            .into_iter()
            .find(|c| c.name() == name)
            .ok_or(format!("no class of sync is named {name}"))?;
        tracing::warn!(%name, "FAULTY ON PURPOSE: a class of sync is left out");
        return Ok(Arc::new(Omitting::new(disk, class)));
    }
    Ok(disk)
}

/// `esker format`.
pub fn format(args: &args::Format) -> Result<ExitCode, String> {
    let plan = Plan::offline(&args.store, args.journal.clone(), None, true)?;
    if plan.store == StoreUrl::Memory {
        return Err("mem: has nothing to format: it is new at each start".into());
    }
    let pool = pool()?;
    pool.block_on(async {
        let env = Env::real();
        let disk = disk()?;
        let store = Store::open(&plan.store, plan.store_timeout, &disk, &env)?;
        store.greet(&plan.store).await;
        let Store { objects, meter, ground, .. } = store;
        let log = plan.log_config(objects, disk, env, pool.handle());
        match Recovery::volume(&log).await.map_err(|e| format!("{}: {e}", plan.store))? {
            Some(_) => Err(format!("{}: holds a volume already", plan.store)),
            None => {
                ground.refuse_foreign(&plan.store, &*meter).await?;
                new_volume(&log, &*meter).await
            }
        }
    })?;
    let house = pool.block_on(plan.open(pool.handle()))?;
    pool.block_on(house.index.close()).map_err(|e| e.to_string())?;
    println!("{}: formatted", plan.store);
    Ok(ExitCode::SUCCESS)
}
