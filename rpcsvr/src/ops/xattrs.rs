//! Extended attributes.

use bytes::Bytes;
use rpc::calls::{FOLLOW, GetXattr, ListXattr, RemoveXattr, SetXattr, setxattr as flag};

use super::{follows, known};
use crate::{
    call::{Cx, Fail},
    wire::Reply,
};

/// GETXATTR.
pub async fn get(cx: Cx, call: GetXattr) -> Result<Reply, Fail> {
    known(call.flags, FOLLOW)?;
    let found = cx.there(&call.place, follows(call.flags)).await?;
    let value = cx.volume().getxattr(&cx.caller, found.id, &call.name).await?;
    Ok(cx.reply_with(&(), vec![value]))
}

/// SETXATTR.
pub async fn set(cx: Cx, call: SetXattr, value: Bytes) -> Result<Reply, Fail> {
    known(call.flags, FOLLOW | flag::CREATE | flag::REPLACE)?;
    let found = cx.there(&call.place, follows(call.flags)).await?;
    let (create, replace) = (call.flags & flag::CREATE != 0, call.flags & flag::REPLACE != 0);
    let context = cx.context();
    let set = cx.volume().setxattr(&context, found.id, &call.name, Some(&value), create, replace);
    let done = set.await?;
    cx.changed(done.wcc.after.unwrap_or(found), done.seq).await
}

/// LISTXATTR.
pub async fn list(cx: Cx, call: ListXattr) -> Result<Reply, Fail> {
    known(call.flags, FOLLOW)?;
    let found = cx.there(&call.place, follows(call.flags)).await?;
    let mut names = Vec::new();
    for name in cx.volume().listxattr(&cx.caller, found.id).await? {
        names.extend_from_slice(&name);
        names.push(0);
    }
    Ok(cx.reply_with(&(), vec![names.into()]))
}

/// REMOVEXATTR.
pub async fn remove(cx: Cx, call: RemoveXattr) -> Result<Reply, Fail> {
    known(call.flags, FOLLOW)?;
    let found = cx.there(&call.place, follows(call.flags)).await?;
    let context = cx.context();
    let set = cx.volume().setxattr(&context, found.id, &call.name, None, false, false);
    let done = set.await?;
    cx.changed(done.wcc.after.unwrap_or(found), done.seq).await
}
