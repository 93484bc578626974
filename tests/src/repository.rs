//! What is written about the repository must be true.

use std::path::{Path, PathBuf};

use percept_cppo::commands::Outcome;

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
