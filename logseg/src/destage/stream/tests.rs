use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use swiftclient::{
    Memory,
    disk::{Disk, SimDisk},
    seam::Env,
};

use super::*;
use crate::{
    Codec, DestageConfig, Frame, Log, LogConfig, LogWriter, Owner, Recovery, Sealed, Start,
    VolumeHeader, flush::Goal,
};

async fn open(journal: bool) -> (Log, LogWriter) {
    let sim = SimDisk::new();
    sim.set_capacity(Some(256 << 20));
    let disk: Arc<dyn Disk> = Arc::new(sim);
    let config = LogConfig {
        store: Arc::new(Memory::new().on_disk(disk.clone())),
        disk,
        env: Env::simulated(1),
        journal: journal.then(|| PathBuf::from("/v/journal")),
        pool: tokio::runtime::Handle::current(),
        cache_bytes: 1 << 20,
        unsynced_bytes: 64 << 20,
        holder: "host test, pid 1".into(),
        take_over: false,
        abandon_journal: false,
        key: None,
        inline_only: true,
        destage: DestageConfig::default(),
        disk_cache: None,
    };
    let header = VolumeHeader {
        uuid: *b"volume of stream",
        segment_bytes: 16 << 20,
        fencing: true,
        name_secret: [1; 16],
        handle_key: [2; 32],
        wrapped_key: None,
    };
    Recovery::format(&config, &header).await.unwrap();
    let mut recovery = Recovery::begin(config, header, Start::NEW).await.unwrap();
    while recovery.next().await.unwrap().is_some() {}
    match recovery.seal().await.unwrap() {
        Sealed::Open(both) => *both,
        Sealed::More(_) => panic!("nothing stood there"),
    }
}

fn write(writer: &mut LogWriter, frames: usize, len: usize) {
    for n in 0..frames {
        writer.begin().unwrap();
        let bytes = Bytes::from(vec![u8::try_from(n % 251).unwrap(); len]);
        writer.stage(&Frame::data(Owner(1), bytes, Codec::Stored));
        writer.commit(b"record");
    }
}

/// All that may be sent from `sent` on.
fn take(core: &Core, id: SegmentId, mut sent: u64, out: &mut Vec<u8>) -> (u64, Next) {
    loop {
        match core.next_bytes(id, sent) {
            Next::Pieces(pieces, upto) => {
                assert_eq!(pieces.iter().map(|p| p.len() as u64).sum::<u64>(), upto - sent);
                pieces.iter().for_each(|p| out.extend_from_slice(p));
                sent = upto;
            }
            Next::File(file, from, to) => {
                assert_eq!(from, sent);
                let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
                assert_eq!(file.file.read_at(from, &mut bytes).unwrap(), bytes.len());
                out.extend_from_slice(&bytes);
                sent = to;
            }
            next => return (sent, next),
        }
    }
}

/// R4, R13: bytes travel once they are in the journal file, and the rest only when all of it is
/// durable. Nothing else runs meanwhile: there is no await between the steps.
#[tokio::test(start_paused = true)]
async fn written_bytes_travel_and_the_end_waits_for_the_fdatasync() {
    for len in [3_000, 100_000] {
        let (log, mut writer) = open(true).await;
        let core = log.core();
        let id = writer.open_segment();
        let mut out = Vec::new();
        write(&mut writer, 4_000_000 / len, len);
        let (sent, next) = take(core, id, 0, &mut out);
        assert!(sent == 0 && matches!(next, Next::Wait(_)), "only in memory: {sent}");
        core.flush_inline(Goal::WriteOut);
        let (sent, next) = take(core, id, sent, &mut out);
        assert!(sent > 3_000_000 && matches!(next, Next::Wait(_)), "{sent}");
        assert_eq!(core.durable_seq().0, 0, "not durable, and on its way");
        // Durable before it was taken: from the file, and again from memory behind it.
        write(&mut writer, 1_000_000 / len, len);
        core.flush_inline(Goal::Sync);
        write(&mut writer, 1_000_000 / len, len);
        core.flush_inline(Goal::WriteOut);
        let (sent, next) = take(core, id, sent, &mut out);
        assert!(sent > 5_000_000 && matches!(next, Next::Wait(_)), "{sent}");
        // Sealed and written to its end, not durable: nothing more goes.
        write(&mut writer, 1_000_000 / len, len);
        writer.roll().unwrap();
        core.flush_inline(Goal::WriteOut);
        assert_eq!(core.lock().chain.find(id).map(|s| s.written == s.end), Some(true));
        let (sent, next) = take(core, id, sent, &mut out);
        assert!(matches!(next, Next::Wait(_)));
        core.flush_inline(Goal::Sync);
        let (sent, next) = take(core, id, sent, &mut out);
        assert!(matches!(next, Next::Whole));
        assert_eq!(sent, out.len() as u64);
        assert!(crate::format::scan_sealed(&Bytes::from(out)).is_ok(), "the bytes of the segment");
    }
}

/// Without a journal they travel as they are encoded; the end may go when the segment is sealed.
#[tokio::test(start_paused = true)]
async fn encoded_bytes_travel_without_a_journal() {
    let (log, mut writer) = open(false).await;
    let core = log.core();
    let id = writer.open_segment();
    let mut out = Vec::new();
    write(&mut writer, 1_000, 3_000);
    let (sent, next) = take(core, id, 0, &mut out);
    assert!(sent > 2_500_000 && matches!(next, Next::Wait(_)), "{sent}");
    writer.roll().unwrap();
    let (_, next) = take(core, id, sent, &mut out);
    assert!(matches!(next, Next::Whole));
    assert!(crate::format::scan_sealed(&Bytes::from(out)).is_ok(), "the bytes of the segment");
}
