// Attention over segments for segments of few queries (decoding): the forward pass of attention.wgsl with the threads side by side over the keys.
//   out[i] = Σ_j softmax_j(scale · q_i · k_j) v_j over the keys j that query i sees, lse[i] = ln Σ_j e^(scale · q_i · k_j); 0 and 0 if it sees none
// Layouts as in attention.wgsl; HEAD_DIM is at most 128. A query sees the prefix first, then its own keys, numbered as one list, which is cut into parts of 256: where
// depends on the segment's own length alone. Of a segment with one part `decode` writes the result; of longer ones what each part gives goes to `parts` [row of a part,
// QUADS + 1]: Σ e^(score - highest) v, then (highest, Σ e^(score - highest)). `join` puts the parts together, in their order.
// Dispatch: `decode` groups of 64 per (part, key head, four rows: see common/attention.wgsl), `join` groups of 64 per (cut segment, head).
// 8 teams of 8 threads. A block is 64 keys, 8 for each team. The threads of a team share the rows of its keys and values, each every eighth quad, so that neighbours read
// neighbours; what is read serves four rows. Each team keeps softmaxes of its own, and the eight are joined at the end.
// Needs common/math.wgsl, common/attention.wgsl, common/stored_keys.wgsl.

@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
@group(0) @binding(6) var<storage, read_write> parts: array<vec4f>;

// join binds table, parts, out, lse
@group(0) @binding(1) var<storage, read> saved_parts: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> joined: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> joined_lse: array<f32>;

const LOWEST = -3.0e38;
const TEAM = 8u;
const BLOCK = 64u;
const PART = 256u;
const ROWS = 4u;
// Between the columns of `products`: one more than a block, so that neither writing nor reading meets one bank of the memory twice.
const PITCH = 65u;

// Row r and own quad c: at 4c + r.
var<private> queries: array<vec4f, 16>;
var<private> sum: array<vec4f, 16>; // Σ e^(score - highest) v

// What each thread's quads give of the products of a block's keys with the four queries, and the scores.
var<workgroup> products: array<vec4f, TEAM * PITCH>;
var<workgroup> scores: array<vec4f, BLOCK>;
// What each team ends with.
var<workgroup> team_highest: array<vec4f, TEAM>;
var<workgroup> team_weights: array<vec4f, TEAM>;
var<workgroup> team_sums: array<vec4f, TEAM * QUADS>;

