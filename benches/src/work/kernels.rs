//! Bytes that kernels other than the products move: attention by the tiles in which it goes over queries and keys, the rest by how often a row is read.

use std::ops::Range;

use super::Decoder;
use super::cache::{CACHE_BYTES, Reads, SIDE_BY_SIDE};

/// One kernel at one size.
pub struct Moved {
    /// `file.entry`.
    pub kernel: &'static str,
    /// On what.
    pub case: String,
    /// Workgroups.
    pub workgroups: usize,
    /// From and to memory.
    pub moved: u64,
    /// What workgroups ask the caches for, each what it needs once, and what they write.
    pub asked: u64,
    /// Every input read once, every output written once.
    pub fewest: u64,
}

/// All kernels that matter, for a decoder.
pub fn of(decoder: &Decoder) -> Vec<Moved> {
    let mut all = vec![
        attention_forward(decoder, 8, 512),
        attention_backward(decoder, 8, 512),
        attention_forward(decoder, 1, 4096),
        attention_backward(decoder, 1, 4096),
        attention_decode(decoder, 64, 8, 128),
        attention_decode(decoder, 64, 8, 1024),
        attention_decode(decoder, 8, 1, 1024),
        attention_decode(decoder, 1, 1, 1024),
    ];
    let (hidden, tokens) = (decoder.hidden as u64, 4096);
    let chunk = (((1 << 20) / decoder.vocab / 64).max(1) * 64) as u64;
    let vocab = decoder.vocab as u64;
    all.extend([
        // tensors of the row's width that are read, how many more times they are, and those that are written
        by_rows("rms_norm.forward", tokens, hidden, [1, 1, 1]),
        by_rows("rms_norm.forward_add", tokens, hidden, [2, 0, 2]),
        by_rows("rms_norm.backward_add", tokens, hidden, [3, 1, 1]),
        by_rows("rms_norm.weight_partials", tokens, hidden, [2, 0, 0]),
        by_rows("layer_norm.forward", tokens, hidden, [1, 2, 1]),
        by_rows("layer_norm.backward", tokens, hidden, [2, 1, 1]),
        by_rows("swiglu.forward", tokens, decoder.intermediate as u64, [2, 0, 1]),
        by_rows("swiglu.backward", tokens, decoder.intermediate as u64, [3, 0, 2]),
        by_rows("binary.add", tokens, hidden, [2, 0, 1]),
        by_rows("split_heads.split", tokens, ((decoder.heads + 2 * decoder.kv_heads) * decoder.head_dim) as u64, [1, 0, 1]),
        by_rows("linear_log_probs.forward", chunk, vocab, [1, 0, 0]),
        by_rows("linear_log_probs.backward", chunk, vocab, [1, 0, 1]),
        by_rows("linear_kl.forward", chunk, vocab, [2, 0, 0]),
        by_rows("linear_kl.backward", chunk, vocab, [2, 0, 2]),
        // nothing is cut: one thread of 64 walks its part again
        by_rows("sample.sample", 64, vocab, [1, 0, 0]),
        by_rows("adamw.step_f32", 1 << 16, 256, [4, 0, 3]),
    ]);
    all
}

/// A kernel whose workgroups go over rows, some more than once: again from memory only if the rows that run side by side do not fit into the cache.
fn by_rows(kernel: &'static str, rows: u64, columns: u64, [read, again, written]: [u64; 3]) -> Moved {
    let tensor = rows * columns * 4;
    let side_by_side = rows.min(SIDE_BY_SIDE as u64) * columns * 4 * read;
    let fewest = (read + written) * tensor;
    let asked = fewest + again * read * tensor;
    let moved = if side_by_side <= CACHE_BYTES { fewest } else { asked };
    Moved { kernel, case: format!("{rows} × {columns}"), workgroups: rows as usize, moved, asked, fewest }
}

/// Rows (of queries and heads) of a tile, and keys of a block.
const ROWS: usize = 32;
const KEYS: usize = 32;
/// Queries of a tile, by which the forward and backward passes are dispatched.
const QUERIES: usize = 64;

