// Functions that we write ourselves, because Vulkan promises too little of the built-ins: see "Precision" in shaders/README.md. The polynomials were
// fitted for this file (minimax). Nothing here needs a fused multiply-add.
// Math: stands above each function. Layout: none. Dispatch: that of the kernel behind it; a piece, without an entry point.

// ln(1 + f) to 4 ULP, f from -0.3 to 1: twice the inverse hyperbolic tangent of f / (2 + f).
fn ln_1p(f: f32) -> f32 {
    let s = f / (2.0 + f);
    let z = s * s;
    return s * (2.0 + z * (0.66666413 + z * (0.400217 + z * (0.2799914 + z * 0.28024456))));
}

// Natural logarithm to 4 ULP, also of subnormals and near 1. -∞ at 0, not a number below.
fn ln(x: f32) -> f32 {
    let given = bitcast<u32>(x);
    if (given << 1u) == 0u {
        return bitcast<f32>(given | 0xff800000u);
    }
    if given >= 0x7f800000u { // ∞, not a number, negative
        return bitcast<f32>(given | select(0x7fc00000u, 0u, given == 0x7f800000u));
    }
    // Drivers may flush subnormals: they are counted in units of 2^-149.
    let is_subnormal = given < 0x00800000u;
    let bits = select(given, bitcast<u32>(f32(given)), is_subnormal);
    // x = 2^n m, m from √½ to √2
    let offset = bitcast<i32>(bits) - 0x3f3504f3i;
    let n = f32((offset >> 23u) - select(0i, 149i, is_subnormal));
    let m = bitcast<f32>((offset & 0x007fffffi) + 0x3f3504f3i);
    // ln 2 in two parts; the product with the first is exact
    return n * 0.693359375 + (ln_1p(m - 1.0) - n * 2.1219444e-4);
}

// Square root. The built-in may be derived from 1 / inverseSqrt, of which nothing is promised at 0.
fn root(x: f32) -> f32 {
    return select(sqrt(x), 0.0, x == 0.0);
}

// 1 / (1 + e^-x), by the exponential of a negative number: it never overflows, and the lower tail keeps its digits.
fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    let upper = 1.0 / (1.0 + e);
    return select(upper, e * upper, x < 0.0);
}

fn hyperbolic_tangent(x: f32) -> f32 {
    let a = abs(x);
    let z = x * x;
    let near = a + a * z * (-0.3333328 + z * (0.13331409 + z * (-0.053737063 + z * (0.020630904 - z * 0.0056963395))));
    let e = exp(-2.0 * a);
    let size = select((1.0 - e) / (1.0 + e), near, a < 0.625);
    return select(size, -size, x < 0.0);
}

fn sine(x: f32) -> f32 {
    return turned(x, 0i);
}

fn cosine(x: f32) -> f32 {
    return turned(x, 1i);
}

// sin(x + quarters · π/2), off by 1e-7 at most for |x| up to 10,000 and by little up to 40,000; always within [-1, 1].
// x = n π/2 + r, |r| <= π/4 (a little more, where n was rounded). π/2 comes in three parts; for n below 8,192 the products with the first two are exact.
// A driver that sums otherwise, as it may, is off by |n| · 4e-8: nothing within a turn.
fn turned(x: f32, quarters: i32) -> f32 {
    let n = round(x * 0.63661977);
    let r = clamp(((x - n * 1.5703125) - n * 4.8375130e-4) - n * 7.54979e-8, -0.79, 0.79);
    let z = r * r;
    let sine = r + r * z * (-0.16666655 + z * (0.0083321777 - z * 0.00019517235));
    let cosine = 1.0 - 0.5 * z + z * z * (0.041666647 + z * (-0.0013887367 + z * 0.00002443838));
    let turns = i32(n) + quarters;
    let value = select(sine, cosine, (turns & 1i) == 1i);
    return select(value, -value, (turns & 2i) == 2i);
}
