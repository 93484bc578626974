//! A linear layer on few rows in one kernel with the norm before it and with what follows it: a decoder that writes a token waits for launches more than for numbers. An adapter beside it (LoRA, Hu et al.
//! 2021, arXiv 2106.09685) takes one more, for its narrow side.

use std::ops::Range;

use half::{bf16, f16};

use crate::autograd::assert_no_grad;
use crate::cpu::gemm::{Block, Product, Right, Threads, multiply_on};
use crate::cpu::parallel::{for_row_blocks, for_row_blocks_of};
use crate::cpu::{CpuArgs, Float, reduce};
use crate::device::Device;
use crate::dtype::DType;
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::MatmulVariant;
use super::matmul::{chosen_for_few, cpu_order, few_rows_tile};

kernel_params! {
    /// Rows and columns of the input, and how many outputs a row has; explained in shaders/fused_linear.wgsl.
    struct Params { rows: u32, cols: u32, outputs: u32, eps: f32, rank: u32, second: u32, third: u32 }
}

const SHADER: Shader = wgsl!("common/math.wgsl", "fused_linear.wgsl");
static LINEAR: Kernel = kernel!(SHADER, "linear", Params, linear).overriding(&[
    TYPE,
    ("NORM", &[NO_NORM, NORM, GAIN_ALONE]),
    ("BIAS", &[0, 1]),
    ("RESIDUAL", &[0, 1]),
    ("PARTS", &[0, 1, 3]),
    ROWS,
    ("SPAN", &[1, 4]),
]);
static SWIGLU: Kernel = kernel!(SHADER, "swiglu", Params, swiglu).overriding(&[
    TYPE,
    ("NORM", &[NO_NORM, NORM]),
    ("BIAS", &[0, 1]),
    ("RESIDUAL", &[0]),
    ("PARTS", &[0, 2]),
    ROWS,
    ("SPAN", &[1, 2]),
]);
pub(crate) const KERNELS: &[&Kernel] = &[&LINEAR, &SWIGLU];

const TYPE: (&str, &[u32]) = ("WEIGHT_TYPE", DType::FLOAT_CODES);
const ROWS: (&str, &[u32]) = ("ROWS", &[4, 8]);
const NO_NORM: u32 = 0;
const NORM: u32 = 1;
/// Rows are multiplied by the norm's weight and not scaled.
const GAIN_ALONE: u32 = 2;

/// A linear layer and its neighbours; see [`Tensor::fused_linear`].
#[derive(Clone, Copy, Debug)]
pub struct FusedLinear<'a> {
    /// The weight `[in]` and the epsilon of an RMSNorm before it.
    pub norm: Option<(&'a Tensor, f32)>,
    /// `[out, in]`, f32, f16 or bf16.
    pub weight: &'a Tensor,
    /// `[out]`
    pub bias: Option<&'a Tensor>,
    /// Low-rank products beside the weight.
    pub adapters: Option<Adapters<'a>>,
    /// What becomes of the layer's outputs.
    pub epilogue: Epilogue<'a>,
}

/// Adapters of up to three layers whose outputs stand side by side: beside the weight of each, `up · down`.
#[derive(Clone, Copy, Debug)]
pub struct Adapters<'a> {
    /// Those of all layers, one behind the other, each with its factor. `[layers · rank, in]`
    pub down: &'a Tensor,
    /// `[out, rank]`
    pub up: &'a Tensor,
    /// The first output of each layer; that of the first is 0.
    pub starts: &'a [usize],
}

impl Adapters<'_> {
    fn rank(&self) -> usize {
        self.up.dim(1)
    }
}

/// What follows a linear layer in the same kernel.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// Nothing.
    None,
    /// They are added to this tensor, the residual stream. `[rows, out]`
    Add(&'a Tensor),
    /// The first half is the gate of the second ([`Tensor::swiglu`]).
    Swiglu,
}

