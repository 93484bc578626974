//! The lines of `compiled --json` as Markdown.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::Value;

/// Kernels with more variants than this have one row, of the worst.
const SHOWN_VARIANTS: usize = 6;

/// The top of the file: what it is, and how to read it.
pub(crate) fn head(families: &[&str]) -> String {
    format!(
        "# What a driver's compiler makes of the kernels\n\n\
         Written by `cargo run --release -p percept-benches --no-default-features --bin compiled -- {}`, without a GPU: Mesa's RADV compiles every variant of every\n\
         kernel for a family of AMD and tells what it used. Nothing ran, so these are no speeds.\n\n\
         **How to read it.** Rows stand worst first; a bold row *spills*: its values did not fit into the registers (VGPRs, one value for each lane; SGPRs, one for\n\
         the whole subgroup) and went to scratch, which is memory, or (SGPRs) to lanes of VGPRs. Scratch is in bytes for a whole subgroup. Occupancy is how many subgroups a\n\
         processor can hold at a time, in RADV's unit: 32 is the most on RDNA, 10 on older ones; below about 8 there are few others to run while one waits for memory.\n\
         Of kernels with more than {SHOWN_VARIANTS} variants the worst stands here; `--json` prints all.\n",
        families.join(" ")
    )
}

/// The table of one family.
pub(crate) fn section(family: &str, lines: &[Value]) -> String {
    let (driver, lines) = lines.split_first().expect("the line about the driver");
    let (left_out, rows): (Vec<&Value>, Vec<&Value>) = lines.iter().partition(|line| line["left_out"].is_string());
    let spilling = rows.iter().filter(|row| spills(row)).count();
    let mut text = format!(
        "\n## {family}\n\nDriver {}; {}. {} variants of {} kernels, of which {spilling} spill.\n\n",
        word(&driver["driver"]),
        word(&driver["device"]),
        rows.len(),
        by_kernel(&rows).len()
    );
    text.push_str(
        "| kernel | variant | workgroup | lanes | VGPRs | SGPRs | spilled VGPRs | spilled SGPRs | scratch, bytes | workgroup memory, bytes | occupancy | code, bytes |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut shown: Vec<(&Value, String)> = by_kernel(&rows).into_values().flat_map(of_kernel).collect();
    shown.sort_by_key(|(row, _)| badness(row));
    for (row, variant) in shown {
        let name = word(&row["kernel"]);
        let kernel = if spills(row) { format!("**{name}**") } else { name.to_string() };
        let columns =
            ["lanes", "vgprs", "sgprs", "spilled_vgprs", "spilled_sgprs", "scratch_bytes", "lds_bytes", "occupancy", "code_bytes"];
        let numbers: Vec<String> = columns.iter().map(|key| number(row, key).to_string()).collect();
        text.push_str(&format!("| {kernel} | {variant} | {} | {} |\n", workgroup(row), numbers.join(" | ")));
    }
    if !left_out.is_empty() {
        text.push_str("\nNever run on this family, so left out:\n\n");
        for line in left_out {
            text.push_str(&format!("- {}: {}\n", word(&line["kernel"]), word(&line["left_out"])));
        }
    }
    text
}

fn by_kernel<'a>(rows: &[&'a Value]) -> BTreeMap<&'a str, Vec<&'a Value>> {
    let mut kernels: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    rows.iter().for_each(|row| kernels.entry(word(&row["kernel"])).or_default().push(row));
    kernels
}

/// All rows of a kernel, or the worst; each with what stands in the column `variant`.
fn of_kernel(mut rows: Vec<&Value>) -> Vec<(&Value, String)> {
    if rows.len() <= SHOWN_VARIANTS {
        return rows.into_iter().map(|row| (row, word(&row["variant"]).to_string())).collect();
    }
    rows.sort_by_key(|row| badness(row));
    vec![(rows[0], format!("{}; the worst of {}", word(&rows[0]["variant"]), rows.len()))]
}

/// Orders rows, the worst first.
fn badness(row: &Value) -> impl Ord + use<> {
    let [scratch, vgprs, sgprs] = ["scratch_bytes", "spilled_vgprs", "spilled_sgprs"].map(|key| Reverse(number(row, key)));
    (
        scratch,
        vgprs,
        sgprs,
        number(row, "occupancy"),
        Reverse(number(row, "vgprs")),
        Reverse(number(row, "code_bytes")),
        word(&row["kernel"]).to_string(),
    )
}

fn spills(row: &Value) -> bool {
    ["scratch_bytes", "spilled_vgprs", "spilled_sgprs"].iter().any(|key| number(row, key) > 0)
}

fn workgroup(row: &Value) -> String {
    let sizes: Vec<String> = row["workgroup"].as_array().expect("three sizes").iter().map(Value::to_string).collect();
    // a third axis is written only if there is a second, and that only if there is one
    let axes = sizes.iter().rposition(|size| size != "1").map_or(1, |last| last + 1);
    sizes[..axes].join(" × ")
}

fn number(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("{row}: expected a number named {key}, got {}", row[key]))
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected a text, got {value}"))
}
