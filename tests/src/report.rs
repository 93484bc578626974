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
    assert_eq!(page.matches("data-points=").count(), 24, "one curve a metric");
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
    let error = write_report(run.path()).unwrap_err().to_string();
    assert!(error.starts_with(&image.display().to_string()), "{error}");
    assert!(!run.path().join("report.html").exists());
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
