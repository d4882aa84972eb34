//! The rules of the house that no compiler knows. Reads the tracked files and fails on:
//! an arrow between crates that ARCHITECTURE.md does not have (or has without need), a file grown
//! too long, a crate without a header, a name that says nothing, a path that exists on one machine
//! only, the name of a package registry, a test that is switched off, code still to be written.
//!
//! Forbidden texts are put together from parts here, so that this file does not hold them.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Lines of one file.
const LONGEST: usize = 1000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every tracked file that is text, with its content.
fn tracked() -> Vec<(String, String)> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "git: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    let texts = names.split_terminator('\0').filter_map(|name| {
        // Deleted but not yet committed, or no text: nothing to look at.
        Some((name.to_owned(), fs::read_to_string(root().join(name)).ok()?))
    });
    let texts: Vec<_> = texts.collect();
    assert!(texts.len() > 100, "only {} files: is this a checkout?", texts.len());
    texts
}

/// Fails with all that was found, a line each.
fn none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

type Edges = BTreeSet<(String, String)>;

/// What ARCHITECTURE.md allows.
#[derive(Debug, Default, PartialEq)]
struct Arrows {
    /// Of the product.
    product: Edges,
    /// Of a crate's own tests, beside them.
    tests: Edges,
    /// Crates that may use all others.
    all: BTreeSet<String>,
    crates: BTreeSet<String>,
}

/// Reads the block fenced as `arrows`: lines `crate -> crate crate; in tests: crate`,
/// `crate -> nothing`, `crate -> all`.
fn parse_arrows(text: &str) -> Result<Arrows, String> {
    let (_, block) = text.split_once("```arrows\n").ok_or("no block of arrows")?;
    let (block, _) = block.split_once("```").ok_or("the block of arrows does not end")?;
    let mut arrows = Arrows::default();
    for line in block.lines().filter(|l| !l.trim().is_empty()) {
        let (from, to) = line.split_once("->").ok_or_else(|| format!("no arrow in {line:?}"))?;
        let from = from.trim().to_owned();
        let (product, tests) = to.split_once("; in tests:").unwrap_or((to, ""));
        let edges = |to: &str| {
            let to = to.split_whitespace().filter(|to| !matches!(*to, "nothing" | "all"));
            to.map(|to| (from.clone(), to.to_owned())).collect::<Vec<_>>()
        };
        arrows.product.extend(edges(product));
        arrows.tests.extend(edges(tests));
        if product.trim() == "all" {
            arrows.all.insert(from.clone());
        }
        if !arrows.crates.insert(from.clone()) {
            return Err(format!("{from} has two lines"));
        }
    }
    Ok(arrows)
}

/// The manifests of the workspace's members: directory, package name, product and test edges.
struct Member {
    name: String,
    product: BTreeSet<String>,
    tests: BTreeSet<String>,
}

fn members() -> Vec<Member> {
    let read = |path: &Path| -> toml::Table {
        fs::read_to_string(path).unwrap().parse().unwrap_or_else(|e| panic!("{path:?}: {e}"))
    };
    let workspace = read(&root().join("Cargo.toml"));
    let dirs = workspace["workspace"]["members"].as_array().unwrap();
    let dirs: Vec<&str> = dirs.iter().map(|dir| dir.as_str().unwrap()).collect();
    let manifests: BTreeMap<&str, toml::Table> =
        dirs.iter().map(|dir| (*dir, read(&root().join(dir).join("Cargo.toml")))).collect();
    // Packages are called as their directories, but for those whose short name the world knows.
    let package = |dir: &str| manifests[dir]["package"]["name"].as_str().unwrap().to_owned();
    let dir_of: BTreeMap<String, &str> = dirs.iter().map(|dir| (package(dir), *dir)).collect();
    let edges = |manifest: &toml::Table, sections: &[&str]| {
        let mut found = BTreeSet::new();
        let mut collect = |table: &toml::Table| {
            for section in sections {
                let Some(wanted) = table.get(*section).and_then(toml::Value::as_table) else {
                    continue;
                };
                for (key, value) in wanted {
                    let name = value.get("package").and_then(toml::Value::as_str).unwrap_or(key);
                    found.extend(dir_of.get(name).map(ToString::to_string));
                }
            }
        };
        collect(manifest);
        if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
            targets.values().filter_map(toml::Value::as_table).for_each(collect);
        }
        found
    };
    let member = |(dir, manifest): (&&str, &toml::Table)| Member {
        name: dir.to_string(),
        product: edges(manifest, &["dependencies", "build-dependencies"]),
        tests: edges(manifest, &["dev-dependencies"]),
    };
    manifests.iter().map(member).collect()
}

