//! Names and listing.

use super::{Trial, Verdict, clauses, ensure, expect_not_found};

clauses![
    what_was_never_put_is_definitely_absent,
    legal_names_of_every_shape_are_kept_apart,
    listing_is_in_byte_order,
    listing_pages_without_loss_or_repeat,
    listing_keeps_to_its_prefix,
];

async fn what_was_never_put_is_definitely_absent(t: &Trial) -> Verdict {
    for tail in ["never", "no/such/directory/never", "never.2"] {
        let name = t.name(tail)?;
        t.absent(&name).await?;
        expect_not_found("get of an empty range", t.store.get(&name, 0..0).await)?;
    }
    // A neighbour must not make it exist.
    t.put(&t.name("near/by")?, &b"x"[..]).await?;
    for tail in ["near/b", "near/by2", "near/bY"] {
        t.absent(&t.name(tail)?).await?;
    }
    Ok(())
}

async fn legal_names_of_every_shape_are_kept_apart(t: &Trial) -> Verdict {
    let room = 255usize.saturating_sub(t.prefix.len() + 1 + "long/".len());
    let long = format!("long/{}", "n".repeat(room));
    let deep = "d/".repeat(40) + "leaf";
    let tails = [
        "a",
        "A",
        "a.",
        ".a",
        "..a",
        "-a",
        "_a",
        "a-b",
        "a_b",
        "a.b",
        "0",
        "00",
        "...",
        &long,
        &deep,
        "parts/of/four/each",
        "parts/of/four/Each",
    ];
    for tail in tails {
        let name = t.name(&format!("shape/{tail}")).or_else(|_| t.name(tail))?;
        t.put(&name, tail.to_owned()).await?;
    }
    for tail in tails {
        let name = t.name(&format!("shape/{tail}")).or_else(|_| t.name(tail))?;
        ensure!(t.whole(&name).await? == tail.as_bytes(), "{name} holds another one's bytes");
    }
    Ok(())
}

/// Names in which `/` (0x2f) meets its neighbours `-` `.` and `0`: a listing that walks directories
/// in file name order gets them wrong.
const TAILS: [&str; 12] =
    ["b", "b-1", "b.1", "b1", "a/1", "a/2", "a-", "a.", "a0", "a/b/c", "a/b-c", "Z"];

async fn fill(t: &Trial, dir: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for tail in TAILS {
        // One name cannot be both object and directory in a directory store: tails avoid it.
        let name = t.name(&format!("{dir}/{tail}"))?;
        t.put(&name, tail).await?;
        names.push(name.to_string());
    }
    names.sort();
    Ok(names)
}

async fn listing_is_in_byte_order(t: &Trial) -> Verdict {
    let want = fill(t, "order").await?;
    let got = t.listed(&format!("{}/order/", t.prefix), None, 1000).await?;
    ensure!(got == want, "got {got:?}, want {want:?}");
    Ok(())
}

async fn listing_pages_without_loss_or_repeat(t: &Trial) -> Verdict {
    let want = fill(t, "page").await?;
    let prefix = format!("{}/page/", t.prefix);
    for limit in 1..=TAILS.len() + 1 {
        let mut got: Vec<String> = Vec::new();
        loop {
            let page = t.listed(&prefix, got.last().map(String::as_str), limit).await?;
            ensure!(page.len() <= limit, "{} names with a limit of {limit}", page.len());
            if page.is_empty() {
                break;
            }
            got.extend(page);
            ensure!(got.len() <= want.len(), "names repeat: {got:?}");
        }
        ensure!(got == want, "limit {limit}: got {got:?}, want {want:?}");
    }
    let none = t.listed(&prefix, None, 0).await?;
    ensure!(none.is_empty(), "a limit of 0 gave {none:?}");
    // `after` need not exist, nor lie within the prefix.
    for after in ["a", "a/", "a/1", "a/b", "a/b/", "a/zzz", "b", "zz", ""] {
        let after = format!("{prefix}{after}");
        let rest: Vec<_> = want.iter().filter(|n| **n > after).cloned().collect();
        let got = t.listed(&prefix, Some(&after), 1000).await?;
        ensure!(got == rest, "after {after}: got {got:?}, want {rest:?}");
    }
    let got = t.listed(&prefix, Some("!"), 1000).await?;
    ensure!(got == want, "after a name before the prefix: {got:?}");
    Ok(())
}

async fn listing_keeps_to_its_prefix(t: &Trial) -> Verdict {
    let names = fill(t, "pre").await?;
    for tail in ["", "a", "a/", "a/b", "a/b/", "a/b/c", "b", "b-", "Z", "c", "a/1/"] {
        let prefix = format!("{}/pre/{tail}", t.prefix);
        let want: Vec<_> = names.iter().filter(|n| n.starts_with(&prefix)).cloned().collect();
        let got = t.listed(&prefix, None, 1000).await?;
        ensure!(got == want, "prefix {prefix}: got {got:?}, want {want:?}");
    }
    Ok(())
}
