//! Which variants of the matrix product an adapter runs best: measured, checked, and kept on disk.
//!
//! The defaults are right for the adapters we know. [`tune`] measures the others: every variant that the adapter runs, on a large and on a thin
//! product, against the f64 oracle first. A variant that is wrong is never chosen, however fast. [`save`] keeps the choice, and whoever opens a
//! device calls [`load`] to use it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::gpu::AdapterReport;
use crate::random;
use crate::tensor::Tensor;

mod variant;

pub use variant::{CooperativeSize, MatmulVariant, THIN_ROWS, Tuning};

/// What was measured of one variant on one size.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    /// The variant that ran.
    pub variant: MatmulVariant,
    /// The sizes `[m, k, n]` of the product `[m, k] · [k, n]`.
    pub size: [usize; 3],
    /// Billions of additions and multiplications per second: the median of several rounds.
    pub gflops: f64,
    /// The largest error against the product in f64, relative to the largest element.
    pub error: f64,
    /// Whether the error allows the choice.
    pub exact: bool,
}

/// Whether variants that round their inputs to f16 may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Only variants that compute in f32 throughout.
    Single,
    /// Also variants with f16 factors and f32 sums: matrix units.
    HalfInputs,
}

/// A thin and a wide product.
const SIZES: [[usize; 3]; 2] = [[THIN_ROWS, 1024, 4096], [1024, 1024, 1024]];
/// The same for adapters that are programs on the CPU.
const SOFTWARE_SIZES: [[usize; 3]; 2] = [[THIN_ROWS, 256, 512], [256, 256, 256]];
/// Multiplications per round, so that the read-back at its end does not count.
const ROUND_PRODUCTS: usize = 1 << 33;
const ROUNDS: usize = 5;

/// Measures all variants on a GPU and returns the best of each kind with the measurements. On the CPU there is nothing to choose.
///
/// # Errors
/// Those of the device.
pub fn tune(device: &Device, precision: Precision) -> Result<(Tuning, Vec<Measurement>)> {
    let mut measurements = Vec::new();
    let mut best = [None; 2];
    let is_software = device.adapter().is_some_and(|adapter| adapter.software);
    for (size, best) in if is_software { SOFTWARE_SIZES } else { SIZES }.into_iter().zip(&mut best) {
        let variants = MatmulVariant::ALL.into_iter().filter(|variant| variant.runs_on(device) && !device.is_cpu());
        let measured = variants.map(|variant| measure(device, variant, size, precision)).collect::<Result<Vec<_>>>()?;
        *best = measured.iter().filter(|m| m.exact).max_by(|a, b| a.gflops.total_cmp(&b.gflops)).map(|m| m.variant);
        measurements.extend(measured);
    }
    let [thin, wide] = best;
    Ok((Tuning { thin, wide }, measurements))
}

fn measure(device: &Device, variant: MatmulVariant, size: [usize; 3], precision: Precision) -> Result<Measurement> {
    let [m, k, n] = size;
    let (a, b) = (random::normal(1, 1, m * k, 1.0), random::normal(1, 2, k * n, 1.0));
    let on = |device: &Device, values: &[f32], shape: &[usize]| Tensor::from_slice(device, values, shape);
    let (a_gpu, b_gpu) = (on(device, &a, &[m, k]), on(device, &b, &[k, n]));
    let got = a_gpu.matmul_by(&b_gpu, variant).to_vec::<f32>()?;
    let oracle = |values: &[f32], shape: &[usize]| Tensor::from_f32(&Device::cpu(), values, shape, DType::F64);
    let expected = oracle(&a, &[m, k]).matmul(&oracle(&b, &[k, n])).to_vec::<f64>()?;
    let scale = expected.iter().fold(0.0, |max: f64, v| max.max(v.abs()));
    let error = got.iter().zip(&expected).fold(0.0, |max: f64, (&got, expected)| {
        let error = (f64::from(got) - expected).abs() / scale;
        // a NaN must not be lost in max
        if error.is_nan() { f64::INFINITY } else { max.max(error) }
    });
    let tolerance = if precision == Precision::Single { 1e-5 } else { 2e-3 };

    let is_software = device.adapter().is_some_and(|adapter| adapter.software);
    let repeats = if is_software { 1 } else { (ROUND_PRODUCTS / (m * k * n)).max(1) };
    let mut seconds: Vec<f64> = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let products: Vec<Tensor> = (0..repeats).map(|_| a_gpu.matmul_by(&b_gpu, variant)).collect();
        device.synchronize()?;
        seconds.push(start.elapsed().as_secs_f64() / products.len() as f64);
    }
    seconds.sort_by(f64::total_cmp);
    let gflops = 2e-9 * (m * k * n) as f64 / seconds[ROUNDS / 2];
    Ok(Measurement { variant, size, gflops, error, exact: error <= tolerance })
}

/// Where choices are kept: `percept/tuning.json` in `PERCEPT_CACHE`, `XDG_CACHE_HOME` or `~/.cache`.
pub fn cache_path() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("PERCEPT_CACHE").or_else(|| variable("XDG_CACHE_HOME")).or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(folder.join("percept").join("tuning.json"))
}

/// Lets a device use the choice that was kept for its adapter, if there is one. A choice that cannot be read costs speed, not results: it is reported
/// as a warning, and the device goes on with the built-in rule.
pub fn load(device: &Device) {
    if let Some(path) = cache_path() {
        load_from(&path, device);
    }
}

/// [`load`] from another file than that of [`cache_path`].
pub fn load_from(path: &Path, device: &Device) {
    let Some(adapter) = device.adapter() else { return };
    match read(path, adapter) {
        Ok(tuning) => device.set_tuning(tuning.unwrap_or_default()),
        Err(error) => tracing::warn!("the tuning of {device} is not used: {error}"),
    }
}

/// The kept choice for an adapter, if there is one.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn read(path: &Path, adapter: &AdapterReport) -> Result<Option<Tuning>> {
    Ok(read_all(path)?.get(&key(adapter)).copied())
}

/// Keeps the choice for an adapter, atomically, beside those for others.
///
/// # Errors
/// If the file cannot be read or written.
pub fn save(path: &Path, adapter: &AdapterReport, tuning: Tuning) -> Result<()> {
    let failed = |reason: &dyn std::fmt::Display| Error::File { path: path.to_path_buf(), reason: reason.to_string() };
    let mut all = read_all(path)?;
    all.insert(key(adapter), tuning);
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| failed(&e))?;
    serde_json::to_writer_pretty(&mut file, &all).map_err(|e| failed(&e))?;
    file.persist(path).map_err(|e| failed(&e.error))?;
    Ok(())
}

fn read_all(path: &Path) -> Result<BTreeMap<String, Tuning>> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::Content {
            path: path.to_path_buf(),
            field: "JSON".into(),
            expected: "adapters with their variants (delete the file to start anew)".into(),
            got: e.to_string(),
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(Error::File { path: path.to_path_buf(), reason: e.to_string() }),
    }
}

/// A new driver is a new adapter: its compiler may rank the variants otherwise.
fn key(adapter: &AdapterReport) -> String {
    format!("{} · {} · {} {}", adapter.name, adapter.backend, adapter.driver, adapter.driver_info)
}
