//! Bytes altered, cut and appended at random (seeded): decoders never panic, never give altered
//! bytes, and never call a loss of durable bytes a torn tail.

use proptest::prelude::*;

use super::*;

/// An unfinished segment whose bytes below `mark` are durable; no footer.
fn unfinished() -> (Vec<u8>, u32) {
    let mut b = Builder::new(&header(false));
    b.transaction(101, 300, Codec::Stored);
    b.sync();
    b.transaction(102, 9000, Codec::Stored);
    b.transaction(103, 9000, Codec::Zstd);
    b.sync();
    let durable = b.at();
    b.transaction(104, 20, Codec::Stored);
    b.transaction(105, 5000, Codec::Lz4);
    (b.bytes, durable)
}

/// What a scan of altered bytes may say: entries that stood there before, at their places, with
/// their bodies; and a tail only if nothing below the durable mark was lost.
fn check(original: &[u8], durable: u32, altered: &[u8]) {
    let good = scan(original).unwrap();
    match scan(altered) {
        Err(_) => {}
        Ok(s) => {
            assert_eq!(s.header, good.header);
            assert!(s.entries.len() <= good.entries.len());
            for (e, was) in s.entries.iter().zip(&good.entries) {
                assert_eq!(e, was);
                assert_eq!(e.body(altered), was.body(original));
            }
            let first_change = original.iter().zip(altered).position(|(a, b)| a != b);
            let first_change = first_change.unwrap_or(original.len().min(altered.len()));
            // An entry above the change tells that everything below it was durable.
            let told = good.entries.iter().any(|e| {
                let (at, end) = (e.offset as usize, (e.offset + e.header.stored()) as usize);
                e.header.mark == durable && altered.get(at..end) == original.get(at..end)
            });
            if told {
                assert!(first_change >= durable as usize, "damage at {first_change} called a tail");
            }
        }
    }
}

#[test]
fn every_single_bit_flip_is_seen() {
    let (bytes, durable) = unfinished();
    let whole = scan(&bytes).unwrap().entries.len();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at % 8);
        check(&bytes, durable, &altered);
        match scan(&altered) {
            Ok(s) => {
                assert!(at >= durable as usize, "a flip at {at} was called a tail");
                assert!(s.entries.len() < whole, "a flip at {at} was accepted");
                assert!(matches!(s.tail, Tail::Torn(_)));
            }
            Err(ScanError::Damaged { offset, .. }) => {
                assert!(offset as usize <= at && at < durable as usize);
            }
            Err(ScanError::Header(_)) => assert!(at < SEGMENT_HEADER),
        }
    }
}

#[test]
fn a_sealed_segment_bears_no_flip_cut_or_suffix() {
    for encrypted in [false, true] {
        let bytes = sample(encrypted);
        for at in (0..bytes.len()).step_by(3) {
            let mut altered = bytes.clone();
            altered[at] ^= 0x10;
            assert!(scan_sealed(&altered).is_err(), "a flip at {at}");
        }
        for len in (0..bytes.len()).step_by(17) {
            assert!(scan_sealed(&bytes[..len]).is_err(), "cut to {len}");
        }
        assert!(scan_sealed(&[&bytes[..], &[0]].concat()).is_err());
    }
}

#[test]
fn an_unfinished_segment_ends_by_zeros_or_by_a_tear() {
    let (bytes, durable) = unfinished();
    let all = scan(&bytes).unwrap();
    assert_eq!((all.end as usize, &all.tail, all.mark), (bytes.len(), &Tail::Open, durable));
    let preallocated = [&bytes[..], &[0; 4096]].concat();
    assert_eq!(scan(&preallocated).unwrap().tail, Tail::Open);
    assert_eq!(scan(&preallocated).unwrap().end, all.end);
    // Cut above the mark: the tail. Below: nobody can know from these bytes alone, except by an
    // entry behind the hole.
    let cut = scan(&bytes[..bytes.len() - 100]).unwrap();
    assert_eq!(cut.tail, Tail::Torn(EntryFault::Cut));
    assert_eq!(cut.entries.len(), all.entries.len() - 1);
    let mut hole = bytes.clone();
    hole[300..durable as usize].fill(0);
    assert!(matches!(scan(&hole), Err(ScanError::Damaged { offset: 256, .. })));
}

