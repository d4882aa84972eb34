//! A machine with a simulated disk, and the volume on it.

use std::{
    path::PathBuf,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
};

use headhunter::{Index, IndexConfig};
use logseg::{LogConfig, LogError, Recovery, VolumeHeader};
use swiftclient::{
    Directory, ObjectStore,
    disk::SimDisk,
    seam::{Env, sim::SeededDice},
};
use tokio::runtime::Runtime;

use super::{Jumping, now};

/// A machine with one disk: what is the same in all lives of a server on it.
pub struct Machine {
    pub disk: SimDisk,
    pub clock: Arc<Jumping>,
    pub dice: Arc<SeededDice>,
    pub runtime: Rc<Runtime>,
    pub segment_bytes: u64,
}

impl Machine {
    /// A machine whose disk holds 128 MiB: a small disk has a small reserve, which is made anew in
    /// each life.
    pub fn new(seed: u64, runtime: Rc<Runtime>, segment_bytes: u64) -> Self {
        let clock = Arc::new(Jumping(AtomicU64::new(1 << 60)));
        let (disk, dice) = (SimDisk::new(), Arc::new(SeededDice::new(seed)));
        disk.set_capacity(Some(128 << 20));
        Self { disk, clock, dice, runtime, segment_bytes }
    }

    fn config(&self) -> Result<LogConfig, LogError> {
        let env = Env { clock: self.clock.clone(), dice: self.dice.clone() };
        let disk = Arc::new(self.disk.clone());
        let store = Directory::create(disk.clone(), PathBuf::from("/volume"), &env)?;
        let journal = store.local_dir().map(|dir| dir.join("journal"));
        Ok(LogConfig {
            store: Arc::new(store),
            disk,
            env,
            journal,
            pool: self.runtime.handle().clone(),
            cache_bytes: 4 << 20,
            unsynced_bytes: 8 << 20,
            holder: "the test".into(),
            take_over: false,
            abandon_journal: false,
            key: None,
            inline_only: true,
            destage: logseg::DestageConfig::default(),
            disk_cache: None,
        })
    }

    /// How the volume that is there would be opened.
    pub fn index_config(&self) -> IndexConfig {
        let log = self.config().unwrap();
        let header = now(Recovery::volume(&log)).unwrap().unwrap();
        IndexConfig { background: false, ..IndexConfig::new(log, header, 4 << 20) }
    }

    /// Opens the volume, formatting an empty disk.
    pub fn open(&self) -> Index {
        self.try_open().unwrap()
    }

    /// The same on a disk that may fail.
    pub fn try_open(&self) -> Result<Index, LogError> {
        let log = self.config()?;
        let header = match now(Recovery::volume(&log))? {
            Some(header) => header,
            None => {
                let header = VolumeHeader {
                    uuid: [7; 16],
                    segment_bytes: self.segment_bytes,
                    fencing: true,
                    name_secret: [5; 16],
                    handle_key: [6; 32],
                    wrapped_key: None,
                };
                now(Recovery::format(&log, &header))?;
                header
            }
        };
        let config = IndexConfig { background: false, ..IndexConfig::new(log, header, 4 << 20) };
        now(Index::open(config))
    }
}
