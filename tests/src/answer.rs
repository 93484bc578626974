//! Answer equality: tables of what is equal and what is not, where answers are found, and what happens to answers that mean harm.

use percept_cppo::problems::answer::{answers_equal, boxed_answer, final_answer};

#[test]
fn equal_answers() {
    #[rustfmt::skip]
    let cases = [
        // numbers
        ("0.5", "1/2"), ("0.5", "\\frac{1}{2}"), ("1/2", "\\dfrac{1}{2}"), ("\\tfrac12", ".5"), ("50/100", "0.50"),
        ("1,000", "1000"), ("1{,}000", "1000"), ("1\\,000", "1000"), ("1 000", "1000"), ("1,234,567.5", "1234567.5"), ("-3", "\u{2212}3"),
        ("+5", "5"), ("5.", "5"), ("5.0", "5"), ("005", "5"), ("-\\frac{3}{4}", "-0.75"), ("\\frac{-3}{4}", "-0.75"), ("--5", "5"),
        ("2\\frac{1}{3}", "7/3"), ("-2\\frac{1}{2}", "-2.5"), ("3 1/2", "3.5"), ("3½", "7/2"), ("-(1/2)", "-0.5"),
        ("0.1", "1/10"), ("0", "-0"), ("1/-2", "-1/2"), ("(5)", "5"), ("\\frac{1.5}{3}", "0.5"), ("\\frac{1}{\\frac{1}{2}}", "2"), ("1/2/2", "1/4"),
        ("123456789012345678901234567890", "123456789012345678901234567890"), ("１２", "12"), ("3 million", "3000000"), ("{5}", "5"),
        // powers and scientific notation
        ("1.5\\times10^3", "1500"), ("2\\cdot10^{-2}", "0.02"), ("1e3", "1000"), ("1.5e-3", "0.0015"), ("2.5E+2", "250"), ("3 × 10⁴", "30000"), ("5×10⁻³", "0.005"),
        ("10^2", "100"), ("2^{10}", "1024"), ("2**10", "1024"), ("(-2)^3", "-8"), ("-2^2", "-4"), ("4^{1/2}", "2"), ("8^{2/3}", "4"), ("2^{-1}", "0.5"), ("x^0", "1"),
        ("2^{3^2}", "512"), ("10^{400}", "100^{200}"), ("5!", "120"), ("\\binom{5}{2}", "10"), ("|{-3}|", "3"), ("|-3|", "3"), ("0^0", "1"),
        // roots and π
        ("2\\sqrt{3}", "\\sqrt{12}"), ("\\sqrt2", "\\sqrt{2}"), ("2 \\sqrt { 3 }", "2\\sqrt{3}"), ("\\frac{1}{\\sqrt{2}}", "\\frac{\\sqrt{2}}{2}"),
        ("\\sqrt{\\frac{3}{4}}", "\\frac{\\sqrt{3}}{2}"), ("\\frac{\\sqrt{3}}{2}", "\\sqrt{3}/2"), ("\\frac{2}{1+\\sqrt{3}}", "\\sqrt{3}-1"), ("√12", "2√3"),
        ("sqrt(12)", "2*sqrt(3)"), ("\\sqrt{16}", "4"), ("\\sqrt[3]{8}", "2"), ("\\sqrt[3]{-27}", "-3"), ("\\sqrt[3]{16}", "2\\sqrt[3]{2}"), ("3^{1/2}", "\\sqrt3"),
        ("\\sqrt{3+2\\sqrt{2}}", "1+\\sqrt{2}"), ("\\sqrt{2}\\cdot\\sqrt{8}", "4"), ("(1+\\sqrt{5})^2/4", "\\frac{3+\\sqrt5}{2}"), ("4\\sqrt{6}-\\sqrt{6}", "3\\sqrt6"),
        ("\\sqrt{18}+\\sqrt{8}", "5\\sqrt{2}"), ("\\sqrt{10^{13}}", "10^6\\sqrt{10}"), ("\\frac { 2 \\sqrt { 21 } } { 3 }", "2\\sqrt{\\frac{7}{3}}"),
        ("2\\pi", "2π"), ("3\\pi/4", "\\frac{3\\pi}{4}"), ("\\frac{\\pi^2}{6}", "\\pi*\\pi/6"), ("\\sqrt{\\pi^2}", "\\pi"), ("25 \\pi - 24", "-24+25pi"), ("1/\\pi", "\\pi^{-1}"),
        // functions and complex numbers
        ("\\log_2 8", "3"), ("\\log 1000", "3"), ("\\ln e^2", "2"), ("\\ln 4", "2\\ln 2"), ("e^{\\ln 3}", "3"), ("\\sin 30^\\circ", "1/2"), ("\\cos\\frac{\\pi}{4}", "\\frac{\\sqrt2}{2}"),
        ("\\tan(60°)", "\\sqrt{3}"), ("\\sin 15°", "\\frac{\\sqrt6-\\sqrt2}{4}"), ("\\cos 225°", "-\\sqrt{2}/2"), ("\\sin(-\\frac{5\\pi}{12})", "-\\frac{\\sqrt6+\\sqrt2}{4}"), ("\\sqrt{\\sin\\pi}", "0"), ("\\tan 135°", "-1"), ("\\cos 72°", "\\frac{\\sqrt5-1}{4}"), ("\\sin^2 20^\\circ+\\cos^2 20^\\circ", "1"), ("\\arctan 1", "\\pi/4"), ("\\sin^{-1}(1/2)", "30^\\circ"), ("\\arccos(-1)", "\\pi"), ("e", "e^1"),
        ("2+3i", "3i+2"), ("i^2", "-1"), ("\\sqrt{-4}", "2i"), ("\\frac{1}{1+i}", "\\frac{1-i}{2}"), ("(1+i)^2", "2i"), ("\\sqrt{3}i", "i\\sqrt3"),
        // dressing
        ("$16$", "16"), ("\\(16\\)", "16"), (" 16 ", "16"), ("16.", "16"), ("\\text{16}", "16"), ("x=5", "5"), ("x = 5", "x=5"), ("\\boxed{5}", "5"), ("**73**", "73"),
        ("\\theta = 30^\\circ", "30"), ("f(x)=2x+1", "2x + 1"), ("\\left(1,2\\right)", "(1, 2)"), ("13", "\\text{13}"), ("\\mathbf{13}", "13"), ("`13`", "13"),
        ("The answer is 5", "5"), ("Answer: 5.", "5"), ("so the final answer is $5$.", "5"), ("\\overline{AB}=5", "5"), ("m\\angle A = 30", "30"), ("x = 2+3 = 5", "5"), ("2+3=5", "5"), ("5=x", "x=5"),
        ("x\\approx 5.5", "5.5"), ("145", "<answer> 145 </answer>"), ("145", "#### 145"), ("\\text{So } \\boxed{7}", "7"),
        // units
        ("50\\%", "50"), ("50%", "50"), ("50\\%", "0.5"), ("50\\%", "1/2"), ("28 percent", "28\\%"), ("33.3\\%", "33.3"), ("90^{\\circ}", "90"), ("90°", "90"), ("90 degrees", "90"), ("5 cm", "5"), ("5cm", "5"),
        ("30^\\circ", "\\pi/6"), ("35^{\\circ} 30'", "35.5"), ("10° 15' 36\"", "10.26"), ("5\\text{ cm}", "5"), ("5\\,\\mathrm{cm}^2", "5"), ("12 cm^2", "12"), ("5 m", "5"), ("\\$5", "5"), ("5 dollars", "5"), ("\\$5.00", "5"),
        ("\\frac{1}{2}\\text{ hours}", "0.5"), ("10 m/s", "10"), ("12 square units", "12"), ("3\\text{ apples}", "3"), ("5 in.", "5"), ("5 apples", "5"), ("5 apples", "5 apple"), ("¥5", "5"), ("€5", "5 euros"),
        ("5 m^2", "5"), ("5°C", "5"), ("5 \\Omega", "5"), ("5 eV", "5"), ("5 mol", "5"), ("50 mL", "50"), ("5\\,\\text{cm}", "5 cm"), ("1 m", "100 cm"), ("2 hours", "120 min"), ("36 km/h", "10 m/s"),
        ("1 m^2", "10000 cm^2"), ("5 square meters", "5 m^2"), ("5 cubic feet", "5 ft^3"), ("60 mph", "60 miles per hour"), ("1 L", "1000 cm^3"), ("2\\sqrt{3} cm", "\\sqrt{12}\\text{ cm}"), ("3 dozen eggs", "36"),
        ("5 cm squared", "5 cm^2"), ("9.8 m/s^2", "9.8 \\mathrm{m} / \\mathrm{s}^{2}"), ("2 years", "24 months"), ("3 sq. cm", "3 cm^2"), ("12 sq. units", "12"),
        // lists, sets, solutions
        ("(1,2)", "(1, 2)"), ("1, 2", "1,2"), ("\\{1,2\\}", "{1, 2}"), ("1,2", "(1,2)"), ("(0.5, 2)", "(1/2, 2.0)"), ("(1,200)", "(1, 200)"), ("(\\sqrt{12}, 1)", "(2\\sqrt3, 1)"), ("\\{2,1\\}", "\\{1,2\\}"), ("\\{1,1,2\\}", "\\{1,2\\}"),
        ("x=1, y=2", "1, 2"), ("y=2, x=1", "x=1, y=2"), ("(x,y)=(1,2)", "(1,2)"), ("((1,2),(3,4))", "((1,2),(3,4.0))"), ("x=1 \\text{ or } x=-2", "x=1, x=-2"), ("x=-2, x=1", "x=1, x=-2"),
        ("1 and 2", "1, 2"), ("1 and 2", "2 and 1"), ("5\\text{ or }7", "7\\text{ or }5"), ("1, 2, and 3", "1, 2, 3"), ("x=2 or 3", "x = 3 or x = 2"), ("\\pm 2", "2, -2"), ("x=\\pm 2", "x=2, x=-2"), ("1\\pm\\sqrt{2}", "1-\\sqrt2 \\text{ or } 1+\\sqrt2"),
        ("\\frac{-1\\pm\\sqrt{5}}{2}", "\\frac{\\sqrt5-1}{2}, \\frac{-1-\\sqrt5}{2}"), ("\\{\\pm1\\}", "\\{1,-1\\}"), ("\\emptyset", "\\varnothing"), ("∅", "\\{\\}"), ("x \\in \\{1,2\\}", "\\{2,1\\}"), ("(2\\pm1)", "3 or 1"),
        // intervals and inequalities
        ("[0,1)", "[0, 1)"), ("(0, 12.5)", "0 < x < 12.5"), ("x \\geq 2", "x>=2"), ("x \\ge 2", "[2,\\infty)"), ("2 \\le x", "x ≥ 2"), ("[2,\\infty)", "[2, +\\infty)"), ("-1 < x \\leq 3", "(-1, 3]"), ("3 > x > 1", "(1,3)"),
        ("x \\in (0,1)", "(0,1)"), ("(-\\infty,1)\\cup(2,\\infty)", "(2,\\infty)\\cup(-\\infty,1)"), ("x<1 \\text{ or } x>2", "(-\\infty,1)\\cup(2,\\infty)"), ("x\\neq 2", "(-\\infty,2)\\cup(2,\\infty)"), ("x>1 \\text{ and } x<3", "1<x<3"),
        ("\\mathbb{R}", "(-\\infty,\\infty)"), ("-\\infty < x < 3", "x < 3"), ("3 \\ge x > -\\infty", "(-\\infty, 3]"), ("[\\sqrt{4},3]", "[2,3]"), ("\\infty", "infinity"), ("x+y<1", "1>y+x"),
        // equations and expressions
        ("y=2x+1", "2x+1=y"), ("y=2x+1", "2x-y+1=0"), ("y=2x+1", "2y=4x+2"), ("x^2+y^2=1", "1 - x^2 = y^2"), ("x^2 + 1", "x^2+1"), ("x(x+1)", "x^2+x"), ("(x-1)(x+1)", "x^2-1"), ("2xy", "2yx"), ("2ab", "2ba"), ("\\langle 1,2\\rangle", "(1,2)"), ("\\sqrt{1/n}", "\\frac{1}{\\sqrt{n}}"),
        ("\\frac{x^2-1}{x-1}", "x+1"), ("\\sin 2x", "2\\sin x\\cos x"), ("a_1+a_2", "a_{2}+a_{1}"), ("2\\alpha", "\\alpha\\cdot 2"), ("e^{2x}", "(e^x)^2"), ("\\frac12 x", "x/2"), ("V=\\frac{4}{3}\\pi r^3", "\\frac{4\\pi r^3}{3}"),
        // matrices
        ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"), ("\\begin{bmatrix}1&0.5\\\\\\sqrt4&0\\end{bmatrix}", "\\begin{pmatrix}1&1/2\\\\2&0\\end{pmatrix}"),
        // choices
        ("(B)", "B"), ("B.", "B"), ("b", "B"), ("\\text{(B)}", "B"), ("\\textbf{B}", "(B)"), ("B)", "B"), ("B. 5 cm", "B"), ("(B) 5 cm", "B"), ("\\mathbf{(C)}", "C"), ("\\textbf{(D)}~12", "D"), ("D) 12", "D"), ("B: red", "B. red"), ("Option B", "B"),
        ("A,C", "C,A"), ("(B) 5 cm", "5"), ("A and C", "C, A"), ("**B**", "B"),
        // text
        ("Yes", "yes"), ("\\text{yes}", "Yes"), ("red circle", "Red Circle"), ("\"yes\"", "yes"), ("12:00", "12:00"), ("no solution", "No solution"), ("right triangle.", "right triangle"),
    ];
    for (a, b) in cases {
        assert!(answers_equal(a, b), "{a} and {b} are the same");
        assert!(answers_equal(b, a), "{b} and {a} are the same");
        assert!(answers_equal(a, a) && answers_equal(b, b), "{a} and {b} are each the same");
    }
}

