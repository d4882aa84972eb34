//! The targets. At most twelve: what runs for two minutes in all must run long enough each.

use bytes::Bytes;
use inode::{Entry, Extent, Inode, Pending};
use logseg::format::{
    ENTRY_HEADER, EntryHeader, JournalIdentity, JournalSeal, Kind, SEGMENT_HEADER, Seal, Seed,
    SegmentHeader, Tail, chain_object, decode_checkpoint, decode_volume, encode_volume, open_body,
    parse_name, scan, scan_sealed, verify_body,
};
use logseg::{CheckpointName, Codec, Owner, SegmentId, Seq};
use nfssvr::Exports;

/// One of them.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// What it does with some bytes.
    pub run: fn(&[u8]),
}

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("record", record),
    target("call", call),
    target("segment", segment),
    target("entries", entries),
    target("envelope", envelope),
    target("page", page),
    target("index", index),
    target("files", files),
    target("exports", exports),
    target("settings", settings),
    target("documents", documents),
    target("frames", frames),
];

/// Record marking: the records are the same however the bytes arrive (RFC 5531 §11).
fn record(bytes: &[u8]) {
    let whole = nfssvr::fuzz::records(bytes, usize::MAX);
    for piece in [1, 3, 1000] {
        assert_eq!(nfssvr::fuzz::records(bytes, piece), whole, "in pieces of {piece}");
    }
    let held: usize = whole.iter().map(Bytes::len).sum();
    assert!(held <= bytes.len());
}

/// RPC header, credentials, the arguments of all 22 procedures and MOUNT's paths.
fn call(bytes: &[u8]) {
    let _ = nfssvr::fuzz::call(&Bytes::copy_from_slice(bytes));
}

/// A segment as recovery reads it: what is given stands in the bytes, and the footer that would be
/// written over it closes it.
fn segment(bytes: &[u8]) {
    let Ok(scanned) = scan(bytes) else {
        assert!(scan_sealed(bytes).is_err(), "sealed, and yet no segment");
        return;
    };
    assert!(scanned.end as usize <= bytes.len());
    for entry in &scanned.entries {
        let body = entry.body(bytes);
        assert_eq!(body.len(), entry.header.body_len as usize);
        assert!(verify_body(&entry.header, body).is_ok(), "scanned entries are verified");
    }
    let torn = !matches!(scanned.tail, Tail::Footer(_));
    if torn {
        let mut closed = bytes[..scanned.end as usize].to_vec();
        closed.extend_from_slice(&scanned.footer.encode(scanned.end, scanned.mark));
        let again = scan_sealed(&closed).map(|again| again.entries);
        assert_eq!(again, Ok(scanned.entries), "closed over its good entries");
    }
}

/// Entries whose header checksum holds and whose fields are hostile: bytes become fields.
fn entries(bytes: &[u8]) {
    let nonce = [9; 16];
    let seed = Seed::new(&nonce);
    let number = |at: usize| {
        let mut n = [0; 4];
        for (to, from) in n.iter_mut().zip(bytes.get(at..).unwrap_or_default()) {
            *to = *from;
        }
        u32::from_le_bytes(n)
    };
    let body = bytes.get(32..).unwrap_or_default();
    let kinds = [Kind::Data, Kind::Record, Kind::Page, Kind::Root, Kind::Mark, Kind::Closed];
    let codecs = [Codec::Stored, Codec::Lz4, Codec::Zstd];
    let small = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let honest = number(0) & 0x100 != 0;
    let header = EntryHeader {
        kind: kinds[number(0) as usize % kinds.len()],
        codec: codecs[number(1) as usize % codecs.len()],
        encrypted: number(2) & 1 != 0,
        ordinal: number(4),
        decoded_len: number(8),
        body_len: if honest { small } else { number(12) },
        body_crc: if honest { crc(body) } else { number(16) },
        seq: Seq(u64::from(number(20))),
        owner: Owner(u64::from(number(24))),
        mark: number(28),
    };
    let raw = header.encode(&seed, 256);
    let Ok(read) = EntryHeader::decode(&raw, &seed, 256) else { return };
    assert_eq!(read, header, "a header is read as it was written");
    assert!(read.table_len() <= read.body_len as usize || verify_body(&read, body).is_err());
    if verify_body(&read, body).is_ok() {
        let opened = open_body(&read, 256, &Bytes::copy_from_slice(body), None);
        if let Ok(opened) = opened {
            assert_eq!(opened.len(), read.decoded_len as usize);
        }
    }
    let mut segment = SegmentHeader::decode(&blank_header(nonce)).map(|_| blank_header(nonce));
    if let Ok(segment) = &mut segment {
        segment.extend_from_slice(&raw);
        segment.extend_from_slice(body);
        self::segment(segment);
    }
    assert_eq!(raw.len(), ENTRY_HEADER);
}

