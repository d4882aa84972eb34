use super::*;
use crate::seam::sim::SeededDice;

fn made(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.create_new(Path::new(path)).unwrap();
    file.write_at(0, &[bytes]).unwrap();
    file
}

fn durable(disk: &SimDisk, path: &str, bytes: &[u8]) {
    made(disk, path, bytes).sync_data().unwrap();
    disk.sync_dir(Path::new(path).parent().unwrap()).unwrap();
}

fn read(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    disk.bytes(Path::new(path)).ok()
}

/// What `path` held after each of many crashes, over many seeds.
fn wrecks(disk: &SimDisk, path: &str) -> Vec<Option<Vec<u8>>> {
    (0..200).map(|seed| read(&disk.wreck(&SeededDice::new(seed)), path)).collect()
}

#[test]
fn a_file_needs_its_own_sync_and_its_directorys() {
    let disk = SimDisk::new();
    durable(&disk, "/both", b"both");
    made(&disk, "/data-only", b"data").sync_data().unwrap();
    disk.crash_losing_unsynced();
    let disk = disk.process();
    assert_eq!(read(&disk, "/both").unwrap(), b"both");
    assert_eq!(read(&disk, "/data-only"), None);

    made(&disk, "/name-only", b"data");
    disk.sync_dir(Path::new("/")).unwrap();
    disk.crash_losing_unsynced();
    let disk = disk.process();
    assert_eq!(read(&disk, "/name-only").unwrap(), b"");
}

#[test]
fn what_was_synced_survives_every_crash_and_what_was_not_meets_every_fate() {
    let disk = SimDisk::new();
    durable(&disk, "/f", &[1; 4096]);
    let file = disk.open(Path::new("/f")).unwrap();
    file.write_at(4096, &[&[2; 2048]]).unwrap();
    let outcomes = wrecks(&disk, "/f");
    for outcome in &outcomes {
        let bytes = outcome.as_ref().unwrap();
        assert_eq!(bytes[..4096], [1; 4096]);
        for sector in bytes[4096..].chunks(SECTOR) {
            assert!(sector.iter().all(|b| *b == sector[0]), "a sector was torn");
        }
    }
    let count = |want: &dyn Fn(&[u8]) -> bool| {
        outcomes.iter().filter(|o| want(&o.as_ref().unwrap()[4096..])).count()
    };
    assert!(count(&|tail| tail.is_empty()) > 10, "never lost");
    assert!(count(&|tail| tail == [2; 2048]) > 10, "never kept");
    assert!(count(&|tail| tail.contains(&0) && tail.contains(&2)) > 10, "never torn");
}

#[test]
fn writes_are_lost_each_on_its_own_and_reordered() {
    let disk = SimDisk::new();
    durable(&disk, "/f", &[0; 1024]);
    let file = disk.open(Path::new("/f")).unwrap();
    file.write_at(0, &[&[1; 512]]).unwrap();
    file.write_at(512, &[&[2; 512]]).unwrap();
    file.write_at(0, &[&[3; 512]]).unwrap();
    let outcomes = wrecks(&disk, "/f");
    let has = |a, b| outcomes.iter().flatten().any(|o| o[0] == a && o[512] == b);
    for (a, b) in [(0, 0), (1, 0), (0, 2), (3, 0), (1, 2), (3, 2)] {
        assert!(has(a, b), "never {a}, {b}");
    }
}

#[test]
fn the_same_dice_make_the_same_wreck() {
    let disk = SimDisk::new();
    for i in 0..20 {
        made(&disk, &format!("/f{i}"), &[i; 3000]);
    }
    let wreck = |seed| {
        let wreck = disk.wreck(&SeededDice::new(seed));
        (0..20).map(|i| read(&wreck, &format!("/f{i}"))).collect::<Vec<_>>()
    };
    assert_eq!(wreck(5), wreck(5));
    assert_ne!(wreck(5), wreck(6));
}

#[test]
fn names_meet_their_fate_one_by_one_and_renames_are_whole() {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/d")).unwrap();
    durable(&disk, "/old", b"x");
    disk.rename(Path::new("/old"), Path::new("/d/new")).unwrap();
    made(&disk, "/a", b"").sync_data().unwrap();
    made(&disk, "/b", b"").sync_data().unwrap();
    let (mut moved, mut one_alone) = (0, 0);
    for seed in 0..200 {
        let wreck = disk.wreck(&SeededDice::new(seed));
        let (old, new) = (read(&wreck, "/old").is_some(), read(&wreck, "/d/new").is_some());
        assert!(old != new, "the renamed file has both names, or none");
        moved += usize::from(new);
        one_alone += usize::from(read(&wreck, "/a").is_some() != read(&wreck, "/b").is_some());
    }
    assert!((20..180).contains(&moved), "{moved}");
    assert!(one_alone > 20, "{one_alone}");
    disk.sync_dir(Path::new("/")).unwrap();
    disk.crash_losing_unsynced();
    assert_eq!(read(&disk.process(), "/d/new").unwrap(), b"x");
}

