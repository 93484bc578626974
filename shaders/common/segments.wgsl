// The segments of attention, as ops/attention/table.rs writes them: eight numbers each, from the start of `table`.

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

fn total(x: vec4f) -> f32 {
    return x.x + x.y + x.z + x.w;
}
