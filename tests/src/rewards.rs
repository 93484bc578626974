//! Rewards: the default one, those of a configuration, and functions and programs of one's own.

#[cfg(unix)]
mod command;

use percept_cppo::config::{Config, Settings};
use percept_cppo::problems::reward::{Graded, RewardConfig, RewardFunction, RewardKind, Rewards, format_ok, reward};

/// A response of seven tokens to problem 5.
fn graded<'a>(response: &'a str, answer: &'a str) -> Graded<'a> {
    Graded { prompt: "How many?", response, answer, tokens: 7, prompt_id: 5, problem: None, place: None, columns: None }
}

/// The entries of a file.
fn entries(text: &str) -> Vec<RewardConfig> {
    Config::parse(text, "test.toml", &[]).unwrap_or_else(|e| panic!("{e}")).reward
}

fn error(text: &str) -> String {
    Config::parse(text, "test.toml", &[]).unwrap_err().to_string()
}

/// The value of the only reward of `fields`, which stand in `[[reward]]`.
fn value(fields: &str, response: &str, answer: &str) -> f32 {
    let rewards = Rewards::new(&entries(&format!("[[reward]]\n{fields}\n"))).unwrap();
    rewards.values(&[graded(response, answer)]).unwrap().of[0][0]
}

#[test]
fn format_is_the_regular_expression() {
    let cases = [
        ("<think>a</think>\\boxed{1}", true),
        ("<think></think>\\boxed{}", true),
        ("<think>a\nb</think>\nSo \\boxed{\n1} it is.", true),
        ("<think><think></think></think>\\boxed{1}", true),
        (" <think>a</think>\\boxed{1}", false),
        ("<think>a</think>\\boxed{1", false),
        ("<think>\\boxed{1}</think>", false),
        ("<think>\\boxed{1}</think>\\boxed{2}", true),
        ("a</think>\\boxed{1}", false),
        ("<think>a\\boxed{1}", false),
        ("</think>\\boxed{1}<think>", false),
        ("", false),
    ];
    for (response, expected) in cases {
        assert_eq!(format_ok(response), expected, "{response}");
    }
}

#[test]
fn reward_is_nine_tenths_accuracy_and_one_tenth_format() {
    let parts = |response, truth| {
        let r = reward(response, truth);
        (r.total, r.accuracy, r.format)
    };
    assert_eq!(parts("<think>a</think>\\boxed{1/2}", "0.5"), (1.0, 1.0, 1.0));
    assert_eq!(parts("\\boxed{1/2}", "0.5"), (0.9, 1.0, 0.0));
    assert_eq!(parts("<think>a</think>\\boxed{3}", "0.5"), (0.1, 0.0, 1.0));
    assert_eq!(parts("0.5", "0.5"), (0.0, 0.0, 0.0));
}

#[test]
fn accuracy_and_format_of_a_configuration_are_the_default_reward_to_the_bit() {
    let text = "[[reward]]\nkind = 'accuracy'\nweight = 0.9\n[[reward]]\nkind = 'format'\nweight = 0.1\n";
    let rewards = Rewards::new(&entries(text)).unwrap();
    assert_eq!(rewards.names().collect::<Vec<_>>(), ["accuracy", "format"]);
    let responses = ["<think>a</think>\\boxed{1/2}", "\\boxed{1/2}", "<think>a</think>\\boxed{3}", "0.5", "<answer>0.5</answer>"];
    let values = rewards.values(&responses.map(|response| graded(response, "0.5"))).unwrap();
    for (at, response) in responses.iter().enumerate() {
        let default = reward(response, "0.5");
        let parts = (values.totals[at].to_bits(), values.of[0][at], values.of[1][at]);
        assert_eq!(parts, (default.total.to_bits(), default.accuracy, default.format));
    }
    assert!(Rewards::new(&[]).unwrap().is_default());
}

#[test]
fn a_format_is_matched_by_the_whole_response() {
    let own = "kind = 'format'\npattern = '<answer>.*</answer>'";
    for (response, expected) in [("<answer>a\nb</answer>", 1.0), ("<answer>a</answer> ", 0.0), ("x<answer>a</answer>", 0.0)] {
        assert_eq!(value(own, response, "a"), expected, "{response}");
    }
    // alternatives are of the whole, too
    assert_eq!(value("kind = 'format'\npattern = 'a|b'", "ab", "a"), 0.0);
    assert_eq!(value("kind = 'regex'\npattern = '[0-9]{2}'", "about 16", "a"), 1.0);
    assert_eq!(value("kind = 'regex'\npattern = '^[0-9]{2}'", "about 16", "a"), 0.0);
}

