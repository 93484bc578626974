//! Data from files, and the digits that are part of the program.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use percept_cppo::problems::data::{DataConfig, DataError, Dataset, Example, ImageSource, OnBadRow, import, write_problems};
use percept_cppo::problems::tasks::mnist::Mnist;
use percept_cppo::problems::tasks::{Family, Split, Task, TaskConfig};

fn golden(name: &str) -> DataConfig {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/data").join(name);
    DataConfig { path: path.into(), ..DataConfig::default() }
}

/// A folder with `data.jsonl` of these lines and a picture `images/0.png` of 2 × 1 pixels.
fn folder_of(lines: &str) -> (tempfile::TempDir, DataConfig) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("images")).unwrap();
    image::RgbImage::from_vec(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap().save(folder.path().join("images/0.png")).unwrap();
    let path = folder.path().join("data.jsonl");
    std::fs::write(&path, lines).unwrap();
    (folder, DataConfig { path: path.into(), ..DataConfig::default() })
}

/// The file that is read.
fn file_of(config: &DataConfig) -> &Path {
    &config.path.named()[0]
}

fn texts(dataset: &Dataset) -> Vec<(&str, &str)> {
    dataset.examples.iter().map(|example| (example.problem.as_str(), example.answer.as_str())).collect()
}

/// Rows and reasons of the bad rows, without the folder in a path.
fn bad(dataset: &Dataset) -> Vec<(usize, &str)> {
    dataset.bad_rows.iter().map(|bad| (bad.place.row, bad.reason.as_str())).collect()
}

fn first_pixel(example: &Example) -> [u8; 3] {
    example.pictures().unwrap()[0].get_pixel(0, 0).0
}

