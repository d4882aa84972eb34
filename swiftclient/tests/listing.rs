//! Listing a directory against listing a sorted map, over random names.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use swiftclient::{Directory, Memory, ObjectName, ObjectStore, disk::SimDisk, seam::Env};

/// Parts from an alphabet around `/`, so that order and prefixes meet their hard cases.
fn path() -> impl Strategy<Value = String> {
    prop::collection::vec("[a.0-]{1,3}", 1..4).prop_map(|parts| parts.join("/"))
}

/// Names that can stand together in a directory: none is another's directory.
fn compatible(names: Vec<String>) -> Vec<ObjectName> {
    let mut kept: Vec<String> = Vec::new();
    for name in names {
        let above = |a: &str, b: &str| b.starts_with(&format!("{a}/"));
        if !kept.iter().any(|k| *k == name || above(k, &name) || above(&name, k)) {
            kept.push(name);
        }
    }
    kept.into_iter().filter_map(ObjectName::new).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_directory_lists_as_a_sorted_map_does(
        names in prop::collection::vec(path(), 1..30),
        queries in prop::collection::vec(
            ("[a.0/-]{0,5}", prop::option::of("[a.0/-]{0,6}"), 0_usize..12),
            1..20,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let memory = Memory::new();
            let disk = Arc::new(SimDisk::new());
            let directory = Directory::create(disk, "/volume", &Env::real()).unwrap();
            for name in compatible(names) {
                memory.put_new(&name, Vec::new()).await.unwrap();
                directory.put_new(&name, Vec::new()).await.unwrap();
            }
            for (prefix, after, limit) in queries {
                let after = after.as_deref();
                let want = memory.list(&prefix, after, limit).await.unwrap();
                let got = directory.list(&prefix, after, limit).await.unwrap();
                prop_assert_eq!(got, want, "list({:?}, {:?}, {})", prefix, after, limit);
            }
            Ok(())
        })?;
    }
}
