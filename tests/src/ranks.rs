//! Gradients of ranks, which are threads here, added to the same bits for any number of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use percept_cppo::config::{Config, MethodConfig, OptimConfig, Reduce, RolloutConfig, SftConfig};
use percept_cppo::problems::prompts::{Problems, test_prompts};
use percept_cppo::records::run::Metrics;
use percept_cppo::training::evaluate::{Decoding, Measuring, evaluate_among};
use percept_cppo::training::optimise::Optimizer;
use percept_cppo::training::reduce::{Adding, Leaves, Rows, along_tree, bytes_sent, over_ranks};
use percept_cppo::training::sft::{SftTrainer, check_ranks};
use percept_cppo::training::trainer::{StepOutput, Trainer};
use percept_cppo::training::world::{Disagreement, Exchange, World};
use percept_engine::ops::with_rows_alike;
use percept_engine::{DType, Device, Gradients, ParamGroup, Tensor};
use percept_model::{Model, Precision};

use crate::trainer::{encoder, start, task, tiny_config};
use crate::world::{of_the_run, ranks, two_steps};

fn exact(config: &mut Config) {
    (config.train.reduce, config.rollout.prompts_per_step, config.train.updates_per_step) = (Reduce::Exact, 8, 2);
}

fn steps(world: World, method: &str, change: impl Fn(&mut Config)) -> (Vec<StepOutput>, Vec<u32>) {
    let (outputs, weights) = two_steps(world, method, Problems::Task(Box::new(task())), change);
    (outputs, weights.into_iter().map(f32::to_bits).collect())
}

#[test]
fn one_two_and_four_ranks_give_the_same_bits() {
    for method in ["cppo", "grpo", "vppo", "dapo"] {
        let (alone, expected) = steps(World::alone(), method, exact);
        for size in [2, 4] {
            // a group has some hundreds of tokens
            let all = ranks(size, |world| {
                steps(world, method, |config| {
                    exact(config);
                    config.train.micro_batch_tokens = 1000 * size;
                })
            });
            for (rank, (outputs, weights)) in all.iter().enumerate() {
                assert!(*weights == expected, "{method}: other weights on rank {rank} of {size}");
                for (output, alone) in outputs.iter().zip(&alone) {
                    assert_eq!(
                        of_the_run(&output.metrics),
                        of_the_run(&alone.metrics),
                        "{method}: rank {rank} of {size}, step {}",
                        output.step
                    );
                }
            }
            let mut of_all: Vec<(u64, Vec<u32>)> = all.iter().flat_map(|(outputs, _)| responses(&outputs[1])).collect();
            of_all.sort_by_key(|(number, _)| *number);
            assert_eq!(of_all, responses(&alone[1]), "{method}: other responses of {size} ranks");
        }
    }
}

fn responses(output: &StepOutput) -> Vec<(u64, Vec<u32>)> {
    output.groups.iter().flat_map(|group| group.responses.iter().map(|response| (group.number, response.tokens().to_vec()))).collect()
}

#[test]
fn supervised_training_gives_the_same_bits_on_any_number_of_ranks() {
    let train = |world: World, reduce| {
        let (model, encoder) = (Model::random(&tiny_config(), &Device::cpu(), 0, DType::F32), encoder());
        let problems = Problems::Task(Box::new(task()));
        let config = SftConfig { steps: 2, batch_size: 8, warm_start_steps: 2, warm_start_batch_size: 12, reduce, ..SftConfig::default() };
        let optim = OptimConfig { learning_rate: 3e-3, ..OptimConfig::default() };
        let mut trainer = SftTrainer::new(&model, &encoder, &problems, &config, &optim, 0, &world).unwrap();
        let metrics: Vec<_> = (0..4).map(|_| of_the_run(&trainer.step().unwrap())).collect();
        trainer.compare_ranks().unwrap();
        let weights: Vec<u32> = model.parameters().flat_map(|(_, tensor)| tensor.to_vec::<f32>().unwrap()).map(f32::to_bits).collect();
        (metrics, weights)
    };
    let alone = train(World::alone(), Reduce::Exact);
    for size in [2, 4] {
        for of_rank in ranks(size, |world| train(world, Reduce::Exact)) {
            assert_eq!(of_rank.0, alone.0, "{size} ranks");
            assert!(of_rank.1 == alone.1, "{size} ranks: other weights");
        }
    }
    let fast = ranks(2, |world| train(world, Reduce::Fast));
    assert!(fast[0] == fast[1]);
    let problem = |reduce, size| {
        let config = SftConfig { reduce, batch_size: 8, warm_start_batch_size: 12, ..SftConfig::default() };
        check_ranks(&config, size).unwrap_err()
    };
    assert!(
        problem(Reduce::Exact, 8)
            .contains("sft.warm_start_batch_size = 12 with sft.reduce = \"exact\" can be shared by 1, 2, 4, … up to 4 ranks: got 8")
    );
    assert!(problem(Reduce::Fast, 3).contains("sft.batch_size must be a multiple of the number of ranks: got 8 for 3 ranks"));
}

