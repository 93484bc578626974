//! Several ranks, played by threads, against one: nothing may depend on who owns which prompt.

use std::sync::{Arc, Barrier, Mutex};

use percept_cppo::config::{Config, MethodConfig};
use percept_cppo::problems::prompts::Problems;
use percept_cppo::records::run::{Metrics, is_time};
use percept_cppo::training::trainer::{StepOutput, Trainer};
use percept_cppo::training::world::{Exchange, World};
use percept_engine::Device;
use percept_model::{Model, Precision};

use crate::trainer::{encoder, start, task, weights};

/// What the threads have said; each waits for the others before and after it reads.
struct Board {
    barrier: Barrier,
    said: Mutex<Vec<Vec<u8>>>,
}

struct Thread {
    rank: usize,
    board: Arc<Board>,
}

impl Exchange for Thread {
    fn gather(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        self.board.said.lock().unwrap()[self.rank] = own;
        self.board.barrier.wait();
        let all = self.board.said.lock().unwrap().clone();
        self.board.barrier.wait();
        all
    }

    fn swap(&self, peer: usize, own: Vec<u8>) -> Vec<u8> {
        self.gather(own).swap_remove(peer)
    }

    fn sum(&self, own: &mut [f32]) {
        let all = self.gather(bytemuck::cast_slice(own).to_vec());
        own.fill(0.0);
        for of_rank in all {
            own.iter_mut().zip(bytemuck::pod_collect_to_vec::<u8, f32>(&of_rank)).for_each(|(sum, value)| *sum += value);
        }
    }

    fn abort(&self, code: u8) -> ! {
        panic!("all ranks end with code {code}")
    }
}

/// Runs `train` on each of `size` ranks.
pub(crate) fn ranks<T: Send>(size: usize, train: impl Fn(World) -> T + Sync) -> Vec<T> {
    let board = Arc::new(Board { barrier: Barrier::new(size), said: Mutex::new(vec![Vec::new(); size]) });
    let world = |rank| World::new(rank, size, Arc::new(Thread { rank, board: Arc::clone(&board) }));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..size)
            .map(|rank| {
                scope.spawn({
                    let (world, train) = (world(rank), &train);
                    move || train(world)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Two steps: what each did, and the weights afterwards.
pub(crate) fn two_steps(world: World, method: &str, problems: Problems, change: impl Fn(&mut Config)) -> (Vec<StepOutput>, Vec<f32>) {
    let model = Model::load(&start().join("model"), &Device::cpu(), Precision::Float32).unwrap();
    let mut config = Config { method: MethodConfig::named(method), ..Config::default() };
    (config.method.group_size, config.rollout.prompts_per_step, config.rollout.max_new_tokens) = (4, 4, 30);
    (config.optim.learning_rate, config.optim.warmup_steps) = (1e-3, 0);
    change(&mut config);
    let mut trainer = Trainer::of_rank(&world, model, encoder(), problems, config).unwrap();
    let outputs = vec![trainer.step().unwrap(), trainer.step().unwrap()];
    let weights = weights(&trainer);
    (outputs, weights)
}

fn tokens(outputs: &[&StepOutput]) -> Vec<Vec<u32>> {
    let groups = outputs.iter().flat_map(|output| &output.groups);
    groups.flat_map(|group| &group.responses).map(|response| response.tokens().to_vec()).collect()
}

/// What does not depend on the number of ranks.
pub(crate) fn of_the_run(metrics: &Metrics) -> Vec<(String, f64)> {
    let is_of_a_process = |name: &str| is_time(name) || name.starts_with("memory/") || name.starts_with("bytes/");
    metrics.values().iter().filter(|(name, _)| !is_of_a_process(name)).cloned().collect()
}

/// Sums are added in another order: equal up to what f32 rounds.
#[track_caller]
fn assert_same(got: &Metrics, expected: &Metrics, what: &str) {
    let names = |metrics: &Metrics| of_the_run(metrics).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(got), names(expected), "{what}");
    for (name, expected) in of_the_run(expected).iter().filter(|(name, _)| name != "rollout/log_prob_gap") {
        let got = got.get(name).unwrap();
        // prompts are packed with others, so that micro-batches and their number may differ
        let tolerance = 2e-4 * expected.abs().max(1e-3);
        assert!((got - expected).abs() <= tolerance, "{what}: {name}: expected {expected}, got {got}");
    }
}

#[test]
fn two_ranks_do_what_one_does() {
    for method in ["cppo", "grpo"] {
        let problems = || Problems::Task(Box::new(task()));
        let (alone, expected) = two_steps(World::alone(), method, problems(), |_| {});
        let both = ranks(2, |world| two_steps(world, method, problems(), |_| {}));
        assert_eq!(both[0].1, both[1].1, "{method}: the ranks drift apart");
        let largest = both[0].1.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest <= 2e-4, "{method}: weights differ by {largest}"); // two steps of at most 1e-3 each
        assert_eq!(tokens(&[&both[0].0[0], &both[1].0[0]]), tokens(&[&alone[0]]), "{method}: draws depend on the rank");
        for rank in &both {
            assert_same(&rank.0[0].metrics, &alone[0].metrics, method);
        }
    }
}

/// The second rank's responses are cut before they can be right: none of them has a gradient, and it takes part all the same.
#[test]
fn a_rank_without_a_gradient_takes_part() {
    let both = ranks(2, |world| {
        let is_second = world.rank() == 1;
        two_steps(world, "grpo", Problems::Task(Box::new(task())), |config| {
            config.method.policy.kl_coef = 0.0;
            config.method.group_size = 8;
            config.rollout.max_new_tokens = if is_second { 2 } else { 30 };
        })
    });
    let has_advantage = |rank: usize| {
        let groups = both[rank].0.iter().flat_map(|output| &output.groups);
        groups.flat_map(|group| &group.responses).any(|response| response.signal.advantage != 0.0)
    };
    assert_eq!([0, 1].map(has_advantage), [true, false]);
    assert_same(&both[1].0[0].metrics, &both[0].0[0].metrics, "metrics are those of both");
    assert!(both[1].0.iter().any(|output| output.metrics.get("grad_norm").unwrap() > 0.0));
    assert_eq!(both[0].1, both[1].1, "the ranks drift apart");
}
