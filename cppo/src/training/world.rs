//! The ranks that train together: which part of a step's prompts is whose, and what they tell each other.
//!
//! Every rank runs the same program on its own prompts. What decides a step, such as counts, weights and metrics, is computed from the records of
//! all ranks in the order of the ranks, so that all come to the same result; a rank whose prompts give no gradient takes part like the others. Random draws are
//! functions of the numbers of prompts and responses in the step, never of a rank.
//!
//! Today's program has one rank, to which all of this is the identity.

use std::ops::Range;
use std::sync::Arc;

use percept_engine::{Gradients, Result, Tensor};

/// What ranks tell each other: every rank calls it at the same points of the program.
pub trait Exchange: Send + Sync {
    /// The bytes of all ranks, in order.
    fn gather(&self, own: Vec<u8>) -> Vec<Vec<u8>>;
}

/// The ranks that train together, as one of them sees them.
#[derive(Clone)]
pub struct World {
    rank: usize,
    size: usize,
    exchange: Option<Arc<dyn Exchange>>,
}

impl World {
    /// One rank, which has everything.
    pub fn alone() -> World {
        World { rank: 0, size: 1, exchange: None }
    }

    /// Rank number `rank` of `size`.
    ///
    /// # Panics
    /// If there is no such rank.
    #[track_caller]
    pub fn new(rank: usize, size: usize, exchange: Arc<dyn Exchange>) -> World {
        assert!(rank < size, "World::new: rank {rank} of {size}");
        World { rank, size, exchange: Some(exchange) }
    }

    /// The number of this rank, counted from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.size
    }

    /// This rank's part of `count` things: aligned blocks in the order of the ranks.
    ///
    /// # Panics
    /// If the ranks do not divide them.
    #[track_caller]
    pub fn share(&self, count: usize) -> Range<usize> {
        assert!(count.is_multiple_of(self.size), "World::share: {count} prompts for {} ranks: expected a multiple", self.size);
        let own = count / self.size;
        self.rank * own..(self.rank + 1) * own
    }

    /// The bytes of all ranks, in order.
    pub fn gather(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        match &self.exchange {
            Some(exchange) => exchange.gather(own),
            None => vec![own],
        }
    }

    /// The sums over all ranks, added in their order. `[n] -> [n]`
    ///
    /// # Panics
    /// If the ranks have different numbers of them.
    #[track_caller]
    pub fn sum(&self, own: Vec<f64>) -> Vec<f64> {
        if self.size == 1 {
            return own;
        }
        let mut sums = vec![0.0; own.len()];
        for bytes in self.gather(bytemuck::cast_slice(&own).to_vec()) {
            let values: Vec<f64> = bytemuck::pod_collect_to_vec(&bytes);
            assert!(values.len() == sums.len(), "World::sum: {} numbers on rank {}, {} on another", sums.len(), self.rank, values.len());
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        sums
    }

    /// [`sum`](World::sum) of a fixed number of numbers.
    #[track_caller]
    pub fn sum_of<const N: usize>(&self, own: [f64; N]) -> [f64; N] {
        self.sum(own.to_vec()).try_into().expect("as many sums as numbers")
    }

    /// The gradients of `parameters`, summed over all ranks in their order. A rank without any contributes zeros.
    ///
    /// # Errors
    /// Those of the device.
    pub fn sum_gradients(&self, mut own: Gradients, parameters: &[(String, Tensor)]) -> Result<Gradients> {
        if self.size == 1 {
            return Ok(own);
        }
        let mut sums = Gradients::new();
        for (_, parameter) in parameters {
            let values = match own.take(parameter) {
                Some(gradient) => gradient.to_f64_vec()?,
                None => vec![0.0; parameter.len()],
            };
            let sum = self.sum(values);
            sums.set(parameter, &Tensor::from_f64(parameter.device(), &sum, parameter.shape(), parameter.dtype()));
        }
        Ok(sums)
    }
}
