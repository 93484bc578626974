// The sums of squares of up to seven gradients, in parts of about 64 numbers; what is left of seven has length 0.
// A gradient is cut into stretches of 16,384 numbers, and a stretch of n into ⌈n / 64⌉ parts: part t has its numbers t, t + parts, t + 2 parts, …, so that neighbours read neighbours.
//   partials[offset + ..] = Σ g²;  those of a stretch behind those of the one before it, those of a gradient behind those of the one before it
// Dispatch: one thread per partial, linear groups of 256.

struct Params {
    offset: u32,
    length_0: u32,
    length_1: u32,
    length_2: u32,
    length_3: u32,
    length_4: u32,
    length_5: u32,
    length_6: u32,
}

var<immediate> params: Params;

@group(0) @binding(0) var<storage, read> gradient_0: array<f32>;
@group(0) @binding(1) var<storage, read> gradient_1: array<f32>;
@group(0) @binding(2) var<storage, read> gradient_2: array<f32>;
@group(0) @binding(3) var<storage, read> gradient_3: array<f32>;
@group(0) @binding(4) var<storage, read> gradient_4: array<f32>;
@group(0) @binding(5) var<storage, read> gradient_5: array<f32>;
@group(0) @binding(6) var<storage, read> gradient_6: array<f32>;
@group(0) @binding(7) var<storage, read_write> partials: array<f32>;

@compute @workgroup_size(256)
fn sum_squares(at: Invocation) {
    var lengths = array<u32, 7>(
        params.length_0,
        params.length_1,
        params.length_2,
        params.length_3,
        params.length_4,
        params.length_5,
        params.length_6,
    );
    // which gradient, and which of its parts
    var which = 0u;
    var part = element(at);
    while which < 7u && part >= (lengths[which] + 63u) / 64u {
        part -= (lengths[which] + 63u) / 64u;
        which += 1u;
    }
    if which == 7u {
        return;
    }
    let start = part / 256u * 16384u;
    let end = min(start + 16384u, lengths[which]);
    let parts = (end - start + 63u) / 64u;
    var total = 0.0;
    for (var i = start + part % 256u; i < end; i += parts) {
        let g = number(which, i);
        total += g * g;
    }
    partials[params.offset + element(at)] = total;
}

fn number(which: u32, i: u32) -> f32 {
    switch which {
        case 0u: { return gradient_0[i]; }
        case 1u: { return gradient_1[i]; }
        case 2u: { return gradient_2[i]; }
        case 3u: { return gradient_3[i]; }
        case 4u: { return gradient_4[i]; }
        case 5u: { return gradient_5[i]; }
        default: { return gradient_6[i]; }
    }
}
