//! What this machine does, beside what it could do: the numbers of `percept bench`.
//!
//! A machine is shared and its clock moves, so a time by itself says little. Everything is measured in one run, what is compared is measured in turn, and of
//! several measurements the median counts.

pub mod batch;
mod counts;
mod generation;
mod products;
mod rates;
mod scaling;
mod training;

use std::time::Instant;

use percept_engine::{DType, Device, Tensor, probe};
use serde::Serialize;

pub use counts::counts;
pub use generation::generation;
pub use products::products;
pub use rates::rates;
pub use scaling::{exponent, scaling};
pub use training::training;

/// One number.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The number.
    pub value: f64,
    /// What the number would be at the machine's limit, if one is known.
    pub limit: Option<f64>,
    /// The share of the limit that was reached.
    pub ratio: Option<f64>,
}

impl Row {
    /// A number without a limit.
    pub fn new(name: impl Into<String>, value: f64) -> Row {
        Row { name: name.into(), value, limit: None, ratio: None }
    }

    /// A number beside the largest that it could be. Without a limit it stands alone.
    pub fn below(name: impl Into<String>, value: f64, limit: Option<f64>) -> Row {
        Row { limit, ratio: limit.map(|limit| value / limit), ..Row::new(name, value) }
    }
}

/// Numbers that belong together.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// One sentence that says how to read it.
    pub about: String,
    /// The unit of the numbers.
    pub unit: String,
    /// The numbers.
    pub rows: Vec<Row>,
}

impl Section {
    fn new(title: &str, about: &str, unit: &str, rows: Vec<Row>) -> Section {
        Section { title: title.into(), about: about.into(), unit: unit.into(), rows }
    }
}

/// What the device can do at best.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Multiplications and additions, GFLOP/s; of a GPU they are not known.
    pub gflops: Option<f64>,
    /// Bytes read and written, GB/s.
    pub gigabytes_per_second: Option<f64>,
}

impl Limits {
    /// Measures them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn of(device: &Device) -> anyhow::Result<Limits> {
        let copied = if device.is_cpu() { probe::copy_gigabytes_per_second() } else { copied_by_kernel(device)? };
        Ok(Limits { gflops: device.is_cpu().then(probe::fma_gflops), gigabytes_per_second: Some(copied) })
    }

    /// The limits themselves.
    pub fn section(&self) -> Section {
        let rows =
            [("multiply-adds in registers, GFLOP/s", self.gflops), ("copy of memory, GB/s read and written", self.gigabytes_per_second)];
        let rows = rows.into_iter().filter_map(|(name, value)| Some(Row::new(name, value?))).collect();
        Section::new("Limits", "The best of nine tries, on all threads; what follows is compared with them.", "", rows)
    }
}

/// GB/s read and written by the kernel that copies a tensor.
fn copied_by_kernel(device: &Device) -> anyhow::Result<f64> {
    const ELEMENTS: usize = 1 << 24;
    const COPIES: usize = 8;
    let source = Tensor::zeros(device, &[ELEMENTS], DType::F32);
    let copies = || {
        seconds(device, || {
            (0..COPIES).for_each(|_| drop(source.mul_scalar(2.0)));
            Ok(())
        })
    };
    let times = (0..9).map(|_| copies()).collect::<Result<Vec<_>, _>>()?;
    Ok(1e-9 * (COPIES * ELEMENTS * 8) as f64 / times.into_iter().fold(f64::INFINITY, f64::min))
}

/// How thorough a measurement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Seconds: a look.
    Quick,
    /// A minute or two.
    Full,
}

impl Effort {
    /// Measurements of which the median counts.
    pub fn rounds(self) -> usize {
        match self {
            Effort::Quick => 1,
            Effort::Full => 7,
        }
    }
}

/// The middle of some numbers; of two middle ones the larger.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds that `f` takes until the device is idle.
fn seconds<T>(device: &Device, f: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<f64> {
    let start = Instant::now();
    f()?;
    device.synchronize()?;
    Ok(start.elapsed().as_secs_f64())
}
