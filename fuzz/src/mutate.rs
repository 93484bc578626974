//! From good files to bad ones.

use crate::random::Random;

/// Numbers at which sizes, products and conversions go wrong.
const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2",
    "3",
    "127",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "4294967297",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e999",
    "-1e999",
    "1e-400",
    "1e308",
    "0.0",
    "-0.0",
    "1.5",
    "NaN",
    "Infinity",
    "nan",
    "inf",
    "null",
    "true",
    "\"7\"",
    "[]",
    "{}",
    "1e38",
    "1e39",
    "1e-45",
    "99999999999999999999999999999999999999999999",
];

/// What means something to some reader.
const WORDS: &[&str] = &[
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\u{1b}[2J",
    "\u{202e}",
    "\u{0}",
    "\n",
    "\r\n",
    ",",
    ":",
    "=",
    "<image>",
    "</think>",
    "\\boxed{",
    "}",
    "{{",
    "}}",
    "{%",
    "%}",
    "{% for a in range(1000000000) %}",
    "{% endfor %}",
    "{% if 1 %}",
    "{{ 'a' * 100000000 }}",
    "..",
    "../../../etc/passwd",
    "/dev/zero",
    "data:image/png;base64,AAAA",
    "http://",
    "[[reward]]",
    "\\frac{1}{0}",
    "\\sqrt{-1}",
    "^",
    "10^10^10^10",
    "1/0",
    "%",
    "°",
    "\\pm",
    "\\pi",
    "0x1",
    "1_000",
    "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
    "(B)",
    "∞",
    "𝟙",
    "é",
    "e\u{301}",
    "\u{feff}",
    "ß",
];

/// What may stand inside itself.
const NESTS: &[&str] =
    &["[", "{", "(", "{\"a\":", "\\frac{", "\\text{", "\\sqrt{", "{% if 1 %}", "{{(", "((", "<", "\"", "a.", "[[", "-", "not "];

/// One of `seeds`, changed in one to eight places. Which one, and how, depends on `random` alone.
///
/// # Panics
/// If there is no seed.
pub fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const LONGEST: usize = 1 << 17;
    let mut bytes = random.one_of(seeds).clone();
    let changes = 1 + random.below(2) + random.below(2) * random.below(7);
    for _ in 0..changes {
        change(&mut bytes, seeds, random);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let longest = 1 << random.below(8);
    let length = random.below(longest);
    let end = (at + length).min(bytes.len());
    match random.below(14) {
        0 => {
            let bit = random.below(8);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = *random.one_of(&[0, 0x7f, 0x80, 0xff, b'0', b'9', b'"', b'[', b'{', b'-']);
            }
        }
        2 => drop(bytes.drain(at..end)),
        3 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        4 | 5 => drop(bytes.splice(at..at, random.one_of(WORDS).bytes())),
        6 => bytes.truncate(at),
        7..=9 => number(bytes, at, random),
        10 if random.below(20) == 0 => {
            let times = 1 << random.below(15);
            let nest = random.one_of(NESTS).repeat(times);
            bytes.splice(at..at, nest.bytes());
        }
        10 => drop(bytes.splice(at..end, random.one_of(NUMBERS).bytes())),
        11 => {
            // a number of 4 or 8 bytes, as binary formats have them
            let any = random.next() % 100_000;
            let value = random.one_of(&[0, 1, u64::MAX, u64::MAX / 2, 1 << 31, 1 << 32, 1 << 62, any]).to_le_bytes();
            let value = &value[..[2, 4, 8][random.below(3)]];
            let end = (at + value.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&value[..end - at]);
        }
        12 => {
            let other = random.one_of(seeds);
            let from = random.below(other.len() + 1);
            let piece = other[from..(from + length).min(other.len())].to_vec();
            bytes.splice(at..end, piece);
        }
        _ => {
            let other = random.below(bytes.len() + 1);
            let (a, b) = (at.min(other), at.max(other));
            bytes[a..b].reverse();
        }
    }
}

/// Replaces the number that stands behind `at`.
fn number(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|found| at + found) else { return };
    let end = bytes[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bytes.len(), |found| start + found);
    bytes.splice(start..end, random.one_of(NUMBERS).bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_bytes() {
        let seeds = vec![b"{\"size\": 12, \"layers\": [1, 2, 3]}".to_vec(), b"other".to_vec()];
        let all = |seed| (0..500).map(|number| mutate(&seeds, &mut Random::new(seed, number))).collect::<Vec<_>>();
        assert_eq!(all(1), all(1));
        assert_ne!(all(1), all(2));
        let mut different = all(1);
        different.sort();
        different.dedup();
        assert!(different.len() > 400, "{}", different.len());
    }
}
