//! Compiled pipelines, kept on disk for the next start where the driver gives them out.

use crate::cache;
use wgpu::{AdapterInfo, Device, Features, PipelineCache, PipelineCacheDescriptor};

/// What the driver compiled, in this run and in those before.
pub(super) struct Kept {
    pub(super) pipelines: PipelineCache,
    /// Its name in the user's cache folder.
    file: String,
    /// What that file held.
    before: Option<Vec<u8>>,
}

impl Kept {
    /// What was kept for this adapter; `None` where its driver gives nothing out.
    pub(super) fn open(device: &Device, adapter: &AdapterInfo) -> Option<Kept> {
        if !device.features().contains(Features::PIPELINE_CACHE) {
            return None;
        }
        let file = wgpu::util::pipeline_cache_key(adapter)?;
        let before = cache::read(&file);
        let pipelines = before.as_deref().and_then(|data| make(device, Some(data)));
        Some(Kept { pipelines: pipelines.or_else(|| make(device, None))?, file, before })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let after = self.pipelines.get_data();
        if let Some(bytes) = after.filter(|after| self.before.as_ref() != Some(after)) {
            cache::write(&self.file, &bytes);
        }
    }
}

/// `None` when the driver refuses.
fn make(device: &Device, data: Option<&[u8]>) -> Option<PipelineCache> {
    let descriptor = PipelineCacheDescriptor { label: Some("pipelines"), data, fallback: true };
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    // SAFETY: the bytes are those that `get_data` gave, as their checksum says; wgpu passes over those of another
    // adapter or another version of its driver.
    let cache = unsafe { device.create_pipeline_cache(&descriptor) };
    pollster::block_on(scope.pop()).is_none().then_some(cache)
}
