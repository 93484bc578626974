//! What is written about the repository must be true.

use std::path::{Path, PathBuf};

use percept_cppo::commands::Outcome;
use percept_cppo::methods::{AnyMethod, DEFAULT};

use crate::program::percept;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace").to_path_buf()
}

fn files(folder: &str, extension: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = entries
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_string())
        .collect();
    names.sort();
    names
}

#[test]
fn the_shader_index_names_every_shader_and_no_other() {
    let text = std::fs::read_to_string(root().join("shaders/README.md")).unwrap();
    let index = text.split("## Index").nth(1).expect("a section `Index`");
    let mut listed: Vec<&str> = index.split('`').skip(1).step_by(2).collect();
    listed.sort_unstable();
    let mut there = files("shaders", "wgsl");
    there.extend(files("shaders/common", "wgsl").into_iter().map(|name| format!("common/{name}")));
    there.sort();
    assert_eq!(listed, there);
}

#[test]
fn the_second_driver_runs_every_module_with_gpu_tests() {
    let script = std::fs::read_to_string(root().join("tests/second-driver.sh")).unwrap();
    for file in files("tests/src", "rs") {
        let module = file.trim_end_matches(".rs");
        let text = std::fs::read_to_string(root().join("tests/src").join(&file)).unwrap();
        if module == "repository" {
            continue;
        }
        let opens_gpu = ["common::gpu", "common::open", "common::{gpu"].iter().any(|call| text.contains(call));
        assert!(!opens_gpu || script.contains(&format!(" {module}::")), "tests/second-driver.sh leaves out `{module}`");
    }
}

/// A closure that is called otherwise may be built for the oldest processors alone; nothing else would tell.
#[test]
fn kernels_split_their_work_with_the_macro_that_inlines() {
    let calls = ["for_each(", "for_each_with(", "for_chunks(", "for_chunks_with(", "for_row_blocks(", "for_row_blocks_of("];
    let calls = [&calls[..], &["for_costly_rows(", "for_costly_rows_of(", "for_strided_rows("]].concat();
    let is_exempt = |name: &str| name.ends_with("cpu/parallel.rs") || name.ends_with("cpu/threads.rs"); // where they are defined
    let mut seen = 0;
    for (name, text) in sources(&["engine/src"]).iter().filter(|(name, _)| !is_exempt(name)) {
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for place in calls.iter().flat_map(|call| line.match_indices(call).map(|(place, _)| place)) {
                let before = &line[..place];
                if before.ends_with(['.', '_']) || before.ends_with(char::is_alphanumeric) {
                    continue; // a method of iterators, or a longer name
                }
                seen += 1;
                assert!(before.ends_with("parallel!("), "{name}:{}: without `parallel!`: {}", number + 1, line.trim());
            }
        }
    }
    assert!(seen > 30, "{seen} calls found");
    // vector instructions behind a closure that is not inlined are a hundred times slower
    for (name, text) in sources(&["engine/src/cpu/gemm/x86"]).iter().filter(|(name, _)| !name.ends_with("blocked.rs")) {
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let closure = text.lines().filter(is_code).find(|line| line.contains("from_fn") || line.contains(".map(") || line.contains("(|"));
        assert_eq!(closure, None, "{name}: a closure between vector instructions");
    }
}

