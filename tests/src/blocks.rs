//! Parameters that lie in blocks have the gradients that they have apart, and they lie alike.

use percept_engine::{DType, Device, Gradients, Head, Indices, Tensor, checkpoint, no_grad, random};

const WIDTH: usize = 64;
const VOCAB: usize = 96;
const IDS: [u32; 5] = [3, 90, 3, 41, 0];

/// The parameters of [`loss`], by groups that are to lie beside each other.
fn parameters(device: &Device) -> Vec<Vec<Tensor>> {
    let mut stream = 0;
    let mut parameter = |shape: &[usize]| {
        stream += 1;
        let values = random::normal(8, stream, shape.iter().product(), 0.3);
        Tensor::from_slice(device, &values, shape).parameter()
    };
    vec![
        vec![parameter(&[VOCAB, WIDTH])],
        vec![parameter(&[WIDTH, WIDTH]), parameter(&[32, WIDTH]), parameter(&[32, WIDTH])],
        vec![parameter(&[128, WIDTH])],
        vec![parameter(&[WIDTH, WIDTH])],
        vec![parameter(&[3, 5])],
        vec![parameter(&[WIDTH]), parameter(&[WIDTH])],
        vec![parameter(&[128])],
        vec![parameter(&[WIDTH])],
        vec![parameter(&[7])],
    ]
}

/// Everything that a gradient can meet on its way to a parameter: a table that is read twice, products with one weight and with joined ones, one weight in two products, biases, norms, a
/// checkpoint, and a parameter (the seven numbers) that is not used.
fn loss(parameters: &[Vec<Tensor>], scale: f32) -> Tensor {
    let [table, joint, joined, twice, odd, norm, bias, scale_of_rows, _] = parameters else { panic!("nine groups") };
    let device = table[0].device();
    let x = table[0].embedding(&Indices::new(device, &IDS, &[5])).mul_scalar(scale);
    let x = x.layer_norm(&norm[0], &norm[1], 1e-5);
    let weights: Vec<&Tensor> = joint.iter().collect();
    let y = match Tensor::lie_in_order(&weights) {
        true => x.matmul(&Tensor::concat(&weights, 0).t()),
        false => Tensor::concat(&weights.iter().map(|weight| x.matmul(&weight.t())).collect::<Vec<_>>().iter().collect::<Vec<_>>(), 1),
    };
    let y = y.add(&bias[0]).tanh();
    let (inner_weight, inner_scale) = (joined[0].clone(), scale_of_rows[0].clone());
    let x = checkpoint(&[&y], move |inputs| inputs[0].matmul(&inner_weight).rms_norm(&inner_scale, 1e-5));
    let x = x.matmul(&twice[0].t()).tanh().matmul(&twice[0]).add(&x.matmul(&twice[0].t()));
    let rows = odd[0].square().sum(&[1]).sum_all();
    let targets = Tensor::from_slice(device, &IDS, &[5]);
    let (log_probs, _) = x.linear_log_probs(&Head::new(&table[0]), &targets, 1.0);
    log_probs.sum_all().mul_scalar(-0.2).add(&rows)
}

fn values(gradients: &Gradients, parameters: &[Vec<Tensor>]) -> Vec<Option<Vec<f32>>> {
    parameters.iter().flatten().map(|parameter| gradients.get(parameter).map(|gradient| gradient.to_vec().unwrap())).collect()
}

fn laid(parameters: &[Vec<Tensor>]) -> Vec<Vec<Tensor>> {
    Tensor::laid_in_blocks(&parameters.iter().map(|group| group.iter().collect()).collect::<Vec<_>>())
}

fn devices() -> [Device; 2] {
    [Device::new_cpu(), crate::common::open(|selector| selector)]
}

#[test]
fn gradients_in_blocks_are_those_of_parameters_apart() {
    for device in devices() {
        // parameters of their own: what is laid stays the same parameter
        let (apart, together) = (parameters(&device), laid(&parameters(&device)));
        assert!(Tensor::lie_in_order(&together[1].iter().collect::<Vec<_>>()), "on {device}");
        let (expected, got) = (loss(&apart, 1.0).backward(), loss(&together, 1.0).backward());
        assert_eq!((expected.len(), got.len()), (11, 11), "on {device}");
        assert!(got.get(&together[8][0]).is_none());
        let pairs = values(&got, &together).into_iter().zip(values(&expected, &apart)).enumerate();
        for (number, (got, expected)) in pairs {
            // sums of several uses come in another order: the table's and the twice used weight's
            let (got, expected) = (got.unwrap_or_default(), expected.unwrap_or_default());
            let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
            let far = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(got.len() == expected.len() && far <= 1e-6 * largest, "parameter {number} on {device}: {far} of {largest}");
        }
        let joint: Vec<Tensor> = together[1].iter().map(|parameter| got.get(parameter).unwrap()).collect();
        assert!(Tensor::lie_in_order(&joint.iter().collect::<Vec<_>>()), "on {device}");
    }
}

