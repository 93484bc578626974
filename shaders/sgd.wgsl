// SGD with momentum and decoupled weight decay, one parameter, in place:
//   m = momentum·m + scale·gradient        w = w - decay·w - lr·m
// scale and whether the step is taken come from `prepare` in optim.wgsl.
//   step_f32   w is the f32 parameter
//   step_half  w is the f32 master copy; halves = w rounded to nearest-even, two per word, DTYPE by `DType::code`
// Dispatch: one thread per element (step_half: a pair), linear groups of 256.

struct Params {
    len: u32,
    lr: f32,
    decay: f32,
    momentum: f32,
}

var<immediate> params: Params;

override DTYPE: u32 = 0u;

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read> control: array<f32>;
@group(0) @binding(2) var<storage, read_write> w: array<f32>;
@group(0) @binding(3) var<storage, read_write> m: array<f32>;
@group(0) @binding(4) var<storage, read_write> halves: array<u32>;

fn update(i: u32) -> f32 {
    let velocity = params.momentum * m[i] + control[5] * gradient[i];
    let next = w[i] - params.decay * w[i] - params.lr * velocity;
    m[i] = velocity;
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
