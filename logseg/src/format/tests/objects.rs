//! Envelopes, names, keys.

use super::*;
use crate::{CheckpointName, LogError, VolumeHeader, crypto::Secret};

fn volume() -> VolumeHeader {
    VolumeHeader {
        uuid: *b"volume-uuid-0123",
        segment_bytes: 16 << 20,
        fencing: true,
        name_secret: [7; 16],
        handle_key: [9; 32],
        wrapped_key: Some(vec![1, 2, 3]),
    }
}

#[test]
fn the_volume_object_has_three_distinct_errors() {
    let v = volume();
    let bytes = encode_volume(&v);
    assert_eq!(decode_volume(&bytes).unwrap(), v);
    let plain = VolumeHeader { wrapped_key: None, fencing: false, ..v };
    assert_eq!(decode_volume(&encode_volume(&plain)).unwrap(), plain);

    assert!(matches!(decode_volume(b""), Err(FormatError::Blank { .. })));
    assert!(matches!(decode_volume(&[0; 512]), Err(FormatError::Blank { .. })));
    assert!(matches!(decode_volume(b"%PDF-1.4 ..."), Err(FormatError::Foreign { .. })));
    let mut newer = bytes.clone();
    newer[8] = 2;
    let e = decode_volume(&newer).unwrap_err();
    assert_eq!(e, FormatError::Version { what: "the volume object", found: 2 });
    assert!(e.to_string().contains("version 2"), "{e}");
    for at in 12..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        let e = decode_volume(&altered);
        assert!(matches!(e, Err(FormatError::Damaged { .. })), "byte {at}: {e:?}");
        assert!(decode_volume(&bytes[..at]).is_err());
    }
    assert!(decode_volume(&[&bytes[..], b"x"].concat()).is_err());
}

#[test]
fn a_seal_is_no_segment_and_a_segment_no_seal() {
    let seal = Seal {
        volume: *b"volume-uuid-0123",
        at: SegmentId::chain(4, 9),
        nonce: [5; 16],
        journal: [0; 16],
        take_over: true,
        abandon_journal: false,
        holder: "host böck, pid 7".to_owned(),
    };
    let bytes = seal.encode();
    assert_eq!(chain_object(&bytes).unwrap(), ChainObject::Seal(Box::new(seal.clone())));
    let h = header(false);
    let segment = ChainObject::Segment(Box::new(h.clone()));
    assert_eq!(chain_object(&h.encode()).unwrap(), segment);
    assert_eq!(chain_object(&sample(false)).unwrap(), segment);
    assert!(Seal::decode(&h.encode()).is_err() && SegmentHeader::decode(&bytes).is_err());
    assert!(chain_object(&bytes[..bytes.len() - 1]).is_err());
    // A name too long is cut between characters.
    let long = Seal { holder: format!("x{}", "ö".repeat(600)), ..seal };
    let cut = Seal::decode(&long.encode()).unwrap().holder;
    assert_eq!(cut, format!("x{}", "ö".repeat(511)));

    let j = JournalSeal {
        volume: long.volume,
        epoch: 4,
        nonce: [6; 16],
        journal: [8; 16],
        take_over: false,
        holder: "h".to_owned(),
    };
    assert_eq!(JournalSeal::decode(&j.encode()).unwrap(), j);
    assert!(Seal::decode(&j.encode()).is_err());
    let i = JournalIdentity { volume: [1; 16], journal: [2; 16] };
    assert_eq!(JournalIdentity::decode(&i.encode()).unwrap(), i);
}

#[test]
fn a_checkpoint_knows_its_name_and_volume() {
    let name = CheckpointName { epoch: 3, number: 12 };
    let object = Bytes::from(encode_checkpoint(&[1; 16], name, b"root and usage"));
    assert_eq!(decode_checkpoint(&[1; 16], name, &object).unwrap(), "root and usage");
    let other = CheckpointName { epoch: 3, number: 13 };
    assert!(decode_checkpoint(&[1; 16], other, &object).is_err());
    assert!(decode_checkpoint(&[2; 16], name, &object).is_err());
    for at in 0..object.len() {
        let mut altered = object.to_vec();
        altered[at] ^= 1;
        assert!(decode_checkpoint(&[1; 16], name, &Bytes::from(altered)).is_err());
    }
}

