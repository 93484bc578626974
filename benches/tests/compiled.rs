//! No kernel spills registers: Mesa's RADV compiles all of them for RDNA 2, in a process of its own, which needs no GPU.
//!
//! Skipped, in words, where no RADV is installed (on Debian: `mesa-vulkan-drivers`).

use std::io::Write;
use std::process::Command;

use serde_json::Value;

const FAMILY: &str = "navi21";

/// The driver of the numbers below; others choose registers otherwise.
const DRIVER: &str = "Mesa 22.3";

/// What still spills: kernel, variant, and at most so many spilled VGPRs, spilled SGPRs and bytes of scratch. A row that spills no longer must go. With other drivers than
/// [`DRIVER`] these kernels may spill as they like; with none may another.
const KNOWN: &[(&str, &str, [u64; 3])] = &[
    ("attention.forward", "HEAD_DIM 128", [32, 0, 5120]),
    ("attention_backward.backward", "HEAD_DIM 72", [0, 8, 0]),
    ("attention_backward.backward", "HEAD_DIM 80", [1, 18, 1024]),
    ("attention_backward.backward", "HEAD_DIM 128", [557, 107, 37888]),
];

#[test]
fn no_kernel_spills_registers() {
    let program = Command::new(env!("CARGO_BIN_EXE_compiled")).arg("--json").env("RADV_FORCE_FAMILY", FAMILY).output().unwrap();
    let errors = String::from_utf8_lossy(&program.stderr);
    assert!(program.status.success(), "compiled --json: {}: {errors}", program.status);
    let text = String::from_utf8(program.stdout).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")));
    let driver = lines.next().unwrap_or_else(|| panic!("expected the driver, got nothing: {errors}"));
    if let Some(missing) = driver["missing"].as_str() {
        // past the test runner, which would keep it for itself
        writeln!(std::io::stderr(), "no_kernel_spills_registers: SKIPPED: {missing}").unwrap();
        return;
    }
    let is_known_driver = driver["driver"].as_str().unwrap().contains(DRIVER);

    let (mut wrong, mut variants) = (Vec::new(), 0);
    for line in lines.filter(|line| line["left_out"].is_null()) {
        variants += 1;
        let (kernel, variant) = (line["kernel"].as_str().unwrap(), line["variant"].as_str().unwrap());
        let got = ["spilled_vgprs", "spilled_sgprs", "scratch_bytes"].map(|key| line[key].as_u64().unwrap());
        let known = KNOWN.iter().find(|row| row.0 == kernel && (row.1 == variant || !is_known_driver));
        let what = match known {
            None if got != [0; 3] => "expected none",
            Some(_) if !is_known_driver => continue,
            Some((.., most)) if got.iter().zip(most).any(|(got, most)| got > most) => &format!("expected at most {most:?}"),
            Some(_) if got == [0; 3] => "take it off the list",
            _ => continue,
        };
        wrong.push(format!("{kernel}, {variant}: spills {got:?} (VGPRs, SGPRs, bytes of scratch): {what}"));
    }
    assert!(variants > 100, "{variants} variants compiled");
    assert!(wrong.is_empty(), "{} on {FAMILY}:\n{}", driver["driver"], wrong.join("\n"));
}
