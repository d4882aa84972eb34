//! The quick starts of README.md, as they stand there: the variables, the command, the mount line.
//! S3 against a store in this process; Swift as far as it goes without a server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use esker_tests::chaos::Fake;
use esker_tests::nfsclient::proc::UNSTABLE;
use esker_tests::server::{Esker, Setup};
use swiftclient::swift::SwiftConfig;

/// The three commands below a heading.
struct Quick {
    variables: BTreeMap<String, String>,
    store: String,
    options: Vec<String>,
    mount: String,
}

fn quick(heading: &str) -> Quick {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(root).unwrap();
    let (_, section) = text.split_once(&format!("\n### {heading}\n")).expect(heading);
    let section = section.split("\n##").next().unwrap();
    let commands: Vec<&str> = section.lines().filter_map(|l| l.strip_prefix("    ")).collect();
    let [export, serve, mount] = commands[..] else { panic!("not three commands: {commands:?}") };
    let variables = export.strip_prefix("export ").expect("export first").split(' ');
    let variables = variables.map(|v| {
        let (name, value) = v.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    let serve = serve.strip_prefix("cargo run --release -- serve ").expect("then serve");
    let mut words = serve.split(' ').map(str::to_owned);
    let store = words.next().unwrap();
    let (variables, options) = (variables.collect(), words.collect());
    Quick { variables, store, options, mount: mount.to_owned() }
}

#[test]
fn the_quick_start_on_s3_serves_a_volume_in_the_bucket() {
    let quick = quick("On S3");
    let store = Fake::start(&["bucket"]).unwrap();
    let work = tempfile::tempdir().unwrap();
    let mut wrap = vec!["env".to_owned(), "AWS_EC2_METADATA_DISABLED=true".to_owned()];
    for (name, value) in &quick.variables {
        let here = format!("http://{}", store.addr());
        // Another store, with a key of its own; by the same variables.
        let value = match name.as_str() {
            "AWS_ENDPOINT_URL" => &here,
            "AWS_ACCESS_KEY_ID" => Fake::KEY,
            "AWS_SECRET_ACCESS_KEY" => Fake::SECRET,
            _ => value,
        };
        wrap.push(format!("{name}={value}"));
    }
    let journal = work.path().join("journal").to_str().unwrap().to_owned();
    let there = |word: String| if word == "./journal" { journal.clone() } else { word };
    let args = quick.options.into_iter().map(there).collect();
    let setup = Setup { store: Some(quick.store), args, wrap, ..Setup::default() };
    let server = Esker::start(work.path(), &setup).unwrap();
    let root = server.mount("/").unwrap();
    let mut client = server.root_client().unwrap();
    let file = client.create(&root, "f", 0o644).unwrap();
    assert!(client.write(&file, 0, UNSTABLE, b"in a bucket").unwrap().status.ok());
    assert!(client.commit(&file).unwrap().status.ok());
    assert_eq!(client.read(&file, 0, 100).unwrap().data, b"in a bucket");
    let names = store.names("bucket");
    assert!(names.iter().any(|name| name == "home/volume"), "{names:?}");
    // The line is the one that the server prints on its own default port.
    let said = std::fs::read_to_string(work.path().join("log")).unwrap();
    let printed = said.lines().find(|l| l.starts_with("mount ")).unwrap();
    assert_eq!(printed.replace(&server.nfs.port().to_string(), "2049"), quick.mount);
}

#[test]
fn the_quick_start_on_swift_names_the_variables_that_are_read() {
    let quick = quick("On Swift");
    let container = quick.store.strip_prefix("swift://").unwrap();
    let lookup = |name: &str| quick.variables.get(name).cloned();
    SwiftConfig::from_env(lookup, container, "").unwrap();
    for missing in quick.variables.keys() {
        let lookup = |name: &str| lookup(name).filter(|_| name != missing);
        assert!(SwiftConfig::from_env(lookup, container, "").is_err(), "{missing} is not needed");
    }
    assert_eq!(quick.mount, self::quick("On S3").mount);
}
