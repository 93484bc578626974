//! A run that looks like a real one, from a seeded generator: what `percept train` would have recorded.

use std::path::Path;

use percept_cppo::config::Config;
use percept_cppo::problems::reward::reward;
use percept_cppo::problems::tasks::response::mark;
use percept_cppo::problems::tasks::{Problem, Split, Task};
use percept_cppo::problems::views::{ViewsConfig, draw_views};
use percept_cppo::random::Random;
use percept_cppo::records::run::{CategoryResult, Evaluation, Metrics, Recorder, RunFolder, Sample, TokenRole};

/// A finished run of `steps` steps, named `made-up`, in `folder`.
pub(crate) fn run(folder: &Path, steps: u64) -> RunFolder {
    let mut config = Config::default();
    config.run.folder = folder.to_owned();
    config.run.name = Some("made-up".to_owned());
    config.train.steps = steps;
    let run = RunFolder::create(&config).unwrap();
    let mut recorder = run.record_after(0).unwrap();
    let task = Task::new(&config.task).unwrap();
    let every = (steps / 4).max(1);
    evaluate(&mut recorder, 0, 0.0, 1000);
    for step in 1..=steps {
        let progress = step as f64 / steps as f64;
        recorder.metrics(&metrics(step, progress)).unwrap();
        if step == 1 || step % every == 0 {
            for index in 0..3 {
                group(&mut recorder, &task.problem(Split::Train, step * 3 + index), step, progress);
            }
        }
        if step % every == 0 {
            evaluate(&mut recorder, step, progress, if step == steps { 1000 } else { 200 });
        }
    }
    recorder.sync().unwrap();
    run
}

fn metrics(step: u64, progress: f64) -> Metrics {
    let mut random = Random::new(1, "made-up/metrics", step);
    let mut noisy = |value: f64, noise: f64| value + noise * f64::from(random.normal());
    let learnt = 1.0 - (-3.0 * progress).exp();
    let accuracy = noisy(0.31 + 0.24 * learnt, 0.03);
    let values = [
        ("loss", noisy(0.002, 0.01)),
        ("policy_loss", noisy(0.0, 0.01)),
        ("reward", 0.9 * accuracy + 0.1),
        ("reward_std", noisy(0.38 - 0.12 * learnt, 0.02)),
        ("frac_reward_zero_std", (noisy(0.12 + 0.35 * learnt, 0.05)).max(0.0)),
        ("rewards/accuracy", accuracy),
        ("rewards/format", 1.0 - noisy(0.002, 0.001).abs()),
        ("completions/mean_length", noisy(28.0, 0.2)),
        ("completions/clipped_ratio", 0.0),
        ("clip_ratio", 0.0),
        ("entropy", noisy(0.21 - 0.11 * learnt, 0.006)),
        ("kl", noisy(0.03 * learnt, 0.001).abs()),
        ("grad_norm", noisy(0.8 - 0.2 * learnt, 0.15).abs()),
        ("lr", 1e-4 * (step as f64 / 5.0).min(1.0)),
        ("cpl_loss", noisy(0.62 - 0.05 * learnt, 0.01)),
        ("perception/fraction", noisy(0.17, 0.01)),
        ("perception/delta_entropy", noisy(0.55 + 0.1 * learnt, 0.04)),
        ("rollout/log_prob_gap", 3e-6),
        ("tokens_per_second", noisy(9200.0, 300.0)),
        ("time/step", noisy(1.6, 0.05)),
        ("time/rollout", noisy(0.6, 0.02)),
        ("time/views", noisy(0.004, 0.0002)),
        ("time/update", noisy(0.95, 0.03)),
        ("memory/peak_bytes", 612e6),
    ];
    Metrics::of(step, &values)
}

