//! What can go wrong outside the program: devices, memory, files. Misuse (shapes, types) panics instead.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// A result whose error is the engine's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No adapter fits the selector.
    #[error("no GPU matches `{selector}`; adapters found: {found}")]
    NoAdapter {
        /// What was asked for.
        selector: String,
        /// The adapters there are, or "none".
        found: String,
    },
    /// The adapter was found but would not open.
    #[error("{adapter}: the driver refused to open the device: {reason}")]
    DeviceRefused {
        /// The name of the adapter.
        adapter: String,
        /// What the driver says.
        reason: String,
    },
    /// The driver lost the device.
    #[error(
        "{adapter}: the device was lost ({reason}). Go on from what was saved; if it happens again, lower the batch or update the driver"
    )]
    DeviceLost {
        /// The name of the adapter.
        adapter: String,
        /// What the driver says.
        reason: String,
    },
    /// An allocation was over the budget or refused by the driver.
    #[error(
        "out of memory on {device}: {what} needs {needed_bytes} bytes; {live_bytes} are live, the budget is {}. Lower the batch, the token budget or the picture size, recompute activations instead of keeping them, or raise the memory budget",
        budget(*budget_bytes)
    )]
    OutOfMemory {
        /// The name of the device.
        device: String,
        /// The op, and the shape and type of the tensor.
        what: String,
        /// The bytes that were asked for.
        needed_bytes: u64,
        /// The bytes of live tensors at that moment.
        live_bytes: u64,
        /// The budget in force, in bytes.
        budget_bytes: u64,
    },
    /// A tensor is larger than one binding of this adapter.
    #[error(
        "{device}: {what} has {needed_bytes} bytes, but one binding of this adapter holds at most {limit_bytes}: split the tensor or store it as bf16"
    )]
    TooLargeForBinding {
        /// The name of the device.
        device: String,
        /// The op, and the shape and type of the tensor.
        what: String,
        /// The bytes that were asked for.
        needed_bytes: u64,
        /// The most bytes that one binding of the adapter holds.
        limit_bytes: u64,
    },
    /// A tensor was used although the op that made it had failed, and that error was already reported.
    #[error("{op} (at {at}) uses a tensor {shape:?} that was never computed, because an earlier op failed")]
    Poisoned {
        /// The op that used it.
        op: String,
        /// The shape of the tensor.
        shape: Vec<usize>,
        /// The source line that called the op.
        at: String,
    },
    /// The adapter lacks what a kernel needs, or a shader did not compile.
    #[error("{adapter}: {what}")]
    Unsupported {
        /// The name of the adapter.
        adapter: String,
        /// What is missing.
        what: String,
    },
    /// NaN or infinity in a kernel's output, under `PERCEPT_NAN=1`.
    #[error("{kernel} (at {at}) wrote {count} NaN or infinite values into {shape:?}, the first at element {first}")]
    NotFinite {
        /// The name of the kernel.
        kernel: String,
        /// The source line that called the op.
        at: String,
        /// The shape of the output.
        shape: Vec<usize>,
        /// How many values are not finite.
        count: usize,
        /// Where the first of them is, in row-major order.
        first: usize,
    },
    /// A file could not be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },
    /// A file's content is not what it must be.
    #[error("{}: {field}: expected {expected}, got {got}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The tensor or header field that is wrong.
        field: String,
        /// What must be there.
        expected: String,
        /// What is there.
        got: String,
    },
}

fn budget(bytes: u64) -> String {
    match bytes {
        u64::MAX => "what the driver gives".into(),
        bytes => bytes.to_string(),
    }
}

/// The first error of a device that nobody has read yet. Ops record it here and go on; whoever reads a result next receives it.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    flag: AtomicBool,
    error: Mutex<Option<Error>>,
}

impl Failure {
    pub(crate) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Keeps the first error: later ones are its consequences.
    pub(crate) fn set(&self, error: Error) {
        let mut slot = self.error.lock().expect("failure slot");
        if slot.is_none() {
            tracing::error!("{error}");
            *slot = Some(error);
            self.flag.store(true, Ordering::Release);
        }
    }

    /// Takes the error, so that the device can be used again.
    pub(crate) fn take(&self) -> Option<Error> {
        let mut slot = self.error.lock().expect("failure slot");
        self.flag.store(false, Ordering::Release);
        slot.take()
    }
}
