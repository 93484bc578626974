// One workgroup of 128 lanes a row: what the lanes found is joined by a tree in workgroup memory, in an order that depends on nothing.
// Every lane of the workgroup calls these together and receives the result.

const LANES = 128u;

var<workgroup> partials: array<f32, 128>;

fn row_sum(lane: u32, value: f32) -> f32 {
    partials[lane] = value;
    workgroupBarrier();
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        if lane < stride {
            partials[lane] += partials[lane + stride];
        }
        workgroupBarrier();
    }
    let total = partials[0];
    workgroupBarrier(); // the next call overwrites
    return total;
}

fn row_max(lane: u32, value: f32) -> f32 {
    partials[lane] = value;
    workgroupBarrier();
    for (var stride = LANES / 2u; stride > 0u; stride /= 2u) {
        if lane < stride {
            partials[lane] = max(partials[lane], partials[lane + stride]);
        }
        workgroupBarrier();
    }
    let largest = partials[0];
    workgroupBarrier();
    return largest;
}