#[test]
fn a_lost_page_below_a_footer_is_a_tear_only_above_its_mark() {
    let mut b = Builder::new(&header(false));
    b.transaction(101, 300, Codec::Stored);
    b.sync();
    b.transaction(102, 9000, Codec::Stored);
    let at = b.at() as usize;
    let unsynced = b.footer.clone();
    b.transaction(103, 9000, Codec::Stored);
    let mut bytes = b.seal();
    bytes[at + 1000..at + 5000].fill(0);
    let s = scan(&bytes).unwrap();
    assert!(matches!(s.tail, Tail::Torn(EntryFault::Block(0))));
    assert_eq!((s.entries.len(), s.end as usize), (4, at));
    // What recovery writes: the footer over what is good.
    assert_eq!(s.footer.encode(s.end, 0), unsynced.encode(s.end, 0));
    assert!(matches!(scan_sealed(&bytes), Err(ScanError::Damaged { .. })));
}

#[test]
fn stale_bytes_of_a_recycled_file_never_pass() {
    let old = sample(false);
    let (id, nonce) = (SegmentId::chain(3, 8), *b"another-nonce-01");
    let header = SegmentHeader { id, nonce, ..header(false) };
    let mut b = Builder::new(&header);
    b.transaction(101, 5, Codec::Stored);
    let end = b.at();
    // The same shapes at the same offsets: only the seed tells them apart.
    let recycled = [&b.bytes[..], &old[end as usize..]].concat();
    let s = scan(&recycled).unwrap();
    assert_eq!((s.entries.len(), s.end, s.mark), (2, end, 0));
    // Sealed and not cut: the footer is found although more follows.
    let mut sealed = b.seal();
    let len = sealed.len();
    sealed.extend_from_slice(&old[len..]);
    assert_eq!(scan(&sealed).unwrap().sealed_len(), Some(len as u64));
    // The same entry at another offset of its own segment.
    let s = scan(&old).unwrap();
    let e = s.entries[0];
    let seed = Seed::new(&s.header.nonce);
    let bytes = &old[e.offset as usize..];
    assert!(EntryHeader::decode(bytes, &seed, e.offset).is_ok());
    assert_eq!(EntryHeader::decode(bytes, &seed, e.offset + 8), Err(EntryFault::Header));
}

#[test]
fn plain_bytes_in_an_encrypted_segment_are_refused() {
    let bytes = Bytes::from(sample(true));
    let s = scan(&bytes).unwrap();
    let cipher = SegmentCipher::new(&key(), &s.header.nonce);
    let e = s.entries[0];
    let body = bytes.slice_ref(e.body(&bytes));
    assert!(open_body(&e.header, e.offset, &body, Some(&cipher)).is_ok());
    assert_eq!(open_body(&e.header, e.offset, &body, None), Err(EntryFault::Decrypt));
    assert_eq!(open_body(&e.header, 8, &body, Some(&cipher)), Err(EntryFault::Decrypt));
    let other = SegmentCipher::new(&key(), b"another-nonce-01");
    assert_eq!(open_body(&e.header, e.offset, &body, Some(&other)), Err(EntryFault::Decrypt));
    let plain = Bytes::from(sample(false));
    let e = scan(&plain).unwrap().entries[0];
    let body = plain.slice_ref(e.body(&plain));
    assert_eq!(open_body(&e.header, e.offset, &body, Some(&cipher)), Err(EntryFault::Decrypt));
    // No plain byte of a private body is in the file.
    let secret = noise(102, 10_000);
    assert!(!bytes.windows(64).any(|w| w == &secret[..64]));
    assert!(plain.windows(64).any(|w| w == &secret[..64]));
}

#[test]
fn a_footer_must_name_exactly_the_entries_before_it() {
    let build = |leave_out: bool| {
        let mut b = Builder::new(&header(false));
        b.transaction(101, 50, Codec::Stored);
        let before = b.footer.clone();
        b.transaction(102, 50, Codec::Stored);
        if leave_out {
            b.footer = before;
        }
        b.seal()
    };
    assert!(scan_sealed(&build(false)).is_ok());
    let wrong = build(true);
    let s = scan(&wrong).unwrap();
    assert_eq!(s.tail, Tail::Torn(EntryFault::Footer("it names other entries")));
    assert_eq!(s.entries.len(), 4);
    assert!(scan_sealed(&wrong).is_err());
}

