//! One update's loss and gradients: groups of responses in, gradients out, in two phases.
//!
//! **First**, if the method weighs tokens, every response is read on all its pictures, and the method sees the readings of the whole update at once: counts,
//! quantiles and minima are those of the update. **Then** the responses go through the model in micro-batches, each with one forward and one backward pass. The
//! method turns each into terms per token, and every term is divided by its count in the whole update, so that the gradients of the micro-batches add up to that of
//! the update, wherever it is cut. An update that fits into one micro-batch has one forward pass for both phases.
//!
//! Where bits must not depend on the ranks, a micro-batch is a group, and gradients are added along a tree: see [`reduce`](super::reduce).
//!
//! All pictures of a response run as one packed batch of segments, in which a prompt stands once for all its responses. For CPPO, which looks at two
//! perturbed pictures, I⁺ and I⁻, with responses that are better than their group:
//!
//! ```text
//! [prompt(I) | responses on I | prompt(I⁺) | rewarded responses on I⁺ | prompt(I⁻) | the same on I⁻]    for each group
//! ```
//!
//! Exact, not an approximation: the other responses have zero weight. For the same reason responses that have no gradient at all are left out.

mod forward;
mod plan;
mod score;
mod similarity;

use percept_engine::{Gradients, Tensor, no_grad};
use percept_model::{Model, ModelError};

use crate::methods::Method;
use crate::methods::micro_batch::{MicroBatch, Pass};
use crate::methods::policy::PolicyConfig;
use crate::methods::signal::{Reading, Signal};
use crate::methods::term::{Counts, Over, Term, total_loss};
use crate::methods::view::{Moment, View, ViewGradient, ViewUse};
use crate::training::group::Group;
use crate::training::reduce::{Adding, along_tree, over_ranks};
use crate::training::world::World;
use forward::forward;
pub use plan::Cut;
use plan::{Part, micro_batches};
pub use score::score;
use score::{Unread, Wanted, read_all};

/// What an update minimises, and how it is cut into micro-batches.
#[derive(Clone, Copy)]
pub struct UpdateConfig<'a> {
    /// The method: views, weights, terms.
    pub method: &'a dyn Method,
    /// Clipping and reference divergence.
    pub policy: &'a PolicyConfig,
    /// Logits are divided by this, as when the responses were sampled.
    pub temperature: f32,
    /// Largest number of tokens in a micro-batch. A single response that is longer, with its prompts, is a micro-batch by itself.
    pub micro_batch_tokens: usize,
    /// How far the run has come.
    pub moment: Moment,
    /// Seed of the method's random draws.
    pub seed: u64,
    /// How the gradients of groups are added, and with that how groups are cut into micro-batches.
    pub adding: Adding,
    /// The ranks that share this update.
    pub world: &'a World,
}

/// Gradients of an update, and its numbers.
pub struct Update {
    /// Summed over the micro-batches and ranks; empty if no response had anything to say.
    pub gradients: Gradients,
    /// Means over the update.
    pub metrics: UpdateMetrics,
}

/// An update whose work has been given to the device, and whose numbers have not been read: a GPU that is read stands still meanwhile.
pub struct Launched<'a> {
    gradients: Gradients,
    config: UpdateConfig<'a>,
    uses: Vec<ViewUse>,
    parts: Vec<Part>,
    readings: Vec<Unread>,
    losses: Vec<Loss>,
    counts: Counts,
    of_method: Vec<(&'static str, f64)>,
}

/// Means and counts of one update, over all ranks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateMetrics {
    /// The whole loss.
    pub loss: f64,
    /// Mean entropy of the tokens that went through the model, nats.
    pub entropy: f64,
    /// The mean of each term and what the terms and the method measure besides, by name.
    pub named: Vec<(String, f64)>,
    /// Response tokens of the update, and those of them with a weight.
    pub counts: Counts,
    /// Response tokens that went through the model on the original picture: those of responses with a gradient.
    pub trained_tokens: usize,
    /// Tokens of all micro-batches, prompts and perturbed pictures included.
    pub packed_tokens: usize,
    /// Number of micro-batches.
    pub micro_batches: usize,
}