#[test]
fn mnist_subset_is_intact_and_splits_share_no_picture() {
    let (train, test) = (Mnist::embedded(Split::Train), Mnist::embedded(Split::Test));
    assert_eq!((train.len(), test.len()), (14_000, 4_000));
    let pictures: HashSet<&[u8]> = (0..train.len()).map(|i| train.pixels(i)).collect();
    assert!((0..test.len()).all(|i| !pictures.contains(test.pixels(i))));
    // The first training labels of MNIST are 5 0 4 1 9 2 1 3 1 4, the first test label is 7.
    assert_eq!((0..10).map(|i| train.label(i)).collect::<Vec<_>>(), [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    assert_eq!(test.label(0), 7);
    for digit in 0..10 {
        assert!(test.showing(digit).len() > 300, "{digit}: {}", test.showing(digit).len());
        assert!(train.showing(digit).iter().all(|&i| train.label(i) == digit));
    }
}

#[test]
fn mnist_reader_names_what_is_wrong() {
    let error = Mnist::read(b"no gzip", b"").unwrap_err();
    assert!(error.starts_with("images: not readable as gzip"), "{error}");
}

#[test]
fn geometry_layout_is_read_across_row_groups() {
    let dataset = import(&golden("geometry.parquet")).unwrap();
    assert_eq!(
        texts(&dataset),
        [("Find $x_0$.", "0"), ("Find $x_1$.", "1"), ("Find $x_2$.", "2"), ("Find $x_3$.", "3"), ("Find $x_4$.", "\\frac{1}{2}")]
    );
    let pixels: Vec<[u8; 3]> = dataset.examples.iter().map(first_pixel).collect();
    assert_eq!(pixels, [[0, 0, 0], [10, 0, 0], [20, 0, 0], [30, 0, 0], [40, 0, 0]]);
    assert_eq!(dataset.examples[0].pictures().unwrap()[0].dimensions(), (6, 4));
    assert_eq!(dataset.examples[3].place.row, 4);
    assert!(dataset.bad_rows.is_empty());
}

#[test]
fn verl_layout_takes_the_user_and_the_ground_truth() {
    let dataset = import(&golden("verl.parquet")).unwrap();
    assert_eq!(texts(&dataset), [("How many 0?", "0"), ("How many 1?", "1")]);
    assert_eq!(first_pixel(&dataset.examples[1]), [0, 1, 0]);
}

#[test]
fn virl_layout_takes_paths_and_unboxes_answers() {
    let (folder, _) = folder_of("");
    let config = DataConfig { image_root: Some(folder.path().to_owned()), ..golden("virl.parquet") };
    let dataset = import(&config).unwrap();
    assert_eq!(texts(&dataset), [("Which?", "D")]);
    assert_eq!(dataset.examples[0].images, [ImageSource::File(folder.path().join("images/0.png"))]);
    assert_eq!(first_pixel(&dataset.examples[0]), [1, 2, 3]);
}

#[test]
fn bad_parquet_rows_are_named_and_skipped() {
    let config = golden("bad.parquet");
    let dataset = import(&config).unwrap();
    assert_eq!(texts(&dataset), [("Good?", "3")]);
    let lost = file_of(&config).with_file_name("nowhere.png");
    let lost = format!("image: {}: No such file or directory (os error 2)", lost.display());
    let found = bad(&dataset);
    assert_eq!(found[0], (2, "problem: empty"));
    assert_eq!(found[1], (3, "image: expected bytes or a path in the struct, got neither"));
    assert_eq!(found[2].0, 4);
    assert!(found[3].1.starts_with("image: 10 bytes: "), "{:?}", found[3]);
    assert_eq!(found[4], (6, lost.as_str()));
    assert_eq!(found[5], (7, "missing: answer or reward_model.ground_truth or label"));
    assert!(found[6].0 == 8 && found[6].1.starts_with("image: 20 bytes: "), "{:?}", found[6]);
    assert_eq!(found.len(), 7);
}

#[test]
fn bad_rows_are_refused_when_told_so() {
    let config = DataConfig { on_bad_row: OnBadRow::Refuse, ..golden("bad.parquet") };
    let error = import(&config).unwrap_err().to_string();
    let expected = format!("7 of 8 rows cannot be used; the first: {}: row 2: problem: empty", config.path);
    assert!(error.starts_with(&expected), "{error}");
    import(&DataConfig { on_bad_row: OnBadRow::Refuse, ..golden("geometry.parquet") }).unwrap();
}

#[test]
fn jsonl_is_read_with_its_bad_rows() {
    let lines = concat!(
        "{\"image\": \"images/0.png\", \"problem\": \"One?\", \"answer\": \"1\"}\n",
        "\n",
        "{\"images\": [\"images/0.png\"], \"question\": \"Two?\", \"answer\": 2.5, \"more\": [1]}\r\n",
        "{\"image\": \n",
        "[1]\n",
        "{\"image\": \"images/0.png\", \"answer\": \"1\"}\n",
        "{\"image\": \"images/9.png\", \"problem\": \"Lost?\", \"answer\": \"1\"}\n",
        "{\"image\": [\"images/0.png\", \"images/0.png\"], \"problem\": \"Two pictures?\", \"answer\": \"1\"}\n",
        "{\"image\": [], \"problem\": \"None?\", \"answer\": \"1\"}\n",
        "{\"image\": \"images/0.png\", \"problem\": \"Empty?\", \"answer\": \"\\\\boxed{}\"}\n",
        "{\"image\": \"images/0.png\", \"prompt\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}, {\"type\": \"text\", \"text\": \"Parts?\"}]}], \"reward_model\": {\"ground_truth\": \"B\"}}",
    );
    let (_folder, config) = folder_of(lines);
    let dataset = import(&config).unwrap();
    assert_eq!(texts(&dataset), [("One?", "1"), ("Two?", "2.5"), ("Parts?", "B")]);
    assert_eq!(dataset.examples[1].place.row, 3);
    let found = bad(&dataset);
    assert!(found[0].0 == 4 && found[0].1.starts_with("not JSON: "), "{:?}", found[0]);
    assert_eq!(found[1], (5, "expected a JSON object"));
    assert_eq!(found[2], (6, "missing: problem or question or prompt or query or messages"));
    assert!(found[3].0 == 7 && found[3].1.contains("images/9.png"), "{:?}", found[3]);
    assert_eq!(found[4], (8, "image: expected at most 1, got 2 pictures"));
    assert_eq!(found[5], (9, "image: no picture"));
    assert_eq!(found[6], (10, "answer: empty"));
    assert_eq!(found.len(), 7);

    let two = import(&DataConfig { max_images: 2, ..config.clone() }).unwrap();
    assert_eq!(two.examples[2].images.len(), 2);
    let few = import(&DataConfig { limit: Some(1), ..config.clone() }).unwrap();
    assert_eq!((few.examples.len(), few.bad_rows.len()), (1, 0));
    let other = import(&DataConfig { problem_column: Some("question".into()), ..config }).unwrap();
    assert_eq!(texts(&other), [("Two?", "2.5")]);
}

#[test]
fn a_folder_is_read_in_order_of_names() {
    let (folder, _) = folder_of("{\"image\": \"images/0.png\", \"problem\": \"z\", \"answer\": \"1\"}\n");
    std::fs::copy(file_of(&golden("geometry.parquet")), folder.path().join("a.parquet")).unwrap();
    std::fs::write(folder.path().join("README.md"), "not data").unwrap();
    let config = DataConfig { path: folder.path().into(), ..DataConfig::default() };
    let dataset = import(&config).unwrap();
    assert_eq!(dataset.examples.len(), 6);
    assert_eq!(dataset.examples[5].problem, "z");
    assert_eq!(import(&DataConfig { limit: Some(3), ..config }).unwrap().examples.len(), 3);
}

#[test]
fn what_is_no_data_is_an_error_that_says_so() {
    let message = |path: &Path| import(&DataConfig { path: path.into(), ..DataConfig::default() }).unwrap_err().to_string();
    let (folder, config) = folder_of("");
    assert!(message(Path::new("/no/such/place")).starts_with("/no/such/place: No such file"));
    assert!(message(file_of(&config)).ends_with("no problem to use: 0 rows"), "{}", message(file_of(&config)));
    std::fs::write(file_of(&config), "{}\n").unwrap();
    assert!(message(file_of(&config)).contains("1 rows, all bad; the first: "), "{}", message(file_of(&config)));
    let named = |name: &str, content: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    assert!(message(&named("data.csv", b"a,b")).contains("expected a .jsonl or .parquet file"));
    assert!(message(&named("data.parquet", b"PAR1 but not really PAR1")).contains("not readable as parquet"));
    let whole = std::fs::read(file_of(&golden("geometry.parquet"))).unwrap();
    let mut broken = whole.clone();
    broken[200..600].fill(0xff);
    let path = named("broken.parquet", &broken);
    assert!(matches!(import(&DataConfig { path: path.into(), ..DataConfig::default() }), Err(DataError::Format { .. })));
}

#[test]
fn a_picture_that_breaks_after_its_header_names_its_row() {
    let (folder, config) = folder_of("{\"image\": \"images/0.png\", \"problem\": \"?\", \"answer\": \"1\"}\n");
    let path = folder.path().join("images/0.png");
    let read = import(&config).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    let named = |error: String| assert!(error.contains("data.jsonl: row 1: ") && error.contains("0.png"), "{error}");
    named(import(&config).unwrap_err().to_string());
    // broken after it was read
    named(read.examples[0].pictures().unwrap_err().to_string());
}

#[test]
fn problems_survive_the_way_out_and_in() {
    let config = TaskConfig { families: Family::ALL.to_vec(), ..TaskConfig::default() };
    let problems = Task::new(&config).unwrap().problems(Split::Test, 0..9);
    let folder = tempfile::tempdir().unwrap();
    write_problems(&folder.path().join("set"), &problems).unwrap();
    let path = folder.path().join("set");
    let dataset = import(&DataConfig { path: path.into(), on_bad_row: OnBadRow::Refuse, ..DataConfig::default() }).unwrap();
    for (problem, example) in problems.iter().zip(&dataset.examples) {
        assert_eq!((&example.problem, &example.answer), (&problem.text, &problem.answer));
        assert!(example.pictures().unwrap()[0] == problem.picture);
    }
    assert_eq!(dataset.examples.len(), 9);
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert!(matches!(write_problems(&folder.path().join("file/set"), &problems), Err(DataError::Io { .. })));
}

#[test]
fn unknown_keys_are_errors() {
    let error = toml::from_str::<DataConfig>("path = 'a.jsonl'\nonbadrow = 'skip'").unwrap_err().to_string();
    assert!(error.contains("onbadrow"), "{error}");
}

/// Rows as the files of ChartQA, MathVista, MathVerse and MMMU-Pro have them (their columns, our content).
#[test]
fn benchmarks_are_read_in_their_own_layouts() {
    let rows = [
        // ChartQA
        r#"{"image": "images/0.png", "query": "How many bars?", "label": ["14"], "human_or_machine": 0}"#,
        // MathVista: the file of `image` is not there, the picture is in `decoded_image`
        r#"{"pid": "1", "question": "How large is the angle?", "image": "images/9.jpg", "decoded_image": {"path": "images/0.png"}, "choices": ["145°", "35°"], "answer": "35°", "query": "Hint: …"}"#,
        r#"{"pid": "2", "question": "How tall?", "image": "images/9.jpg", "decoded_image": {"path": "images/0.png"}, "choices": null, "answer": "1.8", "query": "Hint: …"}"#,
        // MathVerse
        r#"{"sample_index": "1", "question": "Which?\nChoices:\nA:1\nB:2", "image": "images/0.png", "answer": "B", "question_type": "multi-choice"}"#,
        // MMMU-Pro: options as Python writes them
        r#"{"id": "t", "question": "What is <image 1>?", "options": "['a cat', \"a dog's ear\"]", "image_1": "images/0.png", "image_2": null, "answer": "B"}"#,
    ];
    let (_folder, config) = folder_of(&rows.join("\n"));
    let read: Vec<(String, String)> = import(&config).unwrap().examples.into_iter().map(|e| (e.problem, e.answer)).collect();
    let expected = [
        ("How many bars?", "14"),
        ("How large is the angle?\nChoices:\n(A) 145°\n(B) 35°", "(B) 35°"),
        ("How tall?", "1.8"),
        ("Which?\nChoices:\nA:1\nB:2", "B"),
        ("What is <image 1>?\nChoices:\n(A) a cat\n(B) a dog's ear", "(B) a dog's ear"),
    ];
    assert_eq!(read, expected.map(|(problem, answer)| (problem.to_owned(), answer.to_owned())));
    // whoever answers with the letter, or with what stands behind it, is right
    for (given, right) in [("B", true), ("(B)", true), ("35°", true), ("A", false), ("145°", false)] {
        assert_eq!(percept_cppo::problems::answer::answers_equal(given, "(B) 35°"), right, "{given}");
    }
}
