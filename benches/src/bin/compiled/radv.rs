//! Mesa's RADV without a GPU: the Vulkan driver for AMD compiles for the family that `RADV_FORCE_FAMILY` names and says what it made.
#![allow(unsafe_code)] // Vulkan is a C interface

use std::ffi::{CStr, CString};

use ash::vk;

/// The driver with a device that can compile and do nothing else.
pub(crate) struct Radv {
    device: ash::Device,
    executables: ash::khr::pipeline_executable_properties::Device,
    /// The name of the imagined device, with the family.
    pub(crate) name: String,
    /// The driver's name and version.
    pub(crate) driver: String,
    /// The fewest and the most lanes of a subgroup.
    pub(crate) subgroup_lanes: [u32; 2],
    /// Whether there are matrix units that Vulkan knows.
    pub(crate) has_cooperative_matrix: bool,
    // unloads the library: dropped last
    _entry: ash::Entry,
}

/// What the compiler made of a kernel, per invocation where nothing else is said.
pub(crate) struct Compiled {
    /// Lanes of a subgroup.
    pub(crate) lanes: u32,
    /// By the driver's names, as `VGPRs`.
    pub(crate) statistics: Vec<(String, u64)>,
}

/// One pipeline to compile.
pub(crate) struct Request<'a> {
    pub(crate) spirv: &'a [u32],
    pub(crate) entry: &'a str,
    /// Storage buffers, bound from 0 on.
    pub(crate) buffers: u32,
    pub(crate) params_bytes: u32,
}

impl Radv {
    /// The driver, or in words why there is none.
    pub(crate) fn open() -> Result<Radv, String> {
        // SAFETY: the Vulkan loader of this machine, and calls as Vulkan's specification wants them; every structure outlives the call that takes it.
        unsafe {
            let entry = ash::Entry::load().map_err(|error| format!("no Vulkan loader: {error}"))?;
            let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let info = vk::InstanceCreateInfo::default().application_info(&application);
            let instance = entry.create_instance(&info, None).map_err(|error| format!("no Vulkan driver: {error}"))?;
            let all = instance.enumerate_physical_devices().map_err(|error| format!("no Vulkan device: {error}"))?;
            let is_radv = |&device: &vk::PhysicalDevice| properties(&instance, device).1.driver_id == vk::DriverId::MESA_RADV;
            let physical = all.into_iter().find(is_radv).ok_or("no RADV for this family among the Vulkan drivers")?;
            Radv::of(entry, &instance, physical)
        }
    }

    /// With the features and extensions that wgpu asks for where they change what is compiled.
    unsafe fn of(entry: ash::Entry, instance: &ash::Instance, physical: vk::PhysicalDevice) -> Result<Radv, String> {
        // SAFETY: as in `open`.
        unsafe {
            let failed = |error: vk::Result| format!("RADV does not open its device: {error}");
            let offered = instance.enumerate_device_extension_properties(physical).map_err(failed)?;
            let has = |name: &CStr| offered.iter().any(|extension| extension.extension_name_as_c_str() == Ok(name));
            let has_cooperative_matrix = has(ash::khr::cooperative_matrix::NAME);
            let has_robustness2 = has(ash::ext::robustness2::NAME);
            let mut extensions = vec![ash::khr::pipeline_executable_properties::NAME.as_ptr()];
            extensions.extend(has_cooperative_matrix.then_some(ash::khr::cooperative_matrix::NAME.as_ptr()));
            extensions.extend(has_robustness2.then_some(ash::ext::robustness2::NAME.as_ptr()));

            let core = vk::PhysicalDeviceFeatures::default().robust_buffer_access(true);
            let mut of_1_1 = vk::PhysicalDeviceVulkan11Features::default()
                .storage_buffer16_bit_access(true)
                .uniform_and_storage_buffer16_bit_access(true);
            let mut of_1_2 = vk::PhysicalDeviceVulkan12Features::default()
                .shader_float16(true)
                .shader_int8(true)
                .vulkan_memory_model(has_cooperative_matrix)
                .vulkan_memory_model_device_scope(has_cooperative_matrix);
            let mut of_1_3 = vk::PhysicalDeviceVulkan13Features::default()
                .subgroup_size_control(true)
                .shader_integer_dot_product(true)
                .maintenance4(true);
            let mut executables = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
            let mut robustness2 = vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
            let mut matrix = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
            let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
            let mut info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .enabled_features(&core)
                .push_next(&mut of_1_1)
                .push_next(&mut of_1_2)
                .push_next(&mut of_1_3)
                .push_next(&mut executables);
            if has_robustness2 {
                info = info.push_next(&mut robustness2);
            }
            if has_cooperative_matrix {
                info = info.push_next(&mut matrix);
            }
            let device = instance.create_device(physical, &info, None).map_err(failed)?;

            let (of_device, of_driver, lanes) = properties(instance, physical);
            let text = |characters: &[std::ffi::c_char]| CStr::from_ptr(characters.as_ptr()).to_string_lossy().into_owned();
            Ok(Radv {
                executables: ash::khr::pipeline_executable_properties::Device::new(instance, &device),
                device,
                name: text(&of_device.device_name),
                driver: format!("{} {}", text(&of_driver.driver_name), text(&of_driver.driver_info)),
                subgroup_lanes: [lanes.min_subgroup_size, lanes.max_subgroup_size],
                has_cooperative_matrix,
                _entry: entry,
            })
        }
    }

