//! The binary `esker`.
fn main() {}
