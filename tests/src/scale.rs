//! What a step costs on many devices, against sums made by hand and against what was sent; the tables of docs/scale.md are these numbers.

use std::path::Path;

use percept_cppo::studies::scale::{Cluster, Job, Optimiser, bytes_sent, memory, reduction_seconds, sets_of_gradients, step_seconds};
use percept_cppo::training::reduce;
use percept_engine::{DType, Device, Tensor};

/// The assumptions of docs/scale.md.
fn cluster(ranks: usize) -> Cluster {
    Cluster {
        ranks,
        per_machine: 8,
        inside_bytes_per_second: 5e9,
        between_bytes_per_second: 40e9,
        latency_seconds: 20e-6,
        host_bytes_per_second: 20e9,
        operations_per_second: 22e12,
        memory_bytes_per_second: 2.4e12,
    }
}

/// The paper's step (configs/qwen2.5-vl-3b-geometry3k.toml), all weights trained, in f32 as they are by default; 3B or 7B of Qwen2.5-VL.
fn job(billions: f64) -> Job {
    let [layers, kv_heads] = if billions < 5.0 { [36.0, 2.0] } else { [28.0, 4.0] };
    Job {
        parameters: billions * 1e9,
        trained: billions * 1e9,
        weight_bytes: 4.0,
        cache_bytes: layers * kv_heads * 128.0 * 2.0 * 4.0,
        prompts: 512.0,
        group_size: 5.0,
        prompt_tokens: 600.0,
        response_tokens: 400.0,
        pictures: 2.0,
        updates: 8.0,
    }
}

#[test]
fn bytes_and_seconds_of_a_reduction_are_those_of_its_messages() {
    let parameter = Tensor::zeros(&Device::cpu(), &[1024], DType::F32).parameter();
    for ranks in [1, 2, 4, 64] {
        assert_eq!(bytes_sent(1024.0, ranks), reduce::bytes_sent(&[&parameter], ranks) as f64);
    }
    // 8 GB: halves of 4, 2, 1 GB in each direction inside, then 0.5 GB from each of eight to another machine
    let cluster = Cluster { latency_seconds: 0.0, host_bytes_per_second: f64::INFINITY, ..cluster(16) };
    let expected = 2.0 * (7e9 / 5e9 + 0.5e9 * 8.0 / 40e9);
    assert!((reduction_seconds(2e9, &cluster) - expected).abs() < 1e-9, "{expected}");
    assert_eq!(reduction_seconds(2e9, &Cluster { ranks: 1, ..cluster }), 0.0);
}

#[test]
fn partial_sums_of_a_tree_are_counted() {
    // (groups, partial sums that wait, the group at hand, the sum of two)
    assert_eq!([1, 2, 4, 8, 3, 6].map(sets_of_gradients), [1, 3, 4, 5, 3, 4]);
}

#[test]
fn memory_shrinks_with_a_sharded_optimiser_and_not_otherwise() {
    let (few, many) = (cluster(8), cluster(64));
    let of = |cluster: &Cluster, optimiser| memory(&job(3.0), cluster, optimiser);
    assert_eq!(of(&few, Optimiser::Replicated).optimiser, of(&many, Optimiser::Replicated).optimiser);
    assert_eq!(of(&few, Optimiser::Replicated).optimiser, 2.0 * 4.0 * 3e9); // two means
    assert_eq!(of(&many, Optimiser::Sharded).optimiser, 2.0 * 4.0 * 3e9 / 64.0);
    let halves = memory(&Job { weight_bytes: 2.0, ..job(3.0) }, &few, Optimiser::Replicated);
    assert_eq!(halves.optimiser, 3.0 * 4.0 * 3e9); // and a copy in f32
    let lora = Job { trained: 30e6, ..job(3.0) };
    assert!(memory(&lora, &few, Optimiser::Replicated).total() < 0.5 * of(&few, Optimiser::Replicated).total());
}

/// Prints the tables if they are not those of the page.
#[test]
fn the_page_has_these_numbers() {
    let mut table = String::new();
    for billions in [3.0, 7.0] {
        for ranks in [8, 64, 512, 1024] {
            let (job, cluster) = (Job { prompts: 512.0 * (ranks as f64 / 64.0).max(1.0), ..job(billions) }, cluster(ranks));
            let seconds = step_seconds(&job, &cluster);
            let replicated = memory(&job, &cluster, Optimiser::Replicated);
            let sharded = memory(&job, &cluster, Optimiser::Sharded);
            let gigabytes = |bytes: f64| format!("{:.0}", bytes / 1e9);
            table += &format!(
                "| {billions:.0}B | {ranks} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} % | {} | {} | {} |\n",
                job.prompts,
                seconds.rollout,
                seconds.update,
                seconds.reduction,
                seconds.optimiser,
                100.0 * seconds.reduction / seconds.step(),
                gigabytes(bytes_sent(job.trained, ranks) * job.updates),
                gigabytes(replicated.total()),
                gigabytes(sharded.total()),
            );
        }
    }
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scale.md")).unwrap();
    assert!(page.contains(&table), "docs/scale.md should have\n{table}");
}
