// Copies between a strided view and row-major order, in elements.
//   gather       y[i] = x[offset + Σ index(i)·strides]      4-byte elements
//   gather_half  the same for halves, two per word
//   scatter      y[offset + Σ index(i)·strides] = x[i]      4-byte elements
// Dispatch: one thread per word of the row-major side, linear groups of 256.

struct Params {
    len: u32,
    offset: u32,
    // The first axis that is longer than 1.
    first: u32,
    shape: array<u32, 6>,
    strides: array<u32, 6>,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

// Where element i of the row-major side lies in the view.
fn locate(i: u32) -> u32 {
    var rest = i;
    var at = params.offset;
    for (var axis = 5u; axis > params.first; axis -= 1u) {
        at += (rest % params.shape[axis]) * params.strides[axis];
        rest /= params.shape[axis];
    }
    return at + rest * params.strides[params.first];
}

fn load_half(i: u32) -> u32 {
    let at = locate(i);
    return (x[at / 2u] >> (16u * (at % 2u))) & 0xffffu;
}

@compute @workgroup_size(256)
fn gather(at: Invocation) {
    let i = element(at);
    if i < params.len {
        y[i] = x[locate(i)];
    }
}

@compute @workgroup_size(256)
fn gather_half(at: Invocation) {
    let i = 2u * element(at);
    if i < params.len {
        var word = load_half(i);
        if i + 1u < params.len {
            word |= load_half(i + 1u) << 16u;
        }
        y[i / 2u] = word;
    }
}

@compute @workgroup_size(256)
fn scatter(at: Invocation) {
    let i = element(at);
    if i < params.len {
        y[locate(i)] = x[i];
    }
}
