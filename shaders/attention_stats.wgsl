// What the backward pass of attention keeps per query and head: stats[i] = (lse[i], dout[i] · out[i]).
// out, dout [rows, HEAD_DIM], lse [rows] -> stats [rows, 2]; a row is a (query, head). HEAD_DIM is a multiple of 4.
// Dispatch: one thread per row, linear groups of 64.

struct Params {
    rows: u32,
}

var<immediate> params: Params;

override HEAD_DIM: u32 = 64u;

@group(0) @binding(0) var<storage, read> out: array<vec4f>;
@group(0) @binding(1) var<storage, read> dout: array<vec4f>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec2f>;

@compute @workgroup_size(64)
fn stats_of_rows(at: Invocation) {
    let row = group_index(at) * 64u + at.lane;
    if row >= params.rows {
        return;
    }
    let quads = HEAD_DIM / 4u;
    var products = vec4f();
    for (var c = 0u; c < quads; c += 1u) {
        products = fma(out[row * quads + c], dout[row * quads + c], products);
    }
    stats[row] = vec2f(lse[row], products.x + products.y + products.z + products.w);
}
