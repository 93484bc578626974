//! Tasks: seeded, solvable, marked, graded.

use std::path::Path;

use percept_cppo::problems::answer::{answers_equal, boxed_answer};
use percept_cppo::problems::reward::{format_ok, reward};
use percept_cppo::problems::tasks::grade::{ErrorKind, Misread, grade};
use percept_cppo::problems::tasks::response::{Role, Span, mark, seen, token_roles};
use percept_cppo::problems::tasks::{Family, Problem, Question, Split, Task, TaskConfig, digits, shapes};
use percept_model::{SpecialTokens, Tokenizer};

fn task(family: Family, level: u8) -> Task {
    Task::new(&TaskConfig { families: vec![family], level, ..TaskConfig::default() }).expect("the configuration is valid")
}

fn every_task() -> impl Iterator<Item = (Family, u8, Task)> {
    Family::ALL.into_iter().flat_map(|family| (1..=5).map(move |level| (family, level, task(family, level))))
}

#[test]
fn problems_are_functions_of_seed_split_and_index() {
    for (family, level, task) in every_task() {
        let together = task.problems(Split::Train, 0..6);
        for (index, problem) in together.iter().enumerate().rev() {
            let alone = task.problem(Split::Train, index as u64);
            assert_eq!(alone.picture, problem.picture, "{family:?} level {level}");
            assert_eq!(alone.text, problem.text);
            assert_eq!(alone.reference, problem.reference);
        }
        let elsewhere = task.problem(Split::Test, 0);
        assert_ne!(elsewhere.picture, together[0].picture);
        let config = TaskConfig { seed: 1, ..task.config().clone() };
        assert_ne!(Task::new(&config).unwrap().problem(Split::Train, 0).picture, together[0].picture);
    }
}

#[test]
fn every_reference_is_right_well_formed_and_blameless() {
    for (family, level, task) in every_task() {
        for problem in task.problems(Split::Test, 0..40) {
            let text = problem.reference_text();
            assert!(format_ok(&text), "{text}");
            assert_eq!(boxed_answer(&text), Some(problem.answer.as_str()));
            assert_eq!(reward(&text, &problem.answer).total, 1.0);
            assert_eq!(seen(&text), Some(problem.seen()), "{text}");
            let grade = grade(&problem, &text);
            assert!(grade.format && grade.accurate && grade.misread.is_empty(), "{family:?} level {level}: {text} {grade:?}");
            assert_eq!((grade.follows, grade.error), (Some(true), None));
            assert_eq!(problem.reference, mark(&text));
            let perceived: String =
                problem.reference.iter().filter(|span| span.role == Role::Perception).map(|s| s.text.as_str()).collect();
            assert_eq!(perceived, problem.seen().concat());
        }
    }
}

#[test]
fn objects_are_inside_and_ordered_from_left_to_right() {
    for (family, level, task) in every_task() {
        for problem in task.problems(Split::Train, 0..40) {
            for pair in problem.objects.windows(2) {
                assert!(pair[1].x - pair[0].x > 2.0, "{family:?} level {level}: {:?}", problem.objects);
            }
            assert!(problem.objects.iter().all(|o| (0.0..64.0).contains(&o.x) && (0.0..64.0).contains(&o.y)));
            assert!(problem.objects.iter().all(|o| usize::from(o.class) < family.cell_classes()));
        }
    }
}

#[test]
fn the_picture_shows_the_objects() {
    // A shape's centre has the shape's colour, a digit's box holds ink, a bar ends where it is said to end.
    for problem in task(Family::Shapes, 1).problems(Split::Train, 0..20) {
        for object in &problem.objects {
            let colour = shapes::COLOURS[usize::from(object.class) / 3].1;
            let pixel = problem.picture.get_pixel(object.x as u32, object.y as u32);
            assert_eq!(pixel.0, colour.map(|channel| (channel * 255.0).round() as u8), "{}", object.name);
        }
    }
    for problem in task(Family::Digits, 1).problems(Split::Train, 0..20) {
        for object in &problem.objects {
            let near = |x: u32, y: u32| (x as f32 - object.x).abs() < 8.0 && (y as f32 - object.y).abs() < 8.0;
            let ink = problem.picture.enumerate_pixels().filter(|(x, y, pixel)| near(*x, *y) && pixel[0] > 128).count();
            assert!(ink > 8, "{}: {ink} pixels", object.name);
        }
    }
    for problem in task(Family::Chart, 1).problems(Split::Train, 0..20) {
        for object in &problem.objects {
            assert_eq!(object.y, 60.0 - 6.0 * f32::from(object.class));
            let at = |y: f32| problem.picture.get_pixel(object.x as u32, y as u32).0;
            assert_eq!(at(object.y), at(59.0), "{}", object.name);
            assert_ne!(at(object.y - 1.0), at(59.0), "{}", object.name);
        }
    }
}