/// TRL's `get_soft_overlong_punishment(max_completion_len=20, soft_punish_cache=10)`, at its corners and in between.
#[test]
fn length_is_punished_softly() {
    let rewards = |soft| Rewards::new(&entries(&format!("[[reward]]\nkind = 'length'\nmax_tokens = 20\nsoft_tokens = {soft}\n"))).unwrap();
    let of = |soft, tokens| rewards(soft).values(&[Graded { tokens, ..graded("a", "a") }]).unwrap().of[0][0];
    assert_eq!([0, 10, 11, 15, 19, 20, 21].map(|tokens| of(10, tokens)), [0.0, 0.0, -0.1, -0.5, -0.9, -1.0, -1.0]);
    assert_eq!([20, 21].map(|tokens| of(0, tokens)), [0.0, -1.0]);
}

#[test]
fn tags_count_that_stand_once() {
    let kind = "kind = 'tag_count'";
    assert_eq!(value(kind, "<think>a</think><answer>b</answer>", "b"), 1.0);
    assert_eq!(value(kind, "<think>a</think><think>", "b"), 0.25);
    assert_eq!(value("kind = 'tag_count'\ntags = ['a', 'b']", "abba", "b"), 0.0);
}

#[test]
fn choices_are_sets_of_letters() {
    let cases = [
        ("\\boxed{B}", "B", 1.0),
        ("<think>A?</think>The answer is (b).", "B", 1.0),
        ("\\boxed{(B) 5 cm}", "B. 5 cm", 1.0),
        ("\\boxed{C, A}", "A,C", 1.0),
        ("\\boxed{AC}", "C and A", 1.0),
        ("\\boxed{A}", "A,C", 0.0),
        ("\\boxed{C}", "B", 0.0),
        ("5 cm", "B", 0.0),
    ];
    for (response, truth, expected) in cases {
        assert_eq!(value("kind = 'choice'", response, truth), expected, "{response} for {truth}");
    }
}

/// ChartQA: 5 % of the truth; text as it is; percent left out or worked in.
#[test]
fn numbers_may_be_near() {
    let cases = [
        ("\\boxed{105}", "100", 1.0),
        ("\\boxed{106}", "100", 0.0),
        ("95", "100", 1.0),
        ("<think>94</think> 94", "100", 0.0),
        ("\\boxed{-100}", "100", 0.0),
        ("\\boxed{0}", "0", 1.0),
        ("\\boxed{0.001}", "0", 0.0),
        ("\\boxed{52\\%}", "0.5", 1.0),
        ("\\boxed{50}", "48%", 1.0),
        ("\\boxed{\\pi}", "3", 1.0),
        ("\\boxed{1e400}", "1e399", 0.0),
        ("\\boxed{Blue}", "blue", 1.0),
        ("\\boxed{blue}", "red", 0.0),
        ("\\boxed{5}", "blue", 0.0),
    ];
    for (response, truth, expected) in cases {
        assert_eq!(value("kind = 'numeric'", response, truth), expected, "{response} for {truth}");
    }
    assert_eq!(value("kind = 'numeric'\ntolerance = 0.1", "\\boxed{110}", "100"), 1.0);
    assert_eq!(value("kind = 'numeric'\ntolerance = 0", "\\boxed{1/2}", "0.5"), 1.0);
}

/// Numbers by hand: `kitten` and `sitting` are three edits apart, of seven letters.
#[test]
fn spelling_is_compared_as_docvqa_does() {
    let kind = "kind = 'anls'";
    let cases = [
        ("\\boxed{Sitting}", "sitting", 1.0),
        ("\\boxed{kitten}", "sitting", 1.0 - 3.0 / 7.0),
        ("<think>a</think> sittin ", "sitting", 1.0 - 1.0 / 7.0),
        ("\\boxed{abcd}", "sitting", 0.0),
        ("\\boxed{ab}", "ac", 0.5),
        ("\\boxed{kitten}", "[\"sitting\", \"mitten\"]", 1.0 - 1.0 / 6.0),
        ("\\boxed{ä}", "Ä", 1.0),
    ];
    for (response, truth, expected) in cases {
        assert!((value(kind, response, truth) - expected).abs() < 1e-6, "{response} for {truth}");
    }
    assert_eq!(value("kind = 'anls'\nthreshold = 0.6", "\\boxed{kitten}", "sitting"), 0.0);
    assert_eq!(value(kind, &"a".repeat(1_000_000), "sitting"), 0.0);
}

