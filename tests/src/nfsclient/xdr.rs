//! XDR (RFC 4506): big-endian units of four bytes.

use std::fmt;

/// What was wrong with bytes that came from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed reply: {}", self.0)
    }
}
impl std::error::Error for Malformed {}

/// Appends XDR to a buffer.
pub struct Enc<'a>(pub &'a mut Vec<u8>);

impl Enc<'_> {
    /// Unsigned 32 bits.
    pub fn u32(&mut self, v: u32) {
        self.0.extend_from_slice(&v.to_be_bytes());
    }
    /// Unsigned 64 bits.
    pub fn u64(&mut self, v: u64) {
        self.0.extend_from_slice(&v.to_be_bytes());
    }
    /// Boolean.
    pub fn bool(&mut self, v: bool) {
        self.u32(u32::from(v));
    }
    /// Bytes of a fixed length, padded.
    pub fn fixed(&mut self, v: &[u8]) {
        self.0.extend_from_slice(v);
        self.pad(v.len());
    }
    /// Counted bytes, padded.
    pub fn opaque(&mut self, v: &[u8]) {
        self.u32(u32::try_from(v.len()).unwrap_or(u32::MAX));
        self.fixed(v);
    }
    /// Zeros up to the next unit after `len` bytes.
    pub fn pad(&mut self, len: usize) {
        self.0.extend_from_slice(&[0; 3][..len.wrapping_neg() & 3]);
    }
}

/// Takes XDR from a slice, strictly.
#[derive(Clone)]
pub struct Dec<'a>(pub &'a [u8]);

impl<'a> Dec<'a> {
    /// `n` raw bytes without padding.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Malformed("ends early"))?;
        self.0 = tail;
        Ok(head)
    }
    /// Unsigned 32 bits.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let (head, tail) = self.0.split_first_chunk::<4>().ok_or(Malformed("ends early"))?;
        self.0 = tail;
        Ok(u32::from_be_bytes(*head))
    }
    /// Unsigned 64 bits.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let (head, tail) = self.0.split_first_chunk::<8>().ok_or(Malformed("ends early"))?;
        self.0 = tail;
        Ok(u64::from_be_bytes(*head))
    }
    /// Boolean: 0 or 1, nothing else.
    pub fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a boolean that is neither 0 nor 1")),
        }
    }
    /// Bytes of a fixed length with zero padding.
    pub fn fixed(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let v = self.take(n)?;
        if self.take(n.wrapping_neg() & 3)?.iter().any(|&b| b != 0) {
            return Err(Malformed("padding is not zero"));
        }
        Ok(v)
    }
    /// Counted bytes of at most `max`.
    pub fn opaque(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let n = self.u32()? as usize;
        if n > max {
            return Err(Malformed("opaque longer than allowed"));
        }
        self.fixed(n)
    }
    /// An XDR optional.
    pub fn option<T>(
        &mut self,
        f: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { f(self).map(Some) } else { Ok(None) }
    }
    /// Fails unless everything was taken.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("bytes after the result")) }
    }
}