/// Frames of a transaction whose record was torn off have no say in the last seq: the next segment
/// must begin with the record's.
#[test]
fn only_records_count_as_last_seq() {
    let mut b = Builder::new(&header(false));
    assert_eq!(b.footer.last_seq(), Seq(100));
    b.transaction(101, 50, Codec::Stored);
    b.entry(Kind::Data, 102, noise(1, 50), Codec::Stored);
    b.entry(Kind::Mark, 102, Vec::new(), Codec::Stored);
    assert_eq!(scan(&b.bytes).unwrap().footer.last_seq(), Seq(101));
    b.entry(Kind::SideReserve, 102, vec![64, 0, 0, 0], Codec::Stored);
    assert_eq!(b.footer.last_seq(), Seq(102));
    let Tail::Footer(f) = scan(&b.seal()).unwrap().tail else { panic!("no footer") };
    assert_eq!(f.tail.last_seq, Seq(102));
}

/// The digest is over all headers, however many, whenever it is asked for.
#[test]
fn the_digest_covers_every_header_in_order() {
    let mut b = Builder::new(&header(false));
    let mut all = b.bytes.clone();
    for seq in 101..301 {
        let at = b.entry(Kind::Record, seq, noise(seq, 20), Codec::Stored) as usize;
        all.extend_from_slice(&b.bytes[at..at + 64]);
        assert_eq!(b.footer.digest(), crc_fast::crc64_nvme(&all), "{seq}");
    }
}

/// A footer read alone, from the end of an object, checks itself.
#[test]
fn a_footer_alone_bears_no_flip() {
    let bytes = sample(false);
    let s = scan(&bytes).unwrap();
    let (seed, footer) = (Seed::new(&s.header.nonce), &bytes[s.end as usize..]);
    assert!(Footer::decode(footer, &seed, s.end).is_ok());
    assert!(Footer::decode(footer, &seed, s.end + 8).is_err());
    for at in 0..footer.len() {
        let mut altered = footer.to_vec();
        altered[at] ^= 2;
        assert!(Footer::decode(&altered, &seed, s.end).is_err(), "byte {at}");
        let tail = altered.last_chunk().unwrap();
        let in_tail = at >= footer.len() - FOOTER_TAIL;
        assert_eq!(FooterTail::decode(tail).is_err(), in_tail, "byte {at}");
    }
}

/// An ordinal used twice would be a nonce used twice.
#[test]
fn ordinals_never_go_back() {
    let mut b = Builder::new(&header(false));
    b.transaction(101, 50, Codec::Stored);
    let end = b.at();
    b.ordinal = 1;
    b.transaction(102, 50, Codec::Stored);
    let s = scan(&b.bytes).unwrap();
    assert_eq!((s.end, s.tail), (end, Tail::Torn(EntryFault::Field("ordinal"))));
    // Gaps are allowed.
    let mut b = Builder::new(&header(false));
    b.transaction(101, 50, Codec::Stored);
    b.ordinal = 1000;
    b.transaction(102, 50, Codec::Stored);
    assert_eq!(scan(&b.bytes).unwrap().entries.len(), 4);
}

/// The very last durable entry, as small as entries get.
#[test]
fn damage_just_below_the_mark_is_damage() {
    let mut b = Builder::new(&header(false));
    b.transaction(101, 50, Codec::Stored);
    let last = b.entry(Kind::Mark, 101, Vec::new(), Codec::Stored);
    assert_eq!(b.at(), last + 64);
    b.sync();
    b.transaction(102, 50, Codec::Stored);
    let mut bytes = b.bytes;
    bytes[last as usize + 30] ^= 1;
    let fault = EntryFault::Header;
    assert_eq!(scan(&bytes).err(), Some(ScanError::Damaged { offset: last, fault }));
}

/// Block and table altered together: the header's checksum covers the table.
#[test]
fn a_table_that_fits_other_blocks_is_refused() {
    let mut b = Builder::new(&header(false));
    let at = b.entry(Kind::Data, 101, noise(1, 5000), Codec::Stored);
    let (table, block) = (at as usize + 64, at as usize + 64 + 8);
    let stored = b.at() - at;
    let mut bytes = b.bytes;
    bytes[block + 7] ^= 1;
    let sum = crc32c(&bytes[block..block + 4096]);
    bytes[table..table + 4].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(scan(&bytes).unwrap().tail, Tail::Torn(EntryFault::Body));
    let plan = PartPlan::new(at, stored, 0..10).unwrap();
    let blocks = Bytes::copy_from_slice(&bytes[block..block + 4096]);
    let out = plan.open(&Seed::new(b"nonce-of-segment"), &bytes[at as usize..block], &blocks);
    assert_eq!(out, Err(EntryFault::Body));
}

