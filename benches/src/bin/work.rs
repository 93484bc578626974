//! Counts.
use percept_benches::work::{DECODERS, products};

fn main() {
    for decoder in &DECODERS {
        let mut all = products::decoding(decoder, 64);
        for tokens in [64, 512, 4096] {
            all.extend(products::training(decoder, tokens));
        }
        for p in all {
            let [moved, asked, fewest] = p.bytes();
            let s = p.sizes;
            println!("{:14} {:18} {:12} {:>6}x{:>6}x{:>6} {:?} {:?} sl {} wg {} st {} {:?} | {:.2} {:.2}", decoder.name, p.pass, p.weight, s.m, s.n, s.k, p.plan.variant, p.plan.tile, p.plan.slices, p.plan.workgroups, p.plan.steps, p.excuse(), moved as f64 / fewest as f64, asked as f64 / fewest as f64);
        }
    }
}