#[test]
fn size_scales_the_scene() {
    for family in Family::ALL {
        let small = Task::new(&TaskConfig { families: vec![family], ..TaskConfig::default() }).unwrap();
        let large = Task::new(&TaskConfig { size: 128, ..small.config().clone() }).unwrap();
        let ink = |problem: Problem| {
            let bright = problem.picture.pixels().filter(|p| p.0.iter().any(|c| *c > 150)).count();
            bright as f64 / f64::from(problem.picture.width() * problem.picture.height())
        };
        let mean = |task: &Task| task.problems(Split::Train, 0..30).into_iter().map(ink).sum::<f64>() / 30.0;
        let (small, large) = (mean(&small), mean(&large));
        assert!((0.8..1.25).contains(&(large / small)), "{family:?}: {small} of 64², {large} of 128²");
    }
}

#[test]
fn cell_labels_mark_the_cell_of_each_centre() {
    let task = task(Family::Digits, 3);
    for problem in task.problems(Split::Train, 0..10) {
        let labels = problem.cell_labels(8, 4);
        assert_eq!(labels.iter().filter(|label| **label != 10).count(), 3);
        for object in &problem.objects {
            let cell = (object.y / 8.0) as usize * 4 + (object.x / 16.0) as usize;
            assert_eq!(labels[cell], object.class);
        }
    }
    let problem = task.problem(Split::Train, 3);
    // One cell for all: the object nearest to the middle wins.
    let nearest = problem.objects.iter().min_by(|a, b| {
        let distance = |o: &&percept_cppo::problems::tasks::Object| (o.x - 32.0).hypot(o.y - 32.0);
        distance(a).total_cmp(&distance(b))
    });
    assert_eq!(problem.cell_labels(1, 1), [nearest.unwrap().class]);
}

#[test]
fn a_sampled_response_is_marked_like_a_reference() {
    let span = |text: &str, role| Span { text: text.to_owned(), role };
    use Role::{Perception, Reasoning, Template};
    assert_eq!(
        mark("<think>I see 3, 8 and 5. 3+8=11.</think>\\boxed{16}"),
        [
            span("<think>I see ", Template),
            span("3", Perception),
            span(", ", Template),
            span("8", Perception),
            span(" and ", Template),
            span("5", Perception),
            span(". ", Template),
            span("3+8=11", Reasoning),
            span(".</think>\\boxed{", Template),
            span("16", Reasoning),
            span("}", Template),
        ]
    );
    assert_eq!(mark("é7"), [span("é7", Reasoning)]);
    assert_eq!(mark(""), []);
    assert_eq!(mark("I see a red circle."), [span("I see a ", Template), span("red circle", Perception), span(".", Template)]);
}

#[test]
fn tokens_take_the_strongest_role_they_touch() {
    let spans = mark("<think>I see 3 and 8. 3+8=11.</think>");
    // "<think>", "I see 3", " and ", "8. 3", "+8=11", ".</think>"
    let tokens = [0..7, 7..14, 14..19, 19..23, 23..28, 28..37];
    use Role::{Perception, Reasoning, Template};
    assert_eq!(token_roles(&spans, &tokens), [Template, Perception, Template, Perception, Reasoning, Template]);
}

fn digits_problem(question: digits::Question, names: &[&str]) -> Problem {
    let mut problem = task(Family::Digits, 3).problem(Split::Train, 0);
    problem.question = Question::Digits(question);
    for (object, name) in problem.objects.iter_mut().zip(names) {
        object.name = (*name).to_owned();
    }
    problem.answer = problem.question.solve(&problem.seen()).unwrap().answer;
    problem
}

