use super::*;

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn writes_more_pieces_than_one_call_takes() {
    let dir = scratch();
    let file = OsDisk.create_new(&dir.path().join("f")).unwrap();
    let bytes: Vec<u8> = (0..5000u32).flat_map(u32::to_le_bytes).collect();
    let pieces: Vec<&[u8]> = bytes.chunks(4).collect();
    file.write_at(7, &pieces).unwrap();
    let mut back = vec![0; bytes.len() + 100];
    assert_eq!(file.read_at(7, &mut back).unwrap(), bytes.len());
    assert_eq!(&back[..bytes.len()], &bytes[..]);
    assert_eq!(file.len().unwrap(), 7 + bytes.len() as u64);
    file.sync_data().unwrap();
    file.start_writeout(0, 4096).unwrap();
}

#[test]
fn a_read_past_the_end_is_short_and_empty_pieces_are_nothing() {
    let dir = scratch();
    let file = OsDisk.create_new(&dir.path().join("f")).unwrap();
    file.write_at(0, &[b"", b"abc", b""]).unwrap();
    let mut back = [0; 8];
    assert_eq!(file.read_at(1, &mut back).unwrap(), 2);
    assert_eq!(file.read_at(3, &mut back).unwrap(), 0);
    assert_eq!(file.read_at(300, &mut back).unwrap(), 0);
    assert!(file.read_at(u64::MAX, &mut back).is_err());
}

#[test]
fn files_are_private_and_created_once() {
    use std::os::unix::fs::PermissionsExt;
    let dir = scratch();
    let path = dir.path().join("f");
    OsDisk.create_new(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = OsDisk.create_new(&path).err().unwrap();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_lock_excludes_another_opening_and_ends_with_its_handle() {
    let dir = scratch();
    let path = dir.path().join("lock");
    let first = OsDisk.create_new(&path).unwrap();
    let second = OsDisk.open(&path).unwrap();
    assert!(first.try_lock().unwrap());
    assert!(!second.try_lock().unwrap());
    drop(first);
    assert!(second.try_lock().unwrap());
}

#[test]
fn link_never_replaces_and_shares_identity() {
    let dir = scratch();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let file = OsDisk.create_new(&a).unwrap();
    OsDisk.link(&a, &b).unwrap();
    assert_eq!(OsDisk.identity(&b).unwrap(), file.identity().unwrap());
    assert_eq!(OsDisk.link(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    OsDisk.unlink(&a).unwrap();
    assert!(!OsDisk.exists(&a).unwrap());
    assert!(OsDisk.exists(&b).unwrap());
    OsDisk.sync_dir(dir.path()).unwrap();
}

#[test]
fn directories_are_made_with_their_parents_and_listed_with_kinds() {
    let dir = scratch();
    let deep = dir.path().join("x/y/z");
    OsDisk.create_dir_all(&deep).unwrap();
    OsDisk.create_dir_all(&deep).unwrap();
    OsDisk.create_new(&dir.path().join("x/f")).unwrap();
    std::os::unix::fs::symlink("f", dir.path().join("x/s")).unwrap();
    let mut entries = OsDisk.entries(&dir.path().join("x")).unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let kinds: Vec<_> = entries.iter().map(|e| (e.name.to_str().unwrap(), e.kind)).collect();
    assert_eq!(
        kinds,
        [("f", EntryKind::File), ("s", EntryKind::Other), ("y", EntryKind::Directory)]
    );
    assert_eq!(OsDisk.list(&dir.path().join("x")).unwrap().len(), 3);
    assert!(OsDisk.create_dir_all(&dir.path().join("x/f")).is_err());
    assert!(OsDisk.create_dir_all(&dir.path().join("x/f/g")).is_err());
}

#[test]
fn allocation_grows_and_truncation_shrinks() {
    let dir = scratch();
    let file = OsDisk.create_new(&dir.path().join("f")).unwrap();
    file.allocate(0).unwrap();
    file.allocate(100_000).unwrap();
    assert_eq!(file.len().unwrap(), 100_000);
    file.allocate(10).unwrap();
    assert_eq!(file.len().unwrap(), 100_000);
    file.set_len(5).unwrap();
    assert_eq!(file.len().unwrap(), 5);
    let (total, free) = OsDisk.capacity(dir.path()).unwrap();
    assert!(total > 0 && free <= total);
}
