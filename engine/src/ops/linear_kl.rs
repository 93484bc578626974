//! Kullback–Leibler divergence over the whole vocabulary between two linear heads, without the logits of more than a chunk of rows.
//!
//! With p and q the softmax of z = h·Wᵀ / temperature of each side:
//!
//! ```text
//! kl = Σ p_v (log p_v - log q_v)      d kl / dz^p_v = p_v (log p_v - log q_v - kl)      d kl / dz^q_v = q_v - p_v
//! ```

use crate::cpu::parallel::{for_costly_rows_of, for_row_blocks_of};
use crate::cpu::{CpuArgs, Float, reduce};
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::ELEMENTS_PER_GROUP;
use super::head::Head;
use super::linear_log_probs::{Chunk, HeadGradients, LANES, assert_head, chunks, softmax_sums};

kernel_params! {
    /// A chunk of `rows` rows of logits, the first of which is row `first_row` of the outputs.
    struct Params { rows: u32, vocab: u32, first_row: u32, inverse_temperature: f32 }
}

const SHADER: Shader = wgsl!("common/math.wgsl", "common/row_reduce.wgsl", "linear_kl.wgsl");
static FORWARD: Kernel = kernel!(SHADER, "forward", Params, forward);
static BACKWARD: Kernel = kernel!(SHADER, "backward", Params, backward);
pub(crate) const KERNELS: &[&Kernel] = &[&FORWARD, &BACKWARD];

/// For each token, how far the distribution `q` is from the distribution `p`: the divergence KL(p ‖ q) in nats, with logits divided by
/// `temperature`. A side is hidden states `[tokens, hidden]` and the head that reads them; tokens that both heads suppress count as equal. Gradients flow to both sides. `-> [tokens]`
///
/// # Panics
/// If shapes or types do not fit, or the temperature is not positive.
#[track_caller]
pub fn linear_kl(p: (&Tensor, &Head), q: (&Tensor, &Head), temperature: f32) -> Tensor {
    for (hidden, head) in [p, q] {
        assert_head("linear_kl", hidden, head, temperature);
    }
    let ((p_hidden, p_head), (q_hidden, q_head)) = (p, q);
    assert!(
        p_hidden.dim(0) == q_hidden.dim(0) && p_head.weight().dim(0) == q_head.weight().dim(0),
        "linear_kl: hidden {:?} with weight {:?} beside hidden {:?} with weight {:?}",
        p_hidden.shape(),
        p_head.weight().shape(),
        q_hidden.shape(),
        q_head.weight().shape()
    );
    let (tokens, vocab) = (p_hidden.dim(0), p_head.weight().dim(0));
    let saved = [p, q].map(|(hidden, head)| (hidden.detach().contiguous(), head.detach()));
    let logits = |saved: &[(Tensor, Head); 2], chunk: &Chunk| saved.each_ref().map(|(hidden, head)| head.logits_of(&chunk.of(hidden)));
    let new = || Tensor::uninit(p_hidden.device(), &[tokens], p_hidden.dtype(), "linear_kl");
    let (kl, lse_p, lse_q) = (new(), new(), new());
    let params = move |first: usize, rows: usize| Params {
        rows: rows as u32,
        vocab: vocab as u32,
        first_row: first as u32,
        inverse_temperature: 1.0 / temperature,
    };
    for chunk in chunks(tokens, vocab) {
        let [logits_p, logits_q] = logits(&saved, &chunk);
        let launch = params(chunk.first, chunk.rows);
        let launch = FORWARD.launch(&launch).input(&logits_p).input(&logits_q);
        launch.output(&kl).output(&lse_p).output(&lse_q).groups(chunk.rows).run();
    }
    let inputs = [p_hidden, p_head.weight(), q_hidden, q_head.weight()];
    let needs = inputs.map(Tensor::requires_grad);
    let saved_kl = kl.clone();
    kl.with_grads_in_place("linear_kl", &inputs, move |d_kl, places| {
        let d_kl = d_kl.contiguous();
        let [mut gradients_p, mut gradients_q] = [0, 1].map(|side| {
            HeadGradients::new(&saved[side].0, &saved[side].1, needs[2 * side], needs[2 * side + 1], || places.of(2 * side + 1))
        });
        for chunk in chunks(tokens, vocab) {
            let [logits_p, logits_q] = logits(&saved, &chunk);
            let launch = params(chunk.first, chunk.rows);
            let launch = BACKWARD.launch(&launch).input(&saved_kl).input(&lse_p).input(&lse_q).input(&d_kl);
            launch.output(&logits_p).output(&logits_q).groups(logits_p.len().div_ceil(ELEMENTS_PER_GROUP)).run();
            gradients_p.add(&chunk, &saved[0].0, &saved[0].1, &logits_p);
            gradients_q.add(&chunk, &saved[1].0, &saved[1].1, &logits_q);
        }
        [gradients_p.into_vec(), gradients_q.into_vec()].concat()
    })
}

fn forward<F: Float>(params: &Params, mut args: CpuArgs) {
    let (logits_p, logits_q) = (args.input::<F>(0), args.input::<F>(1));
    let rows = params.first_row as usize..(params.first_row + params.rows) as usize;
    let [kl, lse_p, lse_q] = [0, 1, 2].map(|i| &mut args.output::<F>(i)[rows.clone()]);
    let scale = F::of(params.inverse_temperature.into());
    let vocab = params.vocab as usize;
    parallel!(for_costly_rows_of([(kl, 1), (lse_p, 1), (lse_q, 1)], vocab), |first, [kl, lse_p, lse_q]| {
        let rows = logits_p.chunks(vocab).zip(logits_q.chunks(vocab)).skip(first);
        for (row, (p, q)) in rows.take(kl.len()).enumerate() {
            lse_p[row] = reduce::max(p) * scale + softmax_sums(p, scale).0.fast_ln();
            lse_q[row] = reduce::max(q) * scale + softmax_sums(q, scale).0.fast_ln();
            let mut sums = [F::ZERO; LANES];
            for (p, q) in p.chunks(LANES).zip(q.chunks(LANES)) {
                for ((sum, &p), &q) in sums.iter_mut().zip(p).zip(q) {
                    let (log_p, log_q) = (p * scale - lse_p[row], q * scale - lse_q[row]);
                    *sum += log_p.fast_exp() * (log_p - log_q);
                }
            }
            kl[row] = reduce::sum(&sums);
        }
    });
}

fn backward<F: Float>(params: &Params, mut args: CpuArgs) {
    let rows = params.first_row as usize..(params.first_row + params.rows) as usize;
    let [kl, lse_p, lse_q, d_kl] = [0, 1, 2, 3].map(|i| &args.input::<F>(i)[rows.clone()]);
    let scale = F::of(params.inverse_temperature.into());
    let vocab = params.vocab as usize;
    let (p, q) = (args.output::<F>(0), args.output::<F>(1));
    parallel!(for_row_blocks_of([(p, vocab), (q, vocab)]), |first, [p, q]| {
        for (row, (p, q)) in p.chunks_mut(vocab).zip(q.chunks_mut(vocab)).enumerate().map(|(row, logits)| (first + row, logits)) {
            let factor = d_kl[row] * scale;
            for (p, q) in p.iter_mut().zip(q) {
                let (log_p, log_q) = (*p * scale - lse_p[row], *q * scale - lse_q[row]);
                let (prob_p, prob_q) = (log_p.fast_exp(), log_q.fast_exp());
                *p = factor * prob_p * (log_p - log_q - kl[row]);
                *q = factor * (prob_q - prob_p);
            }
        }
    });
}
