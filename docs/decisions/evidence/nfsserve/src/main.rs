//! Exists so that cargo fetches nfsserve for `look`.

fn main() {}
