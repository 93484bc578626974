//! Which queries see which keys.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::device::Device;
use crate::tensor::Tensor;

use super::table::{Row, Table};

/// What a query sees of its segment's own keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// The keys up to the query's own position; the last query stands at the last key.
    Causal,
    /// All of them.
    Bidirectional,
}

/// Queries that belong together and the keys they see: the whole `prefix` and, as `mask` says, `keys`.
///
/// With `n` queries, causal query `i` sees own keys `j <= keys.len() - n + i`. Equal ranges are training, fewer queries than keys chunked prefill,
/// a single query decoding against cached keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Rows of the packed queries.
    pub query: Range<usize>,
    /// Rows of the packed keys and values.
    pub keys: Range<usize>,
    /// Rows of the packed keys and values that every query of the segment sees, such as a prompt shared by many responses.
    pub prefix: Option<Range<usize>>,
    /// What is seen of `keys`.
    pub mask: Mask,
}

impl Segment {
    fn row(&self) -> Row {
        let prefix = self.prefix.clone().unwrap_or(0..0);
        Row {
            query_start: self.query.start,
            queries: self.query.len(),
            keys_start: self.keys.start,
            keys: self.keys.len(),
            prefix_start: prefix.start,
            prefix: prefix.len(),
            is_causal: self.mask == Mask::Causal,
        }
    }
}

/// The segments of a packed batch. Cheap to clone; make it once per batch and use it in every layer.
#[derive(Clone)]
pub struct Segments(Arc<Inner>);

struct Inner {
    segments: Vec<Segment>,
    query_tokens: usize,
    kv_tokens: usize,
    table: Table,
    uploaded: Mutex<Vec<Tensor>>,
}

impl Segments {
    /// Segments of `query_tokens` packed queries and `kv_tokens` packed keys. Key ranges may be shared. Queries in no segment see nothing.
    ///
    /// # Panics
    /// If a range runs backwards or past the end, two query ranges overlap, or a segment's prefix overlaps its keys.
    #[track_caller]
    pub fn new(segments: Vec<Segment>, query_tokens: usize, kv_tokens: usize) -> Segments {
        for (i, segment) in segments.iter().enumerate() {
            let prefix = segment.prefix.clone().unwrap_or(0..0);
            let ranges = [("query", &segment.query, query_tokens), ("keys", &segment.keys, kv_tokens), ("prefix", &prefix, kv_tokens)];
            for (name, range, tokens) in ranges {
                assert!(
                    range.start <= range.end && range.end <= tokens,
                    "segments: segment {i}: {name} range {range:?} does not lie in the {tokens} packed tokens"
                );
            }
            assert!(
                !overlap(&prefix, &segment.keys),
                "segments: segment {i}: prefix {prefix:?} overlaps its keys {:?}: a key would count twice",
                segment.keys
            );
        }
        let mut order: Vec<usize> = (0..segments.len()).filter(|&i| !segments[i].query.is_empty()).collect();
        order.sort_by_key(|&i| segments[i].query.start);
        for pair in order.windows(2) {
            let (a, b) = (&segments[pair[0]].query, &segments[pair[1]].query);
            assert!(!overlap(a, b), "segments: segments {} and {}: queries {a:?} and {b:?} overlap", pair[0], pair[1]);
        }
        let table = Table::new(segments.iter().map(Segment::row).collect(), query_tokens, kv_tokens);
        Segments(Arc::new(Inner { segments, query_tokens, kv_tokens, table, uploaded: Mutex::default() }))
    }

    /// Sequences of the given lengths packed one after the other, each query seeing its own sequence up to itself.
    pub fn causal(lengths: &[usize]) -> Segments {
        Segments::packed(lengths, Mask::Causal)
    }

    /// Sequences of the given lengths packed one after the other, each query seeing its whole sequence.
    pub fn bidirectional(lengths: &[usize]) -> Segments {
        Segments::packed(lengths, Mask::Bidirectional)
    }

    fn packed(lengths: &[usize], mask: Mask) -> Segments {
        let mut end = 0;
        let mut next = |length: &usize| {
            let range = end..end + length;
            end = range.end;
            Segment { query: range.clone(), keys: range, prefix: None, mask }
        };
        let segments = lengths.iter().map(&mut next).collect();
        Segments::new(segments, end, end)
    }

    /// The segments.
    pub fn list(&self) -> &[Segment] {
        &self.0.segments
    }

    /// Number of packed queries.
    pub fn query_tokens(&self) -> usize {
        self.0.query_tokens
    }

    /// Number of packed keys.
    pub fn kv_tokens(&self) -> usize {
        self.0.kv_tokens
    }

    pub(super) fn table(&self) -> &Table {
        &self.0.table
    }

    /// The table on a device, uploaded at the first use there.
    pub(super) fn upload(&self, device: &Device) -> Tensor {
        let mut uploaded = self.0.uploaded.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some(found) = uploaded.iter().find(|tensor| tensor.device() == device) {
            return found.clone();
        }
        let numbers = &self.0.table.numbers;
        let tensor = Tensor::from_slice(device, numbers, &[numbers.len()]);
        uploaded.push(tensor.clone());
        tensor
    }
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.0.segments).finish()
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}