impl UpdateMetrics {
    /// A named number; NaN if there is none of that name.
    pub fn get(&self, name: &str) -> f64 {
        self.named.iter().find(|(known, _)| known == name).map_or(f64::NAN, |(_, value)| *value)
    }
}

/// Loss and gradients of an update on `groups`, whose responses' readings and weights are filled in. `reference` is the policy of the KL term; it is not used
/// if `kl_coef` is 0.
///
/// # Errors
/// If a prompt does not fit its pictures or the model's context, or the device fails.
///
/// # Panics
/// If a response is empty, some but not all responses have `old_log_probs`, perturbed pictures are missing where they are needed, or a reference is missing
/// where `kl_coef` is positive.
#[track_caller]
pub fn compute_update(
    model: &Model,
    reference: Option<&Model>,
    groups: &mut [Group],
    config: &UpdateConfig<'_>,
) -> Result<Update, ModelError> {
    let mut launched = launch_update(model, reference, groups, config)?;
    let gradients = over_ranks(config.world, config.adding, launched.take_gradients(), &model.trainable())?;
    let (metrics, _) = launched.read(groups, &[])?;
    Ok(Update { gradients, metrics })
}

/// [`compute_update`] without waiting for the device, unless the method has to see what the policy says of the responses before it weighs them.
///
/// # Errors
/// As [`compute_update`].
///
/// # Panics
/// As [`compute_update`].
#[track_caller]
pub fn launch_update<'a>(
    model: &Model,
    reference: Option<&Model>,
    groups: &mut [Group],
    config: &UpdateConfig<'a>,
) -> Result<Launched<'a>, ModelError> {
    let reference = reference.filter(|_| config.policy.kl_coef > 0.0);
    assert!(
        reference.is_some() || config.policy.kl_coef == 0.0,
        "compute_update: kl_coef is {} and there is no reference policy",
        config.policy.kl_coef
    );
    let uses = views_with(ViewGradient::Flows, config.method, config.moment);
    let takes_part = |group: &Group, response: usize| {
        let is_read_on_views = group.views_of(response, &uses).next().is_some();
        config.policy.kl_coef > 0.0 || is_read_on_views || config.method.trains(&group.responses[response].signal)
    };
    let parts = micro_batches(groups, &uses, Cut::of(config.adding, config.micro_batch_tokens), takes_part);

    let weighs = config.method.weighs();
    let mut pass_of_all = None;
    if weighs {
        let measures = config.method.measures();
        let (mut passes, wanted) = (Vec::new(), Wanted { uses: &uses, measures: &measures });
        for part in &parts {
            let is_all = parts.len() == 1;
            let run = || forward(model, groups, part, &uses, config.temperature);
            let pass = if is_all { run()? } else { no_grad(run)? };
            passes.push(Unread::new(model, &pass, groups, wanted)?);
            pass_of_all = is_all.then_some(pass);
        }
        read_all(&passes, groups, wanted)?;
    }
    let of_method = weigh(groups, config);
    let counts = count(groups, config.world);

    let (mut readings, mut losses, wanted) = (Vec::new(), Vec::new(), Wanted { uses: &uses, measures: &[] });
    if parts.is_empty() {
        // for their names: every update has the same metrics
        let pass = Pass::empty(model.head(), model.arithmetic_dtype(), config.temperature);
        let reference_log_probs = reference.map(|_| pass.log_probs.clone());
        let terms = config.method.terms(&MicroBatch { pass: &pass, signals: Vec::new(), reference_log_probs }, config.policy);
        losses.push(Loss::new(&terms, &pass, None, None));
    }
    let mut backward = |number: usize| -> Result<Option<Gradients>, ModelError> {
        let part = &parts[number];
        let pass = match pass_of_all.take() {
            Some(pass) => pass,
            None => forward(model, groups, part, &uses, config.temperature)?,
        };
        if !weighs {
            readings.push(Unread::new(model, &pass, groups, wanted)?);
        }
        let reference_log_probs = match reference {
            Some(reference) => Some(no_grad(|| forward(reference, groups, part, &[], config.temperature))?.log_probs),
            None => None,
        };
        let signals: Vec<&Signal> = pass.items.iter().map(|item| &groups[item.group].responses[item.response].signal).collect();
        let terms = config.method.terms(&MicroBatch { pass: &pass, signals, reference_log_probs }, config.policy);
        let loss = total_loss(&terms, &counts);
        let gradients = loss.as_ref().map(Tensor::backward);
        losses.push(Loss::new(&terms, &pass, loss, Some(number)));
        Ok(gradients)
    };
    let add = |mut a: Gradients, b: Gradients| {
        a.accumulate(b);
        a
    };
    let mut one_after_the_other = |numbers: &mut dyn Iterator<Item = usize>| -> Result<Option<Gradients>, ModelError> {
        let mut sum = None;
        for number in numbers {
            sum = match (sum, backward(number)?) {
                (Some(sum), Some(gradients)) => Some(add(sum, gradients)),
                (sum, gradients) => sum.or(gradients),
            };
        }
        Ok(sum)
    };
    let gradients = match config.adding {
        Adding::Packed => one_after_the_other(&mut (0..parts.len()))?,
        Adding::Tree(leaves) => {
            let leaf_of = |number: &usize| leaves.of(groups[parts[*number][0].0].number);
            let mut leaf = |leaf: usize| one_after_the_other(&mut (0..parts.len()).filter(|number| leaf_of(number) == leaf));
            along_tree(leaves.owned(config.world.rank(), config.world.size()), &mut leaf, &add)?
        }
    };
    Ok(Launched { gradients: gradients.unwrap_or_default(), config: *config, uses, parts, readings, losses, counts, of_method })
}

