//! Rows of segment attention. Its f64 forward is compared with a composite of other ops in `tests/src/attention.rs`.

use crate::dtype::DType;
use crate::ops::{self, Mask, Segment, Segments};

use super::{OpRow, Rng, Sample};

pub(super) fn rows() -> Vec<OpRow> {
    let row = |name, samples, random| OpRow { name, kernels: ops::attention::KERNELS, samples, random };
    vec![row("attention", samples, random), row("attention_over_halves", samples_of_halves, random_of_halves)]
}

fn samples() -> Vec<Sample> {
    let mut rng = Rng::new(11);
    let mut samples = Vec::new();
    for (mask, name) in [(Mask::Causal, "causal"), (Mask::Bidirectional, "bidirectional")] {
        for (heads, kv_heads) in [(2, 2), (4, 2), (3, 1)] {
            let packed = |lengths: &[usize]| match mask {
                Mask::Causal => Segments::causal(lengths),
                Mask::Bidirectional => Segments::bidirectional(lengths),
            };
            let what = format!("{name}, heads {heads}/{kv_heads}");
            samples.push(sample(&mut rng, &format!("ragged, {what}"), packed(&[1, 7, 66]), [heads, kv_heads, 8]));
            samples.push(sample(&mut rng, &format!("prefix shared, {what}"), shared_prefix(mask), [heads, kv_heads, 4]));
            samples.push(sample(&mut rng, &format!("decode, {what}"), decode(mask), [heads, kv_heads, 4]));
        }
    }
    // parts of keys: one that is full, two, three, beside a short segment; two queries of which the first ends a part earlier; three and eight heads to a key head
    for heads in [[1, 1, 4], [3, 1, 36], [16, 2, 8]] {
        samples.push(sample(&mut rng, &format!("decode, parts, {heads:?}"), decode_parts(), heads).forward_only());
    }
    samples.push(sample(&mut rng, "decode, many and long", decode_many(), [6, 3, 4]).forward_only());
    // eight threads share the quads of a row: less than one each, one, some with one more, all with four
    for (head_dim, lengths) in [(1, &[9][..]), (5, &[9]), (32, &[70]), (36, &[40]), (64, &[9]), (66, &[9]), (128, &[70, 3])] {
        samples.push(sample(&mut rng, &format!("head_dim {head_dim}"), Segments::causal(lengths), [2, 1, head_dim]));
    }
    samples.push(sample(&mut rng, "several key blocks", Segments::causal(&[300]), [1, 1, 4]));
    samples.push(sample(&mut rng, "chunked prefill", chunked_prefill(), [2, 1, 4]));
    samples.push(sample(&mut rng, "nothing seen", Segments::new(Vec::new(), 3, 2), [1, 1, 4]));
    samples.push(sample(&mut rng, "empty", Segments::causal(&[]), [1, 1, 4]));
    samples
}

/// Keys and values in f16 or bf16. The oracle reads the values that halves hold, so nothing is added to the rounding of f32.
fn samples_of_halves() -> Vec<Sample> {
    let mut rng = Rng::new(12);
    let mut samples = Vec::new();
    for dtype in [DType::F16, DType::BF16] {
        let mut add = |label: &str, segments: Segments, heads| {
            let sample = sample(&mut rng, &format!("{label}, {heads:?}, {dtype}"), segments, heads);
            samples.push(over_halves(sample, dtype));
        };
        for heads in [[2, 2, 4], [3, 1, 8], [4, 2, 12]] {
            add("prefix shared", shared_prefix(Mask::Causal), heads);
            add("decode", decode(Mask::Causal), heads);
        }
        // an odd number of quads in all: the last vector of 16 bytes is half full
        add("decode, an odd number of quads", Segments::causal(&[1, 2, 4]), [1, 1, 4]);
        for heads in [[1, 1, 4], [3, 1, 36], [16, 2, 8]] {
            add("decode, parts", decode_parts(), heads);
        }
        add("decode, many and long", decode_many(), [4, 2, 8]);
        // widths that are no multiples of 4, and all the ways to share the quads of a row
        for (head_dim, lengths) in [(1, &[9][..]), (6, &[9]), (32, &[70]), (36, &[40]), (64, &[9]), (66, &[3]), (128, &[70, 3])] {
            add("causal", Segments::causal(lengths), [2, 1, head_dim]);
        }
        add("several key blocks", Segments::causal(&[300]), [1, 1, 4]);
        add("chunked prefill", chunked_prefill(), [2, 1, 4]);
        add("nothing seen", Segments::new(Vec::new(), 3, 2), [1, 1, 4]);
        add("empty", Segments::causal(&[]), [1, 1, 4]);
    }
    samples
}

