//! What the tests and benchmarks of the whole server stand on. Nothing here is part of the server.

pub mod nfsclient;
