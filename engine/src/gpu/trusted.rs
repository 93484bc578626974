//! The two unsafe promises of the backend, each with its reason.
#![allow(unsafe_code)]

/// Compiles WGSL without the checks that naga adds (bounds, loop limits, zero divisors), or with them.
///
/// The checks cost up to half the speed of a hot kernel. They may be off because the sources are this repository's own files, embedded at compile
/// time, never text from outside; the op table runs every kernel at odd, prime, empty and large sizes against the CPU; and `PERCEPT_CHECK=1` runs
/// them with the checks on.
pub(super) fn shader_module(device: &wgpu::Device, name: &str, text: &str, checks: Checks) -> wgpu::ShaderModule {
    let desc = wgpu::ShaderModuleDescriptor { label: Some(name), source: wgpu::ShaderSource::Wgsl(text.into()) };
    match checks {
        Checks::On => device.create_shader_module(desc),
        // SAFETY: `text` is one of our own shaders (see above): no index out of bounds, no endless loop, no zero divisor.
        Checks::Off => unsafe { device.create_shader_module_trusted(desc, wgpu::ShaderRuntimeChecks::unchecked()) },
    }
}

/// Whether shaders carry naga's run-time checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checks {
    On,
    Off,
}

/// The token for wgpu's experimental features, of which only cooperative matrices are requested.
pub(super) fn experimental_features() -> wgpu::ExperimentalFeatures {
    // SAFETY: the token acknowledges that the feature may have bugs. Only shaders written for it use it, and the numeric gate of the tuning
    // compares their results with the portable kernel's before any of them is chosen.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
