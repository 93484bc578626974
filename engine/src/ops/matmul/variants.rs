//! The GPU kernels of the matrix product, and which of them runs.

use super::cpu::forward;
use super::plan::{self, Cut, ProductSizes, RightAxis};
use super::rows::{are_few_by, rule};
use super::{Kernels, Params, Store};
use crate::device::Device;
use crate::dtype::DType;
use crate::gpu::{AdapterReport, CooperativeTile};
use crate::kernel::{Feature, Kernel};
use crate::tensor::Tensor;
use crate::tune::{CooperativeSize, MatmulVariant as Variant};
use crate::{kernel, wgsl};

static TILED: Kernel = kernel!(wgsl!("common/matmul.wgsl", "matmul.wgsl"), "main", Params, forward).overriding(&[
    LEFT,
    RIGHT,
    TYPE,
    STORE,
    ("ROWS", &[32, 64]),
    ("COLUMNS", &[32, 64]),
]);
static PLAIN: Kernel =
    kernel!(wgsl!("common/matmul.wgsl", "matmul_plain.wgsl"), "main", Params, forward).overriding(&[LEFT, RIGHT, TYPE, STORE]);
static SKINNY: Kernel = kernel!(wgsl!("common/matmul.wgsl", "matmul_skinny.wgsl"), "main", Params, forward).overriding(&[
    LEFT,
    RIGHT,
    TYPE,
    STORE,
    ("ROWS", &[4, 8]),
    ("QUADS", &[1, 16]),
    ("SPAN", &[1, 4]),
]);
static SUBGROUP: Kernel = kernel!(wgsl!("common/matmul.wgsl", "matmul_subgroup.wgsl"), "main", Params, forward, [Feature::Subgroups])
    .overriding(&[LEFT, RIGHT, TYPE, STORE, LANES]);
static COOPERATIVE_8: Kernel = kernel!(
    wgsl!("common/cooperative_8.wgsl", "common/matmul.wgsl", "common/cooperative.wgsl", "matmul_cooperative.wgsl"),
    "main",
    Params,
    forward,
    [Feature::F16, Feature::CooperativeMatrix]
)
.overriding(&[LEFT, RIGHT, TYPE, STORE, LANES]);
static COOPERATIVE_16: Kernel = kernel!(
    wgsl!("common/cooperative_16.wgsl", "common/matmul.wgsl", "common/cooperative.wgsl", "matmul_cooperative.wgsl"),
    "main",
    Params,
    forward,
    [Feature::F16, Feature::CooperativeMatrix]
)
.overriding(&[LEFT, RIGHT, TYPE, STORE, LANES]);
static SCALAR_8: Kernel = kernel!(
    wgsl!("common/cooperative_scalar_8.wgsl", "common/matmul.wgsl", "common/cooperative_scalar.wgsl", "matmul_cooperative.wgsl"),
    "main",
    Params,
    forward,
    [Feature::F16]
)
.overriding(&[LEFT, RIGHT, TYPE, STORE, ("LANES", &[32])]);
static SCALAR_16: Kernel = kernel!(
    wgsl!("common/cooperative_scalar_16.wgsl", "common/matmul.wgsl", "common/cooperative_scalar.wgsl", "matmul_cooperative.wgsl"),
    "main",
    Params,
    forward,
    [Feature::F16]
)
.overriding(&[LEFT, RIGHT, TYPE, STORE, ("LANES", &[32])]);

const LEFT: (&str, &[u32]) = ("LEFT_LAYOUT", &[0, 1, 2]);
const RIGHT: (&str, &[u32]) = ("RIGHT_LAYOUT", &[0, 1, 2]);
const TYPE: (&str, &[u32]) = ("RIGHT_TYPE", DType::FLOAT_CODES);
const STORE: (&str, &[u32]) = ("ACCUMULATE", &[0, 1]);
/// Lanes of a subgroup: SwiftShader has 4, lavapipe 8, Intel 16, NVIDIA and Apple 32, older AMD 64.
const LANES: (&str, &[u32]) = ("LANES", &[4, 8, 16, 32, 64]);

pub(crate) const KERNELS: &[&Kernel] = &[&TILED, &SUBGROUP, &SKINNY, &PLAIN];
pub(crate) const COOPERATIVE_KERNELS: &[&Kernel] = &[&COOPERATIVE_8, &COOPERATIVE_16, &SCALAR_8, &SCALAR_16];

