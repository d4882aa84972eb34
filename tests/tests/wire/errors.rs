//! Row 22 and 23: which error for which wrong call; names that are bytes.

use esker_tests::nfsclient::proc::{
    Commit, Create, How, Link, Mkdir, Read, Readdir, Readlink, Remove, Rename, Rmdir, Symlink,
    UNSTABLE,
};
use esker_tests::nfsclient::{Fh, Ftype, Sattr};

use crate::{Lab, fine, refused};

struct Things {
    file: Fh,
    dir: Fh,
    full: Fh,
    link: Fh,
}

fn things(lab: &Lab) -> Things {
    let mut c = lab.client();
    let file = c.create(&lab.root, "file", 0o644).unwrap();
    let dir = c.mkdir(&lab.root, "dir", 0o755).unwrap();
    let full = c.mkdir(&lab.root, "full", 0o755).unwrap();
    c.create(&full, "inside", 0o644).unwrap();
    let set = Sattr::mode(0o777);
    let call = Symlink { dir: &lab.root, name: b"link", set, target: b"some/where" };
    let link = fine!(c.call(&call)).fh.unwrap();
    Things { file, dir, full, link }
}

#[test]
fn the_wrong_kind_of_object() {
    let lab = Lab::new();
    let t = things(&lab);
    let mut c = lab.client();
    let how = How::Unchecked(Sattr::mode(0o644));
    let set = Sattr::mode(0o755);
    refused!(c.lookup(&t.file, "x"), NOTDIR);
    refused!(c.lookup(&t.link, "x"), NOTDIR);
    refused!(c.read(&t.dir, 0, 10), ISDIR | INVAL);
    refused!(c.read(&t.link, 0, 10), INVAL);
    refused!(c.write(&t.dir, 0, UNSTABLE, b"x"), ISDIR | INVAL);
    refused!(c.write(&t.link, 0, UNSTABLE, b"x"), INVAL);
    refused!(c.setattr(&t.dir, Sattr::size(0)), ISDIR | INVAL);
    refused!(c.call(&Readlink(&t.file)), INVAL);
    refused!(c.call(&Readlink(&t.dir)), INVAL);
    refused!(c.call(&Readdir { dir: &t.file, cookie: 0, verf: [0; 8], count: 4096 }), NOTDIR);
    refused!(c.call(&Create { dir: &t.file, name: b"x", how }), NOTDIR);
    refused!(c.call(&Mkdir { dir: &t.file, name: b"x", set }), NOTDIR);
    refused!(c.call(&Symlink { dir: &t.file, name: b"x", set, target: b"t" }), NOTDIR);
    refused!(c.call(&Remove { dir: &t.file, name: b"x" }), NOTDIR);
    refused!(c.call(&Rmdir { dir: &t.file, name: b"x" }), NOTDIR);
    refused!(c.call(&Remove { dir: &lab.root, name: b"dir" }), ISDIR | PERM);
    refused!(c.call(&Rmdir { dir: &lab.root, name: b"file" }), NOTDIR);
    refused!(c.call(&Rmdir { dir: &lab.root, name: b"full" }), NOTEMPTY | EXIST);
    refused!(c.call(&Link { fh: &t.dir, dir: &lab.root, name: b"x" }), ISDIR | PERM | INVAL);
    refused!(c.call(&Link { fh: &t.file, dir: &t.file, name: b"x" }), NOTDIR);
    refused!(c.call(&Commit { fh: &t.dir, offset: 0, count: 0 }), ISDIR | INVAL | OK);
    refused!(c.call(&Create { dir: &lab.root, name: b"dir", how }), ISDIR | EXIST);
    let again = How::Exclusive([1; 8]);
    refused!(c.call(&Create { dir: &lab.root, name: b"file", how: again }), EXIST);
    refused!(c.call(&Mkdir { dir: &lab.root, name: b"file", set }), EXIST);
    refused!(c.call(&Symlink { dir: &lab.root, name: b"dir", set, target: b"t" }), EXIST);
    refused!(c.call(&Link { fh: &t.file, dir: &lab.root, name: b"link" }), EXIST);
    assert_eq!(fine!(c.call(&Readlink(&t.link))).target, b"some/where");
    assert_eq!(c.attr(&t.link).unwrap().ftype, Ftype::Lnk);
}

