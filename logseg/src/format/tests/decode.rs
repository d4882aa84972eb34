use super::*;

#[test]
fn a_sealed_segment_reads_back_whole() {
    for encrypted in [false, true] {
        let bytes = Bytes::from(sample(encrypted));
        let s = scan_sealed(&bytes).unwrap();
        assert_eq!(s.header, header(encrypted));
        assert_eq!(s.entries.len(), 13);
        assert_eq!(s.footer.last_seq(), Seq(107));
        let Tail::Footer(f) = &s.tail else { panic!("{:?}", s.tail) };
        assert_eq!(f.tail.end(), bytes.len() as u64);
        assert_eq!(f.tail.mark, s.mark);
        let tail = bytes.last_chunk().unwrap();
        assert_eq!(FooterTail::decode(tail).unwrap(), f.tail);
        let found: Vec<_> = s.entries.iter().map(|e| e.location(s.header.id)).collect();
        assert_eq!(f.locations().map(|l| l.1).collect::<Vec<_>>(), found);
        assert_eq!(s.footer.encode(s.end, f.tail.mark), &bytes[s.end as usize..]);

        let cipher = encrypted.then(|| SegmentCipher::new(&key(), &s.header.nonce));
        let open = |i: usize| {
            let e = &s.entries[i];
            open_body(&e.header, e.offset, &bytes.slice_ref(e.body(&bytes)), cipher.as_ref())
        };
        assert_eq!(open(2).unwrap(), noise(102, 10_000));
        assert_eq!(open(3).unwrap(), noise(1102, 50));
        for (i, codec) in [(4, Codec::Lz4), (6, Codec::Zstd)] {
            assert_eq!(s.entries[i].header.codec, codec);
            let want: Vec<_> = noise(103 + i as u64 / 2 - 2, 16);
            let want: Vec<_> = want.into_iter().cycle().take(9000).collect();
            assert_eq!(open(i).unwrap(), want);
        }
        assert_eq!(open(8).unwrap(), 64_u32.to_le_bytes()[..]);
        assert!(open(12).unwrap().is_empty());
    }
}
