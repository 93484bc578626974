// Matrix product for any GPU: 64x64 tiles of C through workgroup memory, 8x8 elements per thread.
// Math and layout: common/matmul.wgsl.
//
// Dispatch: one workgroup of 64 threads per tile of C; columns fastest, then rows, then batches. Needs: 8 KiB of workgroup memory.

const TILE = 64u;
const STEP = 16u;
// [k][quad of rows or columns]. Only whole vectors are written: neighbours in one vector would race.
var<workgroup> left_tile: array<array<vec4<f32>, 16>, 16>;
var<workgroup> right_tile: array<array<vec4<f32>, 16>, 16>;

@compute @workgroup_size(8, 8)
fn main(at: Invocation) {
    let local = vec2(at.lane % 8u, at.lane / 8u);
    let tiles_m = (params.m + TILE - 1u) / TILE;
    let tiles_n = (params.n + TILE - 1u) / TILE;
    let tile = group_index(at);
    if tile >= params.batches * tiles_m * tiles_n {
        return;
    }
    let batch = batch_at(tile / (tiles_m * tiles_n));
    let row = tile / tiles_n % tiles_m * TILE;
    let column = tile % tiles_n * TILE;

    // Each thread carries one 4x4 block of A and of B per step; neighbours read along the axis that is contiguous. (x, y) = (quad, quad of k)
    let across = vec2(at.lane % 16u, at.lane / 16u);
    let along = vec2(at.lane / 4u, at.lane % 4u);
    let left_quad = select(across, along, LEFT_LAYOUT == 1u);
    let right_quad = select(across, along, RIGHT_LAYOUT == 1u);

    // Rows y and y + 8 times columns x and x + 8, in quads: 4 blocks of 4x4.
    var sum: array<mat4x4<f32>, 4>;
    for (var k = 0u; k < params.k; k += STEP) {
        let left = left_block(batch, row + left_quad.x * 4u, k + left_quad.y * 4u);
        let right = right_block(batch, k + right_quad.y * 4u, column + right_quad.x * 4u);
        workgroupBarrier();
        for (var i = 0u; i < 4u; i++) {
            left_tile[left_quad.y * 4u + i][left_quad.x] = left[i];
            right_tile[right_quad.y * 4u + i][right_quad.x] = right[i];
        }
        workgroupBarrier();
        for (var step = 0u; step < STEP; step++) {
            let top = left_tile[step][local.y];
            let bottom = left_tile[step][local.y + 8u];
            let first = right_tile[step][local.x];
            let second = right_tile[step][local.x + 8u];
            for (var i = 0u; i < 4u; i++) {
                sum[0][i] = fma(vec4(top[i]), first, sum[0][i]);
                sum[1][i] = fma(vec4(top[i]), second, sum[1][i]);
                sum[2][i] = fma(vec4(bottom[i]), first, sum[2][i]);
                sum[3][i] = fma(vec4(bottom[i]), second, sum[3][i]);
            }
        }
    }

    // Store.
    for (var quad = 0u; quad < 4u; quad++) {
        for (var i = 0u; i < 4u; i++) {
            store_four(batch, row + local.y * 4u + quad / 2u * 32u + i, column + local.x * 4u + quad % 2u * 32u, sum[quad][i]);
        }
    }
}
