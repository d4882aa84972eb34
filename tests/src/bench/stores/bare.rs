//! The bare client: objects of a segment's size, put and got by the same HTTP code and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use swiftclient::s3::{S3, S3Config};
use swiftclient::seam::Env;
use swiftclient::swift::SwiftConfig;
use swiftclient::{ObjectName, ObjectStore, StoreError, Swift};

use super::{OBJECT_BYTES, wrong};
use crate::load::{LoadError, Pool, now};

const MIB: usize = 1 << 20;

/// A client of the store.
pub struct Bare {
    runtime: tokio::runtime::Runtime,
    store: Arc<dyn ObjectStore>,
    parallel: usize,
    /// One piece per MiB of an object, shared by all objects.
    pieces: Vec<Bytes>,
}

impl Bare {
    /// A client of the store at `url` with the credentials of the environment, where the variable
    /// `endpoint` has this value whatever the environment says.
    pub fn open(url: &str, endpoint: (&str, &str), parallel: usize) -> Result<Self, LoadError> {
        let variable = |name: &str| match name {
            n if n == endpoint.0 => Some(endpoint.1.to_owned()),
            n => std::env::var(n).ok(),
        };
        let (kind, rest) = url.split_once("://").unwrap_or((url, ""));
        let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let env = Env::real();
        let store: Arc<dyn ObjectStore> = match kind {
            "swift" => {
                let config = SwiftConfig::from_env(variable, container, prefix).map_err(wrong)?;
                Arc::new(Swift::new(&config, &env).map_err(wrong)?)
            }
            "s3" => {
                let config = S3Config::from_env(variable, container, prefix).map_err(wrong)?;
                Arc::new(S3::new(config, &env).map_err(wrong)?)
            }
            _ => return Err(wrong(format!("{url}: say s3:// or swift://"))),
        };
        Self::new(store, parallel)
    }

    /// Puts objects, gets them whole, deletes them; MiB/s of the first two.
    pub fn stream(&self, mib: u64) -> Result<(f64, f64), LoadError> {
        let count = mib * MIB as u64 / OBJECT_BYTES;
        let stamp = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos());
        let names = (0..count).filter_map(|i| ObjectName::new(format!("bare/{stamp}-{i}")));
        let names: Vec<ObjectName> = names.collect();
        let rate = |begin: std::time::Instant| mib as f64 / (now() - begin).as_secs_f64();
        self.runtime.block_on(async {
            let begin = now();
            let put = |name| self.store.put_new(name, self.pieces.clone());
            self.each(&names, put).await?;
            let put = rate(begin);
            let begin = now();
            let get = |name| self.store.get(name, 0..OBJECT_BYTES);
            let got: Vec<Bytes> = self.each(&names, get).await?;
            let get = rate(begin);
            if got.iter().any(|b| b.len() as u64 != OBJECT_BYTES) {
                return Err(wrong("an object is not whole"));
            }
            for done in self.store.delete_many(&names).await.map_err(wrong)? {
                done.map_err(wrong)?;
            }
            Ok((put, get))
        })
    }

    async fn each<'a, T, F>(
        &self,
        names: &'a [ObjectName],
        ask: impl Fn(&'a ObjectName) -> F,
    ) -> Result<Vec<T>, LoadError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let asked = stream::iter(names.iter().map(ask)).buffer_unordered(self.parallel);
        asked.try_collect().await.map_err(wrong)
    }

    fn new(store: Arc<dyn ObjectStore>, parallel: usize) -> Result<Self, LoadError> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let pool = Pool::new();
        let block = |n| Bytes::copy_from_slice(pool.block(n, MIB));
        let pieces = (0..OBJECT_BYTES / MIB as u64).map(block).collect();
        Ok(Self { runtime, store, parallel, pieces })
    }
}
