// Halves in 32-bit words: f16 and bf16 by the codes of `DType::code` (1 and 2). Reading is exact; writing rounds to nearest, ties to even.

// The float of the lower 16 bits.
fn half_to_f32(bits: u32, dtype: u32) -> f32 {
    if dtype == 2u {
        return bitcast<f32>(bits << 16u);
    }
    return unpack2x16float(bits).x;
}

// The lower 16 bits of the result. In integers, because drivers round pack2x16float as they like.
fn f32_to_half(value: f32, dtype: u32) -> u32 {
    let bits = bitcast<u32>(value);
    let magnitude = bits & 0x7fffffffu;
    let is_nan = magnitude > 0x7f800000u;
    if dtype == 2u {
        return select((bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u, (bits >> 16u) | 0x40u, is_nan);
    }
    let sign = (bits >> 16u) & 0x8000u;
    if is_nan {
        return sign | 0x7e00u;
    }
    if magnitude >= 0x477ff000u { // 65520 and more round to infinity
        return sign | 0x7c00u;
    }
    if magnitude >= 0x38800000u { // 2^-14, the smallest normal f16
        let rebased = magnitude - 0x38000000u;
        return sign | ((rebased + 0xfffu + ((rebased >> 13u) & 1u)) >> 13u);
    }
    // subnormal: multiples of 2^-24
    let shift = 126u - (magnitude >> 23u);
    if shift > 24u {
        return sign;
    }
    let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    let kept = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let middle = 1u << (shift - 1u);
    let up = rest > middle || (rest == middle && (kept & 1u) == 1u);
    return sign | (kept + select(0u, 1u, up));
}