fn blank_header(nonce: [u8; 16]) -> Vec<u8> {
    let header = SegmentHeader {
        volume: [1; 16],
        id: SegmentId::chain(3, 4),
        nonce,
        journal: [0; 16],
        durability: logseg::format::Durability::Store,
        first_seq: Seq(1),
        stored_through: SegmentId::chain(3, 0),
        segment_bytes: 16 << 20,
        encrypted: false,
    };
    let bytes = header.encode().to_vec();
    debug_assert_eq!(bytes.len(), SEGMENT_HEADER);
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// Volume, checkpoint, seal, journal: as they come, and with length and checksum put right, so that
/// the fields behind them are reached.
fn envelope(bytes: &[u8]) {
    objects(bytes);
    let mut right = bytes.to_vec();
    if right.len() >= 36 {
        let len = u32::try_from(right.len()).unwrap_or(u32::MAX);
        right[12..16].copy_from_slice(&len.to_le_bytes());
        let at = right.len() - 4;
        let sum = crc(&right[..at]);
        right[at..].copy_from_slice(&sum.to_le_bytes());
        objects(&right);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse_name(text);
    }
}

fn objects(bytes: &[u8]) {
    if let Ok(header) = decode_volume(bytes) {
        assert_eq!(encode_volume(&header), bytes);
    }
    let name = CheckpointName { epoch: 2, number: 1 };
    let volume = bytes.get(16..32).and_then(|b| b.try_into().ok()).unwrap_or([0; 16]);
    let _ = decode_checkpoint(&volume, name, &Bytes::copy_from_slice(bytes));
    let _ = chain_object(bytes);
    if let Ok(header) = SegmentHeader::decode(bytes) {
        assert_eq!(header.encode()[..], bytes[..SEGMENT_HEADER]);
    }
    if let Ok(seal) = Seal::decode(bytes) {
        assert_eq!(seal.encode(), bytes);
    }
    if let Ok(identity) = JournalIdentity::decode(bytes) {
        assert_eq!(identity.encode(), bytes);
    }
    if let Ok(seal) = JournalSeal::decode(bytes) {
        assert_eq!(seal.encode(), bytes);
    }
}

/// A page of the index: what is accepted is written again as something that is accepted.
fn page(bytes: &[u8]) {
    if let Some(again) = headhunter::fuzz::page(bytes) {
        assert_eq!(headhunter::fuzz::page(&again), Some(again.clone()));
    }
}

/// A record, a checkpoint, a reply table.
fn index(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Some(again) = headhunter::fuzz::record(&bytes) {
        let twice = headhunter::fuzz::record(&again.clone().into());
        assert_eq!(twice, Some(again));
    }
    if let Some(again) = headhunter::fuzz::checkpoint(&bytes) {
        let twice = headhunter::fuzz::checkpoint(&again.clone().into());
        assert_eq!(twice, Some(again));
    }
    if let Some(n) = headhunter::fuzz::replies(&bytes) {
        assert!(n <= bytes.len());
    }
}

/// Values of the index that make up files.
fn files(bytes: &[u8]) {
    let (first, value) = bytes.split_at(bytes.len().min(8));
    let mut start = [0; 8];
    start[..first.len()].copy_from_slice(first);
    let start = u64::from_le_bytes(start);
    if let Some(inode) = Inode::decode(start, value) {
        let again = Inode::decode(start, &inode.encode());
        assert_eq!(again.as_ref().map(Inode::encode), Some(inode.encode()));
    }
    if let Some(extent) = Extent::decode(start, value) {
        assert_eq!(Extent::decode(start, &extent.encode()), Some(extent));
        let _ = inode::referenced(bytes, value);
    }
    if let Some(entry) = Entry::decode(start, &Bytes::copy_from_slice(value)) {
        assert_eq!(Entry::decode(start, &entry.encode()), Some(entry));
    }
    if let Some(pending) = Pending::decode(value) {
        assert_eq!(Pending::decode(&pending.encode()), Some(pending));
    }
}

/// Rules in exports(5)'s words.
fn exports(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(exports) = Exports::parse(text) {
        let peer = std::net::Ipv4Addr::new(10, 1, 2, 3).into();
        let grants = exports.grants(peer);
        let _ = exports.holding(&[], &grants);
    }
}

/// What a store sends: S3's errors, listings and outcomes of deletions; Swift's answers.
fn documents(bytes: &[u8]) {
    let given = [swiftclient::s3::fuzz(bytes), swiftclient::swift::fuzz(bytes)];
    assert!(given.into_iter().flatten().all(|names| names <= bytes.len()));
}

/// Frames of our own protocol are the same however the bytes arrive, and what decodes is written as
/// the same bytes: a header, the handshake, a request. A body is read as every request and as the
/// words of a refusal.
fn frames(bytes: &[u8]) {
    let whole = rpcsvr::fuzz::frames(bytes, usize::MAX);
    for piece in [1, 7, 1000] {
        assert_eq!(rpcsvr::fuzz::frames(bytes, piece), whole, "in pieces of {piece}");
    }
    whole.iter().for_each(|frame| {
        rpcsvr::fuzz::request(frame);
    });
    let bytes = Bytes::copy_from_slice(bytes);
    let expected = rpc::expected(&bytes, rpc::limits::FRAME_BYTES);
    let Ok(frame) = rpc::Frame::of(&bytes) else { return };
    assert_eq!(expected.ok(), Some(Some(bytes.len())), "as long as its first bytes said");
    let header = frame.header;
    assert_eq!(header.encode()[..], bytes[..rpc::limits::HEADER_BYTES]);
    for op in rpc::Op::ALL {
        let _ = rpc::Request::decode(*op, &frame.body);
    }
    // What is no UTF-8 takes three bytes.
    assert!(rpc::Refusal::of(&frame).text.len() <= 3 * frame.body.len());
}

/// Store names, sizes, times and the configuration file.
fn settings(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for line in text.lines() {
        if let Some(written) = esker_daemon::fuzz::store_url(line) {
            let again = esker_daemon::fuzz::store_url(&written);
            assert_eq!(again.as_ref(), Some(&written), "of {line:?}");
        }
        let _ = esker_daemon::fuzz::size(line);
        let _ = esker_daemon::fuzz::interval(line);
    }
    let _ = esker_daemon::fuzz::settings(text);
}
