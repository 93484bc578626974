// Gradients of attention over segments, flash style: the probabilities p are recomputed from the saved log-sum-exp.
//   p_ij = e^(scale · q_i · k_j - lse_i), ds_ij = p_ij (dout_i · v_j - delta_i) scale, delta_i = dout_i · out_i
//   dq_i = Σ_j ds_ij k_j,  dk_j = Σ_i ds_ij q_i,  dv_j = Σ_i p_ij dout_i
// q, dout, dq [q_tokens, heads, HEAD_DIM]; k, v [kv_tokens, kv_heads, HEAD_DIM]; dkv [2, kv_tokens, kv_heads, HEAD_DIM];
// stats [q_tokens, heads] of (lse, delta); table: see ops/attention/table.rs. HEAD_DIM is a multiple of 4, above 64 of 8, at most 128.
// Dispatch: groups of 64 PARTS, first one per (tile of queries, head) for dq, then one per (tile of keys, key head) for dk, then the same for dv. A thread
// owns one row of the output, above 64 elements a half of one, and sums it alone, in the table's order: no atomics, and the same bits every time.
// Needs common/attention.wgsl. Longer than other shaders, since dq, dk and dv share what is declared next.

@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> dout: array<vec4f>;
@group(0) @binding(5) var<storage, read> stats: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> dq: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dkv: array<vec4f>;

// Rows that the thread owns: (q, dout) of its query or (k, v) of its key, and the gradient it sums.
var<private> own: array<vec4f, 16>;
var<private> own_other: array<vec4f, 16>;
var<private> sum: array<vec4f, 16>;

// Products of the own rows with two others: of whole rows, or where threads share rows, of each thread's parts with a block of others.
const BLOCK = 8u;
var<private> products: vec2f;
var<workgroup> partial_products: array<vec2f, BLOCK * 64u * PARTS>;

@compute @workgroup_size(64u * PARTS)
fn backward(at: Invocation) {
    let index = group_index(at);
    let query_groups = params.tiles * params.heads;
    let key_groups = params.key_tiles * params.kv_heads;
    if index < query_groups {
        query_gradient(index, at.lane);
    } else if index < query_groups + 2u * key_groups {
        let key_index = index - query_groups;
        key_gradient(key_index % key_groups, at.lane, key_index < key_groups);
    }
}

fn query_gradient(index: u32, lane: u32) {
    let head = index % params.heads;
    let tile = params.tile_table + index / params.heads * 2u;
    let segment = read_segment(table[tile]);
    let first = table[tile + 1u];
    let last = min(first + 63u, segment.queries - 1u);
    let place = min(first + lane % 64u, last);
    let row = (segment.query_start + place) * params.heads + head;
    let begin = part_start(row, part_of(lane));
    for (var c = 0u; c < PART_QUADS; c += 1u) {
        own[c] = q[begin + c];
        own_other[c] = dout[begin + c];
        sum[c] = vec4f();
    }
    let kv_head = head / (params.heads / params.kv_heads);
    // One call site: drivers inline, and unroll, every one.
    for (var side = 0u; side < 2u; side += 1u) {
        let is_own = side == 1u;
        let start = select(segment.prefix_start, segment.keys_start, is_own);
        let keys = select(segment.prefix, visible(segment, last), is_own);
        add_keys(start, keys, select(segment.prefix, visible(segment, place), is_own), kv_head, stats[row], lane);
    }
    if first + lane % 64u <= last {
        for (var c = 0u; c < PART_QUADS; c += 1u) {
            dq[begin + c] = sum[c];
        }
    }
}

fn add_keys(start: u32, keys: u32, seen: u32, kv_head: u32, stat: vec2f, lane: u32) {
    let part = part_of(lane);
    for (var block = 0u; block < keys; block += block_of(keys)) {
        let width = block_of(keys - block);
        exchange();
        for (var j = 0u; j < width; j += 1u) {
            let key = part_start((start + block + j) * params.kv_heads + kv_head, part);
            var score = vec4f();
            var slope = vec4f();
            for (var c = 0u; c < PART_QUADS; c += 1u) {
                score = fma(own[c], k[key + c], score);
                slope = fma(own_other[c], v[key + c], slope);
            }
            give(j, lane, vec2f(total(score), total(slope)));
        }
        exchange();
        for (var j = 0u; j < width; j += 1u) {
            let key = part_start((start + block + j) * params.kv_heads + kv_head, part);
            let product = take(j, lane);
            let p = select(0.0, exp(product.x * params.scale - stat.x), block + j < seen);
            let ds = p * (product.y - stat.y) * params.scale;
            for (var c = 0u; c < PART_QUADS; c += 1u) {
                sum[c] = fma(vec4f(ds), k[key + c], sum[c]);
            }
        }
    }
}

