// Sums or maxima (OP = 0, 1) along the middle axis: x [outer, len, inner] -> y [outer, parts, inner],
//   y[o, p, i] = Σ_j or max_j x[o, j, i], j from p·chunk to min(len, (p + 1)·chunk)
//   columns  any inner; neighbouring threads read neighbouring addresses when inner is large
//   rows     inner = 1; the lanes of a workgroup share a part
// Dispatch: columns one thread per output element, linear groups of 64; rows one workgroup per output element. Needs common/row_reduce.wgsl.

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
fn columns(at: Invocation) {
    let place = group_index(at) * LANES + at.lane;
    if place >= params.outer * params.parts * params.inner {
        return;
    }
    let inner = place % params.inner;
    let part = place / params.inner % params.parts;
    let outer = place / (params.inner * params.parts);
    let first = part * params.chunk;
    let end = min(params.len, first + params.chunk);
    let start = outer * params.len * params.inner + inner;
    if OP == 0u {
        var total = 0.0;
        for (var j = first; j < end; j += 1u) {
            total += x[start + j * params.inner];
        }
        y[place] = total;
    } else {
        var largest = x[start + first * params.inner];
        for (var j = first; j < end; j += 1u) {
            largest = max(largest, x[start + j * params.inner]);
        }
        y[place] = largest;
    }
}

@compute @workgroup_size(64)
fn rows(at: Invocation) {
    let place = group_index(at);
    if place >= params.outer * params.parts {
        return;
    }
    let first = place % params.parts * params.chunk;
    let end = min(params.len, first + params.chunk);
    let start = place / params.parts * params.len;
    var result = 0.0;
    if OP == 0u {
        for (var j = first + at.lane; j < end; j += LANES) {
            result += x[start + j];
        }
        result = row_sum(at.lane, result);
    } else {
        result = x[start + first]; // also for lanes without an element
        for (var j = first + at.lane; j < end; j += LANES) {
            result = max(result, x[start + j]);
        }
        result = row_max(at.lane, result);
    }
    if at.lane == 0u {
        y[place] = result;
    }
}
