//! What is about the session itself.

use fs::FsError;
use rpc::calls::Cancel;

use crate::{
    call::{Cx, Fail},
    wire::Reply,
};

/// BYE.
pub async fn bye(cx: Cx) -> Result<Reply, Fail> {
    end(&cx).await;
    Ok(cx.reply(&()))
}

async fn end(cx: &Cx) {
    crate::server::end(cx.service(), &cx.peer.session).await;
}

/// PING.
pub async fn ping(cx: Cx) -> Result<Reply, Fail> {
    Ok(cx.reply(&()))
}

/// SYNC.
pub async fn sync(cx: Cx) -> Result<Reply, Fail> {
    let newest = cx.volume().newest();
    match cx.durable(newest).await {
        Ok(()) => Ok(cx.reply(&())),
        Err(FsError::RoFs) => Err(FsError::Io.into()),
        Err(error) => Err(error.into()),
    }
}

/// RECLAIMED.
pub async fn reclaimed(cx: Cx) -> Result<Reply, Fail> {
    cx.service().reclaim.done(&cx.peer.session.id);
    Ok(cx.reply(&()))
}

/// CANCEL.
pub async fn cancel(cx: Cx, call: Cancel) -> Result<Reply, Fail> {
    cx.peer.session.cancel(call.id);
    Ok(cx.reply(&()))
}