#[test]
fn a_lost_unlink_brings_the_file_back_and_a_lost_directory_takes_all_below() {
    let disk = SimDisk::new();
    durable(&disk, "/f", b"back");
    disk.unlink(Path::new("/f")).unwrap();
    disk.create_dir(Path::new("/new")).unwrap();
    durable(&disk, "/new/f", b"deep");
    let wreck = disk.clone();
    wreck.crash_losing_unsynced();
    let disk = disk.process();
    assert_eq!(read(&disk, "/f").unwrap(), b"back");
    assert!(!disk.exists(Path::new("/new")).unwrap());
    disk.unlink(Path::new("/f")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.crash_losing_unsynced();
    assert!(!disk.process().exists(Path::new("/f")).unwrap());
}

#[test]
fn made_directories_are_durable_with_their_parents() {
    let disk = SimDisk::new();
    disk.create_dir_all(Path::new("/a/b/c")).unwrap();
    disk.crash_losing_unsynced();
    let disk = disk.process();
    assert!(disk.exists(Path::new("/a/b/c")).unwrap());
    let found = disk.entries(Path::new("/a")).unwrap();
    assert_eq!(found, [DirEntry { name: "b".into(), kind: EntryKind::Directory }]);
}

#[test]
fn after_a_failed_fdatasync_the_bytes_count_as_clean_and_are_lost() {
    let disk = SimDisk::new();
    let file = made(&disk, "/journal", b"first");
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.harm(Harmed::nth(Operation::SyncData, 1, libc::EIO).at("journal"));
    file.sync_data().unwrap();
    file.write_at(5, &[b" second"]).unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(libc::EIO));
    file.sync_data().unwrap(); // says Ok, as Linux does, and proves nothing
    assert_eq!(read(&disk, "/journal").unwrap(), b"first second");
    disk.crash(&SeededDice::new(1));
    assert_eq!(read(&disk.process(), "/journal").unwrap(), b"first");
}

#[test]
fn after_a_failed_directory_fsync_the_name_is_lost() {
    let disk = SimDisk::new();
    made(&disk, "/f", b"x").sync_data().unwrap();
    disk.harm(Harmed::nth(Operation::SyncDir, 0, libc::EIO));
    disk.sync_dir(Path::new("/")).unwrap_err();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.crash(&SeededDice::new(1));
    assert_eq!(read(&disk.process(), "/f"), None);
}

#[test]
fn room_ends_with_a_short_write_and_comes_back_with_an_unlink() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(10));
    let first = made(&disk, "/a", b"123456");
    let second = disk.create_new(Path::new("/b")).unwrap();
    let full = second.write_at(0, &[b"abc", b"defg"]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    assert_eq!(read(&disk, "/b").unwrap(), b"abcd");
    assert_eq!(disk.capacity(Path::new("/")).unwrap(), (10, 0));
    first.write_at(0, &[b"654321"]).unwrap(); // overwriting takes no room
    assert!(first.allocate(7).is_err());
    disk.unlink(Path::new("/a")).unwrap();
    assert_eq!(disk.used(), 10, "an open file keeps its room");
    drop(first);
    assert_eq!(disk.used(), 4);
    second.write_at(4, &[b"efg"]).unwrap();
    second.set_len(0).unwrap();
    assert_eq!(disk.used(), 0);
}

#[test]
fn a_planned_short_write_leaves_its_beginning() {
    let disk = SimDisk::new();
    let file = disk.create_new(Path::new("/f")).unwrap();
    let harm = Harm::Short(3, libc::EIO);
    disk.harm(Harmed { harm, ..Harmed::nth(Operation::Write, 0, libc::EIO) });
    assert!(file.write_at(0, &[b"ab", b"cdef"]).is_err());
    assert_eq!(read(&disk, "/f").unwrap(), b"abc");
    file.write_at(3, &[b"def"]).unwrap();
    assert_eq!(disk.count(Operation::Write), 2);
    assert_eq!(disk.log().last().unwrap(), &(Operation::Write, PathBuf::from("/f")));
}

#[test]
fn locks_end_with_handle_process_and_machine() {
    let disk = SimDisk::new();
    durable(&disk, "/lock", b"");
    let rival = disk.process();
    let open = |disk: &SimDisk| disk.open(Path::new("/lock")).unwrap();
    let (ours, theirs) = (open(&disk), open(&rival));
    assert!(ours.try_lock().unwrap() && ours.try_lock().unwrap());
    assert!(!theirs.try_lock().unwrap());
    drop(ours);
    assert!(theirs.try_lock().unwrap());
    let ours = open(&disk);
    assert!(!ours.try_lock().unwrap());
    rival.kill();
    assert!(ours.try_lock().unwrap());
    assert!(theirs.try_lock().is_err(), "a dead process did something");
    disk.crash(&SeededDice::new(1));
    assert!(ours.write_at(0, &[b"ghost"]).is_err(), "a dead process did something");
    assert!(open(&disk.process()).try_lock().unwrap());
}

#[test]
fn killing_a_process_keeps_what_it_wrote() {
    let disk = SimDisk::new();
    made(&disk, "/f", b"in the page cache");
    disk.kill();
    assert!(disk.exists(Path::new("/f")).is_err());
    assert_eq!(read(&disk.process(), "/f").unwrap(), b"in the page cache");
}

#[test]
fn power_off_freezes_everyone_until_the_crash() {
    let disk = SimDisk::new();
    let file = made(&disk, "/f", b"1");
    disk.harm(Harmed::power_off(1));
    file.write_at(1, &[b"2"]).unwrap();
    file.write_at(2, &[b"3"]).unwrap_err();
    assert!(disk.is_power_off());
    assert!(disk.process().exists(Path::new("/f")).is_err());
    disk.crash(&SeededDice::new(0));
    assert!(!disk.is_power_off());
    disk.process().create_new(Path::new("/g")).unwrap();
}

#[test]
fn rot_changes_the_platter() {
    let disk = SimDisk::new();
    durable(&disk, "/f", b"abc");
    disk.edit(Path::new("/f"), |bytes| bytes[1] ^= 1).unwrap();
    disk.crash_losing_unsynced();
    assert_eq!(read(&disk.process(), "/f").unwrap(), b"acc");
}
