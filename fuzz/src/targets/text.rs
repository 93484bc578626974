//! Configurations and answers.

use std::path::Path;

use percept_cppo::config::{CompareConfig, Config, Settings, SftRunConfig};
use percept_cppo::problems::answer::{answers_equal, choice_letters, final_answer, relative_error};
use percept_cppo::problems::reward::{Graded, Rewards, reward};

use super::{Reader, Target, Verdict, read};

/// TOML of `train`, `sft` and `compare`, and a `--set` of each.
pub(super) const CONFIGURATION: Target = Target { name: "configuration", seeds: configurations, open: read_configuration };
/// Answers and responses, and every reward of them.
pub(super) const ANSWER: Target = Target { name: "answer", seeds: answers, open: grade };

fn configurations() -> Vec<(&'static str, Vec<u8>)> {
    let shipped = |name: &str| read(&format!("configs/{name}.toml"));
    let all = Config::default().to_toml().into_bytes();
    let rewards =
        "[[reward]]\nkind = 'numeric'\ntolerance = 0.1\n[[reward]]\nname = 'x'\nkind = 'regex'\npattern = '(a|b)*c{2,3}'\nweight = 2.0\n";
    vec![
        ("train.toml", all),
        ("train.toml", shipped("digits")),
        ("train.toml", rewards.into()),
        ("sft.toml", shipped("sft-digits")),
        ("compare.toml", shipped("compare-miniature")),
    ]
}

fn read_configuration(_: &Path) -> Reader {
    Box::new(|name, bytes| {
        let text = String::from_utf8_lossy(bytes);
        let parse = |text: &str, set: &[String]| match name {
            "train.toml" => Config::parse(text, name, set).map(drop),
            "sft.toml" => SftRunConfig::parse(text, name, set).map(drop),
            _ => CompareConfig::parse(text, name, "compare", set).map(drop),
        };
        let lines: Vec<&str> = text.lines().collect();
        let set = lines.get(bytes.len() % lines.len().max(1)).map(|line| line.replace(" = ", "="));
        let of_file = Verdict::of(parse(&text, &[]), name);
        // a line alone is seldom a whole setting: what counts is how it is refused
        match set.map(|set| Verdict::of(parse("", &[set]), "--set")) {
            Some(nameless @ Verdict::Nameless(_)) => nameless,
            _ => of_file,
        }
    })
}

fn answers() -> Vec<(&'static str, Vec<u8>)> {
    let answers = [
        r"<think>x</think>\boxed{\frac{1}{2}}",
        r"\boxed{4\sqrt{2}+\pi}",
        "3.14159",
        r"\{1, 2, \frac{3}{4}\}",
        r"x = 5 \text{ cm}^2",
        "(B) 5 cm",
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        "[0, 0, 2, 2]",
        "(-∞, 3] ∪ [5, 7)",
        "50%",
        r"2^{10}, 3!, 1e5, 12°",
        "<answer>A, C</answer>",
        "#### 1,234",
        r"\sin(30°)^2+\log_2 8",
        "1 \\le x < 3",
        "[\"Jon\", \"John\"]",
    ];
    answers.map(|answer| ("answer", answer.as_bytes().to_vec())).into()
}

const REWARDS: &str = "[[reward]]\nkind='accuracy'\n[[reward]]\nkind='format'\n[[reward]]\nkind='length'\n[[reward]]\nkind='tag_count'\n[[reward]]\nkind='choice'\n\
                       [[reward]]\nkind='numeric'\n[[reward]]\nkind='anls'\n[[reward]]\nkind='iou'\n[[reward]]\nkind='regex'\npattern='\\d+'\n";

fn grade(_: &Path) -> Reader {
    let config = Config::parse(REWARDS, "rewards", &[]).expect("a good configuration");
    let rewards = Rewards::new(&config.reward).expect("good rewards");
    let truths = answers();
    Box::new(move |_, bytes| {
        let given = String::from_utf8_lossy(bytes);
        let truth = &truths[bytes.len() % truths.len()].1;
        let truth = std::str::from_utf8(truth).expect("a seed is text");
        for (given, truth) in [(&*given, truth), (truth, &given), (&given, &given)] {
            answers_equal(given, truth);
            relative_error(given, truth);
            choice_letters(given);
            final_answer(given);
            reward(given, truth);
            let graded =
                Graded { prompt: "q", response: given, answer: truth, tokens: 3, prompt_id: 0, problem: None, place: None, columns: None };
            // a truth that is no choice, no number, no box: the reward says so, and is named
            if let Err(error) = rewards.values(&[graded])
                && !error.to_string().starts_with("reward ")
            {
                return Verdict::Nameless(error.to_string());
            }
        }
        Verdict::Read
    })
}
