// KL(p ‖ q) of two heads on one chunk of their logits, z = logits / temperature (see engine/src/ops/linear_kl.rs).
//   forward   kl = Σ p (log p - log q), and both lse = ln Σ e^z; the sum first over z_p - z_q, from which the difference of the two lse is taken at the end
//   backward  logits_p <- d_kl p (log p - log q - kl) / temperature, logits_q <- d_kl (q - p) / temperature
// Dispatch: forward one workgroup of 64 per row, linear; backward one thread per element, groups of 256.
// Needs common/math.wgsl, common/row_reduce.wgsl.

struct Params {
    rows: u32,
    vocab: u32,
    first_row: u32,
    inverse_temperature: f32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> logits_p: array<f32>;
@group(0) @binding(1) var<storage, read> logits_q: array<f32>;
@group(0) @binding(2) var<storage, read_write> kls: array<f32>;
@group(0) @binding(3) var<storage, read_write> lses_p: array<f32>;
@group(0) @binding(4) var<storage, read_write> lses_q: array<f32>;

@group(0) @binding(0) var<storage, read> saved_kls: array<f32>;
@group(0) @binding(1) var<storage, read> saved_lses_p: array<f32>;
@group(0) @binding(2) var<storage, read> saved_lses_q: array<f32>;
@group(0) @binding(3) var<storage, read> d_kls: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_logits_p: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_logits_q: array<f32>;

@compute @workgroup_size(64)
fn forward(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let start = row * params.vocab;

    // Each thread reads its logits once, with the largest so far: exp overflows f32 above 88.7.
    var own = vec2f(-3.4028234e38);
    var sums = vec2f(0.0);
    var total = 0.0; // Σ e^(z_p - largest) (z_p - z_q)
    for (var v = at.lane; v < params.vocab; v += LANES) {
        let pair = vec2f(logits_p[start + v], logits_q[start + v]);
        if any(pair > own) {
            let high = max(pair, own);
            let factor = factors(own, high);
            own = high;
            sums *= factor;
            total *= factor.x;
        }
        let e = exp((pair - own) * params.inverse_temperature);
        sums += e;
        total += e.x * ((pair.x - pair.y) * params.inverse_temperature);
    }
    let largest = vec2f(row_max(at.lane, own.x), row_max(at.lane, own.y));
    let factor = factors(own, largest);
    sums = vec2f(row_sum(at.lane, sums.x * factor.x), row_sum(at.lane, sums.y * factor.y));
    total = row_sum(at.lane, total * factor.x);
    let lse = largest * params.inverse_temperature + vec2f(ln(sums.x), ln(sums.y));
    if at.lane == 0u {
        let out = params.first_row + row;
        kls[out] = total / sums.x - (lse.x - lse.y);
        lses_p[out] = lse.x;
        lses_q[out] = lse.y;
    }
}

// By which sums relative to `before` are multiplied to be relative to `after`.
fn factors(before: vec2f, after: vec2f) -> vec2f {
    return exp(max((before - after) * params.inverse_temperature, vec2f(-1e30)));
}

@compute @workgroup_size(256)
fn backward(at: Invocation) {
    let i = element(at);
    if i >= params.rows * params.vocab {
        return;
    }
    let row = params.first_row + i / params.vocab;
    let log_p = d_logits_p[i] * params.inverse_temperature - saved_lses_p[row];
    let log_q = d_logits_q[i] * params.inverse_temperature - saved_lses_q[row];
    let factor = d_kls[row] * params.inverse_temperature;
    d_logits_p[i] = factor * exp(log_p) * (log_p - log_q - saved_kls[row]);
    d_logits_q[i] = factor * (exp(log_q) - exp(log_p));
}