// dk if `keys`, else dv.
fn key_gradient(index: u32, lane: u32, keys: bool) {
    let kv_head = index % params.kv_heads;
    let tile = index / params.kv_heads;
    let token = tile * 64u + lane % 64u;
    let row = part_start(min(token, params.kv_tokens - 1u) * params.kv_heads + kv_head, part_of(lane));
    for (var c = 0u; c < PART_QUADS; c += 1u) {
        own[c] = k[row + c];
        own_other[c] = v[row + c];
        sum[c] = vec4f();
    }
    let readers = params.key_table + table[params.key_table + tile];
    let readers_end = params.key_table + table[params.key_table + tile + 1u];
    for (var reader = readers; reader < readers_end; reader += 1u) {
        let segment = read_segment(table[reader] / 2u);
        let is_prefix = table[reader] % 2u == 1u;
        let start = select(segment.keys_start, segment.prefix_start, is_prefix);
        let length = select(segment.keys, segment.prefix, is_prefix);
        let inside = token >= start && token < start + length;
        // The first query that sees this key, and the first that sees any key of the tile.
        let aligned = segment.causal == 1u && !is_prefix;
        let tile_place = max(tile * 64u, start) - start;
        let first = select(0u, max(tile_place + segment.queries, segment.keys) - segment.keys, aligned);
        let own_first = select(0u, max(token - start + segment.queries, segment.keys) - segment.keys, aligned && inside);
        let blind = select(segment.queries, own_first, inside);
        for (var i = first; i < segment.queries; i += block_of(segment.queries)) {
            let width = block_of(segment.queries - i);
            // Inlined twice, each without branches.
            if keys {
                add_queries(segment.query_start + i, width, max(blind, i) - i, kv_head, true, lane);
            } else {
                add_queries(segment.query_start + i, width, max(blind, i) - i, kv_head, false, lane);
            }
        }
    }
    if token < params.kv_tokens {
        let half = select(params.kv_tokens * params.kv_heads * (HEAD_DIM / 4u), 0u, keys);
        for (var c = 0u; c < PART_QUADS; c += 1u) {
            dkv[half + row + c] = sum[c];
        }
    }
}

// A block of `width` queries from token `first` on, of which the first `blind` do not see this thread's key.
fn add_queries(first: u32, width: u32, blind: u32, kv_head: u32, keys: bool, lane: u32) {
    let part = part_of(lane);
    let shared_by = params.heads / params.kv_heads;
    for (var head = kv_head * shared_by; head < (kv_head + 1u) * shared_by; head += 1u) {
        exchange();
        for (var i = 0u; i < width; i += 1u) {
            let row = part_start((first + i) * params.heads + head, part);
            var score = vec4f();
            var slope = vec4f();
            for (var c = 0u; c < PART_QUADS; c += 1u) {
                score = fma(q[row + c], own[c], score);
            }
            if keys {
                for (var c = 0u; c < PART_QUADS; c += 1u) {
                    slope = fma(dout[row + c], own_other[c], slope);
                }
            }
            give(i, lane, vec2f(total(score), total(slope)));
        }
        exchange();
        for (var i = 0u; i < width; i += 1u) {
            let row = (first + i) * params.heads + head;
            let product = take(i, lane);
            let p = select(0.0, exp(product.x * params.scale - stats[row].x), i >= blind);
            let begin = part_start(row, part);
            if !keys {
                for (var c = 0u; c < PART_QUADS; c += 1u) {
                    sum[c] = fma(vec4f(p), dout[begin + c], sum[c]);
                }
                continue;
            }
            let ds = p * (product.y - stats[row].y) * params.scale;
            for (var c = 0u; c < PART_QUADS; c += 1u) {
                sum[c] = fma(vec4f(ds), q[begin + c], sum[c]);
            }
        }
    }
}

// How many of `left` keys or queries come between two exchanges.
fn block_of(left: u32) -> u32 {
    return select(1u, min(BLOCK, left), PARTS > 1u);
}

fn give(place: u32, lane: u32, mine: vec2f) {
    products = mine;
    if PARTS > 1u {
        partial_products[place * 64u * PARTS + lane] = mine;
    }
}

fn take(place: u32, lane: u32) -> vec2f {
    if PARTS > 1u {
        let first = place * 64u * PARTS + lane % 64u;
        return partial_products[first] + partial_products[first + 64u];
    }
    return products;
}
