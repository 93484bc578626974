// y[i] += x[i], in place.
// Dispatch: one thread per element, linear groups of 256.

struct Params {
    len: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn accumulate(at: Invocation) {
    let i = element(at);
    if i < params.len {
        y[i] += x[i];
    }
}