impl Variant {
    /// True if the device can run it. The CPU has one kernel, which stands for all.
    pub fn runs_on(self, device: &Device) -> bool {
        let Some(adapter) = device.adapter() else {
            return true;
        };
        match self {
            Variant::Tile | Variant::Skinny | Variant::Plain => true,
            Variant::Subgroup => lanes(adapter).is_some(),
            Variant::CooperativeScalar(_) => adapter.f16,
            Variant::Cooperative(size) => {
                let fits = |tile: &CooperativeTile| {
                    [tile.m, tile.n, tile.k] == [size as u32; 3] && tile.inputs == "f16" && tile.accumulator == "f32"
                };
                adapter.f16 && lanes(adapter).is_some() && adapter.cooperative_tiles.iter().any(fits)
            }
        }
    }

    /// Whether it rounds its inputs to f16.
    fn rounds(self) -> bool {
        matches!(self, Variant::Cooperative(_) | Variant::CooperativeScalar(_))
    }

    /// The tuned choice of this device if there is one and it is allowed, else the rule. Measured: on software Vulkan `Subgroup` is 3 to 8 times as fast as `Tile` from
    /// one row up. Hardware takes `Tile`, and `Skinny` for few rows.
    fn choose(device: &Device, sizes: ProductSizes, is_allowed: impl Fn(Variant) -> bool) -> Variant {
        let (tuning, is_thin) = (device.tuning(), are_few_by(rule(), sizes.m));
        let tuned = if is_thin { tuning.thin } else { tuning.wide };
        tuned.filter(|variant| variant.runs_on(device) && is_allowed(*variant)).unwrap_or_else(|| match device.adapter() {
            Some(adapter) if adapter.software && lanes(adapter).is_some() => Variant::Subgroup,
            _ if plan::is_thin(rule(), sizes) => Variant::Skinny,
            _ => Variant::Tile,
        })
    }
}

/// The kernel for products of so many rows, if the rule in force takes them as few. The CPU has one kernel, which stands for all.
pub(crate) fn chosen_for_few(device: &Device, rows: usize) -> Option<Variant> {
    let sizes = ProductSizes { batches: 1, m: rows, n: 1, k: 1, right: RightAxis::Inner };
    are_few_by(rule(), rows).then(|| if device.is_cpu() { Variant::Skinny } else { Variant::choose(device, sizes, |_| true) })
}

/// Into how many slices the inner axis of a product is best cut; 1 on the CPU, which cuts inside its kernel.
pub(super) fn slices(device: &Device, sizes: ProductSizes, cut: Cut) -> usize {
    match device.adapter() {
        None => 1,
        Some(adapter) if adapter.software => plan::slices(4, sizes, cut),
        Some(_) if plan::is_thin(rule(), sizes) => 1,
        Some(_) => plan::slices(plan::WORKGROUPS, sizes, cut),
    }
}

/// Lanes of a subgroup, if they are always the same number, one that the kernels can split into quads, and small enough for a workgroup of four.
fn lanes(adapter: &AdapterReport) -> Option<u32> {
    let lanes = lanes_of(&adapter.backend, &adapter.name, [adapter.subgroup_min_size, adapter.subgroup_max_size])?;
    (adapter.subgroups && 4 * lanes <= adapter.max_workgroup_size).then_some(lanes)
}

fn lanes_of(backend: &str, name: &str, [min, max]: [u32; 2]) -> Option<u32> {
    // wgpu says 4 to 64 of everything that Metal reaches; SIMD groups of Apple's GPUs have 32 threads
    if backend == "metal" && name.starts_with("Apple") {
        return Some(32);
    }
    (min == max && min >= 4 && min.is_multiple_of(4)).then_some(min)
}

