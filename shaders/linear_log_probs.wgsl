// The fused head on one chunk of logits, z = logits / temperature (see engine/src/ops/linear_log_probs.rs).
//   forward   lse = ln Σ e^z, log_prob = z[target] - lse, entropy = lse - Σ p z          one workgroup of 64 per row, linear
//   backward  logits <- dlogits, dz = d_log_prob ([v = target] - p) - d_entropy p (log p + entropy)
// Dispatch: forward one workgroup of 64 per row; backward one thread per element, groups of 256.
// Needs common/math.wgsl, common/row_reduce.wgsl.

struct Params {
    rows: u32,
    vocab: u32,
    first_row: u32,
    inverse_temperature: f32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> log_probs: array<f32>;
@group(0) @binding(3) var<storage, read_write> entropies: array<f32>;
@group(0) @binding(4) var<storage, read_write> lses: array<f32>;

@group(0) @binding(0) var<storage, read> saved_targets: array<u32>;
@group(0) @binding(1) var<storage, read> saved_lses: array<f32>;
@group(0) @binding(2) var<storage, read> saved_entropies: array<f32>;
@group(0) @binding(3) var<storage, read> d_log_probs: array<f32>;
@group(0) @binding(4) var<storage, read> d_entropies: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_logits: array<f32>;

@compute @workgroup_size(64)
fn forward(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let start = row * params.vocab;

    // Each thread reads its logits once, with the largest so far: exp overflows f32 above 88.7. z is relative to it, so that the mean of z keeps its digits.
    var own = -3.4028234e38;
    var sum = 0.0;
    var weighted = 0.0;
    for (var v = at.lane; v < params.vocab; v += LANES) {
        let logit = logits[start + v];
        if logit > own {
            let sums = moved(vec2f(sum, weighted), own, logit);
            own = logit;
            sum = sums.x;
            weighted = sums.y;
        }
        let z = (logit - own) * params.inverse_temperature;
        let e = exp(z);
        sum += e;
        weighted += e * max(z, -1e30);
    }
    let largest = row_max(at.lane, own);
    let sums = moved(vec2f(sum, weighted), own, largest);
    sum = row_sum(at.lane, sums.x);
    weighted = row_sum(at.lane, sums.y);

    if at.lane == 0u {
        let out = params.first_row + row;
        let log_sum = ln(sum);
        let z_target = (logits[start + targets[out]] - largest) * params.inverse_temperature;
        log_probs[out] = z_target - log_sum;
        entropies[out] = log_sum - weighted / sum;
        lses[out] = largest * params.inverse_temperature + log_sum;
    }
}

// Σ e^z and Σ e^z z with z relative to `after` in place of `before`.
fn moved(sums: vec2f, before: f32, after: f32) -> vec2f {
    if sums.x == 0.0 {
        return sums;
    }
    let change = (before - after) * params.inverse_temperature;
    let factor = exp(change);
    return vec2f(sums.x * factor, (sums.y + sums.x * max(change, -1e30)) * factor);
}

@compute @workgroup_size(256)
fn backward(at: Invocation) {
    let i = element(at);
    if i >= params.rows * params.vocab {
        return;
    }
    let row = params.first_row + i / params.vocab;
    let log_p = d_logits[i] * params.inverse_temperature - saved_lses[row];
    let p = exp(log_p);
    let is_target = select(0.0, 1.0, i % params.vocab == saved_targets[row]);
    let dz = d_log_probs[row] * (is_target - p) - d_entropies[row] * p * (max(log_p, -1e30) + saved_entropies[row]);
    d_logits[i] = dz * params.inverse_temperature;
}