impl Launched<'_> {
    /// Takes out the gradients, summed over the micro-batches of this rank; empty if no response had anything to say.
    pub fn take_gradients(&mut self) -> Gradients {
        std::mem::take(&mut self.gradients)
    }

    /// Waits for the device: the numbers of the update, and the elements of these other tensors. Fills in the readings of the responses, which are those that were given to [`launch_update`].
    ///
    /// # Errors
    /// Those of the device.
    pub fn read(&self, groups: &mut [Group], others: &[&Tensor]) -> Result<(UpdateMetrics, Vec<Vec<f64>>), ModelError> {
        let Launched { config, parts, readings, losses, .. } = self;
        let wanted = Wanted { uses: &self.uses, measures: &[] };
        let own = readings.iter().flat_map(Unread::tensors).chain(losses.iter().flat_map(Loss::tensors));
        let mut read = Tensor::to_f64_vecs(&own.chain(others.iter().copied()).collect::<Vec<_>>())?.into_iter();
        readings.iter().for_each(|pass| pass.fill(&mut read, groups, wanted));
        let of_parts: Vec<(u64, Sums)> = losses.iter().map(|loss| sums_of(loss, &mut read, groups, parts, config.adding)).collect();
        let metrics = Sums::over(of_parts, config.world).means(&self.counts, self.of_method.clone(), parts.len());
        Ok((metrics, read.collect()))
    }
}

/// The views of a method through which a gradient flows, or those through which none does.
pub fn views_with(gradient: ViewGradient, method: &dyn Method, moment: Moment) -> Vec<ViewUse> {
    method.views(moment).into_iter().filter(|of| of.gradient == gradient).collect()
}

