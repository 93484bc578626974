// The operations of matmul_cooperative.wgsl on cooperative matrices. cooperative_scalar.wgsl is their twin in plain arithmetic.
// `lane` is for the twin: here a subgroup acts as one.
// Math: S += A B, elements of A and B in f16, sums in f32. Layout: A and B in workgroup memory, rows of LEFT_STRIDE and RIGHT_STRIDE halves, written by
// matmul_cooperative.wgsl. Dispatch: that of the same; a piece, without an entry point.

fn load_left(at: u32) -> Left {
    return coopLoadT<Left>(&left_tile[at], LEFT_STRIDE);
}

fn load_right(at: u32) -> Right {
    return coopLoadT<Right>(&right_tile[at], RIGHT_STRIDE);
}

fn multiply_add(left: Left, right: Right, sum: Sum, lane: u32) -> Sum {
    return coopMultiplyAdd(left, right, sum);
}

fn stage(sum: Sum, at: u32, lane: u32) {
    coopStoreT(sum, &staged[at], SIZE);
}

fn store_direct(sum: Sum, at: u32, lane: u32) {
    // naga 30 evaluates no expression inside the arguments of a store: name it first.
    let stride = params.n;
    coopStoreT(sum, &c[at], stride);
}
