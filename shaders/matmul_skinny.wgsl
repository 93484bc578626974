// Matrix product of a few rows, as in decoding: bound by the reading of B, whose columns each workgroup reads once, coalesced. Workgroups with the same columns follow each
// other, so that B comes from memory once for all rows.
// Math and layout: common/matmul.wgsl.
//
// 64 threads = QUADS quads of columns x 64 / QUADS slices of k; the slices are added through workgroup memory. QUADS = 16 suits a B that is
// contiguous along n, QUADS = 1 one that is contiguous along k. Each thread has SPAN such quads, so that what it reads of A serves all of them.
// Dispatch: one workgroup per [ROWS, 4 QUADS SPAN] tile of C, in bands (tile_at), then batches. Needs: 1 KiB x ROWS of workgroup memory.

// Rows of a tile, 4 or 8, and quads of a thread, 1 or 4: the bits of an element depend on neither.
override ROWS: u32 = 4u;
override QUADS: u32 = 16u;
override SPAN: u32 = 1u;
const THREADS = 64u;
const BAND = 64u;
var<workgroup> partial: array<vec4<f32>, THREADS * ROWS>;

// Row r of the thread's quad s: at 8s + r.
var<private> sum: array<vec4<f32>, 32>;

@compute @workgroup_size(THREADS)
fn main(at: Invocation) {
    let tiles_m = (params.m + ROWS - 1u) / ROWS;
    let width = 4u * QUADS * SPAN;
    let tiles_n = (params.n + width - 1u) / width;
    let tile = group_index(at);
    if tile >= params.batches * tiles_m * tiles_n {
        return;
    }
    let batch = batch_at(tile / (tiles_m * tiles_n));
    let place = tile_at(tile % (tiles_m * tiles_n), tiles_m, tiles_n, BAND);
    let row = place.x * ROWS;
    let column = place.y * width;

    // One slice: every (THREADS / QUADS)-th quad of k.
    let quad = at.lane % QUADS;
    let slice = at.lane / QUADS;
    for (var i = 0u; i < 8u * SPAN; i++) {
        sum[i] = vec4<f32>();
    }
    for (var k = slice * 4u; k < params.k; k += THREADS / QUADS * 4u) {
        var left: array<mat4x4<f32>, 2>;
        for (var four = 0u; four < ROWS / 4u; four++) {
            left[four] = left_block(batch, row + four * 4u, k);
        }
        for (var s = 0u; s < SPAN; s++) {
            let right = right_block(batch, k, column + (s * QUADS + quad) * 4u);
            for (var four = 0u; four < ROWS / 4u; four++) {
                for (var r = 0u; r < 4u; r++) {
                    for (var i = 0u; i < 4u; i++) {
                        let own = 8u * s + 4u * four + r;
                        sum[own] = fma(vec4(left[four][i][r]), right[i], sum[own]);
                    }
                }
            }
        }
    }

    // Not a loop: registers have no addresses.
    add_slices(at.lane, batch, row, column, 0u);
    if SPAN > 1u {
        add_slices(at.lane, batch, row, column, 1u);
        add_slices(at.lane, batch, row, column, 2u);
        add_slices(at.lane, batch, row, column, 3u);
    }
}

// Adds the slices of every thread's quad s: one thread per row and quad.
fn add_slices(lane: u32, batch: Batch, row: u32, column: u32, s: u32) {
    if s > 0u {
        workgroupBarrier();
    }
    for (var r = 0u; r < ROWS; r++) {
        partial[lane * ROWS + r] = sum[8u * s + r];
    }
    workgroupBarrier();
    for (var own = lane; own < QUADS * ROWS; own += THREADS) {
        var total = partial[own];
        for (var other = own + QUADS * ROWS; other < THREADS * ROWS; other += QUADS * ROWS) {
            total += partial[other];
        }
        store_four(batch, row + own % ROWS, column + (s * QUADS + own / ROWS) * 4u, total);
    }
}
