use std::collections::HashMap;

use super::super::place::{Family, Group, Layout};
use crate::{ObjectName, seam::sim::SeededDice};

fn name(text: &str) -> ObjectName {
    ObjectName::new(text).unwrap()
}

fn at(layout: &Layout, text: &str) -> (String, String) {
    let place = layout.place(&name(text));
    (place.container, place.object)
}

/// Frozen: these are in volumes that exist.
#[test]
fn names_lie_where_the_format_says() {
    let layout = Layout::new("c", "p/q").unwrap();
    for (text, container, object) in [
        ("volume", "c", "p/q/volume"),
        ("ckpt/00000001-00000002", "c", "p/q/ckpt/00000001-00000002"),
        ("seg/00000123/00000abc", "c_seg_0_000001", "p/q/seg/c/00000123/00000abc"),
        ("seg/00000123/00000fff", "c_seg_0_000001", "p/q/seg/f/00000123/00000fff"),
        ("seg/00000123/00001000", "c_seg_1_0000012", "p/q/seg/0/00000123/00001000"),
        ("seg/00000123/0000ffff", "c_seg_1_0000012", "p/q/seg/f/00000123/0000ffff"),
        ("seg/00000123/00010000", "c_seg_2_00000123_000", "p/q/seg/0/00000123/00010000"),
        ("seg/00000123/00100000", "c_seg_2_00000123_001", "p/q/seg/0/00000123/00100000"),
        ("side/ffffffff/7fffffff", "c_side_2_ffffffff_7ff", "p/q/side/f/ffffffff/7fffffff"),
        // Not of the shape: like any other name.
        ("seg/00000123/0000ABCD", "c", "p/q/seg/00000123/0000ABCD"),
        ("seg/123/4", "c", "p/q/seg/123/4"),
    ] {
        assert_eq!(at(&layout, text), (container.to_owned(), object.to_owned()), "{text}");
    }
    let bare = Layout::new("c", "").unwrap();
    assert_eq!(at(&bare, "volume"), ("c".into(), "volume".into()));
    assert_eq!(at(&bare, "seg/00000000/00000000").1, "seg/0/00000000/00000000");
}

fn back(layout: &Layout, container: &str, object: &str) -> Option<ObjectName> {
    if container == layout.base() {
        return layout.base_name(object);
    }
    Family::ALL
        .into_iter()
        .find_map(|family| layout.numbered_name(family, layout.group(family, container)?, object))
}

#[test]
fn every_place_names_its_object_and_no_other() {
    let dice = SeededDice::new(5);
    for layout in [Layout::new("c", "p").unwrap(), Layout::new("c_seg", "").unwrap()] {
        for _ in 0..20_000 {
            let family = ["seg", "side"][usize::from(dice.chance(500))];
            let epoch = (dice.next_u64() & 0xffff_ffff) >> dice.below(32);
            let counter = (dice.next_u64() & 0x7fff_ffff) >> dice.below(31);
            let text = format!("{family}/{epoch:08x}/{counter:08x}");
            let place = layout.place(&name(&text));
            let found = back(&layout, &place.container, &place.object);
            assert_eq!(found, Some(name(&text)), "{place:?}");
            // Within what its container says it may hold.
            let (family, group) = Family::ALL
                .into_iter()
                .find_map(|f| Some((f, layout.group(f, &place.container)?)))
                .unwrap();
            let [least, most] = Layout::bounds(family, group);
            assert!(least <= text && text <= most, "{text} not in {least}..={most}");
        }
    }
    let layout = Layout::new("c", "p").unwrap();
    for (container, object) in [
        ("c", "q/volume"),                // another prefix
        ("c", "volume"),                  // none
        ("c", "p/seg/00000123/00000abc"), // belongs elsewhere
        ("c", "p/no good name"),
        ("c_seg_0_000001", "p/seg/b/00000123/00000abc"), // another lane
        ("c_seg_0_000002", "p/seg/c/00000123/00000abc"), // another container
        ("c_side_0_000001", "p/seg/c/00000123/00000abc"), // another family
        ("c_seg_0_00001", "p/seg/c/00000123/00000abc"),  // no container of ours
        ("c_seg_9_000001", "p/seg/c/00000123/00000abc"),
        ("c_seg_0_000001", "p/seg/c/00000123/00000ABC"),
    ] {
        assert_eq!(back(&layout, container, object), None, "{container} {object}");
    }
}

#[test]
fn a_container_holds_a_million_and_lanes_fill_evenly() {
    // As many as its bounds allow, counted by what each tier shares.
    for (group, epochs, counters) in [
        (Group::Short(7), 256_u64, 1_u64 << 12),
        (Group::Middle(7), 16, (1 << 16) - (1 << 12)),
        (Group::Long(7, 0), 1, (1 << 20) - (1 << 16)),
        (Group::Long(7, 3), 1, 1 << 20),
    ] {
        let [least, most] = Layout::bounds(Family::Seg, group);
        let numbers = |text: &str| {
            let mut parts = text.split('/').skip(1).map(|p| u64::from_str_radix(p, 16).unwrap());
            (parts.next().unwrap(), parts.next().unwrap())
        };
        let ((e0, c0), (e1, c1)) = (numbers(&least), numbers(&most));
        assert_eq!((e1 - e0 + 1, c1 - c0 + 1), (epochs, counters), "{group:?}");
        assert!(epochs * counters <= 1 << 20);
    }
    let layout = Layout::new("c", "p").unwrap();
    let mut lanes: HashMap<String, u32> = HashMap::new();
    for counter in 0..4096 {
        let (_, object) = at(&layout, &format!("seg/00000001/{counter:08x}"));
        *lanes.entry(object[..8].to_owned()).or_default() += 1;
    }
    assert_eq!(lanes.len(), 16);
    assert!(lanes.values().all(|&n| n == 256));
}

#[test]
fn names_that_swift_would_not_take_are_refused() {
    let long = "x".repeat(237);
    for (container, prefix) in
        [("", "p"), ("a/b", ""), ("a\n", ""), ("..", ""), (&long, ""), ("c", "a//b"), ("c", "ü")]
    {
        assert!(Layout::new(container, prefix).is_err(), "{container:?} {prefix:?}");
    }
    assert!(Layout::new("c", &["p"; 260].join("/")).is_err());
    for (container, prefix) in [("Ümlaut with space", ""), ("c", "/p/q/"), (&long[1..], "")] {
        Layout::new(container, prefix).unwrap();
    }
}
