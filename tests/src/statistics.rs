//! Intervals, pass@k and detector quality against values computed by hand.

use percept_cppo::records::statistics::{average_at_n, detection, pass_at_k, wilson};

fn close(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-9, "expected {expected}, got {got}");
}

/// Expected values: the formula in Python's floats; 0 of 10 and 10 of 10 are z²/(n+z²) and its complement.
#[test]
fn wilson_intervals() {
    let z2 = 1.959_963_984_540_054_f64.powi(2);
    let none = wilson(0, 10);
    assert_eq!((none.rate, none.low), (0.0, 0.0));
    close(none.high, z2 / (10.0 + z2)); // 0.2775
    let all = wilson(10, 10);
    assert_eq!((all.rate, all.high), (1.0, 1.0));
    close(all.low, 10.0 / (10.0 + z2)); // 0.7225
    // Newcombe 1998, table I, method 3: 81 of 263
    let published = wilson(81, 263);
    assert!((published.low - 0.2553).abs() < 5e-5 && (published.high - 0.3662).abs() < 5e-5, "{published:?}");
    // and 15 of 148
    let published = wilson(15, 148);
    assert!((published.low - 0.0624).abs() < 5e-5 && (published.high - 0.1605).abs() < 5e-5, "{published:?}");
    let nothing = wilson(0, 0);
    assert!(nothing.rate.is_nan() && nothing.low == 0.0 && nothing.high == 1.0);
}

#[test]
fn average_at_n_uses_the_spread_between_problems() {
    // rates 0, 0.5, 1, 0.5: mean 0.5, squares 0.25 + 0 + 0.25 + 0, error sqrt(0.5 / 12)
    let estimate = average_at_n(&[0, 2, 4, 2], 4);
    close(estimate.rate, 0.5);
    close(estimate.low, 0.5 - 1.959_963_984_540_054 * (0.5_f64 / 12.0).sqrt());
    close(estimate.high, 0.5 + 1.959_963_984_540_054 * (0.5_f64 / 12.0).sqrt());
    // one response each: independent trials
    assert_eq!(average_at_n(&[1, 0, 1, 0, 0], 1), wilson(2, 5));
    // all problems alike: no spread is not no doubt
    let alike = average_at_n(&[4, 4, 4], 4);
    assert_eq!(alike, wilson(3, 3));
    // more responses to the same problems make the interval no narrower than the problems allow
    let repeated = average_at_n(&[0, 100, 0, 100], 100);
    assert!(repeated.high - repeated.low > 0.9, "{repeated:?}");
}

#[test]
fn pass_at_k_is_unbiased() {
    // C(2,2)/C(4,2) = 1/6; c = 0: 0; c = 3: C(1,2) = 0
    close(pass_at_k(&[2], 4, 2), 1.0 - 1.0 / 6.0);
    close(pass_at_k(&[2, 0, 3], 4, 2), (5.0 / 6.0 + 0.0 + 1.0) / 3.0);
    close(pass_at_k(&[1, 3], 4, 1), 0.5);
    close(pass_at_k(&[1, 0], 4, 4), 0.5);
    // 1 − C(190,100)/C(200,100): no overflow
    let expected = 1.0 - (0..100).map(|i| (190 - i) as f64 / (200 - i) as f64).product::<f64>();
    close(pass_at_k(&[10], 200, 100), expected);
}

#[test]
#[should_panic(expected = "pass_at_k: k is not among the responses: 5 of 4")]
fn pass_at_k_needs_enough_responses() {
    pass_at_k(&[1], 4, 5);
}

#[test]
fn detection_counts_ties_as_one_half() {
    let scores = [0.9, 0.8, 0.8, 0.1, 0.0];
    let truth = [true, true, false, false, true];
    let chosen = [true, false, true, false, false];
    let quality = detection(&scores, &chosen, &truth);
    // pairs (positive, negative): 0.9 wins both; 0.8 ties with 0.8 and beats 0.1; 0.0 loses both: 2 + 1.5 + 0 of 6
    close(quality.auc, 3.5 / 6.0);
    close(quality.precision, 0.5);
    close(quality.recall, 1.0 / 3.0);
    assert_eq!((quality.positives, quality.negatives, quality.chosen), (3, 2, 2));
    close(detection(&[0.0, -0.0, 0.0], &[false; 3], &[true, false, false]).auc, 0.5);
    assert!(detection(&[0.0], &[false], &[true]).auc.is_nan());
}
