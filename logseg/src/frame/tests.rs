use super::*;

#[test]
fn a_small_frame_does_not_pin_its_request() {
    let request = Bytes::from(vec![7; 1 << 20]);
    let inside = |f: &Frame| request.as_ptr_range().contains(&f.decoded().as_ptr());
    let small = Frame::data(Owner(1), request.slice(100..200), Codec::Stored);
    assert!(!inside(&small) && small.len() == 100 && !small.is_empty());
    let large = Frame::data(Owner(1), request.slice(..FRAME_BYTES), Codec::Stored);
    assert!(inside(&large), "no copy of what is large");
    assert_eq!(large.body.entry_len(false), 64 + 4 * 32 + 128 * 1024);
    assert_eq!(large.body.entry_len(true), 64 + 16 + 128 * 1024);
}
