//! Files import each other in one direction.
//!
//! Two files that import each other, directly or around a corner, can only be read together. So there are no such circles, but for two kinds: a
//! tensor and the gradient graph it is a node of, and a module file with the files in its folder, which may use their parent's helpers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::rust_source::{Source, parse};

/// The packages whose files are checked.
const CHECKED: &[&str] = &["engine", "model", "cppo"];

/// Circles that are meant: package and files.
const ALLOWED: &[(&str, &[&str])] = &[("engine", &["autograd.rs", "autograd/blocks.rs", "autograd/gradients.rs", "tensor.rs"])];

/// The files that a file declares for its tests alone: `#[cfg(test)]` on the line before `mod name;`.
fn test_files(name: &str, text: &str) -> Vec<String> {
    let folder = if name == "lib.rs" { String::new() } else { format!("{}/", name.trim_end_matches(".rs")) };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").map(|pair| pair[1]);
    declared.filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';')).map(|module| format!("{folder}{module}.rs")).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace").to_path_buf()
}

#[test]
fn no_circles_of_files() {
    for package in CHECKED {
        let circles = Package::read(package).circles();
        assert!(circles.is_empty(), "files of {package}/src import each other in circles:\n{}", circles.join("\n"));
    }
}

/// The checker itself, on files whose circles are known.
#[test]
fn circles_are_found_through_reexports_and_allowed_within_a_family() {
    let package =
        |files: &[(&str, &str)]| Package::new("engine", files.iter().map(|&(name, text)| (name.to_string(), parse(text))).collect());
    let lib = ("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\npub use a::{Thing as Other};\npub use d::deep::*;");
    let deep = [("d.rs", "pub mod deep;\npub(crate) fn help() {}"), ("d/deep.rs", "use super::help;\npub struct Deep;")];

    // b -> a by the name that lib.rs gives it, a -> b inside a function, with braces and a comment
    let circle = package(&[
        lib,
        ("a.rs", "pub struct Thing;\nfn f() { crate::b::g(); }"),
        ("b.rs", "// use crate::c;\nuse crate::{c::{self, Unused}, Other};\npub fn g() {}"),
        ("c.rs", "pub struct Unused;\n#[cfg(test)]\nmod tests { use crate::b::g; const TEXT: &str = \"crate::b\"; }"),
        deep[0],
        deep[1],
    ]);
    let circles = circle.circles();
    assert_eq!(circles.len(), 1, "{circles:?}");
    assert!(
        circles[0].contains("a.rs:2: crate::b::g -> b.rs")
            && circles[0].contains("b.rs:2: crate::Other -> a.rs")
            && !circles[0].contains("c.rs"),
        "{circles:?}"
    );

    // a child uses its parent, the parent its child; a glob leads to where the name is defined
    let family = package(&[lib, ("a.rs", "use crate::Deep;\npub struct Thing;"), ("b.rs", ""), ("c.rs", ""), deep[0], deep[1]]);
    assert_eq!(family.circles(), [""; 0]);
    assert_eq!(family.edges()["a.rs"].keys().collect::<Vec<_>>(), ["d/deep.rs"]);
    assert_eq!(family.edges()["d/deep.rs"].keys().collect::<Vec<_>>(), ["d.rs"]);

    // but not by way of a file outside the folder, and not two children with each other
    let around = [("d.rs", "pub mod deep;\nuse crate::a::Thing;\npub(crate) fn help() {}"), deep[1]];
    let around = package(&[lib, ("a.rs", "use crate::Deep;\npub struct Thing;"), ("b.rs", ""), ("c.rs", ""), around[0], around[1]]);
    assert_eq!(around.circles().len(), 1);
    let siblings = package(&[
        ("lib.rs", "mod d;"),
        ("d.rs", "mod x;\nmod y;\nuse x::X;\nfn f() { y::Y; }"),
        ("d/x.rs", "use super::y;\npub struct X;\ntype Z = y::Y;"),
        ("d/y.rs", "pub struct Y(super::X);"),
    ]);
    assert_eq!(siblings.circles().len(), 1);

    // a file that is there for tests only does not count
    let tested =
        package(&[("lib.rs", "mod a;\n#[cfg(test)]\nmod b;"), ("a.rs", "type B = crate::b::B;"), ("b.rs", "pub struct B;\nuse crate::a;")]);
    assert_eq!(tested.circles(), [""; 0]);
    assert_eq!(tested.files.len(), 2);
}

