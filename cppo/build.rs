//! What the program takes along: the shipped files, and what the doc comments say of every setting.
//!
//! The comments are read from the sources that rustfmt has formatted, line by line: a struct or an enum begins at the left margin, its fields are indented by four. A test holds
//! the result against the keys that configurations really have, so nothing can be missed.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    // links to the folders of the repository, and folders of its own in the published package; where links are not checked out (Windows), they are plain files
    let home = if package.join("data").is_dir() { package.clone() } else { package.join("..") };
    println!("cargo::rustc-env=SHIPPED_FOLDER={}", home.display());
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src");
    fs::write(out.join("shipped.rs"), shipped(&home)).expect("the build's folder can be written");
    fs::write(out.join("documented.rs"), documented(&package.join("src"))).expect("the build's folder can be written");
}

/// A list of all files below `assets/` and `configs/`, with their contents.
fn shipped(home: &Path) -> String {
    let mut list = String::from("&[\n");
    for folder in ["assets", "configs"] {
        println!("cargo::rerun-if-changed={}", home.join(folder).display());
        for path in files(&home.join(folder)) {
            let name = path.strip_prefix(home).expect("below it").to_string_lossy().replace('\\', "/");
            writeln!(list, "    ({name:?}, include_bytes!({:?})),", path.to_string_lossy()).expect("memory");
        }
    }
    list + "]\n"
}

/// All structs and enums that serde reads, with their comments, and of each field or variant its name, type, attributes and comment.
fn documented(src: &Path) -> String {
    let mut list = String::from("&[\n");
    for path in files(src).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let name = path.strip_prefix(src).expect("below it").to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(&path).expect("a source file can be read").replace('\r', "");
        items(&name, &text, &mut list);
    }
    list + "]\n"
}

fn items(file: &str, text: &str, list: &mut String) {
    let (mut comment, mut attributes) = (Vec::new(), String::new());
    let mut is_inside = false;
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        let code = line.trim();
        if let Some(words) = code.strip_prefix("///") {
            comment.push(words.trim().to_owned());
            continue;
        }
        if code.starts_with("#[") {
            attributes += code;
            continue;
        }
        let declared = code.strip_prefix("pub ").unwrap_or(code);
        let name_of = |kind: &str| declared.strip_prefix(kind).and_then(|rest| rest.split([' ', '{', '<']).next());
        if depth == 0 && code.ends_with('{') && (declared.starts_with("struct ") || declared.starts_with("enum ")) {
            let name = name_of("struct ").or(name_of("enum ")).expect("one of the two");
            is_inside = attributes.contains("Deserialize") || text.contains(&format!("Deserialize<'de> for {name} "));
            if is_inside {
                let (about, imports, is_enum) = (join(&comment), imports(text), declared.starts_with("enum "));
                writeln!(
                    list,
                    "Item {{ file: {file:?}, name: {name:?}, is_enum: {is_enum}, about: {about:?}, imports: &{imports:?}, parts: &["
                )
                .expect("memory");
            }
        } else if depth == 0 && code == "}" && is_inside {
            writeln!(list, "] }},").expect("memory");
            is_inside = false;
        } else if depth == 4 && is_inside {
            let (name, kind) = match declared.trim_end_matches(',').split_once(':') {
                Some((name, kind)) => (name, kind.trim()),
                None => (declared.split([',', '(', ' ', '{']).next().unwrap_or_default(), ""),
            };
            writeln!(list, "    Part {{ name: {name:?}, kind: {kind:?}, attributes: {attributes:?}, about: {:?} }},", join(&comment))
                .expect("memory");
        }
        comment.clear();
        attributes.clear();
    }
}

/// The `use` statements of a file, each on one line.
fn imports(text: &str) -> Vec<String> {
    let statements = text.split("\nuse ").skip(1).filter_map(|rest| rest.split(';').next());
    statements.map(|statement| statement.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Lines to paragraphs.
fn join(comment: &[String]) -> String {
    let paragraphs = comment.split(|line| line.is_empty()).map(|lines| lines.join(" "));
    paragraphs.filter(|paragraph| !paragraph.is_empty()).collect::<Vec<_>>().join("\n")
}

/// All files below a folder, in order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    entries.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