/// Counters of a device that other tests use at the same time say nothing, now and then.
#[test]
fn counters_are_read_on_devices_of_their_own() {
    let mut seen = 0;
    for (name, text) in sources(&["tests/src"]).iter().filter(|(name, _)| !name.ends_with("repository.rs")) {
        for test in text.split("#[test]").filter(|test| test.contains(".counters()")) {
            let shared = test.lines().find(|line| [" gpu()", "[gpu()", "(gpu()"].iter().any(|call| line.contains(call)));
            assert_eq!(shared, None, "{name}: `open(|selector| selector)` for a test that counts");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} tests found");
}

#[test]
fn paths_in_the_documents_exist() {
    for document in ["README.md", "ARCHITECTURE.md", "shaders/README.md"] {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        let paths = text.split('`').skip(1).step_by(2).filter(|code| code.contains('/') && !code.contains([' ', '{', '(', '<']));
        for path in paths.filter(|path| {
            ["engine/", "model/", "cppo/", "shaders/", "tests/", "docs/", "data/", "assets/"].iter().any(|top| path.starts_with(top))
        }) {
            assert!(path.contains("NAME") || root().join(path).exists(), "{document} names {path}, which is not there");
        }
    }
}

/// Every command of the README is understood: asked for help at its end, the program refuses what it does not know before that.
#[test]
fn commands_in_the_readme_are_understood() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let spans = text.split('`').skip(1).step_by(2).filter(|code| !code.contains('\n'));
    let fenced = text.lines().filter_map(|line| line.split('#').next()).filter(|line| line.starts_with("cargo run"));
    let mut commands = 0;
    for code in spans.chain(fenced) {
        let Some(arguments) = code.strip_prefix("cargo run --release -- ").or(code.strip_prefix("percept ")) else { continue };
        let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
        let files = arguments.iter().filter(|argument| argument.starts_with("configs/"));
        files.for_each(|file| assert!(root().join(file).is_file(), "README.md names {file}, which is not there"));
        arguments.push("--help");
        let (outcome, _, errors) = percept(&arguments);
        assert_eq!(outcome, Outcome::Done, "README.md: {code}: {errors}");
        commands += 1;
    }
    assert!(commands >= 10, "{commands} commands found");
}

/// Every `.rs` file below some folders, with its path from the root.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
                found.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Whether `word` stands in the code of a line, outside comments, whatever its case.
fn has_word(line: &str, word: &str) -> bool {
    let code = line.split("//").next().unwrap().to_lowercase();
    code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

#[test]
fn a_method_is_one_file_and_one_line() {
    let sources = sources(&["engine/src", "model/src", "cppo/src"]);
    for name in AnyMethod::NAMES {
        let file = format!("cppo/src/methods/{name}.rs");
        let text = &sources.iter().find(|(path, _)| *path == file).unwrap_or_else(|| panic!("{file} is not there")).1;
        assert!(text.starts_with("//! ") && text.contains("arXiv") && text.contains("//! Departures: "), "{file}: paper, departures");
        let places: Vec<String> = sources
            .iter()
            .filter(|(path, _)| *path != file)
            .flat_map(|(path, text)| text.lines().filter(|line| has_word(line, name)).map(move |line| format!("{path}: {}", line.trim())))
            .collect();
        let type_name: String = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        let mut expected = vec![format!("cppo/src/methods.rs: {name}: {type_name},")];
        if *name == DEFAULT {
            expected.push(format!("cppo/src/methods.rs: pub const DEFAULT: &str = {DEFAULT:?};"));
        }
        assert_eq!(places, expected, "{name} outside its file");
    }
}

/// What a page quotes of a file stands there, line by line.
#[test]
fn the_page_on_methods_quotes_the_code() {
    let page = std::fs::read_to_string(root().join("docs/adding-a-method.md")).unwrap();
    let code: String = sources(&["cppo/src/methods"]).into_iter().map(|(_, text)| text).collect::<String>()
        + &std::fs::read_to_string(root().join("cppo/src/methods.rs")).unwrap();
    let blocks: Vec<&str> = page.split("```rust\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 4, "{} blocks of code", blocks.len());
    for block in blocks {
        assert!(code.contains(block.trim_end()), "docs/adding-a-method.md quotes what is not there:\n{block}");
    }
}

#[test]
fn a_wing_is_a_folder_and_there_are_few() {
    let entries: Vec<_> = std::fs::read_dir(root().join("cppo/src")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(entries.len() <= 13, "{} entries in cppo/src: {entries:?}", entries.len());
}

/// Every environment variable that the code reads stands in the table of switches.
#[test]
fn the_table_of_switches_is_complete() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, switches) = text.split_once("## Switches").unwrap();
    let mut variables = 0;
    for (path, source) in sources(&["engine/src", "model/src", "cppo/src"]) {
        for start in source.match_indices("\"PERCEPT_").map(|(at, _)| at + 1) {
            let name = source[start..].split('"').next().unwrap();
            assert!(switches.contains(&format!("| `{name}")), "{path}: {name} is missing in ARCHITECTURE.md");
            variables += 1;
        }
    }
    assert!(variables >= 7, "{variables} variables found");
}
