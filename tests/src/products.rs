//! Matrix products on the CPU, at sizes and strides that take every path through the blocked kernels, and the threads that share them.

use std::sync::Mutex;

use half::{bf16, f16};
use percept_engine::cpu::gemm::{Block, Half, Order, Right, Threads, multiply_on};
use percept_engine::cpu::threads::for_each;
use percept_engine::ops::{Mask, Segment, Segments};
use percept_engine::{Device, Tensor, random};

/// A product of some sizes, with rows or columns contiguous on either side.
#[derive(Clone, Copy, Debug)]
struct Case {
    sizes: [usize; 3],
    left_by_rows: bool,
    right_by_rows: bool,
    alpha: f32,
    beta: f32,
    /// Elements between the end of a contiguous line and the next.
    gap: usize,
}

impl Case {
    /// Sizes around the borders of tiles (12 rows, 32 columns), slices (256 steps, 1024 columns) and paths (dot products, few rows, deep, shared).
    fn all() -> Vec<Case> {
        const ROWS: [usize; 9] = [1, 2, 5, 12, 13, 64, 65, 97, 200];
        const COLUMNS: [usize; 9] = [1, 3, 16, 31, 32, 33, 100, 260, 1030];
        const STEPS: [usize; 9] = [0, 1, 7, 32, 65, 256, 257, 520, 1100];
        let mut cases = Vec::new();
        for (i, &m) in ROWS.iter().enumerate() {
            for (j, &n) in COLUMNS.iter().enumerate() {
                for (l, &k) in STEPS.iter().enumerate() {
                    // a third of the combinations, so that every pair of sizes is there; all of those without steps, whose result is zeros
                    if (i + j + l) % 3 != 0 && k > 0 {
                        continue;
                    }
                    let which = i + 2 * j + 3 * l;
                    let (alpha, beta) = [(1.0, 0.0), (0.5, 1.0), (1.0, 1.0), (-2.0, 0.25)][which % 4];
                    let [left_by_rows, right_by_rows] = [which % 2 == 0, which / 2 % 2 == 0];
                    cases.push(Case { sizes: [m, n, k], left_by_rows, right_by_rows, alpha, beta, gap: [0, 0, 3][which % 3] });
                }
            }
        }
        cases
    }

    /// Strides of a matrix, and how many elements it needs.
    fn strides(&self, [rows, columns]: [usize; 2], by_rows: bool) -> ([usize; 2], usize) {
        match by_rows {
            true => ([columns + self.gap, 1], rows * (columns + self.gap)),
            false => ([1, rows + self.gap], columns * (rows + self.gap)),
        }
    }

    fn matrices(&self) -> [(Vec<f32>, [usize; 2]); 2] {
        let [m, n, k] = self.sizes;
        [([m, k], self.left_by_rows, 1), ([k, n], self.right_by_rows, 2)].map(|(sizes, by_rows, stream)| {
            let (strides, len) = self.strides(sizes, by_rows);
            (random::normal(3, stream, len, 1.0), strides)
        })
    }

    /// What stood in the output before; its rows are as far apart as the case says.
    fn before(&self) -> Vec<f32> {
        let [m, n, _] = self.sizes;
        // where it is not to be read, it holds what would show
        let value = if self.beta == 0.0 { f32::NAN } else { 0.5 };
        vec![value; m * (n + self.gap)]
    }

    fn check(&self, got: &[f32], a: impl Fn(usize, usize) -> f64, b: impl Fn(usize, usize) -> f64) {
        let [m, n, k] = self.sizes;
        let before = self.before();
        for (row, got) in got.chunks(n + self.gap).enumerate() {
            for (column, &got) in got[..n].iter().enumerate() {
                let products = (0..k).map(|step| a(row, step) * b(step, column));
                let (sum, size) = products.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + f64::abs(x)));
                let old = if self.beta == 0.0 { 0.0 } else { f64::from(self.beta * before[row * (n + self.gap) + column]) };
                let (expected, size) = (f64::from(self.alpha) * sum + old, f64::from(self.alpha.abs()) * size + old.abs());
                let error = (f64::from(got) - expected).abs();
                assert!(error <= 2e-6 * size, "{self:?} at [{row}, {column}]: got {got}, expected {expected}");
            }
            let untouched = |x: &f32| x.to_bits() == before[0].to_bits();
            assert!(got[n..].iter().all(untouched), "{self:?}: written past the end of row {row}");
        }
        assert!(got.len() >= m * n);
    }
}

