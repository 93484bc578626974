// Halves in 32-bit words: f16 and bf16 by the codes of `DType::code` (1 and 2). Reading is exact; writing rounds to nearest, ties to even.
// Math: f16 is (-1)^s 2^(e - 15) (1 + m / 1024) of 1, 5 and 10 bits, bf16 the upper half of an f32. Layout: the first of two elements in the lower
// 16 bits of a word. Dispatch: that of the kernel behind it; a piece, without an entry point.

// The float of the lower 16 bits. In integers, because drivers may flush the subnormals of unpack2x16float.
fn half_to_f32(bits: u32, dtype: u32) -> f32 {
    if dtype == 2u {
        return bitcast<f32>(bits << 16u);
    }
    let sign = (bits & 0x8000u) << 16u;
    let exponent = (bits >> 10u) & 0x1fu;
    let mantissa = bits & 0x3ffu;
    if exponent == 31u { // infinity or NaN
        return bitcast<f32>(sign | 0x7f800000u | (mantissa << 13u));
    }
    if exponent == 0u { // zero or subnormal, a multiple of 2^-24
        return bitcast<f32>(sign | bitcast<u32>(f32(mantissa) * 5.9604644775390625e-8));
    }
    return bitcast<f32>(sign | ((exponent + 112u) << 23u) | (mantissa << 13u));
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
