// What the optimisers share: whether and how this step is taken.
//   prepare  from the norm n of all gradients:  taken = n is finite
//            scale = min(1, clip_norm / n)
//            step += 1;  c1 = c1·β1 + (1 - β1);  c2 = c2·β2 + (1 - β2)      if taken, else skipped += 1
// c = 1 - βᵗ by its recurrence: subtracting βᵗ from 1 would lose 4 digits at t = 1, β = 0.999.
// control = [step, skipped, c1, c2, norm, scale, taken]
// Dispatch: one thread.

struct Params {
    clip_norm: f32,
    beta1: f32,
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> norm: array<f32>;
@group(0) @binding(1) var<storage, read_write> control: array<f32>;

@compute @workgroup_size(1)
fn prepare() {
    let n = norm[0];
    // by bits: compilers may assume that floats are finite
    let is_finite = (bitcast<u32>(n) & 0x7f800000u) != 0x7f800000u;
    control[4] = n;
    control[6] = select(0.0, 1.0, is_finite);
    if !is_finite {
        control[1] += 1.0;
        return;
    }
    control[0] += 1.0;
    control[2] = control[2] * params.beta1 + params.one_minus_beta1;
    control[3] = control[3] * params.beta2 + params.one_minus_beta2;
    control[5] = select(1.0, params.clip_norm / n, n > params.clip_norm);
}
