// Conversion of storage types, to the nearest, ties to even. FROM and TO by `DType::code`: 0 f32, 1 f16, 2 bf16, 3 u32 (only FROM; exact
// below 2^24).
// Dispatch: one thread per two elements, linear groups of 256; halves lie two in a word. Needs common/half.wgsl.

struct Params {
    len: u32,
}

var<immediate> params: Params;

override FROM: u32 = 0u;
override TO: u32 = 0u;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

fn load(i: u32) -> f32 {
    switch FROM {
        case 0u: { return bitcast<f32>(x[i]); }
        case 3u: { return f32(x[i]); }
        default: { return half_to_f32((x[i / 2u] >> (16u * (i % 2u))) & 0xffffu, FROM); }
    }
}

@compute @workgroup_size(256)
fn convert(at: Invocation) {
    let i = 2u * element(at);
    if i >= params.len {
        return;
    }
    let has_second = i + 1u < params.len;
    if TO == 0u {
        y[i] = bitcast<u32>(load(i));
        if has_second {
            y[i + 1u] = bitcast<u32>(load(i + 1u));
        }
        return;
    }
    var word = f32_to_half(load(i), TO);
    if has_second {
        word |= f32_to_half(load(i + 1u), TO) << 16u;
    }
    y[i / 2u] = word;
}