#[test]
fn different_answers() {
    #[rustfmt::skip]
    let cases = [
        // numbers
        ("16", "17"), ("16", "-16"), ("0.333", "1/3"), ("0.3333333333333333", "1/3"), ("1/0", "0"), ("1000", "1,00"), ("5", "5/0"), ("3 1/2", "31/2"), ("5 7", "57"), ("2 3", "6"),
        ("", "5"), ("", ""), ("$", "5"), ("50", "0.5"), ("2^3", "2"), ("10^2", "10"), ("2\\frac{1}{3}", "2/3"), ("7,5", "7.5"), ("3 million", "3"), ("3 tenths", "3"),
        ("123456789012345678901234567891", "123456789012345678901234567890"),
        ("999999999999999999999999999999999999999999", "999999999999999999999999999999999999999998"),
        // close, and not equal
        ("\\sqrt{2}", "2"), ("\\sqrt{2}+\\sqrt{3}", "\\sqrt{5}"), ("\\sqrt{2}+\\sqrt{3}", "\\sqrt{10}"), ("355/113", "\\pi"), ("\\sqrt{1000001}", "1000"), ("\\sqrt{10^{40}+1}", "10^{20}"), ("\\sqrt[3]{8.000001}", "2"),
        ("e^\\pi-\\pi", "20"), ("e^{\\pi\\sqrt{163}}", "262537412640768744"), ("\\ln 2", "0.6931471805599453094172321214581765680755001343602552"), ("10^{-200}", "0"), ("10^{-200}\\pi", "0"), ("10^{-90}\\pi", "10^{-90}e"), ("10^{-130}\\ln 2", "10^{-130}\\ln 3"), ("e^{-300}", "e^{-301}"), ("e^{-300}", "0"),
        ("2^{1000}", "2^{1000}+1"), ("\\sin 1", "\\sin 1^\\circ"), ("\\tan 90°", "0"), ("i", "-i"), ("\\sqrt{-4}", "2"), ("\\pi/6", "30.5°"), ("10^{400}", "10^{401}"), ("9^{9^{9^9}}", "9^{9^{9^8}}"),
        // lists
        ("1,2", "2,1"), ("(1,2)", "(2,1)"), ("(1,2)", "[1,2)"), ("[0,1)", "[0,1]"), ("1,2", "1,2,3"), ("3.5,1", "3.51"), ("1,200", "1, 200"), ("(1,200)", "1200"), ("n=1, 2, 3", "n=2, 3, 4"), ("\\{1,2\\}", "\\{1,3\\}"), ("\\{1,2\\}", "\\{1\\}"),
        ("2 or 3", "2"), ("2\\text{ or }3", "2"), ("1 or 1", "1 or 2"), ("\\pm 2", "2"), ("\\pm2", "\\pm3"), ("red, blue", "blue, red"), ("x=1, y=2", "x=2, y=1"), ("\\emptyset", "0"), ("A,C", "A,D"), ("A,C", "A"), ("[5]", "5"),
        // intervals, inequalities, equations, matrices
        ("x>2", "x\\ge2"), ("x>2", "x<2"), ("(0,1)", "0<x\\le1"), ("x\\neq2", "x=2"), ("(0,\\infty)", "(-\\infty,0)"), ("\\infty", "-\\infty"), ("x<1 \\text{ and } x>2", "x<1 \\text{ or } x>2"), ("x>2", "y>2"), ("x+y<1", "x+y>1"), ("1 < x < 3", "1 < x > 3"),
        ("y=2x+1", "y=2x+2"), ("y=2x+1", "x=2y+1"), ("x=5", "y=5"), ("x=5", "x=6"), ("2+3=6", "6"), ("x+y=1", "x+y=2"), ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1&2\\end{pmatrix}"),
        // expressions
        ("5x", "5"), ("5m", "5"), ("x+1", "x-1"), ("\\sqrt{x^2}", "x"), ("|x|", "x"), ("x^2", "x^3"), ("2X", "3X"), ("x/y", "y/x"), ("\\frac{1}{x}", "x"), ("\\ln x^2", "2\\ln x"),
        // units
        ("5 cm", "5 m"), ("5 cm", "5 cm^2"), ("5 apples", "5 oranges"), ("10 MW", "10 mW"), ("5 Mg", "5 mg"), ("5 km/h", "5 m/s"), ("1 m", "1000 cm"), ("\\$5", "€5"), ("50\\%", "5"), ("5°C", "5°F"), ("0.5\\%", "50"), ("5 of 6", "5"),
        // choices and text
        ("B", "C"), ("(B)", "(C)"), ("B. 5 cm", "C"), ("B. 5", "B. 6"), ("yes", "no"), ("red", "red circle"), ("True", "Yes"), ("12:00", "1:00"), ("dog", "god"), ("red circle", "circle red"), ("AB", "BA"), ("no", "on"),
        // a ratio is two numbers, and these are others, though their quotients are equal
        ("4:6", "2:3"),
    ];
    for (a, b) in cases {
        assert!(!answers_equal(a, b), "{a} and {b} differ");
        assert!(!answers_equal(b, a), "{b} and {a} differ");
    }
}