/// The source files of a package, by path below `src/`.
struct Package {
    name: String,
    files: BTreeMap<String, Source>,
}

/// For each file the files that it imports, each with the places where it does.
type Edges = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

impl Package {
    fn read(name: &str) -> Package {
        let src = root().join(name).join("src");
        let (mut files, mut of_tests) = (BTreeMap::new(), Vec::new());
        let mut folders = vec![src.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let name = path.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
                    let text = std::fs::read_to_string(&path).unwrap();
                    of_tests.extend(test_files(&name, &text));
                    files.insert(name, parse(&text));
                }
            }
        }
        files.retain(|name, _| !of_tests.contains(name));
        assert!(files.len() > 10, "{name}: {} files found", files.len());
        Package::new(name, files)
    }

    /// Leaves out the files of modules that are for tests only.
    fn new(name: &str, files: BTreeMap<String, Source>) -> Package {
        let mut package = Package { name: name.to_string(), files };
        let names = |(file, source): (&String, &Source)| {
            let module = module_of(file);
            source.test_modules.iter().map(|name| join(&module, name)).collect::<Vec<_>>()
        };
        for test in package.files.iter().flat_map(names).filter_map(|module| package.file_of(&module)).collect::<Vec<_>>() {
            package.files.retain(|file, _| *file != test && !is_below(file, &test));
        }
        package
    }

    /// The circles that are not allowed, each as text with the lines that make it.
    fn circles(&self) -> Vec<String> {
        let edges = self.edges();
        let all: BTreeSet<&str> = self.files.keys().map(String::as_str).collect();
        let mut found = Vec::new();
        for circle in components(&all, &edges) {
            if ALLOWED.iter().any(|(package, files)| *package == self.name && circle.iter().copied().eq(files.iter().copied())) {
                continue;
            }
            // without the imports of parents by their children a family must have an order
            let parent = circle.iter().find(|parent| circle.iter().all(|file| file == *parent || is_below(file, parent)));
            let inner = parent.map(|parent| {
                let mut edges = edges.clone();
                edges.values_mut().for_each(|to| _ = to.remove(*parent));
                components(&circle, &edges).len()
            });
            if inner != Some(0) {
                found.push(describe(&circle, &edges));
            }
        }
        found
    }

    fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for (file, source) in &self.files {
            let to = edges.entry(file.clone()).or_default();
            for path in &source.paths {
                let names: Vec<&str> = path.names.iter().map(String::as_str).collect();
                if let Some(target) = self.start(file, &names).and_then(|(module, rest)| self.resolve(&module, rest, 0))
                    && target != *file
                {
                    to.entry(target).or_default().insert(format!("{file}:{}: {}", path.line, path.names.join("::")));
                }
            }
        }
        edges
    }

    /// Where a path starts: a module of this package, and the names behind it. None for paths into other crates and for names that are no modules.
    fn start<'a>(&self, file: &str, names: &'a [&'a str]) -> Option<(String, &'a [&'a str])> {
        let own = module_of(file);
        match names {
            ["crate", rest @ ..] => Some((String::new(), rest)),
            ["self", rest @ ..] => Some((own, rest)),
            ["super", ..] => {
                let up = names.iter().take_while(|name| **name == "super").count();
                let mut module: Vec<&str> = own.split("::").collect();
                module.truncate(module.len().checked_sub(up)?);
                Some((module.join("::"), &names[up..]))
            }
            [first, rest @ ..] => {
                if self.file_of(&join(&own, first)).is_some() {
                    return Some((own, names));
                }
                // a module that this file imports by name, `use crate::ops;`
                let (_, path) = self.files[file].imports.iter().find(|(name, path)| name == first && path.first() != Some(name))?;
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                let (module, names) = self.start(file, &path)?;
                let module = names.iter().fold(module, |module, name| join(&module, name));
                self.file_of(&module).map(|_| (module, rest))
            }
            [] => None,
        }
    }

    /// The file in which `names`, seen from a module, is defined; re-exports are followed.
    fn resolve(&self, module: &str, names: &[&str], depth: usize) -> Option<String> {
        let file = self.file_of(module)?;
        let [name, rest @ ..] = names else { return Some(file) };
        let deeper = join(module, name);
        if self.file_of(&deeper).is_some() {
            return self.resolve(&deeper, rest, depth);
        }
        let source = &self.files[&file];
        if depth > 8 || source.defines(name) {
            return Some(file);
        }
        let follow = |path: &[String]| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let (module, names) = self.start(&file, &path)?;
            self.resolve(&module, names, depth + 1)
        };
        if let Some((_, path)) = source.imports.iter().find(|(import, _)| import == name) {
            return follow(path).or(Some(file));
        }
        let globs = source.imports.iter().filter(|(import, _)| import == "*");
        let through = globs.filter_map(|(_, path)| follow(&[path.clone(), vec![name.to_string()]].concat()));
        if let Some(target) = through.into_iter().find(|target| self.files[target].defines(name)) {
            return Some(target);
        }
        // exported macros stand at the root of the crate, wherever they are defined
        let with_macro = || self.files.iter().find(|(_, source)| source.macros.contains(*name)).map(|(file, _)| file.clone());
        if module.is_empty() { with_macro().or(Some(file)) } else { Some(file) }
    }

    /// The file of a module: `ops::softmax` is `ops/softmax.rs`, the root `lib.rs`.
    fn file_of(&self, module: &str) -> Option<String> {
        let path = if module.is_empty() { "lib".to_string() } else { module.replace("::", "/") };
        [format!("{path}.rs"), format!("{path}/mod.rs")].into_iter().find(|file| self.files.contains_key(file))
    }
}