#[test]
fn names_read_back_and_sort() {
    let names = [
        (volume_name(), ChainName::Volume, "volume"),
        (
            segment_name(SegmentId::chain(0x1f, 0xabc)),
            ChainName::Segment(SegmentId::chain(0x1f, 0xabc)),
            "seg/0000001f/00000abc",
        ),
        (
            segment_name(SegmentId::side(u32::MAX, (1 << 31) - 1)),
            ChainName::Segment(SegmentId::side(u32::MAX, (1 << 31) - 1)),
            "side/ffffffff/7fffffff",
        ),
        (
            checkpoint_name(CheckpointName { epoch: 2, number: 255 }),
            ChainName::Checkpoint(CheckpointName { epoch: 2, number: 255 }),
            "ckpt/00000002-000000ff",
        ),
        (epoch_name(9), ChainName::Epoch(9), "epoch/00000009"),
    ];
    for (name, parsed, text) in names {
        assert_eq!(name.as_str(), text);
        assert_eq!(parse_name(text), Some(parsed));
    }
    for bad in [
        "",
        "seg",
        "seg/",
        "seg/1/2",
        "seg/0000001F/00000abc",
        "seg/0000001f/80000000",
        "seg/0000001f/00000abc/x",
        "ckpt/00000002",
        "ckpt/00000002-000000fg",
        "epoch/+0000001",
        "volumes",
        "other/00000001",
    ] {
        assert_eq!(parse_name(bad), None, "{bad}");
    }
    let mut by_id: Vec<_> =
        [(9, 1), (10, 0), (256, 16)].map(|(e, c)| SegmentId::chain(e, c)).into();
    by_id.sort_by_key(|id| segment_name(*id));
    assert!(by_id.is_sorted());
}

#[test]
fn a_wrapped_key_opens_only_with_its_secret_in_its_volume() {
    let env = swiftclient::seam::Env::real();
    let file = [42; 32];
    let wrapped = key().wrap(&Secret::KeyFile(&file), &[1; 16], &env).unwrap();
    let same = VolumeKey::unwrap(&wrapped, &Secret::KeyFile(&file), &[1; 16]).unwrap();
    let (a, b) = (SegmentCipher::new(&same, &[3; 16]), SegmentCipher::new(&key(), &[3; 16]));
    assert_eq!(a.encrypt(1, b"k", b"text"), b.encrypt(1, b"k", b"text"));
    let refused = |r: Result<VolumeKey, LogError>| matches!(r, Err(LogError::Refused(_)));
    assert!(refused(VolumeKey::unwrap(&wrapped, &Secret::KeyFile(&[43; 32]), &[1; 16])));
    assert!(refused(VolumeKey::unwrap(&wrapped, &Secret::KeyFile(&file), &[2; 16])));
    assert!(refused(VolumeKey::unwrap(&wrapped, &Secret::Passphrase(&file), &[1; 16])));
    assert!(key().wrap(&Secret::KeyFile(&[1; 31]), &[1; 16], &env).is_err());
    assert!(key().wrap(&Secret::Passphrase(b""), &[1; 16], &env).is_err());
    for at in 0..wrapped.len() {
        let mut altered = wrapped.clone();
        altered[at] ^= 1;
        assert!(refused(VolumeKey::unwrap(&altered, &Secret::KeyFile(&file), &[1; 16])));
        assert!(refused(VolumeKey::unwrap(&wrapped[..at], &Secret::KeyFile(&file), &[1; 16])));
    }
    assert_ne!(wrapped, key().wrap(&Secret::KeyFile(&file), &[1; 16], &env).unwrap());
}

#[test]
fn a_passphrase_opens_its_key() {
    let random = [5; 28];
    let p = Secret::Passphrase(b"correct horse");
    let wrapped = key().wrap_with(&p, &[1; 16], &random, 1000).unwrap();
    assert!(VolumeKey::unwrap(&wrapped, &p, &[1; 16]).is_ok());
    assert!(VolumeKey::unwrap(&wrapped, &Secret::Passphrase(b"battery"), &[1; 16]).is_err());
    // A damaged count of iterations must not stall the mount.
    let mut slow = wrapped;
    slow[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(VolumeKey::unwrap(&slow, &p, &[1; 16]).is_err());
}
