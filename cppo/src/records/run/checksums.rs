//! Two checksums: CRC-32 of whole files, and CRC-32C (Castagnoli), as TFRecord files want it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::Crc;

/// The CRC-32 of a whole file.
pub(crate) fn crc32(path: &Path) -> std::io::Result<u32> {
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut crc = Crc::new();
    loop {
        let block = file.fill_buf()?;
        if block.is_empty() {
            return Ok(crc.sum());
        }
        crc.update(block);
        let length = block.len();
        file.consume(length);
    }
}

/// The CRC-32C, masked: TFRecord files store checksums of data that may hold checksums
/// (`tensorflow/core/lib/hash/crc32c.h`).
pub(super) fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Bit by bit: a step's events are a few kilobytes.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78; // reflected
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the CRC catalogue, and the vectors of RFC 3720, B.4.
    #[test]
    fn checksums_are_the_published_ones() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