/// A header with a right checksum over wrong fields: what a bug or a forger writes.
fn forged(change: impl Fn(&mut EntryHeader)) -> Result<EntryHeader, EntryFault> {
    let seed = Seed::new(b"nonce-of-segment");
    let mut h = EntryHeader {
        kind: Kind::Data,
        codec: Codec::Lz4,
        encrypted: false,
        ordinal: 0,
        decoded_len: 4096,
        body_len: 100,
        body_crc: 0,
        seq: Seq(1),
        owner: Owner(1),
        mark: 256,
    };
    change(&mut h);
    EntryHeader::decode(&h.encode(&seed, 256), &seed, 256)
}

#[test]
fn impossible_lengths_are_refused_before_anything_is_allocated() {
    assert!(forged(|_| ()).is_ok());
    let field = |f| Err(EntryFault::Field(f));
    assert_eq!(forged(|h| h.decoded_len = (128 << 10) + 1), field("decoded length"));
    assert_eq!(forged(|h| h.decoded_len = u32::MAX), field("decoded length"));
    assert_eq!(forged(|h| h.body_len = u32::MAX), field("body length"));
    assert_eq!(forged(|h| h.body_len = 4096), field("body length"));
    assert_eq!(forged(|h| h.body_len = 0), field("body length"));
    assert_eq!(forged(|h| h.codec = Codec::Stored), field("body length"));
    assert_eq!(forged(|h| h.kind = Kind::Mark), field("decoded length"));
    assert_eq!(forged(|h| h.mark = 264), field("mark"));
    let page = |n| forged(|h| (h.kind, h.decoded_len) = (Kind::Page, n));
    assert!(page(1 << 20).is_ok());
    assert_eq!(page((1 << 20) + 1), field("decoded length"));
    let record = |n| forged(|h| (h.kind, h.decoded_len) = (Kind::Record, n));
    assert!(record(2 << 20).is_ok());
    assert_eq!(record((2 << 20) + 1), field("decoded length"));
    let closed = |h: &mut EntryHeader| {
        (h.kind, h.codec, h.decoded_len, h.body_len) = (Kind::Closed, Codec::Stored, 0, 0);
    };
    assert!(forged(closed).is_ok());
    assert_eq!(forged(|h| (closed(h), h.encrypted = true).1), field("encryption"));
}

