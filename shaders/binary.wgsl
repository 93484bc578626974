// Two inputs, element by element, broadcast by strides of 0.
//   y[i] = f(a[..], b[..]), f chosen by OP, the number of its row in engine/src/ops/binary.rs; a test compares the cases with the rows
// LINEAR = 1: both inputs are packed in the output's shape and the strides are not read.
// Dispatch: one thread per element, linear groups of 256.

struct Params {
    len: u32,
    a_offset: u32,
    b_offset: u32,
    // The first axis that is longer than 1.
    first: u32,
    shape: array<u32, 6>,
    a_strides: array<u32, 6>,
    b_strides: array<u32, 6>,
}

var<immediate> params: Params;

override OP: u32 = 0u;
override LINEAR: u32 = 0u;

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn value(u: f32, v: f32) -> f32 {
    switch OP {
        case 0u: { return u + v; }
        case 1u: { return u - v; }
        case 2u: { return u * v; }
        case 3u: { return u / v; }
        case 4u: { return max(u, v); }
        case 5u: { return min(u, v); }
        case 6u: { return select(0.0, 1.0, u > v); }
        case 7u: { return select(0.0, 1.0, u >= v); }
        case 8u: { return select(0.0, 1.0, u == v); }
        case 9u: { return select(0.0, 1.0, u < v); }
        case 10u: { return select(0.0, 1.0, u <= v); }
        default: { return 0.0; }
    }
}

@compute @workgroup_size(256)
fn forward(at: Invocation) {
    let i = element(at);
    if i >= params.len {
        return;
    }
    var at_a = params.a_offset + i;
    var at_b = params.b_offset + i;
    if LINEAR == 0u {
        var rest = i;
        at_a = params.a_offset;
        at_b = params.b_offset;
        for (var axis = 5u; axis > params.first; axis -= 1u) {
            let index = rest % params.shape[axis];
            rest /= params.shape[axis];
            at_a += index * params.a_strides[axis];
            at_b += index * params.b_strides[axis];
        }
        at_a += rest * params.a_strides[params.first];
        at_b += rest * params.b_strides[params.first];
    }
    y[i] = value(a[at_a], b[at_b]);
}
