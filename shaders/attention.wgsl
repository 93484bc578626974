// Attention over segments, forward, flash style (Dao et al. 2022): the scores of a query are never stored.
//   out[i] = Σ_j softmax_j(scale · q_i · k_j) v_j over the keys j that query i sees, lse[i] = ln Σ_j e^(scale · q_i · k_j); 0 and 0 if it sees none
// q, out [q_tokens, heads, HEAD_DIM]; k, v [kv_tokens, kv_heads, HEAD_DIM]; lse [q_tokens, heads]; table: see ops/attention/table.rs.
// HEAD_DIM is a multiple of 4, above 64 of 8, at most 128.
// Dispatch: a group of 64 PARTS per (tile of queries, head), one thread per query, above 64 elements two. All threads read the same key at a time, which hardware
// broadcasts; so one thread per query needs neither workgroup memory nor barriers. Needs common/math.wgsl, common/attention.wgsl.

@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

// Keys scored between two updates of the running maximum.
const BLOCK = 8u;
const LOWEST = -3.0e38;

var<private> query: array<vec4f, 16>;
var<private> sum: array<vec4f, 16>; // Σ e^(score - highest) v
var<private> scores: array<f32, BLOCK>;
var<private> highest: f32;
var<private> weights: f32; // Σ e^(score - highest)

// The scores of a block as far as each thread's part of the row gives them.
var<workgroup> partial_scores: array<f32, BLOCK * 64u * PARTS>;

@compute @workgroup_size(64u * PARTS)
fn forward(at: Invocation) {
    let index = group_index(at);
    if index >= params.tiles * params.heads {
        return;
    }
    let head = index % params.heads;
    let tile = params.tile_table + index / params.heads * 2u;
    let segment = read_segment(table[tile]);
    let first = table[tile + 1u];
    let last = min(first + 63u, segment.queries - 1u);
    // Spare threads repeat the last query and write nothing.
    let place = min(first + at.lane % 64u, last);
    let part = part_of(at.lane);
    let row = (segment.query_start + place) * params.heads + head;
    for (var c = 0u; c < PART_QUADS; c += 1u) {
        query[c] = q[part_start(row, part) + c] * params.scale;
        sum[c] = vec4f();
    }
    highest = LOWEST;
    weights = 0.0;

    let kv_head = head / (params.heads / params.kv_heads);
    // One call site: drivers inline, and unroll, every one.
    for (var side = 0u; side < 2u; side += 1u) {
        let own = side == 1u;
        let start = select(segment.prefix_start, segment.keys_start, own);
        let keys = select(segment.prefix, visible(segment, last), own);
        attend(start, keys, select(segment.prefix, visible(segment, place), own), kv_head, at.lane);
    }

    if first + at.lane % 64u > last {
        return;
    }
    let seen = weights > 0.0;
    let norm = select(0.0, 1.0 / weights, seen);
    for (var c = 0u; c < PART_QUADS; c += 1u) {
        out[part_start(row, part) + c] = sum[c] * norm;
    }
    if part == 0u {
        lse[row] = select(0.0, highest + ln(weights), seen);
    }
}

// Adds `keys` keys from `start` on, of which this thread's query sees the first `seen`.
fn attend(start: u32, keys: u32, seen: u32, kv_head: u32, lane: u32) {
    let part = part_of(lane);
    for (var block = 0u; block < keys; block += BLOCK) {
        for (var j = 0u; j < BLOCK; j += 1u) {
            let key = part_start((start + min(block + j, keys - 1u)) * params.kv_heads + kv_head, part);
            var products = vec4f();
            for (var c = 0u; c < PART_QUADS; c += 1u) {
                products = fma(query[c], k[key + c], products);
            }
            scores[j] = total(products);
        }
        if PARTS > 1u {
            add_parts(lane);
        }
        var high = highest;
        for (var j = 0u; j < BLOCK; j += 1u) {
            scores[j] = select(LOWEST, scores[j], block + j < seen);
            high = max(high, scores[j]);
        }
        let shrink = exp(highest - high);
        highest = high;
        weights *= shrink;
        for (var c = 0u; c < PART_QUADS; c += 1u) {
            sum[c] *= shrink;
        }
        for (var j = 0u; j < BLOCK; j += 1u) {
            let weight = select(0.0, exp(scores[j] - high), block + j < seen);
            weights += weight;
            let value = part_start((start + min(block + j, keys - 1u)) * params.kv_heads + kv_head, part);
            for (var c = 0u; c < PART_QUADS; c += 1u) {
                sum[c] = fma(vec4f(weight), v[value + c], sum[c]);
            }
        }
    }
}

// Completes the scores with those of the row's other part.
fn add_parts(lane: u32) {
    exchange();
    for (var j = 0u; j < BLOCK; j += 1u) {
        partial_scores[j * 64u * PARTS + lane] = scores[j];
    }
    exchange();
    for (var j = 0u; j < BLOCK; j += 1u) {
        let place = j * 64u * PARTS + lane % 64u;
        scores[j] = partial_scores[place] + partial_scores[place + 64u];
    }
}
