//! Stores that are wrong in one way each: the suite must name the clause.

use std::{ops::Range, path::Path};

use super::*;
use crate::{Memory, ObjectInfo, ObjectWriter, StoreClass, StoreFuture};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Replaces,
    SaysOkToEveryRacer,
    ShowsOpenStreams,
    KeepsDroppedStreams,
    ListsBackwards,
    ListsFromAfterOn,
    ListsOtherPrefixes,
    ListsOneTooMany,
    AbsentIsUnavailable,
    AbsentIsEmpty,
    RefusesLongRanges,
    IgnoresTheStart,
    DropsSecondPiece,
    DropsBigTails,
    FoldsCase,
    DeletingAbsentFails,
    DeletesNothing,
    TellsOtherChecksums,
    StoresWholeFiles,
    ReadsStale,
    DropsLargeTails,
    MixesLargeParts,
    ListsOnePage,
    DeletesOnePage,
    MixesBodies,
}

struct Store {
    right: Memory,
    wrong: Wrong,
}

struct Writer {
    store: Memory,
    writer: Option<Box<dyn ObjectWriter>>,
    name: ObjectName,
    wrong: Wrong,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.wrong == Wrong::KeepsDroppedStreams && self.writer.is_some() {
            let put = self.store.put_new(&self.name, Vec::new());
            let _ = futures_util::FutureExt::now_or_never(put);
        }
    }
}

impl ObjectWriter for Writer {
    fn write(&mut self, piece: Bytes) -> StoreFuture<'_, ()> {
        self.writer.as_mut().unwrap().write(piece)
    }
    fn finish(mut self: Box<Self>) -> StoreFuture<'static, ()> {
        let (writer, store) = (self.writer.take().unwrap(), self.store.clone());
        let (name, wrong) = (self.name.clone(), self.wrong);
        Box::pin(async move {
            if wrong == Wrong::DropsLargeTails {
                return store.put_new(&name, vec![Bytes::from(vec![0; 5])]).await;
            }
            if wrong == Wrong::ShowsOpenStreams || wrong == Wrong::Replaces {
                store.delete_many(&[name]).await?;
            }
            writer.finish().await
        })
    }
}

impl Store {
    fn name(&self, name: &ObjectName) -> ObjectName {
        match self.wrong {
            Wrong::FoldsCase => ObjectName::new(name.as_str().to_lowercase()).unwrap(),
            _ => name.clone(),
        }
    }
}

impl ObjectStore for Store {
    fn put_new<'a>(&'a self, name: &'a ObjectName, mut body: Vec<Bytes>) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let name = self.name(name);
            match self.wrong {
                Wrong::Replaces => drop(self.right.delete_many(std::slice::from_ref(&name)).await),
                Wrong::MixesBodies if name.as_str().ends_with("/7") => body.reverse(),
                Wrong::DropsSecondPiece if body.len() > 1 => drop(body.remove(1)),
                Wrong::DropsBigTails => {
                    let whole = Bytes::from(body.concat());
                    body = vec![whole.slice(..whole.len().min(16 << 20))];
                }
                _ => {}
            }
            match self.right.put_new(&name, body).await {
                Err(StoreError::Exists { .. }) if self.wrong == Wrong::SaysOkToEveryRacer => Ok(()),
                other => other,
            }
        })
    }

    fn put_stream<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, Box<dyn ObjectWriter>> {
        Box::pin(async move {
            let name = self.name(name);
            let writer = Some(self.right.put_stream(&name).await?);
            if self.wrong == Wrong::ShowsOpenStreams {
                self.right.put_new(&name, Vec::new()).await?;
            }
            let writer = Writer { store: self.right.clone(), writer, name, wrong: self.wrong };
            Ok(Box::new(writer) as Box<dyn ObjectWriter>)
        })
    }

    fn put_file<'a>(
        &'a self,
        name: &'a ObjectName,
        file: &'a Path,
        len: u64,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let len = match self.wrong {
                Wrong::StoresWholeFiles => std::fs::metadata(file).unwrap().len(),
                _ => len,
            };
            if self.wrong == Wrong::Replaces {
                self.right.delete_many(std::slice::from_ref(name)).await?;
            }
            self.right.put_file(name, file, len).await
        })
    }

    fn get<'a>(&'a self, name: &'a ObjectName, range: Range<u64>) -> StoreFuture<'a, Bytes> {
        Box::pin(async move {
            let name = self.name(name);
            let len = self.right.head(&name).await.map_or(0, |i| i.len);
            let invalid = |reason: &str| ErrorKind::Invalid.error("get", name.as_str(), reason);
            match self.wrong {
                Wrong::RefusesLongRanges if range.end > len => Err(invalid("beyond the end")),
                // As a 32-bit count of 32 MiB steps would.
                Wrong::MixesLargeParts if range.start >= 32 << 20 && range.end <= len => {
                    self.right.get(&name, range.start - (32 << 20)..range.end - (32 << 20)).await
                }
                Wrong::IgnoresTheStart => self.right.get(&name, 0..range.end).await,
                _ => match self.right.get(&name, range).await {
                    Err(e) if e.is_not_found() => match self.wrong {
                        Wrong::AbsentIsUnavailable => {
                            Err(ErrorKind::Unavailable.error("get", name.as_str(), "404"))
                        }
                        Wrong::AbsentIsEmpty => Ok(Bytes::new()),
                        _ => Err(e),
                    },
                    other => other,
                },
            }
        })
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> StoreFuture<'a, ObjectInfo> {
        Box::pin(async move {
            let mut info = self.right.head(&self.name(name)).await?;
            if self.wrong == Wrong::TellsOtherChecksums {
                info.crc32c = Some(1);
            }
            Ok(info)
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> StoreFuture<'a, Vec<ObjectName>> {
        Box::pin(async move {
            let right = &self.right;
            match self.wrong {
                Wrong::ListsBackwards => {
                    let mut names = right.list(prefix, after, limit).await?;
                    names.reverse();
                    Ok(names)
                }
                Wrong::ListsFromAfterOn => {
                    let mut names = right.list(prefix, None, usize::MAX).await?;
                    names.retain(|n| after.is_none_or(|a| n.as_str() >= a));
                    names.truncate(limit);
                    Ok(names)
                }
                Wrong::ListsOtherPrefixes => {
                    let dir = prefix.rfind('/').map_or("", |at| &prefix[..=at]);
                    right.list(dir, after, limit).await
                }
                Wrong::ListsOnePage => right.list(prefix, after, limit.min(1000)).await,
                Wrong::ListsOneTooMany => right.list(prefix, after, limit + 1).await,
                _ => right.list(prefix, after, limit).await,
            }
        })
    }

    fn delete_many<'a>(
        &'a self,
        names: &'a [ObjectName],
    ) -> StoreFuture<'a, Vec<Result<(), StoreError>>> {
        Box::pin(async move {
            let mut outcomes = Vec::new();
            for name in names {
                let absent = self.right.head(name).await;
                outcomes.push(match (self.wrong, absent) {
                    (Wrong::DeletingAbsentFails, Err(e)) => Err(e),
                    (Wrong::DeletesNothing, _) => Ok(()),
                    (Wrong::DeletesOnePage, _) if outcomes.len() >= 1000 => Ok(()),
                    (Wrong::ReadsStale, Ok(_)) if name.as_str().ends_with("again") => Ok(()),
                    _ => self.right.delete_many(std::slice::from_ref(name)).await?.remove(0),
                });
            }
            Ok(outcomes)
        })
    }

    fn class(&self) -> StoreClass {
        StoreClass::Fencing
    }
}

