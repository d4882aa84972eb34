//! What the tests and benchmarks of the whole server stand on. Nothing here is part of the server.

pub mod bench;
pub mod chaos;
pub mod fuzz;
pub mod ganesha;
pub mod load;
pub mod model;
pub mod nfsclient;
pub mod ordeal;
pub mod server;
pub mod walk;
