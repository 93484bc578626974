//! Steady state allocates nothing: counters of a small training loop.

#[cfg(unix)]
use crate::common::survives;
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

/// Each thread holds what the other wants, if locks are not taken in one order: it never ends.
#[test]
fn crosswise_copies_of_two_threads_end() {
    let device = Device::new_cpu();
    let [a, b] = [1.0, 2.0].map(|value| Tensor::full(&device, &[64, 64], value, DType::F32));
    std::thread::scope(|scope| {
        for (to, from) in [(&a, &b), (&b, &a)] {
            scope.spawn(move || (0..5000).for_each(|_| to.copy_from_(from)));
        }
    });
    let [a, b] = [a, b].map(|x| x.to_vec::<f32>().unwrap());
    assert!(a.iter().chain(&b).all(|x| [1.0, 2.0].contains(x)));
}

/// The same tensor twice as an input, while another thread waits to write to it.
#[test]
fn a_tensor_is_read_twice_while_another_thread_writes_to_it() {
    let device = Device::new_cpu();
    let [a, b] = [1.0, 2.0].map(|value| Tensor::full(&device, &[64, 64], value, DType::F32));
    std::thread::scope(|scope| {
        scope.spawn(|| (0..5000).for_each(|_| a.copy_from_(&b)));
        scope.spawn(|| (0..5000).for_each(|_| drop(a.mul(&a))));
    });
}

#[cfg(unix)]
const UNDER_A_LIMIT: &str = "PERCEPT_TEST_UNDER_A_LIMIT";

/// The system gives no more memory: an error that names the op, and not the end of the process. What is free is given up first.
#[cfg(unix)]
#[test]
fn memory_that_the_system_refuses_is_an_error() {
    survives("ulimit -v 1500000", "memory::acts_under_a_limit", UNDER_A_LIMIT);
}

/// No test but the process of the test above.
#[cfg(unix)]
#[test]
fn acts_under_a_limit() {
    if std::env::var(UNDER_A_LIMIT).is_err() {
        return;
    }
    let device = Device::new_cpu();
    let mib = |count: usize| Tensor::full(&device, &[count << 8, 1024], 1.0, DType::F32);
    let mut held = Vec::new();
    let error = loop {
        held.push(mib(100));
        if let Err(error) = device.check() {
            break error.to_string();
        }
        assert!(held.len() < 100, "10 GB of 1.5");
    };
    assert!(error.contains("full [25600, 1024] f32 (the system has no more) needs 109051904 bytes"), "{error}");
    // what is free goes back where another size needs it
    held.clear();
    let sum = mib(700).slice(0, 0, 1).sum(&[0, 1]).item().unwrap();
    assert_eq!(sum, 1024.0);
    let copy = mib(500);
    let rest = mib(200);
    match (copy.to_vec::<f32>(), rest.to_vec::<f32>()) {
        (Ok(_), _) | (_, Ok(_)) => {}
        (Err(error), _) => assert!(error.to_string().contains("out of memory on cpu"), "{error}"),
    }
    println!("survived");
}

#[cfg(target_os = "linux")]
const IN_A_GROUP: &str = "PERCEPT_TEST_IN_A_GROUP";

/// A container that has 400 MB: beyond that the system would end the process without a word. Where no control group can be made there is nothing to see.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_a_container_has_not_is_an_error() {
    let name = format!("percept-test-{}", std::process::id());
    let group = |root: &str, file: &str| {
        let group = std::path::Path::new(root).join(&name);
        std::fs::create_dir(&group).ok()?;
        let limited = std::fs::write(group.join(file), "400000000").is_ok();
        (limited || std::fs::remove_dir(&group).is_err()).then_some(group)
    };
    let made = group("/sys/fs/cgroup/memory", "memory.limit_in_bytes").or_else(|| group("/sys/fs/cgroup", "memory.max"));
    let Some(group) = made else { return eprintln!("skipped: no control group with a limit of memory can be made here") };
    let script = "echo $$ > \"$1/cgroup.procs\" && exec \"$0\" --exact memory::acts_in_a_group --nocapture";
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new("sh").args(["-c", script]).arg(program).arg(&group).env(IN_A_GROUP, "1").output().unwrap();
    // the system takes a moment to see that nobody is left in it
    (0..100).take_while(|_| std::fs::remove_dir(&group).is_err()).for_each(|_| std::thread::sleep(std::time::Duration::from_millis(20)));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("survived"), "{}: {said}", output.status);
}

/// No test but the process of the test above.
#[cfg(target_os = "linux")]
#[test]
fn acts_in_a_group() {
    if std::env::var(IN_A_GROUP).is_err() {
        return;
    }
    let device = Device::new_cpu();
    percept_engine::cgroup::keep_within(&device);
    let mut held = Vec::new();
    let error = loop {
        held.push(Tensor::full(&device, &[40 << 8, 1024], 1.0, DType::F32));
        if let Err(error) = device.check() {
            break error.to_string();
        }
        assert!(held.len() < 20, "800 MB of 400");
    };
    assert!(error.contains("out of memory on cpu: full [10240, 1024] f32 needs") && error.contains("the budget is "), "{error}");
    assert!(held.len() > 5, "{} times 42 MB: {error}", held.len());
    held.clear();
    let sum = Tensor::full(&device, &[200 << 8, 1024], 1.0, DType::F32).slice(0, 0, 1).sum(&[0, 1]).item().unwrap();
    assert_eq!(sum, 1024.0);
    println!("survived");
}

/// Bytes of the process that are in memory.
#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

/// cargo test -p percept-tests -- --ignored --exact memory::a_thousand_steps_of_varied_sizes_hold_little_more_than_they_need --nocapture
#[cfg(target_os = "linux")]
#[test]
#[ignore = "minutes, and a process of its own"]
fn a_thousand_steps_of_varied_sizes_hold_little_more_than_they_need() {
    let device = Device::new_cpu();
    let weights = [0.01, 0.02].map(|value| Tensor::full(&device, &[512, 512], value, DType::F32).parameter());
    let mut most = 0;
    for step in 0..1000u64 {
        // from 300 to 20,000 rows, hardly two steps alike
        let rows = 300 + (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % 19_700;
        let mut x = Tensor::full(&device, &[rows, 512], 0.5, DType::F32);
        if step % 10 == 0 {
            x = x.matmul(&weights[0]).tanh().matmul(&weights[1]);
        }
        let x = x.slice(0, 0, rows / 7 * 7).reshape(&[7, rows / 7, 512]).mul(&weights[0].slice(0, 0, 1));
        let loss = x.square().add(&x.tanh()).mean(&[0, 1, 2]);
        loss.backward();
        drop((loss, x));
        most = most.max(resident_bytes());
    }
    let Counters { peak_bytes, pooled_bytes, buffers_created, .. } = device.counters();
    let mb = |bytes: u64| bytes / 1_000_000;
    println!(
        "resident at most {} MB, live at most {} MB, free at the end {} MB, {buffers_created} buffers made",
        mb(most),
        mb(peak_bytes),
        mb(pooled_bytes)
    );
    assert!(most as f64 <= 1.3 * peak_bytes as f64 + 150e6);
}
