// Conversion of storage types, to the nearest, ties to even. FROM and TO: 0 f32, 1 f16, 2 bf16, 3 u32 (only FROM; exact below 2^24).
// In bit arithmetic: pack2x16float may round either way and flush small numbers, and NaN must stay NaN.
// Dispatch: one thread two elements, linear groups of 256; halves lie two in a word.

struct Params {
    len: u32,
}

var<immediate> params: Params;

override FROM: u32 = 0u;
override TO: u32 = 0u;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

// The f32 bits of an f16: 1 sign, 5 exponent, 10 mantissa bits. Exact.
fn f32_of_f16(half: u32) -> u32 {
    let sign = (half & 0x8000u) << 16u;
    let exponent = (half >> 10u) & 0x1fu;
    let mantissa = half & 0x3ffu;
    if exponent == 31u {
        return sign | 0x7f800000u | (mantissa << 13u); // infinity or NaN
    }
    if exponent == 0u {
        return sign | bitcast<u32>(f32(mantissa) * 5.9604644775390625e-8); // zero or denormal: mantissa · 2^-24
    }
    return sign | ((exponent + 112u) << 23u) | (mantissa << 13u);
}

// `value >> shift`, to nearest even.
fn shift_rounded(value: u32, shift: u32) -> u32 {
    let kept = value >> shift;
    let rest = value & ((1u << shift) - 1u);
    let tie = 1u << (shift - 1u);
    return kept + select(0u, 1u, rest > tie || (rest == tie && (kept & 1u) == 1u));
}

fn f16_of_f32(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let size = bits & 0x7fffffffu;
    if size > 0x7f800000u {
        return sign | 0x7e00u | ((size >> 13u) & 0x1ffu);
    }
    if size >= 0x477ff000u {
        return sign | 0x7c00u; // from 65,520 on the nearest is infinity
    }
    if size >= 0x38800000u {
        return sign | shift_rounded(size - 0x38000000u, 13u); // a carry into the exponent is right
    }
    let shift = 126u - (size >> 23u); // denormal: in units of 2^-24
    if shift > 24u {
        return sign;
    }
    return sign | shift_rounded((size & 0x7fffffu) | 0x800000u, shift);
}

fn bf16_of_f32(bits: u32) -> u32 {
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return (bits >> 16u) | 0x40u; // a NaN whose payload lies in the lost bits must not become infinity
    }
    return shift_rounded(bits, 16u);
}

fn load(i: u32) -> u32 {
    let half = (x[i / 2u] >> (16u * (i % 2u))) & 0xffffu;
    switch FROM {
        case 0u: { return x[i]; }
        case 1u: { return f32_of_f16(half); }
        case 2u: { return half << 16u; }
        default: { return bitcast<u32>(f32(x[i])); }
    }
}

fn half_of(bits: u32) -> u32 {
    if TO == 1u {
        return f16_of_f32(bits);
    }
    return bf16_of_f32(bits);
}

@compute @workgroup_size(256)
fn convert(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = 2u * ((group.x + group.y * groups.x) * 256u + lane);
    if i >= params.len {
        return;
    }
    let has_second = i + 1u < params.len;
    if TO == 0u {
        y[i] = load(i);
        if has_second {
            y[i + 1u] = load(i + 1u);
        }
        return;
    }
    var word = half_of(load(i));
    if has_second {
        word |= half_of(load(i + 1u)) << 16u;
    }
    y[i / 2u] = word;
}
