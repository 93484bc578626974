// Gradients of attention over segments, flash style: the probabilities p are recomputed from the saved log-sum-exp.
//   p_ij = e^(scale · q_i · k_j - lse_i), ds_ij = p_ij (dout_i · v_j - delta_i) scale, delta_i = dout_i · out_i
//   dq_i = Σ_j ds_ij k_j,  dk_j = Σ_i ds_ij q_i,  dv_j = Σ_i p_ij dout_i
// q, dout, dq [q_tokens, heads, HEAD_DIM]; k, v [kv_tokens, kv_heads, HEAD_DIM]; dkv [2, kv_tokens, kv_heads, HEAD_DIM];
// stats [q_tokens, heads] of (lse, delta); table: see ops/attention/table.rs. HEAD_DIM is a multiple of 4, at most 128.
// Dispatch: groups of 128: heads / kv_heads per (tile of 64 queries, key head), each for the dq of 64 rows (see common/attention.wgsl), and one per
// (tile of 32 keys, key head) for dk and dv, in proportion. A group computes p and ds of a block of rows and keys, 4 × 4 or 4 × 2 to a thread, gives them to all its threads
// through workgroup memory, and each thread adds to every eighth quad of its four rows or keys. An element of the gradient is summed by one thread, in the
// table's order: no atomics, and the same bits every time.
// Needs common/attention.wgsl. Longer than other shaders, since WebGPU's eight buffers and one launch hold all three gradients.

@group(0) @binding(2) var<storage, read> k: array<vec4f>;
@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read> dout: array<vec4f>;
@group(0) @binding(5) var<storage, read> stats: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> dq: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> dkv: array<vec4f>;

const BLOCK = 32u;
// Between the keys of a block with 16 quads of rows, and between its rows with 8 quads of keys: one more, so that neither writing nor reading meets one bank
// of the memory twice.
const ROWS_PITCH = 17u;
const KEYS_PITCH = 9u;

// For dq: ds of a block, by key, then quad of rows. For dk and dv: p, then ds, by row, then quad of keys.
var<workgroup> block: array<vec4f, 2u * BLOCK * KEYS_PITCH>;
// Of what rows of a block begin where, in quads.
var<workgroup> starts: array<u32, BLOCK>;

// The gradient: row or key i and own quad c at 4c + i.
var<private> sum: array<vec4f, 16>;

@compute @workgroup_size(128)
fn backward(at: Invocation) {
    for (var c = 0u; c < 4u * OWN; c += 1u) {
        sum[c] = vec4f();
    }
    let query_groups = params.tiles * params.heads;
    let key_groups = params.key_tiles * params.kv_heads;
    let part = interleaved(group_index(at), query_groups, key_groups);
    if part.x == 0u && part.y < query_groups {
        query_gradient(part.y, at.lane);
    } else if part.x == 1u && part.y < key_groups {
        key_gradient(part.y, at.lane);
    }
}

// Which of the groups for queries (0) or keys (1) this is: both side by side, in proportion, so that queries and keys come from memory once for both.
fn interleaved(index: u32, queries: u32, keys: u32) -> vec2u {
    let of_queries = max(queries / max(keys, 1u), 1u);
    let of_keys = max(keys / max(queries, 1u), 1u);
    let rounds = min(queries / of_queries, keys / of_keys);
    let round = of_queries + of_keys;
    if index < rounds * round {
        let place = index % round;
        let is_key = place >= of_queries;
        return select(vec2u(0u, index / round * of_queries + place), vec2u(1u, index / round * of_keys + place - of_queries), is_key);
    }
    let rest = index - rounds * round;
    let left = queries - rounds * of_queries;
    return select(vec2u(0u, rounds * of_queries + rest), vec2u(1u, rounds * of_keys + rest - left), rest >= left);
}

// Adds a number of four rows or keys, times an own quad of a row of the other side.
fn add(factors: vec4f, c: u32, value: vec4f) {
    for (var i = 0u; i < 4u; i += 1u) {
        sum[4u * c + i] = fma(vec4f(factors[i]), value, sum[4u * c + i]);
    }
}

