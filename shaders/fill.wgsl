// y[i] = bits, in 32-bit words (two halves per word).
// Dispatch: one thread a word, linear groups of 256.

struct Params {
    words: u32,
    bits: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(256)
fn fill(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i < params.words {
        y[i] = params.bits;
    }
}
