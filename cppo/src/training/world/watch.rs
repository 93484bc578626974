//! What a rank waits for, since when, and what it has sent; and the thread that ends a rank which waits too long.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Traffic;

/// The state of a rank's exchanges.
#[derive(Default)]
pub struct Watch(Mutex<State>);

#[derive(Default)]
struct State {
    step: u64,
    waiting: Option<(&'static str, Instant)>,
    traffic: Traffic,
}

impl Watch {
    /// Nothing is waited for.
    pub fn new() -> Watch {
        Watch::default()
    }

    pub(super) fn note_step(&self, step: u64) {
        self.with(|state| state.step = step);
    }

    pub(super) fn begin(&self, what: &'static str) {
        self.with(|state| state.waiting = Some((what, Instant::now())));
    }

    pub(super) fn end(&self, sent: Traffic) {
        self.with(|state| {
            state.waiting = None;
            state.traffic.gradient_bytes += sent.gradient_bytes;
            state.traffic.record_bytes += sent.record_bytes;
            state.traffic.time += sent.time;
        });
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.with(|state| state.traffic)
    }

    /// Starts a thread that calls `end` once if something is waited for longer than `limit`, with what and in which step. It lives as long as others hold the watch.
    pub fn guard(watch: &Arc<Watch>, limit: Duration, end: impl FnOnce(&str) + Send + 'static) {
        let watch = Arc::downgrade(watch);
        let tick = (limit / 20).clamp(Duration::from_millis(5), Duration::from_secs(1));
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(tick);
                let Some(watch) = watch.upgrade() else { return };
                if let Some(overdue) = watch.overdue(limit) {
                    return end(&overdue);
                }
            }
        });
    }

    fn overdue(&self, limit: Duration) -> Option<String> {
        self.with(|state| {
            let (what, since) = state.waiting.filter(|(_, since)| since.elapsed() > limit)?;
            let (seconds, step) = (since.elapsed().as_secs(), state.step);
            Some(format!(
                "has waited {seconds} s for the other ranks at step {step}, for {what}: one of them hangs, is gone, or is much slower ({SECONDS} sets the limit)"
            ))
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Seconds that a rank waits for the others before it ends all of them.
const SECONDS: &str = "PERCEPT_RANK_TIMEOUT";
const DEFAULT_SECONDS: u64 = 1800;

/// How long a rank waits: `PERCEPT_RANK_TIMEOUT` in seconds, or half an hour.
///
/// # Errors
/// If that is not a number above 0.
pub fn limit_from_env() -> Result<Duration, String> {
    let Some(given) = std::env::var_os(SECONDS) else { return Ok(Duration::from_secs(DEFAULT_SECONDS)) };
    let given = given.to_string_lossy();
    match given.trim().parse::<u64>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{SECONDS}: expected seconds, a whole number above 0, got {given}")),
    }
}
