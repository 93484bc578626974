//! How the products of three models are shared out among workgroups, and what each kernel moves: counted from sizes and tiles, without a GPU.
//!
//! `cargo run -p percept-benches --no-default-features --bin work` writes `benches/results/work.md`.

use std::fmt::Write;
use std::process::ExitCode;

use percept_benches::work::products::{Product, Sharing, decoding, training};
use percept_benches::work::{DECODERS, Decoder, kernels};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/work.md");

const HEAD: &str = "\
# What a large GPU is asked to do

Written by `cargo run -p percept-benches --no-default-features --bin work`: counted from the sizes of three decoders and from the engine's own choices. Nothing ran.

The card that is meant has 132 processors with four workgroups each side by side (528), and a cache of 32 MiB for all of them. *Memory*: bytes that come from memory or go there, over the fewest
possible (every input read once, every output written once). What workgroups that run side by side need at the same time is read once; after that the cache keeps what was used last. *Cache*: the same of
what workgroups ask the cache for, each number once per workgroup.

";

const PRODUCTS: &str = "\
## Products

Of one layer, of an adapter of rank 16, and of the head. Decoding: 64 sequences. Training: passes over 64, 512 and 4,096 tokens; the head goes through them in chunks. *Steps*: times round the loop over the inner axis. The row to reach is
528 workgroups, and no more than 64 steps. Where it is missed, the last column says:

- *long*: workgroups enough, each with more steps. All processors are busy to the end; to cut the inner axis further would write and read more sums.
- *small*: fewer than 2^26 multiplications in all, which the card does in the time that a launch takes.
- *missed*: neither.

";

const KERNELS: &str = "\
## Other kernels

Attention: workgroups read blocks of keys and values for 32 rows, of (query, head) pairs; decoding for four, and parts of 256 keys. The others: a row to a workgroup (elementwise kernels: 256 numbers),
which reads it again where the last column is above 1.

";

fn main() -> ExitCode {
    match std::fs::write(TABLE, table()) {
        Ok(()) => {
            println!("{TABLE}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{TABLE}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn table() -> String {
    let mut text = format!("{HEAD}{PRODUCTS}");
    for decoder in &DECODERS {
        let all: Vec<Product> = passes(decoder).collect();
        let count = |wanted| all.iter().filter(|product| product.sharing() == wanted).count();
        let [well, long, small, missed] = [Sharing::Well, Sharing::Long, Sharing::Small, Sharing::Missed].map(count);
        let name = decoder.name;
        let _ = writeln!(text, "### {name}\n\n{} products: {well} as asked, {long} long, {small} small, {missed} missed.\n", all.len());
        text.push_str("| product | weight | m × n × k | kernel | tile | slices | workgroups | steps | memory | cache | |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
        all.iter().for_each(|product| text.push_str(&line(product)));
        text.push('\n');
    }
    text.push_str(KERNELS);
    for decoder in &DECODERS {
        let _ = writeln!(text, "### {}\n\n| kernel | on | workgroups | memory | cache |\n|---|---|---|---|---|", decoder.name);
        for moved in kernels::of(decoder) {
            let [memory, cache] = [moved.moved, moved.asked].map(|bytes| bytes as f64 / moved.fewest as f64);
            let _ = writeln!(text, "| {} | {} | {} | {memory:.2} | {cache:.2} |", moved.kernel, moved.case, moved.workgroups);
        }
        text.push('\n');
    }
    text.trim_end().to_string() + "\n"
}

fn passes(decoder: &Decoder) -> impl Iterator<Item = Product> {
    decoding(decoder, 64).into_iter().chain([64, 512, 4096].into_iter().flat_map(|tokens| training(decoder, tokens)))
}

fn line(product: &Product) -> String {
    let (sizes, plan) = (product.sizes, product.plan);
    let [memory, cache, fewest] = product.bytes().map(|bytes| bytes as f64);
    let word = match product.sharing() {
        Sharing::Well => "",
        Sharing::Long => "long",
        Sharing::Small => "small",
        Sharing::Missed => "missed",
    };
    let [rows, columns] = plan.tile;
    format!(
        "| {} | {} | {} × {} × {} | {:?} | {rows} × {columns} | {} | {} | {} | {:.2} | {:.1} | {word} |\n",
        product.pass,
        product.weight,
        sizes.m,
        sizes.n,
        sizes.k,
        plan.variant,
        plan.slices,
        plan.workgroups,
        plan.steps,
        memory / fewest,
        cache / fewest
    )
}