fn random_of_halves(rng: &mut Rng) -> Sample {
    let dtype = if rng.below(2) == 0 { DType::F16 } else { DType::BF16 };
    over_halves(random(rng), dtype)
}

fn over_halves(sample: Sample, dtype: DType) -> Sample {
    let mut sample = sample.forward_only();
    for input in &mut sample.inputs[1..] {
        input.dtype = dtype;
    }
    sample
}

/// A prompt, three responses to it of which one is empty, tokens in no segment between them, and a response to the middle of the prompt.
fn shared_prefix(mask: Mask) -> Segments {
    let segment = |query: std::ops::Range<usize>, prefix| Segment { keys: query.clone(), query, prefix, mask };
    let segments = vec![
        segment(70..75, Some(0..66)),
        segment(0..66, None),
        segment(75..76, Some(0..66)),
        segment(76..76, Some(0..66)),
        segment(78..81, Some(9..40)),
    ];
    Segments::new(segments, 83, 83)
}

/// One query against a prefix of more than one block and own keys; one against own keys alone; two queries.
fn decode(mask: Mask) -> Segments {
    let segments = vec![
        Segment { query: 0..1, keys: 70..75, prefix: Some(0..70), mask },
        Segment { query: 1..2, keys: 80..83, prefix: None, mask },
        Segment { query: 2..4, keys: 83..86, prefix: Some(0..3), mask },
    ];
    Segments::new(segments, 4, 90)
}

fn decode_parts() -> Segments {
    let mask = Mask::Causal;
    let segments = vec![
        Segment { query: 0..1, keys: 250..256, prefix: Some(0..250), mask },
        Segment { query: 1..2, keys: 256..263, prefix: Some(0..250), mask },
        Segment { query: 2..3, keys: 300..900, prefix: None, mask },
        Segment { query: 3..4, keys: 900..905, prefix: None, mask },
        Segment { query: 5..7, keys: 905..912, prefix: Some(0..250), mask },
    ];
    Segments::new(segments, 7, 912)
}

/// As many lone queries over as many keys as the CPU treats apart, beside one over few.
fn decode_many() -> Segments {
    let mut segments: Vec<Segment> = (0..17)
        .map(|i| Segment { query: i..i + 1, keys: 1010 + 20 * i..1030 + 20 * i, prefix: Some(0..1010), mask: Mask::Causal })
        .collect();
    segments.push(Segment { query: 17..18, keys: 40..50, prefix: None, mask: Mask::Causal });
    Segments::new(segments, 18, 1350)
}

/// The queries at the end of longer keys, then more queries than keys: the first of them see nothing.
fn chunked_prefill() -> Segments {
    let segments = vec![
        Segment { query: 0..6, keys: 0..20, prefix: None, mask: Mask::Causal },
        Segment { query: 6..12, keys: 20..23, prefix: None, mask: Mask::Causal },
    ];
    Segments::new(segments, 12, 23)
}

fn random(rng: &mut Rng) -> Sample {
    let mut segments = Vec::new();
    let (mut queries, mut kv) = (rng.below(3), rng.length(20));
    let shared = kv;
    for _ in 0..1 + rng.below(4) {
        let (n, keys) = (rng.length(40), rng.length(40));
        let prefix = (rng.below(2) == 0).then(|| rng.below(shared)..shared);
        let mask = if rng.below(2) == 0 { Mask::Causal } else { Mask::Bidirectional };
        segments.push(Segment { query: queries..queries + n, keys: kv..kv + keys, prefix, mask });
        queries += n + rng.below(2);
        kv += keys;
    }
    // Where every query sees a single key, no score has a gradient: the expected values are 0, and rounding has nothing to be measured by. Two queries that see
    // two keys each give a scale to any sample.
    segments.push(Segment { query: queries..queries + 2, keys: kv..kv + 2, prefix: None, mask: Mask::Bidirectional });
    (queries, kv) = (queries + 2, kv + 2);
    let group = 1 + rng.below(3);
    let kv_heads = 1 + rng.below(2);
    let head_dim = 1 + rng.below(9);
    sample(rng, "random", Segments::new(segments, queries, kv), [kv_heads * group, kv_heads, head_dim])
}

fn sample(rng: &mut Rng, label: &str, segments: Segments, [heads, kv_heads, head_dim]: [usize; 3]) -> Sample {
    let kv = [segments.kv_tokens(), kv_heads, head_dim];
    let inputs = vec![rng.normal(&[segments.query_tokens(), heads, head_dim]), rng.normal(&kv), rng.normal(&kv)];
    let scale = 1.0 / (head_dim as f32).sqrt();
    Sample::new(label, inputs, move |x| vec![x[0].attention(&x[1], &x[2], &segments, scale)])
}