impl Tensor {
    /// The outputs of a linear layer, the norm before it and what follows it included: [`rms_norm`](Tensor::rms_norm), [`matmul`](Tensor::matmul) by the transposed weight,
    /// [`add`](Tensor::add), [`swiglu`](Tensor::swiglu) as one kernel, for few rows. On a GPU a row has the same bits whatever stands beside it. No gradient is recorded.
    /// `[rows, in] -> [rows, out]`, with SwiGLU `[rows, out / 2]`
    ///
    /// # Panics
    /// If shapes or types do not fit, or an input needs a gradient.
    #[track_caller]
    pub fn fused_linear(&self, layer: FusedLinear<'_>) -> Tensor {
        let FusedLinear { norm, weight, bias, adapters, epilogue } = layer;
        check(self, layer);
        let quads = |adapters: &Adapters<'_>| [adapters.rank()].iter().chain(adapters.starts).all(|size| size.is_multiple_of(4));
        if self.is_empty() || !self.dim(1).is_multiple_of(4) || !adapters.as_ref().is_none_or(quads) {
            return one_by_one(self, layer);
        }
        let x = self.contiguous();
        let narrow = adapters.map(|Adapters { down, .. }| {
            let call =
                Call { norm: norm.map(|(gain, _)| (gain, GAIN_ALONE, 0.0)), weight: down, bias: None, adapters: None, residual: None };
            call.run(&LINEAR, &x, down.dim(0))
        });
        let (kernel, outputs, residual) = match epilogue {
            Epilogue::None => (&LINEAR, weight.dim(0), None),
            Epilogue::Add(residual) => (&LINEAR, weight.dim(0), Some(residual)),
            Epilogue::Swiglu => (&SWIGLU, weight.dim(0) / 2, None),
        };
        let norm = norm.map(|(gain, eps)| (gain, NORM, eps));
        Call { norm, weight, bias, adapters: narrow.as_ref().zip(adapters), residual }.run(kernel, &x, outputs)
    }
}

/// One launch.
struct Call<'a> {
    /// The weight, which kind, and epsilon.
    norm: Option<(&'a Tensor, u32, f32)>,
    weight: &'a Tensor,
    bias: Option<&'a Tensor>,
    /// What the narrow side gave, `[rows, layers · rank]`, and the wide one.
    adapters: Option<(&'a Tensor, Adapters<'a>)>,
    residual: Option<&'a Tensor>,
}

impl Call<'_> {
    /// `[rows, cols] -> [rows, outputs]`
    fn run(self, kernel: &'static Kernel, x: &Tensor, outputs: usize) -> Tensor {
        let Call { norm, weight, bias, adapters, residual } = self;
        let [rows, cols] = [x.dim(0), x.dim(1)];
        let y = Tensor::uninit(x.device(), &[rows, outputs], x.dtype(), "fused_linear");
        let columns = weight.dim(0);
        let [tile_rows, tile_columns] = few_rows_tile(rows, columns, cols);
        // a gate and what it scales are two quads of columns and one of outputs
        let span = (tile_columns / 4 * outputs / columns.max(1)).max(1);
        let parts = adapters.map_or(0, |(_, adapters)| adapters.starts.len());
        let constants = [
            ("WEIGHT_TYPE", f64::from(if weight.dtype() == DType::F64 { 0 } else { weight.dtype().code() })),
            ("NORM", f64::from(norm.map_or(NO_NORM, |(_, kind, _)| kind))),
            ("BIAS", f64::from(u8::from(bias.is_some()))),
            ("RESIDUAL", f64::from(u8::from(residual.is_some()))),
            ("PARTS", parts as f64),
            ("ROWS", tile_rows as f64),
            ("SPAN", span as f64),
        ];
        let start = |layer: usize| adapters.and_then(|(_, adapters)| adapters.starts.get(layer).copied()).unwrap_or(columns) as u32;
        let params = Params {
            rows: rows as u32,
            cols: cols as u32,
            outputs: outputs as u32,
            eps: norm.map_or(0.0, |(.., eps)| eps),
            rank: adapters.map_or(0, |(_, adapters)| adapters.rank() as u32),
            second: start(1),
            third: start(2),
        };
        let weight = weight.contiguous();
        let optional =
            [norm.map(|(gain, ..)| gain), bias, residual, adapters.map(|(narrow, _)| narrow), adapters.map(|(_, adapters)| adapters.up)];
        // bound for what is absent
        let nothing = x.reshape(&[x.len()]).slice(0, 0, 4);
        let optional = optional.map(|tensor| tensor.map_or_else(|| nothing.clone(), Tensor::contiguous));
        let launch = optional
            .iter()
            .fold(kernel.launch(&params).constants(&constants).input(x).input(&weight), |launch, tensor| launch.input(tensor));
        let groups = rows.div_ceil(tile_rows) * outputs.div_ceil(4 * span);
        let multiply_adds = rows * columns * (cols + params.rank as usize);
        launch.output(&y).groups(groups).multiply_adds(multiply_adds as u64).run();
        y
    }
}

