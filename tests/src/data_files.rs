//! Data files as people have them: their encodings, codecs, pictures, marks and splits, and what is wrong with some.

use std::path::{Path, PathBuf};

use percept_cppo::commands::Outcome;
use percept_cppo::problems::data::{
    DataConfig, DataPath, DataSplit, Dataset, ImageFiles, ImageMarks, Purpose, import, import_for, write_examples,
};
use percept_model::image::Transparency;

use crate::program::{percept, text};

/// The smallest picture there is in the goldens: one red pixel, half transparent.
const RED: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DQAAAEgQGALFXOsAAAAABJRU5ErkJggg==";

struct Folder(tempfile::TempDir);

impl Folder {
    /// With a picture `0.png` of 2 × 1 pixels.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        image::RgbImage::from_vec(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap().save(folder.path("0.png")).unwrap();
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// The data in a file of these bytes.
    fn data(&self, content: impl AsRef<[u8]>) -> Dataset {
        import(&self.config(content)).unwrap_or_else(|e| panic!("{e}"))
    }

    fn config(&self, content: impl AsRef<[u8]>) -> DataConfig {
        at(self.write("data.jsonl", content))
    }

    /// Why the only row with these fields is bad.
    fn reason(&self, row: &str, config: impl FnOnce(&mut DataConfig)) -> String {
        let good = r#"{"image": "0.png", "problem": "good", "answer": "1"}"#;
        let mut data = self.config(format!("{good}\n{row}"));
        config(&mut data);
        let dataset = import(&data).unwrap();
        assert_eq!(dataset.examples.len(), 1, "{row} is good");
        assert_eq!(dataset.bad_rows[0].place.row, 2);
        dataset.bad_rows[0].reason.clone()
    }
}

fn at(path: impl Into<PathBuf>) -> DataConfig {
    DataConfig { path: path.into().into(), ..DataConfig::default() }
}

