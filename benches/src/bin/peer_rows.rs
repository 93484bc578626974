//! Our side of `benches/peers/run`: reads the name of a row a line, and prints the seconds of one repetition of it as a line of JSON.

use std::io::{BufRead, Write};

use percept_benches::block::Training;
use percept_benches::smolvlm::Question;
use percept_benches::{median, seconds};
use percept_engine::{Device, GpuSelector, Tensor, no_grad, random, tune};

fn main() {
    // the CPU, or with the argument `gpu` the adapter that PERCEPT_ADAPTER names
    let device = match std::env::args().nth(1).as_deref() {
        Some("gpu") => Device::gpu(&GpuSelector::from_env_or_hardware()).inspect(tune::load).expect("a GPU"),
        _ => Device::cpu(),
    };
    let (mut blocks, mut question) = (None, None);
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let words: Vec<&str> = line.split_whitespace().collect();
        let time = match words[..] {
            ["product", kind, m, n, k] => product(&device, kind, [m, n, k].map(|size| size.parse().expect("a size"))),
            ["blocks", ..] => {
                let training = blocks.get_or_insert_with(|| Training::new(&device));
                repeat(3, 5, || training.step())
            }
            ["smolvlm", what, sequences] => {
                let question = question.get_or_insert_with(|| Question::new(&device));
                match what {
                    "first" => question.first(),
                    _ => question.token(sequences.parse().expect("a number")),
                }
            }
            _ => panic!("no such row: {line}"),
        };
        println!("{}", serde_json::json!({ "seconds": time }));
        std::io::stdout().flush().expect("the reader is there");
    }
}

/// `forward`: `x wᵀ`, as a layer computes it; `left` and `right`: the gradients of x and of w. `x [m, k]`, `w [n, k]`, `dy [m, n]`
fn product(device: &Device, kind: &str, [m, n, k]: [usize; 3]) -> f64 {
    let matrix = |stream: u64, shape: [usize; 2]| Tensor::from_slice(device, &random::normal(1, stream, shape[0] * shape[1], 1.0), &shape);
    let (x, w, dy) = (matrix(1, [m, k]), matrix(2, [n, k]), matrix(3, [m, n]));
    let repetitions = (1 << 31) / (2 * m * n * k).max(1);
    no_grad(|| {
        repeat(1, repetitions.clamp(3, 200), || match kind {
            "forward" => drop(x.matmul(&w.t())),
            "left" => drop(dy.matmul(&w)),
            _ => drop(dy.t().matmul(&x)),
        })
    })
}

/// The median of `repetitions` after some that are not counted.
fn repeat(before: usize, repetitions: usize, mut f: impl FnMut()) -> f64 {
    (0..before).for_each(|_| f());
    median(&mut (0..repetitions).map(|_| seconds(&mut f)).collect::<Vec<_>>())
}