/// Of four prompts some have responses of one token alone, which are never right.
#[test]
fn ranks_without_gradients_do_not_change_bits() {
    let change = |config: &mut Config| {
        exact(config);
        config.method.policy.kl_coef = 0.0;
        config.rollout.max_new_tokens = 12;
    };
    let (_, expected) = steps(World::alone(), "grpo", change);
    for (outputs, weights) in ranks(4, |world| steps(world, "grpo", change)) {
        assert!(weights == expected);
        assert_eq!(outputs[0].groups.len(), 2);
    }
}

#[test]
fn fast_ranks_differ_by_rounding() {
    let fast = |config: &mut Config| {
        exact(config);
        config.train.reduce = Reduce::Fast;
        config.optim.learning_rate = 1e-5;
    };
    let problems = || Problems::Task(Box::new(task()));
    let (_, expected) = two_steps(World::alone(), "cppo", problems(), fast);
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    for (_, weights) in ranks(2, |world| two_steps(world, "cppo", problems(), fast)) {
        let change = length(&mut weights.iter().zip(&expected).map(|(a, b)| a - b)) / length(&mut expected.iter().copied());
        assert!(change <= 1e-5, "{change}");
    }
}

#[test]
fn ranks_send_as_many_bytes_of_gradients_as_planned() {
    let planned = |size| {
        let mut model = Model::load(&start().join("model"), &Device::cpu(), Precision::Float32).unwrap();
        model.lay_for_training();
        let trained = model.trainable();
        bytes_sent(&trained.iter().map(|(_, parameter)| parameter).collect::<Vec<_>>(), size)
    };
    for reduce in [Reduce::Exact, Reduce::Fast] {
        for size in [2, 4] {
            let sent = ranks(size, |world| {
                steps(world.clone(), "grpo", |config| {
                    exact(config);
                    config.train.reduce = reduce;
                });
                world.traffic()
            });
            // two steps of two updates each; with a reference policy every weight has a gradient
            let planned = 4 * planned(size);
            assert!(sent.iter().all(|sent| sent.gradient_bytes == planned), "{reduce:?}: {planned} planned for {size} ranks: {sent:?}");
        }
    }
    let [a, b] = [10, 7].map(|length| Tensor::zeros(&Device::cpu(), &[length], DType::F32).parameter());
    assert_eq!(bytes_sent(&[&a, &b], 1), 0);
    assert_eq!(bytes_sent(&[&a, &b], 4), 2 * 4 * (12 + 8) / 4 * 3); // each filled up to a multiple of 4
    let laid = Tensor::laid_in_blocks(&[vec![&a], vec![&b]]).concat();
    assert_eq!(bytes_sent(&laid.iter().collect::<Vec<_>>(), 4), 2 * 4 * 20 / 4 * 3); // 17, filled up
}

#[test]
fn a_tree_is_the_same_from_whatever_subtrees_it_is_put_together() {
    let whole = |leaves, missing: &'static [usize]| {
        let mut leaf = |leaf: usize| Ok::<_, ()>((!missing.contains(&leaf)).then(|| leaf.to_string()));
        along_tree(leaves, &mut leaf, &|a, b| format!("({a} {b})")).unwrap()
    };
    assert_eq!(whole(0..4, &[]).unwrap(), "((0 1) (2 3))");
    assert_eq!(whole(0..6, &[]).unwrap(), "(((0 1) 2) ((3 4) 5))");
    assert_eq!(whole(0..4, &[1, 2, 3]).unwrap(), "0");
    assert_eq!(whole(0..4, &[0, 1, 2, 3]), None);
    let halves = [whole(0..12, &[7]).unwrap(), whole(12..24, &[7]).unwrap()];
    assert_eq!(whole(0..24, &[7]).unwrap(), format!("({} {})", halves[0], halves[1]));
}

