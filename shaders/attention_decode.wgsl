// Attention over segments for segments of few queries (decoding): the forward pass of attention.wgsl with the threads side by side over the keys.
//   out[i] = Σ_j softmax_j(scale · q_i · k_j) v_j over the keys j that query i sees, lse[i] = ln Σ_j e^(scale · q_i · k_j); 0 and 0 if it sees none
// Layouts as in attention.wgsl; every tile is a whole segment. HEAD_DIM is at most 128. A query sees the prefix first, then its own keys, numbered as one list.
// Dispatch: a group of 64 per (segment, head), one query after the other: 8 teams of 8 threads. A block is 64 keys, 8 for each team. The threads of a team share the rows
// of its keys and values, each every eighth quad, so that neighbours read neighbours; each team keeps a softmax of its own, and the eight are joined at the end.
// Needs common/math.wgsl, common/attention.wgsl.

@group(0) @binding(3) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

const LOWEST = -3.0e38;
const TEAM = 8u;
const BLOCK = 64u;
// Between the columns of `products`: one more than a block, so that neither writing nor reading meets one bank of the memory twice.
const PITCH = 65u;

var<private> query: array<vec4f, 4>;
var<private> sum: array<vec4f, 4>; // Σ e^(score - highest) v

// What each thread's quads give of the products of a block's keys with the query, and the scores.
var<workgroup> products: array<f32, TEAM * PITCH>;
var<workgroup> scores: array<f32, BLOCK>;
// What each team ends with.
var<workgroup> team_highest: array<f32, TEAM>;
var<workgroup> team_weights: array<f32, TEAM>;
var<workgroup> team_sums: array<vec4f, TEAM * QUADS>;

@compute @workgroup_size(64)
fn decode(at: Invocation) {
    let index = group_index(at);
    if index >= params.tiles * params.heads {
        return;
    }
    let head = index % params.heads;
    let segment = read_segment(table[params.tile_table + index / params.heads * 2u]);
    let kv_head = head / (params.heads / params.kv_heads);
    let team = at.lane / TEAM;
    let part = at.lane % TEAM;
    for (var place = 0u; place < segment.queries; place += 1u) {
        let row = (segment.query_start + place) * params.heads + head;
        for (var c = 0u; c < OWN; c += 1u) {
            let quad = part + c * TEAM;
            query[c] = select(vec4f(), q[row * QUADS + min(quad, QUADS - 1u)] * params.scale, quad < QUADS);
            sum[c] = vec4f();
        }
        var highest = LOWEST;
        var weights = 0.0; // Σ e^(score - highest)
        let keys = segment.prefix + visible(segment, place);
        for (var block = 0u; block < keys; block += BLOCK) {
            for (var j = 0u; j < TEAM; j += 1u) {
                let number = block + team * TEAM + j;
                var product = vec4f();
                if number < keys {
                    let start = key_start(segment, number, kv_head);
                    for (var c = 0u; c < OWN; c += 1u) {
                        product = fma(query[c], k[start + min(part + c * TEAM, QUADS - 1u)], product);
                    }
                }
                products[part * PITCH + team * TEAM + j] = total(product);
            }
            workgroupBarrier();
            var score = 0.0;
            for (var p = 0u; p < TEAM; p += 1u) {
                score += products[p * PITCH + at.lane];
            }
            scores[at.lane] = select(LOWEST, score, block + at.lane < keys);
            workgroupBarrier();

            var high = highest;
            for (var j = 0u; j < TEAM; j += 1u) {
                high = max(high, scores[team * TEAM + j]);
            }
            let shrink = exp(highest - high);
            highest = high;
            weights *= shrink;
            for (var c = 0u; c < OWN; c += 1u) {
                sum[c] *= shrink;
            }
            for (var j = 0u; j < TEAM; j += 1u) {
                let number = block + team * TEAM + j;
                if number < keys {
                    let weight = exp(scores[team * TEAM + j] - high);
                    weights += weight;
                    let start = key_start(segment, number, kv_head);
                    for (var c = 0u; c < OWN; c += 1u) {
                        sum[c] = fma(vec4f(weight), v[start + min(part + c * TEAM, QUADS - 1u)], sum[c]);
                    }
                }
            }
        }

        // The teams' sums, each shrunk to the common maximum.
        for (var c = 0u; c < OWN; c += 1u) {
            let quad = part + c * TEAM;
            if quad < QUADS {
                team_sums[team * QUADS + quad] = sum[c];
            }
        }
        if part == 0u {
            team_highest[team] = highest;
            team_weights[team] = weights;
        }
        workgroupBarrier();
        var high = LOWEST;
        for (var other = 0u; other < TEAM; other += 1u) {
            high = max(high, team_highest[other]);
        }
        var all = 0.0;
        var value = vec4f();
        for (var other = 0u; other < TEAM; other += 1u) {
            let shrink = exp(team_highest[other] - high);
            all += team_weights[other] * shrink;
            value = fma(vec4f(shrink), team_sums[other * QUADS + min(at.lane, QUADS - 1u)], value);
        }
        let seen = keys > 0u;
        if at.lane < QUADS {
            out[row * QUADS + at.lane] = value * select(0.0, 1.0 / all, seen);
        }
        if at.lane == 0u {
            lse[row] = select(0.0, high + ln(all), seen);
        }
        // the next query's teams write where others may still read
        workgroupBarrier();
    }
}
