//! A linear layer on few rows in one kernel with the norm before it and with what follows it: a decoder that writes a token waits for launches more than for numbers.

use half::{bf16, f16};

use crate::autograd::assert_no_grad;
use crate::cpu::gemm::{Block, Product, Right, Threads, multiply_on};
use crate::cpu::parallel::for_row_blocks;
use crate::cpu::{CpuArgs, Float, reduce};
use crate::device::Device;
use crate::dtype::DType;
use crate::kernel::{Kernel, Shader};
use crate::tensor::Tensor;
use crate::{kernel, kernel_params, parallel, wgsl};

use super::MatmulVariant;
use super::matmul::{chosen_for_few, cpu_order, few_rows_tile};

kernel_params! {
    /// Of the input, and how many outputs a row has.
    struct Params { rows: u32, cols: u32, outputs: u32, eps: f32 }
}

const SHADER: Shader = wgsl!("common/math.wgsl", "fused_linear.wgsl");
static LINEAR: Kernel = kernel!(SHADER, "linear", Params, linear).overriding(&[
    TYPE,
    ("NORM", &[0, 1]),
    ("BIAS", &[0, 1]),
    ("RESIDUAL", &[0, 1]),
    ROWS,
    ("SPAN", &[1, 4]),
]);
static SWIGLU: Kernel = kernel!(SHADER, "swiglu", Params, swiglu).overriding(&[
    TYPE,
    ("NORM", &[0, 1]),
    ("BIAS", &[0, 1]),
    ("RESIDUAL", &[0]),
    ROWS,
    ("SPAN", &[1, 2]),
]);
pub(crate) const KERNELS: &[&Kernel] = &[&LINEAR, &SWIGLU];

const TYPE: (&str, &[u32]) = ("WEIGHT_TYPE", DType::FLOAT_CODES);
const ROWS: (&str, &[u32]) = ("ROWS", &[4, 8]);

/// A linear layer and its neighbours; see [`Tensor::fused_linear`].
#[derive(Clone, Copy, Debug)]
pub struct FusedLinear<'a> {
    /// The weight `[in]` and the epsilon of an RMSNorm before it.
    pub norm: Option<(&'a Tensor, f32)>,
    /// `[out, in]`, f32, f16 or bf16.
    pub weight: &'a Tensor,
    /// `[out]`
    pub bias: Option<&'a Tensor>,
    /// What becomes of the layer's outputs.
    pub epilogue: Epilogue<'a>,
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
        const OP: &str = "fused_linear";
        let FusedLinear { norm, weight, bias, epilogue } = layer;
        check(OP, self, layer);
        let [rows, cols] = [self.dim(0), self.dim(1)];
        if !cols.is_multiple_of(4) || cols == 0 {
            return one_by_one(self, layer);
        }
        let is_swiglu = matches!(epilogue, Epilogue::Swiglu);
        let outputs = if is_swiglu { weight.dim(0) / 2 } else { weight.dim(0) };
        let residual = if let Epilogue::Add(residual) = epilogue { Some(residual.contiguous()) } else { None };
        let (x, weight, gain, bias) =
            (self.contiguous(), weight.contiguous(), norm.map(|(gain, _)| gain.contiguous()), bias.map(Tensor::contiguous));
        let y = Tensor::uninit(x.device(), &[rows, outputs], x.dtype(), OP);
        if y.is_empty() {
            return y;
        }
        let [tile_rows, tile_columns] = few_rows_tile(rows, weight.dim(0), cols);
        let span = if is_swiglu { tile_columns.div_ceil(8) } else { tile_columns / 4 };
        let flag = |is_set: bool| f64::from(u8::from(is_set));
        let constants = [
            ("WEIGHT_TYPE", f64::from(if weight.dtype() == DType::F64 { 0 } else { weight.dtype().code() })),
            ("NORM", flag(norm.is_some())),
            ("BIAS", flag(bias.is_some())),
            ("RESIDUAL", flag(residual.is_some())),
            ("ROWS", tile_rows as f64),
            ("SPAN", span as f64),
        ];
        let params = Params { rows: rows as u32, cols: cols as u32, outputs: outputs as u32, eps: norm.map_or(0.0, |(_, eps)| eps) };
        // bound for what is absent
        let nothing = x.reshape(&[x.len()]).slice(0, 0, 4);
        let kernel = if is_swiglu { &SWIGLU } else { &LINEAR };
        let launch = kernel.launch(&params).constants(&constants).input(&x).input(&weight);
        let launch = [&gain, &bias, &residual].into_iter().fold(launch, |launch, tensor| launch.input(tensor.as_ref().unwrap_or(&nothing)));
        let groups = rows.div_ceil(tile_rows) * outputs.div_ceil(4 * span);
        launch.output(&y).groups(groups).multiply_adds((rows * weight.len()) as u64).run();
        y
    }
}

