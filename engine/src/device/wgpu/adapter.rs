//! Choosing an adapter and opening it.

use crate::error::{Error, Result};
use wgpu::{Adapter, DeviceType, Features, Instance};

/// What is used where it is offered.
const WANTED: Features = Features::SUBGROUP.union(Features::TIMESTAMP_QUERY).union(Features::PIPELINE_CACHE);

/// The error of a device by the name under which it was asked for.
pub(super) fn refused(what: impl Into<String>) -> Error {
    Error::Device { device: "wgpu".into(), what: what.into() }
}

/// An adapter that the system offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What the driver calls it.
    pub name: String,
    /// `Vulkan`, `Metal` or `Dx12`.
    pub backend: String,
    /// Driver and its version.
    pub driver: String,
    /// Whether it computes on the processor.
    pub software: bool,
    adapter: Adapter,
}

/// What an adapter can do, as far as it matters here.
#[derive(Clone, Debug)]
pub struct Abilities {
    /// Bytes of the largest buffer.
    pub buffer_bytes: u64,
    /// Bytes of the largest binding, and so of the largest tensor.
    pub binding_bytes: u64,
    /// Storage buffers that a shader can have.
    pub bindings: u32,
    /// Invocations of a workgroup.
    pub workgroup_size: u32,
    /// Bytes that a workgroup can share.
    pub workgroup_bytes: u32,
    /// Smallest and largest subgroup, where shaders may use them.
    pub subgroups: Option<[u32; 2]>,
    /// Whether it times dispatches.
    pub timestamps: bool,
    /// Whether its driver gives compiled pipelines out.
    pub pipeline_cache: bool,
}

/// All adapters, fastest kind first: discrete, integrated, virtual and unknown ones, software.
pub fn adapters() -> Vec<Offer> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let descriptor = wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() };
    let mut found = pollster::block_on(Instance::new(descriptor).enumerate_adapters(backends));
    found.sort_by_key(|adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu | DeviceType::Other => 2,
        DeviceType::Cpu => 3,
    });
    let offer = |adapter: Adapter| {
        let info = adapter.get_info();
        Offer {
            name: info.name,
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            software: info.device_type == DeviceType::Cpu,
            adapter,
        }
    };
    found.into_iter().map(offer).collect()
}

/// The adapter that `wanted` names: part of its name, its index, or `auto` for the first that is no software.
pub(super) fn choose(wanted: &str) -> Result<Offer> {
    let offers = adapters();
    let chosen = match wanted.parse::<usize>() {
        Ok(index) => offers.get(index),
        Err(_) if wanted == "auto" => offers.iter().find(|offer| !offer.software),
        Err(_) => offers.iter().find(|offer| offer.name.to_lowercase().contains(&wanted.to_lowercase())),
    };
    chosen.cloned().ok_or_else(|| {
        let list: Vec<String> = offers.iter().enumerate().map(|(i, offer)| format!("{i}: {}", offer.label())).collect();
        let found = if list.is_empty() { "no adapter at all".into() } else { list.join(", ") };
        refused(match wanted {
            "auto" => format!("no GPU with a driver for Vulkan, Metal or DirectX 12; found {found}"),
            _ => format!("no adapter `{wanted}`; found {found}"),
        })
    })
}

impl Offer {
    /// Its name and backend, and whether it is software.
    pub fn label(&self) -> String {
        let kind = if self.software { ", software" } else { "" };
        format!("{} ({}{kind})", self.name, self.backend)
    }

    /// What it can do.
    pub fn abilities(&self) -> Abilities {
        let (limits, features, info) = (self.adapter.limits(), self.adapter.features(), self.adapter.get_info());
        Abilities {
            buffer_bytes: limits.max_buffer_size,
            binding_bytes: limits.max_storage_buffer_binding_size,
            bindings: limits.max_storage_buffers_per_shader_stage,
            workgroup_size: limits.max_compute_invocations_per_workgroup,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            subgroups: features
                .contains(Features::SUBGROUP)
                .then_some([info.subgroup_min_size, info.subgroup_max_size]),
            timestamps: features.contains(Features::TIMESTAMP_QUERY),
            pipeline_cache: features.contains(Features::PIPELINE_CACHE),
        }
    }

    pub(super) fn info(&self) -> wgpu::AdapterInfo {
        self.adapter.get_info()
    }

    /// The adapter's device with all its limits, and its queue.
    pub(super) fn open(&self) -> Result<(wgpu::Device, wgpu::Queue)> {
        let limits = self.adapter.limits();
        if let Some(what) = lacking(&limits) {
            return Err(refused(format!("{} offers {what}", self.label())));
        }
        let descriptor = wgpu::DeviceDescriptor {
            required_features: self.adapter.features() & WANTED,
            required_limits: limits,
            ..wgpu::DeviceDescriptor::default()
        };
        let opened = pollster::block_on(self.adapter.request_device(&descriptor));
        opened.map_err(|e| refused(format!("{}: {e}", self.label())))
    }
}

/// The first limit that shaders need more of.
fn lacking(limits: &wgpu::Limits) -> Option<String> {
    let least = wgpu::Limits::default();
    let needs = [
        ("max_storage_buffers_per_shader_stage", limits.max_storage_buffers_per_shader_stage, 8),
        (
            "max_compute_workgroup_storage_size",
            limits.max_compute_workgroup_storage_size,
            least.max_compute_workgroup_storage_size,
        ),
        (
            "max_compute_invocations_per_workgroup",
            limits.max_compute_invocations_per_workgroup,
            least.max_compute_invocations_per_workgroup,
        ),
    ];
    let (name, offered, needed) = needs.into_iter().find(|(_, offered, needed)| offered < needed)?;
    Some(format!("{name} = {offered}, needed is {needed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_adapter_lacks_is_named() {
        assert_eq!(lacking(&wgpu::Limits::default()), None);
        let small = wgpu::Limits { max_compute_workgroup_storage_size: 8192, ..wgpu::Limits::default() };
        assert_eq!(lacking(&small).unwrap(), "max_compute_workgroup_storage_size = 8192, needed is 16384");
    }
}
