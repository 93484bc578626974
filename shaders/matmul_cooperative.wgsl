// Matrix product on matrix units: A and B rounded to f16, products summed in f32. 64x64 tiles of C, 4 subgroups of 32x32 each.
// Math and layout: common/matmul.wgsl. SIZE, Left, Right, Sum and their operations: common/cooperative*.wgsl. No subgroup arithmetic: one driver
// crashes on modules that mix it with cooperative matrices.
//
// Dispatch: one workgroup of 4 LANES threads per tile of C, in bands (tile_at), then batches.
// Needs: f16; cooperative matrices of SIZE (or the scalar twin); subgroups of LANES; 14 KiB of workgroup memory.

override LANES: u32 = 32u;
const TILE = 64u;
const STEP = 32u;
const BAND = 16u;
// Sums per subgroup and axis.
const SPAN = 32u / SIZE;
// Rows are padded by 8 halves against bank conflicts; 16 bytes is the alignment that cooperative loads ask for.
const LEFT_STRIDE = STEP + 8u;
const RIGHT_STRIDE = TILE + 8u;
var<workgroup> left_tile: array<f16, TILE * LEFT_STRIDE>;
var<workgroup> right_tile: array<f16, STEP * RIGHT_STRIDE>;
var<workgroup> staged: array<f32, 4u * SIZE * SIZE>;

@compute @workgroup_size(4u * LANES)
fn main(at: Invocation) {
    let tiles_m = (params.m + TILE - 1u) / TILE;
    let tiles_n = (params.n + TILE - 1u) / TILE;
    let tile = group_index(at);
    if tile >= params.batches * tiles_m * tiles_n {
        return;
    }
    let batch = batch_at(tile / (tiles_m * tiles_n));
    let place = tile_at(tile % (tiles_m * tiles_n), tiles_m, tiles_n, BAND);
    let row = place.x * TILE;
    let column = place.y * TILE;
    let lane = at.lane % LANES;
    let subgroup = at.lane / LANES;
    let top = subgroup / 2u * 32u;
    let first = subgroup % 2u * 32u;

    var sums: array<Sum, SPAN * SPAN>;
    for (var k = 0u; k < params.k; k += STEP) {
        // Panels of A [64, 32] and B [32, 64] to f16, in 4x4 blocks.
        workgroupBarrier();
        for (var block = at.lane; block < 128u; block += 4u * LANES) {
            let left_quad = select(vec2(block % 16u, block / 16u), vec2(block / 8u, block % 8u), LEFT_LAYOUT == 1u) * 4u;
            let right_quad = select(vec2(block % 16u, block / 16u), vec2(block / 8u, block % 8u), RIGHT_LAYOUT == 1u) * 4u;
            let left = left_block(batch, row + left_quad.x, k + left_quad.y);
            let right = right_block(batch, k + right_quad.y, column + right_quad.x);
            for (var i = 0u; i < 4u; i++) {
                for (var j = 0u; j < 4u; j++) {
                    left_tile[(left_quad.x + j) * LEFT_STRIDE + left_quad.y + i] = f16(left[i][j]);
                    right_tile[(right_quad.y + i) * RIGHT_STRIDE + right_quad.x + j] = f16(right[i][j]);
                }
            }
        }
        workgroupBarrier();

        // Products.
        for (var step = 0u; step < STEP; step += SIZE) {
            for (var i = 0u; i < SPAN; i++) {
                let left = load_left((top + i * SIZE) * LEFT_STRIDE + step);
                for (var j = 0u; j < SPAN; j++) {
                    let right = load_right(step * RIGHT_STRIDE + first + j * SIZE);
                    sums[i * SPAN + j] = multiply_add(left, right, sums[i * SPAN + j], lane);
                }
            }
        }
    }

    // Store: whole tiles at once; those at an edge, and what is added to C, element by element through workgroup memory.
    let whole = row + TILE <= params.m && column + TILE <= params.n && params.n % 4u == 0u && ACCUMULATE == 0u;
    for (var i = 0u; i < SPAN; i++) {
        for (var j = 0u; j < SPAN; j++) {
            let corner = vec2(row + top + i * SIZE, column + first + j * SIZE);
            if whole {
                store_direct(sums[i * SPAN + j], (batch.index * params.m + corner.x) * params.n + corner.y, lane);
            } else {
                workgroupBarrier();
                stage(sums[i * SPAN + j], subgroup * SIZE * SIZE, lane);
                workgroupBarrier();
                for (var quad = lane; quad < SIZE * SIZE / 4u; quad += LANES) {
                    let start = subgroup * SIZE * SIZE + quad * 4u;
                    let four = vec4(staged[start], staged[start + 1u], staged[start + 2u], staged[start + 3u]);
                    store_four(batch, corner.x + quad / (SIZE / 4u), corner.y + quad % (SIZE / 4u) * 4u, four);
                }
            }
        }
    }
}
