// Keys and values as they are stored, for the attention kernels that read caches: f32 or, by the codes of `DType::code`, halves (1 f16, 2 bf16), which widen to f32 here.
// Math: none. Layout: [rows, kv_heads, HEAD_DIM], in quads of four neighbours; a vector of 16 bytes holds one of f32 or two of halves. Dispatch: that of
// the kernel behind it; a piece, without an entry point.

override KEY_TYPE: u32 = 0u;

@group(0) @binding(2) var<storage, read> k: array<vec4u>;
@group(0) @binding(3) var<storage, read> v: array<vec4u>;

fn key_quad(at: u32) -> vec4f {
    if KEY_TYPE == 0u {
        return bitcast<vec4f>(k[at]);
    }
    return widened(k[at / 2u], at);
}

fn value_quad(at: u32) -> vec4f {
    if KEY_TYPE == 0u {
        return bitcast<vec4f>(v[at]);
    }
    return widened(v[at / 2u], at);
}

// The quad with this number, of the two in a vector of halves.
fn widened(pair: vec4u, at: u32) -> vec4f {
    let words = select(pair.xy, pair.zw, at % 2u == 1u);
    if KEY_TYPE == 1u {
        return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
    }
    return bitcast<vec4f>(vec4u(words << vec2u(16u), words & vec2u(0xffff0000u)).xzyw);
}
