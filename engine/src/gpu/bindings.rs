//! The cache of bind groups.
//!
//! A binding reaches from the tensor's offset to the end of its pooled buffer, whatever the tensor's length: shapes may vary from step to step and
//! still find the same bind group. Shaders therefore take sizes from their parameters, never from `arrayLength`. With checks on, bindings are as
//! short as the tensor, so that an access beyond it is caught.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::Context;
use super::pipelines::Pipeline;
use super::trusted::Checks;
use crate::kernel::{Launch, MAX_BINDINGS};

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
    /// The bind group of a launch. A hit allocates nothing.
    pub(super) fn get(&mut self, context: &Context, pipeline: &Pipeline, launch: &Launch<'_>) -> &wgpu::BindGroup {
        let mut key = Key { words: [0; 1 + 3 * MAX_BINDINGS], used: 1 };
        key.words[0] = pipeline.layout_id;
        for binding in launch.bindings() {
            let raw = &binding.tensor.storage().gpu().raw;
            let offset = binding.offset_bytes as u64;
            let size = match context.checks {
                // whole vectors of 16 bytes, for shaders that read four elements at a time; buffers end on a multiple of 256
                Checks::On => (binding.size_bytes as u64).max(1).next_multiple_of(16),
                Checks::Off => (raw.bytes - offset).min(context.report.max_binding_bytes & !3),
            };
            key.words[key.used..key.used + 3].copy_from_slice(&[raw.id, offset, size]);
            key.used += 3;
        }
        if self.cached.len() >= MAX_CACHED {
            self.cached.clear();
        }
        let created = &mut self.created;
        self.cached.entry(key).or_insert_with_key(|key| {
            *created += 1;
            create(context, pipeline, launch, key)
        })
    }

    /// Drops the bind groups of buffers that are no more.
    pub(super) fn forget(&mut self, buffers: &[u64]) {
        let gone: std::collections::HashSet<u64> = buffers.iter().copied().collect();
        self.cached.retain(|key, _| key.words[1..key.used].iter().step_by(3).all(|id| !gone.contains(id)));
    }
}

fn create(context: &Context, pipeline: &Pipeline, launch: &Launch<'_>, key: &Key) -> wgpu::BindGroup {
    let entries: Vec<_> = launch
        .bindings()
        .zip(key.words[1..].chunks_exact(3))
        .enumerate()
        .map(|(index, (binding, words))| wgpu::BindGroupEntry {
            binding: index as u32,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &binding.tensor.storage().gpu().raw.buffer,
                offset: words[1],
                size: wgpu::BufferSize::new(words[2]),
            }),
        })
        .collect();
    context.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(launch.kernel.name),
        layout: &pipeline.layout,
        entries: &entries,
    })
}

/// A hash for keys of a few integers that nobody chooses to collide: a multiplication per word.
pub(super) type FastHash = BuildHasherDefault<FastHasher>;

#[derive(Default)]
pub(super) struct FastHasher(u64);

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        // the high bits are the mixed ones, the table takes the low ones
        self.0.rotate_left(32)
    }
}
