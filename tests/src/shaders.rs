//! The WGSL files: each compiles for Vulkan, Metal and DX12, and says the same as the Rust that calls it.

use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::FRAC_PI_2;
use std::path::{Path, PathBuf};

use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants::process_overrides, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Expression, Handle, Module, ShaderStage, TypeInner};
use percept_engine::Tensor;
use percept_engine::check::kernels;
use percept_engine::kernel::{Feature, Kernel};

use crate::common::gpu;

#[test]
fn every_kernel_translates_to_spirv_msl_and_hlsl() {
    for_every_kernel(|kernel, module, info| {
        let stage = Some((ShaderStage::Compute, kernel.entry));
        let (module, info) = process_overrides(module, info, stage, &PipelineConstants::default())
            .map_err(|e| format!("give every override a default: {e}"))?;
        spirv(kernel, &module, &info)?;
        metal(kernel, &module, &info)?;
        // HLSL has no cooperative matrices
        if !kernel.features.contains(&Feature::CooperativeMatrix) {
            direct3d(kernel, &module, &info)?;
        }
        Ok(())
    });
}

#[test]
fn parameter_structs_have_the_same_fields_in_rust_and_wgsl() {
    for_every_kernel(|kernel, module, _| {
        let params = module.global_variables.iter().find(|(_, global)| global.space == AddressSpace::Immediate);
        let Some((_, params)) = params else {
            return Err("has no `var<immediate> params: Params;`".into());
        };
        let TypeInner::Struct { members, .. } = &module.types[params.ty].inner else {
            return Err("its parameters are not a struct".into());
        };
        let wgsl: Vec<(&str, usize)> = members.iter().map(|m| (m.name.as_deref().unwrap_or("?"), m.offset as usize)).collect();
        if wgsl != kernel.params_fields {
            return Err(format!("fields in WGSL {wgsl:?}, in Rust {:?}", kernel.params_fields));
        }
        // a struct whose last field differs in type ends elsewhere
        let end = members.last().map_or(0, |m| m.offset as usize + module.types[m.ty].inner.size(module.to_ctx()) as usize);
        match end == kernel.params_bytes && end <= 128 {
            true => Ok(()),
            false => Err(format!("{end} bytes of parameters in WGSL, {} in Rust, at most 128", kernel.params_bytes)),
        }
    });
}

/// What launches set, and what tools go over that compile every variant.
#[test]
fn overrides_are_the_same_in_rust_and_wgsl() {
    // entry points of a file share its overrides, and need not use them all
    let mut declared: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for kernel in kernels() {
        declared.entry(kernel.shader.text).or_default().extend(kernel.overrides.iter().map(|(name, _)| name));
    }
    for_every_kernel(|kernel, module, _| {
        // those that are computed of others are set by nobody
        let is_set = |init: Handle<Expression>| matches!(module.global_expressions[init], Expression::Literal(_));
        let all = module.overrides.iter().map(|(_, constant)| constant);
        let wgsl: BTreeSet<&str> =
            all.filter(|constant| constant.init.is_some_and(is_set)).filter_map(|constant| constant.name.as_deref()).collect();
        let rust = &declared[kernel.shader.text];
        match wgsl == *rust && kernel.overrides.iter().all(|(_, values)| !values.is_empty()) {
            true => Ok(()),
            false => Err(format!("overrides in WGSL {wgsl:?}, in Rust {rust:?}, with values {:?}", kernel.overrides)),
        }
    });
}

#[test]
fn sizes_come_from_parameters() {
    for_every_kernel(|_, module, _| {
        let functions = module.functions.iter().map(|(_, f)| f).chain(module.entry_points.iter().map(|e| &e.function));
        for function in functions {
            if function.expressions.iter().any(|(_, e)| matches!(e, Expression::ArrayLength(_))) {
                return Err("calls arrayLength, but bindings reach beyond the tensor's end".into());
            }
        }
        Ok(())
    });
}

/// Whatever drivers promise of a function must have been weighed before a kernel calls it: the list stands in shaders/README.md.
#[test]
fn the_table_of_precision_lists_the_functions_that_kernels_call() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders/README.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let rows = text.split("| built-in |").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("the table of precision");
    let names = rows.lines().filter_map(|line| line.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let listed: BTreeSet<String> = names.filter(|name| name.starts_with(char::is_alphabetic)).map(str::to_lowercase).collect();
    let mut called = BTreeSet::new();
    for kernel in kernels() {
        let module = naga::front::wgsl::parse_str(kernel.shader.text).unwrap_or_else(|e| panic!("{}: {e}", kernel.shader.name));
        let functions = module.functions.iter().map(|(_, f)| f).chain(module.entry_points.iter().map(|e| &e.function));
        for (_, expression) in functions.flat_map(|function| function.expressions.iter()) {
            if let Expression::Math { fun, .. } = expression {
                called.insert(format!("{fun:?}").to_lowercase());
            }
        }
    }
    assert_eq!(called, listed, "called by kernels, and listed in shaders/README.md");
}

