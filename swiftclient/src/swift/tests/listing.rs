use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use super::super::{
    listing::{Listed, Listing, Wanted},
    place::Layout,
};
use crate::{ObjectName, StoreFuture, seam::sim::SeededDice};

#[derive(Default)]
struct Account {
    containers: BTreeMap<String, BTreeSet<String>>,
    asked: Mutex<Vec<String>>,
}

impl Listed for Account {
    fn containers<'a>(&'a self, prefix: &'a str) -> StoreFuture<'a, Vec<String>> {
        self.asked.lock().push(format!("containers {prefix}"));
        let names = self.containers.keys().filter(|n| n.starts_with(prefix)).cloned().collect();
        Box::pin(async move { Ok(names) })
    }

    fn objects<'a>(
        &'a self,
        container: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<String>> {
        self.asked.lock().push(format!("objects {container} {prefix} {after:?}"));
        let all = self.containers.get(container).into_iter().flatten();
        let names = all
            .filter(|n| n.starts_with(prefix) && after.is_none_or(|after| n.as_str() > after))
            .take(limit)
            .cloned()
            .collect();
        Box::pin(async move { Ok(names) })
    }
}

impl Account {
    fn of(layout: &Layout, names: &BTreeSet<String>) -> Self {
        let mut account = Self::default();
        for name in names {
            let place = layout.place(&ObjectName::new(name.clone()).unwrap());
            account.containers.entry(place.container).or_default().insert(place.object);
        }
        account
    }

    async fn list(
        &self,
        layout: &Layout,
        prefix: &str,
        after: Option<&str>,
        (limit, page): (usize, usize),
    ) -> Vec<String> {
        let wanted = Wanted { prefix, after, limit, page };
        let names = Listing::run(layout, self, wanted).await.unwrap();
        names.iter().map(ToString::to_string).collect()
    }
}

fn names(dice: &SeededDice) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for text in ["volume", "ckpt/00000001-00000001", "epoch/00000002", "a", "sef", "seg0", "zz"] {
        names.insert(text.to_owned());
    }
    for family in ["seg", "side"] {
        for epoch in [0, 1, 2, 255, 256, 257, 0x1234_5678] {
            for _ in 0..dice.below(40) {
                let counter = dice.below(1 << 22) >> dice.below(22);
                names.insert(format!("{family}/{epoch:08x}/{counter:08x}"));
            }
        }
    }
    names
}

#[tokio::test]
async fn names_come_in_order_whatever_the_prefix_place_and_page() {
    let dice = SeededDice::new(11);
    for world in 0..6 {
        let layout = Layout::new("c", ["p", "", "seg"][world % 3]).unwrap();
        let names = names(&dice);
        let mut account = Account::of(&layout, &names);
        // Foreign containers and objects are passed over.
        let foreign = [("c", "no name/volume"), ("c", "p/bad name"), ("c_seg_x", "p/seg/0/x")];
        for (container, object) in foreign {
            account.containers.entry(container.into()).or_default().insert(object.into());
        }
        let some = |n: usize| names.iter().nth(n % names.len()).unwrap().clone();
        let mut prefixes: Vec<String> =
            ["", "s", "se", "seg", "seg/", "side/", "seg/000000", "seg/00000100/", "v", "ckpt/"]
                .map(str::to_owned)
                .into();
        let mut afters: Vec<Option<String>> = vec![None, Some("!".into()), Some("seg/".into())];
        for _ in 0..6 {
            let cut = some(usize::try_from(dice.below(1000)).unwrap());
            prefixes.push(
                cut[..cut.len() - usize::try_from(dice.below(6)).unwrap().min(cut.len() - 1)]
                    .into(),
            );
            afters.push(Some(some(usize::try_from(dice.below(1000)).unwrap())));
        }
        afters.extend([Some("segz".into()), Some("seg/0000".into()), Some("~".into())]);
        for prefix in &prefixes {
            for after in &afters {
                for (limit, page) in [(1, 1000), (7, 3), (1000, 1000), (1000, 5), (3, 1), (0, 9)] {
                    let after = after.as_deref();
                    let want: Vec<String> = names
                        .iter()
                        .filter(|n| n.starts_with(prefix) && after.is_none_or(|a| n.as_str() > a))
                        .take(limit)
                        .cloned()
                        .collect();
                    let got = account.list(&layout, prefix, after, (limit, page)).await;
                    assert_eq!(got, want, "{prefix:?} after {after:?}, {limit} by {page}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_needed_is_not_asked() {
    let layout = Layout::new("c", "p").unwrap();
    let names = names(&SeededDice::new(1));
    let account = Account::of(&layout, &names);
    let all = |prefix: &str| names.iter().filter(|n| n.starts_with(prefix)).count();
    assert_eq!(account.list(&layout, "ckpt/", None, (1000, 1000)).await.len(), all("ckpt/"));
    assert_eq!(std::mem::take(&mut *account.asked.lock()), ["objects c p/ckpt/ None"]);
    // A listing that ends before `seg/` never asks for containers.
    assert_eq!(account.list(&layout, "", None, (1, 1000)).await, ["a"]);
    assert_eq!(std::mem::take(&mut *account.asked.lock()), ["objects c p/ None"]);
    // One epoch's segments: containers of other epochs stay shut.
    account.list(&layout, "seg/12345678/", None, (1000, 1000)).await;
    let asked = std::mem::take(&mut *account.asked.lock());
    assert!(asked.iter().all(|a| !a.contains("seg_0_000000")), "{asked:?}");
    // Nothing exists yet.
    let empty = Account::default();
    assert_eq!(empty.list(&layout, "", None, (10, 10)).await, [""; 0]);
}