#[test]
fn boxes_overlap() {
    let cases = [
        ("\\boxed{[0, 0, 2, 2]}", "[0, 0, 2, 2]", 1.0),
        ("\\boxed{(1, 0, 3, 2)}", "[0, 0, 2, 2]", 2.0 / 6.0),
        ("<answer>[{\"bbox_2d\": [0, 0, 1, 2], \"label\": \"cat\"}]</answer>", "0,0,2,2", 0.5),
        ("\\boxed{[2, 2, 0, 0]}", "[0, 0, 2, 2]", 1.0),
        ("\\boxed{[3, 3, 4, 4]}", "[0, 0, 2, 2]", 0.0),
        ("\\boxed{[0, 0, 2]}", "[0, 0, 2, 2]", 0.0),
        ("\\boxed{[0, 0, 1e308, 1e308]}", "[0, 0, 2, 2]", 0.0),
        ("\\boxed{[nan, 0, 2, 2]}", "[0, 0, 2, 2]", 0.0),
        ("\\boxed{[1, 1, 1, 1]}", "[1, 1, 1, 1]", 0.0),
        ("here", "[0, 0, 2, 2]", 0.0),
    ];
    for (response, truth, expected) in cases {
        assert!((value("kind = 'iou'", response, truth) - expected).abs() < 1e-6, "{response} for {truth}");
    }
    assert_eq!(value("kind = 'iou'\nthreshold = 0.5", "\\boxed{[0, 0, 1, 2]}", "[0, 0, 2, 2]"), 1.0);
    assert_eq!(value("kind = 'iou'\nthreshold = 0.51", "\\boxed{[0, 0, 1, 2]}", "[0, 0, 2, 2]"), 0.0);
}

#[test]
fn a_truth_of_another_kind_is_an_error_that_names_the_problem() {
    let wrong = |kind: &str| {
        let rewards = Rewards::new(&entries(&format!("[[reward]]\nname = 'mine'\nkind = '{kind}'\n"))).unwrap();
        rewards.values(&[graded("a", "17")]).unwrap_err().to_string()
    };
    assert_eq!(wrong("choice"), "reward mine: problem 5: the answer in the data: expected the letter of a choice, got \"17\"");
    assert_eq!(wrong("iou"), "reward mine: problem 5: the answer in the data: expected a box [x1, y1, x2, y2], got \"17\"");
}

#[test]
fn entries_read_back_and_may_be_set() {
    let text = "[[reward]]\nkind = 'numeric'\ntolerance = 0.1\nname = 'near'\nweight = 0.7\non_error = 'zero'\n\
                [[reward]]\nkind = 'command'\ncommand = ['python3', 'judge.py']\n\
                [[reward]]\nkind = 'format'\nweight = -0.25\n\
                [[reward]]\nkind = 'iou'\nthreshold = 0.5\n\
                [[reward]]\nkind = 'length'\nmax_tokens = 2000\n";
    let config = Config::parse(text, "test.toml", &[]).unwrap();
    let names: Vec<(&str, f32)> = config.reward.iter().map(|reward| (reward.name.as_str(), reward.weight)).collect();
    assert_eq!(names, [("near", 0.7), ("command", 1.0), ("format", -0.25), ("iou", 1.0), ("length", 1.0)]);
    assert_eq!(entries(&config.to_toml()), config.reward, "{}", config.to_toml());
    let set = Config::parse("", "f", &["reward=[{kind = 'accuracy'}]".to_owned()]).unwrap();
    assert_eq!(set.reward[0].name, "accuracy");
}