#[test]
fn products_match_f64_on_every_path() {
    for case in Case::all() {
        let [(a, [a_row, a_column]), (b, [b_row, b_column])] = case.matrices();
        for threads in [Threads::One, Threads::All] {
            let (left, right) = (Block::new(&a, a_row, a_column), Block::new(&b, b_row, b_column));
            let mut c = case.before();
            multiply_on(threads, Order::Fastest, case.sizes, case.alpha, left, right, case.beta, &mut c, case.sizes[1] + case.gap);
            case.check(&c, |r, s| a[r * a_row + s * a_column].into(), |s, c| b[s * b_row + c * b_column].into());
        }
    }
}

#[test]
fn products_with_half_right_sides_match_f64_on_every_path() {
    fn check<H: Half + Right<f32>>(case: Case, narrow: impl Fn(f32) -> H) {
        let [(a, [a_row, a_column]), (b, [b_row, b_column])] = case.matrices();
        let b: Vec<H> = b.into_iter().map(narrow).collect();
        let (left, right) = (Block::new(&a, a_row, a_column), Block::new(&b, b_row, b_column));
        for threads in [Threads::One, Threads::All] {
            let mut c = case.before();
            multiply_on(threads, Order::Fastest, case.sizes, case.alpha, left, right, case.beta, &mut c, case.sizes[1] + case.gap);
            case.check(&c, |r, s| a[r * a_row + s * a_column].into(), |s, c| b[s * b_row + c * b_column].to_f32().into());
        }
    }
    for case in Case::all().into_iter().step_by(2) {
        check(case, bf16::from_f32);
        check(case, f16::from_f32);
    }
}

/// Inside a task everything runs on the task's own thread: what it computes there is what one thread computes.
fn on_one_thread<T: Send>(f: impl Fn() -> T + Sync) -> T {
    let result = Mutex::new(None);
    for_each(2, |task| {
        if task == 0 {
            *result.lock().unwrap() = Some(f());
        }
    });
    result.into_inner().unwrap().expect("task 0 ran")
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let products = || {
        let cases = Case::all().into_iter().filter(|case| case.sizes.iter().product::<usize>() > 1 << 20);
        let bits = cases.flat_map(|case| {
            let [(a, [a_row, a_column]), (b, [b_row, b_column])] = case.matrices();
            let mut c = case.before();
            let (left, right) = (Block::new(&a, a_row, a_column), Block::new(&b, b_row, b_column));
            multiply_on(Threads::All, Order::Fastest, case.sizes, case.alpha, left, right, case.beta, &mut c, case.sizes[1] + case.gap);
            c.into_iter().map(f32::to_bits)
        });
        bits.collect::<Vec<u32>>()
    };
    assert_eq!(products(), on_one_thread(products));

    // every kind of op of a layer, forward and backward, with rows enough for several tasks
    let layer = || {
        const TOKENS: usize = 700;
        const WIDTH: usize = 64;
        let device = Device::cpu();
        let values = |stream: u64, shape: &[usize]| {
            Tensor::from_slice(&device, &random::normal(9, stream, shape.iter().product(), 0.5), shape).parameter()
        };
        let segments = (0..7)
            .map(|i| Segment { query: i * 100..(i + 1) * 100, keys: i * 100..(i + 1) * 100, prefix: None, mask: Mask::Causal })
            .collect();
        let segments = Segments::new(segments, TOKENS, TOKENS);
        let (x, w, norm) = (values(1, &[TOKENS, WIDTH]), values(2, &[3 * WIDTH, WIDTH]), values(3, &[WIDTH]));
        let qkv = x.rms_norm(&norm, 1e-5).matmul(&w.t());
        let head = |i: usize| qkv.slice(1, i * WIDTH, WIDTH).reshape(&[TOKENS, 2, WIDTH / 2]);
        let y = head(0).attention(&head(1), &head(2), &segments, 0.2).reshape(&[TOKENS, WIDTH]).gelu_tanh().softmax();
        let gradients = y.square().sum(&[0, 1]).backward();
        let all = [&x, &w, &norm].map(|parameter| gradients.get(parameter).unwrap().to_vec::<f32>().unwrap());
        all.into_iter().flatten().map(f32::to_bits).collect::<Vec<u32>>()
    };
    assert_eq!(layer(), on_one_thread(layer));
}
