// Matrix product for devices with one subgroup size: 16 rows x 4 columns of C per lane, no workgroup memory, no barrier.
// Math and layout: common/matmul.wgsl.
//
// Each lane reads one 4x4 block of A and all lanes' blocks make a [16, LANES] panel; a shuffle hands its elements to every lane. Each lane reads the
// 4 columns of B that it owns. On software Vulkan, where lanes are the elements of one processor vector, this is by far the fastest form.
// Dispatch: one workgroup = one subgroup per [16, 4 LANES] tile of C; columns fastest, then rows, then batches.
// Needs: subgroups of always LANES lanes, a multiple of 4.

override LANES: u32 = 8u;
const ROWS = 16u;

@compute @workgroup_size(LANES)
fn main(at: Invocation) {
    let tiles_m = (params.m + ROWS - 1u) / ROWS;
    let tiles_n = (params.n + 4u * LANES - 1u) / (4u * LANES);
    let tile = group_index(at);
    if tile >= params.batches * tiles_m * tiles_n {
        return;
    }
    let batch = batch_at(tile / (tiles_m * tiles_n));
    let row = tile / tiles_n % tiles_m * ROWS;
    let column = (tile % tiles_n * LANES + at.lane) * 4u;

    // Products: sum[r] holds row r of this lane's 4 columns.
    var sum: array<vec4<f32>, ROWS>;
    for (var k = 0u; k < params.k; k += LANES) {
        let left = left_block(batch, row + at.lane % 4u * 4u, k + at.lane / 4u * 4u);
        for (var step = 0u; step < LANES; step += 4u) {
            let right = right_block(batch, k + step, column);
            for (var r = 0u; r < 4u; r++) {
                let rows = mat4x4(
                    subgroupShuffle(left[0], step + r),
                    subgroupShuffle(left[1], step + r),
                    subgroupShuffle(left[2], step + r),
                    subgroupShuffle(left[3], step + r),
                );
                for (var i = 0u; i < 4u; i++) {
                    let low = fma(vec4(rows[1][i]), right[1], fma(vec4(rows[0][i]), right[0], sum[4u * r + i]));
                    sum[4u * r + i] = fma(vec4(rows[3][i]), right[3], fma(vec4(rows[2][i]), right[2], low));
                }
            }
        }
    }

    // Store.
    for (var r = 0u; r < ROWS; r++) {
        store_four(batch, row + r, column, sum[r]);
    }
}
