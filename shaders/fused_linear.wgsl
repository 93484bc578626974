// A linear layer on few rows, with the norm before it and what follows it, as a decoder that writes a token needs it.
//   y = e(x̂ Wᵀ + l Bᵀ + bias),  x̂ = x · r · gain,  r = 1 / sqrt(mean x² + eps)      x [rows, cols], W [outputs, cols]
//   linear   e(z) = z, or z + residual                                               y [rows, outputs]
//   swiglu   W has a gate and as many rows behind it: e(gate, up) = gate · sigmoid(gate) · up
// A row's r is not known before all of it is read: the sums are of x · gain, and r scales them at the end. l = x̂ Aᵀ is the narrow side of a LoRA adapter, its launch comes first; for the same reason it
// is written without r. Outputs of up to three layers stand side by side, each with a slice of l of its own: l [rows, PARTS, rank], B [outputs, rank].
//
// 64 threads, each with every 64th quad of a row; what they have is added through workgroup memory, in an order that is the same for every ROWS and SPAN: so a row has the
// same bits whatever stands beside it.
// Dispatch: one workgroup per tile of [ROWS, 4 SPAN] of y, those with the same columns one after the other, so that W comes from memory once for all rows.
// Needs: 8 KiB of workgroup memory, common/math.wgsl. cols, rank and the first outputs of all layers are multiples of 4.

struct Params {
    rows: u32,
    cols: u32,
    outputs: u32,
    eps: f32,
    rank: u32,
    // The first output of the second and of the third layer.
    second: u32,
    third: u32,
}
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<vec4u>;
@group(0) @binding(2) var<storage, read> gain: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read> narrow: array<vec4f>;
@group(0) @binding(6) var<storage, read> wide: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> y: array<f32>;

// Storage of W. 0: f32. 1: f16. 2: bf16.
override WEIGHT_TYPE: u32 = 0u;
// What is absent is bound to something, and not read. 1: a norm. 2: its gain alone.
override NORM: u32 = 0u;
// 1: there is one.
override BIAS: u32 = 0u;
override RESIDUAL: u32 = 0u;
// How many layers stand side by side, if they have adapters; else 0.
override PARTS: u32 = 0u;
// Rows of a tile, 4 or 8, and its quads of columns: 1 or 4, of swiglu 1 or 2.
override ROWS: u32 = 4u;
override SPAN: u32 = 1u;

const THREADS = 64u;
var<workgroup> partial: array<vec4f, 8u * THREADS>;
// Row r of quad s: at 8s + r. Of swiglu every second quad is one of `up`.
var<private> sum: array<vec4f, 32>;
// Sums of squares of 8 rows.
var<private> squares: array<vec4f, 2>;

struct Tile {
    row: u32,
    column: u32,
}

fn tile_of(group: u32) -> Tile {
    let tiles = (params.rows + ROWS - 1u) / ROWS;
    return Tile(group % tiles * ROWS, group / tiles * 4u * SPAN);
}

@compute @workgroup_size(THREADS)
fn linear(at: Invocation) {
    let tile = tile_of(group_index(at));
    if tile.column >= params.outputs {
        return;
    }
    multiply(at.lane, tile.row, tile.column, SPAN, 0u);
    if PARTS > 0u {
        multiply_adapters(at.lane, tile.row, tile.column, SPAN, 0u);
    }
    let r = inverse_rms(at.lane);
    // not a loop: registers have no addresses
    finish_linear(at.lane, tile, 0u, r);
    if SPAN > 1u {
        finish_linear(at.lane, tile, 1u, r);
        finish_linear(at.lane, tile, 2u, r);
        finish_linear(at.lane, tile, 3u, r);
    }
}

@compute @workgroup_size(THREADS)
fn swiglu(at: Invocation) {
    let tile = tile_of(group_index(at));
    if tile.column >= params.outputs {
        return;
    }
    multiply(at.lane, tile.row, tile.column, 2u * SPAN, 1u);
    if PARTS > 0u {
        multiply_adapters(at.lane, tile.row, tile.column, 2u * SPAN, 1u);
    }
    let r = inverse_rms(at.lane);
    finish_swiglu(at.lane, tile, 0u, r);
    if SPAN > 1u {
        finish_swiglu(at.lane, tile, 1u, r);
    }
}

// A thread's part of the sums. `paired`: 1 where every second quad is one of `up`, whose rows of W lie behind those of all gates.
fn multiply(lane: u32, row: u32, column: u32, quads: u32, paired: u32) {
    let width = params.cols / 4u;
    for (var i = 0u; i < 8u * quads; i++) {
        sum[i] = vec4f();
    }
    squares[0] = vec4f();
    squares[1] = vec4f();
    for (var k = lane; k < width; k += THREADS) {
        var left: array<vec4f, 8>;
        for (var i = 0u; i < ROWS; i++) {
            // the last row again beyond the end: nobody stores it
            left[i] = x[min(row + i, params.rows - 1u) * width + k];
        }
        if NORM > 0u {
            let scale = gain[k];
            for (var i = 0u; i < ROWS; i++) {
                if NORM == 1u {
                    squares[i / 4u][i % 4u] = add_dot(squares[i / 4u][i % 4u], left[i], left[i]);
                }
                left[i] *= scale;
            }
        }
        for (var s = 0u; s < quads; s++) {
            let quad = column + (s >> paired) * 4u;
            let behind = (s & paired) * params.outputs;
            for (var c = 0u; c < 4u; c++) {
                let right = weight_four((min(quad + c, params.outputs - 1u) + behind) * width + k);
                for (var i = 0u; i < ROWS; i++) {
                    sum[8u * s + i][c] = add_dot(sum[8u * s + i][c], left[i], right);
                }
            }
        }
    }
}

