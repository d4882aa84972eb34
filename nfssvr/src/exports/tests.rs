use super::*;

fn peer(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn grant(exports: &Exports, from: &str) -> Option<Options> {
    exports.grants(peer(from))[0]
}

#[test]
fn defaults_are_those_of_the_manual_page() {
    let e = Exports::parse("/ 10.0.0.1").unwrap();
    let o = grant(&e, "10.0.0.1").unwrap();
    assert!(o.read_only && o.root_squash && o.secure && o.sync && !o.all_squash);
    assert_eq!((o.anonuid, o.anongid), (65534, 65534));
    assert_eq!(grant(&e, "10.0.0.2"), None);
}

#[test]
fn loopback_without_rules_is_writable_by_root() {
    let e = Exports::loopback();
    let o = grant(&e, "127.0.0.1").unwrap();
    assert!(!o.read_only && !o.root_squash && o.secure && o.sync);
    assert!(grant(&e, "::1").is_some());
    assert!(grant(&e, "::ffff:127.0.0.1").is_some());
    assert_eq!(grant(&e, "192.168.0.1"), None);
}

#[test]
fn every_word() {
    let e = Exports::parse(
        "/ -rw,async 10.0.0.0/8(ro,no_root_squash,insecure,sync,anonuid=-2,anongid=7) \
         10.1.0.0/255.255.0.0(all_squash) *",
    )
    .unwrap();
    let wide = grant(&e, "10.9.9.9").unwrap();
    assert!(wide.read_only && !wide.root_squash && !wide.secure && wide.sync);
    assert_eq!((wide.anonuid, wide.anongid), (u32::MAX - 1, 7));
    let narrow = grant(&e, "10.1.2.3").unwrap();
    assert!(!narrow.read_only && narrow.all_squash && !narrow.sync, "longest prefix wins");
    let rest = grant(&e, "2001:db8::1").unwrap();
    assert!(!rest.read_only && !rest.sync && rest.secure);
}

#[test]
fn ipv6_networks() {
    let e = Exports::parse("/ 2001:db8::/32(rw) [fe80::1](ro)").unwrap();
    assert!(!grant(&e, "2001:db8:1::5").unwrap().read_only);
    assert!(grant(&e, "fe80::1").unwrap().read_only);
    assert_eq!(grant(&e, "fe80::2"), None);
    assert_eq!(grant(&e, "10.0.0.1"), None);
    assert!(grant(&Exports::parse("/ ::/0").unwrap(), "::5").is_some());
    assert!(grant(&Exports::parse("/ 0.0.0.0/0").unwrap(), "1.2.3.4").is_some());
}

#[test]
fn what_cannot_be_understood_is_refused_with_its_line() {
    for (text, part) in [
        ("/ host.example(rw)", "host names"),
        ("/ @group(rw)", "netgroups"),
        ("\n\n/ *(rw,fast)", "line 3: unknown option \"fast\""),
        ("relative *", "begin with"),
        ("/", "no client"),
        ("/ *(rw", "missing"),
        ("/ 10.0.0.0/33", "10.0.0.0/33"),
        ("/ 10.0.0.0/255.0.255.0", "255.0.255.0"),
        ("/ ::/129", "::/129"),
        ("/ *(anonuid=bob)", "bob"),
        ("/ *(anonuid=99999999999)", "range"),
        ("\"/a b *", "quote"),
        ("/\\9 *", "octal"),
    ] {
        let said = Exports::parse(text).unwrap_err().to_string();
        assert!(said.contains(part), "{text:?}: {said}");
    }
}

#[test]
fn comments_quotes_and_continuations() {
    let e = Exports::parse("# nothing\n\n\"/a b\" \\\n *(rw)\n/c\\040d *(ro) # tail\n").unwrap();
    let paths: Vec<_> = e.list().iter().map(Export::path_bytes).collect();
    assert_eq!(paths, [b"/a b".to_vec(), b"/c d".to_vec()]);
}

#[test]
fn paths_never_climb() {
    let parts = |p: &[u8]| join_path(&split_path(p).unwrap());
    assert_eq!(parts(b"/"), b"/");
    assert_eq!(parts(b"/../../etc//./x/"), b"/etc/x");
    assert_eq!(parts(b"/a/b/../c"), b"/a/c");
    assert_eq!(split_path(b"a/b"), None);
    assert_eq!(split_path(b""), None);
}

#[test]
fn the_innermost_granted_export_holds_a_path() {
    let e = Exports::parse("/a *(ro)\n/a/b 10.0.0.1(rw)\n").unwrap();
    let path = split_path(b"/a/b/c").unwrap();
    let held = |from: &str, path: &[Vec<u8>]| {
        e.holding(path, &e.grants(peer(from))).map(Export::path_bytes)
    };
    assert_eq!(held("10.0.0.1", &path).unwrap(), b"/a/b");
    assert_eq!(held("10.0.0.2", &path).unwrap(), b"/a");
    assert_eq!(held("10.0.0.2", &split_path(b"/").unwrap()), None, "never above");
    assert_eq!(held("10.0.0.2", &split_path(b"/ab").unwrap()), None, "never beside");
}

#[test]
fn squashing() {
    let auth = Auth::Sys { uid: 0, gid: 0, groups: vec![0, 4, 1000] };
    let mut o = Options { anonuid: 90, anongid: 91, ..Options::default() };
    let c = o.squash(&auth);
    assert_eq!((c.uid, c.gid, c.groups), (90, 91, vec![91, 4, 1000]));
    o.root_squash = false;
    let c = o.squash(&auth);
    assert_eq!((c.uid, c.gid, c.groups), (0, 0, vec![0, 4, 1000]));
    let c = o.squash(&Auth::None);
    assert_eq!((c.uid, c.gid, c.groups.len()), (90, 91, 0), "AUTH_NONE is nobody");
    o.all_squash = true;
    let c = o.squash(&Auth::Sys { uid: 1000, gid: 4, groups: vec![4] });
    assert_eq!((c.uid, c.gid, c.groups.len()), (90, 91, 0));
}
