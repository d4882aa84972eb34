//! nfssvr