fn module_of(file: &str) -> String {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    if path == "lib" || path == "main" { String::new() } else { path.replace('/', "::") }
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_string() } else { format!("{module}::{name}") }
}

/// True if the file lies in the folder of a module file: `ops/softmax.rs` below `ops.rs`.
fn is_below(file: &str, parent: &str) -> bool {
    file.strip_prefix(parent.trim_end_matches(".rs").trim_end_matches("/mod")).is_some_and(|rest| rest.starts_with('/'))
}

/// The sets of two or more files that reach each other within `among`.
fn components<'a>(among: &BTreeSet<&'a str>, edges: &Edges) -> Vec<BTreeSet<&'a str>> {
    let reached = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from.to_string()];
        while let Some(file) = next.pop() {
            let to = edges.get(&file).into_iter().flat_map(BTreeMap::keys);
            next.extend(to.filter(|to| among.contains(to.as_str()) && seen.insert((*to).clone())).cloned());
        }
        seen
    };
    let all: BTreeMap<&str, BTreeSet<String>> = among.iter().map(|&file| (file, reached(file))).collect();
    let mut found: Vec<BTreeSet<&str>> = Vec::new();
    for &file in among {
        let circle: BTreeSet<&str> =
            among.iter().copied().filter(|&other| all[file].contains(other) && all[other].contains(file)).collect();
        if circle.len() > 1 && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

/// The files of a circle and the lines by which they import each other.
fn describe(circle: &BTreeSet<&str>, edges: &Edges) -> String {
    let mut text = format!("  {}\n", circle.iter().copied().collect::<Vec<_>>().join(", "));
    for file in circle {
        for (to, places) in edges[*file].iter().filter(|(to, _)| circle.contains(to.as_str())) {
            text += &places.iter().map(|place| format!("    {place} -> {to}\n")).collect::<String>();
        }
    }
    text
}
