//! Writes the files of `assets/tiny-tokenizer/`: `cargo run -p percept-model --example make_tiny_tokenizer`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-tokenizer");
    std::fs::create_dir_all(&directory)?;
    for (name, contents) in percept_model::families::idefics3::tiny_tokenizer_files() {
        std::fs::write(directory.join(name), contents)?;
    }
    Ok(())
}
