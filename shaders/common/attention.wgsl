// What the attention kernels share: parameters, the first bindings, and the segments. `table` is written by engine/src/ops/attention/table.rs, which
// says what is where: the segments first, eight numbers each, then the tiles of queries, then the readers of the tiles of keys.

struct Params {
    heads: u32,
    kv_heads: u32,
    tiles: u32,
    tile_table: u32,
    key_tiles: u32,
    key_table: u32,
    kv_tokens: u32,
    scale: f32,
}

var<immediate> params: Params;

override HEAD_DIM: u32 = 64u;
// Threads that share a row, for the registers of one hold no more than 64 elements of each: thread `lane` has part lane / 64, of PART_QUADS quads.
override PARTS: u32 = (HEAD_DIM + 63u) / 64u;
override PART_QUADS: u32 = HEAD_DIM / 4u / PARTS;

@group(0) @binding(0) var<storage, read> table: array<u32>;
@group(0) @binding(1) var<storage, read> q: array<vec4f>;
@group(0) @binding(2) var<storage, read> k: array<vec4f>;

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

// How many of its own keys the segment's query `place` sees: causal queries are aligned with the keys at the end.
fn visible(segment: Segment, place: u32) -> u32 {
    let causal = max(segment.keys + place + 1u, segment.queries) - segment.queries;
    return select(segment.keys, causal, segment.causal == 1u);
}

// The thread's part of a row; written so that where there is one, compilers see that all threads read the same.
fn part_of(lane: u32) -> u32 {
    return select(0u, lane / 64u, PARTS > 1u);
}

// Where a part of a row begins, in quads.
fn part_start(row: u32, part: u32) -> u32 {
    return (row * PARTS + part) * PART_QUADS;
}

// Before and after threads exchange what their parts give.
fn exchange() {
    if PARTS > 1u {
        workgroupBarrier();
    }
}

fn total(x: vec4f) -> f32 {
    return x.x + x.y + x.z + x.w;
}
