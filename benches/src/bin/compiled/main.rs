//! What a driver's compiler makes of the kernels, without a GPU: registers, spills, memory and code size of every variant, by Mesa's RADV.
//!
//! `cargo run --release -p percept-benches --no-default-features --bin compiled` compiles for RDNA 2 and RDNA 3 and writes `benches/results/compiled.md`;
//! other families of AMD are named as arguments, by the words that `RADV_FORCE_FAMILY` takes. With `--json` it compiles for the family that this variable names and
//! prints a line for each variant: RADV reads it when it is loaded, so that each family takes a process of its own.

mod radv;
mod table;
mod variants;

use std::process::{Command, ExitCode};

use radv::Radv;
use serde_json::{Value, json};

/// RDNA 2 and RDNA 3. Before version 24 Mesa says `gfx1100` instead of the second.
const FAMILIES: [&str; 2] = ["navi21", "navi31"];

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/compiled.md");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match named[..] {
        ["--json"] => print_lines(),
        [] => write_table(&FAMILIES),
        _ => write_table(&named),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compiled: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A line about the driver, or why there is none; then one for each kernel that is left out, and one for each variant.
fn print_lines() -> Result<(), String> {
    let radv = match Radv::open() {
        Ok(radv) => radv,
        Err(missing) => {
            println!("{}", json!({ "missing": missing }));
            return Ok(());
        }
    };
    println!("{}", json!({ "device": radv.name, "driver": radv.driver, "lanes": radv.subgroup_lanes }));
    for line in variants::compile_all(&radv)? {
        println!("{line}");
    }
    Ok(())
}

fn write_table(families: &[&str]) -> Result<(), String> {
    let mut text = table::head(families);
    for family in families {
        let lines = lines_of(family)?;
        if let Some(missing) = lines[0]["missing"].as_str() {
            return Err(format!("{family}: {missing}"));
        }
        text.push_str(&table::section(family, &lines));
    }
    std::fs::write(TABLE, text).map_err(|error| format!("{TABLE}: {error}"))?;
    println!("{TABLE}");
    Ok(())
}

/// What this program prints for a family, in a process of its own.
fn lines_of(family: &str) -> Result<Vec<Value>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program).arg("--json").env("RADV_FORCE_FAMILY", family).output().map_err(|error| error.to_string())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{family}: {}: {errors}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    match lines {
        Ok(lines) if !lines.is_empty() => Ok(lines),
        Ok(_) => Err(format!("{family}: expected lines, got none: {errors}")),
        Err(error) => Err(format!("{family}: {error}: {text}")),
    }
}