// The same of l Bᵀ: as if x were longer by a slice of l.
fn multiply_adapters(lane: u32, row: u32, column: u32, quads: u32, paired: u32) {
    let width = params.rank / 4u;
    for (var k = lane; k < width; k += THREADS) {
        for (var s = 0u; s < quads; s++) {
            let quad = column + (s >> paired) * 4u;
            let behind = (s & paired) * params.outputs;
            let first = quad + behind;
            let part = select(0u, 1u, first >= params.second) + select(0u, 1u, first >= params.third);
            for (var c = 0u; c < 4u; c++) {
                let right = wide[(min(quad + c, params.outputs - 1u) + behind) * width + k];
                for (var i = 0u; i < ROWS; i++) {
                    let left = narrow[(min(row + i, params.rows - 1u) * PARTS + part) * width + k];
                    sum[8u * s + i][c] = add_dot(sum[8u * s + i][c], left, right);
                }
            }
        }
    }
}

// Spelled out, so that every variant of the kernel adds in the same order.
fn add_dot(sum: f32, a: vec4f, b: vec4f) -> f32 {
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

fn weight_four(at: u32) -> vec4f {
    if WEIGHT_TYPE == 0u {
        return bitcast<vec4f>(weight[at]);
    }
    let eight = weight[at / 2u];
    let four = select(eight.xy, eight.zw, at % 2u == 1u);
    if WEIGHT_TYPE == 1u {
        return vec4f(unpack2x16float(four.x), unpack2x16float(four.y));
    }
    return bitcast<vec4f>(vec4u(four << vec2u(16u), four & vec2u(0xffff0000u)).xzyw);
}

// Adds what the threads have put into `partial`, item i at 64 i: thread i gets item i.
fn add_up(lane: u32, items: u32) -> vec4f {
    let item = lane / 8u;
    let first = item * THREADS + lane % 8u;
    workgroupBarrier();
    var total = vec4f();
    if item < items {
        for (var i = 0u; i < 8u; i++) {
            total += partial[first + 8u * i];
        }
    }
    workgroupBarrier();
    if item < items {
        partial[first] = total;
    }
    workgroupBarrier();
    total = vec4f();
    if lane < items {
        for (var i = 0u; i < 8u; i++) {
            total += partial[lane * THREADS + i];
        }
    }
    workgroupBarrier();
    return total;
}

// r of row `lane` of the tile, for the threads that have one; 1 where nothing is to be scaled.
fn inverse_rms(lane: u32) -> f32 {
    if NORM != 1u {
        return 1.0;
    }
    partial[lane] = squares[0];
    partial[THREADS + lane] = squares[1];
    let four = add_up(lane, 2u);
    if lane < 2u {
        partial[lane] = four;
    }
    workgroupBarrier();
    let total = partial[lane % 8u / 4u][lane % 4u];
    workgroupBarrier();
    return 1.0 / sqrt(total / f32(params.cols) + params.eps);
}

// Quad s of row `lane`, for the threads that have one.
fn total_of(lane: u32, s: u32) -> vec4f {
    for (var i = 0u; i < ROWS; i++) {
        partial[i * THREADS + lane] = sum[8u * s + i];
    }
    return add_up(lane, ROWS);
}

fn with_bias(value: f32, output: u32) -> f32 {
    if BIAS == 0u {
        return value;
    }
    return value + bias[output];
}

fn finish_linear(lane: u32, tile: Tile, s: u32, r: f32) {
    let total = total_of(lane, s) * r;
    let row = tile.row + lane;
    if lane >= ROWS || row >= params.rows {
        return;
    }
    for (var c = 0u; c < 4u; c++) {
        let output = tile.column + 4u * s + c;
        if output < params.outputs {
            let place = row * params.outputs + output;
            let value = with_bias(total[c], output);
            if RESIDUAL == 1u {
                y[place] = residual[place] + value;
            } else {
                y[place] = value;
            }
        }
    }
}

fn finish_swiglu(lane: u32, tile: Tile, s: u32, r: f32) {
    let gates = total_of(lane, 2u * s) * r;
    let ups = total_of(lane, 2u * s + 1u) * r;
    let row = tile.row + lane;
    if lane >= ROWS || row >= params.rows {
        return;
    }
    for (var c = 0u; c < 4u; c++) {
        let output = tile.column + 4u * s + c;
        if output < params.outputs {
            let gate = with_bias(gates[c], output);
            let up = with_bias(ups[c], output + params.outputs);
            y[row * params.outputs + output] = gate * sigmoid(gate) * up;
        }
    }
}
