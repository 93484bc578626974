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
    /// The longest wait that came to an end.
    longest: Duration,
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
            state.longest = state.longest.max(sent.time);
        });
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.with(|state| state.traffic)
    }

    /// Starts a thread that calls `end` once if something is waited for longer than `limit`, with what and in which step; or, from when `is_stopping` on, longer than
    /// seven seconds and twice the longest wait so far. It lives as long as others hold the watch.
    pub fn guard(
        watch: &Arc<Watch>,
        limit: Duration,
        is_stopping: impl Fn() -> bool + Send + 'static,
        end: impl FnOnce(&str) + Send + 'static,
    ) {
        let watch = Arc::downgrade(watch);
        let tick = (limit / 20).clamp(Duration::from_millis(5), Duration::from_secs(1));
        std::thread::spawn(move || {
            let mut stopping = None;
            loop {
                std::thread::sleep(tick);
                let Some(watch) = watch.upgrade() else { return };
                if is_stopping() {
                    stopping.get_or_insert_with(Instant::now);
                }
                if let Some(overdue) = watch.overdue(limit, stopping) {
                    return end(&overdue);
                }
            }
        });
    }

    fn overdue(&self, limit: Duration, stopping: Option<Instant>) -> Option<String> {
        self.with(|state| {
            let (what, since) = state.waiting?;
            let (seconds, step) = (since.elapsed().as_secs(), state.step);
            let waited = format!("has waited {seconds} s for the other ranks at step {step}, for {what}");
            if since.elapsed() > limit {
                return Some(format!("{waited}: one of them hangs, is gone, or is much slower ({SECONDS} sets the limit)"));
            }
            let last = LAST.max(2 * state.longest);
            let is_last = stopping.is_some_and(|stopping| stopping.max(since).elapsed() > last);
            is_last.then(|| format!("{waited}, and was asked to stop meanwhile: one of them is gone"))
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How long a rank that was asked to stop waits for the others: less than the ten seconds after which a user thinks that it hangs.
const LAST: Duration = Duration::from_secs(7);

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
