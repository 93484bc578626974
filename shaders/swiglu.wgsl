// The gated activation of a SwiGLU block (Shazeer 2020, arXiv 2002.05202), element by element.
//   forward   y = gate · s · up,  s = sigmoid(gate)
//   backward  dgate = dy · up · s · (1 + gate · (1 - s)),  dup = dy · gate · s
// Dispatch: one thread per element, linear groups of 256. Needs common/math.wgsl.

struct Params {
    len: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> gate: array<f32>;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dgate: array<f32>;
@group(0) @binding(4) var<storage, read_write> dup: array<f32>;

@compute @workgroup_size(256)
fn forward(at: Invocation) {
    let i = element(at);
    if i < params.len {
        y[i] = gate[i] * sigmoid(gate[i]) * up[i];
    }
}

@compute @workgroup_size(256)
fn backward(at: Invocation) {
    let i = element(at);
    if i < params.len {
        let s = sigmoid(gate[i]);
        dgate[i] = dy[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s));
        dup[i] = dy[i] * gate[i] * s;
    }
}