#[test]
fn errors_are_traced_to_what_was_seen_or_concluded() {
    let problem = digits_problem(digits::Question::Sum, &["3", "8", "5"]);
    let wrong = |truth: &str, said: &str| Misread { truth: Some(truth.to_owned()), said: Some(said.to_owned()) };
    // format, accurate, misread, follows, error
    type Expected = (bool, bool, Vec<Misread>, Option<bool>, Option<ErrorKind>);
    #[rustfmt::skip]
    let cases: [(&str, Expected); 11] = [
        ("<think>I see 3, 8 and 5. 3+8=11. 11+5=16.</think>\\boxed{16}", (true, true, vec![], Some(true), None)),
        ("<think>I see 5, 8 and 3. 5+8=13. 13+3=16.</think>\\boxed{16}", (true, true, vec![], Some(true), None)),
        ("<think>I see 3, 6 and 5. 3+6=9. 9+5=14.</think>\\boxed{14}", (true, false, vec![wrong("8", "6")], Some(true), Some(ErrorKind::Perception))),
        ("<think>I see 3, 8 and 5. 3+8=12. 12+5=17.</think>\\boxed{17}", (true, false, vec![], Some(false), Some(ErrorKind::Reasoning))),
        ("<think>I see 3, 6 and 5. 3+6=8. 8+5=13.</think>\\boxed{13}", (true, false, vec![wrong("8", "6")], Some(false), Some(ErrorKind::Both))),
        // Two errors that cancel: the answer is right.
        ("<think>I see 4, 8 and 4. 4+8=12. 12+4=16.</think>\\boxed{16}", (true, true, vec![wrong("3", "4"), wrong("5", "4")], Some(true), None)),
        ("<think>I see 3 and 8. 3+8=11.</think>\\boxed{11}", (true, false, vec![Misread { truth: Some("5".into()), said: None }], Some(true), Some(ErrorKind::Perception))),
        ("<think>I see 3, 8, 5 and 1. 17.</think>\\boxed{17}", (true, false, vec![Misread { truth: None, said: Some("1".into()) }], Some(true), Some(ErrorKind::Perception))),
        ("<think>I see cats. </think>\\boxed{1}", (true, false, vec![wrong("3", "cats"), Misread { truth: Some("8".into()), said: None }, Misread { truth: Some("5".into()), said: None }], None, Some(ErrorKind::Perception))),
        ("the answer is \\boxed{12}", (false, false, vec![], None, Some(ErrorKind::Unreadable))),
        ("<think>I see 3, 8 and 5. 3+8=11. 11+5=16.</think>16", (false, false, vec![], Some(false), Some(ErrorKind::Reasoning))),
    ];
    for (response, expected) in cases {
        let graded = grade(&problem, response);
        assert_eq!((graded.format, graded.accurate, graded.misread, graded.follows, graded.error), expected, "{response}");
    }
}

#[test]
fn order_counts_where_the_question_needs_it() {
    let problem = digits_problem(digits::Question::Comparison, &["3", "8", "5"]);
    let graded = grade(&problem, "<think>I see 5, 8 and 3. 5>3.</think>\\boxed{yes}");
    assert_eq!(graded.error, Some(ErrorKind::Perception));
    assert_eq!(graded.misread.len(), 2);
}