    /// Compiles a kernel, and asks what came of it. Whatever Vulkan makes on the way lives until the program ends, which is soon.
    pub(crate) fn compile(&self, request: &Request) -> Result<Compiled, String> {
        let failed = |error: vk::Result| format!("RADV refuses: {error}");
        let entry = CString::new(request.entry).map_err(|error| error.to_string())?;
        let binding = |index| {
            let all = vk::DescriptorSetLayoutBinding::default().binding(index).descriptor_count(1);
            all.descriptor_type(vk::DescriptorType::STORAGE_BUFFER).stage_flags(vk::ShaderStageFlags::COMPUTE)
        };
        let bindings: Vec<_> = (0..request.buffers).map(binding).collect();
        let immediates =
            [vk::PushConstantRange::default().stage_flags(vk::ShaderStageFlags::COMPUTE).size(request.params_bytes.next_multiple_of(4))];
        let module = vk::ShaderModuleCreateInfo::default().code(request.spirv);
        // SAFETY: as in `open`; naga validated the SPIR-V, and the layout is that of its bindings.
        unsafe {
            let layout_info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [self.device.create_descriptor_set_layout(&layout_info, None).map_err(failed)?];
            let layout_info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets).push_constant_ranges(&immediates);
            let layout = self.device.create_pipeline_layout(&layout_info, None).map_err(failed)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE)
                .module(self.device.create_shader_module(&module, None).map_err(failed)?)
                .name(&entry);
            let info =
                vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout).flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR);
            let pipelines = self.device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
            let pipeline = pipelines.map_err(|(_, error)| failed(error))?[0];

            let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
            let parts = self.executables.get_pipeline_executable_properties(&info).map_err(failed)?;
            let [part] = parts[..] else { return Err(format!("expected a pipeline of one program, got {}", parts.len())) };
            let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
            let statistics = self.executables.get_pipeline_executable_statistics(&info).map_err(failed)?;
            let named = |statistic: &vk::PipelineExecutableStatisticKHR| {
                let value = match statistic.format {
                    vk::PipelineExecutableStatisticFormatKHR::UINT64 => Some(statistic.value.u64),
                    _ => None,
                };
                Some((statistic.name_as_c_str().ok()?.to_string_lossy().into_owned(), value?))
            };
            Ok(Compiled { lanes: part.subgroup_size, statistics: statistics.iter().filter_map(named).collect() })
        }
    }
}

type Properties =
    (vk::PhysicalDeviceProperties, vk::PhysicalDeviceDriverProperties<'static>, vk::PhysicalDeviceSubgroupSizeControlProperties<'static>);

unsafe fn properties(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Properties {
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut lanes = vk::PhysicalDeviceSubgroupSizeControlProperties::default();
    let mut all = vk::PhysicalDeviceProperties2::default().push_next(&mut driver).push_next(&mut lanes);
    // SAFETY: as in `open`.
    unsafe { instance.get_physical_device_properties2(physical, &mut all) };
    let device = all.properties;
    driver.p_next = std::ptr::null_mut();
    lanes.p_next = std::ptr::null_mut();
    (device, driver, lanes)
}
