//! The meta device: tensors have shapes and take part in the account of memory, but hold nothing, and kernels are counted, not run.
//!
//! What a program would need is found by running the program itself: the same code makes the same tensors in the same order, so the peak is that of the real device, and
//! a step of a model of billions of parameters takes seconds and no memory. (The idea is PyTorch's device of the same name.)
//!
//! Every kernel also gets a time by the roofline model (Williams, Waterman and Patterson 2009): the longer of the two times that its multiplications and its bytes take at
//! the best rates of a device, and one for its launch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::counters::Counters;
use crate::error::Result;
use crate::pool::{Loan, Pool, Reuse, size_class};

/// A buffer that is only counted.
pub(crate) type MetaBuffer = Loan<()>;

/// What the device that is planned for does at best; measured, or from its data sheet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Multiplications with additions of matrix products and attention: half its FLOP/s.
    pub multiply_adds_per_second: f64,
    /// Bytes read and written.
    pub bytes_per_second: f64,
    /// What a kernel costs besides.
    pub seconds_per_launch: f64,
}

impl Rates {
    /// A device that takes no time.
    pub const INFINITE: Rates = Rates { multiply_adds_per_second: f64::INFINITY, bytes_per_second: f64::INFINITY, seconds_per_launch: 0.0 };

    /// Seconds of a kernel.
    fn seconds(&self, bytes: u64, multiply_adds: u64) -> f64 {
        let (computing, moving) = (multiply_adds as f64 / self.multiply_adds_per_second, bytes as f64 / self.bytes_per_second);
        computing.max(moving) + self.seconds_per_launch
    }
}

/// The device.
pub(crate) struct MetaDevice {
    pool: Arc<Mutex<Pool<()>>>,
    rates: Rates,
    launches: AtomicU64,
    nanoseconds: AtomicU64,
}

/// As on the CPU.
const GRANULE_BYTES: u64 = 64;

impl MetaDevice {
    pub(crate) fn new(rates: Rates) -> MetaDevice {
        let pool = Arc::new(Mutex::new(Pool::new("meta", Reuse::LastFreed)));
        MetaDevice { pool, rates, launches: AtomicU64::new(0), nanoseconds: AtomicU64::new(0) }
    }

    pub(crate) fn alloc(&self, size_bytes: usize, what: &dyn Fn() -> String) -> Result<MetaBuffer> {
        let bytes = size_class(size_bytes as u64, GRANULE_BYTES);
        let mut pool = self.pool();
        pool.check_budget(bytes, what)?;
        if let Some(buffer) = pool.lend(&self.pool, bytes) {
            return Ok(buffer);
        }
        pool.make_room(bytes);
        Ok(pool.adopt(&self.pool, (), bytes))
    }

    /// Counts a kernel that reads and writes so many bytes.
    pub(crate) fn run(&self, bytes: u64, multiply_adds: u64) {
        self.launches.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = 1e9 * self.rates.seconds(bytes, multiply_adds);
        self.nanoseconds.fetch_add(nanoseconds.round() as u64, Ordering::Relaxed);
    }

    pub(crate) fn counters(&self) -> Counters {
        let [launches, planned_nanoseconds] = [&self.launches, &self.nanoseconds].map(|count| count.load(Ordering::Relaxed));
        Counters { launches, planned_nanoseconds, ..self.pool().counters() }
    }

    pub(crate) fn set_budget(&self, bytes: u64) {
        self.pool().set_budget(bytes);
    }

    pub(crate) fn reset_peak(&self) {
        self.pool().reset_peak();
    }

    fn pool(&self) -> MutexGuard<'_, Pool<()>> {
        self.pool.lock().expect("pool")
    }
}
