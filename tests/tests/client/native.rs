//! libesker: its example in C, compiled and run.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::House;

/// Has cargo make the libraries; the directory where they are.
fn libraries() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let profile = exe.ancestors().skip(1).find(|d| !d.ends_with("deps")).unwrap().to_owned();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "libesker", "--lib", "--target-dir"]);
    cargo.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let out = cargo.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    profile
}

#[test]
fn the_example_in_c_compiles_without_a_warning_and_runs() {
    let house = House::start();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../libesker");
    let libraries = libraries();
    let shared = vec!["-lesker".to_owned()];
    let fixed = vec![libraries.join("libesker.a").display().to_string(), "-lpthread".into()];
    for (name, link) in [("shared", shared), ("static", fixed)] {
        let program = house.path(name);
        let compiled = Command::new("gcc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"])
            .arg(&program)
            .arg(here.join("examples/copy.c"))
            .arg("-I")
            .arg(&here)
            .arg("-L")
            .arg(&libraries)
            .args(link)
            .args(["-lm", "-ldl"])
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        let mut child = Command::new(&program)
            .args([&house.address(), &format!("/{name}")])
            .env("LD_LIBRARY_PATH", &libraries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let text = vec![b'x'; 3_000_000];
        child.stdin.take().unwrap().write_all(&text).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        let listed = String::from_utf8(out.stdout).unwrap();
        assert!(listed.contains(&format!("{name} 3000000\n")), "{listed}");
    }
}
