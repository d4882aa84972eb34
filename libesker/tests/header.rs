//! `esker.h` is what cbindgen makes of the sources. To renew it: `ESKER_HEADER=write cargo test -p
//! libesker`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

#[test]
fn the_header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut made = Vec::new();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["files", "names", "dirs", "locks"] {
        builder = builder.with_src(root.join(format!("src/{file}.rs")));
    }
    builder.generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let path = root.join("esker.h");
    if std::env::var_os("ESKER_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), made, "esker.h is not current");
    // One of each file.
    for name in ["esker_connect", "esker_stat", "esker_readdir", "esker_lock"] {
        assert!(made.contains(&format!("{name}(")), "{name} is missing");
    }
}
