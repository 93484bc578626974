//! Times of kernels, under `PERCEPT_TRACE=1` or after [`Device::start_trace`](crate::Device::start_trace).

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Time spent in one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KernelTime {
    /// The name of the kernel.
    pub kernel: &'static str,
    /// How often it ran.
    pub launches: u64,
    /// Time of all launches together, by the device's clock where it has one.
    pub total_ms: f64,
}

/// A table of kernels, the slowest first: share, total, launches, mean.
pub fn trace_table(times: &[KernelTime]) -> String {
    let total_ms: f64 = times.iter().map(|time| time.total_ms).sum();
    let mut table = format!("{:>6}  {:>10}  {:>8}  {:>10}  kernel\n", "share", "total ms", "launches", "mean us");
    for time in times {
        let (share, mean_us) = (100.0 * time.total_ms / total_ms.max(f64::MIN_POSITIVE), 1000.0 * time.total_ms / time.launches as f64);
        let _ = writeln!(table, "{share:>5.1}%  {:>10.3}  {:>8}  {mean_us:>10.2}  {}", time.total_ms, time.launches, time.kernel);
    }
    table
}

/// The times of one device.
#[derive(Debug)]
pub(crate) struct Trace {
    on: AtomicBool,
    kernels: Mutex<HashMap<&'static str, (u64, Duration)>>,
}

impl Default for Trace {
    fn default() -> Trace {
        let on = std::env::var("PERCEPT_TRACE").is_ok_and(|v| v == "1");
        Trace { on: AtomicBool::new(on), kernels: Mutex::default() }
    }
}

impl Trace {
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    pub(crate) fn start(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    /// Runs a kernel of the CPU, timed if the trace is on.
    pub(crate) fn time(&self, kernel: &'static str, run: impl FnOnce()) {
        if !self.is_on() {
            return run();
        }
        let start = Instant::now();
        run();
        self.add(kernel, start.elapsed());
    }

    pub(crate) fn add(&self, kernel: &'static str, time: Duration) {
        let mut kernels = self.kernels.lock().expect("trace");
        let (launches, total) = kernels.entry(kernel).or_default();
        *launches += 1;
        *total += time;
    }

    /// The times so far, the slowest kernel first; starts over.
    pub(crate) fn take(&self) -> Vec<KernelTime> {
        let kernels = std::mem::take(&mut *self.kernels.lock().expect("trace"));
        let mut times: Vec<_> = kernels
            .into_iter()
            .map(|(kernel, (launches, total))| KernelTime { kernel, launches, total_ms: total.as_secs_f64() * 1e3 })
            .collect();
        times.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms).then(a.kernel.cmp(b.kernel)));
        times
    }
}