/// The sizes of causal attention over some sequences, packed.
struct Causal {
    sequences: usize,
    length: usize,
    group: usize,
    kv_heads: usize,
    /// Bytes of a row of one head.
    row: u64,
}

impl Causal {
    fn new(decoder: &Decoder, sequences: usize, length: usize) -> Causal {
        let (group, kv_heads, row) = (decoder.heads / decoder.kv_heads, decoder.kv_heads, decoder.head_dim as u64 * 4);
        Causal { sequences, length, group, kv_heads, row }
    }

    /// For each workgroup over `rows` rows of queries: its sequence, its key head, and its rows, in the order of their numbers.
    fn query_blocks(&self, rows: usize) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
        let tiles = self.length.div_ceil(QUERIES);
        let (sequences, heads, group, length) = (self.sequences, self.kv_heads, self.group, self.length);
        (0..sequences * tiles).flat_map(move |tile| {
            let (sequence, first) = (tile / tiles, tile % tiles * QUERIES);
            let tile = first * group..(first + QUERIES).min(length) * group;
            (0..heads).flat_map(move |head| {
                let end = tile.end;
                tile.clone().step_by(rows).map(move |first| (sequence, head, first..(first + rows).min(end)))
            })
        })
    }

    /// Keys and values of the blocks up to the row's query, as pieces.
    fn keys_up_to(&self, sequence: usize, head: usize, row: usize) -> Vec<(u64, u64)> {
        let blocks = self.length.div_ceil(KEYS);
        let seen = row / self.group + 1;
        let piece = |block: usize| ((sequence * self.kv_heads + head) * blocks + block) as u64;
        (0..seen.div_ceil(KEYS)).map(|block| (piece(block), 2 * KEYS as u64 * self.row)).collect()
    }

    fn tokens(&self) -> u64 {
        (self.sequences * self.length) as u64
    }

    /// Bytes of the queries, and of the keys.
    fn tensors(&self) -> [u64; 2] {
        let keys = self.tokens() * self.kv_heads as u64 * self.row;
        [keys * self.group as u64, keys]
    }

    fn case(&self, head_dim: usize) -> String {
        format!("{} × {} tokens, {} heads of {head_dim} on {}", self.sequences, self.length, self.group * self.kv_heads, self.kv_heads)
    }
}

/// Names of pieces that are no keys.
const OTHERS: u64 = 1 << 40;

fn attention_forward(decoder: &Decoder, sequences: usize, length: usize) -> Moved {
    let sizes = Causal::new(decoder, sequences, length);
    let pieces = sizes.query_blocks(ROWS).enumerate().map(|(number, (sequence, head, rows))| {
        let mut pieces = sizes.keys_up_to(sequence, head, rows.end - 1);
        pieces.push((OTHERS + number as u64, rows.len() as u64 * sizes.row));
        pieces
    });
    let reads = Reads::of(pieces);
    let [queries, keys] = sizes.tensors();
    // the result, and a number for each row
    let written = queries + queries / sizes.row * 4;
    let fewest = queries + 2 * keys + written;
    let workgroups = sizes.query_blocks(ROWS).count();
    Moved {
        kernel: "attention.forward",
        case: sizes.case(decoder.head_dim),
        workgroups,
        moved: reads.moved + written,
        asked: reads.asked + written,
        fewest,
    }
}

