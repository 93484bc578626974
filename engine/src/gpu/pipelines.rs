//! Compute pipelines, one for each kernel and set of constants, compiled at first use.

use std::collections::HashMap;

use super::buffers::GpuBuffer;
use super::context::Context;
use super::hash::FastHash;
use super::trusted::{Checks, shader_module};
use crate::error::{Error, Result};
use crate::kernel::{Dispatch, Feature, Kernel, MAX_BINDINGS};

/// A compiled kernel.
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
    /// Number of the layout, for the keys of bind groups.
    pub(super) layout_id: u64,
    /// Number of the pipeline: the recorder skips setting the one that is set.
    pub(super) id: u64,
}

/// The cache of pipelines, layouts and shader modules.
#[derive(Default)]
pub(super) struct Pipelines {
    kernels: HashMap<usize, Vec<Variant>, FastHash>,
    modules: HashMap<&'static str, wgpu::ShaderModule>,
    layouts: HashMap<(usize, usize), wgpu::BindGroupLayout>,
    params_layouts: HashMap<ParamsIn, wgpu::BindGroupLayout>,
    pub(super) created: u64,
}

/// How the parameters of a kernel travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ParamsIn {
    Immediates,
    /// A uniform buffer, for scalars: storage buffers are few on some adapters, and kernels need them for tensors.
    Uniform,
    /// A storage buffer, for arrays.
    Storage,
}

impl ParamsIn {
    pub(super) fn of(kernel: &Kernel, context: &Context) -> ParamsIn {
        match () {
            () if context.report.immediates => ParamsIn::Immediates,
            () if kernel.has_scalar_params() => ParamsIn::Uniform,
            () => ParamsIn::Storage,
        }
    }
}

struct Variant {
    constants: Vec<(&'static str, f64)>,
    pipeline: Pipeline,
}

impl Pipelines {
    /// The pipeline of a dispatch. A hit allocates nothing.
    pub(super) fn get(&mut self, context: &Context, dispatch: &Dispatch<'_, GpuBuffer>) -> Result<&Pipeline> {
        let key = std::ptr::from_ref(dispatch.kernel) as usize;
        let found = self.kernels.get(&key).and_then(|all| all.iter().position(|v| v.constants == dispatch.constants));
        let index = match found {
            Some(index) => index,
            None => {
                let pipeline = self.create(context, dispatch)?;
                let all = self.kernels.entry(key).or_default();
                all.push(Variant { constants: dispatch.constants.to_vec(), pipeline });
                all.len() - 1
            }
        };
        Ok(&self.kernels[&key][index].pipeline)
    }

    /// Layout of the bind group that carries parameters in a buffer.
    pub(super) fn params_layout(&mut self, context: &Context, params: ParamsIn) -> wgpu::BindGroupLayout {
        let ty = match params {
            ParamsIn::Uniform => wgpu::BufferBindingType::Uniform,
            ParamsIn::Storage | ParamsIn::Immediates => wgpu::BufferBindingType::Storage { read_only: true },
        };
        self.params_layouts.entry(params).or_insert_with(|| bind_group_layout(context, &[entry(0, ty, true)])).clone()
    }

    fn create(&mut self, context: &Context, dispatch: &Dispatch<'_, GpuBuffer>) -> Result<Pipeline> {
        let kernel = dispatch.kernel;
        check_features(context, kernel)?;
        let unsupported = |what: String| Error::Unsupported { adapter: context.report.name.clone(), what };
        let params = ParamsIn::of(kernel, context);
        let buffers = dispatch.inputs + dispatch.outputs + usize::from(params == ParamsIn::Storage);
        if buffers > context.report.max_storage_buffers as usize {
            let limit = context.report.max_storage_buffers;
            return Err(unsupported(format!("{}: binds {buffers} buffers, the adapter allows {limit}", kernel.name)));
        }

        let scope = context.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let module = self.module(context, kernel, params);
        let layout = self.layout(context, dispatch.inputs, dispatch.outputs);
        let params_layout = (params != ParamsIn::Immediates).then(|| self.params_layout(context, params));
        let pipeline_layout = context.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name),
            bind_group_layouts: &[Some(&layout), params_layout.as_ref()][..1 + usize::from(params_layout.is_some())],
            immediate_size: if params == ParamsIn::Immediates { kernel.params_bytes.next_multiple_of(4) as u32 } else { 0 },
        });
        let pipeline = context.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(kernel.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: dispatch.constants,
                // Kernels write workgroup memory before they read it; clearing costs a barrier.
                zero_initialize_workgroup_memory: context.checks == Checks::On,
            },
            cache: None,
        });
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(unsupported(format!("{} does not compile: {error}", kernel.name)));
        }
        self.created += 1;
        let layout_id = (dispatch.inputs * (MAX_BINDINGS + 1) + dispatch.outputs) as u64;
        Ok(Pipeline { pipeline, layout, layout_id, id: self.created })
    }

    /// One module per source: the entry points of a file share it.
    fn module(&mut self, context: &Context, kernel: &Kernel, params: ParamsIn) -> wgpu::ShaderModule {
        let create = || {
            let text = with_params_in(kernel.shader.text, params);
            shader_module(&context.device, kernel.shader.name, &text, context.checks)
        };
        self.modules.entry(kernel.shader.text).or_insert_with(create).clone()
    }

    fn layout(&mut self, context: &Context, inputs: usize, outputs: usize) -> wgpu::BindGroupLayout {
        let create = || {
            let storage = |index| wgpu::BufferBindingType::Storage { read_only: index < inputs };
            let entries: Vec<_> = (0..inputs + outputs).map(|index| entry(index as u32, storage(index), false)).collect();
            bind_group_layout(context, &entries)
        };
        self.layouts.entry((inputs, outputs)).or_insert_with(create).clone()
    }
}

/// Where parameters come from: immediates as the shaders are written, else a read-only buffer. The layout of the struct is the same in all.
fn with_params_in(text: &str, params: ParamsIn) -> String {
    match params {
        ParamsIn::Immediates => text.to_string(),
        ParamsIn::Uniform => text.replace("var<immediate>", "@group(1) @binding(0) var<uniform>"),
        ParamsIn::Storage => text.replace("var<immediate>", "@group(1) @binding(0) var<storage, read>"),
    }
}

fn check_features(context: &Context, kernel: &Kernel) -> Result<()> {
    for feature in kernel.features {
        let has = match feature {
            Feature::Subgroups => context.report.subgroups,
            Feature::F16 => context.report.f16,
            Feature::CooperativeMatrix => !context.report.cooperative_tiles.is_empty(),
        };
        if !has {
            let what = format!("{} needs {feature:?}, which this adapter does not have", kernel.name);
            return Err(Error::Unsupported { adapter: context.report.name.clone(), what });
        }
    }
    Ok(())
}

fn entry(binding: u32, ty: wgpu::BufferBindingType, has_dynamic_offset: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
        count: None,
    }
}

fn bind_group_layout(context: &Context, entries: &[wgpu::BindGroupLayoutEntry]) -> wgpu::BindGroupLayout {
    context.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries })
}