/// Has the method weigh the responses of all ranks, keeps what it says of this rank's, and returns its metrics.
fn weigh(groups: &mut [Group], config: &UpdateConfig<'_>) -> Vec<(&'static str, f64)> {
    let own: Vec<&Signal> = groups.iter().flat_map(|group| &group.responses).map(|response| &response.signal).collect();
    let others = signals_of_others(&own, config.world);
    // by number, as they stand where one rank has them all
    let mut all: Vec<(bool, &Signal)> =
        own.into_iter().map(|signal| (true, signal)).chain(others.iter().map(|signal| (false, signal))).collect();
    if config.world.size() > 1 {
        all.sort_by_key(|(_, signal)| signal.number);
    }
    let signals: Vec<&Signal> = all.iter().map(|(_, signal)| *signal).collect();
    let weighing = config.method.weigh(&signals, config.moment, config.seed);
    assert!(weighing.responses.len() == all.len(), "weigh: {} responses weighed of {}", weighing.responses.len(), all.len());
    let own: Vec<bool> = all.iter().map(|(is_own, _)| *is_own).collect();
    let weights = weighing.responses.into_iter().zip(own).filter(|(_, is_own)| *is_own).map(|(weights, _)| weights);
    let responses = groups.iter_mut().flat_map(|group| &mut group.responses);
    responses.zip(weights).for_each(|(response, weights)| response.signal.weights = weights);
    weighing.metrics
}

/// The signals of the other ranks.
fn signals_of_others(own: &[&Signal], world: &World) -> Vec<Signal> {
    if world.size() == 1 {
        return Vec::new();
    }
    let mut bytes = Vec::new();
    own.iter().for_each(|signal| signal.write(&mut bytes));
    let all = world.gather("what the policy says of the responses", bytes).into_iter().enumerate();
    all.filter(|(rank, _)| *rank != world.rank()).flat_map(|(_, bytes)| Signal::read_all(&bytes)).collect()
}

/// The counts of the whole update.
fn count(groups: &[Group], world: &World) -> Counts {
    let responses = || groups.iter().flat_map(|group| &group.responses);
    let tokens: usize = responses().map(|response| response.tokens().len()).sum();
    let selected: usize = responses().map(|response| response.signal.weights.selected()).sum();
    let [tokens, selected, responses] =
        world.sum_of("the counts of the update", [tokens as f64, selected as f64, responses().count() as f64]);
    Counts { tokens: tokens as usize, selected: selected as usize, responses: responses as usize }
}

/// Sums over micro-batches, from which the metrics become means.
#[derive(Default)]
struct Sums {
    loss: f64,
    entropy: f64,
    trained_tokens: usize,
    packed_tokens: usize,
    /// Of each term: the sum of its loss per token.
    terms: Vec<(String, Over, f64)>,
    /// Of each further number of a term, the same.
    measured: Vec<(String, Over, f64)>,
}

/// What is to be read of a micro-batch's loss, still on the device.
struct Loss {
    /// Which part it is of; none for that of nothing.
    part: Option<usize>,
    /// A share of the update's mean.
    total: Option<Tensor>,
    terms: Vec<TermValues>,
    trained_tokens: usize,
    packed_tokens: usize,
}

/// The numbers of a [`Term`], without their graph.
struct TermValues {
    name: &'static str,
    over: Over,
    per_token: Option<Tensor>,
    metrics: Vec<(&'static str, Tensor)>,
}

impl Loss {
    fn new(terms: &[Term], pass: &Pass, total: Option<Tensor>, part: Option<usize>) -> Self {
        let values = |term: &Term| TermValues {
            name: term.name,
            over: term.over,
            per_token: term.per_token.as_ref().map(Tensor::detach),
            metrics: term.metrics.iter().map(|(name, values)| (*name, values.detach())).collect(),
        };
        Self {
            part,
            total: total.map(|total| total.detach()),
            terms: terms.iter().map(values).collect(),
            trained_tokens: pass.range(View::Original).len(),
            packed_tokens: pass.packed_tokens,
        }
    }

    /// The tensors to be read.
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let of_terms = self.terms.iter().flat_map(|term| term.per_token.iter().chain(term.metrics.iter().map(|(_, values)| values)));
        self.total.iter().chain(of_terms)
    }
}