@compute @workgroup_size(64)
fn decode(at: Invocation) {
    let group = group_size();
    let blocks = (params.longest * group + ROWS - 1u) / ROWS;
    let index = group_index(at);
    if index >= params.parts * params.kv_heads * blocks {
        return;
    }
    // segment, first key, place in `parts` or none
    let entry = params.part_table + index / (params.kv_heads * blocks) * 3u;
    let segment = read_segment(table[entry]);
    let kv_head = index / blocks % params.kv_heads;
    let first = index % blocks * ROWS;
    let end = segment.queries * group;
    if first >= end {
        return;
    }
    // Spare rows repeat the last and are not written.
    let rows = min(vec4u(first) + vec4u(0u, 1u, 2u, 3u), vec4u(end - 1u));
    let team = at.lane / TEAM;
    let part = at.lane % TEAM;
    var pairs: vec4u;
    var seen: vec4u;
    for (var r = 0u; r < ROWS; r += 1u) {
        pairs[r] = pair_of(segment, rows[r], kv_head);
        seen[r] = segment.prefix + visible(segment, rows[r] / group);
        for (var c = 0u; c < OWN; c += 1u) {
            let quad = part + c * TEAM;
            queries[4u * c + r] = select(vec4f(), q[pairs[r] * QUADS + min(quad, QUADS - 1u)] * params.scale, quad < QUADS);
            sum[4u * c + r] = vec4f();
        }
    }
    var highest = vec4f(LOWEST);
    var weights = vec4f(); // Σ e^(score - highest)
    // the last row sees most
    let keys = min(table[entry + 1u] + PART, seen.w);
    for (var block = table[entry + 1u]; block < keys; block += BLOCK) {
        for (var j = 0u; j < TEAM; j += 1u) {
            let number = block + team * TEAM + j;
            var product = vec4f();
            if number < keys {
                let start = key_start(segment, number, kv_head);
                var all = mat4x4f();
                for (var c = 0u; c < OWN; c += 1u) {
                    let key = key_quad(start + min(part + c * TEAM, QUADS - 1u));
                    for (var r = 0u; r < ROWS; r += 1u) {
                        all[r] = fma(queries[4u * c + r], key, all[r]);
                    }
                }
                product = vec4f(total(all[0]), total(all[1]), total(all[2]), total(all[3]));
            }
            products[part * PITCH + team * TEAM + j] = product;
        }
        workgroupBarrier();
        var score = vec4f();
        for (var p = 0u; p < TEAM; p += 1u) {
            score += products[p * PITCH + at.lane];
        }
        scores[at.lane] = select(vec4f(LOWEST), score, vec4u(block + at.lane) < seen);
        workgroupBarrier();

        var high = highest;
        for (var j = 0u; j < TEAM; j += 1u) {
            high = max(high, scores[team * TEAM + j]);
        }
        let shrink = exp(highest - high);
        highest = high;
        weights *= shrink;
        for (var c = 0u; c < 4u * OWN; c += 1u) {
            sum[c] *= shrink[c % 4u];
        }
        for (var j = 0u; j < TEAM; j += 1u) {
            let number = block + team * TEAM + j;
            if number < keys {
                let weight = select(vec4f(), exp(scores[team * TEAM + j] - high), vec4u(number) < seen);
                weights += weight;
                let start = key_start(segment, number, kv_head);
                for (var c = 0u; c < OWN; c += 1u) {
                    let value = value_quad(start + min(part + c * TEAM, QUADS - 1u));
                    for (var r = 0u; r < ROWS; r += 1u) {
                        sum[4u * c + r] = fma(vec4f(weight[r]), value, sum[4u * c + r]);
                    }
                }
            }
        }
    }

    // The teams' sums, each shrunk to the common maximum.
    if part == 0u {
        team_highest[team] = highest;
        team_weights[team] = weights;
    }
    let slot = table[entry + 2u];
    for (var r = 0u; r < ROWS; r += 1u) {
        for (var c = 0u; c < OWN; c += 1u) {
            let quad = part + c * TEAM;
            if quad < QUADS {
                team_sums[team * QUADS + quad] = sum[4u * c + r];
            }
        }
        workgroupBarrier();
        var high = LOWEST;
        for (var other = 0u; other < TEAM; other += 1u) {
            high = max(high, team_highest[other][r]);
        }
        var all = 0.0;
        var value = vec4f();
        for (var other = 0u; other < TEAM; other += 1u) {
            let shrink = exp(team_highest[other][r] - high);
            all += team_weights[other][r] * shrink;
            value = fma(vec4f(shrink), team_sums[other * QUADS + min(at.lane, QUADS - 1u)], value);
        }
        if first + r < end {
            if slot != 0xffffffffu {
                let place = part_place(slot, rows[r] / group, kv_head * group + rows[r] % group);
                if at.lane < QUADS {
                    parts[place + at.lane] = value;
                }
                if at.lane == 0u {
                    parts[place + QUADS] = vec4f(high, all, 0.0, 0.0);
                }
            } else {
                if at.lane < QUADS {
                    out[pairs[r] * QUADS + at.lane] = value * select(0.0, 1.0 / all, all > 0.0);
                }
                if at.lane == 0u {
                    lse[pairs[r]] = select(0.0, high + ln(all), all > 0.0);
                }
            }
        }
        // the next row's teams write where others may still read
        workgroupBarrier();
    }
}

@compute @workgroup_size(64)
fn join(at: Invocation) {
    let index = group_index(at);
    if index >= params.cuts * params.heads {
        return;
    }
    // segment, first place in `parts`, how many
    let entry = params.cut_table + index / params.heads * 3u;
    let head = index % params.heads;
    let segment = read_segment(table[entry]);
    let first = table[entry + 1u];
    let count = table[entry + 2u];
    for (var place = 0u; place < segment.queries; place += 1u) {
        var high = LOWEST;
        for (var part = 0u; part < count; part += 1u) {
            high = max(high, saved_parts[part_place(first + part, place, head) + QUADS].x);
        }
        var all = 0.0;
        var value = vec4f();
        for (var part = 0u; part < count; part += 1u) {
            let start = part_place(first + part, place, head);
            let shrink = exp(saved_parts[start + QUADS].x - high);
            all = fma(saved_parts[start + QUADS].y, shrink, all);
            value = fma(vec4f(shrink), saved_parts[start + min(at.lane, QUADS - 1u)], value);
        }
        let row = (segment.query_start + place) * params.heads + head;
        if at.lane < QUADS {
            joined[row * QUADS + at.lane] = value * select(0.0, 1.0 / all, all > 0.0);
        }
        if at.lane == 0u {
            joined_lse[row] = select(0.0, high + ln(all), all > 0.0);
        }
    }
}

// Where a row of a part begins.
fn part_place(slot: u32, place: u32, head: u32) -> u32 {
    return ((slot * params.longest + place) * params.heads + head) * (QUADS + 1u);
}
