// y[i] = bits, in 32-bit words (two halves per word).
// Dispatch: one thread per word, linear groups of 256.

struct Params {
    words: u32,
    bits: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(256)
fn fill(at: Invocation) {
    let i = element(at);
    if i < params.words {
        y[i] = params.bits;
    }
}
