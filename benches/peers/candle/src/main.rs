//! candle's side of `benches/peers/run`: the name of a row a line on standard input, the seconds of one repetition as a line of JSON.

use std::io::{BufRead, Write};
use std::time::Instant;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, ops};

fn main() -> Result<()> {
    let mut blocks = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let seconds = match words[..] {
            ["product", kind, m, n, k] => product(kind, [m, n, k].map(|size| size.parse().expect("a size")))?,
            ["blocks"] => {
                if blocks.is_none() {
                    blocks = Some(Blocks::new()?);
                }
                let blocks = blocks.as_mut().expect("just made");
                repeat(3, 5, || blocks.step())?
            }
            _ => panic!("no such row: {line}"),
        };
        println!("{{\"seconds\": {seconds}}}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// As in `benches/src/bin/peer_rows.rs`.
fn product(kind: &str, [m, n, k]: [usize; 3]) -> Result<f64> {
    let matrix = |rows: usize, columns: usize| Tensor::randn(0f32, 1.0, (rows, columns), &Device::Cpu);
    let (x, w, dy) = (matrix(m, k)?, matrix(n, k)?, matrix(m, n)?);
    let repetitions = (1 << 31) / (2 * m * n * k).max(1);
    repeat(1, repetitions.clamp(3, 200), || {
        match kind {
            "forward" => x.matmul(&w.t()?),
            "left" => dy.matmul(&w),
            _ => dy.t()?.matmul(&x),
        }
        .map(drop)
    })
}

const WIDTH: usize = 256;
const HEADS: usize = 8;
const SEQ: usize = 128;
const BATCH: usize = 8;

/// The blocks of `benches/src/block.rs`. The fused norm, softmax and attention of candle-nn have no gradients: these are those that have.
struct Blocks {
    x: Tensor,
    mask: Tensor,
    parameters: Vec<[Var; 12]>,
    optimiser: AdamW,
}

impl Blocks {
    fn new() -> Result<Blocks> {
        let cpu = &Device::Cpu;
        let matrix = |rows: usize, columns: usize| Var::randn(0f32, 0.05, (rows, columns), cpu);
        let constant = |len: usize, value: f32| Var::from_tensor(&Tensor::full(value, len, cpu)?);
        let block = |_| -> Result<[Var; 12]> {
            Ok([
                constant(WIDTH, 1.0)?,
                constant(WIDTH, 0.0)?,
                matrix(WIDTH, 3 * WIDTH)?,
                constant(3 * WIDTH, 0.0)?,
                matrix(WIDTH, WIDTH)?,
                constant(WIDTH, 0.0)?,
                constant(WIDTH, 1.0)?,
                constant(WIDTH, 0.0)?,
                matrix(WIDTH, 4 * WIDTH)?,
                constant(4 * WIDTH, 0.0)?,
                matrix(4 * WIDTH, WIDTH)?,
                constant(WIDTH, 0.0)?,
            ])
        };
        let parameters = (0..4).map(block).collect::<Result<Vec<_>>>()?;
        let hidden: Vec<f32> = (0..SEQ * SEQ).map(|i| if i % SEQ > i / SEQ { f32::NEG_INFINITY } else { 0.0 }).collect();
        Ok(Blocks {
            x: Tensor::randn(0f32, 1.0, (BATCH * SEQ, WIDTH), cpu)?,
            mask: Tensor::from_vec(hidden, (1, 1, SEQ, SEQ), cpu)?,
            optimiser: AdamW::new(parameters.iter().flatten().cloned().collect(), ParamsAdamW { lr: 1e-3, ..ParamsAdamW::default() })?,
            parameters,
        })
    }

    fn step(&mut self) -> Result<()> {
        let mut x = self.x.clone();
        for [norm1, shift1, w_qkv, b_qkv, w_out, b_out, norm2, shift2, w_up, b_up, w_down, b_down] in &self.parameters {
            let qkv = ops::layer_norm_slow(&x, norm1, shift1, 1e-5)?.matmul(w_qkv)?.broadcast_add(b_qkv)?;
            let head = |i: usize| qkv.narrow(1, i * WIDTH, WIDTH)?.reshape((BATCH, SEQ, HEADS, WIDTH / HEADS))?.transpose(1, 2)?.contiguous();
            let scores = (head(0)?.matmul(&head(1)?.t()?)? / ((WIDTH / HEADS) as f64).sqrt())?;
            let weights = ops::softmax(&scores.broadcast_add(&self.mask)?, D::Minus1)?;
            let attended = weights.matmul(&head(2)?)?.transpose(1, 2)?.reshape((BATCH * SEQ, WIDTH))?;
            x = (x + attended.matmul(w_out)?.broadcast_add(b_out)?)?;
            let hidden = ops::layer_norm_slow(&x, norm2, shift2, 1e-5)?.matmul(w_up)?.broadcast_add(b_up)?.gelu()?;
            x = (x + hidden.matmul(w_down)?.broadcast_add(b_down)?)?;
        }
        self.optimiser.backward_step(&x.sqr()?.mean_all()?.to_dtype(DType::F32)?)
    }
}

/// The median of `repetitions` after some that are not counted.
fn repeat(before: usize, repetitions: usize, mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..before {
        f()?;
    }
    let mut times = Vec::new();
    for _ in 0..repetitions {
        let start = Instant::now();
        f()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