/// Whether rows are so few that [`Tensor::fused_linear`] is the best way to read them: where the device would take the product's kernel for few rows, whose loop it shares. Software GPUs, for
/// which a launch is cheap and workgroup memory is not, take another.
pub fn are_best_fused(device: &Device, rows: usize) -> bool {
    chosen_for_few(device, rows) == Some(MatmulVariant::Skinny)
}

#[track_caller]
fn check(op: &'static str, x: &Tensor, layer: FusedLinear<'_>) {
    let FusedLinear { norm, weight, bias, epilogue } = layer;
    let residual = if let Epilogue::Add(residual) = epilogue { Some(residual) } else { None };
    let floats: Vec<&Tensor> = [Some(x), norm.map(|(gain, _)| gain), bias, residual].into_iter().flatten().collect();
    super::assert_arithmetic(op, &floats);
    assert_no_grad(op, &[floats.as_slice(), &[weight]].concat());
    assert!(
        x.rank() == 2 && weight.rank() == 2 && weight.dim(1) == x.dim(1) && (weight.dtype() == x.dtype() || weight.dtype().is_half()),
        "{op}: {:?} {} and a weight {:?} {} are not [rows, in] and [out, in], f32 and f32, f16 or bf16",
        x.shape(),
        x.dtype(),
        weight.shape(),
        weight.dtype()
    );
    let [rows, cols, out] = [x.dim(0), x.dim(1), weight.dim(0)];
    let fits = |tensor: Option<&Tensor>, shape: &[usize]| tensor.is_none_or(|tensor| tensor.shape() == shape);
    assert!(
        fits(norm.map(|(gain, _)| gain), &[cols]) && fits(bias, &[out]) && fits(residual, &[rows, out]),
        "{op}: for {:?} by {:?} the norm is [{cols}], the bias [{out}], the residual [{rows}, {out}]: got {:?}",
        x.shape(),
        weight.shape(),
        floats[1..].iter().map(|tensor| tensor.shape()).collect::<Vec<_>>()
    );
    assert!(!matches!(epilogue, Epilogue::Swiglu) || out.is_multiple_of(2), "{op}: {out} outputs are not a gate and as many values");
}

/// The same by kernels that read any rows.
fn one_by_one(x: &Tensor, layer: FusedLinear<'_>) -> Tensor {
    let FusedLinear { norm, weight, bias, epilogue } = layer;
    let x = norm.map_or_else(|| x.clone(), |(gain, eps)| x.rms_norm(gain, eps));
    let y = x.matmul(&weight.t());
    let y = bias.map_or_else(|| y.clone(), |bias| y.add(bias));
    match epilogue {
        Epilogue::None => y,
        Epilogue::Add(residual) => residual.add(&y),
        Epilogue::Swiglu => y.swiglu(),
    }
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

/// `x̂ Wᵀ + bias`, x̂ the rows behind the norm if there is one. `-> y [rows, outputs]`
fn multiply<F: Float + Product>(params: &Params, args: &CpuArgs, outputs: usize, y: &mut [F]) {
    let (x, rows, cols) = (args.input::<F>(0), params.rows as usize, params.cols as usize);
    let mut normed = Vec::new();
    if args.constant("NORM") == 1.0 {
        let gain = args.input::<F>(2);
        normed.resize(rows * cols, F::ZERO);
        parallel!(for_row_blocks(&mut normed, cols), |first, rows| {
            for (y, x) in rows.chunks_mut(cols).zip(x.chunks(cols).skip(first)) {
                let r = F::ONE / (reduce::sum_sq(x) / F::of(cols as f64) + F::of(params.eps.into())).sqrt();
                y.iter_mut().zip(x).zip(gain).for_each(|((y, &x), &gain)| *y = x * r * gain);
            }
        });
    }
    let x = if normed.is_empty() { x } else { &normed };
    match args.input_dtype(1) {
        DType::F16 => product::<F, f16>(x, args.input(1), [rows, outputs, cols], y),
        DType::BF16 => product::<F, bf16>(x, args.input(1), [rows, outputs, cols], y),
        _ => product::<F, F>(x, args.input(1), [rows, outputs, cols], y),
    }
    if args.constant("BIAS") == 1.0 {
        let bias = args.input::<F>(3);
        y.chunks_mut(outputs).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, &bias)| *y += bias));
    }
}

fn product<F: Float, W: Right<F>>(x: &[F], weight: &[W], sizes: [usize; 3], y: &mut [F]) {
    let [_, outputs, cols] = sizes;
    multiply_on(Threads::All, cpu_order(), sizes, F::ONE, Block::new(x, cols, 1), Block::new(weight, 1, cols), F::ZERO, y, outputs);
}
