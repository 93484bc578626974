//! `report.html`: everything is inside, nothing is fetched, text is text.

use std::fs;
use std::path::Path;

use percept_cppo::records::report::write_report;
use percept_cppo::records::run::{Metrics, RunFolder};

use crate::run::made_up;

/// Left in `target/tmp/report/made-up`, to be looked at in a browser.
#[test]
fn a_report_is_one_file_that_fetches_nothing() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
    let _ = fs::remove_dir_all(&folder);
    let run = made_up::run(&folder, 160);
    let path = write_report(run.path()).unwrap();
    let page = fs::read_to_string(path).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for fetching in ["http://", "https://", "src=\"/", "src=\"images", "<link", "@import", "url("] {
        let inert = page.replace("http://www.w3.org/2000/svg", ""); // a name, not an address
        assert!(!inert.contains(fetching), "{fetching}");
    }
    for part in ["id=\"accuracy\"", "id=\"curves\"", "id=\"samples\"", "id=\"configuration\"", "prefers-color-scheme: dark", "@media print"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(page.matches("data:image/png;base64,").count(), 5 * 3 * 3, "five steps, three prompts, three pictures");
    assert_eq!(page.matches("data-points=").count(), 24, "one curve a metric, the constant ones folded");
    assert!(page.contains("&lt;think&gt;") && !page.contains("<think>"));
    well_formed(&page);
    // the same again: nothing in it depends on the hour
    write_report(run.path()).unwrap();
    assert_eq!(fs::read_to_string(run.path().join("report.html")).unwrap(), page);
}

#[test]
fn a_run_that_has_just_begun_has_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = percept_cppo::config::Config::default();
    (config.run.folder, config.run.name) = (folder.path().to_owned(), Some("<b>&".to_owned()));
    let run = RunFolder::create(&config).unwrap();
    let page = |run: &RunFolder| fs::read_to_string(write_report(run.path()).unwrap()).unwrap();
    let empty = page(&run);
    assert!(empty.contains("&lt;b&gt;&amp;") && !empty.contains("<b>&"), "a name is text");
    well_formed(&empty);
    let mut metrics = Metrics::new(1);
    metrics.set("reward", 0.0);
    metrics.set("kl", f64::NAN);
    metrics.set("my/own", 3.0);
    run.record_after(0).unwrap().metrics(&metrics).unwrap();
    let one = page(&run);
    assert!(one.contains("no finite value") && one.contains("my/own") && !one.contains("NaN") && !one.contains("inf"));
    well_formed(&one);
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = write_report(folder.path()).unwrap_err().to_string();
    assert!(error.contains("config.toml"), "{error}");
    let run = made_up::run(folder.path(), 4);
    let image = run.path().join(&run.samples().unwrap()[0].image);
    fs::remove_file(&image).unwrap();
    let page = fs::read_to_string(write_report(run.path()).unwrap()).unwrap();
    assert!(page.contains(&run.samples().unwrap()[0].image) && page.contains("No such file"), "the picture is named in its place");
    well_formed(&page);
    // a name that leads out of the folder is not followed
    let outside = folder.path().join("secret.png");
    fs::write(&outside, "secret").unwrap();
    let samples = fs::read_to_string(run.path().join("samples.jsonl")).unwrap();
    let lead_out = samples.replace(&run.samples().unwrap()[0].image, "../secret.png");
    fs::write(run.path().join("samples.jsonl"), lead_out).unwrap();
    let page = fs::read_to_string(write_report(run.path()).unwrap()).unwrap();
    assert!(page.contains("is not a file of this run") && !page.contains("c2VjcmV0"), "base64 of what is in it");
}

/// The lines of `samples.jsonl`, each changed.
fn changed_lines(run: &RunFolder, change: impl Fn(&mut serde_json::Map<String, serde_json::Value>)) -> String {
    let text = fs::read_to_string(run.path().join("samples.jsonl")).unwrap();
    let changed = |line: &str| {
        let mut sample = serde_json::from_str(line).unwrap();
        change(&mut sample);
        serde_json::Value::Object(sample).to_string() + "\n"
    };
    text.lines().map(changed).collect()
}

#[test]
fn a_report_explains_what_is_in_it_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let run = made_up::run(folder.path(), 12);
    let page = |run: &RunFolder| fs::read_to_string(write_report(run.path()).unwrap()).unwrap();
    let full = page(&run);
    assert!(full.contains("Colour is ΔH") && full.contains("Underlined") && full.contains("Dotted"));
    assert!(!full.contains("Device"));
    run.note_start(0, "train", "cpu").unwrap();
    run.note_start(6, "train", "a GPU").unwrap();
    assert!(page(&run).contains("<dt>Device</dt><dd>cpu, then a GPU</dd>") && page(&run).contains("resumed after step 6"));
    // a method that looks at no other picture: no colours, no legend for them
    let bare = changed_lines(&run, |sample| {
        for field in ["delta_entropy", "mask", "roles"] {
            sample.insert(field.into(), serde_json::Value::Null);
        }
    });
    fs::write(run.path().join("samples.jsonl"), bare).unwrap();
    let plain = page(&run);
    assert!(!plain.contains("Colour is ΔH") && !plain.contains("Underlined") && !plain.contains("Dotted"));
    // a prompt of several pictures shows them all
    let several = changed_lines(&run, |sample| {
        let again = serde_json::json!([sample["image"].clone()]);
        sample.insert("more_images".into(), again);
    });
    fs::write(run.path().join("samples.jsonl"), several).unwrap();
    let shown = page(&run);
    assert!(shown.contains("picture 2") && shown.matches("data:image/png").count() > plain.matches("data:image/png").count());
    well_formed(&shown);
    // ticks of 12 steps stand at whole steps; what never varies is folded away
    assert!(full.contains(">1</text>") && full.contains(">6</text>") && full.contains(">12</text>"));
    assert!(full.contains("The same in every step"), "made-up runs skip no update");
}

/// Every element that is opened is closed, in order.
pub(crate) fn well_formed(page: &str) {
    const VOID: [&str; 3] = ["meta", "img", "br"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if rest.starts_with('!') {
            continue;
        }
        let end = rest.find('>').expect("a tag ends");
        let (tag, after) = rest.split_at(end);
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closing order");
        } else if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
        if matches!(name, "script" | "style") && !tag.starts_with('/') {
            rest = &rest[rest.find(&format!("</{name}>")).expect("closed")..];
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}