fn golden(name: &str) -> DataConfig {
    at(Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/data").join(name))
}

fn problems(dataset: &Dataset) -> Vec<&str> {
    dataset.examples.iter().map(|example| example.problem.as_str()).collect()
}

fn row(image: &str, problem: &str) -> String {
    serde_json::json!({ "image": image, "problem": problem, "answer": "1" }).to_string() + "\n"
}

#[test]
fn pictures_may_stand_in_the_row_as_base64() {
    let folder = Folder::new();
    let (start, end) = RED.split_at(60);
    let url_safe = RED.replace('+', "-").replace('/', "_");
    let texts = [
        format!("data:image/png;base64,{RED}"),
        format!("DATA:;charset=utf-8;BASE64,{RED}"),
        format!("data:image/jpeg;base64,{RED}"), // the bytes tell what they are
        RED.to_owned(),
        RED.trim_end_matches('=').to_owned(),
        format!("{start}\r\n{end}\n"),
        url_safe,
    ];
    let mut lines: String = texts.iter().map(|text| row(text, "one")).collect();
    lines += &format!("{{\"images\": [{{\"bytes\": \"{RED}\", \"path\": null}}], \"problem\": \"one\", \"answer\": \"1\"}}\n");
    let dataset = folder.data(lines);
    assert_eq!((dataset.examples.len(), &dataset.bad_rows[..]), (8, &[][..]));
    for example in &dataset.examples {
        assert_eq!(example.pictures().unwrap()[0].get_pixel(0, 0).0, [255, 127, 127], "{}", example.place);
    }
    // and come out as files
    write_examples(&folder.path("set"), &dataset.examples).unwrap();
    assert_eq!(import(&at(folder.path("set"))).unwrap().examples.len(), 8);
    assert!(folder.path("set/images/000007-0.png").is_file());
}

#[test]
fn what_is_no_base64_is_said_shortly() {
    let folder = Folder::new();
    let long = "A".repeat(3_000_000);
    let gif = "R0lGODlh".to_owned() + &long;
    for (image, expected) in [
        (format!("data:image/png;base64,{long}"), "image: 2250000 bytes: expected a PNG,"),
        (format!("data:image/png;base64,{long}!"), "image: data URI: not base64: "),
        (format!("data:image/png,{long}"), "image: data URI: expected base64 (`;base64,`), got data:image/png"),
        (format!("data:image/png;base64{long}"), "image: data URI: expected a comma, got none in data:image/png;base64AAA"),
        (long.clone(), "image: "),
        (gif, "image: "),
        (
            format!("https://example.com/{long}"),
            "image: expected a path or base64, got an address (https://): nothing is fetched: https://example.com/",
        ),
        ("file:///a.png".to_owned(), "image: expected a path or base64, got an address (file://)"),
    ] {
        let reason = folder.reason(&row(&image, "?"), |_| {});
        assert!(reason.starts_with(expected) && reason.len() < 1000, "{} characters: {reason:.300}", reason.len());
    }
}

#[test]
fn byte_order_marks_and_ends_of_lines_are_no_part_of_a_row() {
    let folder = Folder::new();
    let (one, two) = (row("0.png", "one"), row("0.png", "two"));
    let joined = format!("\u{feff}{one}\r\n \t\r\n\n\u{feff}{}\r\n\u{feff}\n", two.trim());
    let dataset = folder.data(joined);
    assert_eq!((problems(&dataset), dataset.bad_rows.len()), (vec!["one", "two"], 0));
    assert_eq!(dataset.examples[1].place.row, 5);
    let utf16: Vec<u8> = format!("\u{feff}{one}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = import(&folder.config(utf16)).unwrap_err().to_string();
    assert!(error.ends_with("data.jsonl: expected JSONL in UTF-8, got UTF-16"), "{error}");
}

#[test]
fn numbers_that_are_none_matter_only_where_they_are_read() {
    let folder = Folder::new();
    let dataset = folder.data(concat!(
        r#"{"image": "0.png", "problem": "NaN, \"Infinity\" \\", "answer": "1", "score": NaN, "more": [-Infinity, {"a": Infinity}]}"#,
        "\n",
        r#"{"image": "0.png", "problem": "two", "answer": NaN}"#,
        "\n",
        r#"{"image": "0.png", "problem": -Infinity, "answer": "1"}"#,
        "\n",
        r#"{"image": "0.png", "problem": "four", "answer": NaNa}"#,
        "\n",
        r#"{"image": "0.png", "problem": "five", "answer": "NaN"}"#,
    ));
    assert_eq!(problems(&dataset), ["NaN, \"Infinity\" \\", "five"]);
    let reasons: Vec<&str> = dataset.bad_rows.iter().map(|bad| bad.reason.as_str()).collect();
    assert_eq!(reasons[0], "answer: expected text or a number, got NaN");
    assert_eq!(reasons[1], "problem: expected text or messages, got -Infinity");
    assert!(reasons[2].starts_with("not JSON: "), "{}", reasons[2]);
}

/// Programs that reward get numbers as numbers, whatever the file.
#[test]
fn rewards_get_the_columns_that_are_asked_for() {
    let folder = Folder::new();
    let row = r#"{"image": "0.png", "problem": "one", "answer": 1, "unit": "7", "n": 7, "at": {"x": [1.5, null, true]}, "bad": NaN, "left": "out"}"#;
    let mut config = folder.config(row);
    config.extra_columns = ["unit", "n", "at.x", "at", "bad", "nowhere"].map(str::to_owned).to_vec();
    let columns = &import(&config).unwrap().examples[0].columns;
    let expected = serde_json::json!({
        "unit": "7", "n": 7, "at.x": [1.5, null, true], "at": { "x": [1.5, null, true] }, "bad": null, "nowhere": null
    });
    assert_eq!(serde_json::json!(columns), expected);
    let extra_columns = ["data_source", "score", "reward_model.style", "images"].map(str::to_owned).to_vec();
    let dataset = import(&DataConfig { extra_columns, ..golden("verl.parquet") }).unwrap();
    let (first, second) = (&dataset.examples[0].columns, &dataset.examples[1].columns);
    assert_eq!((&first["data_source"], &first["score"], &first["reward_model.style"]), (&"a".into(), &0.5.into(), &"rule".into()));
    assert_eq!((&second["score"], &second["images"][0]["bytes"]), (&serde_json::Value::Null, &serde_json::Value::Null));
}

#[test]
fn marks_are_taken_out_where_no_sentence_changes() {
    let folder = Folder::new();
    let taken = [
        ("<image>Find x.", "Find x."),
        ("<image>\nFind x.", "Find x."),
        ("Find x.\n<image>", "Find x."),
        ("Find x. <image>", "Find x."),
        ("Look here:\n <image> \nFind x.", "Look here:\nFind x."),
        ("Find x.", "Find x."),
        ("Write <images> and < image >.", "Write <images> and < image >."),
    ];
    for (text, expected) in taken {
        assert_eq!(problems(&folder.data(row("0.png", text))), [expected], "{text:?}");
    }
    for text in ["How do I write an <image> tag?", "It is called <image>", "Say \"<image>\"", "Tags: <b>, <image>, <i>."] {
        let reason = folder.reason(&row("0.png", text), |_| {});
        assert!(reason.starts_with("problem: `<image>` stands within a sentence"), "{text:?}: {reason}");
        let with = |image_marks| {
            let config = DataConfig { image_marks, ..folder.config(row("0.png", text)) };
            import(&config).unwrap().examples[0].problem.clone()
        };
        assert_eq!(with(ImageMarks::Keep), text);
        assert_eq!(with(ImageMarks::TakeOut), text.replace("<image>", "").trim());
    }
}

#[test]
fn marks_are_as_many_as_pictures() {
    let folder = Folder::new();
    let counts = |text: &str, expected: &str| {
        let reason = folder.reason(&row("0.png", text), |_| {});
        assert!(reason.starts_with(&format!("problem: expected as many image marks as pictures, got {expected} (")), "{reason}");
        let reason = folder.reason(&row("0.png", text), |config| config.image_marks = ImageMarks::TakeOut);
        assert!(reason.contains(expected), "{reason}");
    };
    counts("<image> and <image>: same?", "2 marks and 1 picture");
    counts("<image><image><image>What?", "3 marks and 1 picture");

    let two = |content: &str| format!(r#"{{"images": ["0.png", "0.png"], "problem": {content}, "answer": "1"}}"#);
    let allow_two = |config: &mut DataConfig| config.max_images = 2;
    let reason = folder.reason(&two(r#""<image>Same?""#), allow_two);
    assert!(reason.contains("got 1 mark and 2 pictures"), "{reason}");
    let part = r#"{"type": "image"}"#;
    let text = r#"{"type": "text", "text": "Same?"}"#;
    let reason = folder.reason(&two(&format!(r#"[{{"role": "user", "content": [{part}, {text}]}}]"#)), allow_two);
    assert!(reason.contains("got 1 mark and 2 pictures"), "{reason}");
    for good in [r#""<image><image>Same?""#.to_owned(), format!(r#"[{{"role": "user", "content": [{part}, {part}, {text}]}}]"#)] {
        let mut config = folder.config(two(&good));
        allow_two(&mut config);
        assert_eq!(problems(&import(&config).unwrap()), ["Same?"]);
    }
}

#[test]
fn transparent_pictures_lie_on_white_unless_it_is_dropped() {
    let folder = Folder::new();
    let ink = image::RgbaImage::from_fn(4, 4, |x, _| image::Rgba([0, 0, 0, if x == 1 { 255 } else { 0 }]));
    ink.save(folder.path("ink.png")).unwrap();
    let mut config = folder.config(row("ink.png", "?"));
    let columns = |config: &DataConfig| {
        let picture = import(config).unwrap().examples[0].pictures().unwrap().remove(0);
        [picture.get_pixel(0, 0).0, picture.get_pixel(1, 0).0]
    };
    assert_eq!(columns(&config), [[255; 3], [0; 3]]);
    config.transparency = Transparency::Drop;
    assert_eq!(columns(&config), [[0; 3], [0; 3]]);
    let read: DataConfig = toml::from_str("path = 'a.jsonl'\ntransparency = 'drop'").unwrap();
    assert_eq!(read.transparency, Transparency::Drop);
    let small = folder.reason(&row("ink.png", "?"), |config| config.max_pixels = 15);
    assert!(small.contains("ink.png: 4x4 (16 pixels) exceeds the limit of 15 pixels or 65535 a side (data.max_pixels sets it)"), "{small}");
}

#[test]
fn parquet_is_read_in_every_codec() {
    for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"] {
        let dataset = import(&golden(&format!("{codec}.parquet"))).unwrap_or_else(|e| panic!("{e}"));
        let found: Vec<(&str, &str)> = dataset.examples.iter().map(|e| (e.problem.as_str(), e.answer.as_str())).collect();
        assert_eq!(found, [("How many, in picture 0?", "0.5"), ("How many, in picture 1?", "1")], "{codec}");
        assert_eq!(dataset.examples[1].pictures().unwrap()[0].get_pixel(0, 0).0, [10, 20, 30]);
        assert_eq!(dataset.bad_rows[0].reason, "answer: expected text or a number, got NaN", "{codec}");
    }
}

#[test]
fn small_parquet_files_that_unpack_to_huge_ones_are_refused() {
    let message = |config: DataConfig| import(&config).unwrap_err().to_string();
    let error = message(golden("large_text.parquet"));
    assert!(error.contains("large_text.parquet: not readable as parquet: column problem unpacks to 3000000"), "{error}");
    // what is not read does no harm
    let other = DataConfig { problem_column: Some("answer".into()), ..golden("large_text.parquet") };
    assert_eq!(problems(&import(&other).unwrap()), ["1"]);
    let error = message(golden("large_dictionary.parquet"));
    assert!(
        error.contains("large_dictionary.parquet: not readable as parquet: row 269") && error.contains("rows up to this one unpack to 269"),
        "{error}"
    );

    let folder = Folder::new();
    let mut bytes = std::fs::read(golden("gzip.parquet").path.to_string()).unwrap();
    let end = bytes.len() - 8;
    bytes[end..end + 4].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    let error = message(at(folder.write("metadata.parquet", bytes)));
    assert!(
        error.ends_with("metadata.parquet: not readable as parquet: expected metadata of at most 16777216 bytes, got 2147483647"),
        "{error}"
    );
    for short in [&b""[..], b"PAR1", b"PAR1PAR1"] {
        let error = message(at(folder.write("short.parquet", short)));
        assert!(error.contains("short.parquet: not readable as parquet: "), "{error}");
    }
}

/// Whatever byte is damaged: an error that names the file or a row, or data. Nothing reaches the test as a panic.
#[test]
fn damaged_parquet_files_are_errors() {
    let folder = Folder::new();
    for name in ["gzip.parquet", "verl.parquet"] {
        let bytes = std::fs::read(golden(name).path.to_string()).unwrap();
        for at_byte in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[at_byte] ^= 0xff;
            if let Err(error) = import(&at(folder.write("damaged.parquet", &damaged))) {
                assert!(error.to_string().contains("damaged.parquet: "), "byte {at_byte}: {error}");
            }
        }
    }
}

#[test]
fn a_folder_of_splits_gives_the_one_that_is_meant() {
    let folder = Folder::new();
    let put = |name: &str| folder.write(name, row("0.png", name));
    put("b-00000.jsonl");
    put("a.jsonl");
    let plain = import(&at(folder.0.path())).unwrap();
    assert_eq!((problems(&plain), plain.notes.len()), (vec!["a.jsonl", "b-00000.jsonl"], 0));

    let folder = Folder::new();
    let put = |name: &str| folder.write(name, row("0.png", name));
    for name in ["train-00001-of-00002.jsonl", "train-00000-of-00002.jsonl", "validation-00000-of-00001.jsonl", "README.md"] {
        put(name);
    }
    let data = at(folder.0.path());
    let train = import(&data).unwrap();
    assert_eq!(problems(&train), ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"]);
    let note =
        format!("{}: reads the split train alone, 2 of 3 files (data.split chooses another, \"all\" reads all)", folder.0.path().display());
    assert_eq!(train.notes, [note]);
    // without a test split one measures on validation
    assert_eq!(problems(&import_for(&data, Purpose::Measuring).unwrap()), ["validation-00000-of-00001.jsonl"]);
    put("my_test.jsonl");
    put("constrained.jsonl"); // no whole word of it tells a split
    assert_eq!(problems(&import_for(&data, Purpose::Measuring).unwrap()), ["my_test.jsonl"]);
    let with = |split| import(&DataConfig { split: Some(split), ..data.clone() });
    assert_eq!(with(DataSplit::All).unwrap().examples.len(), 5);
    assert_eq!(problems(&with(DataSplit::Validation).unwrap()), ["validation-00000-of-00001.jsonl"]);

    // neither is a part of a folder trained on that is for measuring, nor one guessed
    std::fs::remove_file(folder.path("train-00000-of-00002.jsonl")).unwrap();
    std::fs::remove_file(folder.path("train-00001-of-00002.jsonl")).unwrap();
    let error = import(&data).unwrap_err().to_string();
    assert!(error.contains("expected files of the split train, got files of validation, test (data.split says which"), "{error}");
    let error = with(DataSplit::Train).unwrap_err().to_string();
    assert!(error.contains("expected files of the split train"), "{error}");
}

#[test]
fn the_program_says_which_split_it_reads() {
    let folder = Folder::new();
    folder.write("train-0.jsonl", row("0.png", "to learn from"));
    folder.write("test-0.jsonl", row("0.png", "to be measured on").repeat(2));
    let (outcome, out, errors) = percept(&["data", "import", text(folder.0.path())]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""));
    assert!(out.starts_with("1 problem, 0 bad rows left out\n") && out.contains(": reads the split train alone, 1 of 2 files ("), "{out}");
    let (_, out, _) = percept(&["data", "import", text(folder.0.path()), "--set", "data.split=test", "--json"]);
    assert!(out.contains("\"problems\":2") && out.contains("reads the split test alone"), "{out}");
    // several files, as a shell hands them over that has replaced a pattern by what matches it
    let (_, out, _) = percept(&["data", "import", text(&folder.path("train-0.jsonl")), text(&folder.path("test-0.jsonl"))]);
    assert_eq!(out, "3 problems, 0 bad rows left out\n");
    let sheet = folder.path("sheet.png");
    let shown = |more: &[&str]| {
        let path = format!("data.path={}", text(folder.0.path()));
        let (outcome, out, errors) = percept(&[&["data", "show", "--to", text(&sheet), "--set", &path], more].concat());
        assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""));
        out
    };
    assert!(shown(&[]).contains("1. to learn from\n") && shown(&["--split", "test"]).contains("2. to be measured on\n"));
}

#[test]
fn paths_may_be_lists_and_patterns() {
    let folder = Folder::new();
    for name in ["train-0.jsonl", "train-1.jsonl", "test-0.jsonl", "other.jsonl"] {
        folder.write(name, row("0.png", name));
    }
    let read = |names: &[&str]| {
        let path: Vec<PathBuf> = names.iter().map(|name| folder.path(name)).collect();
        import(&DataConfig { path: path.into(), ..DataConfig::default() })
    };
    let named = |names: &[&str]| problems(&read(names).unwrap()).join(" ");
    assert_eq!(named(&["train-*.jsonl"]), "train-0.jsonl train-1.jsonl");
    assert_eq!(named(&["t*-?.jsonl"]), "train-0.jsonl train-1.jsonl");
    assert_eq!(named(&["test-*.jsonl"]), "test-0.jsonl");
    for split in ["train", "test"] {
        std::fs::create_dir(folder.path(split)).unwrap();
        std::fs::copy(folder.path("0.png"), folder.path(split).join("0.png")).unwrap();
        folder.write(&format!("{split}/part-0.jsonl"), row("0.png", split));
    }
    assert_eq!(named(&["*/part-?.jsonl"]), "train");
    // what is named one by one is read, in the order of the list, and once
    assert_eq!(
        named(&["test-0.jsonl", "train-*.jsonl", "other.jsonl", "train-1.jsonl"]),
        "test-0.jsonl train-0.jsonl train-1.jsonl other.jsonl"
    );
    let error = read(&["no-*.jsonl"]).unwrap_err().to_string();
    assert!(error.contains("no-*.jsonl: expected a pattern of .jsonl or .parquet files, got one that none matches"), "{error}");
    assert!(read(&["other.jsonl", "lost.jsonl"]).unwrap_err().to_string().contains("lost.jsonl: No such file"));
    let error = read(&["0.png"]).unwrap_err().to_string();
    assert!(error.contains("0.png: expected a .jsonl or .parquet file"), "{error}");
    assert!(read(&[]).unwrap_err().to_string().contains("data.path: expected at least one path"));

    let one: DataConfig = toml::from_str("path = 'sets/a.jsonl'").unwrap();
    let many: DataConfig = toml::from_str("path = ['a.jsonl', 'b/train-*.parquet']").unwrap();
    assert_eq!((one.path.stem().as_deref(), many.path.to_string().as_str()), (Some("a"), "a.jsonl, b/train-*.parquet"));
    for config in [one, many] {
        assert_eq!(toml::from_str::<DataConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    }
    let error = toml::from_str::<DataConfig>("path = 3").unwrap_err().to_string();
    assert!(error.contains("expected a path or a list of paths"), "{error}");
    assert_eq!(DataPath::from(PathBuf::from("b/train-*.parquet")).stem().as_deref(), Some("train-"));
}

#[test]
fn rows_open_only_pictures_below_their_folder() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path("set/images")).unwrap();
    std::fs::copy(folder.path("0.png"), folder.path("set/images/1.png")).unwrap();
    let absolute = |name: &str| folder.path(name).display().to_string();
    let read = |image: &str, image_files, image_root: Option<&str>| {
        folder.write("set/data.jsonl", row(image, "?"));
        let image_root = image_root.map(|name| folder.path(name));
        import(&DataConfig { image_files, image_root, ..at(folder.path("set/data.jsonl")) }).map_err(|e| e.to_string())
    };
    for image in ["images/1.png", "./images/1.png", "images/../images/1.png", &absolute("set/images/1.png")] {
        read(image, ImageFiles::Below, None).unwrap_or_else(|e| panic!("{e}"));
    }
    for image in ["../0.png", "images/../../0.png", "/etc/hostname", &absolute("0.png"), &absolute("set/../0.png")] {
        let error = read(image, ImageFiles::Below, None).unwrap_err();
        assert!(error.contains(&format!("row 1: image: {image}: not below the folder {}", absolute("set"))), "{error}");
    }
    for image in ["../0.png", &absolute("0.png")] {
        read(image, ImageFiles::Any, None).unwrap_or_else(|e| panic!("{e}"));
    }
    read("0.png", ImageFiles::Below, Some("")).unwrap();
    read(&absolute("0.png"), ImageFiles::Below, Some("")).unwrap();
}

#[test]
#[cfg(unix)]
fn pipes_and_devices_are_no_pictures_and_no_data() {
    let folder = Folder::new();
    for name in ["pipe.png", "pipe.jsonl"] {
        assert!(std::process::Command::new("mkfifo").arg(folder.path(name)).status().unwrap().success());
    }
    let reason = folder.reason(&row("pipe.png", "?"), |_| {});
    assert!(reason.ends_with("pipe.png: expected a regular file, got a pipe or a device"), "{reason}");
    let reason = folder.reason(&row("/dev/zero", "?"), |config| config.image_files = ImageFiles::Any);
    assert_eq!(reason, "image: /dev/zero: expected a regular file, got a pipe or a device");
    let error = import(&at(folder.path("pipe.jsonl"))).unwrap_err().to_string();
    assert!(error.ends_with("pipe.jsonl: expected a regular file or a folder, got a pipe or a device"), "{error}");
}
