/// Incompressible bytes, the same for every run: block `n` is a window of the pool that begins
/// elsewhere, so no two neighbouring MiB are equal and every block can be checked by its number.
pub struct Pool(Vec<u8>);

impl Pool {
    /// Largest block, bytes.
    pub const BLOCK: usize = 1 << 20;
    const STEPS: u64 = 251;

    /// Fills the pool (xorshift64*).
    pub fn new() -> Self {
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        let words = (Self::BLOCK + 8 * 521 * 8) / 8;
        let mut v = Vec::with_capacity(words * 8);
        for _ in 0..words {
            x ^= x >> 12;
            x ^= x << 25;
            x ^= x >> 27;
            v.extend_from_slice(&x.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        Self(v)
    }
    /// Block `n`, `len` bytes of it.
    pub fn block(&self, n: u64, len: usize) -> &[u8] {
        let at = usize::try_from(n % Self::STEPS).unwrap_or(0) * 131;
        &self.0[at..at + len.min(Self::BLOCK)]
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}
