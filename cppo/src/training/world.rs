//! The ranks that train together: what they tell each other, how long that takes, and which of them waits for what.
//!
//! Every rank runs the same program on its own prompts. What decides a step, such as counts, weights and metrics, is computed from the records of
//! all ranks in the order of the prompts, so that all come to the same result; a rank whose prompts give no gradient takes part like the others. Random draws are
//! functions of the numbers of prompts and responses in the step, never of a rank. How gradients are added: [`reduce`](super::reduce).
//!
//! Ranks are processes under `mpirun` (feature `mpi`), or threads in tests. Without either there is one rank, to which all of this is the identity.

#[cfg(feature = "mpi")]
pub mod mpi;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use watch::{Watch, limit_from_env};

/// What ranks tell each other: every rank calls it at the same points of the program.
pub trait Exchange: Send + Sync {
    /// The bytes of all ranks, in order. Lengths may differ.
    fn gather(&self, own: Vec<u8>) -> Vec<Vec<u8>>;

    /// Sends `own` to the rank `peer`, which does the same, and returns what it sent: as many bytes.
    fn swap(&self, peer: usize, own: Vec<u8>) -> Vec<u8>;

    /// Replaces `own` by its sum over all ranks, added in an order of the exchange's own.
    fn sum(&self, own: &mut [f32]);

    /// Ends all ranks at once with an exit code. For processes; threads have nothing to end.
    fn abort(&self, code: u8) -> !;
}

/// The ranks that train together, as one of them sees them.
#[derive(Clone)]
pub struct World {
    rank: usize,
    size: usize,
    place: Place,
    host: Arc<str>,
    exchange: Option<Arc<dyn Exchange>>,
    watch: Arc<Watch>,
}

/// Which of the ranks of a machine a rank is: the GPUs of the machine are theirs in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number among them, counted from 0.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
}

/// What a rank has sent to others, and how long it was at that, waiting included.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Bytes of gradients.
    pub gradient_bytes: u64,
    /// Bytes of everything else, to each of the others.
    pub record_bytes: u64,
    /// Time in exchanges.
    pub time: Duration,
}

impl Traffic {
    /// What was sent since it was `before`.
    pub fn since(&self, before: &Traffic) -> Traffic {
        Traffic {
            gradient_bytes: self.gradient_bytes - before.gradient_bytes,
            record_bytes: self.record_bytes - before.record_bytes,
            time: self.time.saturating_sub(before.time),
        }
    }
}

impl World {
    /// One rank, which has everything.
    pub fn alone() -> World {
        World { rank: 0, size: 1, place: Place { rank: 0, size: 1 }, host: "".into(), exchange: None, watch: Arc::new(Watch::new()) }
    }

    /// Rank number `rank` of `size`.
    ///
    /// # Panics
    /// If there is no such rank.
    #[track_caller]
    pub fn new(rank: usize, size: usize, exchange: Arc<dyn Exchange>) -> World {
        assert!(rank < size, "World::new: rank {rank} of {size}");
        World { rank, size, place: Place { rank, size }, host: "".into(), exchange: Some(exchange), watch: Arc::new(Watch::new()) }
    }

    /// The same with its place among the ranks of the machine called `host`.
    pub fn at(self, place: Place, host: &str) -> World {
        World { place, host: host.into(), ..self }
    }

    /// The number of this rank, counted from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether this rank writes and draws, for all of them.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// Whether other processes may be there at all: a run under `mpirun`, with one rank or more.
    pub fn is_launched(&self) -> bool {
        self.exchange.is_some()
    }

    /// Its place on its machine.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The name of its machine; empty if nobody has said.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Ends all ranks if this one waits for another longer than `limit`: `end` is told for what, and [`Exchange::abort`] called. Once `is_stopping`, because somebody asked the
    /// ranks to stop or because one of them is gone, they wait no more than a few seconds, or twice as long as ever before.
    pub fn watch_over(&self, limit: Duration, is_stopping: impl Fn() -> bool + Send + 'static, end: impl Fn(&str) + Send + 'static) {
        let Some(exchange) = self.exchange.clone() else { return };
        let (rank, size) = (self.rank, self.size);
        Watch::guard(&self.watch, limit, is_stopping, move |waiting| {
            end(&format!("rank {rank} of {size} {waiting}"));
            exchange.abort(1)
        });
    }

    /// Notes the step at hand, for the watch.
    pub fn note_step(&self, step: u64) {
        self.watch.note_step(step);
    }

    /// What was sent so far.
    pub fn traffic(&self) -> Traffic {
        self.watch.traffic()
    }

    /// Ends all ranks with an exit code; alone, this process.
    pub fn abort(&self, code: u8) -> ! {
        match &self.exchange {
            Some(exchange) => exchange.abort(code),
            None => std::process::exit(i32::from(code)),
        }
    }

    /// The bytes of all ranks, in order. `what` they are, the watch says if they do not come.
    pub fn gather(&self, what: &'static str, own: Vec<u8>) -> Vec<Vec<u8>> {
        match &self.exchange {
            Some(exchange) if self.size > 1 => {
                let sent = own.len() as u64 * (self.size - 1) as u64;
                self.timed(what, [0, sent], || exchange.gather(own))
            }
            _ => vec![own],
        }
    }

