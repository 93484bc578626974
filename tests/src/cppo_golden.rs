//! Advantages and perception masks against values that NumPy computed (`golden/cppo/make.py`), and by hand.

use percept_cppo::methods::advantages::{degenerate_groups, group_advantages};
use percept_cppo::methods::selection::{Detector, Gate, Selection, SelectionConfig, Shift, perception_mask};
use percept_cppo::random::Random;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/cppo/cppo.json")).expect("the golden file is JSON")
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

fn random() -> Random {
    Random::new(0, "selection", 0)
}

#[track_caller]
fn assert_close(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= 1e-6 * e.abs().max(1e-3), "{what}[{i}]: expected {e}, got {g}");
    }
}

#[test]
fn advantages_match_numpy() {
    let golden = golden();
    for case in golden["advantages"].as_array().unwrap() {
        let rewards = floats(&case["rewards"]);
        let group_size = case["group_size"].as_u64().unwrap() as usize;
        let expected = floats(&case["advantages"]);
        // A difference of 2⁻²⁰ over a deviation of about as much: f32 rewards hold it exactly.
        assert_close(&group_advantages(&rewards, group_size), &expected, &case["name"].to_string());
    }
    for case in golden["losses"].as_array().unwrap() {
        let rewards = floats(&golden["inputs"][case["inputs"].as_str().unwrap()]["rewards"]);
        assert_close(&group_advantages(&rewards, rewards.len()), &floats(&case["advantages"]), &case["name"].to_string());
    }
}

#[test]
fn advantages_by_hand() {
    // Mean 0.5, deviations ±0.5, sample variance 4 · 0.25 / 3, so ±0.5 / 0.57735 = ±0.8660.
    assert_close(&group_advantages(&[1.0, 0.0, 1.0, 0.0], 4), &[0.866024, -0.866024, 0.866024, -0.866024], "two of four");
    assert_eq!(group_advantages(&[0.1; 3], 3), [0.0; 3]);
    assert!(group_advantages(&[], 4).is_empty());
    assert_eq!(degenerate_groups(&[0.1, 0.1, 1.0, 0.1, 1.0, 1.0], 2), 2);
}

#[test]
#[should_panic(expected = "group_advantages: rewards are not whole groups: 5 rewards, groups of 2")]
fn half_a_group_panics() {
    group_advantages(&[0.0; 5], 2);
}

#[test]
#[should_panic(expected = "a reward is not finite: NaN")]
fn a_reward_that_is_not_finite_panics() {
    group_advantages(&[0.0, f32::NAN], 2);
}

#[test]
fn masks_match_numpy() {
    for case in golden()["selection"].as_array().unwrap() {
        let name = case["name"].to_string();
        let config: SelectionConfig = serde_json::from_value(case["options"].clone()).unwrap();
        let shift = Shift::of_entropies(&floats(&case["entropy"]), &floats(&case["entropy_removed"]));
        assert_close(&shift.delta, &floats(&case["delta"]), &name);
        assert_close(&shift.score, &floats(&case["score"]), &name);
        let advantage = case["advantage"].as_f64().unwrap() as f32;
        let mask = perception_mask(&shift, advantage, &config, &mut random());
        let expected: Vec<bool> = case["mask"].as_array().unwrap().iter().map(|m| m.as_bool().unwrap()).collect();
        assert_eq!(mask, expected, "{name}");
    }
}

#[test]
fn masks_by_hand() {
    // ΔH = 1, 0, 0.5, 0.9; s = 1/2, 0, 1/3, 0.9. Three positive: floor keeps 1, ceil 2.
    let shift = Shift::of_entropies(&[1.0, 1.0, 1.0, 0.1], &[2.0, 1.0, 1.5, 1.0]);
    let mask = |selection| perception_mask(&shift, 1.0, &SelectionConfig { selection, ..Default::default() }, &mut random());
    assert_eq!(mask(Selection::Floor), [false, false, false, true]);
    assert_eq!(mask(Selection::Ceil), [true, false, false, true]);
    assert_eq!(mask(Selection::All), [true; 4]);
    assert_eq!(mask(Selection::Random).iter().filter(|m| **m).count(), 1);
}

#[test]
fn random_tokens_are_as_many_as_floor_keeps_and_depend_on_the_draw() {
    let shift = Shift::of_entropies(&[0.5; 40], &[1.0; 40]);
    let config = SelectionConfig { selection: Selection::Random, ..Default::default() };
    let draw = |n| perception_mask(&shift, 1.0, &config, &mut Random::new(0, "selection", n));
    assert_eq!(draw(0), draw(0));
    assert_ne!(draw(0), draw(1));
    assert_eq!(draw(0).iter().filter(|m| **m).count(), 20);
    // No positive token: none at random either.
    let still = Shift::of_entropies(&[1.0; 4], &[1.0; 4]);
    assert_eq!(perception_mask(&still, 1.0, &config, &mut random()), [false; 4]);
}

#[test]
fn divergences_can_take_the_place_of_entropies() {
    let shift = Shift::of_divergences(&[0.0, 3.0, 0.2, 0.001]);
    let config = SelectionConfig { detector: Detector::K3, min_delta_entropy: 0.05, ..Default::default() };
    assert_eq!(perception_mask(&shift, 1.0, &config, &mut random()), [false, true, false, false]);
}

#[test]
fn a_shift_that_is_not_a_number_is_never_chosen() {
    let shift = Shift::of_entropies(&[0.5, f32::NAN, 0.5], &[1.0, 1.0, 0.75]);
    let config = SelectionConfig { perception_fraction: 1.0, gate: Gate::None, ..Default::default() };
    assert_eq!(perception_mask(&shift, 1.0, &config, &mut random()), [true, false, true]);
}

#[test]
fn impossible_selections_name_the_field() {
    let config = SelectionConfig { perception_fraction: 0.0, ..Default::default() };
    assert!(config.check().unwrap_err().starts_with("perception_fraction"));
    let config = SelectionConfig { min_delta_entropy: -1.0, ..Default::default() };
    assert!(config.check().unwrap_err().starts_with("min_delta_entropy"));
    SelectionConfig::default().check().unwrap();
}

#[test]
fn random_numbers_are_fixed_for_good() {
    // Printed once; a change would change every scene and every run.
    let mut random = Random::new(7, "task/train", 3);
    assert_eq!((random.next_u64(), random.below(1000)), (452035196260143925, 915));
    let mut values: Vec<f32> = (0..20_000).map(|n| Random::new(1, "normal", n).normal()).collect();
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32;
    assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    values.sort_by(f32::total_cmp);
    assert!((values[10_000]).abs() < 0.03 && values[19_999] > 3.0);
    let mut counts = [0; 7];
    (0..7000).for_each(|n| counts[Random::new(2, "below", n).below(7)] += 1);
    assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
}
