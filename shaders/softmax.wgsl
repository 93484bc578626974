// Softmax and log-softmax of each row of x [rows, cols], and their gradients.
//   softmax               y = exp(x - m) / Σ exp(x - m),     m = max x
//   softmax_backward      dx = y · (dy - Σ dy · y)
//   log_softmax           y = x - m - ln Σ exp(x - m)
//   log_softmax_backward  dx = dy - exp(y) · Σ dy
// Dispatch: one workgroup per row. Needs common/math.wgsl, common/row_reduce.wgsl.

struct Params {
    rows: u32,
    cols: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@group(0) @binding(0) var<storage, read> saved_y: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

// The largest element of the row and the sum of exponentials below it.
fn max_and_sum(start: u32, lane: u32) -> vec2f {
    var largest = x[start];
    for (var col = lane; col < params.cols; col += LANES) {
        largest = max(largest, x[start + col]);
    }
    largest = row_max(lane, largest);
    // max first: exp overflows f32 above 88.7
    var total = 0.0;
    for (var col = lane; col < params.cols; col += LANES) {
        total += exp(x[start + col] - largest);
    }
    return vec2f(largest, row_sum(lane, total));
}

@compute @workgroup_size(64)
fn softmax(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    let found = max_and_sum(start, at.lane);
    let scale = 1.0 / found.y;
    for (var col = at.lane; col < params.cols; col += LANES) {
        y[start + col] = exp(x[start + col] - found.x) * scale;
    }
}

@compute @workgroup_size(64)
fn softmax_backward(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    var total = 0.0;
    for (var col = at.lane; col < params.cols; col += LANES) {
        total += dy[start + col] * saved_y[start + col];
    }
    total = row_sum(at.lane, total);
    for (var col = at.lane; col < params.cols; col += LANES) {
        dx[start + col] = saved_y[start + col] * (dy[start + col] - total);
    }
}

@compute @workgroup_size(64)
fn log_softmax(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    let found = max_and_sum(start, at.lane);
    let log_sum = ln(found.y);
    for (var col = at.lane; col < params.cols; col += LANES) {
        y[start + col] = x[start + col] - found.x - log_sum;
    }
}

@compute @workgroup_size(64)
fn log_softmax_backward(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    var total = 0.0;
    for (var col = at.lane; col < params.cols; col += LANES) {
        total += dy[start + col];
    }
    total = row_sum(at.lane, total);
    for (var col = at.lane; col < params.cols; col += LANES) {
        dx[start + col] = dy[start + col] - exp(saved_y[start + col]) * total;
    }
}
