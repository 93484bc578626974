// Matrix product for any GPU: tiles of ROWS x 64 elements of C through workgroup memory, ROWS / 8 x 8 elements per thread.
// Math and layout: common/matmul.wgsl.
//
// Dispatch: one workgroup of 64 threads per tile of C; columns fastest, then rows, then batches. Needs: 8 KiB of workgroup memory.

// Rows of a tile: 64, or 32 where that gives too few workgroups. The bits of C do not depend on it: every element is summed along k, one product after the other.
override ROWS: u32 = 64u;
const COLUMNS = 64u;
const STEP = 16u;
// [k][quad of rows or columns]. Only whole vectors are written: neighbours in one vector would race.
var<workgroup> left_tile: array<array<vec4<f32>, 16>, 16>;
var<workgroup> right_tile: array<array<vec4<f32>, 16>, 16>;

@compute @workgroup_size(8, 8)
fn main(at: Invocation) {
    let local = vec2(at.lane % 8u, at.lane / 8u);
    let tiles_m = (params.m + ROWS - 1u) / ROWS;
    let tiles_n = (params.n + COLUMNS - 1u) / COLUMNS;
    let tile = group_index(at);
    if tile >= params.batches * tiles_m * tiles_n {
        return;
    }
    let batch = batch_at(tile / (tiles_m * tiles_n));
    let row = tile / tiles_n % tiles_m * ROWS;
    let column = tile % tiles_n * COLUMNS;

    // Each thread carries one 4x4 block of A (of 32 rows half of the threads) and of B per step; neighbours read along the axis that is contiguous. (x, y) = (quad, quad of k)
    let across = vec2(at.lane % 16u, at.lane / 16u);
    let along = vec2(at.lane / 4u, at.lane % 4u);
    let left_quad = select(across, along, LEFT_LAYOUT == 1u);
    let right_quad = select(across, along, RIGHT_LAYOUT == 1u);

    // Rows y and y + 8 times columns x and x + 8, in quads: 4 blocks of 4x4.
    var sum: array<mat4x4<f32>, 4>;
    for (var k = 0u; k < params.k; k += STEP) {
        var left: mat4x4<f32>;
        if left_quad.x < ROWS / 4u {
            left = left_block(batch, row + left_quad.x * 4u, k + left_quad.y * 4u);
        }
        let right = right_block(batch, k + right_quad.y * 4u, column + right_quad.x * 4u);
        workgroupBarrier();
        for (var i = 0u; i < 4u; i++) {
            left_tile[left_quad.y * 4u + i][left_quad.x] = left[i];
            right_tile[right_quad.y * 4u + i][right_quad.x] = right[i];
        }
        workgroupBarrier();
        for (var step = 0u; step < STEP; step++) {
            let top = left_tile[step][local.y];
            let first = right_tile[step][local.x];
            let second = right_tile[step][local.x + 8u];
            for (var i = 0u; i < 4u; i++) {
                sum[0][i] = fma(vec4(top[i]), first, sum[0][i]);
                sum[1][i] = fma(vec4(top[i]), second, sum[1][i]);
            }
            if ROWS > 32u {
                let bottom = left_tile[step][local.y + 8u];
                for (var i = 0u; i < 4u; i++) {
                    sum[2][i] = fma(vec4(bottom[i]), first, sum[2][i]);
                    sum[3][i] = fma(vec4(bottom[i]), second, sum[3][i]);
                }
            }
        }
    }

    // Store.
    for (var quad = 0u; quad < ROWS / 16u; quad++) {
        for (var i = 0u; i < 4u; i++) {
            store_four(batch, row + local.y * 4u + quad / 2u * 32u + i, column + local.x * 4u + quad % 2u * 32u, sum[quad][i]);
        }
    }
}
