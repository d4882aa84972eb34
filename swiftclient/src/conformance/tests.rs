use std::time::Duration;

use super::*;
use crate::{
    Directory, ErrorKind, Faulty, Memory, Metered, Retrying, Verb,
    disk::{OsDisk, SimDisk},
    faulty::Fault,
    retrying::Policy,
    seam::Env,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_conforms() {
    let scratch = tempfile::tempdir().unwrap();
    let trial =
        Trial::new(Arc::new(Memory::new()), "trial").with_files(Arc::new(OsDisk), scratch.path());
    assert_conforms(&trial.thorough()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_directory_conforms_with_files_that_it_links() {
    let root = tempfile::tempdir().unwrap();
    let store = Directory::create(Arc::new(OsDisk), root.path(), &Env::real()).unwrap();
    let journal = root.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    let trial = Trial::new(Arc::new(store), "trial").with_files(Arc::new(OsDisk), &journal);
    assert_conforms(&trial).await;
    assert_eq!(std::fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_directory_stores_of_one_root_fence_each_other() {
    let root = tempfile::tempdir().unwrap();
    let open = || Directory::create(Arc::new(OsDisk), root.path(), &Env::real()).unwrap();
    let stores = [open(), open()];
    for round in 0..50 {
        let name = ObjectName::new(format!("seg/{round}")).unwrap();
        let racers = stores.clone().map(|store| {
            let name = name.clone();
            tokio::spawn(async move { store.put_new(&name, vec![pattern(1, 100)]).await })
        });
        let mut won = 0;
        for racer in racers {
            won += usize::from(racer.await.unwrap().is_ok());
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn a_directory_on_the_simulated_disk_conforms() {
    let disk = Arc::new(SimDisk::new());
    let store = Directory::create(disk.clone(), "/volume", &Env::simulated(1)).unwrap();
    disk.create_dir(Path::new("/volume/journal")).unwrap();
    let trial = Trial::new(Arc::new(store), "trial").with_files(disk, Path::new("/volume/journal"));
    assert_conforms(&trial).await;
}

/// Every wrapper around `store`, the faults among them such as must not be seen from outside.
fn wrapped(store: Arc<dyn ObjectStore>, disk: Arc<dyn Disk>) -> (Arc<dyn ObjectStore>, Faulty) {
    let env = Env::simulated(1);
    let faulty = Faulty::new(store).on_disk(disk.clone());
    let faults = [
        Fault::Refuse(ErrorKind::Unavailable),
        Fault::Refuse(ErrorKind::Unknown),
        Fault::LoseReply,
        Fault::Hang,
        Fault::HangAfter,
        Fault::Delay(Duration::from_millis(300)),
    ];
    use Verb::{Delete, Get, Head, List, OpenStream, Put, PutFile};
    let verbs = [Delete, Get, Head, List, OpenStream, Put, PutFile];
    faulty.at_random(9, 200, &faults, &verbs);
    let policy = Policy { budget: Duration::from_secs(3600), ..Policy::default() };
    let metered = Metered::new(Arc::new(faulty.clone()), &env);
    let retrying = Retrying::new(Arc::new(metered), policy, &env).on_disk(disk);
    (Arc::new(Metered::new(Arc::new(retrying), &env)), faulty)
}

#[tokio::test(start_paused = true)]
async fn memory_conforms_through_faults_and_retries() {
    let scratch = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let (store, faulty) = wrapped(Arc::new(Memory::new()), disk.clone());
    assert_conforms(&Trial::new(store, "trial").with_files(disk, scratch.path())).await;
    assert!(faulty.faults() > 100, "{} faults", faulty.faults());
}

#[tokio::test(start_paused = true)]
async fn a_directory_conforms_through_faults_and_retries() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let store = Directory::create(disk.clone(), "/volume", &Env::simulated(1)).unwrap();
    disk.create_dir(Path::new("/volume/journal")).unwrap();
    let (store, faulty) = wrapped(Arc::new(store), disk.clone());
    let trial = Trial::new(store, "trial").with_files(disk, Path::new("/volume/journal"));
    assert_conforms(&trial).await;
    assert!(faulty.faults() > 100, "{} faults", faulty.faults());
}

mod wrong;
