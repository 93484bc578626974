// mask[r, i] = 1 where x[r, i] is at least the k[r]-th largest of its row and not -∞, else 0. Ties are kept; k = 0 selects nothing.
// The threshold is built from its highest bit down: a bit stays if still at least k keys reach the candidate.
// Dispatch: one workgroup of 64 per row, linear. Needs common/row_reduce.wgsl.

struct Params {
    rows: u32,
    cols: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<u32>;
@group(0) @binding(2) var<storage, read_write> mask: array<f32>;

@compute @workgroup_size(64)
fn top_k_mask(at: Invocation) {
    let row = group_index(at);
    if row >= params.rows {
        return;
    }
    let start = row * params.cols;
    let wanted = k[row];
    var threshold = 0u;
    for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
        let candidate = threshold | bit;
        var reached = 0.0;
        for (var i = at.lane; i < params.cols; i += LANES) {
            reached += select(0.0, 1.0, sort_key(x[start + i]) >= candidate);
        }
        if u32(row_sum(at.lane, reached)) >= wanted {
            threshold = candidate;
        }
    }
    for (var i = at.lane; i < params.cols; i += LANES) {
        let value = x[start + i];
        let is_kept = wanted > 0u && sort_key(value) >= threshold && bitcast<u32>(value) != 0xff800000u;
        mask[start + i] = select(0.0, 1.0, is_kept);
    }
}
