//! The smallest program that uses bincode 3.0.0. It does not get as far as being compiled.

fn main() {
    let _ = bincode::config::standard();
}