#[test]
fn every_rank_has_as_much_of_each_update() {
    for (prompts, updates, size) in [(8, 1, 4), (8, 2, 4), (24, 3, 2), (512, 8, 16)] {
        let leaves = Leaves::new(prompts, updates);
        let mut all = BTreeSet::new();
        for rank in 0..size {
            let own = leaves.numbers(rank, size);
            for update in 0..updates {
                let of_update = own.iter().filter(|number| **number as usize / (prompts / updates) == update).count();
                assert_eq!(of_update, prompts / updates / size, "{prompts} {updates} {size}");
            }
            assert!(own.iter().all(|number| leaves.of(*number) == leaves.of(*number + prompts as u64)), "a refill has another leaf");
            all.extend(own);
        }
        assert_eq!(all.len(), prompts);
    }
    let problem = |prompts, updates, size, reduce| Leaves::new(prompts, updates).check(size, reduce).unwrap_err();
    assert!(
        problem(8, 1, 3, Reduce::Fast)
            .contains("rollout.prompts_per_step must be a multiple of the number of ranks: got 8 prompts a step for 3 ranks")
    );
    assert!(problem(8, 2, 8, Reduce::Exact).contains("rollout.prompts_per_step / train.updates_per_step, 4, must be a multiple"));
    assert!(problem(9, 1, 3, Reduce::Exact).contains("got 3 ranks; use another number, or train.reduce=fast"));
    assert!(Leaves::new(9, 1).check(3, Reduce::Fast).is_ok());
}

/// Two steps of CPPO as one of several ranks, and the trainer after them.
fn sharded_steps(world: &World, device: &Device, shard: bool, restored: Option<&Path>) -> (Vec<Metrics>, Trainer) {
    let model = Model::load(&start().join("model"), device, Precision::Float32).unwrap();
    let mut config = Config { method: MethodConfig::named("cppo"), ..Config::default() };
    (config.method.group_size, config.rollout.prompts_per_step, config.rollout.max_new_tokens) = (4, 4, 20);
    (config.optim.learning_rate, config.optim.warmup_steps, config.optim.shard) = (1e-3, 0, shard);
    config.train.compare_ranks_every = 1;
    exact(&mut config);
    config.train.updates_per_step = 1;
    let problems = Problems::Task(Box::new(task()));
    let mut trainer = Trainer::of_rank(world, model, encoder(), problems, config).unwrap();
    if let Some(directory) = restored.filter(|_| world.is_first()) {
        trainer.restore(directory).unwrap();
    }
    trainer.share_state().unwrap();
    let metrics = (0..2).map(|_| trainer.step().unwrap().metrics).collect();
    (metrics, trainer)
}

#[test]
fn an_optimiser_that_is_shared_out_gives_the_same_bits_and_checkpoints() {
    let numbers = |metrics: &[Metrics]| metrics.iter().map(of_the_run).collect::<Vec<_>>();
    let device = Device::cpu();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| std::fs::read(folder.path().join(name).join("trainer.safetensors")).unwrap();
    let (expected, whole) = sharded_steps(&World::alone(), &device, false, None);
    whole.save(&folder.path().join("whole")).unwrap();
    let (expected_later, later) = sharded_steps(&World::alone(), &device, false, Some(&folder.path().join("whole")));
    later.save(&folder.path().join("later")).unwrap();

    for size in [1, 2, 4] {
        let name = format!("of-{size}");
        ranks(size, |world| {
            let (metrics, trainer) = sharded_steps(&world, &device, true, None);
            assert_eq!(numbers(&metrics), numbers(&expected), "{size} ranks");
            let trained = trainer.trained().unwrap();
            if world.is_first() {
                trainer.save_with(&folder.path().join(&name), &trained).unwrap();
            }
        });
        assert!(file(&name) == file("whole"), "{size} ranks: another checkpoint");
        // goes on with another number of ranks
        let others = if size == 4 { 2 } else { 2 * size };
        ranks(others, |world| {
            let (metrics, trainer) = sharded_steps(&world, &device, true, Some(&folder.path().join(&name)));
            assert_eq!(numbers(&metrics), numbers(&expected_later), "{size} ranks, then {others}");
            let trained = trainer.trained().unwrap();
            if world.is_first() {
                trainer.save_with(&folder.path().join(format!("{name}-later")), &trained).unwrap();
            }
        });
        assert!(file(&format!("{name}-later")) == file("later"), "{size} ranks, then {others}: another checkpoint");
    }
}

