use swiftclient::disk::SimDisk;

use super::*;

const VOLUME: [u8; 16] = [7; 16];

/// Two first openers: whoever comes second writes under the identity that stands there, for under
/// its own no later opener would find its segments.
#[test]
fn of_two_that_make_a_journal_both_have_the_one_that_stands() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new());
    let dir = Path::new("/journal");
    let made = |seed| Journal::create(&disk, dir, &VOLUME, &Env::simulated(seed)).unwrap().uuid;
    let (first, second) = (made(1), made(2));
    assert_eq!(first, second);
    assert_eq!(Journal::find(&disk, dir, &VOLUME).unwrap().unwrap().uuid, first);
    let foreign = Journal::create(&disk, dir, &[8; 16], &Env::simulated(3));
    assert!(matches!(foreign, Err(LogError::Refused(_))));
}