/// A body that decodes to more or fewer bytes than its header says, under good checksums.
#[test]
fn a_body_of_another_length_is_refused() {
    for codec in [Codec::Lz4, Codec::Zstd] {
        let body = Body::new(Kind::Page, &Bytes::from(vec![9; 3000]), codec).unwrap();
        let seed = Seed::new(b"nonce-of-segment");
        let e = encode_entry(Kind::Page, &body, Owner(0), Seq(0), 0, 256, 0, &seed, None);
        for (len, good) in [(3000, true), (2999, false), (3001, false)] {
            let h = EntryHeader { decoded_len: len, ..e.fields };
            assert_eq!(open_body(&h, 256, &e.body, None).is_ok(), good, "{codec:?} {len}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn random_damage_is_never_believed(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 1_usize..600), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        suffix in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let (bytes, durable) = unfinished();
        let mut altered = bytes.clone();
        for (at, value, len) in edits {
            let at = at.index(altered.len());
            let end = (at + len).min(altered.len());
            altered[at..end].fill(value);
        }
        if let Some(cut) = cut {
            altered.truncate(cut.index(altered.len()));
        }
        altered.extend_from_slice(&suffix);
        check(&bytes, durable, &altered);
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400), at in any::<u32>()) {
        let seed = Seed::new(b"nonce-of-segment");
        let _ = scan(&bytes);
        let _ = chain_object(&bytes);
        let _ = decode_volume(&bytes);
        let _ = EntryHeader::decode(&bytes, &seed, at);
        let _ = Footer::decode(&bytes, &seed, at);
        let with = |magic: &[u8]| [magic, &bytes].concat();
        prop_assert!(scan(&with(b"EskerSeg\x01\0\0\0")).is_err());
        prop_assert!(Seal::decode(&with(b"EskerEnd\x01\0\0\0")).is_err());
        prop_assert!(EntryHeader::decode(&with(b"eSk1"), &seed, at).is_err());
        prop_assert!(Footer::decode(&with(b"eFt1"), &seed, at).is_err());
    }

    /// Bodies whose checksums hold but whose compressed bytes are garbage.
    #[test]
    fn decoders_bear_garbage(
        bytes in prop::collection::vec(any::<u8>(), 1..300), len in 1_u32..200_000, zstd: bool,
    ) {
        let codec = if zstd { Codec::Zstd } else { Codec::Lz4 };
        let n = u32::try_from(bytes.len()).unwrap();
        let h = EntryHeader {
            kind: Kind::Page, codec, encrypted: false, ordinal: 1, decoded_len: len, body_len: n,
            body_crc: crc32c(&bytes), seq: Seq(1), owner: Owner(0), mark: 0,
        };
        if let Ok(out) = open_body(&h, 256, &Bytes::from(bytes), None) {
            prop_assert_eq!(out.len(), len as usize);
        }
    }

    #[test]
    fn any_body_reads_back(
        len in 0_usize..=128 << 10, compressible: bool, codec in 0_u8..3, encrypted: bool,
    ) {
        let codec = Codec::from_u8(codec).unwrap();
        let bytes = if compressible {
            noise(len as u64, 64).into_iter().cycle().take(len).collect()
        } else {
            noise(len as u64, len)
        };
        let mut b = Builder::new(&header(encrypted));
        b.entry(Kind::Data, 101, bytes.clone(), codec);
        let all = Bytes::from(b.bytes);
        let s = scan(&all).unwrap();
        let e = s.entries[0];
        let cipher = encrypted.then(|| SegmentCipher::new(&key(), &s.header.nonce));
        let body = all.slice_ref(e.body(&all));
        prop_assert_eq!(open_body(&e.header, e.offset, &body, cipher.as_ref()).unwrap(), &bytes);
        let pays = codec != Codec::Stored && compressible && len > 200;
        if len > 200 {
            prop_assert_eq!(e.header.codec == Codec::Stored, !pays);
        }
    }

    /// A small read checks and gives exactly what it asks for, or says that the frame is no such.
    #[test]
    fn parts_read_back_and_see_damage(
        len in 1_usize..=128 << 10, a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(), flip in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let bytes = noise(len as u64, len);
        let mut w = Builder::new(&header(false));
        w.transaction(101, 77, Codec::Stored);
        let at = w.entry(Kind::Data, 102, bytes.clone(), Codec::Stored);
        let stored = w.at() - at;
        let (a, b) = (a.index(len), b.index(len));
        let part = u32::try_from(a.min(b)).unwrap()..u32::try_from(a.max(b) + 1).unwrap();
        let plan = PartPlan::new(at, stored, part.clone()).unwrap();
        let range = |r: &std::ops::Range<u64>| {
            usize::try_from(r.start).unwrap()..usize::try_from(r.end).unwrap()
        };
        let (head, blocks) = (range(&plan.head), range(&plan.blocks));
        prop_assert!(blocks.len() <= part.len() + 2 * 4096);
        let mut file = w.bytes.clone();
        let flipped = flip.map(|f| {
            let read: Vec<_> = head.clone().chain(blocks.clone()).collect();
            let at = read[f.index(read.len())];
            file[at] ^= 4;
            at
        });
        let seed = Seed::new(b"nonce-of-segment");
        let out = plan.open(&seed, &file[head], &Bytes::copy_from_slice(&file[blocks]));
        // A flip in the padding is nobody's byte here; the whole read sees it.
        let end = at as usize + 64 + 4 * len.div_ceil(4096) + len;
        match flipped.filter(|&f| f < end) {
            Some(_) => prop_assert!(out.is_err()),
            None => {
                let want = &bytes[part.start as usize..part.end as usize];
                prop_assert_eq!(out.unwrap().unwrap(), want);
            }
        }
        prop_assert_eq!(PartPlan::new(at, stored, 0..stored), None);
    }
}