#[test]
fn an_optimiser_that_is_shared_out_takes_its_share_of_memory_and_sends_no_more() {
    let of = |shard: bool| {
        let mut all = ranks(4, |world| {
            let device = Device::new_cpu();
            let model = Model::load(&start().join("model"), &device, Precision::Float32).unwrap();
            let trained: usize = model.trainable().iter().map(|(_, tensor)| tensor.len()).sum();
            drop(model);
            let before = device.counters().live_bytes;
            let (_, trainer) = sharded_steps(&world, &device, shard, None);
            let bytes = device.counters().live_bytes - before;
            drop(trainer);
            (bytes, world.traffic().gradient_bytes, trained)
        });
        all.swap_remove(3)
    };
    let ((whole, sent_whole, trained), (shared, sent, _)) = (of(false), of(true));
    let (saved, planned) = ((whole - shared) as f64, 8.0 * trained as f64 * 0.75);
    // the pool rounds sizes up, so that a tensor takes up to a quarter more than its elements
    assert!((0.9..1.25).contains(&(saved / planned)), "{saved} bytes less, {planned} planned");
    // shares are filled up to whole parts
    assert!((sent as f64 / sent_whole as f64 - 1.0).abs() < 0.01, "{sent} bytes sent, {sent_whole} without shares");
}

#[test]
fn ranks_that_no_weight_is_left_for_are_an_error() {
    let parameters = || vec![("w".to_owned(), Tensor::zeros(&Device::cpu(), &[100], DType::F32).parameter())];
    let optim = OptimConfig { shard: true, ..OptimConfig::default() };
    let all = ranks(4, |world| {
        let groups = vec![ParamGroup { parameters: parameters(), lr_scale: 1.0, weight_decay: 0.0 }];
        Optimizer::new(groups, &optim, &world).map(drop).err()
    });
    let problem = "optim.shard: 100 trained weights leave nothing for one of 4 ranks; use fewer ranks, or optim.shard=false".to_owned();
    assert_eq!(all, [Some(problem.clone()), Some(problem.clone()), Some(problem.clone()), Some(problem)]);
}

/// Sums of ±0 and of what is there on one rank alone.
#[test]
fn zeros_and_gradients_that_are_missing_add_up_alike() {
    let device = Device::cpu();
    let parameters: Vec<(String, Tensor)> =
        (0..3).map(|number| (format!("p{number}"), Tensor::zeros(&device, &[3], DType::F32).parameter())).collect();
    let gradient = |of: &[(usize, [f32; 3])]| {
        let mut gradients = Gradients::new();
        of.iter().for_each(|(number, values)| gradients.set(&parameters[*number].1, &Tensor::from_slice(&device, values, &[3])));
        gradients
    };
    let adding = Adding::Tree(Leaves::new(2, 1));
    let sums = |world: &World, own| {
        let sums = over_ranks(world, adding, own, &parameters).unwrap();
        let of = |(_, parameter): &(String, Tensor)| {
            sums.get(parameter).map(|sum| sum.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect())
        };
        parameters.iter().map(of).collect::<Vec<Option<Vec<u32>>>>()
    };
    let all = ranks(2, |world| {
        let own = if world.rank() == 0 {
            gradient(&[(0, [1.0, -0.0, 2.5])])
        } else {
            gradient(&[(0, [1e-8, -0.0, -2.5]), (2, [-0.0, 3.0, 0.0])])
        };
        sums(&world, own)
    });
    let mut both = gradient(&[(0, [1.0, -0.0, 2.5])]);
    both.accumulate(gradient(&[(0, [1e-8, -0.0, -2.5]), (2, [-0.0, 3.0, 0.0])]));
    let expected = sums(&World::alone(), both);
    assert_eq!(all, [expected.clone(), expected.clone()]);
    assert_eq!(expected[1], None);
    assert_eq!(expected[2], Some([0.0f32, 3.0, 0.0].map(f32::to_bits).to_vec()));
}

/// On processors with kernels of our own.
#[test]
fn a_row_of_a_product_does_not_depend_on_the_others() {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::env::var_os("PERCEPT_SIMD").is_none_or(|most| most != "none") {
        let device = Device::cpu();
        let values = |count: usize| percept_engine::random::normal(3, 0, count, 1.0);
        for (columns, steps) in [(96, 80), (64, 1536), (512, 40)] {
            let left = Tensor::from_f32(&device, &values(300 * steps), &[300, steps], DType::F32);
            let weight = Tensor::from_f32(&device, &values(columns * steps), &[columns, steps], DType::F32);
            let product = |rows: usize| left.slice(0, 0, rows).matmul(&weight.t()).slice(0, 0, 1).to_vec::<f32>().unwrap();
            let alike: Vec<Vec<f32>> = [1, 4, 12, 13, 64, 96, 300].map(|rows| with_rows_alike(|| product(rows))).into();
            assert!(alike.iter().all(|row| *row == alike[0]), "{columns} {steps}");
            assert!(product(1) != alike[0], "{columns} {steps}: the fastest way is another, or this test shows nothing");
        }
    }
}

