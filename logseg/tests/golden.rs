//! Golden files freeze format version 1 (docs/format.md, section 2): each must decode, and encode
//! back to the same bytes. A change here is a new format version.
//!
//! `ESKER_BLESS=1 cargo test -p logseg --test golden` writes files that are absent, never others.

#![allow(clippy::unwrap_used)] // a test's panic is its report

use std::path::PathBuf;

use bytes::Bytes;
use logseg::{
    CheckpointName, Codec, Owner, SegmentId, Seq, VolumeHeader,
    crypto::{Secret, SegmentCipher, VolumeKey},
    format::*,
};

const VOLUME: [u8; 16] = *b"volume-uuid-0001";
const JOURNAL: [u8; 16] = *b"journal-uuid-001";
const NONCE: [u8; 16] = *b"a segment nonce!";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The golden file, after checking that `built` equals it.
fn golden(name: &str, built: &[u8]) -> Bytes {
    let path = path(name);
    if !path.exists() && std::env::var_os("ESKER_BLESS").is_some() {
        std::fs::write(&path, built).unwrap();
    }
    let file = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let at = file.iter().zip(built).position(|(a, b)| a != b);
    assert_eq!(at, None, "{name}: first difference");
    assert_eq!(file.len(), built.len(), "{name}: length");
    Bytes::from(file)
}

fn header(id: SegmentId, encrypted: bool) -> SegmentHeader {
    SegmentHeader {
        volume: VOLUME,
        id,
        nonce: NONCE,
        journal: JOURNAL,
        durability: Durability::Journal,
        first_seq: Seq(1000),
        stored_through: SegmentId::chain(2, 6),
        segment_bytes: 16 << 20,
        encrypted,
    }
}

fn key() -> VolumeKey {
    VolumeKey::from_bytes([0x5a; 32])
}

/// Bytes that any implementation can make: b[i] = (i · 131 + i / 256) mod 251.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 131 + i / 256) % 251).unwrap()).collect()
}

struct Writer {
    bytes: Vec<u8>,
    footer: FooterBuilder,
    seed: Seed,
    cipher: Option<SegmentCipher>,
    mark: u32,
}

impl Writer {
    fn new(header: &SegmentHeader) -> Self {
        Self {
            bytes: header.encode().to_vec(),
            footer: FooterBuilder::new(header),
            seed: Seed::new(&header.nonce),
            cipher: header.encrypted.then(|| SegmentCipher::new(&key(), &header.nonce)),
            mark: 0,
        }
    }

    fn at(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap()
    }

    fn entry(&mut self, kind: Kind, owner: u64, seq: u64, body: &[u8]) {
        let body = Body::new(kind, &Bytes::copy_from_slice(body), Codec::Stored).unwrap();
        let (at, n) = (self.at(), u32::try_from(self.footer.count()).unwrap());
        let (seed, cipher) = (self.seed, self.cipher.clone());
        let (owner, seq) = (Owner(owner), Seq(seq));
        let e = encode_entry(kind, &body, owner, seq, n, at, self.mark, &seed, cipher.as_ref());
        e.write_into(&mut self.bytes);
        self.footer.push(at, &e.fields, &e.header);
    }

    fn seal(mut self) -> Vec<u8> {
        let footer = self.footer.encode(self.at(), self.mark);
        self.bytes.extend_from_slice(&footer);
        self.bytes
    }
}

/// A chain segment: two transactions, a durable mark, side ids, a clean stop.
fn chain_segment(encrypted: bool) -> Vec<u8> {
    let mut w = Writer::new(&header(SegmentId::chain(2, 7), encrypted));
    w.entry(Kind::Data, 42, 1000, &pattern(5000));
    w.entry(Kind::Record, 0, 1000, b"first record");
    w.mark = w.at();
    w.entry(Kind::Mark, 0, 1000, b"");
    w.entry(Kind::SideReserve, 0, 1001, &64_u32.to_le_bytes());
    w.entry(Kind::Data, 43, 1002, b"");
    w.entry(Kind::Record, 0, 1002, &pattern(77));
    w.entry(Kind::Closed, 0, 1003, b"");
    w.mark = w.at();
    w.seal()
}

fn side_segment() -> Vec<u8> {
    let h = SegmentHeader { first_seq: Seq(0), ..header(SegmentId::side(2, 3), false) };
    let mut w = Writer::new(&h);
    w.entry(Kind::Page, 0, 0, &pattern(300));
    w.entry(Kind::Replies, 0, 0, b"replies");
    w.entry(Kind::Root, 0, 0, b"the root");
    w.seal()
}

/// Decodes every entry of a sealed segment and builds the segment again from what was read.
fn rebuilt(bytes: &Bytes) -> (Vec<u8>, Vec<(EntryHeader, Bytes)>) {
    let s = scan_sealed(bytes).unwrap();
    let seed = Seed::new(&s.header.nonce);
    let cipher = s.header.encrypted.then(|| SegmentCipher::new(&key(), &s.header.nonce));
    let (mut out, mut seen) = (s.header.encode().to_vec(), Vec::new());
    let mut footer = FooterBuilder::new(&s.header);
    for e in &s.entries {
        let stored = bytes.slice_ref(e.body(bytes));
        let plain = open_body(&e.header, e.offset, &stored, cipher.as_ref()).unwrap();
        let h = e.header;
        let body = Body::new(h.kind, &plain, Codec::Stored).unwrap();
        let again = encode_entry(
            h.kind,
            &body,
            h.owner,
            h.seq,
            h.ordinal,
            e.offset,
            h.mark,
            &seed,
            cipher.as_ref(),
        );
        assert_eq!(again.fields, h);
        again.write_into(&mut out);
        footer.push(e.offset, &again.fields, &again.header);
        seen.push((h, plain));
    }
    let Tail::Footer(f) = &s.tail else { panic!("{:?}", s.tail) };
    out.extend_from_slice(&footer.encode(s.end, f.tail.mark));
    (out, seen)
}

