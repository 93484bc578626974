// The textbook matrix product: 16x16 tiles of A and B in workgroup memory, one element of C per thread. The baseline of the benches, never chosen.
// Math and layout: common/matmul.wgsl.
//
// Dispatch: one workgroup of 256 threads per [16, 16] tile of C; columns fastest, then rows, then batches. Needs: 2 KiB of workgroup memory.

const TILE = 16u;
var<workgroup> left_tile: array<array<f32, TILE>, TILE>;
var<workgroup> right_tile: array<array<f32, TILE>, TILE>;

@compute @workgroup_size(TILE, TILE)
fn main(at: Invocation) {
    let local = vec2(at.lane % TILE, at.lane / TILE);
    let tiles_m = (params.m + TILE - 1u) / TILE;
    let tiles_n = (params.n + TILE - 1u) / TILE;
    let tile = group_index(at);
    if tile >= params.batches * tiles_m * tiles_n {
        return;
    }
    let batch = batch_at(tile / (tiles_m * tiles_n));
    let row = tile / tiles_n % tiles_m * TILE + local.y;
    let column = tile % tiles_n * TILE + local.x;

    var sum = 0.0;
    for (var start = 0u; start < params.k; start += TILE) {
        // Load a tile of each; zero outside.
        var left = 0.0;
        var right = 0.0;
        if row < params.m && start + local.x < params.k {
            left = left_at(batch.a + row * params.a_row + (start + local.x) * params.a_column);
        }
        if column < params.n && start + local.y < params.k {
            right = right_at(batch.b + (start + local.y) * params.b_row + column * params.b_column);
        }
        left_tile[local.y][local.x] = left;
        right_tile[local.y][local.x] = right;
        workgroupBarrier();

        // Products.
        for (var k = 0u; k < TILE; k++) {
            sum = fma(left_tile[local.y][k], right_tile[k][local.x], sum);
        }
        workgroupBarrier();
    }

    // Store.
    if row < params.m && column < params.n {
        let place = (batch.index * params.m + row) * params.n + column;
        if ACCUMULATE == 1u {
            c[place] += sum;
        } else {
            c[place] = sum;
        }
    }
}
