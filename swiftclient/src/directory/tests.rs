use super::*;
use crate::disk::OsDisk;

fn name(n: &str) -> ObjectName {
    ObjectName::new(n).unwrap()
}

fn body(bytes: &'static [u8]) -> Vec<Bytes> {
    vec![Bytes::from_static(bytes)]
}

fn store(root: &Path) -> Directory {
    Directory::create(Arc::new(OsDisk), root, &Env::real()).unwrap()
}

fn temporaries(root: &Path) -> usize {
    std::fs::read_dir(root.join(TEMPORARY)).map_or(0, Iterator::count)
}

#[tokio::test]
async fn an_object_is_a_file_of_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    store.put_new(&name("seg/00/1"), vec!["ab".into(), "".into(), "cd".into()]).await.unwrap();
    assert_eq!(std::fs::read(dir.path().join("seg/00/1")).unwrap(), b"abcd");
    assert_eq!(temporaries(dir.path()), 0);
    let again = store.put_new(&name("seg/00/1"), body(b"x")).await.unwrap_err();
    assert!(matches!(again, StoreError::Exists { .. }), "{again}");
    assert_eq!(&store.get(&name("seg/00/1"), 1..100).await.unwrap()[..], b"bcd");
}

#[tokio::test]
async fn put_file_links_on_the_same_file_system_and_is_idempotent_for_the_same_inode() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let journal = dir.path().join("journal");
    std::fs::create_dir(&journal).unwrap();
    let file = journal.join("1");
    std::fs::write(&file, b"segment").unwrap();
    store.put_file(&name("seg/1"), &file, 7).await.unwrap();
    let ours = OsDisk.identity(&file).unwrap();
    assert_eq!(OsDisk.identity(&dir.path().join("seg/1")).unwrap(), ours);
    store.put_file(&name("seg/1"), &file, 7).await.unwrap();
    std::fs::write(journal.join("2"), b"segment").unwrap();
    let other = store.put_file(&name("seg/1"), &journal.join("2"), 7).await.unwrap_err();
    assert!(matches!(other, StoreError::Exists { .. }), "{other}");
}

#[tokio::test]
async fn put_file_of_a_longer_file_copies_its_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let file = dir.path().join("recycled");
    std::fs::write(&file, b"segment and old bytes").unwrap();
    store.put_file(&name("seg/1"), &file, 7).await.unwrap();
    assert_eq!(std::fs::read(dir.path().join("seg/1")).unwrap(), b"segment");
    let short = store.put_file(&name("seg/2"), &file, 70).await.unwrap_err();
    assert!(matches!(short, StoreError::Invalid { .. }), "{short}");
    let gone = store.put_file(&name("seg/2"), &dir.path().join("no"), 7).await.unwrap_err();
    assert!(matches!(gone, StoreError::Invalid { .. }), "{gone}");
    assert!(store.head(&name("seg/2")).await.unwrap_err().is_not_found());
    assert_eq!(temporaries(dir.path()), 0);
}

#[tokio::test]
async fn a_missing_or_replaced_root_is_never_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let absent = Directory::open(Arc::new(OsDisk), &root, &Env::real(), Options::default());
    assert!(matches!(absent.err().unwrap(), StoreError::Unavailable { .. }));

    let store = store(&root);
    assert!(store.head(&name("seg/1")).await.unwrap_err().is_not_found());
    std::fs::rename(&root, dir.path().join("aside")).unwrap();
    for there in [false, true] {
        if there {
            std::fs::create_dir(&root).unwrap();
        }
        for e in [
            store.head(&name("seg/1")).await.unwrap_err(),
            store.get(&name("seg/1"), 0..1).await.unwrap_err(),
            store.list("", None, 10).await.unwrap_err(),
            store.put_new(&name("seg/1"), body(b"x")).await.unwrap_err(),
            store.delete_many(&[name("seg/1")]).await.unwrap().remove(0).unwrap_err(),
        ] {
            assert!(matches!(e, StoreError::Unavailable { .. }), "{e}");
        }
    }
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
}

#[tokio::test]
async fn reserved_names_and_foreign_files_are_no_objects() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for reserved in ["tmp/1", "journal/1", "lock/1", "tmp"] {
        let e = store.put_new(&name(reserved), body(b"x")).await.unwrap_err();
        assert!(matches!(e, StoreError::Invalid { .. }), "{e}");
        let e = store.head(&name(reserved)).await.unwrap_err();
        assert!(matches!(e, StoreError::Invalid { .. }), "{e}");
    }
    for made in ["journal", "lost+found", "lock", "tmp"] {
        std::fs::create_dir(dir.path().join(made)).unwrap();
        std::fs::write(dir.path().join(made).join("f"), b"").unwrap();
    }
    std::fs::write(dir.path().join("with space"), b"").unwrap();
    std::os::unix::fs::symlink("volume", dir.path().join("link")).unwrap();
    store.put_new(&name("volume"), body(b"v")).await.unwrap();
    assert_eq!(store.list("", None, 10).await.unwrap(), [name("volume")]);
    store.put_new(&name("seg/1"), body(b"v")).await.unwrap();
    let e = store.get(&name("seg"), 0..1).await.unwrap_err();
    assert!(matches!(e, StoreError::Invalid { .. }), "{e}");
    let e = store.put_new(&name("volume/x"), body(b"v")).await.unwrap_err();
    assert!(matches!(e, StoreError::Invalid { .. }), "{e}");
}

#[tokio::test]
async fn deleted_objects_leave_the_descriptor_cache() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    store.put_new(&name("a"), body(b"1")).await.unwrap();
    store.get(&name("a"), 0..1).await.unwrap();
    store.delete_many(&[name("a"), name("b")]).await.unwrap();
    assert!(store.get(&name("a"), 0..1).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn the_sweep_takes_what_a_killed_writer_left() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = store(dir.path());
        let a = name("a");
        let mut writer = store.put_stream(&a).await.unwrap();
        writer.write(Bytes::from_static(b"half")).await.unwrap();
        assert_eq!(temporaries(dir.path()), 1);
        std::mem::forget(writer);
    }
    let store = store(dir.path());
    let living = name("b");
    let mut writer = store.put_stream(&living).await.unwrap();
    writer.write(Bytes::from_static(b"ours")).await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 1);
    assert_eq!(store.sweep().await.unwrap(), 0);
    writer.finish().await.unwrap();
    store.delete_many(&[living]).await.unwrap();
    assert_eq!(store.list("", None, 10).await.unwrap(), []);
}

mod harm;
