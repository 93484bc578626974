// One input, element by element.
//   forward   y = f(x; a, b)
//   backward  dx = dy · f'(x; a, b)
// f is chosen by OP, the number of its row in engine/src/ops/unary.rs; a test compares the cases with the rows.
// Dispatch: one thread per element, linear groups of 256. Needs common/math.wgsl.

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

// e^v - 1 - v cancels near 0: there Taylor's series.
fn exp_remainder(v: f32) -> f32 {
    if abs(v) < 0.25 {
        return 0.5 * v * v * (1.0 + v * (0.3333333333 + v * (0.08333333333 + v * (0.01666666667 + v * (0.002777777778 + v * 0.0003968253968)))));
    }
    return exp(v) - 1.0 - v;
}

// (f(v), f'(v)). OP is a constant: the driver drops the half that is not used, with all other cases.
fn value_and_slope(v: f32) -> vec2f {
    switch OP {
        case 0u: { return vec2f(-v, -1.0); }
        case 1u: { return vec2f(exp(v)); }
        case 2u: { return vec2f(ln(v), 1.0 / v); }
        case 3u: { let e = exp(-2.0 * abs(v)); return vec2f(hyperbolic_tangent(v), 4.0 * e / ((1.0 + e) * (1.0 + e))); } // 1 - tanh² cancels
        case 4u: { let e = exp(-abs(v)); return vec2f(sigmoid(v), e / ((1.0 + e) * (1.0 + e))); } // s·(1 - s) cancels
        case 5u: { return vec2f(max(v, 0.0) + ln_1p(exp(-abs(v))), sigmoid(v)); }
        case 6u: { return vec2f(max(v, 0.0), select(0.0, 1.0, v > 0.0)); }
        case 7u: { let r = root(v); return vec2f(r, 0.5 / r); }
        case 8u: { return vec2f(v * v, 2.0 * v); }
        case 9u: { return vec2f(abs(v), sign(v)); }
        case 10u: { // v/2 · (1 + tanh u) = v · sigmoid(2u)
            let s = sigmoid(2.0 * GELU_SCALE * (v + GELU_CUBIC * v * v * v));
            return vec2f(v * s, s + v * s * (1.0 - s) * 2.0 * GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * v * v));
        }
        case 11u: { let p = 0.5 * (1.0 + erf(v * INV_SQRT_2)); return vec2f(v * p, p + v * INV_SQRT_2PI * exp(-0.5 * v * v)); }
        case 12u: { let s = sigmoid(v); return vec2f(v * s, s * (1.0 + v * (1.0 - s))); }
        case 13u: { return vec2f(sine(v), cosine(v)); }
        case 14u: { return vec2f(cosine(v), -sine(v)); }
        case 15u: { return vec2f(params.a * v + params.b, params.a); }
        case 16u: { return vec2f(clamp(v, params.a, params.b), select(0.0, 1.0, v >= params.a && v <= params.b)); }
        case 17u: { return vec2f(1.0 / v, -1.0 / (v * v)); }
        case 18u: { let r = exp_remainder(v); return vec2f(r, v + r); }
        default: { return vec2f(); }
    }
}

@compute @workgroup_size(256)
fn forward(at: Invocation) {
    let i = element(at);
    if i < params.len {
        y[i] = value_and_slope(x[i]).x;
    }
}

@compute @workgroup_size(256)
fn backward(at: Invocation) {
    let i = element(at);
    if i < params.len {
        dx[i] = dy[i] * value_and_slope(x[i]).y;
    }
}