    /// What rank 0 has; the others need not have it.
    pub fn from_first(&self, what: &'static str, own: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
        let own = if self.is_first() { own() } else { Vec::new() };
        self.gather(what, own).swap_remove(0)
    }

    /// Bytes for bytes with another rank. Gradients: they count as such.
    pub(super) fn swap(&self, peer: usize, own: Vec<u8>) -> Vec<u8> {
        let exchange = self.exchange.as_ref().expect("there is another rank");
        let sent = own.len() as u64;
        self.timed("the sum of gradients", [sent, 0], || exchange.swap(peer, own))
    }

    /// The sum over all ranks, in whatever order. Gradients: they count as such, as if every rank sent what the best algorithm does, 2 (n − 1) / n of them.
    pub(super) fn sum_fast(&self, own: &mut [f32]) {
        if let Some(exchange) = self.exchange.as_ref().filter(|_| self.size > 1) {
            let sent = 2 * 4 * own.len() as u64 * (self.size - 1) as u64 / self.size as u64;
            self.timed("the sum of gradients", [sent, 0], || exchange.sum(own));
        }
    }

    fn timed<T>(&self, what: &'static str, [gradient_bytes, record_bytes]: [u64; 2], talk: impl FnOnce() -> T) -> T {
        self.watch.begin(what);
        let clock = Instant::now();
        let heard = talk();
        self.watch.end(Traffic { gradient_bytes, record_bytes, time: clock.elapsed() });
        heard
    }

    /// The rows of all ranks with their numbers, by number; those of one number in the order in which a rank has them. All rows are as long. `[rows][width] -> [rows of all][width]`
    pub fn rows(&self, what: &'static str, own: Vec<(u64, Vec<f64>)>) -> Vec<(u64, Vec<f64>)> {
        let width = own.first().map_or(0, |(_, row)| row.len());
        let mut rows = own;
        if self.size > 1 {
            let mut bytes = (width as u64).to_le_bytes().to_vec();
            for (number, row) in &rows {
                assert!(row.len() == width, "World::rows: a row of {} numbers, expected {width}", row.len());
                bytes.extend(number.to_le_bytes());
                bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
            }
            let of_rank = |bytes: Vec<u8>| {
                let words: Vec<[u8; 8]> = bytes.as_chunks::<8>().0.to_vec();
                let width = words.first().map_or(0, |word| u64::from_le_bytes(*word)) as usize;
                let row = |row: &[[u8; 8]]| (u64::from_le_bytes(row[0]), row[1..].iter().map(|word| f64::from_le_bytes(*word)).collect());
                words[1..].chunks_exact(width + 1).map(row).collect::<Vec<_>>()
            };
            rows = self.gather(what, bytes).into_iter().flat_map(of_rank).collect();
        }
        rows.sort_by_key(|(number, _)| *number);
        rows
    }

    /// The sums of the columns of all ranks' rows, added by the rows' numbers: the same bits whoever has which row. `[rows][width] -> [width]`
    pub fn sum_rows(&self, what: &'static str, width: usize, own: Vec<(u64, Vec<f64>)>) -> Vec<f64> {
        let mut sums = vec![0.0; width];
        for (_, row) in self.rows(what, own) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        sums
    }

    /// The sums over all ranks, added in their order: whole numbers, whose sum does not depend on it.
    pub fn sum_of<const N: usize>(&self, what: &'static str, own: [f64; N]) -> [f64; N] {
        self.sum_rows(what, N, vec![(0, own.to_vec())]).try_into().expect("as many sums as numbers")
    }

    /// The largest and the smallest over all ranks.
    pub fn range_of(&self, what: &'static str, own: f64) -> [f64; 2] {
        let all = self.rows(what, vec![(0, vec![own])]);
        let of = |by: fn(f64, f64) -> f64| all.iter().map(|(_, row)| row[0]).reduce(by).unwrap_or(own);
        [of(f64::min), of(f64::max)]
    }

    /// What all ranks came to, or the first error among them, as rank 0's text.
    ///
    /// # Errors
    /// This rank's own error, or else that of another, by its number.
    pub fn agree<T, E: std::fmt::Display>(&self, what: &'static str, own: Result<T, E>) -> Result<T, Disagreement<E>> {
        let said = own.as_ref().err().map_or_else(Vec::new, |error| format!("!{error}").into_bytes());
        let all = self.gather(what, said);
        let own = own.map_err(Disagreement::Own)?;
        match all.into_iter().enumerate().find(|(_, said)| !said.is_empty()) {
            None => Ok(own),
            Some((rank, said)) => Err(Disagreement::Other { rank, problem: String::from_utf8_lossy(&said[1..]).into_owned() }),
        }
    }
}

/// Why ranks did not come to a result.
#[derive(Debug)]
pub enum Disagreement<E> {
    /// This rank's error.
    Own(E),
    /// Another rank's.
    Other {
        /// Its number.
        rank: usize,
        /// What it says.
        problem: String,
    },
}