/// common/math.wgsl where its range reduction is hardest: between two quarters of a turn, up to 10,000.
#[test]
fn sine_and_cosine_hold_between_quarter_turns() {
    let x: Vec<f32> = (-6366..6366).map(|quarter| ((f64::from(quarter) + 0.5) * FRAC_PI_2) as f32).collect();
    let tensor = Tensor::from_slice(&gpu(), &x, &[x.len()]);
    let (sines, cosines) = (tensor.sin().to_vec::<f32>().unwrap(), tensor.cos().to_vec::<f32>().unwrap());
    for ((&x, sine), cosine) in x.iter().zip(sines).zip(cosines) {
        let error = (f64::from(sine) - f64::from(x).sin()).abs().max((f64::from(cosine) - f64::from(x).cos()).abs());
        assert!(error < 2e-7, "at {x}: sine {sine}, cosine {cosine}, off by {error}");
    }
}

#[test]
fn the_logarithm_holds_at_its_edges() {
    let x = [0.0, -0.0, 1e-40, f32::MIN_POSITIVE, 1.0, f32::MAX, f32::INFINITY, -1.0, f32::NAN];
    let got = Tensor::from_slice(&gpu(), &x, &[x.len()]).log().to_vec::<f32>().unwrap();
    for (x, got) in x.into_iter().zip(got) {
        let expected = f64::from(x).ln() as f32;
        let is_same = got == expected || (got - expected).abs() <= 4.0 * f32::EPSILON * expected.abs() || got.is_nan() && expected.is_nan();
        assert!(is_same, "log({x}): got {got}, expected {expected}");
    }
}

#[test]
fn every_entry_point_belongs_to_a_kernel() {
    let called: BTreeSet<(&str, &str)> = kernels().into_iter().map(|kernel| (kernel.shader.name, kernel.entry)).collect();
    // a file may be embedded several times, with other common pieces
    let mut texts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for kernel in kernels() {
        texts.entry(kernel.shader.name).or_default().insert(kernel.shader.text);
    }
    let mut orphans = Vec::new();
    for path in shader_files("") {
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8 file names");
        let Some(texts) = texts.get(name) else {
            orphans.push(format!("{name}: no kernel embeds this file"));
            continue;
        };
        for text in texts {
            let module = naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(text)));
            for entry in module.entry_points {
                if !called.contains(&(name, entry.name.as_str())) {
                    orphans.push(format!("{name}: entry point `{}` belongs to no kernel of the op table", entry.name));
                }
            }
        }
    }
    for path in shader_files("common") {
        let piece = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        if !texts.values().flatten().any(|text| text.contains(&piece)) {
            orphans.push(format!("{}: no kernel embeds this piece", path.display()));
        }
    }
    assert!(orphans.is_empty(), "{}", orphans.join("\n"));
}

/// The `.wgsl` files in `shaders/`, or in a folder of it.
fn shader_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "wgsl")).collect();
    files.sort();
    files
}

/// Parses and validates the shader of each kernel, runs the check and reports all failures at once.
fn for_every_kernel(check: impl Fn(&Kernel, &Module, &ModuleInfo) -> Result<(), String>) {
    let mut failures = Vec::new();
    for kernel in kernels() {
        let text = kernel.shader.text;
        let result = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text)).and_then(|module| {
            let capabilities = Capabilities::all();
            let info = Validator::new(ValidationFlags::all(), capabilities).validate(&module).map_err(|e| e.emit_to_string(text))?;
            check(kernel, &module, &info)
        });
        if let Err(error) = result {
            failures.push(format!("{} ({}): {error}", kernel.name, kernel.shader.name));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn spirv(kernel: &Kernel, module: &Module, info: &ModuleInfo) -> Result<(), String> {
    let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: kernel.entry.into() };
    spv::write_vec(module, info, &options, Some(&pipeline)).map(|_| ()).map_err(|e| format!("SPIR-V: {e}"))
}

fn metal(kernel: &Kernel, module: &Module, info: &ModuleInfo) -> Result<(), String> {
    let options = msl::Options { lang_version: (3, 0), ..msl::Options::default() };
    let pipeline =
        msl::PipelineOptions { entry_point: Some((ShaderStage::Compute, kernel.entry.into())), ..msl::PipelineOptions::default() };
    let (_, translation) = msl::write_string(module, info, &options, &pipeline).map_err(|e| format!("MSL: {e}"))?;
    translation.entry_point_names.into_iter().try_for_each(|name| name.map(|_| ()).map_err(|e| format!("MSL: {e}")))
}

fn direct3d(kernel: &Kernel, module: &Module, info: &ModuleInfo) -> Result<(), String> {
    let target = |register| Some(hlsl::BindTarget { space: 7, register, ..hlsl::BindTarget::default() });
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_6,
        special_constants_binding: target(0),
        immediates_target: target(1),
        ..hlsl::Options::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((ShaderStage::Compute, kernel.entry.into())) };
    let mut text = String::new();
    let mut writer = hlsl::Writer::new(&mut text, &options, &pipeline);
    let reflection = writer.write(module, info, None).map_err(|e| format!("HLSL: {e}"))?;
    reflection.entry_point_names.into_iter().try_for_each(|name| name.map(|_| ()).map_err(|e| format!("HLSL: {e}")))
}
