// Matrix product of a few rows, as in decoding: bound by the reading of B, whose columns each workgroup reads once, coalesced. Workgroups with the same columns follow each
// other, so that B comes from memory once for all rows.
// Math and layout: common/matmul.wgsl.
//
// 64 threads = QUADS quads of columns x 64 / QUADS slices of k; the slices are added through workgroup memory. QUADS = 16 suits a B that is
// contiguous along n, QUADS = 1 one that is contiguous along k.
// Dispatch: one workgroup per [ROWS, 4 QUADS] tile of C; in bands (tile_at), then batches. Needs: 1 KiB x ROWS of workgroup memory.

// Rows of a tile, 4 or 8: the bits of a row do not depend on it.
override ROWS: u32 = 4u;
override QUADS: u32 = 16u;
const THREADS = 64u;
const BAND = 64u;
var<workgroup> partial: array<vec4<f32>, THREADS * ROWS>;

@compute @workgroup_size(THREADS)
fn main(at: Invocation) {
    let tiles_m = (params.m + ROWS - 1u) / ROWS;
    let tiles_n = (params.n + 4u * QUADS - 1u) / (4u * QUADS);
    let tile = group_index(at);
    if tile >= params.batches * tiles_m * tiles_n {
        return;
    }
    let batch = batch_at(tile / (tiles_m * tiles_n));
    let place = tile_at(tile % (tiles_m * tiles_n), tiles_m, tiles_n, BAND);
    let row = place.x * ROWS;
    let column = place.y * QUADS * 4u;

    // One slice: every (THREADS / QUADS)-th quad of k.
    let quad = at.lane % QUADS;
    let slice = at.lane / QUADS;
    var sum: array<vec4<f32>, 8>;
    for (var k = slice * 4u; k < params.k; k += THREADS / QUADS * 4u) {
        let right = right_block(batch, k, column + quad * 4u);
        for (var four = 0u; four < ROWS; four += 4u) {
            let left = left_block(batch, row + four, k);
            for (var r = 0u; r < 4u; r++) {
                for (var i = 0u; i < 4u; i++) {
                    sum[four + r] = fma(vec4(left[i][r]), right[i], sum[four + r]);
                }
            }
        }
    }
    for (var r = 0u; r < ROWS; r++) {
        partial[at.lane * ROWS + r] = sum[r];
    }
    workgroupBarrier();

    // Add the slices: one thread per row and quad.
    for (var own = at.lane; own < QUADS * ROWS; own += THREADS) {
        var total = partial[own];
        for (var other = own + QUADS * ROWS; other < THREADS * ROWS; other += QUADS * ROWS) {
            total += partial[other];
        }
        store_four(batch, row + own % ROWS, column + own / ROWS * 4u, total);
    }
}
