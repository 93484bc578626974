// Sums along the middle axis: x [outer, len, inner] -> y [outer, parts, inner],
//   y[o, p, i] = Σ_j x[o, j, i], j from p·chunk to min(len, (p + 1)·chunk)
// Dispatch: one thread an output element, linear groups of 256.

struct Params {
    outer: u32,
    len: u32,
    inner: u32,
    parts: u32,
    chunk: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn sum(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.x + group.y * groups.x) * 256u + lane;
    if at >= params.outer * params.parts * params.inner {
        return;
    }
    let inner = at % params.inner;
    let part = at / params.inner % params.parts;
    let outer = at / (params.inner * params.parts);
    let end = min(params.len, (part + 1u) * params.chunk);
    var total = 0.0;
    for (var j = part * params.chunk; j < end; j += 1u) {
        total += x[(outer * params.len + j) * params.inner + inner];
    }
    y[at] = total;
}