#[test]
fn renames_in_all_their_cases() {
    let lab = Lab::new();
    let t = things(&lab);
    let mut c = lab.client();
    let root = &lab.root;
    let mut rename = |from: (&Fh, &[u8]), to: (&Fh, &[u8])| c.call(&Rename { from, to });
    refused!(rename((root, b"file"), (root, b"dir")), ISDIR | EXIST);
    refused!(rename((root, b"dir"), (root, b"file")), NOTDIR | EXIST);
    refused!(rename((root, b"dir"), (root, b"full")), NOTEMPTY | EXIST);
    refused!(rename((root, b"full"), (&t.full, b"x")), INVAL);
    refused!(rename((root, b"nothing"), (root, b"x")), NOENT);
    refused!(rename((root, b"file"), (&t.file, b"x")), NOTDIR);
    refused!(rename((&t.file, b"x"), (root, b"x")), NOTDIR);
    for bad in [&b"."[..], b"..", b""] {
        refused!(rename((root, bad), (root, b"x")), INVAL | EXIST | ACCES | NOENT | NOTEMPTY);
        refused!(
            rename((root, b"file"), (root, bad)),
            INVAL | EXIST | ACCES | NOENT | ISDIR | NOTEMPTY
        );
    }
    let onto_itself = fine!(rename((root, b"file"), (root, b"file")));
    assert_eq!(onto_itself.from.before.map(|b| b.ctime), onto_itself.from.after.map(|a| a.ctime));
    fine!(rename((root, b"full"), (root, b"dir"))); // an empty directory is replaced
    fine!(rename((root, b"file"), (root, b"link"))); // a name is replaced, not what it points to
    assert_eq!(c.walk(root, "link").unwrap(), t.file);
    assert_eq!(c.walk(root, "dir").unwrap(), t.full);
    refused!(c.lookup(root, "full"), NOENT);
    let deep = c.mkdir(&t.full, "a", 0o755).unwrap();
    let deeper = c.mkdir(&deep, "b", 0o755).unwrap();
    refused!(c.call(&Rename { from: (root, b"dir"), to: (&deeper, b"loop") }), INVAL);
    // Two names of one file: nothing happens, both stay (rename(2)).
    fine!(c.call(&Link { fh: &t.file, dir: root, name: b"twin" }));
    fine!(c.call(&Rename { from: (root, b"twin"), to: (root, b"link") }));
    assert_eq!(c.walk(root, "twin").unwrap(), t.file);
}

/// Names are bytes: all but `/` and NUL, up to 255 of them.
#[test]
fn names_are_bytes() {
    let lab = Lab::fast();
    let mut c = lab.client();
    let dir = c.mkdir(&lab.root, "d", 0o755).unwrap();
    let how = How::Guarded(Sattr::mode(0o644));
    let mut kept: Vec<Vec<u8>> =
        (1..=255u8).filter(|&b| b != b'/').map(|b| vec![b, b'x']).collect();
    kept.push(vec![0xff; 255]);
    kept.push(b"\xf0\x9f\x92\xa9".to_vec());
    kept.push(b"...".to_vec());
    for name in &kept {
        let made = fine!(c.call(&Create { dir: &dir, name, how }));
        let found = fine!(c.call(&esker_tests::nfsclient::proc::Lookup { dir: &dir, name }));
        assert_eq!(made.fh, found.fh);
    }
    let listed = c.list(&dir, 32_768).unwrap();
    assert_eq!(listed.entries.len(), kept.len() + 2);
    let mut got: Vec<_> = listed.entries.into_iter().skip(2).map(|e| e.name).collect();
    got.sort();
    kept.sort();
    assert_eq!(got, kept);
    for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
        refused!(
            c.call(&Create { dir: &dir, name: bad, how }),
            ACCES | INVAL | EXIST | NOENT | ISDIR
        );
        let set = Sattr::default();
        refused!(c.call(&Mkdir { dir: &dir, name: bad, set }), ACCES | INVAL | EXIST | NOENT);
        refused!(
            c.call(&Remove { dir: &dir, name: bad }),
            ACCES | INVAL | EXIST | NOENT | ISDIR | PERM
        );
        refused!(c.call(&Rmdir { dir: &dir, name: bad }), ACCES | INVAL | EXIST | NOENT | NOTEMPTY);
    }
    let long = vec![b'n'; 256];
    refused!(c.call(&Create { dir: &dir, name: &long, how }), NAMETOOLONG);
    refused!(c.call(&Remove { dir: &dir, name: &long }), NAMETOOLONG);
    refused!(c.call(&esker_tests::nfsclient::proc::Lookup { dir: &dir, name: &long }), NAMETOOLONG);
    // The server may refuse a megabyte of name as arguments that do not decode, but must answer.
    let huge = vec![b'n'; 5000];
    let _ = c.call(&Create { dir: &dir, name: &huge, how });
    c.attr(&dir).unwrap();
}

/// `.` and `..` are looked up, the root is its own parent.
#[test]
fn dots_are_looked_up() {
    let lab = Lab::new();
    let mut c = lab.client();
    let a = c.mkdir(&lab.root, "a", 0o755).unwrap();
    let b = c.mkdir(&a, "b", 0o755).unwrap();
    assert_eq!(c.walk(&b, ".").unwrap(), b);
    assert_eq!(c.walk(&b, "..").unwrap(), a);
    assert_eq!(c.walk(&a, "..").unwrap(), lab.root);
    assert_eq!(c.walk(&lab.root, "..").unwrap(), lab.root);
    fine!(c.call(&Rename { from: (&a, b"b"), to: (&lab.root, b"b") }));
    assert_eq!(c.walk(&b, "..").unwrap(), lab.root, "after a move too");
    fine!(c.call(&Read { fh: &c_file(&lab), offset: 0, count: 1 }));
    refused!(c.lookup(&lab.root, "nothing"), NOENT);
}

fn c_file(lab: &Lab) -> Fh {
    lab.client().create(&lab.root, "plain", 0o644).unwrap()
}
