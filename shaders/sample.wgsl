// One token per row of logits.
//   p = softmax(logits / temperature), cut to the top_k largest and then to the smallest set of largest ones with mass >= top_p (ties kept)
//   token = the first index at which the cumulative p of the kept set exceeds u · (their mass), u = Philox(seed; step, stream[row])
//   log_prob = log softmax(logits / temperature)[token], before any cut
// temperature 0 is greedy: the first largest logit, log_prob at temperature 1.
// Without a cut the row is read once, and once more by the thread whose run has the token. Thresholds are found bit by bit on order-preserving keys, from the highest bit down. Each thread owns a contiguous run of the row.
// Dispatch: one workgroup of 64 per row, linear. Needs common/math.wgsl, common/philox.wgsl,
// common/row_reduce.wgsl.

struct Params {
    rows: u32,
    vocab: u32,
    inverse_temperature: f32,
    is_greedy: u32,
    top_k: u32,
    top_p: f32,
    seed: array<u32, 2>,
    step: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> streams: array<u32>;
@group(0) @binding(2) var<storage, read_write> tokens: array<u32>;
@group(0) @binding(3) var<storage, read_write> log_probs: array<f32>;

var<workgroup> run_sums: array<f32, LANES>;
// where each run has the row's largest logit first, if it has it
var<workgroup> run_tops: array<u32, LANES>;
var<workgroup> chosen: u32;

@compute @workgroup_size(64)
fn sample(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let run = (params.vocab + LANES - 1u) / LANES;
    let first = row * params.vocab + min(at.lane * run, params.vocab);
    let end = row * params.vocab + min((at.lane + 1u) * run, params.vocab);

    // The run's largest logit, where it stands first, and the run's mass as a multiple of its own: exp overflows f32 above 88.7. A larger one scales the mass before it down.
    var top = -3.4028234e38;
    var top_at = first;
    var run_mass = 0.0;
    if first < end {
        top = logits[first];
        run_mass = 1.0;
    }
    for (var i = first + 1u; i < end; i += 1u) {
        let logit = logits[i];
        if logit > top {
            run_mass *= exp((top - logit) * params.inverse_temperature);
            top = logit;
            top_at = i;
        }
        run_mass += exp((logit - top) * params.inverse_temperature);
    }
    let largest = row_max(at.lane, top);
    run_mass *= exp((top - largest) * params.inverse_temperature);
    let mass = row_sum(at.lane, run_mass);

    // cuts
    var threshold = 0u;
    if params.is_greedy == 1u {
        threshold = sort_key(largest);
    }
    if params.top_k > 0u && params.top_k < params.vocab {
        for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
            let candidate = threshold | bit;
            var reached = 0.0;
            for (var i = first; i < end; i += 1u) {
                reached += select(0.0, 1.0, sort_key(logits[i]) >= candidate);
            }
            if u32(row_sum(at.lane, reached)) >= params.top_k {
                threshold = candidate;
            }
        }
    }
    if params.top_p < 1.0 {
        let floor_key = threshold;
        let wanted = params.top_p * row_sum(at.lane, kept_mass(first, end, floor_key, largest));
        threshold = 0u;
        for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
            let candidate = threshold | bit;
            if row_sum(at.lane, kept_mass(first, end, max(candidate, floor_key), largest)) >= wanted {
                threshold = candidate;
            }
        }
        threshold = max(threshold, floor_key);
    }

    // inverse of the cumulative distribution: the thread whose run crosses the target walks it
    var own = run_mass;
    if threshold > 0u && params.is_greedy == 0u {
        own = kept_mass(first, end, threshold, largest);
    }
    run_sums[at.lane] = own;
    run_tops[at.lane] = select(0xffffffffu, top_at - row * params.vocab, first < end && top == largest);
    if at.lane == 0u {
        chosen = 0xffffffffu;
    }
    workgroupBarrier();
    var before = 0.0;
    var total = 0.0;
    for (var i = 0u; i < LANES; i += 1u) {
        before = select(before, total, i == at.lane);
        total += run_sums[i];
    }
    let bits = philox(vec4u(params.step, streams[row], 0u, 0u), vec2u(params.seed[0], params.seed[1])).x;
    let target_mass = f32(bits >> 8u) * 0x1p-24 * total;
    if params.is_greedy == 0u && own > 0.0 && target_mass >= before && target_mass < before + own {
        var cumulative = before;
        var last = first;
        for (var i = first; i < end && cumulative <= target_mass; i += 1u) {
            let p = exp((logits[i] - largest) * params.inverse_temperature);
            if sort_key(logits[i]) >= threshold && p > 0.0 {
                cumulative += p;
                last = i;
            }
        }
        chosen = last - row * params.vocab;
    }
    workgroupBarrier();
    if at.lane == 0u {
        var token = chosen;
        if params.is_greedy == 1u {
            for (var i = 0u; i < LANES; i += 1u) {
                token = min(token, run_tops[i]);
            }
        }
        if token == 0xffffffffu {
            token = 0u;
            while token + 1u < params.vocab && !is_possible(logits[row * params.vocab + token], threshold, largest) {
                token += 1u;
            }
        }
        tokens[row] = token;
        log_probs[row] = (logits[row * params.vocab + token] - largest) * params.inverse_temperature - ln(mass);
    }
}

// A suppressed token has no probability, even where nothing is cut.
fn is_possible(logit: f32, threshold: u32, largest: f32) -> bool {
    return sort_key(logit) >= threshold && exp((logit - largest) * params.inverse_temperature) > 0.0;
}

fn kept_mass(first: u32, end: u32, threshold: u32, largest: f32) -> f32 {
    var mass = 0.0;
    for (var i = first; i < end; i += 1u) {
        if sort_key(logits[i]) >= threshold {
            mass += exp((logits[i] - largest) * params.inverse_temperature);
        }
    }
    return mass;
}
