//! A trace in the JSON format of Chrome, which Perfetto reads.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use isobath_engine::Device;
use isobath_engine::device::Event;
use serde_json::{Value, json};

use super::Part;
use super::roof::name;
use crate::Result;
use crate::data::atomic;

/// Lines of the trace.
const PARTS: u32 = 1;
const KERNELS: u32 = 2;

/// Writes all events; parts follow each other.
pub(super) fn write(path: &Path, device: &Device, parts: &[Part]) -> Result<()> {
    let text = document(&name(device), parts).to_string();
    atomic::write(path, |file| file.write_all(text.as_bytes()))
}

fn document(device: &str, parts: &[Part]) -> Value {
    let mut events = vec![
        json!({ "ph": "M", "pid": 1, "name": "process_name", "args": { "name": device } }),
        json!({ "ph": "M", "pid": 1, "tid": PARTS, "name": "thread_name", "args": { "name": "parts" } }),
        json!({ "ph": "M", "pid": 1, "tid": KERNELS, "name": "thread_name", "args": { "name": "kernels" } }),
    ];
    let mut at = Duration::ZERO;
    for part in parts {
        // Each part has a clock of its own, that begins with it.
        let origin = part.events.iter().map(|event| event.start).min().unwrap_or_default();
        let end = part.events.iter().map(|event| event.start + event.time).max().unwrap_or_default();
        events.push(slice(&format!("{} x {}", part.steps, part.what), PARTS, at, end - origin));
        events.extend(part.events.iter().map(|event| launch(event, at, origin)));
        at += end - origin;
    }
    json!({ "displayTimeUnit": "ns", "traceEvents": events })
}

fn launch(event: &Event, at: Duration, origin: Duration) -> Value {
    let mut slice = slice(event.kernel, KERNELS, at + event.start - origin, event.time);
    slice["args"] = json!({ "entry point": event.entry });
    slice
}

/// Times are in microseconds.
fn slice(name: &str, line: u32, start: Duration, time: Duration) -> Value {
    let micros = |time: Duration| 1e6 * time.as_secs_f64();
    json!({ "ph": "X", "pid": 1, "tid": line, "name": name, "ts": micros(start), "dur": micros(time) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_from_zero() {
        let event = |start, time| Event {
            kernel: "gemm",
            entry: "gemm_tiles",
            start: Duration::from_micros(start),
            time: Duration::from_micros(time),
        };
        let part = |events| Part { what: "training step", steps: 2, seconds: 0.0, launches: Vec::new(), events };
        let found = document("a GPU", &[part(vec![event(7, 3), event(10, 5)]), part(vec![event(100, 1)])]);
        let slices = found["traceEvents"].as_array().into_iter().flatten().filter(|event| event["ph"] == "X");
        let found: Vec<(u64, f64, f64)> = slices
            .map(|e| {
                let number = |key: &str| e[key].as_f64().unwrap_or(f64::NAN).round();
                (e["tid"].as_u64().unwrap_or(0), number("ts"), number("dur"))
            })
            .collect();
        assert_eq!(found, [(1, 0.0, 8.0), (2, 0.0, 3.0), (2, 3.0, 5.0), (1, 8.0, 1.0), (2, 8.0, 1.0)]);
    }
}
