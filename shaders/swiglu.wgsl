// The gated activation of a SwiGLU block (Shazeer 2020, arXiv 2002.05202). Each row of x [rows, 2·cols] is a gate and as many values `up`.
//   forward   y = gate · s · up,  s = sigmoid(gate)                            y [rows, cols]
//   backward  dgate = dy · up · s · (1 + gate · (1 - s)),  dup = dy · gate · s
// Dispatch: one thread per element of y, linear groups of 256. Needs common/math.wgsl.

struct Params {
    len: u32,
    cols: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

// Where the gate of element i of y lies in x; the value it scales lies `cols` behind it.
fn gate_of(i: u32) -> u32 {
    return i + i / params.cols * params.cols;
}

@compute @workgroup_size(256)
fn forward(at: Invocation) {
    let i = element(at);
    if i < params.len {
        let place = gate_of(i);
        let gate = x[place];
        y[i] = gate * sigmoid(gate) * x[place + params.cols];
    }
}

@compute @workgroup_size(256)
fn backward(at: Invocation) {
    let i = element(at);
    if i < params.len {
        let place = gate_of(i);
        let gate = x[place];
        let s = sigmoid(gate);
        dx[place] = dy[i] * x[place + params.cols] * s * (1.0 + gate * (1.0 - s));
        dx[place + params.cols] = dy[i] * gate * s;
    }
}
