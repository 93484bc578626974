// Attention over segments, forward, flash style (Dao et al. 2022): the scores of a query are never stored.
//   out[i] = Σ_j softmax_j(scale · q_i · k_j) v_j over the keys j that query i sees, lse[i] = ln Σ_j e^(scale · q_i · k_j); 0 and 0 if it sees none
// q, out [q_tokens, heads, HEAD_DIM]; k, v [kv_tokens, kv_heads, HEAD_DIM]; lse [q_tokens, heads]; table: see ops/attention/table.rs.
// HEAD_DIM is a multiple of 4, at most 128.
// Dispatch: groups of 64, two times heads / kv_heads per (tile of 64 queries, key head): each has 32 rows (see common/attention.wgsl) and goes over the keys in
// blocks of 32. Thread (x, y) of 8 × 8 has rows 4y to 4y + 3: first with keys x, x + 8, x + 16 and x + 24 for the scores, then with every eighth quad of the
// output for the sums. Both are products of small matrices in registers, so that a number is read once for four rows.
// Needs common/math.wgsl, common/attention.wgsl, common/stored_keys.wgsl.

@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

const ROWS = 32u;
const KEYS = 32u;
const LOWEST = -3.0e38;
// Between the keys in `weights`: one more than quads of rows, so that neither writing nor reading meets one bank of the memory twice.
const PITCH = 9u;

// What each thread found for its four rows, by y, then x.
var<workgroup> found: array<vec4f, 64>;
// e^(score - highest) of a block: by key, then quad of rows.
var<workgroup> weights: array<vec4f, KEYS * PITCH>;

// Σ e^(score - highest) v of row i and own quad c: at 4c + i.
var<private> sum: array<vec4f, 16>;

@compute @workgroup_size(64)
fn forward(at: Invocation) {
    let index = group_index(at);
    let group = group_size();
    if index >= params.tiles * params.heads * 2u {
        return;
    }
    let kv_head = index / (2u * group) % params.kv_heads;
    let tile = params.tile_table + index / (2u * params.heads) * 2u;
    let segment = read_segment(table[tile]);
    let first = table[tile + 1u] * group + index % (2u * group) * ROWS;
    let end = min(table[tile + 1u] + 64u, segment.queries) * group;
    if first >= end {
        return;
    }
    let last = min(first + ROWS, end) - 1u;
    let x = at.lane % 8u;
    let y = at.lane / 8u;
    // Spare threads repeat the last row and write nothing.
    let rows = min(vec4u(first + 4u * y) + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    var pairs: vec4u;
    var seen: vec4u;
    for (var i = 0u; i < 4u; i += 1u) {
        pairs[i] = pair_of(segment, rows[i], kv_head);
        seen[i] = segment.prefix + visible(segment, rows[i] / group);
    }
    for (var c = 0u; c < 4u * OWN; c += 1u) {
        sum[c] = vec4f();
    }
    var highest = vec4f(LOWEST);
    var own_weights = vec4f(); // Σ e^(score - highest) over the keys that this thread scores

    let keys = segment.prefix + visible(segment, last / group);
    for (var block = 0u; block < keys; block += KEYS) {
        let numbers = vec4u(block + x) + vec4u(0u, 8u, 16u, 24u);
        var scores = scores_of(segment, pairs, numbers, keys, kv_head);
        var high = highest;
        for (var j = 0u; j < 4u; j += 1u) {
            scores[j] = select(vec4f(LOWEST), scores[j] * params.scale, vec4u(numbers[j]) < seen);
            high = max(high, scores[j]);
        }
        found[at.lane] = high;
        workgroupBarrier();
        for (var other = 0u; other < 8u; other += 1u) {
            high = max(high, found[y * 8u + other]);
        }
        let shrink = exp(highest - high);
        highest = high;
        own_weights *= shrink;
        for (var j = 0u; j < 4u; j += 1u) {
            let weight = select(vec4f(), exp(scores[j] - high), vec4u(numbers[j]) < seen);
            own_weights += weight;
            weights[(x + 8u * j) * PITCH + y] = weight;
        }
        workgroupBarrier();
        for (var c = 0u; c < OWN; c += 1u) {
            for (var i = 0u; i < 4u; i += 1u) {
                sum[4u * c + i] *= shrink[i];
            }
        }
        for (var key = 0u; key < min(KEYS, keys - block); key += 1u) {
            let weight = weights[key * PITCH + y];
            let start = key_start(segment, block + key, kv_head);
            for (var c = 0u; c < OWN; c += 1u) {
                let value = value_quad(start + min(x + 8u * c, QUADS - 1u));
                for (var i = 0u; i < 4u; i += 1u) {
                    sum[4u * c + i] = fma(vec4f(weight[i]), value, sum[4u * c + i]);
                }
            }
        }
    }

    workgroupBarrier();
    found[at.lane] = own_weights;
    workgroupBarrier();
    var all = vec4f();
    for (var other = 0u; other < 8u; other += 1u) {
        all += found[y * 8u + other];
    }
    for (var i = 0u; i < 4u; i += 1u) {
        if first + 4u * y + i > last {
            break;
        }
        let norm = select(0.0, 1.0 / all[i], all[i] > 0.0);
        for (var c = 0u; c < OWN; c += 1u) {
            if x + 8u * c < QUADS {
                out[pairs[i] * QUADS + x + 8u * c] = sum[4u * c + i] * norm;
            }
        }
        if x == 0u {
            lse[pairs[i]] = select(0.0, highest[i] + ln(all[i]), all[i] > 0.0);
        }
    }
}

// q · k of four rows with four keys: a column for each key. Keys past the last repeat it.
fn scores_of(segment: Segment, pairs: vec4u, numbers: vec4u, keys: u32, kv_head: u32) -> mat4x4f {
    let queries = pairs * QUADS;
    var starts: vec4u;
    for (var j = 0u; j < 4u; j += 1u) {
        starts[j] = key_start(segment, min(numbers[j], keys - 1u), kv_head);
    }
    var scores: mat4x4f;
    for (var c = 0u; c < QUADS; c += 1u) {
        let rows = transpose(mat4x4f(q[queries.x + c], q[queries.y + c], q[queries.z + c], q[queries.w + c]));
        for (var j = 0u; j < 4u; j += 1u) {
            let key = key_quad(starts[j] + c);
            scores[j] = fma(rows[0], vec4f(key.x), scores[j]);
            scores[j] = fma(rows[1], vec4f(key.y), scores[j]);
            scores[j] = fma(rows[2], vec4f(key.z), scores[j]);
            scores[j] = fma(rows[3], vec4f(key.w), scores[j]);
        }
    }
    return scores;
}
