//! Which adapters there are, what they can do, and which one is meant.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::kernel::MAX_PARAMS_BYTES;

/// Which adapter to open: `hardware`, `software` (or `lavapipe`), an index into [`adapters`], or a part of a name.
///
/// Parsed from text by [`FromStr`], which takes any: a text that is none of the words and no number is a part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuSelector {
    choice: Choice,
    pub(super) checked: bool,
    pub(super) immediates: bool,
    webgpu: bool,
    pub(super) submission_multiply_adds: u64,
}

/// About a second of small graphics, milliseconds of a large card.
const SUBMISSION_MULTIPLY_ADDS: u64 = 1 << 36;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Choice {
    Hardware,
    Software,
    Index(usize),
    Name(String),
}

impl GpuSelector {
    /// The first GPU that is not a software rasteriser, discrete ones first.
    pub fn hardware() -> GpuSelector {
        GpuSelector::new(Choice::Hardware)
    }

    /// The first software adapter: lavapipe on Linux, WARP on Windows.
    pub fn software() -> GpuSelector {
        GpuSelector::new(Choice::Software)
    }

    /// From `PERCEPT_ADAPTER`, else any hardware GPU.
    pub fn from_env_or_hardware() -> GpuSelector {
        match std::env::var("PERCEPT_ADAPTER") {
            Ok(text) => GpuSelector::new(Choice::parse(&text)),
            Err(_) => GpuSelector::hardware(),
        }
    }

    /// Turns on every check of the shaders (bounds, loops, divisions), as `PERCEPT_CHECK=1` does.
    pub fn checked(mut self) -> GpuSelector {
        self.checked = true;
        self
    }

    /// Passes parameters through a buffer even if the adapter has immediates, as `PERCEPT_IMMEDIATES=0` does.
    pub fn without_immediates(mut self) -> GpuSelector {
        self.immediates = false;
        self
    }

    /// Asks for nothing that WebGPU does not promise, however much the adapter has, as `PERCEPT_LIMITS=webgpu` does: no optional features (subgroups, f16, immediates, time stamps), 16 KiB of
    /// workgroup memory, 256 threads, 8 storage buffers, 128 MiB to a binding, offsets in steps of 256 bytes. What runs so runs on every adapter.
    pub fn within_webgpu(mut self) -> GpuSelector {
        self.webgpu = true;
        self
    }

    /// Submits work when it has this many multiplications with additions, by default 2^36. Drivers end a submission that runs for seconds: a smaller number is for a GPU that is slower.
    pub fn with_submissions_of(mut self, multiply_adds: u64) -> GpuSelector {
        self.submission_multiply_adds = multiply_adds;
        self
    }

    fn new(choice: Choice) -> GpuSelector {
        let webgpu = std::env::var("PERCEPT_LIMITS").is_ok_and(|v| v == "webgpu");
        let checked = std::env::var("PERCEPT_CHECK").is_ok_and(|v| v == "1");
        let immediates = std::env::var("PERCEPT_IMMEDIATES").map_or(true, |v| v != "0");
        GpuSelector { choice, checked, immediates, webgpu, submission_multiply_adds: SUBMISSION_MULTIPLY_ADDS }
    }

    fn matches(&self, index: usize, report: &AdapterReport) -> bool {
        match &self.choice {
            Choice::Hardware => !report.software,
            Choice::Software => report.software,
            Choice::Index(wanted) => *wanted == index,
            Choice::Name(part) => report.name.to_lowercase().contains(&part.to_lowercase()),
        }
    }
}

impl Choice {
    fn parse(text: &str) -> Choice {
        match text.trim().to_lowercase().as_str() {
            "" | "hardware" => Choice::Hardware,
            "software" | "lavapipe" => Choice::Software,
            other => other.parse().map_or_else(|_| Choice::Name(text.trim().to_string()), Choice::Index),
        }
    }
}

impl FromStr for GpuSelector {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<GpuSelector, Infallible> {
        Ok(GpuSelector::new(Choice::parse(text)))
    }
}

impl std::fmt::Display for GpuSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.choice {
            Choice::Hardware => f.write_str("hardware"),
            Choice::Software => f.write_str("software"),
            Choice::Index(index) => write!(f, "{index}"),
            Choice::Name(name) => f.write_str(name),
        }
    }
}

