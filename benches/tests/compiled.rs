//! No kernel spills registers: Mesa's RADV compiles all of them for RDNA 2, in a process of its own, which needs no GPU.
//!
//! Skipped, in words, where no RADV is installed (on Debian: `mesa-vulkan-drivers`).

use std::io::Write;
use std::process::Command;

use serde_json::Value;

const FAMILY: &str = "navi21";

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

    let (mut spilling, mut variants) = (Vec::new(), 0);
    for line in lines.filter(|line| line["left_out"].is_null()) {
        variants += 1;
        let [vgprs, sgprs, scratch] = ["spilled_vgprs", "spilled_sgprs", "scratch_bytes"].map(|key| line[key].as_u64().unwrap());
        if [vgprs, sgprs, scratch] != [0; 3] {
            let (kernel, variant) = (&line["kernel"], &line["variant"]);
            spilling.push(format!("{kernel} {variant}: {vgprs} VGPRs and {sgprs} SGPRs, {scratch} bytes of scratch"));
        }
    }
    assert!(variants > 100, "expected hundreds of variants, got {variants}");
    assert!(spilling.is_empty(), "registers spilled by {} for {FAMILY}:\n{}", driver["driver"], spilling.join("\n"));
}
