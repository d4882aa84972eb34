//! Opening a store by its name, and refusing what holds something else.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use swiftclient::{Directory, Memory, Metered, ObjectStore, disk::Disk, seam::Env};

use crate::store_url::StoreUrl;

/// A store as the log uses it, and the meter in it.
///
/// ```text
///   log ──► (what tries again) ──► Metered ──► the store: every try is counted
/// ```
pub struct Store {
    pub objects: Arc<dyn ObjectStore>,
    pub meter: Arc<Metered>,
}

impl Store {
    /// Opens `url`. Nothing is written but the directory of a directory store.
    pub fn open(url: &StoreUrl, disk: &Arc<dyn Disk>, env: &Env) -> Result<Self, String> {
        let bare: Arc<dyn ObjectStore> = match url {
            StoreUrl::Memory => Arc::new(Memory::new()),
            StoreUrl::Directory(path) => {
                // Links and locks need one name for the directory, wherever the process stands.
                let path = absolute(path)?;
                refuse_foreign(&path)?;
                Arc::new(Directory::create(disk.clone(), path, env).map_err(|e| e.to_string())?)
            }
            StoreUrl::S3 { .. } | StoreUrl::Swift { .. } => {
                return Err(format!("{url}: this build cannot reach network stores"));
            }
        };
        let meter = Arc::new(Metered::new(bare, env));
        Ok(Self { objects: meter.clone(), meter })
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