/// What an adapter is and can do. The report of an opened device says what is in use.
#[derive(Clone, Debug, Serialize)]
pub struct AdapterReport {
    /// The name that the driver gives it.
    pub name: String,
    /// The interface to it: vulkan, metal or dx12.
    pub backend: String,
    /// The name of the driver.
    pub driver: String,
    /// The version and build of the driver.
    pub driver_info: String,
    /// The kind of device: discrete, integrated, virtual, software or other.
    pub device_type: &'static str,
    /// The maker, or its PCI number.
    pub vendor: String,
    /// True if the "GPU" is a program on the CPU.
    pub software: bool,
    /// True if parameters of kernels travel as immediates (push constants).
    pub immediates: bool,
    /// True if shaders can compute in `f16`.
    pub f16: bool,
    /// True if the lanes of a subgroup can exchange values.
    pub subgroups: bool,
    /// The fewest lanes of a subgroup.
    pub subgroup_min_size: u32,
    /// The most lanes of a subgroup.
    pub subgroup_max_size: u32,
    /// True if kernels can be timed by the device's own clock.
    pub timestamp_queries: bool,
    /// The shapes of cooperative matrices; empty if there are none.
    pub cooperative_tiles: Vec<CooperativeTile>,
    /// The most bytes of one tensor that a kernel can bind.
    pub max_binding_bytes: u64,
    /// The most bytes of one buffer.
    pub max_buffer_bytes: u64,
    /// The bytes of memory that a workgroup shares.
    pub max_workgroup_memory_bytes: u32,
    /// The most invocations (threads) of a workgroup.
    pub max_workgroup_size: u32,
    /// The most workgroups along one axis of a dispatch.
    pub max_workgroups_per_dimension: u32,
    /// The most storage buffers that a kernel can bind.
    pub max_storage_buffers: u32,
    /// Offsets of bindings are multiples of this many bytes.
    pub storage_offset_alignment: usize,
}

/// One shape of cooperative matrices, for the operation `[m, k] · [k, n] + [m, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CooperativeTile {
    /// Rows of the result.
    pub m: u32,
    /// Columns of the result.
    pub n: u32,
    /// Inner size.
    pub k: u32,
    /// Type of the factors: f16, f32, i32 or u32.
    pub inputs: &'static str,
    /// Type of the sum.
    pub accumulator: &'static str,
}

/// All adapters: discrete GPUs, integrated ones, then software. The order is the index that [`GpuSelector`] takes.
pub fn adapters() -> Vec<AdapterReport> {
    enumerate().iter().map(|adapter| AdapterReport::of(adapter, &Granted::all(adapter))).collect()
}

/// The adapter that a selector means.
pub(super) fn find(selector: &GpuSelector) -> Result<(&'static wgpu::Adapter, Granted, AdapterReport)> {
    let mut names = Vec::new();
    for (index, adapter) in enumerate().iter().enumerate() {
        let granted = if selector.webgpu { Granted::within_webgpu(adapter) } else { Granted::all(adapter) };
        let report = AdapterReport::of(adapter, &granted);
        if selector.matches(index, &report) {
            return Ok((adapter, granted, report));
        }
        names.push(format!("{index}: {} ({})", report.name, report.device_type));
    }
    let found = if names.is_empty() { "none".to_string() } else { names.join(", ") };
    Err(Error::NoAdapter { selector: selector.to_string(), found })
}

/// The drivers are loaded and asked once per process: some do not survive being loaded twice, and asking takes tens of milliseconds.
fn enumerate() -> &'static [wgpu::Adapter] {
    static ADAPTERS: OnceLock<Vec<wgpu::Adapter>> = OnceLock::new();
    ADAPTERS.get_or_init(|| {
        let mut adapters = pollster::block_on(instance().enumerate_adapters(wgpu::Backends::all()));
        adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::IntegratedGpu => 1,
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        });
        adapters
    })
}

fn instance() -> wgpu::Instance {
    let mut desc = wgpu::InstanceDescriptor::new_without_display_handle();
    desc.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    desc.flags = if std::env::var("PERCEPT_CHECK").is_ok_and(|v| v == "1") {
        wgpu::InstanceFlags::VALIDATION | wgpu::InstanceFlags::DEBUG
    } else {
        wgpu::InstanceFlags::empty()
    };
    // Refuse early where the driver tells its budget: beyond it drivers page to the host, or lose the device.
    desc.memory_budget_thresholds.for_resource_creation = Some(97);
    wgpu::Instance::new(desc)
}

