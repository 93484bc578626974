// Logits of tokens that are never sampled, in place.
//   logits[row][tokens[i]] = SUPPRESSED, a number so low that its probability is exactly 0 in every softmax
// Dispatch: one thread per row and token, linear groups of 256.

struct Params {
    rows: u32,
    vocab: u32,
    count: u32,
    suppressed: f32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> tokens: array<u32>;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(256)
fn suppress(at: Invocation) {
    let i = element(at);
    if i >= params.rows * params.count {
        return;
    }
    logits[i / params.count * params.vocab + tokens[i % params.count]] = params.suppressed;
}
