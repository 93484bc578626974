// Column of the first largest element of each row: x [rows, cols] -> y [rows].
// Dispatch: one workgroup of 128 lanes per row.

struct Params {
    rows: u32,
    cols: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

var<workgroup> columns: array<u32, 128>;

// The better of two columns of a row: the larger element, the first of equals.
fn better(start: u32, a: u32, b: u32) -> u32 {
    let u = x[start + a];
    let v = x[start + b];
    return select(a, b, v > u || (v == u && b < a));
}

@compute @workgroup_size(128)
fn argmax(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    var best = 0u; // also for lanes without an element
    for (var col = at.lane; col < params.cols; col += 128u) {
        best = better(start, best, col);
    }
    columns[at.lane] = best;
    workgroupBarrier();
    for (var stride = 64u; stride > 0u; stride /= 2u) {
        if at.lane < stride {
            columns[at.lane] = better(start, columns[at.lane], columns[at.lane + stride]);
        }
        workgroupBarrier();
    }
    if at.lane == 0u {
        y[row] = columns[0];
    }
}