/// What may be used of an adapter.
pub(super) struct Granted {
    pub(super) features: wgpu::Features,
    pub(super) limits: wgpu::Limits,
}

impl Granted {
    fn all(adapter: &wgpu::Adapter) -> Granted {
        Granted { features: adapter.features(), limits: adapter.limits() }
    }

    fn within_webgpu(adapter: &wgpu::Adapter) -> Granted {
        Granted { features: wgpu::Features::empty(), limits: wgpu::Limits::default().or_worse_values_from(&adapter.limits()) }
    }
}

impl AdapterReport {
    fn of(adapter: &wgpu::Adapter, Granted { features, limits }: &Granted) -> AdapterReport {
        let info = adapter.get_info();
        let has = |feature| features.contains(feature);
        AdapterReport {
            name: info.name,
            backend: info.backend.to_string(),
            driver: info.driver,
            driver_info: info.driver_info,
            device_type: match info.device_type {
                wgpu::DeviceType::DiscreteGpu => "discrete",
                wgpu::DeviceType::IntegratedGpu => "integrated",
                wgpu::DeviceType::VirtualGpu => "virtual",
                wgpu::DeviceType::Cpu => "software",
                wgpu::DeviceType::Other => "other",
            },
            vendor: vendor(info.vendor),
            software: info.device_type == wgpu::DeviceType::Cpu,
            immediates: has(wgpu::Features::IMMEDIATES) && limits.max_immediate_size as usize >= MAX_PARAMS_BYTES,
            f16: has(wgpu::Features::SHADER_F16),
            subgroups: has(wgpu::Features::SUBGROUP),
            subgroup_min_size: info.subgroup_min_size,
            subgroup_max_size: info.subgroup_max_size,
            timestamp_queries: has(wgpu::Features::TIMESTAMP_QUERY),
            cooperative_tiles: match has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
                true => adapter.cooperative_matrix_properties().iter().map(CooperativeTile::of).collect(),
                false => Vec::new(),
            },
            max_binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
            max_buffer_bytes: limits.max_buffer_size,
            max_workgroup_memory_bytes: limits.max_compute_workgroup_storage_size,
            max_workgroup_size: limits.max_compute_invocations_per_workgroup,
            max_workgroups_per_dimension: limits.max_compute_workgroups_per_dimension,
            max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
            storage_offset_alignment: limits.min_storage_buffer_offset_alignment as usize,
        }
    }
}

impl CooperativeTile {
    fn of(tile: &wgpu::CooperativeMatrixProperties) -> CooperativeTile {
        let name = |scalar| match scalar {
            wgpu::CooperativeScalarType::F32 => "f32",
            wgpu::CooperativeScalarType::F16 => "f16",
            wgpu::CooperativeScalarType::I32 => "i32",
            wgpu::CooperativeScalarType::U32 => "u32",
        };
        CooperativeTile { m: tile.m_size, n: tile.n_size, k: tile.k_size, inputs: name(tile.ab_type), accumulator: name(tile.cr_type) }
    }
}

fn vendor(pci: u32) -> String {
    match pci {
        0x10de => "NVIDIA".into(),
        0x1002 => "AMD".into(),
        0x8086 => "Intel".into(),
        0x106b => "Apple".into(),
        0x13b5 => "Arm".into(),
        0x5143 => "Qualcomm".into(),
        0x10005 => "Mesa".into(),
        0x1414 => "Microsoft".into(),
        other => format!("{other:#06x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_round_trip_through_text() {
        for (text, choice) in [
            ("hardware", Choice::Hardware),
            ("Lavapipe", Choice::Software),
            ("software", Choice::Software),
            ("2", Choice::Index(2)),
            ("RTX 5090", Choice::Name("RTX 5090".into())),
        ] {
            let Ok(selector) = text.parse::<GpuSelector>();
            assert_eq!(selector.choice, choice, "{text}");
            let Ok(again) = selector.to_string().parse::<GpuSelector>();
            assert_eq!(again, selector);
        }
    }
}
