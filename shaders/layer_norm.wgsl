// LayerNorm of each row of x [rows, cols] (Ba et al. 2016, arXiv 1607.06450), and its gradients.
//   forward          x̂ = (x - mean) · r,  r = 1 / sqrt(mean (x - mean)² + eps),  y = x̂ · weight + bias;  stats[row] = (mean, r)
//   backward         g = dy · weight,  dx = r · (g - mean(g) - x̂ · mean(g · x̂))
//   weight_partials  partials[block] = (Σ dy · x̂, Σ dy) over the block's rows [blocks, 2, cols]; the blocks are summed afterwards
// Dispatch: forward and backward one workgroup per row; weight_partials one thread per (block, col), linear groups of 64.
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
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2f>;

@group(0) @binding(2) var<storage, read> saved_stats: array<vec2f>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

// weight_partials binds x, stats, dy, partials
@group(0) @binding(1) var<storage, read> row_stats: array<vec2f>;
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
        total += x[start + col];
    }
    let mean = row_sum(at.lane, total) / f32(params.cols);
    // the mean first: Σ x² - n · mean² cancels
    total = 0.0;
    for (var col = at.lane; col < params.cols; col += LANES) {
        let centred = x[start + col] - mean;
        total += centred * centred;
    }
    let r = 1.0 / sqrt(row_sum(at.lane, total) / f32(params.cols) + params.eps);
    for (var col = at.lane; col < params.cols; col += LANES) {
        y[start + col] = (x[start + col] - mean) * r * weight[col] + bias[col];
    }
    if at.lane == 0u {
        stats[row] = vec2f(mean, r);
    }
}

@compute @workgroup_size(64)
fn backward(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    let mean = saved_stats[row].x;
    let r = saved_stats[row].y;
    var sum_g = 0.0;
    var sum_gx = 0.0;
    for (var col = at.lane; col < params.cols; col += LANES) {
        let g = dy[start + col] * weight[col];
        sum_g += g;
        sum_gx += g * (x[start + col] - mean) * r;
    }
    let mean_g = row_sum(at.lane, sum_g) / f32(params.cols);
    let mean_gx = row_sum(at.lane, sum_gx) / f32(params.cols);
    for (var col = at.lane; col < params.cols; col += LANES) {
        let normed = (x[start + col] - mean) * r;
        dx[start + col] = r * (dy[start + col] * weight[col] - mean_g - normed * mean_gx);
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
    var dweight = 0.0;
    var dbias = 0.0;
    for (var row = first; row < end; row += 1u) {
        let i = row * params.cols + col;
        dweight += row_dy[i] * (x[i] - row_stats[row].x) * row_stats[row].y;
        dbias += row_dy[i];
    }
    partials_out[2u * block * params.cols + col] = dweight;
    partials_out[(2u * block + 1u) * params.cols + col] = dbias;
}
