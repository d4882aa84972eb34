//! The object `volume`, and the checkpoints, before anything is opened.

use bytes::Bytes;
use swiftclient::{ObjectName, StoreError, probe};

use super::{LogConfig, Recovery};
use crate::{
    CheckpointName, LogError, VolumeHeader,
    again::read_good,
    format::{
        ChainName, checkpoint_name, decode_checkpoint, decode_volume, encode_volume, parse_name,
        volume_name,
    },
};

/// Names asked for in one listing.
const PAGE: usize = 1000;

/// The first object that is not a probe's: those of a format that was cut short, or that a listing
/// still shows after they were deleted, are nobody's.
async fn anything(config: &LogConfig) -> Result<Option<ObjectName>, StoreError> {
    let mut after: Option<ObjectName> = None;
    loop {
        let page = config.store.list("", after.as_ref().map(ObjectName::as_str), PAGE).await?;
        let full = page.len() == PAGE;
        after = page.last().cloned();
        match page.into_iter().find(|name| !probe::is_ours(name)) {
            None if full => {}
            found => return Ok(found),
        }
    }
}

impl Recovery {
    /// Writes the object `volume`: a new, empty volume. Its journal is made by the first opener.
    ///
    /// Errors: `Refused` where the store holds anything else; `Store`.
    pub async fn format(config: &LogConfig, header: &VolumeHeader) -> Result<(), LogError> {
        if let Some(name) = anything(config).await? {
            return LogConfig::refuse(format!(
                "the store is not empty (it holds {name}): nothing was formatted"
            ));
        }
        let bytes = Bytes::from(encode_volume(header));
        match config.store.put_new(&volume_name(), vec![bytes]).await {
            Ok(()) => Ok(()),
            Err(e @ StoreError::Unknown { .. }) => match Self::volume(config).await? {
                Some(found) if found == *header => Ok(()),
                _ => Err(e.into()),
            },
            Err(StoreError::Exists { .. }) => {
                LogConfig::refuse("another server has just formatted this store")
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Reads and checks the object `volume`; `Ok(None)` when the store is empty.
    ///
    /// Errors: `Refused` (with what and where) when it holds something else, or a volume of another
    /// format version; `Store`.
    pub async fn volume(config: &LogConfig) -> Result<Option<VolumeHeader>, LogError> {
        let open = |bytes: &Bytes| {
            decode_volume(bytes)
                .map_err(|e| LogError::Refused(format!("object {}: {e}", volume_name())))
        };
        match read_good(&*config.store, &volume_name(), open).await {
            Ok(header) => Ok(Some(header)),
            Err(LogError::Store(e)) if e.is_not_found() => match anything(config).await? {
                None => Ok(None),
                Some(name) => LogConfig::refuse(format!(
                    "the store holds {name} and no object {}: it is no volume of Esker",
                    volume_name()
                )),
            },
            Err(e) => Err(e),
        }
    }

    /// Names of all checkpoints, ascending, found by listing (R6).
    pub async fn checkpoints(config: &LogConfig) -> Result<Vec<CheckpointName>, LogError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = config.store.list("ckpt/", after.as_deref(), PAGE).await?;
            for name in &page {
                match parse_name(name.as_str()) {
                    Some(ChainName::Checkpoint(name)) => found.push(name),
                    _ => return LogConfig::refuse(format!("{name} is no name of a checkpoint")),
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.as_str().to_owned()),
                _ => break,
            }
        }
        found.sort();
        Ok(found)
    }

    /// The bytes of a checkpoint object, as published (the log's own checksum around them
    /// verified).
    ///
    /// Errors: `Refused` where it is damaged; `Store`, with *not found* where there is none.
    pub async fn checkpoint(config: &LogConfig, name: CheckpointName) -> Result<Bytes, LogError> {
        let Some(header) = Self::volume(config).await? else {
            return LogConfig::refuse("the store is empty");
        };
        let object = checkpoint_name(name);
        let open = |bytes: &Bytes| {
            decode_checkpoint(&header.uuid, name, bytes)
                .map_err(|e| LogError::Refused(format!("{object}: {e}")))
        };
        read_good(&*config.store, &object, open).await
    }
}