/// A decimal in the data has been rounded where nothing else can be meant; one in a response is what it says.
#[test]
fn only_the_truth_may_be_rounded() {
    #[rustfmt::skip]
    let rounded = [
        ("4\\sqrt{2}", "5.66"), ("\\pi", "3.14"), ("\\pi", "3.14159"), ("-\\sqrt{2}", "-1.41"), ("\\sqrt{2}", "1.41421356"), ("6\\sqrt{3}", "10.4"), ("\\ln 2", "0.693"), ("2\\pi cm", "6.28 cm"),
        ("\\tan 20^\\circ", "0.364"), ("x=4\\sqrt2", "x=5.66"), ("100\\pi", "314.2"), ("(\\sqrt2, 1)", "(1.414, 1)"), ("\\tan^{-1}(2)", "1.107"),
    ];
    for (given, truth) in rounded {
        assert!(answers_equal(given, truth), "{given} rounds to {truth}");
        assert!(!answers_equal(truth, given), "{truth} is not {given}");
    }
    #[rustfmt::skip]
    let wrong = [
        ("4\\sqrt{2}", "5.65"), ("4\\sqrt{2}", "5.67"), ("\\pi", "3.142857"), ("\\pi", "3.1"), ("\\sqrt{2}", "1.4"), ("\\pi", "3"), ("\\sqrt{2}", "-1.41"), ("22/7", "3.14"), ("1/3", "0.333"), ("3.14159", "3.14"), ("5.657", "5.66"),
        ("\\sqrt{4}", "2.01"), ("1.414", "1.41"), ("\\sqrt{2} m", "1.41 cm"),
    ];
    for (given, truth) in wrong {
        assert!(!answers_equal(given, truth), "{given} is not {truth}");
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
        ("} \\boxed{3}", Some("3")),
        ("{ \\boxed{3} { \\boxed{4", Some("3")),
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
fn final_answers_are_found_in_boxes_then_tags_then_behind_hashes() {
    let cases = [
        ("<think>1</think>\\boxed{2}", Some("2")),
        ("<answer>3</answer>", Some("3")),
        ("<answer>1</answer> no: <answer>\n 3 </answer>", Some("3")),
        ("<answer>\\boxed{4}</answer>", Some("4")),
        ("\\boxed{4} <answer>5</answer>", Some("4")),
        ("He has 3*4=<<3*4=12>>12.\n#### 12", Some("12")),
        ("#### 12\nmore", Some("12")),
        ("#### 1\n#### 2", Some("2")),
        ("<answer>3", None),
        ("</answer><answer>", None),
        ("####", None),
        ("12", None),
    ];
    for (text, expected) in cases {
        assert_eq!(final_answer(text), expected, "{text}");
    }
}

/// On a thread with a small stack: what is nested too deep is text, and equal to itself.
#[test]
fn hostile_answers_are_graded_like_others() {
    let nested = |open: &str, inner: &str, close: &str, times: usize| format!("{}{inner}{}", open.repeat(times), close.repeat(times));
    let mut answers = Vec::new();
    for times in [20, 39, 41, 100, 680, 8_000] {
        answers.extend([
            nested("(", "5", ")", times),
            nested("[", "", "]", times),
            nested("\\{", "1,2", "\\}", times),
            nested("{", "1", "}", times),
            nested("\\frac{1}{", "2", "}", times),
            nested("2\\frac{", "1", "}{3}", times),
            nested("\\sqrt{1+", "2", "}", times),
            nested("|", "x", "|", times),
            nested("x^{", "2", "}", times),
            nested("\\sin(", "x", ")", times),
            nested("((", "1", "),2)", times),
            nested("\\begin{pmatrix}", "1", "\\end{pmatrix}", times),
            nested("(A) ", "x", "", times),
            nested("x=", "5", "", times),
            nested("(x+y)^", "2", "", times),
            nested("log ", "2", "", times),
            nested("-", "2", "", times),
            nested("2", "", "!", times),
            nested("1/", "2", "", times),
            nested("1,", "2", "", times),
            nested("1 or ", "2", "", times),
            nested("9^", "9", "", times),
            nested("\\pm 1", "", "", times),
            nested("(1+\\sqrt{2})(\\sqrt3+\\sqrt5)", "", "", times),
            nested("\\sin 1+", "1", "", times),
        ]);
    }
    answers.extend([
        nested("\\text{", "5", "}", 30_000),
        nested("\\boxed{", "5", "", 150_000),
        nested("\\boxed{", "5", "}", 150_000),
        "<answer>".repeat(100_000),
        "#### ".repeat(200_000),
        "7".repeat(1_000_000),
        "x".repeat(1_000_000),
        " ".repeat(1_000_000) + "5",
        "1,".repeat(500_000),
        "\\frac".repeat(200_000),
        "9^9^9^9^9^9^9".to_owned(),
        "9^{9^{9^{9}}}".to_owned(),
        "(9!)!".to_owned(),
        "1e999999999999".to_owned(),
        "2^{-99999999999}".to_owned(),
        "10^{1000}^{1000}".to_owned(),
        "\\sqrt[64]{2^{4000}+1}".to_owned(),
        "\\sin 10^{300}".to_owned(),
        "e^{10^{10}}".to_owned(),
        "\\log_1 5".to_owned(),
        "\\ln 0".to_owned(),
        "0/0".to_owned(),
        "x/0".to_owned(),
        "(x^{500}+y^{500})^{500}".to_owned(),
        "\\binom{500}{250}".to_owned(),
        "\\sqrt{12345678901234567890123456789012345678901}".to_owned(),
    ]);
    let grade = move || {
        for answer in &answers {
            let shown: String = answer.chars().take(60).collect();
            assert!(answers_equal(answer, answer) || answer.starts_with('<') || answer.starts_with('#'), "{shown}");
            assert!(!answers_equal(answer, "123454321") && !answers_equal("123454321", answer), "{shown}");
            boxed_answer(answer);
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(grade).unwrap().join().unwrap();
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// An expression as LaTeX, and its value.
    #[derive(Clone, Debug)]
    struct Made(String, f64);

    fn made() -> impl Strategy<Value = Made> {
        // whether a root or a quotient of what may be 0 exists cannot always be decided
        let apart = |x: f64| if x.abs() < 1e-9 { f64::NAN } else { x };
        let leaf = prop_oneof![
            6 => (1i32..8).prop_map(|n| Made(n.to_string(), f64::from(n))),
            1 => Just(Made("\\pi".into(), std::f64::consts::PI)),
            1 => (1i32..6, 2i32..6).prop_map(move |(a, b)| Made(format!("\\frac{{{a}}}{{{b}}}"), f64::from(a) / f64::from(b))),
            1 => (0i32..40).prop_map(|n| Made(format!("{}.{}", n / 10, n % 10), f64::from(n) / 10.0)),
        ];
        leaf.prop_recursive(3, 12, 2, move |inner| {
            let two = (inner.clone(), inner.clone());
            prop_oneof![
                two.clone().prop_map(|(a, b)| Made(format!("({}+{})", a.0, b.0), a.1 + b.1)),
                two.clone().prop_map(|(a, b)| Made(format!("({}-{})", a.0, b.0), a.1 - b.1)),
                two.clone().prop_map(|(a, b)| Made(format!("{} \\cdot {}", a.0, b.0), a.1 * b.1)),
                two.prop_map(move |(a, b)| Made(format!("\\frac{{{}}}{{{}}}", a.0, b.0), a.1 / apart(b.1))),
                inner.clone().prop_map(move |a| Made(format!("\\sqrt{{{}}}", a.0), apart(a.1).sqrt())),
                inner.clone().prop_map(|a| Made(format!("({})^2", a.0), a.1 * a.1)),
                inner.clone().prop_map(move |a| Made(format!("({})^{{-1}}", a.0), 1.0 / apart(a.1))),
                inner.clone().prop_map(move |a| Made(format!("({})^{{3/2}}", a.0), apart(a.1).powf(1.5))),
                inner.clone().prop_map(|a| Made(format!("-{}", a.0), -a.1)),
                inner.prop_map(|a| Made(format!("\\sin({})", a.0), a.1.sin())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Two random expressions are equal if and only if f64 says so, and one is equal to itself in other words.
        #[test]
        fn expressions_are_equal_where_their_values_are(a in made(), b in made()) {
            prop_assume!(a.1.is_finite() && b.1.is_finite() && a.1.abs() > 1e-6 && b.1.abs() > 1e-6 && a.1.abs().max(b.1.abs()) < 1e6);
            let apart = (a.1 - b.1).abs() / a.1.abs().max(b.1.abs());
            if apart < 1e-13 {
                prop_assert!(answers_equal(&a.0, &b.0), "{} = {} = {}", a.0, b.0, a.1);
            } else if apart > 1e-9 {
                prop_assert!(!answers_equal(&a.0, &b.0), "{} = {}, {} = {}", a.0, a.1, b.0, b.1);
            }
            for same in [format!("{0}\\cdot 2-({0})", a.0), format!("\\frac{{3({})}}{{3}}", a.0), format!("({0})({1})/({1})", a.0, b.0), format!("({1}) + {0} - ({1})", a.0, b.0)] {
                prop_assert!(answers_equal(&same, &a.0), "{same} = {}", a.0);
            }
            let more = format!("({}) + \\frac{{1}}{{1000000000000000000000}}", a.0);
            prop_assert!(!answers_equal(&more, &a.0), "{more}");
        }

        #[test]
        fn polynomials_are_equal_to_their_products(a in -9i32..10, b in -9i32..10, c in 1i32..10) {
            let product = format!("{c}(x{a:+})(x{b:+})");
            let sum = format!("{c}x^2 {:+}x {:+}", c * (a + b), c * a * b);
            prop_assert!(answers_equal(&product, &sum), "{product} {sum}");
            let other = format!("{c}x^2 {:+}x {:+}", c * (a + b), c * a * b + 1);
            prop_assert!(!answers_equal(&product, &other), "{product} {other}");
        }
    }

    proptest! {
        /// No input may panic, and what is the same text is the same answer.
        #[test]
        fn any_text_is_handled(a in "[\\\\a-c0-9{}()\\[\\],.=/ $%^-]{0,16}|\\PC{0,12}|(\\\\(frac|sqrt|text|pm|begin|pi|le|%|\\\\)|[{}()\\[\\]1-3x,=<^_!|'°-]){0,12}", b in "[\\\\{}(),.=/0-9x]{0,8}") {
            answers_equal(&a, &b);
            let something = answers_equal(&a, &a);
            prop_assert!(something || a.chars().all(|c| !c.is_alphanumeric()) || final_answer(&a).is_some() || a.contains('\\'), "{a}");
            boxed_answer(&a);
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
