// One input, element by element.
//   forward   y = f(x; a, b)
//   backward  dx = dy · f'(x; a, b)
// f is chosen by OP, numbered as `UnaryOp` in ops/unary.rs.
// Dispatch: one thread an element, linear groups of 256.

struct Params {
    len: u32,
    a: f32,
    b: f32,
}

var<immediate> params: Params;

override OP: u32 = 0u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

const GELU_SCALE = 0.7978845608028654; // sqrt(2/π)
const GELU_CUBIC = 0.044715;
const INV_SQRT_2 = 0.7071067811865476;
const INV_SQRT_2PI = 0.3989422804014327;

fn sigmoid(v: f32) -> f32 {
    return 1.0 / (1.0 + exp(-v));
}

// tanh of some drivers overflows: exp(2v) / exp(2v)
fn safe_tanh(v: f32) -> f32 {
    return tanh(clamp(v, -15.0, 15.0));
}

// Abramowitz & Stegun 7.1.26 has 1.5e-7; this is its better-conditioned form: series below 1, continued product above.
fn erf(v: f32) -> f32 {
    let t = abs(v);
    if t < 1.0 {
        let s = v * v;
        return v * (1.1283791670955126 + s * (-0.37612638903183754 + s * (0.11283791670955126 + s * (-0.026866170645131252
            + s * (0.005223977625442188 + s * (-0.0008548327023450853 + s * (0.00012055332981789664 + s * (-0.000014925650358406252
            + s * 0.0000016462114365889248))))))));
    }
    let r = 1.0 / (1.0 + 0.3275911 * t);
    let poly = r * (0.254829592 + r * (-0.284496736 + r * (1.421413741 + r * (-1.453152027 + r * 1.061405429))));
    return sign(v) * (1.0 - poly * exp(-t * t));
}

fn value(v: f32) -> f32 {
    switch OP {
        case 0u: { return -v; }
        case 1u: { return exp(v); }
        case 2u: { return log(v); }
        case 3u: { return safe_tanh(v); }
        case 4u: { return sigmoid(v); }
        case 5u: { return max(v, 0.0) + log(1.0 + exp(-abs(v))); }
        case 6u: { return max(v, 0.0); }
        case 7u: { return sqrt(v); }
        case 8u: { return v * v; }
        case 9u: { return abs(v); }
        case 10u: { return 0.5 * v * (1.0 + safe_tanh(GELU_SCALE * (v + GELU_CUBIC * v * v * v))); }
        case 11u: { return 0.5 * v * (1.0 + erf(v * INV_SQRT_2)); }
        case 12u: { return v * sigmoid(v); }
        case 13u: { return sin(v); }
        case 14u: { return cos(v); }
        case 15u: { return params.a * v + params.b; }
        case 16u: { return clamp(v, params.a, params.b); }
        default: { return 1.0 / v; }
    }
}

fn derivative(v: f32) -> f32 {
    switch OP {
        case 0u: { return -1.0; }
        case 1u: { return exp(v); }
        case 2u: { return 1.0 / v; }
        case 3u: { let e = exp(-2.0 * abs(v)); return 4.0 * e / ((1.0 + e) * (1.0 + e)); } // 1 - tanh² cancels
        case 4u: { let e = exp(-abs(v)); return e / ((1.0 + e) * (1.0 + e)); } // s·(1 - s) cancels
        case 5u: { return sigmoid(v); }
        case 6u: { return select(0.0, 1.0, v > 0.0); }
        case 7u: { return 0.5 / sqrt(v); }
        case 8u: { return 2.0 * v; }
        case 9u: { return sign(v); }
        case 10u: {
            let t = safe_tanh(GELU_SCALE * (v + GELU_CUBIC * v * v * v));
            return 0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * v * v);
        }
        case 11u: { return 0.5 * (1.0 + erf(v * INV_SQRT_2)) + v * INV_SQRT_2PI * exp(-0.5 * v * v); }
        case 12u: { let s = sigmoid(v); return s * (1.0 + v * (1.0 - s)); }
        case 13u: { return cos(v); }
        case 14u: { return -sin(v); }
        case 15u: { return params.a; }
        case 16u: { return select(0.0, 1.0, v >= params.a && v <= params.b); }
        default: { return -1.0 / (v * v); }
    }
}

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i < params.len {
        y[i] = value(x[i]);
    }
}

@compute @workgroup_size(256)
fn backward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i < params.len {
        dx[i] = dy[i] * derivative(x[i]);
    }
}