#[test]
fn arrows_between_crates_are_those_of_the_architecture() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let arrows = parse_arrows(&text).unwrap();
    let mut wrong = Vec::new();
    let mut real = (Edges::new(), Edges::new());
    for member in members() {
        if !arrows.crates.contains(&member.name) {
            wrong.push(format!("{} has no line in ARCHITECTURE.md", member.name));
        }
        for to in &member.product {
            let edge = (member.name.clone(), to.clone());
            if !arrows.all.contains(&member.name) && !arrows.product.contains(&edge) {
                wrong.push(format!("{} -> {to} is not in ARCHITECTURE.md", member.name));
            }
            real.0.insert(edge);
        }
        for to in &member.tests {
            let edge = (member.name.clone(), to.clone());
            let allowed = arrows.product.contains(&edge) || arrows.tests.contains(&edge);
            if !arrows.all.contains(&member.name) && !allowed {
                wrong.push(format!("{} -> {to}, in tests, is not there", member.name));
            }
            real.1.insert(edge);
        }
    }
    for (from, to) in arrows.product.difference(&real.0) {
        wrong.push(format!("{from} -> {to} is in ARCHITECTURE.md and nowhere else"));
    }
    for (from, to) in arrows.tests.difference(&real.1) {
        wrong.push(format!("{from} -> {to}, in tests, is in ARCHITECTURE.md and nowhere else"));
    }
    none("arrows", &wrong);
}

#[test]
fn the_architectures_arrows_point_down() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let arrows = parse_arrows(&text).unwrap();
    // The lines stand bottom-up: each crate below those that use it.
    let (_, block) = text.split_once("```arrows\n").unwrap();
    let order: Vec<&str> =
        block.lines().map_while(|l| Some(l.split_once("->")?.0.trim())).collect();
    let height = |name: &str| order.iter().position(|n| *n == name);
    let upward: Vec<String> = arrows
        .product
        .union(&arrows.tests)
        // A crate's own tests may use what the tests of the whole stand on.
        .filter(|(_, to)| to != "tests")
        .filter(|(from, to)| height(to) >= height(from))
        .map(|(from, to)| format!("{from} -> {to}"))
        .collect();
    none("arrows that do not point down", &upward);
}

#[test]
fn arrows_are_read_as_written() {
    let text = "x\n```arrows\na -> nothing\nb -> a\n\nc -> a b; in tests: d\ntests -> all\n```\n";
    let arrows = parse_arrows(text).unwrap();
    let edges = |list: &[(&str, &str)]| -> Edges {
        list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
    };
    assert_eq!(arrows.product, edges(&[("b", "a"), ("c", "a"), ("c", "b")]));
    assert_eq!(arrows.tests, edges(&[("c", "d")]));
    assert!(arrows.all.contains("tests") && arrows.crates.contains("a"));
    assert!(parse_arrows("nothing").is_err());
    assert!(parse_arrows("```arrows\na -> b\na -> c\n```").is_err());
    assert!(parse_arrows("```arrows\na b\n```").is_err());
}

#[test]
fn no_file_is_longer_than_a_thousand_lines() {
    let generated = ["Cargo.lock"];
    let long: Vec<String> = tracked()
        .iter()
        .filter(|(name, _)| !generated.contains(&name.as_str()))
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    none("files of more than 1,000 lines", &long);
}

