// The twin of cooperative.wgsl in plain arithmetic: the same tiles and the same rounding to f16, one element of a sum after the other. It lets any
// device test what surrounds the cooperative operations. Needs LANES = 32.
// Math: S += A B, elements of A and B in f16, sums in f32. Layout: A and B in workgroup memory, rows of LEFT_STRIDE and RIGHT_STRIDE halves, written by
// matmul_cooperative.wgsl. Dispatch: that of the same; a piece, without an entry point.

fn load_left(at: u32) -> Left {
    return at;
}

fn load_right(at: u32) -> Right {
    return at;
}

fn multiply_add(left: Left, right: Right, sum: Sum, lane: u32) -> Sum {
    var total = sum;
    for (var i = 0u; i < SIZE * SIZE / 32u; i++) {
        let row = (lane + i * 32u) / SIZE;
        let column = (lane + i * 32u) % SIZE;
        for (var k = 0u; k < SIZE; k++) {
            total[i] += f32(left_tile[left + row * LEFT_STRIDE + k]) * f32(right_tile[right + k * RIGHT_STRIDE + column]);
        }
    }
    return total;
}

fn stage(sum: Sum, at: u32, lane: u32) {
    for (var i = 0u; i < SIZE * SIZE / 32u; i++) {
        staged[at + lane + i * 32u] = sum[i];
    }
}

fn store_direct(sum: Sum, at: u32, lane: u32) {
    for (var i = 0u; i < SIZE * SIZE / 32u; i++) {
        c[at + (lane + i * 32u) / SIZE * params.n + (lane + i * 32u) % SIZE] = sum[i];
    }
}
