//! `percept bench`: its numbers are there, its counts are right, its exponents too.

use percept_cppo::studies::bench::exponent;
use percept_engine::{Device, Tensor};
use serde_json::Value;

use crate::program::percept;

/// Few prompts and responses, so that it takes a second.
const SMALL: [&str; 8] = [
    "--set",
    "run.device=cpu",
    "--set",
    "rollout.prompts_per_step=2",
    "--set",
    "method.group_size=2",
    "--set",
    concat!("model.path=", env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-vlm"),
];

fn report(arguments: &[&str]) -> Value {
    let (_, output, errors) = percept(&[&["bench", "--json"], arguments, &SMALL].concat());
    assert_eq!(errors, "");
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn rows(report: &Value) -> Vec<(String, f64)> {
    let sections = report["sections"].as_array().expect("sections");
    let rows = sections.iter().flat_map(|section| section["rows"].as_array().expect("rows"));
    rows.map(|row| (row["name"].as_str().expect("a name").to_owned(), row["value"].as_f64().expect("a number"))).collect()
}

#[test]
fn a_quick_look_has_every_number() {
    let report = report(&["--quick"]);
    let rows = rows(&report);
    assert!(report["threads"].as_u64() >= Some(1) && report["processor"].is_string() && report["version"].is_string());
    let titles: Vec<&str> = report["sections"].as_array().unwrap().iter().filter_map(|section| section["title"].as_str()).collect();
    assert_eq!(titles, ["Limits", "Matrix products", "Generation", "A training step"]);
    for name in [
        "multiply-adds in registers",
        "a square",
        "attention, causal",
        "read:",
        "write: 8",
        "grpo: update",
        "cppo: whole step",
        "cppo: its step over that of grpo",
    ] {
        let found = rows.iter().find(|(row, _)| row.starts_with(name));
        assert!(found.is_some_and(|(_, value)| value.is_finite() && *value > 0.0), "{name}: {found:?}");
    }
}

#[test]
fn counts_are_the_same_each_time() {
    let counted = rows(&report(&["--counts"]));
    assert_eq!(counted, rows(&report(&["--counts"])));
    let get = |name: &str| counted.iter().find(|(row, _)| row == name).unwrap_or_else(|| panic!("{name}")).1;
    // a token of one sequence goes through 4 layers of 4 · 128 · 128 less half of k and v, 3 · 128 · 256, and the head, 384 · 128
    let multiply_adds = 4 * (3 * 128 * 128 + 3 * 128 * 256) + 384 * 128;
    assert_eq!(get("a token of one sequence: multiply-adds in products, millions"), 1e-6 * f64::from(multiply_adds));
}

#[test]
fn a_product_counts_what_it_reads_writes_and_multiplies() {
    let device = Device::new_cpu();
    let (a, b) =
        (Tensor::zeros(&device, &[2, 3, 4], percept_engine::DType::F32), Tensor::zeros(&device, &[5, 4], percept_engine::DType::F32));
    let before = device.counters();
    let _ = a.matmul(&b.t());
    let after = device.counters();
    assert_eq!(after.launches - before.launches, 1);
    assert_eq!(after.multiply_adds - before.multiply_adds, 2 * 3 * 4 * 5);
    assert_eq!(after.tensor_bytes - before.tensor_bytes, 4 * (24 + 20 + 30));
}

#[test]
fn exponents_are_powers_of_two() {
    assert_eq!(exponent(3.0, 6.0), 1.0);
    assert_eq!(exponent(3.0, 12.0), 2.0);
    assert_eq!(exponent(3.0, 3.0), 0.0);
}
