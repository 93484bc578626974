//! The wgpu backend: recording, memory, uploads, errors. The kernels themselves are the op table's.

mod decoding;
mod products;

use percept_engine::gpu::adapters;
use percept_engine::ops::Segments;
use percept_engine::trace::trace_table;
use percept_engine::{DType, Device, Error, GpuSelector, Tensor};

use crate::common::{gpu, open};

fn counting(device: &Device, len: usize) -> Tensor {
    Tensor::from_slice(device, &(0..len).map(|i| i as f32).collect::<Vec<_>>(), &[len])
}

#[test]
fn the_adapter_report_has_usable_limits() {
    let all = adapters();
    assert!(!all.is_empty(), "no adapter at all: install a driver or lavapipe (mesa-vulkan-drivers)");
    for report in all {
        assert!(!report.name.is_empty() && !report.backend.is_empty(), "{report:?}");
        assert!(report.max_binding_bytes >= 128 << 20, "{report:?}");
        assert!(report.storage_offset_alignment.is_power_of_two() && report.storage_offset_alignment <= 256, "{report:?}");
        assert!(!report.subgroups || report.subgroup_min_size >= 1 && report.subgroup_max_size >= report.subgroup_min_size);
    }
}

#[test]
fn an_unknown_adapter_is_an_error_that_lists_the_known() {
    let error = Device::gpu(&"no such maker 9000".parse().unwrap()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no GPU matches `no such maker 9000`") && text.contains(&adapters()[0].name), "{text}");
}

#[test]
fn more_workgroups_than_one_axis_holds() {
    let device = gpu();
    let per_axis = device.adapter().unwrap().max_workgroups_per_dimension as usize;
    let len = (per_axis + 2) * 256 + 17;
    if len * 4 > 1 << 30 {
        panic!("the adapter takes {per_axis} workgroups per axis: this test needs a smaller way to exceed it");
    }
    let x = Tensor::full(&device, &[len], 1.0, DType::U32);
    let values = x.to_vec::<u32>().unwrap();
    assert_eq!(values.iter().position(|&v| v != 1), None, "of {len}");
}

#[test]
fn an_upload_keeps_its_place_among_the_kernels() {
    let device = gpu();
    let x = Tensor::from_slice(&device, &[1.0f32; 1000], &[1000]);
    let before = x.add(&x);
    x.write_slice(&[10.0f32; 1000]);
    let between = x.add(&x);
    x.write_slice(&[100.0f32; 1000]);
    let after = x.add(&x);
    assert_eq!(before.to_vec::<f32>().unwrap(), [2.0; 1000]);
    assert_eq!(between.to_vec::<f32>().unwrap(), [20.0; 1000]);
    assert_eq!(after.to_vec::<f32>().unwrap(), [200.0; 1000]);
}

#[test]
fn uploads_larger_than_the_staging_chunks_keep_their_place() {
    let device = gpu();
    let len = (5 << 20) / 4 + 3; // more than one chunk of 1 MiB, not a multiple of it
    let x = counting(&device, len);
    let before = x.add(&x);
    x.write_slice(&vec![7.0f32; len]);
    let after = x.add(&x);
    assert_eq!(before.to_vec::<f32>().unwrap()[len - 1], 2.0 * (len - 1) as f32);
    let after = after.to_vec::<f32>().unwrap();
    assert_eq!(after.iter().position(|&v| v != 14.0), None);
}

#[test]
fn halves_at_odd_places_leave_their_neighbours_alone() {
    let device = gpu();
    let values: Vec<half::bf16> = (0..7u8).map(|v| half::bf16::from_f32(v.into())).collect();
    let x = Tensor::from_slice(&device, &values, &[7]);
    x.slice(0, 3, 1).write_slice(&[half::bf16::from_f32(100.0)]);
    x.slice(0, 4, 1).write_slice(&[half::bf16::from_f32(200.0)]);
    let expected: Vec<half::bf16> = [0.0, 1.0, 2.0, 100.0, 200.0, 5.0, 6.0].map(half::bf16::from_f32).to_vec();
    assert_eq!(x.to_vec::<half::bf16>().unwrap(), expected);
}

#[test]
fn empty_tensors_are_fine() {
    let device = gpu();
    let x = Tensor::from_slice::<f32>(&device, &[], &[0, 3]);
    assert_eq!(x.add(&x).to_vec::<f32>().unwrap(), Vec::<f32>::new());
}

#[test]
fn a_repeated_step_creates_nothing() {
    let device = open(|selector| selector);
    let x = counting(&device, 1000);
    let step = || {
        let y = x.mul(&x);
        let z = y.add(&x).exp();
        z.sum(&[0]).add(&y.sum(&[0])).item().unwrap()
    };
    let first = step();
    let warm = device.counters();
    for _ in 0..100 {
        assert_eq!(step(), first);
    }
    let after = device.counters();
    assert_eq!(after.buffers_created, warm.buffers_created);
    assert_eq!(after.pipelines_created, warm.pipelines_created);
    assert_eq!(after.bind_groups_created, warm.bind_groups_created);
    assert_eq!(after.live_bytes, warm.live_bytes);
    assert_eq!(after.peak_bytes, warm.peak_bytes);
    assert!(after.launches >= warm.launches + 500, "{after:?}");
    // one submission a step: for its result
    assert!(after.submissions <= warm.submissions + 102, "{after:?}");
}

/// Behind a read-back the device has nothing to do: it is given little at first, so that it starts early, then more at a time.
#[test]
fn submissions_grow_while_nothing_is_read() {
    let device = open(|selector| selector);
    for _ in 0..2 {
        let mut x = counting(&device, 5);
        x.to_vec::<f32>().unwrap();
        let before = device.counters().submissions;
        let mut submitted_at = Vec::new();
        for launch in 1..=736 {
            x = x.add_scalar(1.0);
            if device.counters().submissions > before + submitted_at.len() as u64 {
                submitted_at.push(launch);
            }
        }
        assert_eq!(submitted_at, [32, 32 + 64, 32 + 64 + 128, 480, 736]);
        assert_eq!(x.to_vec::<f32>().unwrap(), [736.0, 737.0, 738.0, 739.0, 740.0]);
    }
}

/// A driver ends a submission that runs for seconds, and a few large products or a long attention are that.
#[test]
fn a_submission_ends_at_its_share_of_work() {
    let cost = [64 * 48 * 32, 2 * (100 * 101 / 2) * 4 * 16];
    let device = open(|selector| selector.with_submissions_of(2 * cost[0] + 1));
    let [left, right] = [[64, 48], [48, 32]].map(|shape| Tensor::full(&device, &shape, 0.5, DType::F32));
    let x = Tensor::full(&device, &[100, 4, 16], 0.5, DType::F32);
    device.synchronize().unwrap();
    let submissions = |work: &dyn Fn()| {
        let before = device.counters().submissions;
        (0..6).for_each(|_| work());
        let submitted = device.counters().submissions - before;
        device.synchronize().unwrap();
        submitted
    };
    assert_eq!(submissions(&|| drop(left.matmul(&right))), 2, "three products are one submission");
    assert!(cost[1] > 2 * cost[0]);
    let segments = Segments::causal(&[100]);
    assert_eq!(submissions(&|| drop(x.attention(&x, &x, &segments, 0.25))), 6, "each attention is one");
    assert_eq!(submissions(&|| drop(x.add(&x))), 0, "sums cost nothing that counts");
}

#[test]
fn tensors_are_counted_while_they_live() {
    let device = open(|selector| selector);
    assert_eq!(device.counters().live_bytes, 0);
    let x = Tensor::zeros(&device, &[1 << 16], DType::F32);
    let y = x.clone();
    assert_eq!(device.counters().live_bytes, 1 << 18);
    drop(x);
    assert_eq!(device.counters().live_bytes, 1 << 18);
    drop(y);
    let counters = device.counters();
    assert_eq!((counters.live_bytes, counters.peak_bytes, counters.pooled_bytes), (0, 1 << 18, 1 << 18));
    device.reset_peak();
    assert_eq!(device.counters().peak_bytes, 0);
}

#[test]
fn above_the_budget_is_an_error_with_numbers_and_the_device_lives_on() {
    let device = open(|selector| selector);
    device.set_memory_budget(1 << 20);
    let x = Tensor::zeros(&device, &[1 << 17], DType::F32); // half of it
    let y = Tensor::zeros(&device, &[3, 1 << 17], DType::F32);
    let error = y.to_vec::<f32>().unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { live_bytes: 524_288, budget_bytes: 1_048_576, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("[3, 131072] f32") && text.contains("1572864 bytes") && text.contains("raise the memory budget"), "{text}");
    assert_eq!(x.to_vec::<f32>().unwrap().len(), 1 << 17);
}

#[test]
fn free_buffers_make_room_for_other_sizes() {
    let device = open(|selector| selector);
    device.set_memory_budget(1 << 20);
    for len in [200_000, 150_000, 100_000, 250_000] {
        let x = Tensor::full(&device, &[len], 3.0, DType::F32);
        assert_eq!(x.to_vec::<f32>().unwrap()[len - 1], 3.0);
        let counters = device.counters();
        assert!(counters.live_bytes + counters.pooled_bytes <= 1 << 20, "{counters:?}");
    }
}

#[test]
fn a_tensor_larger_than_a_binding_says_so() {
    let device = gpu();
    let limit = device.adapter().unwrap().max_binding_bytes as usize;
    let x = Tensor::zeros(&device, &[limit / 4 + 1], DType::F32);
    let error = x.to_vec::<f32>().unwrap_err();
    assert!(matches!(error, Error::TooLargeForBinding { .. }), "{error:?}");
    assert!(error.to_string().contains("split the tensor or store it as bf16"), "{error}");
}

#[test]
fn parameters_travel_through_a_buffer_where_there_are_no_immediates() {
    let device = open(GpuSelector::without_immediates);
    assert!(!device.adapter().unwrap().immediates);
    // more launches than one recording holds
    let mut x = counting(&device, 300);
    for step in 0..600 {
        x = x.add(&Tensor::full(&device, &[300], f64::from(step % 7), DType::F32));
    }
    let added: f64 = (0..600).map(|step| f64::from(step % 7)).sum();
    let expected: Vec<f64> = (0..300).map(|i| f64::from(i) + added).collect();
    assert_eq!(x.to_f64_vec().unwrap(), expected);
}

#[test]
fn checked_shaders_compute_the_same() {
    let (plain, checked) = (gpu(), open(GpuSelector::checked));
    let compute = |device: &Device| counting(device, 777).exp().sum(&[0]).to_vec::<f32>().unwrap();
    let narrow = |device: &Device| counting(device, 13).mul(&counting(device, 13)).to_vec::<f32>().unwrap();
    assert_eq!(compute(&plain), compute(&checked));
    assert_eq!(narrow(&plain), narrow(&checked));
}

#[test]
fn threads_share_a_device() {
    let device = gpu();
    let sums = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let device = device.clone();
                scope.spawn(move || {
                    let mut x = Tensor::zeros(&device, &[100], DType::F32);
                    for _ in 0..50 {
                        x = x.add(&Tensor::full(&device, &[100], f64::from(worker), DType::F32));
                    }
                    x.to_vec::<f32>().unwrap()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    for (worker, values) in sums.iter().enumerate() {
        assert_eq!(values, &[50.0 * worker as f32; 100]);
    }
}

#[test]
fn the_trace_names_kernels_and_counts_launches() {
    for device in [Device::new_cpu(), open(|selector| selector)] {
        device.start_trace();
        let mut x = counting(&device, 5000);
        for _ in 0..300 {
            x = x.mul(&x);
        }
        let times = device.take_trace().unwrap();
        assert_eq!(times.iter().map(|time| time.launches).collect::<Vec<_>>(), [300], "{device}: {times:?}");
        assert!(times[0].total_ms > 0.0 && times[0].total_ms < 60_000.0, "{device}: {times:?}");
        assert!(trace_table(&times).contains(times[0].kernel), "{device}: {}", trace_table(&times));
        assert!(device.take_trace().unwrap().is_empty());
    }
}

#[test]
fn the_first_value_that_is_not_finite_is_reported_with_its_op() {
    for device in [Device::new_cpu(), open(|selector| selector)] {
        device.check_finite_outputs();
        let x = Tensor::from_slice(&device, &[1.0f32, 0.0, -1.0, 0.0], &[2, 2]);
        assert!(x.add(&x).to_vec::<f32>().is_ok());
        let y = x.div(&x);
        let error = y.to_vec::<f32>().unwrap_err();
        let Error::NotFinite { kernel, at, shape, count, first } = &error else { panic!("{device}: {error}") };
        assert_eq!((shape.as_slice(), *count, *first), (&[2, 2][..], 2, 1), "{device}: {error}");
        assert!(kernel.contains("binary") && at.contains("gpu.rs"), "{device}: {error}");
    }
}