/// Whether rows are so few that [`Tensor::fused_linear`] is the best way to read them: where the device would take the product's kernel for few rows, whose loop it shares. Software GPUs, for
/// which a launch is cheap and workgroup memory is not, take another.
pub fn are_best_fused(device: &Device, rows: usize) -> bool {
    chosen_for_few(device, rows) == Some(MatmulVariant::Skinny)
}

#[track_caller]
fn check(x: &Tensor, layer: FusedLinear<'_>) {
    const OP: &str = "fused_linear";
    let FusedLinear { norm, weight, bias, adapters, epilogue } = layer;
    let gain = norm.map(|(gain, _)| gain);
    let residual = if let Epilogue::Add(residual) = epilogue { Some(residual) } else { None };
    let [down, up] = [adapters.map(|adapters| adapters.down), adapters.map(|adapters| adapters.up)];
    let floats: Vec<&Tensor> = [Some(x), gain, bias, residual, down, up].into_iter().flatten().collect();
    super::assert_arithmetic(OP, &floats);
    assert_no_grad(OP, &[floats.as_slice(), &[weight]].concat());
    assert!(
        x.rank() == 2 && weight.rank() == 2 && weight.dim(1) == x.dim(1) && (weight.dtype() == x.dtype() || weight.dtype().is_half()),
        "{OP}: {:?} {} and a weight {:?} {} are not [rows, in] and [out, in], f32 and f32, f16 or bf16",
        x.shape(),
        x.dtype(),
        weight.shape(),
        weight.dtype()
    );
    let [rows, cols, out] = [x.dim(0), x.dim(1), weight.dim(0)];
    let fits = |tensor: Option<&Tensor>, shape: &[usize]| tensor.is_none_or(|tensor| tensor.shape() == shape);
    assert!(
        fits(gain, &[cols]) && fits(bias, &[out]) && fits(residual, &[rows, out]),
        "{OP}: for {:?} by {:?} the norm is [{cols}], the bias [{out}], the residual [{rows}, {out}]: got {:?}",
        x.shape(),
        weight.shape(),
        floats[1..].iter().map(|tensor| tensor.shape()).collect::<Vec<_>>()
    );
    if let Some(Adapters { down, up, starts }) = adapters {
        let rank = up.shape().last().copied().unwrap_or(0);
        let in_order = starts.first() == Some(&0) && starts.is_sorted() && starts.last() <= Some(&out);
        assert!(
            (1..=3).contains(&starts.len()) && in_order && down.shape() == [starts.len() * rank, cols] && up.shape() == [out, rank],
            "{OP}: adapters of one to three layers whose outputs begin in order, the first at 0, are [layers · rank, {cols}] and [{out}, rank]: got {:?}, {:?} and outputs from {starts:?}",
            down.shape(),
            up.shape()
        );
    }
    assert!(!matches!(epilogue, Epilogue::Swiglu) || out.is_multiple_of(2), "{OP}: {out} outputs are not a gate and as many values");
}

/// The same by kernels that read any rows.
fn one_by_one(x: &Tensor, layer: FusedLinear<'_>) -> Tensor {
    let FusedLinear { norm, weight, bias, adapters, epilogue } = layer;
    let x = norm.map_or_else(|| x.clone(), |(gain, eps)| x.rms_norm(gain, eps));
    let mut y = x.matmul(&weight.t());
    if let Some(adapters) = adapters {
        let (narrow, rank) = (x.matmul(&adapters.down.t()), adapters.rank());
        let wide = |(part, outputs): (usize, Range<usize>)| {
            narrow.slice(1, part * rank, rank).matmul(&adapters.up.slice(0, outputs.start, outputs.len()).t())
        };
        let wide: Vec<Tensor> = outputs_of(adapters.starts, weight.dim(0)).enumerate().map(wide).collect();
        y = y.add(&Tensor::concat(&wide.iter().collect::<Vec<_>>(), 1));
    }
    y = bias.map_or_else(|| y.clone(), |bias| y.add(bias));
    match epilogue {
        Epilogue::None => y,
        Epilogue::Add(residual) => residual.add(&y),
        Epilogue::Swiglu => y.swiglu(),
    }
}

