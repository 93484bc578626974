//! A training step of four transformer blocks: d 256, 8 heads, seq 128, batch 8, MLP × 4, causal, f32, AdamW; 3.16M parameters.

use percept_engine::ops::{Mask, Segment, Segments};
use percept_engine::{AdamW, AdamWConfig, Device, Gradients, ParamGroup, Tensor, random};

const WIDTH: usize = 256;
const HEADS: usize = 8;
const SEQ: usize = 128;
const BATCH: usize = 8;
const BLOCKS: usize = 4;

/// Multiplications and additions that the mathematics of a step needs: 6 for each parameter of a matrix and token, and those of causal attention.
pub fn step_flops() -> u64 {
    let (tokens, matrices) = ((SEQ * BATCH) as u64, (BLOCKS * 12 * WIDTH * WIDTH) as u64);
    // causal: half of the scores; two products forward, five backward with the recomputed scores left out of the count
    let attention = (BLOCKS * BATCH * SEQ * SEQ / 2 * WIDTH * 2) as u64 * (2 + 4);
    6 * tokens * matrices + attention
}

/// Four pre-norm blocks, mean square as the loss.
pub struct Training {
    input: Tensor,
    segments: Segments,
    /// Those of all blocks.
    pub parameters: Vec<Tensor>,
    optimiser: AdamW,
}

/// Parameters of a block: two norms, attention in and out, MLP in and out.
const PER_BLOCK: usize = 12;

impl Training {
    /// Random parameters and a random input.
    pub fn new(device: &Device) -> Training {
        let values = |stream: usize, shape: &[usize], deviation: f32| {
            Tensor::from_slice(device, &random::normal(1, stream as u64, shape.iter().product(), deviation), shape)
        };
        let parameters: Vec<Tensor> = (0..BLOCKS)
            .flat_map(|block| {
                let matrix = |i: usize, shape: [usize; 2]| values(block * PER_BLOCK + i, &shape, 0.05).parameter();
                let constant = |length: usize, value: f32| Tensor::from_slice(device, &vec![value; length], &[length]).parameter();
                [
                    constant(WIDTH, 1.0),
                    constant(WIDTH, 0.0),
                    matrix(2, [WIDTH, 3 * WIDTH]),
                    constant(3 * WIDTH, 0.0),
                    matrix(4, [WIDTH, WIDTH]),
                    constant(WIDTH, 0.0),
                    constant(WIDTH, 1.0),
                    constant(WIDTH, 0.0),
                    matrix(8, [WIDTH, 4 * WIDTH]),
                    constant(4 * WIDTH, 0.0),
                    matrix(10, [4 * WIDTH, WIDTH]),
                    constant(WIDTH, 0.0),
                ]
            })
            .collect();
        let segments = (0..BATCH)
            .map(|row| {
                let tokens = row * SEQ..(row + 1) * SEQ;
                Segment { query: tokens.clone(), keys: tokens, prefix: None, mask: Mask::Causal }
            })
            .collect();
        let named = parameters.iter().enumerate().map(|(i, p)| (format!("p{i}"), p.clone())).collect();
        let group = ParamGroup { parameters: named, lr_scale: 1.0, weight_decay: 0.01 };
        Training {
            input: values(1000, &[BATCH * SEQ, WIDTH], 1.0),
            segments: Segments::new(segments, BATCH * SEQ, BATCH * SEQ),
            optimiser: AdamW::new(vec![group], AdamWConfig::default()),
            parameters,
        }
    }

    /// Forward, backward, update.
    pub fn step(&mut self) {
        let gradients = self.gradients();
        self.update(&gradients);
    }

    /// Forward and backward.
    pub fn gradients(&self) -> Gradients {
        let mut x = self.input.clone();
        for block in self.parameters.chunks(PER_BLOCK) {
            x = self.block(&x, block);
        }
        x.square().mean(&[0, 1]).backward()
    }

    /// One step of AdamW.
    pub fn update(&mut self, gradients: &Gradients) {
        self.optimiser.step(gradients);
        self.input.device().synchronize().expect("the step");
    }

    /// `[tokens, width] -> [tokens, width]`
    fn block(&self, x: &Tensor, parameters: &[Tensor]) -> Tensor {
        let tokens = x.dim(0);
        let [norm1, shift1, w_qkv, b_qkv, w_out, b_out, norm2, shift2, w_up, b_up, w_down, b_down] = parameters else {
            unreachable!("{PER_BLOCK} parameters a block")
        };
        let qkv = x.layer_norm(norm1, shift1, 1e-5).matmul(w_qkv).add(b_qkv);
        let head = |i: usize| qkv.slice(1, i * WIDTH, WIDTH).reshape(&[tokens, HEADS, WIDTH / HEADS]);
        let scale = 1.0 / ((WIDTH / HEADS) as f32).sqrt();
        let attended = head(0).attention(&head(1), &head(2), &self.segments, scale).reshape(&[tokens, WIDTH]);
        let x = x.add(&attended.matmul(w_out).add(b_out));
        let hidden = x.layer_norm(norm2, shift2, 1e-5).matmul(w_up).add(b_up).gelu_tanh();
        x.add(&hidden.matmul(w_down).add(b_down))
    }
}
