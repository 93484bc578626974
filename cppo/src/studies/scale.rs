//! What a training step costs on many devices, by count: bytes of the reduction, seconds of each phase, memory of a rank. Nothing is loaded and nothing measured here; rates are given.
//!
//! The reduction is that of [`reduce`](crate::training::reduce): pairs of ranks exchange halves at distance 1, 2, 4, …, so that a rank sends 2 (n − 1) / n of the gradients, and the neighbours of
//! a machine have added theirs before anything leaves it. Gradients go through the memory of the host, since MPI is given host memory.

/// Bytes of a gradient, and of each of an optimiser's numbers.
const F32: f64 = 4.0;

/// Devices and what connects them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cluster {
    /// Processes, one for each device; a power of two.
    pub ranks: usize,
    /// Those of one machine; a power of two.
    pub per_machine: usize,
    /// Bytes that a rank sends to another on its machine, per second, while all do.
    pub inside_bytes_per_second: f64,
    /// Bytes that a machine sends to others, per second.
    pub between_bytes_per_second: f64,
    /// Seconds until a message arrives that has no bytes.
    pub latency_seconds: f64,
    /// Bytes between a device and its host, per second and direction.
    pub host_bytes_per_second: f64,
    /// Additions and multiplications of a device in large products, per second.
    pub operations_per_second: f64,
    /// Bytes of a device's memory that are read or written per second.
    pub memory_bytes_per_second: f64,
}

/// A model and a step of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// Weights of the model.
    pub parameters: f64,
    /// Those that are trained.
    pub trained: f64,
    /// Bytes of a stored weight.
    pub weight_bytes: f64,
    /// Bytes of a token's keys and values in the cache.
    pub cache_bytes: f64,
    /// Prompts of a step, each with a group of responses.
    pub prompts: f64,
    /// Responses to a prompt.
    pub group_size: f64,
    /// Tokens of a prompt, those of its pictures included.
    pub prompt_tokens: f64,
    /// Tokens of a response.
    pub response_tokens: f64,
    /// Pictures on which the update reads a response: 1 for GRPO, up to 3 for CPPO.
    pub pictures: f64,
    /// Updates of a step.
    pub updates: f64,
}

/// How the optimiser's state lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimiser {
    /// Whole on every rank.
    Replicated,
    /// In equal parts (not built yet).
    Sharded,
}

/// Seconds of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds {
    /// Sampling the responses.
    pub rollout: f64,
    /// Forward and backward passes.
    pub update: f64,
    /// Adding the gradients.
    pub reduction: f64,
    /// Applying them.
    pub optimiser: f64,
}

impl Seconds {
    /// All of it.
    pub fn step(&self) -> f64 {
        self.rollout + self.update + self.reduction + self.optimiser
    }
}

/// Bytes on a device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// The policy as it is stored; frozen weights that a reference shares count once.
    pub weights: f64,
    /// A copy for the reference policy.
    pub reference: f64,
    /// Running means, and f32 copies of weights stored as halves.
    pub optimiser: f64,
    /// Sets of gradients that are alive at once.
    pub gradients: f64,
    /// Keys and values of the rollout.
    pub cache: f64,
}

impl Memory {
    /// All of it, without activations.
    pub fn total(&self) -> f64 {
        self.weights + self.reference + self.optimiser + self.gradients + self.cache
    }
}

/// Bytes of gradients that a rank sends in an update.
pub fn bytes_sent(trained: f64, ranks: usize) -> f64 {
    2.0 * F32 * trained * (ranks as f64 - 1.0) / ranks as f64
}

/// Seconds of one reduction: exchanges inside a machine, between machines, and through the hosts.
pub fn reduction_seconds(trained: f64, cluster: &Cluster) -> f64 {
    let Cluster { ranks, per_machine, .. } = *cluster;
    let (mut seconds, mut piece, mut distance) = (0.0, F32 * trained, 1);
    while distance < ranks {
        piece /= 2.0;
        // all ranks of a machine send to others at once
        let rate = match distance < per_machine {
            true => cluster.inside_bytes_per_second,
            false => cluster.between_bytes_per_second / per_machine.min(ranks) as f64,
        };
        seconds += 2.0 * (piece / rate + cluster.latency_seconds);
        distance *= 2;
    }
    // what is sent leaves the device, what is received reaches it, both ways at once
    seconds + bytes_sent(trained, ranks) / cluster.host_bytes_per_second
}

/// Seconds of a step without imbalance: every rank has as many tokens.
pub fn step_seconds(job: &Job, cluster: &Cluster) -> Seconds {
    let groups = job.prompts / cluster.ranks as f64;
    let responses = groups * job.group_size;
    let prefill = 2.0 * job.parameters * groups * job.prompt_tokens / cluster.operations_per_second;
    // each token reads the weights once for all sequences, and the cache of each; or computes, if that takes longer
    let reading = (job.parameters * job.weight_bytes + responses * job.cache_bytes * (job.prompt_tokens + job.response_tokens / 2.0))
        / cluster.memory_bytes_per_second;
    let computing = 2.0 * job.parameters * responses / cluster.operations_per_second;
    let tokens = job.pictures * (groups * job.prompt_tokens + responses * job.response_tokens);
    let backward = if job.trained < job.parameters { 2.0 } else { 4.0 };
    // forward, once more for what was not kept, and backward
    let update = (2.0 + 2.0 + backward) * job.parameters * tokens / cluster.operations_per_second;
    // gradient, weight and two means are read, three of them written
    let optimiser = 7.0 * F32 * job.trained / cluster.memory_bytes_per_second;
    Seconds {
        rollout: prefill + job.response_tokens * reading.max(computing),
        update,
        reduction: job.updates * reduction_seconds(job.trained, cluster),
        optimiser: job.updates * optimiser,
    }
}

/// Memory of a rank: with gradients added along the tree, whose partial sums wait for each other.
pub fn memory(job: &Job, cluster: &Cluster, optimiser: Optimiser) -> Memory {
    let groups = job.prompts / job.updates / cluster.ranks as f64;
    let ranks = match optimiser {
        Optimiser::Replicated => 1.0,
        Optimiser::Sharded => cluster.ranks as f64,
    };
    let copies = if job.weight_bytes < F32 { 3.0 } else { 2.0 };
    let is_whole = job.trained >= job.parameters;
    let responses = job.prompts / cluster.ranks as f64 * job.group_size;
    Memory {
        weights: job.weight_bytes * job.parameters,
        reference: if is_whole { job.weight_bytes * job.parameters } else { 0.0 },
        optimiser: copies * F32 * job.trained / ranks,
        gradients: sets_of_gradients(groups.max(1.0) as usize) as f64 * F32 * job.trained,
        cache: job.cache_bytes * (responses * job.response_tokens + job.prompts / cluster.ranks as f64 * job.prompt_tokens),
    }
}

/// Sets of gradients that are alive at once while those of so many groups are added along the tree: a partial sum for each level that is halved, that of the group at hand, and the sum of two.
pub fn sets_of_gradients(groups: usize) -> usize {
    let halved = groups.trailing_zeros() as usize;
    halved + if groups > 1 { 2 } else { 1 } + usize::from(groups >> halved > 1)
}
