// Philox4x32-10 (Salmon et al. 2011): 128 random bits for a counter and a key. The same bits as engine/src/random.rs.
// Math: ten rounds, in each of which two products are mixed with the key. Layout: none. Dispatch: that of the kernel behind it; a piece, without an entry point.

// High word of a 32 × 32-bit product; WGSL has no 64-bit integers.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 16u);
    let cross = a_low * b_high + (middle & 0xffffu);
    return a_high * b_high + (middle >> 16u) + (cross >> 16u);
}

fn philox(start: vec4u, start_key: vec2u) -> vec4u {
    var counter = start;
    var key = start_key;
    for (var round = 0u; round < 10u; round += 1u) {
        counter = vec4u(
            multiply_high(counter.z, 0xCD9E8D57u) ^ counter.y ^ key.x,
            counter.z * 0xCD9E8D57u,
            multiply_high(counter.x, 0xD2511F53u) ^ counter.w ^ key.y,
            counter.x * 0xD2511F53u,
        );
        key += vec2u(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}
