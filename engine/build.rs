//! Where the shaders are: beside the sources in the published package, one folder up in the repository. There `engine/shaders` is a link, and not every checkout has links
//! (Windows makes plain files of them).

use std::env;
use std::path::PathBuf;

fn main() {
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let inside = package.join("shaders");
    let folder = if inside.is_dir() { inside } else { package.join("..").join("shaders") };
    println!("cargo::rustc-env=SHADERS_FOLDER={}", folder.display());
    println!("cargo::rerun-if-changed=build.rs");
}
