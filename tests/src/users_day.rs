//! docs/a-users-day.md, as it stands: its files are written, its commands run, in an empty folder.

use std::path::Path;

use image::{Rgb, RgbImage};

use crate::program::{command, end};

const PAGE: &str = include_str!("../../docs/a-users-day.md");

/// The blocks of a language, each with the line of text before it.
fn blocks(language: &str) -> Vec<(&'static str, &'static str)> {
    let fence = format!("```{language}\n");
    PAGE.match_indices(&fence)
        .map(|(at, _)| {
            let rest = &PAGE[at + fence.len()..];
            let before = PAGE[..at].trim_end().rsplit("\n\n").next().unwrap();
            (before, &rest[..rest.find("```").unwrap()])
        })
        .collect()
}

/// Sixty pictures, one for each line of `squares.jsonl`.
fn make_data(folder: &Path) {
    let line = blocks("json")[0].1;
    std::fs::create_dir(folder.join("pictures")).unwrap();
    let colours = [("red", [220, 30, 30]), ("green", [30, 160, 60]), ("blue", [40, 70, 220])];
    let lines: String = (0..60)
        .map(|number| {
            let (name, colour) = colours[number % 3];
            let corner = (number % 20) as u32;
            let inside = |x: u32, y: u32| (corner..corner + 20).contains(&x) && (10..30).contains(&y);
            let picture = RgbImage::from_fn(40, 40, |x, y| Rgb(if inside(x, y) { colour } else { [250; 3] }));
            picture.save(folder.join(format!("pictures/{number}.png"))).unwrap();
            line.replace("pictures/0", &format!("pictures/{number}")).replace("red", name)
        })
        .collect();
    std::fs::write(folder.join("squares.jsonl"), lines).unwrap();
}

#[test]
#[cfg(unix)] // the reward of the page is a program that other systems lack
fn the_page_works_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-vlm").canonicalize().unwrap();
    let filled = |text: &str| text.replace("MODEL", model.to_str().unwrap());
    make_data(folder.path());
    for (before, contents) in blocks("toml") {
        let name = before.trim_start_matches('`').split('`').next().unwrap();
        assert!(name.ends_with(".toml"), "{before}");
        std::fs::write(folder.path().join(name), filled(contents)).unwrap();
    }
    let mut said = Vec::new();
    for line in blocks("sh").iter().flat_map(|(_, block)| block.lines()) {
        let line = filled(line);
        let mut arguments: Vec<&str> = line.strip_prefix("percept ").expect("every line is one of the program's").split(' ').collect();
        let on_the_cpu = ["--set", "run.device=cpu"];
        if ["sft", "train", "inspect"].contains(&arguments[0]) || (arguments[0] == "eval" && arguments[1] == "day.toml") {
            arguments.extend(on_the_cpu);
        }
        let mut process = command(&arguments);
        let (code, out, errors) = end(process.current_dir(folder.path()).spawn().unwrap());
        assert_eq!(code, Some(0), "{line}\n{out}\n{errors}");
        said.push((line, out));
    }
    let of = |start: &str| &said.iter().find(|(line, _)| line.starts_with(start)).unwrap_or_else(|| panic!("no {start}")).1;
    assert!(of("percept data import").contains("60 problems, 0 bad rows"), "{}", of("percept data import"));
    assert!(of("percept train day.toml --dry-run").contains("Which colour?"));
    assert!(of("percept eval --compare").contains("difference"));
    let metrics = std::fs::read_to_string(folder.path().join("runs/day/metrics.jsonl")).unwrap();
    assert!(metrics.contains("\"rewards/says_what_it_sees\""), "{metrics}");
    let samples = std::fs::read_to_string(folder.path().join("runs/day/samples.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(samples.lines().next().unwrap()).unwrap();
    let own = first["rewards"].as_object().unwrap();
    let total = 0.9 * own["accuracy"].as_f64().unwrap() + 0.1 * own["says_what_it_sees"].as_f64().unwrap();
    assert!((first["reward"].as_f64().unwrap() - total).abs() < 1e-6, "{first}");
    let report = std::fs::read_to_string(folder.path().join("runs/day/report.html")).unwrap();
    assert!(report.contains("says_what_it_sees 1.00") || report.contains("says_what_it_sees 0.00"), "the report's samples lack it");
    // the adapter on its base and the merged model say the same
    let responses = |name: &str| {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["decoding"] == "greedy").map(|line| line["responses"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(responses("adapter.jsonl").len(), 12);
    assert_eq!(responses("adapter.jsonl"), responses("merged.jsonl"));
    assert!(folder.path().join("runs/day/checkpoints/last/adapter/adapter_config.json").is_file());
    assert!(std::fs::read_to_string(folder.path().join("seen.html")).unwrap().contains("What the model sees"));
}
