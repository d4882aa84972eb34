use bytes::Bytes;

use super::*;
use crate::{
    Directory, ObjectName, ObjectStore,
    disk::SimDisk,
    seam::{Env, sim::SeededDice},
};

#[test]
fn classes_are_told_apart_by_path() {
    let file = |p| SyncClass::of_file(Path::new(p));
    let dir = |p| SyncClass::of_dir(Path::new(p));
    assert_eq!(file("/v/journal/1-0"), Some(SyncClass::JournalData));
    assert_eq!(file("/v/tmp/1-0"), Some(SyncClass::TempData));
    assert_eq!(file("/v/lock/7"), Some(SyncClass::LockData));
    assert_eq!(file("/v/seg/7"), None);
    assert_eq!(dir("/v/journal"), SyncClass::JournalDir);
    assert_eq!(dir("/v/seg/00"), SyncClass::ObjectDir);
    assert_eq!(dir("/v"), SyncClass::OtherDir);
    for class in SyncClass::ALL {
        assert_eq!(class.name().parse(), Ok(class));
    }
    assert!("journal".parse::<SyncClass>().is_err());
}

/// Puts objects in every way and kills the machine after each put; gives what was lost or damaged
/// of what had been said to be stored.
async fn broken_promises(disk: Arc<dyn Disk>, sim: &SimDisk) -> Vec<String> {
    let env = Env::simulated(1);
    let root = Path::new("/var/volume");
    let store = Directory::create(Arc::clone(&disk), root, &env).unwrap();
    let journal = root.join("journal");
    disk.create_dir_all(&journal).unwrap();
    let mut promised: Vec<(ObjectName, Vec<u8>)> = Vec::new();
    let mut broken = Vec::new();
    for i in 0..24_u8 {
        let name = ObjectName::new(format!("seg/{}/{i}", i % 2)).unwrap();
        let bytes = vec![i + 1; 700 * usize::from(i)];
        match i % 3 {
            0 => store.put_new(&name, vec![bytes.clone().into()]).await.unwrap(),
            1 => {
                let mut writer = store.put_stream(&name).await.unwrap();
                writer.write(Bytes::from(bytes.clone())).await.unwrap();
                writer.finish().await.unwrap();
            }
            _ => {
                let path = journal.join(i.to_string());
                let file = disk.create_new(&path).unwrap();
                file.write_at(0, &[&bytes]).unwrap();
                drop(file);
                store.put_file(&name, &path, bytes.len() as u64).await.unwrap();
            }
        }
        promised.push((name, bytes));
        let wreck = sim.wreck(&SeededDice::new(u64::from(i)));
        for (name, bytes) in &promised {
            match wreck.bytes(&root.join(name.as_str())) {
                Ok(found) if found == *bytes => {}
                Ok(found) => broken.push(format!("{name}: {} bytes, or others", found.len())),
                Err(e) => broken.push(format!("{name}: {e}")),
            }
        }
    }
    broken
}

#[tokio::test]
async fn a_directory_store_keeps_its_word_when_the_machine_dies() {
    let sim = SimDisk::new();
    assert_eq!(broken_promises(Arc::new(sim.clone()), &sim).await, Vec::<String>::new());
}

#[tokio::test]
async fn leaving_out_any_class_of_sync_breaks_the_stores_word() {
    use SyncClass::{JournalData, ObjectDir, OtherDir, TempData};
    for class in [JournalData, TempData, ObjectDir, OtherDir] {
        let sim = SimDisk::new();
        let omitting = Omitting::new(Arc::new(sim.clone()), class);
        let broken = broken_promises(Arc::new(omitting.clone()), &sim).await;
        assert!(omitting.omitted() > 0, "{} was never asked for", class.name());
        assert!(!broken.is_empty(), "{} may be left out unnoticed", class.name());
    }
}
