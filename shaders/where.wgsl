// Elements of a where the condition is not 0, else of b, all three broadcast by strides of 0.
//   y[i] = condition[..] != 0 ? a[..] : b[..]
// FLOAT = 1: the condition holds f32, whose sign bit does not count (-0 is 0); FLOAT = 0: u32.
// Dispatch: one thread per element, linear groups of 256.

struct Params {
    len: u32,
    condition_offset: u32,
    a_offset: u32,
    b_offset: u32,
    // The first axis that is longer than 1.
    first: u32,
    shape: array<u32, 6>,
    condition_strides: array<u32, 6>,
    a_strides: array<u32, 6>,
    b_strides: array<u32, 6>,
}

var<immediate> params: Params;

override FLOAT: u32 = 0u;

@group(0) @binding(0) var<storage, read> condition: array<u32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn where_nonzero(at: Invocation) {
    let i = element(at);
    if i >= params.len {
        return;
    }
    var rest = i;
    var at_condition = params.condition_offset;
    var at_a = params.a_offset;
    var at_b = params.b_offset;
    for (var axis = 5u; axis > params.first; axis -= 1u) {
        let index = rest % params.shape[axis];
        rest /= params.shape[axis];
        at_condition += index * params.condition_strides[axis];
        at_a += index * params.a_strides[axis];
        at_b += index * params.b_strides[axis];
    }
    at_condition += rest * params.condition_strides[params.first];
    at_a += rest * params.a_strides[params.first];
    at_b += rest * params.b_strides[params.first];
    if (condition[at_condition] << FLOAT) != 0u {
        y[i] = a[at_a];
    } else {
        y[i] = b[at_b];
    }
}
