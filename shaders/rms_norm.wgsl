// RMSNorm of each row of x [rows, cols] (Zhang & Sennrich 2019, arXiv 1910.07467), and its gradients.
//   forward          r = 1 / sqrt(mean x² + eps),  y = x · r · weight
//   forward_add      x = a + b, written as well, then the same
//   backward         g = dy · weight,  dx = r · (g - x · r² · mean(g · x))
//   backward_add     the same plus what arrived at x directly
//   weight_partials  partials[block, col] = Σ dy · x · r over the block's rows; the blocks are summed afterwards
// Dispatch: weight_partials one thread per (block, col), linear groups of 64; the others one workgroup per row.
// Needs common/row_reduce.wgsl.

struct Params {
    rows: u32,
    cols: u32,
    eps: f32,
    rows_per_block: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> inverse_rms: array<f32>;

@group(0) @binding(2) var<storage, read> saved_inverse_rms: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

// forward_add binds a, b, weight, sum, y, inverse_rms
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> add_weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> sum: array<f32>;
@group(0) @binding(4) var<storage, read_write> add_y: array<f32>;
@group(0) @binding(5) var<storage, read_write> add_inverse_rms: array<f32>;

// backward_add binds x, weight, inverse_rms, dy, dsum, dx
@group(0) @binding(4) var<storage, read> dsum: array<f32>;
@group(0) @binding(5) var<storage, read_write> add_dx: array<f32>;

// weight_partials binds x, inverse_rms, dy, partials
@group(0) @binding(1) var<storage, read> row_inverse_rms: array<f32>;
@group(0) @binding(2) var<storage, read> row_dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> partials_out: array<f32>;

@compute @workgroup_size(64)
fn forward(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    var total = 0.0;
    for (var col = at.lane; col < params.cols; col += LANES) {
        total += x[start + col] * x[start + col];
    }
    let r = 1.0 / sqrt(row_sum(at.lane, total) / f32(params.cols) + params.eps);
    for (var col = at.lane; col < params.cols; col += LANES) {
        y[start + col] = x[start + col] * r * weight[col];
    }
    if at.lane == 0u {
        inverse_rms[row] = r;
    }
}

@compute @workgroup_size(64)
fn forward_add(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    var total = 0.0;
    for (var col = at.lane; col < params.cols; col += LANES) {
        let value = x[start + col] + b[start + col];
        sum[start + col] = value;
        total += value * value;
    }
    let r = 1.0 / sqrt(row_sum(at.lane, total) / f32(params.cols) + params.eps);
    for (var col = at.lane; col < params.cols; col += LANES) {
        add_y[start + col] = sum[start + col] * r * add_weight[col];
    }
    if at.lane == 0u {
        add_inverse_rms[row] = r;
    }
}

// dx of one row, its elements `col`, `col + LANES`, ..: r · (g - x · along), where along = mean(g · x) · r² is how much of the gradient the norm takes away.
struct RowGradient {
    start: u32,
    r: f32,
    along: f32,
}

fn row_gradient(at: Invocation, row: u32) -> RowGradient {
    let start = row * params.cols;
    var total = 0.0;
    for (var col = at.lane; col < params.cols; col += LANES) {
        total += dy[start + col] * weight[col] * x[start + col];
    }
    let r = saved_inverse_rms[row];
    return RowGradient(start, r, row_sum(at.lane, total) / f32(params.cols) * r * r);
}

fn element_gradient(of_row: RowGradient, col: u32) -> f32 {
    let place = of_row.start + col;
    return of_row.r * (dy[place] * weight[col] - x[place] * of_row.along);
}

@compute @workgroup_size(64)
fn backward(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let of_row = row_gradient(at, row);
    for (var col = at.lane; col < params.cols; col += LANES) {
        dx[of_row.start + col] = element_gradient(of_row, col);
    }
}

@compute @workgroup_size(64)
fn backward_add(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let of_row = row_gradient(at, row);
    for (var col = at.lane; col < params.cols; col += LANES) {
        add_dx[of_row.start + col] = element_gradient(of_row, col) + dsum[of_row.start + col];
    }
}

@compute @workgroup_size(64)
fn weight_partials(at: Invocation) {
    let place = group_index(at) * LANES + at.lane;
    let block = place / params.cols;
    let first = block * params.rows_per_block;
    if first >= params.rows {
        return;
    }
    let col = place % params.cols;
    let end = min(first + params.rows_per_block, params.rows);
    var total = 0.0;
    for (var row = first; row < end; row += 1u) {
        let i = row * params.cols + col;
        total += row_dy[i] * x[i] * row_inverse_rms[row];
    }
    partials_out[place] = total;
}
