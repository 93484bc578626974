//! Steady state allocates nothing: counters of a small training loop.

use percept_engine::ops::Heads;
use percept_engine::optim::{AdamW, AdamWConfig, ParamGroup};
use percept_engine::{Counters, DType, Device, Indices, RopeTable, Tensor};

/// Embedding, rotation, an elementwise layer with a bf16 weight beside it, a squared error; new token ids each step.
struct Toy {
    table: Tensor,
    scale: Tensor,
    optimiser: AdamW,
    step: u32,
}

impl Toy {
    fn new(device: &Device) -> Toy {
        let table = Tensor::full(device, &[11, 8], 0.1, DType::F32).parameter();
        let scale = Tensor::full(device, &[1, 8], 0.5, DType::BF16).parameter();
        let parameters = vec![("table".to_string(), table.clone()), ("scale".to_string(), scale.clone())];
        let group = ParamGroup { parameters, lr_scale: 1.0, weight_decay: 0.01 };
        let optimiser = AdamW::new(vec![group], AdamWConfig { clip_norm: 1.0, ..AdamWConfig::default() });
        Toy { table, scale, optimiser, step: 0 }
    }

    fn step(&mut self, device: &Device) {
        self.step += 1;
        let ids: Vec<u32> = (0..6).map(|i| (self.step * 7 + i * 3) % 11).collect();
        let positions: Vec<u32> = (0..6).collect();
        let x = self.table.embedding(&Indices::new(device, &ids, &[6])); // [6, 8]
        let heads = Heads { queries: 2, kv: 1, dim: 4 };
        let [x, _, _] = Tensor::concat(&[&x, &x], 1).split_heads(heads, Some(&RopeTable::new(device, &positions, 4, 1e4)));
        let x = x.reshape(&[6, 8]);
        let scale = self.scale.index_select(&Indices::new(device, &[0], &[1])); // [1, 8]
        let y = Tensor::concat(&[&x.mul(&scale).tanh(), &x], 0);
        let loss = y.sub(&Tensor::full(device, &[12, 8], 0.3, DType::F32)).square().mean(&[0, 1]);
        self.optimiser.step(&loss.backward());
    }
}

fn created(counters: Counters) -> [u64; 3] {
    [counters.buffers_created, counters.pipelines_created, counters.bind_groups_created]
}

fn stands_still(device: &Device, steps: usize) {
    let mut toy = Toy::new(device);
    for _ in 0..2 {
        toy.step(device);
    }
    device.synchronize().unwrap();
    let warm = device.counters();
    for _ in 2..steps {
        toy.step(device);
    }
    device.synchronize().unwrap();
    let end = device.counters();
    assert_eq!(created(end), created(warm), "buffers, pipelines, bind groups created after step 2 on {device}");
    assert_eq!(end.live_bytes, warm.live_bytes, "live bytes on {device}");
    assert_eq!(end.peak_bytes, warm.peak_bytes, "peak bytes on {device}");
}

#[test]
fn a_thousand_steps_on_the_cpu_create_nothing() {
    stands_still(&Device::new_cpu(), 1000);
}

#[test]
fn a_training_loop_on_the_gpu_creates_nothing_after_step_two() {
    stands_still(&crate::common::open(|selector| selector), 1000);
}