#[test]
fn ranks_measure_what_one_measures() {
    let measured = |world: World| {
        let model = Model::load(&start().join("model"), &Device::cpu(), Precision::Float32).unwrap();
        let decoding = Decoding::Sampled { temperature: 1.0, samples: 3 };
        let how = Measuring { decoding, rollout: RolloutConfig { max_new_tokens: 30, ..RolloutConfig::default() }, step: 0, seed: 4 };
        let mut texts = Vec::new();
        let note = |number: usize, group: &percept_cppo::training::group::Group| {
            texts.push((number, group.responses.iter().map(|response| (response.text.clone(), response.is_clipped())).collect::<Vec<_>>()));
        };
        // more than are measured at once, and no multiple of the ranks
        let evaluation = evaluate_among(&world, Rows::Alike, &model, &encoder(), test_prompts(&task(), 0..133), how, note).unwrap();
        (evaluation, texts)
    };
    let alone = measured(World::alone());
    assert_eq!(alone.1.len(), 133);
    for of_rank in ranks(4, measured) {
        assert!(of_rank == alone);
    }
}

/// An exchange that never answers.
struct Silent(std::sync::Mutex<mpsc::Sender<u8>>);

impl Exchange for Silent {
    fn gather(&self, _: Vec<u8>) -> Vec<Vec<u8>> {
        loop {
            std::thread::park();
        }
    }
    fn swap(&self, _: usize, _: Vec<u8>) -> Vec<u8> {
        unreachable!("nothing is swapped")
    }
    fn sum(&self, _: &mut [f32]) {}
    fn abort(&self, code: u8) -> ! {
        self.0.lock().unwrap().send(code).unwrap();
        loop {
            std::thread::park();
        }
    }
}

#[test]
fn a_rank_that_waits_too_long_says_for_what() {
    let ((said, heard), (ended, end)) = (mpsc::channel(), mpsc::channel());
    let world = World::new(1, 4, std::sync::Arc::new(Silent(std::sync::Mutex::new(ended))));
    world.watch_over(Duration::from_millis(20), || false, move |message| said.send(message.to_owned()).unwrap());
    world.note_step(12);
    std::thread::spawn(move || world.gather("the counts of the update", Vec::new()));
    let message = heard.recv().unwrap();
    assert!(message.starts_with("rank 1 of 4 has waited") && message.contains("at step 12, for the counts of the update"), "{message}");
    assert_eq!(end.recv().unwrap(), 1);
}

#[test]
fn an_error_of_one_rank_is_known_to_all() {
    let all = ranks(3, |world| match world.agree("the rewards", if world.rank() == 1 { Err("no program") } else { Ok(7) }) {
        Ok(value) => format!("{value}"),
        Err(Disagreement::Own(error)) => format!("own: {error}"),
        Err(Disagreement::Other { rank, problem }) => format!("{rank}: {problem}"),
    });
    assert_eq!(all, ["1: no program", "own: no program", "1: no program"]);
}

#[test]
fn ranks_whose_weights_differ_are_found_out() {
    let all = ranks(2, |world| {
        let model = Model::load(&start().join("model"), &Device::cpu(), Precision::Float32).unwrap();
        let mut config = Config::default();
        (config.rollout.prompts_per_step, config.method.group_size, config.train.compare_ranks_every) = (2, 2, 1);
        if world.rank() == 1 {
            // smaller than any rounding shows in a metric
            let (_, first) = model.trainable().swap_remove(3);
            let mut values = first.to_vec::<f32>().unwrap();
            values[0] = f32::from_bits(values[0].to_bits() ^ 1);
            first.write_slice(&values);
        }
        let name = model.trainable().swap_remove(3).0;
        let problems = Problems::Task(Box::new(task()));
        let mut trainer = Trainer::of_rank(&world, model, encoder(), problems, config).unwrap();
        (name, trainer.step().map(drop).unwrap_err().to_string())
    });
    for (name, error) in all {
        assert!(error.starts_with(&format!("step 1: {name} of rank 1: expected CRC-32")), "{error}");
    }
}