#[test]
fn chain_segment_plain_and_encrypted() {
    for (name, encrypted) in [("segment.bin", false), ("segment-encrypted.bin", true)] {
        let bytes = golden(name, &chain_segment(encrypted));
        let (again, seen) = rebuilt(&bytes);
        assert_eq!(again, bytes);
        let kinds: Vec<_> = seen.iter().map(|(h, _)| h.kind).collect();
        use Kind::{Closed, Data, Mark, Record, SideReserve};
        assert_eq!(kinds, [Data, Record, Mark, SideReserve, Data, Record, Closed]);
        assert_eq!(seen[0].1, pattern(5000));
        assert_eq!(seen[0].0.owner, Owner(42));
        assert_eq!(seen[1].1, "first record");
        assert_eq!(seen[5].1, pattern(77));
        let s = scan_sealed(&bytes).unwrap();
        assert_eq!(s.header, header(SegmentId::chain(2, 7), encrypted));
        assert_eq!(s.footer.last_seq(), Seq(1003));
        assert_eq!(s.mark, s.end);
    }
}

#[test]
fn side_segment_of_pages() {
    let bytes = golden("side.bin", &side_segment());
    let (again, seen) = rebuilt(&bytes);
    assert_eq!(again, bytes);
    assert_eq!(seen[0].1, pattern(300));
    assert_eq!(seen[2].1, "the root");
}

/// Compressors may change what they write; what they once wrote must stay readable.
#[test]
fn compressed_bodies_stay_readable() {
    let text = "log-structured ".repeat(600);
    for (name, codec) in [("lz4.bin", Codec::Lz4), ("zstd.bin", Codec::Zstd)] {
        let body = Body::new(Kind::Data, &Bytes::from(text.clone()), codec).unwrap();
        let seed = Seed::new(&NONCE);
        let e = encode_entry(Kind::Data, &body, Owner(1), Seq(2), 3, 256, 0, &seed, None);
        let mut built = Vec::new();
        e.write_into(&mut built);
        if !path(name).exists() {
            golden(name, &built);
        }
        let file = Bytes::from(std::fs::read(path(name)).unwrap());
        let h = EntryHeader::decode(&file, &seed, 256).unwrap();
        assert_eq!((h.codec, h.stored() as usize), (codec, file.len()));
        assert_eq!(h.encode(&seed, 256), file[..ENTRY_HEADER]);
        let body = file.slice(ENTRY_HEADER..ENTRY_HEADER + h.body_len as usize);
        assert_eq!(open_body(&h, 256, &body, None).unwrap(), text);
    }
}

#[test]
fn seals_and_journal_files() {
    let seal = Seal {
        volume: VOLUME,
        at: SegmentId::chain(2, 8),
        nonce: NONCE,
        journal: JOURNAL,
        take_over: true,
        abandon_journal: false,
        holder: "host a, pid 12, since 2026-01-02T03:04:05Z".to_owned(),
    };
    let bytes = golden("seal.bin", &seal.encode());
    assert_eq!(Seal::decode(&bytes).unwrap(), seal);

    let sealed = JournalSeal {
        volume: VOLUME,
        epoch: 2,
        nonce: NONCE,
        journal: JOURNAL,
        take_over: true,
        holder: seal.holder,
    };
    let bytes = golden("journal-sealed.bin", &sealed.encode());
    assert_eq!(JournalSeal::decode(&bytes).unwrap(), sealed);

    let identity = JournalIdentity { volume: VOLUME, journal: JOURNAL };
    let bytes = golden("journal.bin", &identity.encode());
    assert_eq!(JournalIdentity::decode(&bytes).unwrap(), identity);
}

#[test]
fn volume_and_checkpoint() {
    let secret = Secret::KeyFile(&[0x33; 32]);
    let wrapped = std::fs::read(path("wrapped-key.bin")).ok();
    let wrapped = wrapped.unwrap_or_else(|| {
        let new = key().wrap(&secret, &VOLUME, &swiftclient::seam::Env::real()).unwrap();
        golden("wrapped-key.bin", &new).to_vec()
    });
    let opened = VolumeKey::unwrap(&wrapped, &secret, &VOLUME).unwrap();
    assert!(opened == key());
    let volume = VolumeHeader {
        uuid: VOLUME,
        segment_bytes: 16 << 20,
        fencing: true,
        name_secret: *b"secret of names!",
        handle_key: *b"key of handles, which has 32 by.",
        wrapped_key: Some(wrapped),
    };
    let bytes = golden("volume-encrypted.bin", &encode_volume(&volume));
    assert_eq!(decode_volume(&bytes).unwrap(), volume);
    let plain = VolumeHeader { wrapped_key: None, fencing: false, ..volume };
    let bytes = golden("volume.bin", &encode_volume(&plain));
    assert_eq!(decode_volume(&bytes).unwrap(), plain);

    let name = CheckpointName { epoch: 2, number: 5 };
    let bytes = golden("checkpoint.bin", &encode_checkpoint(&VOLUME, name, b"what the index says"));
    assert_eq!(decode_checkpoint(&VOLUME, name, &bytes).unwrap(), "what the index says");
}

/// The checksums' published check values ("123456789"): a second implementation can start here.
#[test]
fn check_values() {
    assert_eq!(crc_fast::crc32_iscsi(b"123456789"), 0xe306_9283);
    assert_eq!(crc_fast::crc64_nvme(b"123456789"), 0xae8b_1486_0a79_9888);
}
