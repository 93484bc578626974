//! A hash for keys of a few integers that nobody chooses to collide: a multiplication per word.

use std::hash::{BuildHasherDefault, Hasher};

/// For the caches that every launch looks into.
pub(super) type FastHash = BuildHasherDefault<FastHasher>;

#[derive(Default)]
pub(super) struct FastHasher(u64);

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        // the high bits are the mixed ones, the table takes the low ones
        self.0.rotate_left(32)
    }
}