impl Sums {
    /// `read` gives what was read of the loss's tensors, in their order.
    fn add(&mut self, loss: &Loss, read: &mut impl Iterator<Item = Vec<f64>>) {
        let mut next = || read.next().expect("a reading of each tensor").iter().sum::<f64>();
        self.trained_tokens += loss.trained_tokens;
        self.packed_tokens += loss.packed_tokens;
        self.loss += loss.total.iter().map(|_| next()).sum::<f64>();
        for term in &loss.terms {
            add_to(&mut self.terms, term.name, term.over, term.per_token.iter().map(|_| next()).sum());
            for (name, _) in &term.metrics {
                add_to(&mut self.measured, name, term.over, next());
            }
        }
    }

    /// The sums of the parts of all ranks, which come with their numbers. Every part has the same terms, those of the method.
    fn over(parts: Vec<(u64, Sums)>, world: &World) -> Sums {
        let rows = parts.iter().map(|(number, sums)| (*number, sums.row())).collect();
        let mut sums = parts.into_iter().next().expect("there is a loss, if only of nothing").1;
        let total = world.sum_rows("the metrics of the update", sums.row().len(), rows);
        let [loss, entropy, trained_tokens, packed_tokens] = [0, 1, 2, 3].map(|at| total[at]);
        (sums.loss, sums.entropy) = (loss, entropy);
        (sums.trained_tokens, sums.packed_tokens) = (trained_tokens as usize, packed_tokens as usize);
        sums.terms.iter_mut().chain(&mut sums.measured).zip(&total[4..]).for_each(|((.., sum), of_all)| *sum = *of_all);
        sums
    }

    /// Its numbers, side by side.
    fn row(&self) -> Vec<f64> {
        let counts = [self.loss, self.entropy, self.trained_tokens as f64, self.packed_tokens as f64];
        counts.into_iter().chain(self.terms.iter().chain(&self.measured).map(|(.., sum)| *sum)).collect()
    }

    fn means(self, counts: &Counts, of_method: Vec<(&'static str, f64)>, micro_batches: usize) -> UpdateMetrics {
        let mean = |(name, over, sum): (String, Over, f64)| (name, counts.mean(sum, over));
        let mut named: Vec<(String, f64)> = self.terms.into_iter().chain(self.measured).map(mean).collect();
        named.extend(of_method.into_iter().map(|(name, value)| (name.to_owned(), value)));
        UpdateMetrics {
            loss: self.loss,
            entropy: if self.trained_tokens == 0 { 0.0 } else { self.entropy / self.trained_tokens as f64 },
            named,
            counts: *counts,
            trained_tokens: self.trained_tokens,
            packed_tokens: self.packed_tokens,
            micro_batches,
        }
    }
}

/// The sums of a part, and the number by which parts are added: that of its group if it has one group alone; else they are added as they come, those of the ranks in their order.
fn sums_of(loss: &Loss, read: &mut impl Iterator<Item = Vec<f64>>, groups: &[Group], parts: &[Part], adding: Adding) -> (u64, Sums) {
    let mut sums = Sums::default();
    sums.add(loss, read);
    let Some(part) = loss.part.map(|number| &parts[number]) else { return (u64::MAX, sums) };
    let readings = part.iter().filter_map(|&(group, response)| groups[group].responses[response].signal.on(View::Original));
    sums.entropy = readings.flat_map(|Reading { entropy, .. }| entropy).map(|&entropy| f64::from(entropy)).sum();
    let number = match adding {
        Adding::Packed => 0,
        Adding::Tree(_) => groups[part[0].0].number,
    };
    (number, sums)
}

fn add_to(sums: &mut Vec<(String, Over, f64)>, name: &str, over: Over, sum: f64) {
    match sums.iter_mut().find(|(known, ..)| known == name) {
        Some((_, _, total)) => *total += sum,
        None => sums.push((name.to_owned(), over, sum)),
    }
}
