//! Answer equality and the reward: tables of what is equal and what is not.

use percept_cppo::problems::answer::{answers_equal, boxed_answer};
use percept_cppo::problems::reward::{format_ok, reward};

#[test]
fn equal_answers() {
    #[rustfmt::skip]
    let cases = [
        // numbers
        ("0.5", "1/2"), ("0.5", "\\frac{1}{2}"), ("1/2", "\\dfrac{1}{2}"), ("\\tfrac12", ".5"), ("50/100", "0.50"),
        ("1,000", "1000"), ("1{,}000", "1000"), ("1\\,000", "1000"), ("1,234,567.5", "1234567.5"), ("-3", "\u{2212}3"),
        ("+5", "5"), ("5.", "5"), ("5.0", "5"), ("005", "5"), ("-\\frac{3}{4}", "-0.75"), ("\\frac{-3}{4}", "-0.75"),
        ("2\\frac{1}{3}", "7/3"), ("-2\\frac{1}{2}", "-2.5"), ("1.5\\times10^3", "1500"), ("2\\cdot10^{-2}", "0.02"), ("-(1/2)", "-0.5"),
        ("0.1", "1/10"), ("0", "-0"), ("1/-2", "-1/2"), ("(5)", "5"), ("\\frac{1.5}{3}", "0.5"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        // dressing
        ("$16$", "16"), ("\\(16\\)", "16"), (" 16 ", "16"), ("16.", "16"), ("\\text{16}", "16"), ("x=5", "5"), ("x = 5", "x=5"),
        ("\\theta = 30^\\circ", "30"), ("f(x)=2x+1", "2x + 1"), ("\\left(1,2\\right)", "(1, 2)"),
        // units
        ("50\\%", "50"), ("50%", "50"), ("90^{\\circ}", "90"), ("90°", "90"), ("90 degrees", "90"), ("5 cm", "5"), ("5cm", "5"),
        ("5\\text{ cm}", "5"), ("5\\,\\mathrm{cm}^2", "5"), ("12 cm^2", "12"), ("5 m", "5"), ("\\$5", "5"), ("5 dollars", "5"),
        ("\\frac{1}{2}\\text{ hours}", "0.5"), ("10 m/s", "10"), ("12 square units", "12"), ("3\\text{ apples}", "3"), ("5 in.", "5"),
        // lists
        ("(1,2)", "(1, 2)"), ("1, 2", "1,2"), ("\\{1,2\\}", "{1, 2}"), ("1,2", "(1,2)"), ("(0.5, 2)", "(1/2, 2.0)"),
        ("x=1, y=2", "1, 2"), ("(x,y)=(1,2)", "(1,2)"), ("((1,2),(3,4))", "((1,2),(3,4.0))"), ("[0,1)", "[0, 1)"),
        // choices
        ("(B)", "B"), ("B.", "B"), ("b", "B"), ("\\text{(B)}", "B"), ("\\textbf{B}", "(B)"), ("B)", "B"),
        // text
        ("Yes", "yes"), ("\\text{yes}", "Yes"), ("red circle", "Red Circle"), ("\\sqrt2", "\\sqrt{2}"),
        ("\\frac{\\sqrt{3}}{2}", "\\sqrt{3}/2"), ("2\\pi", "2π"), ("x^2 + 1", "x^2+1"),
    ];
    for (a, b) in cases {
        assert!(answers_equal(a, b), "{a} and {b} are the same");
        assert!(answers_equal(b, a), "{b} and {a} are the same");
        assert!(answers_equal(a, a) && answers_equal(b, b));
    }
}

#[test]
fn different_answers() {
    #[rustfmt::skip]
    let cases = [
        ("16", "17"), ("16", "-16"), ("0.333", "1/3"), ("0.3333333333333333", "1/3"), ("1/0", "0"), ("1000", "1,00"), ("1,2", "2,1"),
        ("(1,2)", "(2,1)"), ("(1,2)", "[1,2)"), ("[0,1)", "[0,1]"), ("1,2", "1,2,3"), ("3.5,1", "3.51"), ("1,200", "1, 200"), ("B", "C"), ("(B)", "(C)"),
        ("x=5", "y=5"), ("x=5", "x=6"), ("5x", "5"), ("5m", "5"), ("yes", "no"), ("2 or 3", "2"), ("2\\text{ or }3", "2"), ("", "5"), ("", ""),
        ("$", "5"), ("50", "0.5"), ("2^3", "2"), ("10^2", "10"), ("\\sqrt{2}", "2"), ("\\sqrt{2}", "1.41421356"), ("\\pi", "3.14"),
        ("2\\frac{1}{3}", "2/3"), ("red", "red circle"), ("1e3", "1000"), ("123456789012345678901234567891", "123456789012345678901234567890"),
        ("999999999999999999999999999999999999999999", "999999999999999999999999999999999999999998"),
    ];
    for (a, b) in cases {
        assert!(!answers_equal(a, b), "{a} and {b} differ");
        assert!(!answers_equal(b, a), "{b} and {a} differ");
    }
}

#[test]
fn the_last_balanced_box_counts() {
    let cases = [
        ("\\boxed{16}", Some("16")),
        ("\\boxed{1} then \\boxed{2}.", Some("2")),
        ("\\boxed{\\frac{1}{2}}", Some("\\frac{1}{2}")),
        ("\\boxed{1} and \\boxed{2", Some("1")),
        ("\\boxed{\\boxed{5}}", Some("5")),
        ("\\boxed{\\{1,2\\}}", Some("\\{1,2\\}")),
        ("\\boxed{\\}}", Some("\\}")),
        ("\\boxed{}", Some("")),
        ("\\boxed{16", None),
        ("boxed{16}", None),
        ("", None),
    ];
    for (response, expected) in cases {
        assert_eq!(boxed_answer(response), expected, "{response}");
    }
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

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No input may panic, and the relation is symmetric.
        #[test]
        fn any_text_is_handled(a in "[\\\\a-c0-9{}()\\[\\],.=/ $%^-]{0,16}|\\PC{0,12}", b in "[\\\\{}(),.=/0-9x]{0,8}") {
            prop_assert_eq!(answers_equal(&a, &b), answers_equal(&b, &a));
            boxed_answer(&a);
            format_ok(&a);
        }

        #[test]
        fn fractions_equal_their_multiples(n in -500i64..500, d in 1i64..500, k in 1i64..50) {
            let (a, b) = (format!("{n}/{d}"), format!("\\frac{{{}}}{{{}}}", n * k, d * k));
            prop_assert!(answers_equal(&a, &b));
            let (a, c) = (format!("{n}/{d}"), format!("{}/{d}", n + 1));
            prop_assert!(!answers_equal(&a, &c));
        }
    }
}