// Products of four rows with one.
fn fma4(rows: mat4x4f, other: vec4f, start: vec4f) -> vec4f {
    let two = fma(rows[1], vec4f(other.y), fma(rows[0], vec4f(other.x), start));
    return fma(rows[3], vec4f(other.w), fma(rows[2], vec4f(other.z), two));
}

fn query_gradient(index: u32, lane: u32) {
    let group = group_size();
    let kv_head = index / group % params.kv_heads;
    let tile = params.tile_table + index / params.heads * 2u;
    let segment = read_segment(table[tile]);
    let first = table[tile + 1u] * group + index % group * 64u;
    let end = min(table[tile + 1u] + 64u, segment.queries) * group;
    if first >= end {
        return;
    }
    let last = min(first + 64u, end) - 1u;
    let x = lane % 8u;
    let y = lane / 8u;
    let rows = min(vec4u(first + 4u * y) + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    var pairs: vec4u;
    var seen: vec4u;
    var lse: vec4f;
    var delta: vec4f;
    for (var i = 0u; i < 4u; i += 1u) {
        pairs[i] = pair_of(segment, rows[i], kv_head);
        seen[i] = segment.prefix + visible(segment, rows[i] / group);
        lse[i] = stats[pairs[i]].x;
        delta[i] = stats[pairs[i]].y;
    }
    let own = pairs * QUADS;
    let keys = segment.prefix + visible(segment, last / group);
    for (var base = 0u; base < keys; base += BLOCK) {
        let numbers = vec4u(base + x) + vec4u(0u, 8u, 16u, 24u);
        var begins: vec4u;
        for (var j = 0u; j < 4u; j += 1u) {
            begins[j] = key_start(segment, min(numbers[j], keys - 1u), kv_head);
        }
        var scores: mat4x4f;
        var slopes: mat4x4f;
        for (var c = 0u; c < QUADS; c += 1u) {
            let queries = transpose(mat4x4f(q[own.x + c], q[own.y + c], q[own.z + c], q[own.w + c]));
            let upstream = transpose(mat4x4f(dout[own.x + c], dout[own.y + c], dout[own.z + c], dout[own.w + c]));
            for (var j = 0u; j < 4u; j += 1u) {
                scores[j] = fma4(queries, k[begins[j] + c], scores[j]);
                slopes[j] = fma4(upstream, v[begins[j] + c], slopes[j]);
            }
        }
        workgroupBarrier();
        for (var j = 0u; j < 4u; j += 1u) {
            let p = select(vec4f(), exp(scores[j] * params.scale - lse), vec4u(numbers[j]) < seen);
            block[(x + 8u * j) * ROWS_PITCH + y] = p * (slopes[j] - delta) * params.scale;
        }
        workgroupBarrier();
        for (var key = 0u; key < min(BLOCK, keys - base); key += 1u) {
            let slope = block[key * ROWS_PITCH + y];
            let start = key_start(segment, base + key, kv_head);
            for (var c = 0u; c < OWN; c += 1u) {
                add(slope, c, k[start + min(x + 8u * c, QUADS - 1u)]);
            }
        }
    }
    for (var i = 0u; i < 4u; i += 1u) {
        for (var c = 0u; c < OWN; c += 1u) {
            if first + 4u * y + i <= last && x + 8u * c < QUADS {
                dq[own[i] + x + 8u * c] = sum[4u * c + i];
            }
        }
    }
}

// dv by the first 64 threads, dk by the others.
fn key_gradient(index: u32, lane: u32) {
    let group = group_size();
    let kv_head = index % params.kv_heads;
    let tile = index / params.kv_heads;
    let x = lane % 8u;
    let y = lane / 8u % 8u;
    // For the sums, and for the block.
    let tokens = vec4u(tile * BLOCK + 4u * y) + vec4u(0u, 1u, 2u, 3u);
    let block_y = lane / 16u;
    let block_tokens = vec4u(tile * BLOCK + 4u * block_y) + vec4u(0u, 1u, 2u, 3u);
    let own = (min(block_tokens, vec4u(params.kv_tokens - 1u)) * params.kv_heads + kv_head) * QUADS;
    let readers = params.key_table + table[params.key_table + tile];
    let readers_end = params.key_table + table[params.key_table + tile + 1u];
    for (var reader = readers; reader < readers_end; reader += 1u) {
        let segment = read_segment(table[reader] / 2u);
        let is_prefix = table[reader] % 2u == 1u;
        let start = select(segment.keys_start, segment.prefix_start, is_prefix);
        let length = select(segment.keys, segment.prefix, is_prefix);
        let inside = block_tokens >= vec4u(start) & block_tokens < vec4u(start + length);
        // The first row that sees any key of the tile, and the first that sees each of the thread's keys.
        let aligned = segment.causal == 1u && !is_prefix;
        let places = max(vec4u(tile * BLOCK, 0u, 0u, 0u), vec4u(start)) - start;
        let all = segment.queries * group;
        let first = select(0u, max(places.x + segment.queries, segment.keys) - segment.keys, aligned) * group;
        let own_places = max(block_tokens, vec4u(start)) - start;
        let own_first = select(vec4u(), max(own_places + segment.queries, vec4u(segment.keys)) - segment.keys, aligned) * group;
        let blind = select(vec4u(all), own_first, inside);
        for (var base = first; base < all; base += BLOCK) {
            // A thread's rows of the block: lane % 16 and 16 more.
            let row = vec2u(base + lane % 16u) + vec2u(0u, 16u);
            let pairs = vec2u(pair_of(segment, min(row.x, all - 1u), kv_head), pair_of(segment, min(row.y, all - 1u), kv_head));
            var scores: array<vec4f, 2>;
            var slopes: array<vec4f, 2>;
            for (var c = 0u; c < QUADS; c += 1u) {
                let keys = transpose(mat4x4f(k[own.x + c], k[own.y + c], k[own.z + c], k[own.w + c]));
                let values = transpose(mat4x4f(v[own.x + c], v[own.y + c], v[own.z + c], v[own.w + c]));
                for (var j = 0u; j < 2u; j += 1u) {
                    scores[j] = fma4(keys, q[pairs[j] * QUADS + c], scores[j]);
                    slopes[j] = fma4(values, dout[pairs[j] * QUADS + c], slopes[j]);
                }
            }
            workgroupBarrier();
            for (var j = 0u; j < 2u; j += 1u) {
                let stat = stats[pairs[j]];
                let sees = vec4u(row[j]) >= blind & vec4<bool>(row[j] < all);
                let p = select(vec4f(), exp(scores[j] * params.scale - stat.x), sees);
                let place = (lane % 16u + 16u * j) * KEYS_PITCH + block_y;
                block[place] = p;
                block[place + BLOCK * KEYS_PITCH] = p * (slopes[j] - stat.y) * params.scale;
                if block_y == 0u {
                    starts[lane % 16u + 16u * j] = pairs[j] * QUADS;
                }
            }
            workgroupBarrier();
            let width = min(BLOCK, all - base);
            if lane < 64u {
                for (var i = 0u; i < width; i += 1u) {
                    let p = block[i * KEYS_PITCH + y];
                    for (var c = 0u; c < OWN; c += 1u) {
                        add(p, c, dout[starts[i] + min(x + 8u * c, QUADS - 1u)]);
                    }
                }
            } else {
                for (var i = 0u; i < width; i += 1u) {
                    let slope = block[(BLOCK + i) * KEYS_PITCH + y];
                    for (var c = 0u; c < OWN; c += 1u) {
                        add(slope, c, q[starts[i] + min(x + 8u * c, QUADS - 1u)]);
                    }
                }
            }
        }
    }
    let half = select(params.kv_tokens * params.kv_heads * QUADS, 0u, lane >= 64u);
    for (var i = 0u; i < 4u; i += 1u) {
        for (var c = 0u; c < OWN; c += 1u) {
            if tokens[i] < params.kv_tokens && x + 8u * c < QUADS {
                dkv[half + (tokens[i] * params.kv_heads + kv_head) * QUADS + x + 8u * c] = sum[4u * c + i];
            }
        }
    }
}
