//! What is written about the repository must be true.

use std::path::{Path, PathBuf};

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
    let index = std::fs::read_to_string(root().join("shaders/README.md")).unwrap();
    let listed: Vec<&str> = index.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
    let mut there = files("shaders", "wgsl");
    there.extend(files("shaders/common", "wgsl").into_iter().map(|name| format!("common/{name}")));
    assert_eq!(listed, there);
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