fn attention_backward(decoder: &Decoder, sequences: usize, length: usize) -> Moved {
    let sizes = Causal::new(decoder, sequences, length);
    let row_blocks = (length * sizes.group).div_ceil(ROWS);
    // queries and their upstream gradients, by blocks of rows
    let rows_piece = |sequence: usize, head: usize, block: usize| {
        (OTHERS + ((sequence * sizes.kv_heads + head) * row_blocks + block) as u64, 2 * ROWS as u64 * sizes.row)
    };
    let for_queries = sizes.query_blocks(2 * ROWS).map(|(sequence, head, rows)| {
        let mut pieces = sizes.keys_up_to(sequence, head, rows.end - 1);
        pieces.extend((rows.start / ROWS..rows.end.div_ceil(ROWS)).map(|block| rows_piece(sequence, head, block)));
        pieces
    });
    let key_tiles = (0..sizes.tokens() as usize / KEYS).flat_map(|tile| (0..sizes.kv_heads).map(move |head| (tile, head)));
    let for_keys = key_tiles.map(|(tile, head)| {
        let (sequence, first) = (tile * KEYS / length, tile * KEYS % length);
        let mut pieces = vec![sizes.keys_up_to(sequence, head, first * sizes.group).pop().expect("a block")];
        pieces.extend((first * sizes.group / ROWS..row_blocks).map(|block| rows_piece(sequence, head, block)));
        pieces
    });
    let reads = Reads::of(interleaved(for_queries.collect(), for_keys.collect()).into_iter());
    let [queries, keys] = sizes.tensors();
    let stats = queries / sizes.row * 8;
    let rest = stats + queries + 2 * keys;
    let fewest = 2 * queries + 2 * keys + rest;
    let workgroups = sizes.query_blocks(2 * ROWS).count() + sizes.tokens() as usize / KEYS * sizes.kv_heads;
    Moved {
        kernel: "attention_backward.backward",
        case: sizes.case(decoder.head_dim),
        workgroups,
        moved: reads.moved + rest,
        asked: reads.asked + rest,
        fewest,
    }
}

/// `interleaved` of shaders/attention_backward.wgsl.
fn interleaved<T>(queries: Vec<T>, keys: Vec<T>) -> Vec<T> {
    let (of_queries, of_keys) = ((queries.len() / keys.len().max(1)).max(1), (keys.len() / queries.len().max(1)).max(1));
    let rounds = (queries.len() / of_queries).min(keys.len() / of_keys);
    let (mut queries, mut keys) = (queries.into_iter(), keys.into_iter());
    let mut all = Vec::new();
    for _ in 0..rounds {
        all.extend(queries.by_ref().take(of_queries));
        all.extend(keys.by_ref().take(of_keys));
    }
    all.extend(queries.chain(keys));
    all
}

/// A token of each sequence; prompts that are shared by some of them, and 128 tokens of their own.
fn attention_decode(decoder: &Decoder, sequences: usize, per_prompt: usize, prompt: usize) -> Moved {
    const PART: usize = 256;
    const BLOCK: usize = 64;
    const OWN: usize = 128;
    let (group, row) = (decoder.heads / decoder.kv_heads, decoder.head_dim as u64 * 4);
    let keys = prompt + OWN;
    let (parts, rows) = (keys.div_ceil(PART), group.div_ceil(4));
    let count = sequences * parts * decoder.kv_heads * rows;
    let workgroups = (0..count).map(|number| {
        let (sequence, part) = (number / (parts * decoder.kv_heads * rows), number / (decoder.kv_heads * rows) % parts);
        let head = number / rows % decoder.kv_heads;
        let piece = |key: usize| {
            let owner = if key < prompt { sequence / per_prompt } else { sequences + sequence };
            (((owner * decoder.kv_heads + head) * 1024 + key / BLOCK) as u64, 2 * BLOCK as u64 * row)
        };
        let read = (part * PART..keys.min((part + 1) * PART)).step_by(BLOCK).map(piece);
        read.chain([(OTHERS + number as u64, 4 * row)]).collect()
    });
    let reads = Reads::of(workgroups);
    let results = (sequences * decoder.heads) as u64 * (row + 4);
    // what each part gives is written and read
    let kept = if parts > 1 { 2 * parts as u64 * (sequences * decoder.heads) as u64 * (row + 16) } else { 0 };
    let all_keys = (sequences / per_prompt * prompt + sequences * OWN) as u64;
    let fewest = all_keys * 2 * decoder.kv_heads as u64 * row + (sequences * decoder.heads) as u64 * row + results;
    let case = format!("{sequences} × {keys} keys, {prompt} of them shared by {per_prompt}");
    let written = results + kept;
    Moved { kernel: "attention_decode", case, workgroups: count, moved: reads.moved + written, asked: reads.asked + written, fewest }
}
