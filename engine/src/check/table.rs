//! The op table: one row per op. Rows of a family stand in one file.

mod attention;
mod elementwise;
mod head;
mod indexing;
mod matmul;
mod movement;
mod optim;
mod positions;
mod reduce;
mod rows;
mod sampling;

use crate::kernel::Kernel;

use super::sample::{Input, Rng, Sample};

/// One op.
pub struct OpRow {
    /// Name, as in the shader and the method.
    pub name: &'static str,
    /// Its kernels. Every kernel of the engine stands in at least one row.
    pub kernels: &'static [&'static Kernel],
    /// The fixed samples: odd, prime, 1, empty, larger than a workgroup.
    pub samples: fn() -> Vec<Sample>,
    /// A random sample for the property tests.
    pub random: fn(&mut Rng) -> Sample,
}

/// All rows.
pub fn ops() -> Vec<OpRow> {
    [
        elementwise::rows(),
        matmul::rows(),
        reduce::rows(),
        rows::rows(),
        movement::rows(),
        indexing::rows(),
        positions::rows(),
        optim::rows(),
        sampling::rows(),
        head::rows(),
        attention::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The kernels of all rows, each once: every kernel of the engine.
pub fn kernels() -> Vec<&'static Kernel> {
    let mut all: Vec<&Kernel> = ops().iter().flat_map(|row| row.kernels).copied().collect();
    all.sort_by_key(|kernel| (kernel.name, std::ptr::from_ref(*kernel) as usize));
    all.dedup_by_key(|kernel| std::ptr::from_ref(*kernel));
    all
}

/// Lengths that break kernels: 1, odd, prime, a workgroup, one more.
pub(super) const AWKWARD: [usize; 6] = [1, 3, 31, 256, 257, 1000];