#[test]
fn passes_are_added_in_one_launch_for_each_block() {
    for device in devices() {
        let [apart, together] = [parameters(&device), laid(&parameters(&device))];
        let passes = |parameters: &[Vec<Tensor>]| [1.0, 0.5, 2.0].map(|scale| loss(parameters, scale).backward());
        let sum = |passes: [Gradients; 3]| {
            let before = device.counters().launches;
            let [mut sum, second, third] = passes;
            sum.accumulate(second);
            sum.accumulate(third);
            (sum, device.counters().launches - before)
        };
        let ((sum, few), (expected, many)) = (sum(passes(&together)), sum(passes(&apart)));
        assert_eq!((few, many), (2, 2 * 11), "on {device}");
        for (got, expected) in values(&sum, &together).into_iter().flatten().zip(values(&expected, &apart).into_iter().flatten()) {
            let largest = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
            assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-6 * largest), "on {device}");
        }
    }
}

#[test]
fn a_gradient_that_was_read_does_not_change_with_the_next_pass() {
    let parameters = laid(&parameters(&Device::cpu()));
    let mut sum = loss(&parameters, 1.0).backward();
    let held = sum.get(&parameters[0][0]).unwrap();
    let before = held.to_vec::<f32>().unwrap();
    sum.accumulate(loss(&parameters, 0.5).backward());
    assert_eq!(held.to_vec::<f32>().unwrap(), before);
    assert_ne!(sum.get(&parameters[0][0]).unwrap().to_vec::<f32>().unwrap(), before);
}

#[test]
fn gradients_are_replaced_block_by_block() {
    let device = Device::cpu();
    let [a, b, c, alone] = [3, 4, 5, 2].map(|length| Tensor::full(&device, &[length], 1.0, DType::F32).parameter());
    let laid = Tensor::laid_in_blocks(&[vec![&a, &b], vec![&c]]).concat();
    let [a, b, c] = &laid[..] else { panic!("three") };
    assert_eq!(Gradients::flat_parameters(&[c, &alone, a]).iter().map(|row| row.values.len()).collect::<Vec<_>>(), [12, 2]);
    let mut gradients = Gradients::new();
    gradients.set(b, &Tensor::full(&device, &[4], 2.0, DType::F32));
    let mut lengths = Vec::new();
    let twice = |x: Tensor| {
        lengths.push(x.len());
        Ok::<_, ()>(no_grad(|| x.mul_scalar(2.0).add_scalar(1.0)))
    };
    gradients.replace_flat(&[a, b, &alone], twice).unwrap();
    assert_eq!(lengths, [12, 2]);
    let of = |parameter: &Tensor| gradients.get(parameter).map(|gradient| gradient.to_vec::<f32>().unwrap());
    assert_eq!([of(a), of(b), of(c), of(&alone)], [Some(vec![1.0; 3]), Some(vec![5.0; 4]), None, Some(vec![1.0; 2])]);
}

/// Names are in the order of the alphabet, in which a shift comes before its scale.
#[test]
fn a_norm_has_its_gradients_whichever_of_its_vectors_comes_first() {
    let of = |laid: bool| {
        let apart = parameters(&Device::cpu()).swap_remove(5);
        let [scale, shift] = match (laid, &apart[..]) {
            (true, [scale, shift]) => {
                let [shift, scale] = Tensor::laid_in_blocks(&[vec![shift, scale]]).concat().try_into().expect("two");
                [scale, shift]
            }
            (_, apart) => [apart[0].clone(), apart[1].clone()],
        };
        let x = Tensor::from_slice(&Device::cpu(), &random::normal(9, 0, 3 * WIDTH, 1.0), &[3, WIDTH]);
        let gradients = x.layer_norm(&scale, &shift, 1e-5).square().sum_all().backward();
        values(&gradients, &[vec![scale, shift]])
    };
    assert_eq!(of(true), of(false));
}

#[test]
#[should_panic(expected = "laid_in_blocks: the tensor [3] is not a parameter; make it one with .parameter()")]
fn only_parameters_lie_in_blocks() {
    Tensor::laid_in_blocks(&[vec![&Tensor::zeros(&Device::cpu(), &[3], DType::F32)]]);
}
