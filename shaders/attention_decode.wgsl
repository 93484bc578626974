// Attention over segments for segments of few queries (decoding): the forward pass of attention.wgsl with the threads side by side over the keys.
//   out[i] = Σ_j softmax_j(scale · q_i · k_j) v_j over the keys j that query i sees, lse[i] = ln Σ_j e^(scale · q_i · k_j); 0 and 0 if it sees none
// Layouts as in attention.wgsl; every tile is a whole segment. HEAD_DIM is at most 128.
// Dispatch: a group of 64 per (segment, head), one query after the other. Each thread scores one key of a block of 64; then each sums one or two
// columns of the values. Needs common/math.wgsl, common/attention.wgsl.

@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

const LOWEST = -3.0e38;

var<workgroup> scores: array<f32, 64>;

var<private> sum: vec2f; // Σ e^(score - highest) v, columns lane and lane + 64
var<private> highest: f32;
var<private> weights: f32; // Σ e^(score - highest)

@compute @workgroup_size(64)
fn decode(at: Invocation) {
    let index = group_index(at);
    if index >= params.tiles * params.heads {
        return;
    }
    let head = index % params.heads;
    let tile = params.tile_table + index / params.heads * 2u;
    let segment = read_segment(table[tile]);
    let kv_head = head / (params.heads / params.kv_heads);
    for (var place = 0u; place < segment.queries; place += 1u) {
        let row = (segment.query_start + place) * params.heads + head;
        sum = vec2f();
        highest = LOWEST;
        weights = 0.0;
        attend(row, segment.prefix_start, segment.prefix, kv_head, at.lane);
        attend(row, segment.keys_start, visible(segment, place), kv_head, at.lane);

        let seen = weights > 0.0;
        let norm = select(0.0, 1.0 / weights, seen);
        if at.lane < HEAD_DIM {
            out[row * HEAD_DIM + at.lane] = sum.x * norm;
        }
        if at.lane + 64u < HEAD_DIM {
            out[row * HEAD_DIM + at.lane + 64u] = sum.y * norm;
        }
        if at.lane == 0u {
            lse[row] = select(0.0, highest + ln(weights), seen);
        }
    }
}

// Adds `keys` keys from `start` on.
fn attend(row: u32, start: u32, keys: u32, kv_head: u32, lane: u32) {
    let quads = HEAD_DIM / 4u;
    for (var block = 0u; block < keys; block += 64u) {
        var score = LOWEST;
        if block + lane < keys {
            let key = ((start + block + lane) * params.kv_heads + kv_head) * quads;
            var products = vec4f();
            for (var c = 0u; c < quads; c += 1u) {
                products = fma(q[row * quads + c], k[key + c], products);
            }
            score = total(products) * params.scale;
        }
        scores[lane] = score;
        workgroupBarrier();

        let width = min(64u, keys - block);
        var high = highest;
        for (var j = 0u; j < width; j += 1u) {
            high = max(high, scores[j]);
        }
        workgroupBarrier();
        scores[lane] = exp(score - high);
        workgroupBarrier();

        let shrink = exp(highest - high);
        highest = high;
        weights *= shrink;
        sum *= shrink;
        for (var j = 0u; j < width; j += 1u) {
            let weight = scores[j];
            let value = ((start + block + j) * params.kv_heads + kv_head) * HEAD_DIM;
            weights += weight;
            if lane < HEAD_DIM {
                sum.x = fma(weight, v[value + lane], sum.x);
            }
            if lane + 64u < HEAD_DIM {
                sum.y = fma(weight, v[value + lane + 64u], sum.y);
            }
        }
        workgroupBarrier();
    }
}
