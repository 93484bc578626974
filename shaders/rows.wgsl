// Rows by number: x [rows, cols], ids [count].
//   gather       y[i, c] = x[ids[i], c]                          y [count, cols]; halves become f32; NaN for a number that is no row
//   scatter_add  y[r, c] = Σ x[order[j], c], j in starts[r]..starts[r + 1]    y [rows, cols], starts [rows + 1], order [count]
// `order` lists the source rows sorted by destination (`Indices` in indices.rs): each sum has one writer and a fixed order, no atomics.
// Dispatch: one thread per element, linear groups of 256. DTYPE is `DType::code` of x.

struct Params {
    rows: u32,
    cols: u32,
    count: u32,
}

var<immediate> params: Params;

override DTYPE: u32 = 0u;

@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<f32>;

const NAN_BITS = 0x7fc00000u;

@compute @workgroup_size(256)
fn gather(at: Invocation) {
    let i = element(at);
    if i >= params.count * params.cols {
        return;
    }
    let row = ids[i / params.cols];
    if row >= params.rows {
        y[i] = NAN_BITS;
        return;
    }
    let place = row * params.cols + i % params.cols;
    if DTYPE == 1u || DTYPE == 2u {
        y[i] = bitcast<u32>(half_to_f32((x[place / 2u] >> (16u * (place % 2u))) & 0xffffu, DTYPE));
    } else {
        y[i] = x[place];
    }
}

@compute @workgroup_size(256)
fn scatter_add(at: Invocation) {
    let i = element(at);
    if i >= params.rows * params.cols {
        return;
    }
    let row = i / params.cols;
    let end = starts[row + 1u];
    var total = 0.0;
    for (var j = starts[row]; j < end; j += 1u) {
        total += values[order[j] * params.cols + i % params.cols];
    }
    sums[i] = total;
}
