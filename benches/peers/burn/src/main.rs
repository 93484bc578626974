//! burn's side of `benches/peers/run`: the name of a row a line on standard input, the seconds of one repetition as a line of JSON.
//! The argument names the back end: `flex`, `ndarray` or `wgpu`.

use std::io::{BufRead, Write};
use std::time::Instant;

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, DeviceKind, Distribution, Tensor, activation};

fn main() {
    let device = match std::env::args().nth(1).as_deref() {
        Some("ndarray") => Device::ndarray(),
        Some("wgpu") => Device::wgpu(DeviceKind::DefaultDevice),
        _ => Device::flex(),
    };
    let mut blocks = None;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split_whitespace().collect();
        let seconds = match words[..] {
            ["product", kind, m, n, k] => product(&device, kind, [m, n, k].map(|size| size.parse().expect("a size"))),
            ["blocks", ..] => {
                let (model, optimiser, x) = blocks.get_or_insert_with(|| start(&device.clone().autodiff()));
                repeat(&device, 3, 5, || {
                    let loss = model.as_ref().expect("a model").forward(x.clone()).square().mean();
                    let old = model.take().expect("a model");
                    let gradients = GradientsParams::from_grads(loss.backward(), &old);
                    *model = Some(optimiser.step(1e-3, old, gradients));
                })
            }
            _ => panic!("no such row: {line}"),
        };
        println!("{{\"seconds\": {seconds}}}");
        std::io::stdout().flush().expect("the reader is there");
    }
}

/// As in `benches/src/bin/peer_rows.rs`.
fn product(device: &Device, kind: &str, [m, n, k]: [usize; 3]) -> f64 {
    let matrix = |rows: usize, columns: usize| Tensor::<2>::random([rows, columns], Distribution::Normal(0.0, 1.0), device);
    let (x, w, dy) = (matrix(m, k), matrix(n, k), matrix(m, n));
    let repetitions = (1 << 31) / (2 * m * n * k).max(1);
    repeat(device, 1, repetitions.clamp(3, 200), || {
        let _ = match kind {
            "forward" => x.clone().matmul(w.clone().transpose()),
            "left" => dy.clone().matmul(w.clone()),
            _ => dy.clone().transpose().matmul(x.clone()),
        };
    })
}

const WIDTH: usize = 256;
const HEADS: usize = 8;
const SEQ: usize = 128;
const BATCH: usize = 8;

/// A block of `benches/src/block.rs`.
#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    qkv: Linear,
    out: Linear,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(device: &Device) -> Block {
        let linear = |inputs: usize, outputs: usize| LinearConfig::new(inputs, outputs).init(device);
        let norm = || LayerNormConfig::new(WIDTH).init(device);
        Block {
            norm1: norm(),
            qkv: linear(WIDTH, 3 * WIDTH),
            out: linear(WIDTH, WIDTH),
            norm2: norm(),
            up: linear(WIDTH, 4 * WIDTH),
            down: linear(4 * WIDTH, WIDTH),
        }
    }

    fn forward(&self, x: Tensor<3>, mask: &Tensor<4>) -> Tensor<3> {
        let qkv = self.qkv.forward(self.norm1.forward(x.clone()));
        let head = |i: usize| qkv.clone().narrow(2, i * WIDTH, WIDTH).reshape([BATCH, SEQ, HEADS, WIDTH / HEADS]).swap_dims(1, 2);
        let scores = head(0).matmul(head(1).transpose()) / ((WIDTH / HEADS) as f64).sqrt() + mask.clone();
        let attended = activation::softmax(scores, 3).matmul(head(2)).swap_dims(1, 2).reshape([BATCH, SEQ, WIDTH]);
        let x = x + self.out.forward(attended);
        x.clone() + self.down.forward(activation::gelu_approximate(self.up.forward(self.norm2.forward(x))))
    }
}

#[derive(Module, Debug)]
struct Blocks {
    blocks: Vec<Block>,
    mask: Tensor<4>,
}

impl Blocks {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.blocks.iter().fold(x, |x, block| block.forward(x, &self.mask))
    }
}

fn start(device: &Device) -> (Option<Blocks>, ModuleOptimizer, Tensor<3>) {
    let hidden: Vec<f32> = (0..SEQ * SEQ).map(|i| if i % SEQ > i / SEQ { -1e9 } else { 0.0 }).collect();
    let mask = Tensor::<1>::from_floats(hidden.as_slice(), device).reshape([1, 1, SEQ, SEQ]);
    let blocks = Blocks { blocks: (0..4).map(|_| Block::new(device)).collect(), mask };
    let x = Tensor::random([BATCH, SEQ, WIDTH], Distribution::Normal(0.0, 1.0), device);
    (Some(blocks), AdamWConfig::new().with_weight_decay(0.01).init(), x)
}

/// The median of `repetitions` after some that are not counted.
fn repeat(device: &Device, before: usize, repetitions: usize, mut f: impl FnMut()) -> f64 {
    for _ in 0..before {
        f();
    }
    let mut times = Vec::new();
    for _ in 0..repetitions {
        device.sync().expect("the device works");
        let start = Instant::now();
        f();
        device.sync().expect("the device works");
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
