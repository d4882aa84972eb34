//! Values as bytes: little-endian, in the order of their fields, without padding.

use bytes::Bytes;

/// What arrived is not what this protocol writes: the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed: {0}")]
pub struct Malformed(pub &'static str);

/// Reads values off the front of a body.
#[derive(Debug)]
pub struct Reader<'a> {
    all: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    /// From the start of `all`.
    pub fn new(all: &'a Bytes) -> Self {
        Self { all, at: 0 }
    }

    /// The next `len` bytes, as a slice of what arrived.
    pub fn bytes(&mut self, len: usize) -> Result<Bytes, Malformed> {
        if len > self.left() {
            return Err(Malformed("a body ends too early"));
        }
        let piece = self.all.slice(self.at..self.at + len);
        self.at += len;
        Ok(piece)
    }

    /// The next `N` bytes, copied.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = self.all.get(self.at..).unwrap_or_default();
        let (array, _) = rest.split_first_chunk::<N>().ok_or(Malformed("a body ends too early"))?;
        self.at += N;
        Ok(*array)
    }

    /// Bytes not yet read.
    pub fn left(&self) -> usize {
        self.all.len() - self.at
    }

    /// Errors unless everything was read.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.left() == 0 { Ok(()) } else { Err(Malformed("a body is too long")) }
    }
}

/// A value on the wire.
pub trait Wire: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it.
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// Reads a whole body.
    fn whole(body: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let value = Self::take(&mut reader)?;
        reader.end()?;
        Ok(value)
    }
}

macro_rules! numbers {
    ($($t:ty)*) => {$(
        impl Wire for $t {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
                from.array().map(Self::from_le_bytes)
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64 i64);

impl Wire for () {
    fn put(&self, _: &mut Vec<u8>) {}
    fn take(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a truth value that is neither 0 nor 1")),
        }
    }
}

impl<const N: usize> Wire for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        bool::take(from)?.then(|| T::take(from)).transpose()
    }
}

/// At most `MAX` bytes: `u32` length, the bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Blob<const MAX: usize>(pub Bytes);

impl<const MAX: usize> Blob<MAX> {
    /// Copies `bytes`; what is beyond `MAX` will be refused by the other side.
    pub fn copy(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl<const MAX: usize> From<&str> for Blob<MAX> {
    fn from(text: &str) -> Self {
        Self::copy(text.as_bytes())
    }
}

impl<const MAX: usize> From<&[u8]> for Blob<MAX> {
    fn from(bytes: &[u8]) -> Self {
        Self::copy(bytes)
    }
}

impl<const MAX: usize> std::ops::Deref for Blob<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> Wire for Blob<MAX> {
    fn put(&self, out: &mut Vec<u8>) {
        // The longest is far below 4 GiB; what is too long is refused when read.
        u32::try_from(self.0.len()).unwrap_or(u32::MAX).put(out);
        out.extend_from_slice(&self.0);
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let len = u32::take(from)? as usize;
        if len > MAX {
            return Err(Malformed("a string is longer than its limit"));
        }
        from.bytes(len).map(Self)
    }
}

/// At most `MAX` values: `u32` number, the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Wire, const MAX: usize> Wire for List<T, MAX> {
    fn put(&self, out: &mut Vec<u8>) {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX).put(out);
        for value in &self.0 {
            value.put(out);
        }
    }
    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = u32::take(from)? as usize;
        // Every value takes a byte at least: a count alone costs no memory.
        if count > MAX || count > from.left() {
            return Err(Malformed("a list is longer than its limit"));
        }
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(T::take(from)?);
        }
        Ok(Self(values))
    }
}

/// A struct whose fields stand on the wire one after another.
macro_rules! layout {
    ($($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }
        impl $crate::wire::Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field,)* } = self;
                $($crate::wire::Wire::put($field, out);)*
                let _ = out;
            }
            fn take(
                from: &mut $crate::wire::Reader<'_>,
            ) -> Result<Self, $crate::wire::Malformed> {
                $(let $field = $crate::wire::Wire::take(from)?;)*
                let _ = from;
                Ok(Self { $($field,)* })
            }
        }
    )*};
}
pub(crate) use layout;
