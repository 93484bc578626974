//! Values of the ops that move data, written out: the op table compares devices, this compares with the definitions.

use percept_engine::ops::Heads;
use percept_engine::{DType, Device, GpuSelector, Indices, RopeTable, Tensor};

use crate::common::open;

fn counting(shape: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
    Tensor::from_slice(&Device::cpu(), &values, shape)
}

fn values(x: &Tensor) -> Vec<f32> {
    x.to_vec().unwrap()
}

#[test]
fn embedding_takes_rows_and_its_gradient_adds_them_up() {
    let table = counting(&[4, 2]).parameter();
    let y = table.embedding(&Indices::new(&Device::cpu(), &[3, 0, 3, 1], &[2, 2]));
    assert_eq!(y.shape(), [2, 2, 2]);
    assert_eq!(values(&y), [6.0, 7.0, 0.0, 1.0, 6.0, 7.0, 2.0, 3.0]);
    let gradients = y.backward_from(&counting(&[2, 2, 2]));
    assert_eq!(values(&gradients.get(&table).unwrap()), [2.0, 3.0, 6.0, 7.0, 0.0, 0.0, 4.0, 6.0]);
}

#[test]
fn concat_joins_along_the_axis() {
    let (a, b) = (counting(&[2, 1]), counting(&[2, 2]));
    assert_eq!(values(&Tensor::concat(&[&a, &b], 1)), [0.0, 0.0, 1.0, 1.0, 2.0, 3.0]);
    assert_eq!(values(&Tensor::concat(&[&a.t(), &b], 0)), [0.0, 1.0, 0.0, 1.0, 2.0, 3.0]);
}

#[test]
fn pixel_shuffle_joins_squares_of_the_grid() {
    let (scale, d, width) = (2, 3, 6);
    let y = counting(&[1, 4 * width, d]).pixel_shuffle([4, width], scale);
    assert_eq!(y.shape(), [1, 6, 12]);
    let y = values(&y);
    for (row, col) in (0..2).flat_map(|row| (0..3).map(move |col| (row, col))) {
        for (i, j, channel) in [(0, 0, 0), (0, 1, 2), (1, 0, 1), (1, 1, 2)] {
            let vector = (scale * row + i) * width + scale * col + j;
            assert_eq!(y[(row * 3 + col) * 12 + (i * scale + j) * d + channel], (vector * d + channel) as f32);
        }
    }
}

#[test]
fn rope_rotates_pairs_by_exact_angles_at_far_positions() {
    let cpu = Device::cpu();
    let (positions, head_dim, theta) = ([0u32, 1, 8191, 1_000_003], 4, 1e5);
    let x = Tensor::from_slice(&cpu, &[1.0f32, 2.0, 3.0, 4.0].repeat(4 * 3), &[4, 12]);
    let [turned, _, value] =
        x.split_heads(Heads { queries: 1, kv: 1, dim: head_dim }, Some(&RopeTable::new(&cpu, &positions, head_dim, theta)));
    assert_eq!(values(&value), [1.0, 2.0, 3.0, 4.0].repeat(4));
    let y = values(&turned);
    for (t, &position) in positions.iter().enumerate() {
        for j in 0..2 {
            let angle = f64::from(position) * theta.powf(-(j as f64) / 2.0);
            let (low, high) = ((j + 1) as f64, (j + 3) as f64);
            let expected = [low * angle.cos() - high * angle.sin(), high * angle.cos() + low * angle.sin()];
            for (got, expected) in [y[t * 4 + j], y[t * 4 + j + 2]].into_iter().zip(expected) {
                assert!((f64::from(got) - expected).abs() < 1e-6, "position {position}, pair {j}: {got}, not {expected}");
            }
        }
    }
}

#[test]
fn rows_of_a_rope_table_are_the_table_of_those_positions() {
    let cpu = Device::cpu();
    let x = counting(&[3, 24]);
    let all = RopeTable::new(&cpu, &(0..50).collect::<Vec<_>>(), 6, 1e4);
    let positions = Tensor::from_slice(&cpu, &[49u32, 7, 0], &[3]);
    let turned = |table: &RopeTable| values(&x.split_heads(Heads { queries: 2, kv: 1, dim: 6 }, Some(table))[0]);
    assert_eq!(turned(&all.select(&Indices::on_device(&positions))), turned(&RopeTable::new(&cpu, &[49, 7, 0], 6, 1e4)));
}

#[test]
fn tensors_that_lie_in_order_are_joined_without_a_copy() {
    for device in [Device::new_cpu(), open(|selector| selector)] {
        let rows = |count: usize, first: f32| {
            let values: Vec<f32> = (0..count * 64).map(|i| first + i as f32).collect();
            Tensor::from_slice(&device, &values, &[count, 64]).parameter()
        };
        let parts = [rows(3, 0.0), rows(1, 500.0), rows(2, -9.0)];
        let parts = parts.each_ref();
        assert!(!Tensor::lie_in_order(&parts));
        let laid = Tensor::laid_in_order(&parts);
        let laid: Vec<&Tensor> = laid.iter().collect();
        assert!(Tensor::lie_in_order(&laid));
        assert!(!Tensor::lie_in_order(&[laid[1], laid[0]]), "the wrong way round");

        let before = device.counters().launches;
        let joined = Tensor::concat(&laid, 0);
        assert_eq!(device.counters().launches, before);
        assert_eq!(values(&joined), values(&Tensor::concat(&parts, 0)));

        // each is still the parameter that it was, and a change of one shows in the whole
        let weights = Tensor::from_slice(&device, &(0..6 * 64).map(|i| i as f32).collect::<Vec<_>>(), &[6, 64]);
        let gradients = joined.mul(&weights).sum_all().backward();
        for (part, start) in parts.into_iter().zip([0, 3, 4]) {
            assert_eq!(values(&gradients.get(part).unwrap()), values(&weights.slice(0, start, part.dim(0))));
        }
        laid[1].write_slice(&[7.0f32; 64]);
        assert_eq!(values(&joined)[3 * 64..4 * 64], [7.0; 64]);
        assert!(Tensor::lie_in_order(&Tensor::laid_in_order(&laid).iter().collect::<Vec<_>>()), "laid twice");
    }
}

#[test]
fn tensors_that_a_kernel_cannot_bind_together_stay_apart() {
    let device = open(GpuSelector::within_webgpu);
    let half = device.adapter().unwrap().max_binding_bytes as usize / 4 / 2;
    let parts = [half, half + 64].map(|len| Tensor::zeros(&device, &[len], DType::F32));
    assert!(!Tensor::lie_in_order(&Tensor::laid_in_order(&parts.each_ref()).iter().collect::<Vec<_>>()));
    let odd = [3, 5].map(|len| Tensor::zeros(&device, &[len], DType::F32));
    assert!(!Tensor::lie_in_order(&Tensor::laid_in_order(&odd.each_ref()).iter().collect::<Vec<_>>()), "the second would begin at byte 12");
    device.synchronize().unwrap();
}