#[test]
fn every_crate_says_first_what_it_is() {
    let roots = |name: &str| name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
    let bare: Vec<String> = tracked()
        .into_iter()
        .filter(|(name, text)| roots(name) && !text.starts_with("//! "))
        .map(|(name, _)| name)
        .collect();
    none("crates without a header", &bare);
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let empty = [["man", "ager"], ["ut", "il"], ["hel", "per"], ["mi", "sc"], ["com", "mon"]];
    let empty = empty.map(|parts| parts.concat());
    let says_nothing = |name: &str| {
        let words = name.split(|c: char| !c.is_ascii_alphanumeric());
        let stems = words.map(|w| w.to_lowercase().trim_end_matches('s').to_owned());
        stems.into_iter().any(|w| empty.iter().any(|e| e.trim_end_matches('s') == w))
    };
    assert!(says_nothing(&format!("src/{}s.rs", empty[1])));
    let named: Vec<String> =
        tracked().into_iter().map(|(name, _)| name).filter(|n| says_nothing(n)).collect();
    none("file names that say nothing", &named);
}

/// Words as they stand between blanks, quotes and brackets.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || "\"'`()[]{}<>,;=".contains(c))
}

/// A path that exists on one machine only.
fn is_local(word: &str) -> bool {
    // What stands behind `/dir/`, if that is at the start, or behind a scheme or option.
    let behind = |dir: [&str; 2]| {
        let dir = format!("/{}/", dir.concat());
        let at = word.find(&dir)?;
        let begins = at == 0 || matches!(word.as_bytes()[at - 1], b':' | b'@');
        begins.then(|| &word[at + dir.len()..])
    };
    // People who live in examples only, and no people at all.
    let nobody = |rest: &str| {
        let name = rest.split('/').next().unwrap_or_default();
        matches!(name, "" | "." | ".." | "alice" | "bob")
    };
    let own_home = behind(["ho", "me"]).is_some_and(|rest| !nobody(rest));
    let built = word.starts_with('/') && word.contains(&format!("/{}/", ["tar", "get"].concat()));
    behind(["wo", "rk"]).is_some() || behind(["ro", "ot"]).is_some() || own_home || built
}

