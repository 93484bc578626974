//! The numbers by which the kernels find their work, in one buffer:
//!
//! 1. per segment eight: query start and count, key start and count, prefix start and count, 1 if causal, 0. Queries in no segment are covered by
//!    segments without keys, so that every row of the output is written;
//! 2. per tile of 64 queries two: its segment, its first query within the segment;
//! 3. per tile of 32 keys (and one more) one: where its readers begin, counted from the start of this part;
//! 4. per reader one: twice the segment, plus 1 if the tile lies in the segment's prefix. Their order is the order of the sums in the gradients of
//!    keys and values: no atomics, the same bits every time;
//! 5. where all segments have few queries, for decoding: per part of 256 keys three: its segment, its first key, where among the parts that are joined it is kept (or that its
//!    segment has no other);
//! 6. per segment of several parts three: the segment, the first of its kept parts, their number.

use std::ops::Range;

/// Queries of a tile.
const QUERIES: usize = 64;
/// Keys of a tile.
const KEYS: usize = 32;
/// With so few queries per segment, the threads of a GPU divide the keys instead of the queries.
const DECODE_QUERIES: usize = 4;
/// Keys of a part: `PART` of attention_decode.wgsl. As many as a workgroup is through with in a few blocks.
const PART: usize = 256;
/// In the place of a place: the part is the whole.
const WHOLE: u32 = u32::MAX;

/// The numbers, and where their parts begin.
pub(super) struct Table {
    pub(super) numbers: Vec<u32>,
    pub(super) tile_table: usize,
    pub(super) tiles: usize,
    pub(super) key_table: usize,
    pub(super) key_tiles: usize,
    /// Queries of the longest segment.
    pub(super) longest: usize,
    /// Parts of segments, if all have few queries; none otherwise.
    pub(super) part_table: usize,
    pub(super) parts: usize,
    /// Segments of several parts, and the parts that they have together.
    pub(super) cut_table: usize,
    pub(super) cuts: usize,
    pub(super) kept_parts: usize,
    /// Pairs of a query and a key that it sees.
    pub(super) pairs: u64,
}

impl Table {
    /// Rows are the segments, in order.
    pub(super) fn new(mut rows: Vec<Row>, query_tokens: usize, kv_tokens: usize) -> Table {
        for gap in gaps(&rows, query_tokens) {
            rows.push(Row { query_start: gap.start, queries: gap.len(), ..Row::default() });
        }
        let mut numbers: Vec<u32> = rows.iter().flat_map(Row::numbers).collect();

        let tile_table = numbers.len();
        for (index, row) in rows.iter().enumerate() {
            for first in (0..row.queries).step_by(QUERIES) {
                numbers.extend([index as u32, first as u32]);
            }
        }
        let tiles = (numbers.len() - tile_table) / 2;

        let key_table = numbers.len();
        let key_tiles = kv_tokens.div_ceil(KEYS);
        let mut readers = vec![Vec::new(); key_tiles];
        for (index, row) in rows.iter().enumerate() {
            for (start, length, is_prefix) in [(row.prefix_start, row.prefix, 1), (row.keys_start, row.keys, 0)] {
                if length > 0 && row.queries > 0 {
                    for tile in start / KEYS..(start + length).div_ceil(KEYS) {
                        readers[tile].push(2 * index as u32 + is_prefix);
                    }
                }
            }
        }
        let mut begin = key_tiles + 1;
        for tile in &readers {
            numbers.push(begin as u32);
            begin += tile.len();
        }
        numbers.push(begin as u32);
        numbers.extend(readers.into_iter().flatten());

        let longest = rows.iter().map(|row| row.queries).max().unwrap_or(0);
        let part_table = numbers.len();
        let (mut cut, mut kept_parts) = (Vec::new(), 0);
        for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.queries > 0 && longest <= DECODE_QUERIES) {
            let parts = row.parts();
            if parts > 1 {
                cut.extend([index as u32, kept_parts as u32, parts as u32]);
            }
            for part in 0..parts {
                let place = if parts > 1 { (kept_parts + part) as u32 } else { WHOLE };
                numbers.extend([index as u32, (part * PART) as u32, place]);
            }
            kept_parts += if parts > 1 { parts } else { 0 };
        }
        let cut_table = numbers.len();
        let (parts, cuts) = ((cut_table - part_table) / 3, cut.len() / 3);
        numbers.extend(cut);

        let pairs = rows.iter().map(Row::pairs).sum();
        Table { numbers, tile_table, tiles, key_table, key_tiles, longest, part_table, parts, cut_table, cuts, kept_parts, pairs }
    }

    /// Whether the kernel for decoding has something to do.
    pub(super) fn is_decoding(&self) -> bool {
        self.parts > 0
    }
}

/// The queries in no segment.
fn gaps(rows: &[Row], query_tokens: usize) -> Vec<Range<usize>> {
    let queries = |row: &Row| row.query_start..row.query_start + row.queries;
    let mut taken: Vec<Range<usize>> = rows.iter().map(queries).filter(|query| !query.is_empty()).collect();
    taken.sort_by_key(|query| query.start);
    let starts = std::iter::once(0).chain(taken.iter().map(|query| query.end));
    let ends = taken.iter().map(|query| query.start).chain(std::iter::once(query_tokens));
    starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| start..end).collect()
}

/// A segment as the kernels see it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Row {
    pub(super) query_start: usize,
    pub(super) queries: usize,
    pub(super) keys_start: usize,
    pub(super) keys: usize,
    pub(super) prefix_start: usize,
    pub(super) prefix: usize,
    pub(super) is_causal: bool,
}

impl Row {
    fn numbers(&self) -> [u32; 8] {
        let Row { query_start, queries, keys_start, keys, prefix_start, prefix, is_causal } = *self;
        [query_start, queries, keys_start, keys, prefix_start, prefix, usize::from(is_causal), 0].map(|number| number as u32)
    }

    pub(super) fn read(numbers: &[u32]) -> Vec<Row> {
        let (rows, _) = numbers.as_chunks::<8>();
        let row = |&[query_start, queries, keys_start, keys, prefix_start, prefix, causal, _]: &[u32; 8]| Row {
            query_start: query_start as usize,
            queries: queries as usize,
            keys_start: keys_start as usize,
            keys: keys as usize,
            prefix_start: prefix_start as usize,
            prefix: prefix as usize,
            is_causal: causal == 1,
        };
        rows.iter().map(row).collect()
    }

    /// Parts of its keys, at least one, which writes the zeros of a query that sees nothing. By its own length alone: what else is in the batch changes no bit.
    fn parts(&self) -> usize {
        (self.prefix + self.keys).div_ceil(PART).max(1)
    }

    /// Pairs of a query and a key that it sees.
    fn pairs(&self) -> u64 {
        (0..self.queries).map(|place| (self.prefix + self.visible(place)) as u64).sum()
    }

    /// How many of its own keys the segment's query `place` sees.
    pub(super) fn visible(&self, place: usize) -> usize {
        if self.is_causal { (self.keys + place + 1).saturating_sub(self.queries) } else { self.keys }
    }
}
