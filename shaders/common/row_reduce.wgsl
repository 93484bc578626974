// Reductions over the 64 threads of a workgroup that works on one row; every thread gets the result. Deterministic: a fixed tree.
// Math: the sum or the maximum of a row's values. Layout: each thread brings one value. Dispatch: that of the kernel behind it, 64 threads for each row; a piece, without an entry point.

const LANES: u32 = 64u;

var<workgroup> row_scratch: array<f32, LANES>;

fn row_sum(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    row_scratch[lane] = value;
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lane < stride {
            row_scratch[lane] += row_scratch[lane + stride];
        }
    }
    workgroupBarrier();
    return row_scratch[0];
}

fn row_max(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    row_scratch[lane] = value;
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        workgroupBarrier();
        if lane < stride {
            row_scratch[lane] = max(row_scratch[lane], row_scratch[lane + stride]);
        }
    }
    workgroupBarrier();
    return row_scratch[0];
}

// A key that orders like the float: thresholds can be searched bit by bit.
fn sort_key(value: f32) -> u32 {
    // -0 sorts as 0
    let bits = bitcast<u32>(value + 0.0);
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
