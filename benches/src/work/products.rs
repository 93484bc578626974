//! The matrix products of a decoder, and what the engine plans for each.

use percept_engine::ops::{Cut, ProductPlan, ProductSizes, RightAxis, RowRule, product_plan};

use super::Decoder;
use super::cache::{Reads, SIDE_BY_SIDE};

/// One product of a model.
pub struct Product {
    /// When it runs, and over how many tokens.
    pub pass: String,
    /// Which weight it is about.
    pub weight: &'static str,
    /// Its sizes.
    pub sizes: ProductSizes,
    /// What the engine runs.
    pub plan: ProductPlan,
    /// Bytes of an element of the right side.
    right_bytes: usize,
}

/// The products of decoding with as many sequences, of a layer and the head.
pub fn decoding(decoder: &Decoder, sequences: usize) -> Vec<Product> {
    weights(decoder).into_iter().map(|weight| forward(decoder, "decode", sequences, RowRule::Few, weight)).collect()
}

/// The products of a forward and backward pass over as many tokens, of a layer and the head.
pub fn training(decoder: &Decoder, tokens: usize) -> Vec<Product> {
    let mut products = Vec::new();
    for weight @ (name, [outputs, inputs]) in weights(decoder).into_iter().chain(adapter(decoder)) {
        // the head goes through the tokens in chunks, of 4 MiB of logits or 64 rows
        let tokens = if name == "head" { tokens.min(((1 << 20) / outputs / 64).max(1) * 64) } else { tokens };
        products.push(forward(decoder, "forward", tokens, RowRule::Count, weight));
        let columns = RightAxis::Columns;
        let gradient = |pass: &str, [m, n, k]: [usize; 3], right_bytes| {
            let sizes = ProductSizes { batches: 1, m, n, k, right: columns };
            Product {
                pass: format!("{pass}, {tokens}"),
                weight: name,
                sizes,
                plan: product_plan(sizes, RowRule::Count, Cut::Gradient),
                right_bytes,
            }
        };
        products.push(gradient("of inputs", [tokens, inputs, outputs], decoder.weight_bytes));
        products.push(gradient("of weights", [outputs, inputs, tokens], 4));
    }
    products
}

/// The two weights of an adapter beside the widest layer.
fn adapter(decoder: &Decoder) -> [(&'static str, [usize; 2]); 2] {
    const RANK: usize = 16;
    [("down, LoRA A", [RANK, decoder.intermediate]), ("down, LoRA B", [decoder.hidden, RANK])]
}

/// Names and `[out, in]`.
fn weights(decoder: &Decoder) -> [(&'static str, [usize; 2]); 5] {
    let &Decoder { hidden, intermediate, heads, kv_heads, head_dim, vocab, .. } = decoder;
    [
        ("qkv", [(heads + 2 * kv_heads) * head_dim, hidden]),
        ("o", [hidden, heads * head_dim]),
        ("gate and up", [2 * intermediate, hidden]),
        ("down", [hidden, intermediate]),
        ("head", [vocab, hidden]),
    ]
}

fn forward(decoder: &Decoder, pass: &str, rows: usize, rule: RowRule, (weight, [outputs, inputs]): (&'static str, [usize; 2])) -> Product {
    let sizes = ProductSizes { batches: 1, m: rows, n: outputs, k: inputs, right: RightAxis::Inner };
    let plan = product_plan(sizes, rule, if rule == RowRule::Count { Cut::Forward } else { Cut::Never });
    Product { pass: format!("{pass}, {rows}"), weight, sizes, plan, right_bytes: decoder.weight_bytes }
}

/// Most times round the inner loop that the row allows.
pub const STEPS: usize = 64;

/// How well workgroups share a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Four workgroups for each processor, none of which goes round more than [`STEPS`] times.
    Well,
    /// Workgroups enough, of which each goes round more often: all processors are busy, and cutting further would move more bytes.
    Long,
    /// Too few workgroups, of a product so small that it is over before the next launch can begin.
    Small,
    /// Too few workgroups.
    Missed,
}

impl Product {
    /// How far the sharing goes.
    pub fn sharing(&self) -> Sharing {
        /// About what a large card multiplies in the three microseconds that a launch takes.
        const LAUNCH: usize = 1 << 26;
        let ProductSizes { batches, m, n, k, .. } = self.sizes;
        match self.plan.workgroups >= SIDE_BY_SIDE {
            true if self.plan.steps <= STEPS => Sharing::Well,
            true => Sharing::Long,
            false if batches * m * n * k <= LAUNCH => Sharing::Small,
            false => Sharing::Missed,
        }
    }

    /// Bytes from memory, what the caches are asked for, and the fewest possible.
    pub fn bytes(&self) -> [u64; 3] {
        let ProductSizes { m, n, k, .. } = self.sizes;
        let ProductPlan { slices, tile: [rows, columns], band, .. } = self.plan;
        let (tiles_m, tiles_n) = (m.div_ceil(rows), n.div_ceil(columns));
        let steps = k.div_ceil(slices);
        let workgroups = (0..slices * tiles_m * tiles_n).map(|number| {
            let (slice, [row, column]) = (number / (tiles_m * tiles_n), place(number % (tiles_m * tiles_n), [tiles_m, tiles_n], band));
            let left = (rows.min(m - row * rows) * steps * 4) as u64;
            let right = (columns.min(n - column * columns) * steps * self.right_bytes) as u64;
            vec![((slice * tiles_m + row) as u64 * 2, left), ((slice * tiles_n + column) as u64 * 2 + 1, right)]
        });
        let reads = Reads::of(workgroups);
        let result = (m * n * 4) as u64;
        // slices are written, read, and their sum is written
        let written = if slices > 1 { (2 * slices as u64 + 1) * result } else { result };
        let fewest = (m * k * 4 + k * n * self.right_bytes) as u64 + result;
        [reads.moved + written, reads.asked + written, fewest]
    }
}

/// `tile_at` of shaders/common/matmul.wgsl.
fn place(number: usize, [tiles_m, tiles_n]: [usize; 2], band: usize) -> [usize; 2] {
    let first = number / (band * tiles_n) * band;
    let rows = band.min(tiles_m - first);
    let place = number % (band * tiles_n);
    [first + place % rows, place / rows]
}
