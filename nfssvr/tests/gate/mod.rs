//! A volume on a simulated disk whose fdatasyncs of the journal wait behind a gate.
#![allow(dead_code, clippy::unwrap_used)]

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use fs::Volume;
use headhunter::{Index, IndexConfig};
use logseg::{LogConfig, Recovery, VolumeHeader};
use parking_lot::{Condvar, Mutex};
use swiftclient::{
    Directory,
    disk::{DirEntry, Disk, DiskFile, Identity, SimDisk},
    seam::Env,
};

use super::at::{clock, pause};

#[derive(Default)]
struct State {
    closed: bool,
    /// fdatasyncs of journal files that are waiting, and that were begun at all.
    waiting: u64,
    begun: u64,
}

/// Holds journal fdatasyncs back while it is closed.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    pub fn close(&self) {
        self.0.0.lock().closed = true;
    }

    pub fn open(&self) {
        self.0.0.lock().closed = false;
        self.0.1.notify_all();
    }

    /// Journal fdatasyncs so far.
    pub fn syncs(&self) -> u64 {
        self.0.0.lock().begun
    }

    /// Waits until a sync stands before the gate.
    pub fn reached(&self) {
        let until = clock() + std::time::Duration::from_secs(10);
        while self.0.0.lock().waiting == 0 {
            assert!(clock() < until, "no sync came");
            pause(2);
        }
    }

    fn pass(&self) {
        let (state, opened) = &*self.0;
        let mut state = state.lock();
        state.begun += 1;
        state.waiting += 1;
        while state.closed {
            opened.wait(&mut state);
        }
        state.waiting -= 1;
    }
}

struct GatedDisk {
    inner: SimDisk,
    gate: Gate,
}

struct GatedFile {
    inner: Arc<dyn DiskFile>,
    gate: Option<Gate>,
}

impl DiskFile for GatedFile {
    fn write_at(&self, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        self.inner.write_at(offset, pieces)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, into)
    }
    fn sync_data(&self) -> io::Result<()> {
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        self.inner.sync_data()
    }
    fn start_writeout(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.start_writeout(offset, len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn is_regular(&self) -> io::Result<bool> {
        self.inner.is_regular()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.inner.try_lock()
    }
    fn identity(&self) -> io::Result<Identity> {
        self.inner.identity()
    }
}

impl GatedDisk {
    fn gated(&self, path: &Path, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let journal = path.starts_with("/volume/journal");
        Arc::new(GatedFile { inner, gate: journal.then(|| self.gate.clone()) })
    }
}

impl Disk for GatedDisk {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(path, self.inner.create_new(path)?))
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.gated(path, self.inner.open(path)?))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open_read(path)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.link(from, to)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.inner.unlink(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(path)
    }
    fn entries(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.entries(path)
    }
    fn identity(&self, path: &Path) -> io::Result<Identity> {
        Disk::identity(&self.inner, path)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }
    fn capacity(&self, path: &Path) -> io::Result<(u64, u64)> {
        self.inner.capacity(path)
    }
}

/// A volume in a directory of a simulated disk.
pub struct House {
    pub volume: Volume,
    pub index: Index,
    pub gate: Gate,
    pub pool: tokio::runtime::Runtime,
}

impl House {
    /// Opens (and formats, if it is new) the volume on `disk`.
    pub fn open(disk: &SimDisk) -> Self {
        let gate = Gate::default();
        let seen: Arc<dyn Disk> = Arc::new(GatedDisk { inner: disk.clone(), gate: gate.clone() });
        let pool = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let env = Env::real();
        let store = Directory::create(seen.clone(), "/volume", &env).unwrap();
        let log = LogConfig {
            store: Arc::new(store),
            disk: seen,
            env,
            journal: Some("/volume/journal".into()),
            pool: pool.handle().clone(),
            cache_bytes: 8 << 20,
            unsynced_bytes: 32 << 20,
            holder: "test".into(),
            take_over: false,
            abandon_journal: false,
            key: None,
            inline_only: false,
            destage: logseg::DestageConfig::default(),
            disk_cache: None,
        };
        let header = VolumeHeader {
            uuid: [3; 16],
            segment_bytes: 1 << 20,
            fencing: true,
            name_secret: [4; 16],
            handle_key: [5; 32],
            wrapped_key: None,
        };
        let (index, volume) = pool.block_on(async {
            if Recovery::volume(&log).await.unwrap().is_none() {
                Recovery::format(&log, &header).await.unwrap();
            }
            let config = IndexConfig::new(log, header, 64 << 20);
            let index = Index::open(config).await.unwrap();
            let volume = Volume::open(index.clone(), (0, 0)).await.unwrap();
            (index, volume)
        });
        Self { volume, index, gate, pool }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // A test that failed must not wait for ever for a journal thread behind the gate.
        self.gate.open();
    }
}