#[test]
fn no_path_is_one_that_exists_on_one_machine_only() {
    let [work, root, home, target] =
        [["wo", "rk"], ["ro", "ot"], ["ho", "me"], ["tar", "get"]].map(|parts| parts.concat());
    assert!(is_local(&format!("/{work}/x")) && is_local(&format!("dir:/{root}/.ssh")));
    assert!(is_local(&format!("/{home}/me/src")) && is_local(&format!("/src/{target}/debug")));
    assert!(!is_local(&format!("/{home}/../x")) && !is_local(&format!("/{home}/")));
    assert!(!is_local(&format!("x/{work}/y")) && !is_local(&format!("${root}/{target}/x")));
    let mut found = Vec::new();
    for (name, text) in tracked() {
        for (number, line) in (1..).zip(text.lines()) {
            if words(line).any(is_local) {
                found.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    none("paths of one machine", &found);
}

/// Finds `texts` in the tracked files, but for those in `except`.
fn occurrences(texts: &[String], except: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, text) in tracked() {
        if except.contains(&name.as_str()) {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            if texts.iter().any(|t| line.contains(t.as_str())) {
                found.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

/// Of the tests that `table` names as `file: name` those that are not there; and how many it names.
fn missing_tests(table: &str) -> (Vec<String>, usize) {
    let named = table.split('`').filter_map(|part| part.split_once(".rs: "));
    let (mut missing, mut count) = (Vec::new(), 0);
    for (file, name) in named {
        count += 1;
        let text = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
        if !text.contains(&format!("fn {name}(")) {
            missing.push(format!("{file}.rs: {name}"));
        }
    }
    (missing, count)
}

/// Each of the twenty-eight has a test that is there and a patch that leaves its rule out.
#[test]
fn every_scenario_has_its_test_and_its_breakage() {
    let table = fs::read_to_string(root().join("docs/scenarios.md")).unwrap();
    let (mut missing, _) = missing_tests(&table);
    let all = (1..=13).map(|n| format!("S{n}")).chain((1..=15).map(|n| format!("A{n}")));
    for scenario in all {
        let Some(row) = table.lines().find(|l| l.starts_with(&format!("| {scenario} | "))) else {
            missing.push(format!("no row {scenario}"));
            continue;
        };
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, _, _, tests, breakages] = cells[..] else { panic!("five cells: {row}") };
        if missing_tests(tests).1 == 0 {
            missing.push(format!("{scenario} names no test"));
        }
        let patches: Vec<_> = breakages.split('`').skip(1).step_by(2).collect();
        let there = |name: &&str| root().join(format!("tests/breakages/{name}.patch")).is_file();
        let gone = patches.iter().filter(|name| !there(name));
        missing.extend(gone.map(|name| format!("no {name}.patch")));
        if patches.is_empty() {
            missing.push(format!("{scenario} names no breakage"));
        }
    }
    none("of docs/scenarios.md is not there", &missing);
}

/// A patch that no longer applies breaks nothing, and would prove nothing.
#[test]
fn every_breakage_applies() {
    let dir = root().join("tests/breakages");
    let told = fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let (_, told) = told.split_once("<!-- breakages -->").unwrap();
    let (told, _) = told.split_once("<!-- end -->").unwrap();
    let (mut found, mut count) = (Vec::new(), 0);
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "patch") {
            continue;
        }
        count += 1;
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let row = format!("\n| {} | ", name.trim_end_matches(".patch"));
        if !told.contains(&row) {
            found.push(format!("{name}: no row in docs/testing.md"));
        }
        let text = fs::read_to_string(&path).unwrap();
        for line in ["What: ", "Check: -p "] {
            if !text.lines().any(|l| l.starts_with(line)) {
                found.push(format!("{name}: no line {line}"));
            }
        }
        let mut git = Command::new("git");
        let applied =
            git.args(["apply", "--check"]).arg(&path).current_dir(root()).output().unwrap();
        if !applied.status.success() {
            found.push(format!("{name}: {}", String::from_utf8_lossy(&applied.stderr).trim()));
        }
    }
    assert!(count >= 25, "only {count} breakages");
    let rows = told.lines().filter(|line| line.starts_with("| ")).count() - 1;
    assert_eq!(rows, count, "rows in docs/testing.md, patches");
    none("breakages that do not apply", &found);
}

#[test]
fn every_test_that_the_table_of_invariants_names_exists() {
    let table = fs::read_to_string(root().join("docs/invariants.md")).unwrap();
    let (mut missing, count) = missing_tests(&table);
    assert!(count > 60, "only {count} tests are named");
    // The first cell of a row names one or more of them.
    let rows: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"))
        .flat_map(|(cell, _)| cell.split(", "))
        .collect();
    let all = (1..=10).map(|n| format!("I{n}")).chain((1..=26).map(|n| format!("R{n}")));
    missing.extend(all.filter(|n| !rows.contains(n.as_str())).map(|n| format!("no row {n}")));
    none("tests of docs/invariants.md that are not there", &missing);
}

#[test]
fn no_package_registry_is_named() {
    let hosts = [
        ["crates", ".io"],
        ["pypi", ".org"],
        ["npmjs", ".org"],
        ["npmjs", ".com"],
        ["proxy.gol", "ang.org"],
        ["deb.deb", "ian.org"],
        ["archive.ub", "untu.com"],
    ];
    let hosts = hosts.map(|parts| parts.concat());
    // Written by cargo, which names there where each package came from.
    none("hosts of package registries", &occurrences(&hosts, &["Cargo.lock"]));
}

#[test]
fn no_test_is_switched_off_and_no_code_still_to_be_written() {
    let marks = [["#[ign", "ore"], ["tod", "o!("], ["unimple", "mented!("]];
    none("switched off or unfinished", &occurrences(&marks.map(|parts| parts.concat()), &[]));
}
