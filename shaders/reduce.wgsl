// Sums or maxima (OP = 0, 1) along the middle axis: x [outer, len, inner] -> y [outer, parts, inner],
//   y[o, p, i] = Σ_j or max_j x[o, j, i], j from p·chunk to min(len, (p + 1)·chunk)
//   columns  any inner; neighbouring threads read neighbouring addresses when inner is large
//   rows     inner = 1; the lanes of a workgroup share a part
// Dispatch: columns one thread an output element, linear groups of 64; rows one workgroup an output element. Needs common/row_reduce.wgsl.

struct Params {
    outer: u32,
    len: u32,
    inner: u32,
    parts: u32,
    chunk: u32,
}

var<immediate> params: Params;

override OP: u32 = 0u;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn columns(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (group.x + group.y * groups.x) * LANES + lane;
    if at >= params.outer * params.parts * params.inner {
        return;
    }
    let inner = at % params.inner;
    let part = at / params.inner % params.parts;
    let outer = at / (params.inner * params.parts);
    let first = part * params.chunk;
    let end = min(params.len, first + params.chunk);
    let start = outer * params.len * params.inner + inner;
    if OP == 0u {
        var total = 0.0;
        for (var j = first; j < end; j += 1u) {
            total += x[start + j * params.inner];
        }
        y[at] = total;
    } else {
        var largest = x[start + first * params.inner];
        for (var j = first; j < end; j += 1u) {
            largest = max(largest, x[start + j * params.inner]);
        }
        y[at] = largest;
    }
}

@compute @workgroup_size(64)
fn rows(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = group.x + group.y * groups.x;
    if at >= params.outer * params.parts {
        return;
    }
    let first = at % params.parts * params.chunk;
    let end = min(params.len, first + params.chunk);
    let start = at / params.parts * params.len;
    var result = 0.0;
    if OP == 0u {
        for (var j = first + lane; j < end; j += LANES) {
            result += x[start + j];
        }
        result = row_sum(lane, result);
    } else {
        result = x[start + first]; // also for lanes without an element
        for (var j = first + lane; j < end; j += LANES) {
            result = max(result, x[start + j]);
        }
        result = row_max(lane, result);
    }
    if lane == 0u {
        y[at] = result;
    }
}
