// What the attention kernels share: parameters, the first bindings, and the segments. `table` is written by engine/src/ops/attention/table.rs, which
// says what is where: the segments first, eight numbers each, then the tiles of queries, the readers of the tiles of keys, the parts of segments that are decoded.
//
// A *row* is a (query, head) pair. Of a segment and a key head, the rows are numbered by query, then by the heads that share the key head: so rows that are
// next to each other read the same keys, whether they are different queries or heads of one.
//
// Math: o = softmax(scale · q kᵀ) v within each segment, see attention.wgsl. Layout: q and o [tokens, heads, dim], k and v [rows, kv_heads, dim]. Dispatch: that of
// the kernel behind it; a piece, without an entry point.

struct Params {
    heads: u32,
    kv_heads: u32,
    tiles: u32,
    tile_table: u32,
    key_tiles: u32,
    key_table: u32,
    kv_tokens: u32,
    part_table: u32,
    parts: u32,
    cut_table: u32,
    cuts: u32,
    longest: u32,
    scale: f32,
}

var<immediate> params: Params;

override HEAD_DIM: u32 = 64u;
// Quads of a row, and those of them that each of eight neighbouring threads has: x, x + 8, ...
override QUADS: u32 = HEAD_DIM / 4u;
override OWN: u32 = (HEAD_DIM / 4u + 7u) / 8u;

@group(0) @binding(0) var<storage, read> table: array<u32>;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;

struct Segment {
    query_start: u32,
    queries: u32,
    keys_start: u32,
    keys: u32,
    prefix_start: u32,
    prefix: u32,
    causal: u32,
}

fn read_segment(index: u32) -> Segment {
    let at = index * 8u;
    return Segment(table[at], table[at + 1u], table[at + 2u], table[at + 3u], table[at + 4u], table[at + 5u], table[at + 6u]);
}

// Query heads that share a key head.
fn group_size() -> u32 {
    return params.heads / params.kv_heads;
}

// How many of its own keys the segment's query `place` sees: causal queries are aligned with the keys at the end.
fn visible(segment: Segment, place: u32) -> u32 {
    let causal = max(segment.keys + place + 1u, segment.queries) - segment.queries;
    return select(segment.keys, causal, segment.causal == 1u);
}

// Where a row stands among the (query, head) pairs of all queries.
fn pair_of(segment: Segment, row: u32, kv_head: u32) -> u32 {
    let group = group_size();
    return (segment.query_start + row / group) * params.heads + kv_head * group + row % group;
}

// Where the row of a key, and that of its value, begins, in quads. Keys are numbered as one list: those of the prefix, then the segment's own.
fn key_start(segment: Segment, number: u32, kv_head: u32) -> u32 {
    let token = select(segment.prefix_start + number, segment.keys_start + number - segment.prefix, number >= segment.prefix);
    return (token * params.kv_heads + kv_head) * QUADS;
}

fn total(x: vec4f) -> f32 {
    return x.x + x.y + x.z + x.w;
}