/// The outputs of each layer, of which these are the first.
fn outputs_of(starts: &[usize], all: usize) -> impl Iterator<Item = Range<usize>> {
    let ends = starts.iter().skip(1).copied().chain([all]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end)
}

fn linear<F: Float + Product>(params: &Params, mut args: CpuArgs) {
    let y = args.output::<F>(0);
    multiply(params, &args, params.outputs as usize, y);
    if args.constant("RESIDUAL") == 1.0 {
        let residual = args.input::<F>(4);
        y.iter_mut().zip(residual).for_each(|(y, &residual)| *y = residual + *y);
    }
}

fn swiglu<F: Float + Product>(params: &Params, mut args: CpuArgs) {
    let outputs = params.outputs as usize;
    let mut pairs = vec![F::ZERO; 2 * params.rows as usize * outputs];
    let y = args.output::<F>(0);
    multiply(params, &args, 2 * outputs, &mut pairs);
    parallel!(for_row_blocks(y, outputs), |first, rows| {
        for (y, pairs) in rows.chunks_mut(outputs).zip(pairs.chunks(2 * outputs).skip(first)) {
            let (gates, ups) = pairs.split_at(outputs);
            y.iter_mut().zip(gates).zip(ups).for_each(|((y, &gate), &up)| *y = gate.silu() * up);
        }
    });
}

/// `x̂ Wᵀ + l Bᵀ + bias`. `-> y [rows, outputs]`
fn multiply<F: Float + Product>(params: &Params, args: &CpuArgs, outputs: usize, y: &mut [F]) {
    let (x, rows, cols) = (args.input::<F>(0), params.rows as usize, params.cols as usize);
    let (norm, mut normed, mut scales) = (args.constant("NORM") as u32, Vec::new(), vec![F::ONE; rows]);
    if norm != NO_NORM {
        let gain = args.input::<F>(2);
        normed.resize(rows * cols, F::ZERO);
        parallel!(for_row_blocks_of([(&mut normed, cols), (&mut scales, 1)]), |first, [rows, scales]| {
            for ((y, r), x) in rows.chunks_mut(cols).zip(scales).zip(x.chunks(cols).skip(first)) {
                if norm == NORM {
                    *r = F::ONE / (reduce::sum_sq(x) / F::of(cols as f64) + F::of(params.eps.into())).sqrt();
                }
                y.iter_mut().zip(x).zip(gain).for_each(|((y, &x), &gain)| *y = x * *r * gain);
            }
        });
    }
    let x = Block::new(if norm == NO_NORM { x } else { &normed }, cols, 1);
    let sizes = [rows, outputs, cols];
    match args.input_dtype(1) {
        DType::F16 => product::<F, f16>(sizes, x, args.input(1), F::ZERO, y, outputs),
        DType::BF16 => product::<F, bf16>(sizes, x, args.input(1), F::ZERO, y, outputs),
        _ => product::<F, F>(sizes, x, args.input(1), F::ZERO, y, outputs),
    }
    let parts = args.constant("PARTS") as usize;
    if parts > 0 {
        let (rank, wide) = (params.rank as usize, args.input::<F>(6));
        let mut narrow = args.input::<F>(5).to_vec();
        narrow.chunks_mut(parts * rank).zip(scales).for_each(|(row, r)| row.iter_mut().for_each(|value| *value *= r));
        let starts = [0, params.second as usize, params.third as usize];
        for (part, own) in outputs_of(&starts[..parts], outputs).enumerate() {
            let left = Block::new(&narrow[part * rank..], parts * rank, 1);
            product::<F, F>([rows, own.len(), rank], left, &wide[own.start * rank..], F::ONE, &mut y[own.start..], outputs);
        }
    }
    if args.constant("BIAS") == 1.0 {
        let bias = args.input::<F>(3);
        y.chunks_mut(outputs).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, &bias)| *y += bias));
    }
}

/// A product by a transposed weight, in the place of `y` or (`keep` 1) added to it.
fn product<F: Float, W: Right<F>>(sizes: [usize; 3], x: Block<F>, weight: &[W], keep: F, y: &mut [F], stride: usize) {
    multiply_on(Threads::All, cpu_order(), sizes, F::ONE, x, Block::new(weight, 1, sizes[2]), keep, y, stride);
}