#[test]
fn what_is_wrong_with_an_entry_is_named() {
    let kinds = "expected one of accuracy, format, length, tag_count, choice, numeric, anls, iou, regex, command";
    let unknown = format!("kind: {kinds}, got acuracy; did you mean accuracy?");
    let none = format!("kind: {kinds}, got none");
    let cases = [
        ("kind = 'acuracy'", unknown.as_str()),
        ("name = 'x'", none.as_str()),
        ("kind = 'numeric'\ntolerence = 0.1", "numeric: tolerence: no such field of the kind numeric; did you mean tolerance?"),
        ("kind = 'accuracy'\nname = 'a'\nwieght = 0.1", "a: wieght: no such field of the kind accuracy; did you mean weight?"),
        ("kind = 'accuracy'\npattern = 'a'", "accuracy: pattern: no such field of the kind accuracy"),
        ("kind = 'accuracy'\non_error = 'ignore'", "accuracy: on_error: unknown variant `ignore`, expected `stop` or `zero`"),
        ("kind = 'accuracy'\nweight = 'much'", "accuracy: weight: expected a number, got \"much\""),
        ("kind = 'numeric'\ntolerance = 'small'", "numeric: tolerance: invalid type: string \"small\", expected a number"),
        ("kind = 'regex'", "regex: pattern: expected a regular expression, got none"),
        ("kind = 'numeric'\ntolerance = -1", "numeric: tolerance: expected 0 or more, got -1"),
        ("kind = 'anls'\nthreshold = 2", "anls: threshold: expected 0 to 1, got 2"),
        ("kind = 'command'", "command: command: expected a program and its arguments, got []"),
        ("kind = 'command'\ncommand = ['x']\ntimeout_seconds = 0", "command: timeout_seconds: expected above 0 and at most 1e6, got 0"),
        ("kind = 'length'\nmax_tokens = 10", "length: soft_tokens: expected at most max_tokens, which is above 0; got 256 and 10"),
        ("kind = 'tag_count'\ntags = []", "tag_count: tags: expected some texts, none of them empty, got []"),
        ("kind = 'accuracy'\nname = 'a b'", "name: expected letters, digits, - and _, and not `failed`, got \"a b\""),
        ("kind = 'accuracy'\n[[reward]]\nkind = 'accuracy'", "name: expected names that differ, got accuracy twice"),
        ("kind = 'accuracy'\nweight = 0", "weight: expected one that is not 0, got only 0: nothing would be learnt"),
    ];
    for (fields, message) in cases {
        assert_eq!(error(&format!("[[reward]]\n{fields}\n")), format!("test.toml: reward: {message}"), "{fields}");
    }
    assert!(error("[[reward]]\nkind = 'regex'\npattern = '('\n").contains("reward: regex: pattern: regex parse error"));
    assert!(error("[[reward]]\nkind = 'accuracy'\nweight = inf\n").contains("weight: expected a"));
    assert!(error("[[rewards]]\nkind = 'accuracy'\n").contains("rewards: no such key; did you mean reward?"));
}

#[test]
fn functions_in_code_are_rewards_too() {
    struct Shortness;
    impl RewardFunction for Shortness {
        fn rewards(&self, responses: &[Graded<'_>]) -> Result<Vec<f32>, String> {
            Ok(responses.iter().map(|of| 1.0 / of.response.len() as f32).collect())
        }
    }
    let rewards = Rewards::new(&entries("[[reward]]\nkind = 'accuracy'\n")).unwrap().with("shortness", 0.5, Shortness);
    let values = rewards.values(&[graded("\\boxed{1}", "1"), graded("long", "1")]).unwrap();
    assert_eq!((values.of, values.totals), (vec![vec![1.0, 0.0], vec![1.0 / 9.0, 0.25]], vec![1.0 + 0.5 / 9.0, 0.125]));
    // 1/0
    let wrong = rewards.values(&[graded("a", "1"), graded("", "1")]).unwrap_err().to_string();
    assert_eq!(wrong, "reward shortness: response 2 of 2: expected a finite number, got inf");
}

/// Its configurations can be read, and it names every kind and field.
#[test]
fn the_page_on_rewards_is_true() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rewards.md")).unwrap();
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert_eq!(blocks.iter().map(|block| entries(block).len()).collect::<Vec<_>>(), [2, 3, 1]);
    for kind in RewardKind::NAMES {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{kind}`")));
        let row = row.unwrap_or_else(|| panic!("docs/rewards.md has no row for {kind}"));
        for field in RewardKind::fields(kind).unwrap() {
            assert!(row.contains(&format!("`{field}`")), "docs/rewards.md: {kind}: {field} is missing");
        }
    }
}
