use bytes::Bytes;

/// The arguments do not decode: GARBAGE_ARGS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage;

/// Reads XDR from one record. Opaque data comes out as slices of the record, not copied.
pub struct Cursor<'a> {
    record: &'a Bytes,
    at: usize,
}

/// Bytes that bring `len` to a multiple of 4.
fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

impl<'a> Cursor<'a> {
    /// Reads from `at` on.
    pub fn new(record: &'a Bytes, at: usize) -> Self {
        Self { record, at }
    }

    /// Another cursor of the same record.
    pub fn at(&self, at: usize) -> Self {
        Self { record: self.record, at }
    }

    /// Where the next item begins.
    pub fn position(&self) -> usize {
        self.at
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Garbage> {
        let end = self.at.checked_add(len).ok_or(Garbage)?;
        let bytes = self.record.get(self.at..end).ok_or(Garbage)?;
        self.at = end;
        Ok(bytes)
    }

    /// An unsigned 32-bit integer.
    pub fn u32(&mut self) -> Result<u32, Garbage> {
        let b = self.take(4)?;
        Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// An unsigned 64-bit integer.
    pub fn u64(&mut self) -> Result<u64, Garbage> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }

    /// A boolean: 0 or 1, nothing else.
    pub fn bool(&mut self) -> Result<bool, Garbage> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Garbage),
        }
    }

    /// Fixed opaque data; N a multiple of 4.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Garbage> {
        const { assert!(N.is_multiple_of(4)) };
        self.take(N)?.try_into().map_err(|_| Garbage)
    }

    /// Variable opaque data of at most `max` bytes, borrowed.
    pub fn opaque_ref(&mut self, max: usize) -> Result<&'a [u8], Garbage> {
        let len = usize::try_from(self.u32()?).map_err(|_| Garbage)?;
        if len > max {
            return Err(Garbage);
        }
        let bytes = self.take(len)?;
        self.take(padding(len))?;
        Ok(bytes)
    }

    /// Variable opaque data of at most `max` bytes, a slice of the record.
    pub fn opaque(&mut self, max: usize) -> Result<Bytes, Garbage> {
        let bytes = self.opaque_ref(max)?;
        Ok(self.record.slice_ref(bytes))
    }
}

/// Writes XDR. The first four bytes are kept free for the record mark.
pub struct Enc {
    buf: Vec<u8>,
}

impl Enc {
    /// Goes on in an empty buffer.
    pub fn new(mut buf: Vec<u8>) -> Self {
        buf.clear();
        buf.extend_from_slice(&[0; 4]);
        Self { buf }
    }

    /// Bytes written so far, the record mark left out.
    pub fn len(&self) -> usize {
        self.buf.len() - 4
    }

    /// An unsigned 32-bit integer.
    pub fn u32(&mut self, v: u32) -> &mut Self {
        self.buf.extend_from_slice(&v.to_be_bytes());
        self
    }

    /// An unsigned 64-bit integer.
    pub fn u64(&mut self, v: u64) -> &mut Self {
        self.buf.extend_from_slice(&v.to_be_bytes());
        self
    }

    /// A boolean.
    pub fn bool(&mut self, v: bool) -> &mut Self {
        self.u32(u32::from(v))
    }

    /// Variable opaque data. Everything encoded here is far shorter than 4 GiB.
    pub fn opaque(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.buf.extend_from_slice(bytes);
        self.pad(bytes.len())
    }

    /// Raw bytes without length or padding.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.buf.extend_from_slice(bytes);
        self
    }

    /// The zero bytes that follow `len` bytes of opaque data.
    pub fn pad(&mut self, len: usize) -> &mut Self {
        self.buf.extend_from_slice(&[0; 3][..padding(len)]);
        self
    }

    /// Drops everything behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(len + 4);
    }

    /// The bytes, four free ones first.
    pub fn into_inner(self) -> Vec<u8> {
        self.buf
    }
}