fn evaluate(recorder: &mut Recorder, step: u64, progress: f64, problems: usize) {
    let learnt = 1.0 - (-3.0 * progress).exp();
    for (decoding, temperature, samples, start, gain) in [("sampled", 1.0, 4, 0.31, 0.235), ("greedy", 0.0, 1, 0.47, 0.11)] {
        let mut random = Random::new(2, "made-up/evaluation", step);
        let mut category = |name: &str, problems: usize, bonus: f64| {
            let correct: Vec<u32> = (0..problems)
                .map(|_| {
                    let ease = (start + gain * learnt + bonus + 0.25 * f64::from(random.normal())).clamp(0.0, 1.0);
                    (0..samples).filter(|_| random.chance(ease as f32)).count() as u32
                })
                .collect();
            let wrong = (problems * samples) as u64 - correct.iter().map(|&c| u64::from(c)).sum::<u64>();
            let reasoning = wrong / 30;
            CategoryResult {
                name: name.to_owned(),
                samples,
                correct,
                well_formed: (problems * samples) as u64,
                perception_errors: Some(wrong - reasoning - wrong / 40 - wrong / 50),
                reasoning_errors: Some(reasoning),
                both_errors: Some(wrong / 40),
                unreadable: Some(wrong / 50),
                tokens: (problems * samples * 28) as u64,
            }
        };
        let categories = vec![
            category("all", problems, 0.0),
            category("digits, level 2", problems / 2, 0.12),
            category("digits, level 3", problems / 2, -0.12),
        ];
        recorder.evaluation(&Evaluation { step, decoding: decoding.to_owned(), temperature, categories }).unwrap();
    }
}

fn group(recorder: &mut Recorder, problem: &Problem, step: u64, progress: f64) {
    let mut random = Random::new(3, "made-up/group", problem.index);
    let views = draw_views(&problem.picture, &ViewsConfig::default(), 0, problem.index, 0);
    let picture =
        |recorder: &Recorder, view: &str, picture| recorder.picture(&format!("{step}-{}-{view}", problem.index), picture).unwrap();
    let image = picture(recorder, "original", &problem.picture);
    let image_preserved = Some(picture(recorder, "preserved", &views.preserved));
    let image_removed = Some(picture(recorder, "removed", &views.removed));
    for _ in 0..4 {
        let right = random.chance(0.35 + 0.3 * progress as f32);
        let mut seen = problem.seen();
        if !right {
            let place = random.below(seen.len());
            seen[place] = random.below(10).to_string();
        }
        let solution = problem.question.solve(&seen).unwrap();
        let (last, rest) = seen.split_last().unwrap();
        let steps: String = solution.steps.iter().map(|step| format!(" {step}.")).collect();
        let response = format!("<think>I see {} and {last}.{steps}</think>\\boxed{{{}}}", rest.join(", "), solution.answer);
        let (mut tokens, mut roles) = (Vec::new(), Vec::new());
        for span in mark(&response) {
            // template pieces are single tokens, everything else is a token a character
            let pieces = if span.role == TokenRole::Template { vec![span.text] } else { span.text.chars().map(String::from).collect() };
            roles.extend(pieces.iter().map(|_| span.role));
            tokens.extend(pieces);
        }
        let rewarded = reward(&response, &problem.answer);
        let advantage = if rewarded.accuracy > 0.0 { 0.94 } else { -0.82 };
        let shifts: Vec<f32> = roles
            .iter()
            .map(|role| match role {
                TokenRole::Perception => random.uniform([0.3, 1.6]),
                TokenRole::Reasoning => random.uniform([-0.05, 0.25]),
                TokenRole::Template => random.uniform([-0.004, 0.004]),
            })
            .collect();
        let mask: Vec<bool> = shifts.iter().map(|shift| *shift > 0.2).collect();
        let sample = Sample {
            step,
            prompt_id: problem.index,
            prompt: problem.text.clone(),
            answer: problem.answer.clone(),
            image: image.clone(),
            more_images: Vec::new(),
            rewards: Default::default(),
            image_preserved: image_preserved.clone(),
            image_removed: image_removed.clone(),
            response,
            tokens,
            reward: rewarded.total,
            accuracy: rewarded.accuracy,
            format: rewarded.format,
            advantage,
            delta_entropy: (advantage > 0.0).then_some(shifts),
            mask: (advantage > 0.0).then_some(mask),
            roles: Some(roles),
        };
        recorder.sample(&sample).unwrap();
    }
}
