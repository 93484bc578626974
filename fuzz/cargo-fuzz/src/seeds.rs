//! Writes the good files of every target to `corpus/TARGET`, where cargo-fuzz begins.

use percept_fuzz::targets::TARGETS;

fn main() -> std::io::Result<()> {
    for target in TARGETS {
        let folder = format!("corpus/{}", target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, (_, bytes)) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(format!("{folder}/{number}"), [&[number as u8][..], &bytes].concat())?;
        }
    }
    Ok(())
}
