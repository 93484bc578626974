//! The cache of bind groups.
//!
//! A binding reaches from the tensor's offset to the end of its pooled buffer, whatever the tensor's length: shapes may vary from step to step and
//! still find the same bind group. Shaders therefore take sizes from their parameters, never from `arrayLength`. With checks on, bindings are as
//! short as the tensor, so that an access beyond it is caught.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use super::buffers::GpuBuffer;
use super::context::Context;
use super::hash::FastHash;
use super::pipelines::Pipeline;
use super::trusted::Checks;
use crate::kernel::{Dispatch, MAX_BINDINGS};

/// More than any training step needs; runs of ever new shapes start over here instead of filling the driver's memory.
const MAX_CACHED: usize = 1 << 16;

/// Bind groups by layout and buffers.
#[derive(Default)]
pub(super) struct BindGroups {
    cached: HashMap<Key, wgpu::BindGroup, FastHash>,
    pub(super) created: u64,
}

/// Layout, then id, offset and size of each binding; zeros behind.
#[derive(PartialEq, Eq)]
struct Key {
    words: [u64; 1 + 3 * MAX_BINDINGS],
    used: usize,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for &word in &self.words[..self.used] {
            state.write_u64(word);
        }
    }
}

impl BindGroups {
    /// The bind group of a dispatch. A hit allocates nothing.
    pub(super) fn get(&mut self, context: &Context, pipeline: &Pipeline, dispatch: &Dispatch<'_, GpuBuffer>) -> &wgpu::BindGroup {
        let mut key = Key { words: [0; 1 + 3 * MAX_BINDINGS], used: 1 };
        key.words[0] = pipeline.layout_id;
        for bound in dispatch.bound() {
            let offset = bound.offset_bytes as u64;
            let size = match context.checks {
                // whole vectors of 16 bytes, for shaders that read four elements at a time; buffers end on a multiple of 256
                Checks::On => (bound.size_bytes as u64).max(1).next_multiple_of(16),
                Checks::Off => (bound.storage.bytes() - offset).min(context.report.max_binding_bytes & !3),
            };
            key.words[key.used..key.used + 3].copy_from_slice(&[bound.storage.id(), offset, size]);
            key.used += 3;
        }
        if self.cached.len() >= MAX_CACHED {
            self.cached.clear();
        }
        let created = &mut self.created;
        self.cached.entry(key).or_insert_with_key(|key| {
            *created += 1;
            create(context, pipeline, dispatch, key)
        })
    }

    /// Drops the bind groups of buffers that are no more.
    pub(super) fn forget(&mut self, buffers: &[u64]) {
        let gone: std::collections::HashSet<u64> = buffers.iter().copied().collect();
        self.cached.retain(|key, _| key.words[1..key.used].iter().step_by(3).all(|id| !gone.contains(id)));
    }
}

fn create(context: &Context, pipeline: &Pipeline, dispatch: &Dispatch<'_, GpuBuffer>, key: &Key) -> wgpu::BindGroup {
    let entries: Vec<_> = dispatch
        .bound()
        .zip(key.words[1..].chunks_exact(3))
        .enumerate()
        .map(|(index, (bound, words))| wgpu::BindGroupEntry {
            binding: index as u32,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &bound.storage.buffer,
                offset: words[1],
                size: wgpu::BufferSize::new(words[2]),
            }),
        })
        .collect();
    context.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(dispatch.kernel.name),
        layout: &pipeline.layout,
        entries: &entries,
    })
}
