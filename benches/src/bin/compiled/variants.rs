//! Every variant of every kernel, from WGSL through naga to RADV, on the way that wgpu takes.

use naga::back::{PipelineConstants, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};
use percept_engine::check::kernels;
use percept_engine::kernel::{Feature, Kernel};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::radv::{Radv, Request};

/// What is told of a variant, and RADV's name of it.
pub(crate) const STATISTICS: [(&str, &str); 8] = [
    ("vgprs", "VGPRs"),
    ("sgprs", "SGPRs"),
    ("spilled_vgprs", "Spilled VGPRs"),
    ("spilled_sgprs", "Spilled SGPRs"),
    ("scratch_bytes", "Scratch size"),
    ("lds_bytes", "LDS size"),
    ("occupancy", "Subgroups per SIMD"),
    ("code_bytes", "Code size"),
];

/// A line for each variant, and for each kernel that this family never runs.
pub(crate) fn compile_all(radv: &Radv) -> Result<Vec<Value>, String> {
    let kernels = kernels();
    let lines: Result<Vec<Vec<Value>>, String> = kernels
        .par_iter()
        .map(|kernel| {
            let label = label(kernel, &kernels);
            match unfit(kernel, radv) {
                Some(reason) => Ok(vec![json!({ "kernel": label, "left_out": reason })]),
                None => compile(kernel, &label, radv).map_err(|error| format!("{label}: {error}")),
            }
        })
        .collect();
    Ok(lines?.concat())
}

/// `file.entry`; where several kernels are put together around one file, with the first piece that goes into this one.
fn label(kernel: &Kernel, all: &[&Kernel]) -> String {
    let stem = |file: &'static str| file.trim_start_matches("common/").trim_end_matches(".wgsl");
    let name = format!("{}.{}", stem(kernel.shader.name), kernel.entry);
    let twins = all.iter().filter(|other| (other.shader.name, other.entry) == (kernel.shader.name, kernel.entry)).count();
    if twins == 1 { name } else { format!("{name} ({})", stem(kernel.shader.files[0])) }
}

/// Why the engine never runs a kernel on this family.
fn unfit(kernel: &Kernel, radv: &Radv) -> Option<String> {
    let needs = |feature| kernel.features.contains(&feature);
    let [fewest, most] = radv.subgroup_lanes;
    if needs(Feature::CooperativeMatrix) && !radv.has_cooperative_matrix {
        return Some("no matrix units".to_string());
    }
    ((needs(Feature::CooperativeMatrix) || needs(Feature::Subgroups)) && fewest != most)
        .then(|| format!("subgroups of {fewest} to {most} lanes, the kernel needs one number"))
}

fn compile(kernel: &Kernel, label: &str, radv: &Radv) -> Result<Vec<Value>, String> {
    let text = kernel.shader.text;
    let module = naga::front::wgsl::parse_str(text).map_err(|error| error.emit_to_string(text))?;
    let validated = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module);
    let info = validated.map_err(|error| error.emit_to_string(text))?;
    // subgroups have one size on a machine, whatever others have
    let needs_subgroups = kernel.features.contains(&Feature::Subgroups);
    let fits = |&(name, value): &(&str, f64)| !needs_subgroups || name != "LANES" || value == f64::from(radv.subgroup_lanes[0]);
    let variants = kernel.variants().into_iter().filter(|variant| variant.iter().all(fits));
    variants.map(|variant| compile_variant(kernel, label, (&module, &info), &variant, radv)).collect()
}

fn compile_variant(
    kernel: &Kernel,
    label: &str,
    (module, info): (&Module, &ModuleInfo),
    variant: &[(&str, f64)],
    radv: &Radv,
) -> Result<Value, String> {
    let constants: PipelineConstants = variant.iter().map(|&(name, value)| (name.to_string(), value)).collect();
    let stage = Some((ShaderStage::Compute, kernel.entry));
    let (module, info) = process_overrides(module, info, stage, &constants).map_err(|error| error.to_string())?;
    let target = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: kernel.entry.into() };
    let spirv = spv::write_vec(&module, &info, &options(radv), Some(&target)).map_err(|error| error.to_string())?;
    let buffers = module.global_variables.iter().filter_map(|(_, global)| match global.space {
        AddressSpace::Storage { .. } => global.binding,
        _ => None,
    });
    let buffers = buffers.map(|binding| binding.binding + 1).max().unwrap_or(0);
    let compiled = radv.compile(&Request { spirv: &spirv, entry: kernel.entry, buffers, params_bytes: kernel.params_bytes as u32 })?;

    let entry = module.entry_points.iter().find(|entry| entry.name == kernel.entry).ok_or("the entry point is gone")?;
    let constants: Vec<String> = variant.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let mut line = json!({ "kernel": label, "variant": constants.join(", "), "workgroup": entry.workgroup_size, "lanes": compiled.lanes });
    for (key, name) in STATISTICS {
        let found = compiled.statistics.iter().find(|(other, _)| other == name);
        let names = || compiled.statistics.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        line[key] = found.ok_or_else(|| format!("expected the statistic {name}, got {}", names()))?.1.into();
    }
    Ok(line)
}

/// Those of wgpu's Vulkan backend for modules that are trusted: no checks, workgroup memory as it is found.
fn options(radv: &Radv) -> spv::Options<'static> {
    use spv::Capability::*;
    let mut capabilities = vec![Shader, Matrix, Float16, Int8];
    capabilities.extend([GroupNonUniform, GroupNonUniformVote, GroupNonUniformArithmetic, GroupNonUniformBallot]);
    capabilities.extend([GroupNonUniformShuffle, GroupNonUniformShuffleRelative, GroupNonUniformQuad]);
    if radv.has_cooperative_matrix {
        capabilities.extend([CooperativeMatrixKHR, VulkanMemoryModel]);
    }
    spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::LABEL_VARYINGS,
        capabilities: Some(capabilities.into_iter().collect()),
        bounds_check_policies: naga::proc::BoundsCheckPolicies::default(),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        ..spv::Options::default()
    }
}
