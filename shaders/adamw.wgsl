// AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2), one parameter, in place:
//   g = scale·gradient        m = β1·m + (1 - β1)·g        v = β2·v + (1 - β2)·g²
//   w = w - decay·w - lr·(m / c1) / (√(v / c2) + eps)      decay = lr·weight_decay
// c1, c2, scale and whether the step is taken at all come from `prepare` in optim.wgsl.
//   step_f32   w is the f32 parameter
//   step_half  w is the f32 master copy; halves = w rounded to nearest-even, two per word, DTYPE by `DType::code`
// Dispatch: one thread per element (step_half: a pair), linear groups of 256. Needs common/half.wgsl, common/math.wgsl.

struct Params {
    len: u32,
    lr: f32,
    decay: f32,
    beta1: f32,
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    eps: f32,
}

var<immediate> params: Params;

override DTYPE: u32 = 0u;

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read> control: array<f32>;
@group(0) @binding(2) var<storage, read_write> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> m: array<f32>;
@group(0) @binding(4) var<storage, read_write> v: array<f32>;
@group(0) @binding(5) var<storage, read_write> halves: array<u32>;

fn update(i: u32) -> f32 {
    let g = control[5] * gradient[i];
    let first = params.beta1 * m[i] + params.one_minus_beta1 * g;
    let second = params.beta2 * v[i] + params.one_minus_beta2 * g * g;
    let next = w[i] - params.decay * w[i] - params.lr * (first / control[2]) / (root(second / control[3]) + params.eps);
    m[i] = first;
    v[i] = second;
    w[i] = next;
    return next;
}

@compute @workgroup_size(256)
fn step_f32(at: Invocation) {
    let i = element(at);
    if i < params.len && control[6] != 0.0 {
        update(i);
    }
}

@compute @workgroup_size(256)
fn step_half(at: Invocation) {
    let i = 2u * element(at);
    if i < params.len && control[6] != 0.0 {
        var word = f32_to_half(update(i), DTYPE);
        if i + 1u < params.len {
            word |= f32_to_half(update(i + 1u), DTYPE) << 16u;
        }
        halves[i / 2u] = word;
    }
}
