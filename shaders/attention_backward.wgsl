// Gradients of attention over segments, flash style: the probabilities p are recomputed from the saved log-sum-exp.
//   p_ij = e^(scale · q_i · k_j - lse_i), ds_ij = p_ij (dout_i · v_j - delta_i) scale, delta_i = dout_i · out_i
//   dq_i = Σ_j ds_ij k_j,  dk_j = Σ_i ds_ij q_i,  dv_j = Σ_i p_ij dout_i
// q, dout, dq [q_tokens, heads, HEAD_DIM]; k, v [kv_tokens, kv_heads, HEAD_DIM]; dkv [2, kv_tokens, kv_heads, HEAD_DIM];
// stats [q_tokens, heads] of (lse, delta); table: see ops/attention/table.rs. HEAD_DIM is a multiple of 4, at most 128.
// Dispatch: groups of 64, first one per (tile of queries, head) for dq, then one per (tile of keys, key head) for dk, then the same for dv. A thread
// owns one row of the output and sums it alone, in the table's order: no atomics, and the same bits every time.
// Needs common/attention.wgsl.

@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> dout: array<vec4f>;
@group(0) @binding(5) var<storage, read> stats: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> dq: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dkv: array<vec4f>;

// Rows that the thread owns: (q, dout) of its query or (k, v) of its key, and the gradient it sums.
var<private> own: array<vec4f, 32>;
var<private> own_other: array<vec4f, 32>;
var<private> sum: array<vec4f, 32>;

@compute @workgroup_size(64)
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
    let quads = HEAD_DIM / 4u;
    let head = index % params.heads;
    let tile = params.tile_table + index / params.heads * 2u;
    let segment = read_segment(table[tile]);
    let first = table[tile + 1u];
    let last = min(first + 63u, segment.queries - 1u);
    let place = min(first + lane, last);
    let row = (segment.query_start + place) * params.heads + head;
    for (var c = 0u; c < quads; c += 1u) {
        own[c] = q[row * quads + c];
        own_other[c] = dout[row * quads + c];
        sum[c] = vec4f();
    }
    let kv_head = head / (params.heads / params.kv_heads);
    // One call site: drivers inline, and unroll, every one.
    for (var part = 0u; part < 2u; part += 1u) {
        let is_own = part == 1u;
        let start = select(segment.prefix_start, segment.keys_start, is_own);
        let keys = select(segment.prefix, visible(segment, last), is_own);
        add_keys(start, keys, select(segment.prefix, visible(segment, place), is_own), kv_head, stats[row]);
    }
    if first + lane <= last {
        for (var c = 0u; c < quads; c += 1u) {
            dq[row * quads + c] = sum[c];
        }
    }
}

fn add_keys(start: u32, keys: u32, seen: u32, kv_head: u32, stat: vec2f) {
    let quads = HEAD_DIM / 4u;
    for (var j = 0u; j < keys; j += 1u) {
        let key = ((start + j) * params.kv_heads + kv_head) * quads;
        var score = vec4f();
        var slope = vec4f();
        for (var c = 0u; c < quads; c += 1u) {
            score = fma(own[c], k[key + c], score);
            slope = fma(own_other[c], v[key + c], slope);
        }
        let p = select(0.0, exp(total(score) * params.scale - stat.x), j < seen);
        let ds = p * (total(slope) - stat.y) * params.scale;
        for (var c = 0u; c < quads; c += 1u) {
            sum[c] = fma(vec4f(ds), k[key + c], sum[c]);
        }
    }
}

// dk if `keys`, else dv.
fn key_gradient(index: u32, lane: u32, keys: bool) {
    let quads = HEAD_DIM / 4u;
    let kv_head = index % params.kv_heads;
    let tile = index / params.kv_heads;
    let token = tile * 64u + lane;
    let row = (min(token, params.kv_tokens - 1u) * params.kv_heads + kv_head) * quads;
    for (var c = 0u; c < quads; c += 1u) {
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
        for (var i = first; i < segment.queries; i += 1u) {
            add_query(segment.query_start + i, kv_head, inside && i >= own_first, keys);
        }
    }
    if token < params.kv_tokens {
        let half = select(params.kv_tokens * params.kv_heads * quads, 0u, keys);
        for (var c = 0u; c < quads; c += 1u) {
            dkv[half + row + c] = sum[c];
        }
    }
}

fn add_query(token: u32, kv_head: u32, sees: bool, keys: bool) {
    let quads = HEAD_DIM / 4u;
    let shared_by = params.heads / params.kv_heads;
    for (var h = 0u; h < shared_by; h += 1u) {
        let head = token * params.heads + kv_head * shared_by + h;
        let row = head * quads;
        var score = vec4f();
        for (var c = 0u; c < quads; c += 1u) {
            score = fma(q[row + c], own[c], score);
        }
        let p = select(0.0, exp(total(score) * params.scale - stats[head].x), sees);
        if !keys {
            for (var c = 0u; c < quads; c += 1u) {
                sum[c] = fma(vec4f(p), dout[row + c], sum[c]);
            }
            continue;
        }
        var slope = vec4f();
        for (var c = 0u; c < quads; c += 1u) {
            slope = fma(dout[row + c], own_other[c], slope);
        }
        let ds = p * (total(slope) - stats[head].y) * params.scale;
        for (var c = 0u; c < quads; c += 1u) {
            sum[c] = fma(vec4f(ds), q[row + c], sum[c]);
        }
    }
}
