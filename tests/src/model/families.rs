//! What only a family knows stays in its folder.

use std::path::{Path, PathBuf};

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn code_outside_its_folder_does_not_name_a_family() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for folder in ["engine/src", "model/src", "cppo/src"] {
        rust_files(&root.join(folder), &mut files);
    }
    let (families, list) = (root.join("model/src/families"), root.join("model/src/families.rs"));
    let names = |line: &&str| ["idefics", "smolvlm", "qwen"].iter().any(|name| line.to_lowercase().contains(name));
    let mut in_list = 0;
    for path in files.iter().filter(|path| !path.starts_with(&families)) {
        let text = std::fs::read_to_string(path).unwrap();
        let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        if *path == list {
            in_list = code.filter(names).count();
        } else if let Some(line) = code.find(names) {
            panic!("{}: {line}", path.display());
        }
    }
    assert_eq!(in_list, 2, "the lines of the list");
}
