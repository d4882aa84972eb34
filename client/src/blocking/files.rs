//! The operations.

use bytes::Bytes;
use rpc::{Call, Entry, Identity, calls};

use super::Client;
use crate::{
    error::Error,
    methods::{entries, names, plain},
};

macro_rules! blocking {
    ($($name:ident: $call:ident, $doc:literal;)*) => {
        impl Client {
            $(
                #[doc = $doc]
                pub fn $name(
                    &self,
                    who: &Identity,
                    call: &calls::$call,
                ) -> Result<<calls::$call as Call>::Reply, Error> {
                    self.call(who, call, Bytes::new()).map(|(reply, _)| reply)
                }
            )*
        }
    };
}
plain!(blocking);

impl Client {
    /// Reads at most the server's limit of one payload; short only at the end of the file.
    pub fn read(&self, who: &Identity, call: &calls::Read) -> Result<(calls::Data, Bytes), Error> {
        self.call(who, call, Bytes::new())
    }

    /// Writes at most the server's limit of one payload.
    pub fn write(
        &self,
        who: &Identity,
        call: &calls::Write,
        data: Bytes,
    ) -> Result<calls::Written, Error> {
        self.call(who, call, data).map(|(reply, _)| reply)
    }

    /// Entries of a directory, from a cookie on.
    pub fn read_dir(
        &self,
        who: &Identity,
        call: &calls::ReadDir,
    ) -> Result<(calls::Listed, Vec<Entry>), Error> {
        let (listed, payload) = self.call(who, call, Bytes::new())?;
        let entries = entries(&listed, &payload)?;
        Ok((listed, entries))
    }

    /// Value of an extended attribute.
    pub fn get_xattr(&self, who: &Identity, call: &calls::GetXattr) -> Result<Bytes, Error> {
        self.call(who, call, Bytes::new()).map(|((), value)| value)
    }

    /// Sets an extended attribute.
    pub fn set_xattr(
        &self,
        who: &Identity,
        call: &calls::SetXattr,
        value: Bytes,
    ) -> Result<calls::Changed, Error> {
        self.call(who, call, value).map(|(reply, _)| reply)
    }

    /// Names of the extended attributes.
    pub fn list_xattr(
        &self,
        who: &Identity,
        call: &calls::ListXattr,
    ) -> Result<Vec<Vec<u8>>, Error> {
        self.call(who, call, Bytes::new()).map(|((), payload)| names(&payload))
    }
}