#[track_caller]
pub(super) fn launch(params: &Params, a: &Tensor, b: &Tensor, y: &Tensor, store: Store, kernels: Kernels) {
    let adapter = a.device().adapter();
    let sizes = params.product();
    let variant = match kernels {
        Kernels::Only(variant) => variant,
        Kernels::Tuned => Variant::choose(a.device(), sizes, |_| true),
        Kernels::Exact => Variant::choose(a.device(), sizes, |variant| !variant.rounds()),
    };
    let lanes = adapter.and_then(lanes).unwrap_or(32);
    let mut constants = vec![
        ("LEFT_LAYOUT", f64::from(params.left_layout())),
        ("RIGHT_LAYOUT", f64::from(params.right_layout())),
        ("RIGHT_TYPE", f64::from(if b.dtype() == DType::F64 { 0 } else { b.dtype().code() })),
        ("ACCUMULATE", f64::from(u8::from(store == Store::Accumulate))),
    ];
    let (kernel, rows, columns) = match variant {
        Variant::Tile => {
            let [rows, columns] = plan::tile(sizes);
            constants.extend([("ROWS", rows as f64), ("COLUMNS", columns as f64)]);
            (&TILED, rows, columns)
        }
        Variant::Plain => (&PLAIN, 16, 16),
        Variant::Subgroup => {
            constants.push(("LANES", f64::from(lanes)));
            (&SUBGROUP, 16, 4 * lanes as usize)
        }
        Variant::Skinny => {
            let [rows, columns] = plan::thin_tile(sizes);
            let quads = plan::quads(sizes.right);
            constants.extend([("ROWS", rows as f64), ("QUADS", quads as f64), ("SPAN", (columns / 4 / quads) as f64)]);
            (&SKINNY, rows, columns)
        }
        Variant::Cooperative(size) => {
            constants.push(("LANES", f64::from(lanes)));
            (if size == CooperativeSize::Eight { &COOPERATIVE_8 } else { &COOPERATIVE_16 }, 64, 64)
        }
        Variant::CooperativeScalar(size) => {
            constants.push(("LANES", 32.0));
            (if size == CooperativeSize::Eight { &SCALAR_8 } else { &SCALAR_16 }, 64, 64)
        }
    };
    let groups = plan::workgroups(sizes, [rows, columns]);
    let multiply_adds = [params.batches, params.m, params.n, params.k].iter().map(|&size| u64::from(size)).product();
    kernel.launch(params).constants(&constants).strided(a).strided(b).output(y).groups(groups).multiply_adds(multiply_adds).run();
}

impl Params {
    fn product(&self) -> ProductSizes {
        let right = if self.right_layout() == 1 { RightAxis::Inner } else { RightAxis::Columns };
        let [batches, m, n, k] = [self.batches, self.m, self.n, self.k].map(|size| size as usize);
        ProductSizes { batches, m, n, k, right }
    }

    /// How the shader may read four neighbours of A: 1 as a vector along k, 2 along m, 0 one by one.
    fn left_layout(&self) -> u32 {
        let base = [self.a_offset, self.a_outer, self.a_inner];
        vector_axis(base, (self.k, self.a_column), (self.m, self.a_row))
    }

    /// The same for B: 1 along k, 2 along n.
    fn right_layout(&self) -> u32 {
        let base = [self.b_offset, self.b_outer, self.b_inner];
        vector_axis(base, (self.k, self.b_row), (self.n, self.b_column))
    }
}

/// 1 or 2 if the first or the second axis (length, stride) can be read four at a time: stride 1, and all else a multiple of 4.
fn vector_axis(base: [u32; 3], first: (u32, u32), second: (u32, u32)) -> u32 {
    let fits = |(length, stride): (u32, u32), other: (u32, u32)| {
        stride == 1 && length.is_multiple_of(4) && other.1.is_multiple_of(4) && base.iter().all(|value| value.is_multiple_of(4))
    };
    match () {
        () if fits(first, second) => 1,
        () if fits(second, first) => 2,
        () => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::lanes_of;

    #[test]
    fn subgroups_of_one_size_have_lanes() {
        assert_eq!(lanes_of("vulkan", "NVIDIA H100", [32, 32]), Some(32));
        assert_eq!(lanes_of("vulkan", "AMD Radeon RX 7900", [32, 64]), None);
        assert_eq!(lanes_of("vulkan", "PowerVR", [1, 1]), None);
        assert_eq!(lanes_of("metal", "Apple M2", [4, 64]), Some(32));
        assert_eq!(lanes_of("metal", "AMD Radeon Pro 5500M", [4, 64]), None);
    }
}
