// Matrix product for any GPU: tiles of ROWS x COLUMNS elements of C through workgroup memory, ROWS / 8 x COLUMNS / 8 elements per thread.
// Math and layout: common/matmul.wgsl.
//
// Dispatch: one workgroup of 64 threads per tile of C, in bands (tile_at), then batches. Needs: 8 KiB of workgroup memory.

// Rows and columns of a tile: 64, or 32 where that gives too few workgroups. The bits of C do not depend on them: every element is summed along k, one product after the other.
override ROWS: u32 = 64u;
override COLUMNS: u32 = 64u;
const STEP = 16u;
const BAND = 16u;
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
    let place = tile_at(tile % (tiles_m * tiles_n), tiles_m, tiles_n, BAND);
    let row = place.x * ROWS;
    let column = place.y * COLUMNS;

    // Each thread carries one 4x4 block of A and of B per step (of 32 rows or columns half of the threads); neighbours read along the axis that is contiguous. (x, y) = (quad, quad of k)
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
        var right: mat4x4<f32>;
        if right_quad.x < COLUMNS / 4u {
            right = right_block(batch, k + right_quad.y * 4u, column + right_quad.x * 4u);
        }
        workgroupBarrier();
        for (var i = 0u; i < 4u; i++) {
            left_tile[left_quad.y * 4u + i][left_quad.x] = left[i];
            right_tile[right_quad.y * 4u + i][right_quad.x] = right[i];
        }
        workgroupBarrier();
        for (var step = 0u; step < STEP; step++) {
            let top = left_tile[step][local.y];
            let first = right_tile[step][local.x];
            sum[0] = add_outer(sum[0], top, first);
            if ROWS > 32u {
                sum[2] = add_outer(sum[2], left_tile[step][local.y + 8u], first);
            }
            if COLUMNS > 32u {
                let second = right_tile[step][local.x + 8u];
                sum[1] = add_outer(sum[1], top, second);
                if ROWS > 32u {
                    sum[3] = add_outer(sum[3], left_tile[step][local.y + 8u], second);
                }
            }
        }
    }

    // Store.
    for (var quad = 0u; quad < ROWS / 16u; quad++) {
        if quad % 2u * 32u < COLUMNS {
            for (var i = 0u; i < 4u; i++) {
                store_four(batch, row + local.y * 4u + quad / 2u * 32u + i, column + local.x * 4u + quad % 2u * 32u, sum[quad][i]);
            }
        }
    }
}

// sum + rows columnsᵀ: a vector of columns for each row.
fn add_outer(sum: mat4x4<f32>, rows: vec4<f32>, columns: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        fma(vec4(rows.x), columns, sum[0]),
        fma(vec4(rows.y), columns, sum[1]),
        fma(vec4(rows.z), columns, sum[2]),
        fma(vec4(rows.w), columns, sum[3]),
    );
}