#[test]
fn questions_are_answered() {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let shapes = names(&["red circle", "blue square", "red square", "green circle"]);
    let bars = names(&["red 4", "green 7", "blue 2"]);
    let numbers = names(&["3", "8", "5"]);
    use percept_cppo::problems::tasks::chart::Question as C;
    use shapes::{Form, Question as S};
    let cases = [
        (Question::Digits(digits::Question::Sum), &numbers, "3+8=11. 11+5=16", "16"),
        (Question::Digits(digits::Question::Difference), &numbers, "The largest is 8. The smallest is 3. 8-3=5", "5"),
        (Question::Digits(digits::Question::Comparison), &numbers, "3<5", "no"),
        (Question::Digits(digits::Question::Largest), &numbers, "The largest is 8", "8"),
        (Question::Shapes(S::CountColour(0)), &shapes, "In red: 2", "2"),
        (Question::Shapes(S::CountColour(3)), &shapes, "In yellow: 0", "0"),
        (Question::Shapes(S::CountForm(Form::Circle)), &shapes, "Number of circles: 2", "2"),
        (Question::Shapes(S::MoreForms(Form::Square, Form::Triangle)), &shapes, "Number of squares: 2. Number of triangles: 0. 2>0", "yes"),
        (Question::Shapes(S::LeftmostColour), &shapes, "The leftmost is a red circle", "red"),
        (Question::Shapes(S::RightmostForm), &shapes, "The rightmost is a green circle", "circle"),
        (Question::Shapes(S::LeftOf(0, Form::Square)), &shapes, "Left of it: 2", "2"),
        (Question::Chart(C::Total), &bars, "4+7=11. 11+2=13", "13"),
        (Question::Chart(C::Pair(2, 0)), &bars, "2+4=6", "6"),
        (Question::Chart(C::Spread), &bars, "The largest is 7. The smallest is 2. 7-2=5", "5"),
        (Question::Chart(C::Tallest), &bars, "The largest is 7", "green"),
    ];
    for (question, seen, steps, answer) in cases {
        let solution = question.solve(seen).unwrap();
        assert_eq!((solution.steps.join(". ").as_str(), solution.answer.as_str()), (steps, answer), "{question:?}");
    }
    assert_eq!(Question::Shapes(S::LeftOf(1, Form::Triangle)).solve(&shapes), None);
    assert_eq!(Question::Digits(digits::Question::Sum).solve(&bars), None);
    assert_eq!(Question::Chart(C::Total).solve(&[]), None);
}

#[test]
fn answers_are_varied() {
    for (family, level, task) in every_task() {
        let problems = task.problems(Split::Train, 0..200);
        let share = |answer: &str| problems.iter().filter(|p| answers_equal(&p.answer, answer)).count();
        let most = problems.iter().map(|p| share(&p.answer)).max().unwrap();
        assert!(most < 110, "{family:?} level {level}: one answer is right {most} times of 200");
    }
}

#[test]
fn impossible_tasks_name_the_field() {
    let cases = [
        (TaskConfig { families: vec![], ..TaskConfig::default() }, "task.families"),
        (TaskConfig { level: 9, ..TaskConfig::default() }, "task.level: expected 1 to 5, got 9"),
        (TaskConfig { size: 8, ..TaskConfig::default() }, "task.size: expected 32 to 1024 pixels, got 8"),
        (
            TaskConfig { digits: Some(digits::DigitsConfig { count: 1, ..Default::default() }), ..TaskConfig::default() },
            "task.digits: count: expected 2 to 6",
        ),
    ];
    for (config, expected) in cases {
        let error = Task::new(&config).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let error = toml::from_str::<TaskConfig>("lvl = 3").unwrap_err().to_string();
    assert!(error.contains("lvl"), "{error}");
}

#[test]
fn the_shipped_tokenizer_gives_short_references_with_exact_roles() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-tokenizer");
    let tokenizer = Tokenizer::from_directory(&folder).unwrap();
    for (family, question_limit, response_limit) in [(Family::Digits, 9, 28), (Family::Shapes, 18, 60), (Family::Chart, 15, 45)] {
        let problems = task(family, 3).problems(Split::Train, 0..50);
        let most = |lengths: Vec<usize>| lengths.into_iter().max().unwrap();
        let questions = most(problems.iter().map(|p| tokenizer.encode(&p.text).unwrap().len()).collect());
        let responses = most(problems.iter().map(|p| tokenizer.encode(&p.reference_text()).unwrap().len()).collect());
        println!("{family:?}: questions of up to {questions}, references of up to {responses} tokens");
        assert!(questions <= question_limit && responses <= response_limit, "{family:?}: {questions}, {responses}");
        for problem in &problems {
            let ids = tokenizer.encode(&problem.reference_text()).unwrap();
            let pieces: Vec<String> = ids.iter().map(|id| tokenizer.decode(&[*id], SpecialTokens::Keep).unwrap()).collect();
            assert_eq!(pieces.concat(), problem.reference_text());
            let mut end = 0;
            let ranges: Vec<_> = pieces
                .iter()
                .map(|piece| {
                    end += piece.len();
                    end - piece.len()..end
                })
                .collect();
            let roles = token_roles(&problem.reference, &ranges);
            let seen: String = pieces.iter().zip(roles).filter(|(_, role)| *role == Role::Perception).map(|(p, _)| p.trim()).collect();
            assert_eq!(seen, problem.seen().concat().replace(' ', ""));
        }
    }
}