#[tokio::test]
async fn each_wrong_store_fails_its_clause() {
    let cases = [
        (Wrong::Replaces, "a_second_put_is_refused_and_changes_nothing"),
        (Wrong::Replaces, "a_stream_does_not_replace"),
        (Wrong::Replaces, "a_file_does_not_replace"),
        (Wrong::Replaces, "a_stream_loses_to_a_put_that_came_meanwhile"),
        (Wrong::Replaces, "of_16_racing_streams_one_wins"),
        (Wrong::SaysOkToEveryRacer, "of_16_racing_puts_one_wins"),
        (Wrong::ShowsOpenStreams, "a_stream_is_visible_only_when_finished"),
        (Wrong::KeepsDroppedStreams, "a_dropped_stream_leaves_nothing"),
        (Wrong::ListsBackwards, "listing_is_in_byte_order"),
        (Wrong::ListsFromAfterOn, "listing_pages_without_loss_or_repeat"),
        (Wrong::ListsOtherPrefixes, "listing_keeps_to_its_prefix"),
        (Wrong::ListsOneTooMany, "listing_pages_without_loss_or_repeat"),
        (Wrong::AbsentIsUnavailable, "what_was_never_put_is_definitely_absent"),
        (Wrong::AbsentIsEmpty, "what_was_never_put_is_definitely_absent"),
        (Wrong::RefusesLongRanges, "ranges_are_clipped_to_the_object"),
        (Wrong::IgnoresTheStart, "readers_at_once_get_their_own_bytes"),
        (Wrong::DropsSecondPiece, "pieces_are_joined_in_order"),
        (Wrong::DropsBigTails, "twenty_mebibytes_come_back_by_put_and_by_stream"),
        (Wrong::FoldsCase, "legal_names_of_every_shape_are_kept_apart"),
        (Wrong::DeletingAbsentFails, "deletion_takes_many_and_absent_ones_are_deleted"),
        (Wrong::DeletesNothing, "deletion_takes_many_and_absent_ones_are_deleted"),
        (Wrong::TellsOtherChecksums, "head_tells_length_and_a_true_checksum"),
        (Wrong::TellsOtherChecksums, "an_empty_object_is_an_object"),
        (Wrong::StoresWholeFiles, "a_file_is_stored_by_its_first_bytes"),
        (Wrong::DropsLargeTails, "sixty_four_mebibytes_are_streamed_and_read_in_parts"),
        (Wrong::MixesLargeParts, "sixty_four_mebibytes_are_streamed_and_read_in_parts"),
        (Wrong::ListsOnePage, "a_listing_of_many_pages_has_every_name_once"),
        (Wrong::DeletesOnePage, "deletion_takes_more_names_than_one_request"),
        (Wrong::MixesBodies, "many_puts_at_once_are_kept_apart"),
        (Wrong::ReadsStale, "a_name_can_be_put_after_its_deletion"),
    ];
    let mut named: Vec<&str> = Vec::new();
    for (wrong, clause) in cases {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store { right: Memory::new(), wrong };
        let trial = Trial::new(Arc::new(store), "trial");
        let trial = trial.with_files(Arc::new(OsDisk), scratch.path()).thorough();
        let failed = trial.run_those(|c| c == clause).await;
        let found = failed.iter().any(|f| f.clause == clause);
        assert!(found, "{wrong:?} does not fail {clause}, but {failed:?}");
        named.push(clause);
    }
    let all = [creation::CLAUSES, names::CLAUSES, bulk::CLAUSES, thorough::CLAUSES];
    for clause in all.into_iter().flatten() {
        assert!(named.contains(&clause.name), "no wrong store is known to fail {}", clause.name);
    }
}
