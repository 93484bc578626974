// Rotary position embedding, rotate-half (Su et al. 2021, arXiv 2104.09864; the halves as in GPT-NeoX and Llama).
//   y[t, h, j]        = x[t, h, j]·cos - s·x[t, h, j + half]·sin
//   y[t, h, j + half] = x[t, h, j + half]·cos + s·x[t, h, j]·sin      cos = table[t, j], sin = table[t, half + j]
// s = 1 rotates, s = -1 rotates back (the gradient).
// x, y [tokens, heads, 2·half]; table [tokens, 2·half].
// Dispatch: one thread per pair, linear groups of 256.

struct Params {
    pairs: u32,
    heads: u32,
    half: u32,
    sign: f32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn rotate(at: Invocation) {
    let i = element(at);
    if i >= params.pairs {
        return;
    }
    let half = params.half;
    let pair = i % half;
    let row = i / half;
    let low = row * 2u * half + pair;
    let angle = row / params.heads * 2u * half + pair;
    let cosine = table[angle];
    let sine = params.sign * table[angle + half];
    y[low] = x[low] * cosine - x[low + half] * sine;
    y[low + half] = x[low + half] * cosine + x[low] * sine;
}
