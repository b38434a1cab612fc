//! Pipelines and bind groups, made at first use and kept.

use super::adapter::refused;
use super::commands::{Commands, SLOT};
use super::fault::one_line;
use super::kept::Kept;
use super::shader::{EntryPoint, Shader};
use crate::error::Result;
use isobath_kernels::Entry;
use std::collections::HashMap;
use std::num::NonZeroU64;
use wgpu::{
    BindGroup, BindGroupLayout, BindGroupLayoutEntry, BindingType, BufferBindingType, ComputePipeline, ShaderStages,
};

/// What can be dispatched.
#[derive(Clone)]
pub(super) struct Pipeline {
    pub(super) kernel: &'static str,
    pub(super) entry: &'static str,
    pub(super) pipeline: ComputePipeline,
    /// The kernel's buffers that it uses.
    pub(super) bindings: Vec<u32>,
}

/// Everything made so far.
pub(super) struct Pipelines {
    device: wgpu::Device,
    limits: wgpu::Limits,
    kept: Option<Kept>,
    /// Whether shaders check their indices.
    checked: bool,
    shaders: HashMap<&'static str, (Shader, wgpu::ShaderModule)>,
    pipelines: HashMap<(&'static str, &'static str), Pipeline>,
    /// By the bindings used.
    layouts: HashMap<Vec<u32>, BindGroupLayout>,
    /// By the bindings used and the piece of memory bound to each.
    groups: HashMap<(Vec<u32>, Vec<usize>), BindGroup>,
    parameter_layout: BindGroupLayout,
    pub(super) parameters: BindGroup,
}

impl Pipelines {
    pub(super) fn new(device: wgpu::Device, kept: Option<Kept>, checked: bool, commands: &mut Commands) -> Self {
        let parameter_layout = layout(&device, &[(0, BufferBindingType::Uniform)]);
        let slot = wgpu::BufferBinding { buffer: commands.ring(), offset: 0, size: NonZeroU64::new(SLOT as u64) };
        let parameters = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("parameters"),
            layout: &parameter_layout,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(slot) }],
        });
        commands.counters.bind_groups += 1;
        Pipelines {
            limits: device.limits(),
            kept,
            device,
            checked,
            shaders: HashMap::new(),
            pipelines: HashMap::new(),
            layouts: HashMap::new(),
            groups: HashMap::new(),
            parameter_layout,
            parameters,
        }
    }

    /// The pipeline of an entry point of a kernel.
    ///
    /// # Errors
    /// A kernel without a shader, a shader with a fault, an adapter whose limits it exceeds.
    pub(super) fn pipeline(
        &mut self,
        kernel: &Entry,
        entry: &'static str,
        commands: &mut Commands,
    ) -> Result<Pipeline> {
        if let Some(pipeline) = self.pipelines.get(&(kernel.name, entry)) {
            return Ok(pipeline.clone());
        }
        self.load(kernel)?;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = self.make(kernel.name, entry);
        if let Some(error) = pollster::block_on(scope.pop()) {
            return Err(refused(format!("shaders/{}.wgsl: {}", kernel.name, one_line(&error.to_string()))));
        }
        let pipeline = made?;
        commands.counters.pipelines += 1;
        self.pipelines.insert((kernel.name, entry), pipeline.clone());
        Ok(pipeline)
    }

    fn load(&mut self, kernel: &Entry) -> Result<()> {
        if self.shaders.contains_key(kernel.name) {
            return Ok(());
        }
        let shader = Shader::new(kernel).map_err(refused)?;
        let subgroups = self.device.features().contains(wgpu::Features::SUBGROUP);
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name),
            source: wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(shader.module(subgroups))),
        };
        let checks = wgpu::ShaderRuntimeChecks {
            bounds_checks: self.checked,
            int_div_checks: self.checked,
            ..wgpu::ShaderRuntimeChecks::unchecked()
        };
        // SAFETY: the shaders are the project's own. Their loops are bounded by their parameters, and tests run them
        // with these checks and with sentinels round all tensors.
        let module = unsafe { self.device.create_shader_module_trusted(descriptor, checks) };
        self.shaders.insert(kernel.name, (shader, module));
        Ok(())
    }

    fn make(&mut self, kernel: &'static str, name: &'static str) -> Result<Pipeline> {
        let (shader, module) = &self.shaders[kernel];
        let entry = shader.entries.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| refused(format!("shaders/{kernel}.wgsl has no entry point `{name}`")))?;
        self.expect_within_limits(entry)?;
        let storage: Vec<_> =
            entry.bindings.iter().map(|b| (*b, BufferBindingType::Storage { read_only: false })).collect();
        let buffers = self.layouts.entry(entry.bindings.clone()).or_insert_with(|| layout(&self.device, &storage));
        let layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(name),
            bind_group_layouts: &[Some(buffers), Some(&self.parameter_layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(name),
            layout: Some(&layout),
            module,
            entry_point: Some(name),
            // A shader writes what it shares before it reads it.
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: self.kept.as_ref().map(|kept| &kept.pipelines),
        });
        Ok(Pipeline { kernel, entry: name, pipeline, bindings: entry.bindings.clone() })
    }

    fn expect_within_limits(&self, entry: &EntryPoint) -> Result<()> {
        let limits = &self.limits;
        for (what, needed, offered) in [
            ("storage buffers", entry.bindings.len() as u32, limits.max_storage_buffers_per_shader_stage),
            ("invocations of a workgroup", entry.workgroup_size, limits.max_compute_invocations_per_workgroup),
            ("bytes of workgroup memory", entry.workgroup_bytes, limits.max_compute_workgroup_storage_size),
        ] {
            if needed > offered {
                return Err(refused(format!("{} needs {needed} {what}, the adapter offers {offered}", entry.name)));
            }
        }
        Ok(())
    }

    /// The bind group of a pipeline with these pieces of memory, one for each of its bindings.
    pub(super) fn group(&mut self, pipeline: &Pipeline, pieces: Vec<usize>, commands: &mut Commands) -> BindGroup {
        let (layout, device) = (&self.layouts[&pipeline.bindings], &self.device);
        let make = |(bindings, pieces): &(Vec<u32>, Vec<usize>)| {
            let entries: Vec<_> = bindings
                .iter()
                .zip(pieces)
                .map(|(binding, piece)| wgpu::BindGroupEntry {
                    binding: *binding,
                    resource: commands.piece(*piece).as_entire_binding(),
                })
                .collect();
            device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
        };
        let key = (pipeline.bindings.clone(), pieces);
        if let Some(group) = self.groups.get(&key) {
            return group.clone();
        }
        let group = make(&key);
        commands.counters.bind_groups += 1;
        self.groups.insert(key, group.clone());
        group
    }
}

fn layout(device: &wgpu::Device, bindings: &[(u32, BufferBindingType)]) -> BindGroupLayout {
    let entry = |(binding, ty): &(u32, BufferBindingType)| BindGroupLayoutEntry {
        binding: *binding,
        visibility: ShaderStages::COMPUTE,
        ty: BindingType::Buffer {
            ty: *ty,
            has_dynamic_offset: *ty == BufferBindingType::Uniform,
            min_binding_size: None,
        },
        count: None,
    };
    let entries: Vec<_> = bindings.iter().map(entry).collect();
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
}
