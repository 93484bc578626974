// What the matmul kernels share: parameters, bindings, and reading of 4x4 blocks.
//
// Math: C[batch] = A[batch] B[batch], or C += A B. Layout: C is [batches, m, n], f32 and contiguous. A is f32 and B f32, f16 or bf16, each with a stride for
// rows, columns and two batch axes, so that transposed and broadcast views are read in place. Halves lie two to a word and widen to f32 here.
// A and B are bound as vectors of 16 bytes; where the strides allow, one load fetches four elements (LEFT_LAYOUT, RIGHT_LAYOUT).
// Dispatch: that of the kernel behind it; a piece, without an entry point.

struct Params {
    m: u32,
    n: u32,
    k: u32,
    batches: u32,
    // Batch number = outer * batch_inner + inner; a batch stride of 0 broadcasts.
    batch_inner: u32,
    a_offset: u32,
    a_row: u32,
    a_column: u32,
    a_outer: u32,
    a_inner: u32,
    b_offset: u32,
    b_row: u32,
    b_column: u32,
    b_outer: u32,
    b_inner: u32,
}
var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

// How four neighbours are read. 0: one by one, for any strides. 1: as a vector along k. 2: as a vector along m (of A) or n (of B).
// For 1 and 2 that axis has stride 1, and its length, the offset and all other strides are multiples of 4.
override LEFT_LAYOUT: u32 = 0u;
override RIGHT_LAYOUT: u32 = 0u;
// Storage of B. 0: f32. 1: f16. 2: bf16.
override RIGHT_TYPE: u32 = 0u;
// 1: C += A B. 0: C = A B.
override ACCUMULATE: u32 = 0u;

// Where a tile's batch starts in A, in B, and (by number) in C.
struct Batch {
    index: u32,
    a: u32,
    b: u32,
}

fn batch_at(index: u32) -> Batch {
    let outer = index / params.batch_inner;
    let inner = index % params.batch_inner;
    return Batch(
        index,
        params.a_offset + outer * params.a_outer + inner * params.a_inner,
        params.b_offset + outer * params.b_outer + inner * params.b_inner,
    );
}

// Row and column, in tiles, of the tile with this number in its batch: `band` rows of tiles side by side, then the next columns. Workgroups that run at the same time
// then share rows of A as well as columns of B, which come from memory once for all of them.
fn tile_at(number: u32, tiles_m: u32, tiles_n: u32, band: u32) -> vec2<u32> {
    let first = number / (band * tiles_n) * band;
    let rows = min(band, tiles_m - first);
    let place = number % (band * tiles_n);
    return vec2(first + place % rows, place / rows);
}

// A[row..row+4, k..k+4] as four vectors over rows, one for each k. Zero beyond k; the last row again beyond m (nobody stores it).
fn left_block(batch: Batch, row: u32, k: u32) -> mat4x4<f32> {
    let ks = vec4(k) + vec4(0u, 1u, 2u, 3u);
    let k_at = batch.a + min(ks, vec4(params.k - 1u)) * params.a_column;
    let row_at = min(vec4(row) + vec4(0u, 1u, 2u, 3u), vec4(params.m - 1u)) * params.a_row;
    let inside = ks < vec4(params.k);
    var block: mat4x4<f32>;
    if LEFT_LAYOUT == 1u {
        for (var i = 0u; i < 4u; i++) {
            block[i] = select(vec4(0.0), a[(k_at.x + row_at[i]) / 4u], inside);
        }
        return transpose(block);
    }
    for (var i = 0u; i < 4u; i++) {
        let at = row_at + k_at[i];
        if LEFT_LAYOUT == 2u {
            block[i] = select(vec4(0.0), a[at.x / 4u], inside[i]);
        } else {
            block[i] = select(vec4(0.0), vec4(left_at(at.x), left_at(at.y), left_at(at.z), left_at(at.w)), inside[i]);
        }
    }
    return block;
}

// B[k..k+4, column..column+4] as four vectors over columns, one for each k. Zero beyond k; the last column again beyond n.
fn right_block(batch: Batch, k: u32, column: u32) -> mat4x4<f32> {
    let ks = vec4(k) + vec4(0u, 1u, 2u, 3u);
    let k_at = batch.b + min(ks, vec4(params.k - 1u)) * params.b_row;
    let column_at = min(vec4(column) + vec4(0u, 1u, 2u, 3u), vec4(params.n - 1u)) * params.b_column;
    let inside = ks < vec4(params.k);
    var block: mat4x4<f32>;
    if RIGHT_LAYOUT == 1u {
        for (var i = 0u; i < 4u; i++) {
            block[i] = select(vec4(0.0), right_four(k_at.x + column_at[i]), inside);
        }
        return transpose(block);
    }
    for (var i = 0u; i < 4u; i++) {
        let at = column_at + k_at[i];
        if RIGHT_LAYOUT == 2u {
            block[i] = select(vec4(0.0), right_four(at.x), inside[i]);
        } else {
            block[i] = select(vec4(0.0), vec4(right_at(at.x), right_at(at.y), right_at(at.z), right_at(at.w)), inside[i]);
        }
    }
    return block;
}

fn left_at(at: u32) -> f32 {
    return a[at / 4u][at % 4u];
}

fn right_at(at: u32) -> f32 {
    if RIGHT_TYPE == 0u {
        return bitcast<f32>(b[at / 4u][at % 4u]);
    }
    let half = b[at / 8u][at / 2u % 4u] >> (at % 2u * 16u);
    if RIGHT_TYPE == 1u {
        return unpack2x16float(half).x;
    }
    return bitcast<f32>(half << 16u);
}

fn right_four(at: u32) -> vec4<f32> {
    if RIGHT_TYPE == 0u {
        return bitcast<vec4<f32>>(b[at / 4u]);
    }
    let eight = b[at / 8u];
    let four = select(eight.xy, eight.zw, at % 8u != 0u);
    if RIGHT_TYPE == 1u {
        return vec4(unpack2x16float(four.x), unpack2x16float(four.y));
    }
    return bitcast<vec4<f32>>(vec4(four << vec2(16u), four & vec2(0xffff0000u)).xzyw);
}

// C[row, column..column+4] (+)= sum, as far as it lies inside.
fn store_four(batch: Batch, row: u32, column: u32, sum: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) {
        if row < params.m && column + i < params.n {
            let at = (batch.index * params.m + row) * params.n + column + i;
            if ACCUMULATE == 1u {
                c[at] += sum[i];
            } else {
                c[at] = sum[i];
            }
        }
    }
}
