//! The commands that look at the machine and at the kernels.

use super::{command, expect_sentence, isobath, succeeds};
use serde_json::Value;
use std::path::Path;

/// What a command says whose cache is in `folder`.
fn said(folder: &Path, line: &str) -> String {
    let output = command(folder, line).env("XDG_CACHE_HOME", folder).env("LOCALAPPDATA", folder).output();
    let output = output.expect("the program starts");
    assert!(output.status.success(), "isobath {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_profile_has_every_kernel_of_a_step_and_a_trace() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let line = "profile --device cpu --nodes 20 --frames 4 --channels 8 --steps 2";
    let first = said(folder, &format!("{line} --trace trace.json"));
    assert!(first.contains("GB/s to copy") && first.contains("; measured now"), "{first}");
    let trained = first.split("reverse step of an imputation").next().unwrap_or_default();
    for (kernel, calls) in [("temporal_block", "2"), ("temporal_block_backward", "2"), ("adam", "2")] {
        let row = trained.lines().find(|row| row.split_whitespace().next() == Some(kernel));
        let row = row.unwrap_or_else(|| panic!("no row of {kernel} in {first}"));
        assert_eq!(row.split_whitespace().nth(1), Some(calls), "{row}");
    }
    let trace = std::fs::read(folder.join("trace.json")).expect("a trace");
    let trace: Value = serde_json::from_slice(&trace).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let named = |name: &str| events.iter().filter(|event| event["name"] == name).count();
    assert_eq!((named("temporal_block_backward"), named("2 x training step")), (2, 1));
    let timed = events.iter().filter(|event| event["ph"] == "X");
    timed.for_each(|event| assert!(event["ts"].is_f64() && event["dur"].is_f64(), "{event}"));

    assert!(said(folder, line).contains("; measured before"));
    let kept = std::fs::read_dir(folder.join("isobath")).expect("the cache").next().expect("a file").expect("a file");
    std::fs::write(kept.path(), "{}").expect("a damaged file");
    assert!(said(folder, line).contains("; measured now"));
}

#[test]
fn kernels_are_listed_with_what_a_step_asks_of_them() {
    let place = tempfile::tempdir().expect("a folder");
    let folder = place.path();
    let rows = |line: &str| -> Vec<Value> { serde_json::from_str(&succeeds(folder, line).0).expect("rows of JSON") };
    let all = rows("kernels --json");
    assert_eq!(all.len(), isobath_kernels::ALL.len());
    let gemm = all.iter().find(|row| row["kernel"] == "gemm").expect("gemm");
    assert!(gemm["devices"].as_array().is_some_and(|devices| devices.len() == 4), "{gemm}");
    assert!(gemm["wgsl"][0]["workgroup_size"].as_u64().is_some_and(|size| size > 1), "{gemm}");
    assert!(gemm["ptx"][0]["registers"]["sm_61"].as_u64().is_some_and(|registers| registers > 64), "{gemm}");
    let table = succeeds(folder, "kernels").0;
    assert!(all.iter().all(|row| table.contains(row["kernel"].as_str().expect("a name"))), "{table}");

    let flops = |model: &str, nodes: usize| {
        let rows = rows(&format!("kernels --model {model} --nodes {nodes} --frames 4 --channels 8 --json"));
        let block = rows.iter().find(|row| row["kernel"] == "temporal_block_backward").cloned();
        block.and_then(|row| row["flops"].as_u64()).expect("operations")
    };
    for model in ["stddm", "forecaster"] {
        assert_eq!(2 * flops(model, 20), flops(model, 40), "{model}");
    }
    let line = "kernels --model stddm --nodes 16777216 --frames 4096";
    expect_sentence(line, &isobath(folder, line), 2, &["expected at most 2147483648", "16777216"]);
}

#[test]
fn the_doctor_names_the_processor_and_the_adapters() {
    let place = tempfile::tempdir().expect("a folder");
    let said = said(place.path(), "doctor --device cpu");
    let adapters = isobath_engine::device::wgpu::adapters();
    let lines = ["processor: ", "NVIDIA GPUs:", "everything is in order"];
    for name in adapters.iter().map(|adapter| adapter.name.as_str()).chain(lines) {
        assert!(said.contains(name), "no {name} in {said}");
    }
}

#[test]
fn a_device_that_is_not_there_is_named_and_options_go_with_their_device() {
    let place = tempfile::tempdir().expect("a folder");
    for (line, words) in [
        ("doctor --device cuda:99", &["cuda: ", "--device cpu"][..]),
        ("doctor --precision tf32", &["--precision", "expected --device cuda or --device simulator"]),
        ("doctor --device wgpu --precision bf16", &["--precision", "expected --device cuda or --device simulator"]),
        ("doctor --device cuda --adapter 0", &["--adapter", "expected --device wgpu"]),
    ] {
        expect_sentence(line, &isobath(place.path(), line), 2, words);
    }
    for name in ["tpu", "cuda:", "cuda:-1", "cuda:first"] {
        let output = isobath(place.path(), &format!("doctor --device {name}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("expected auto, cpu, wgpu, cuda, cuda:N or simulator"), "{said}");
    }
}

#[test]
fn the_simulator_computes_and_says_that_it_is_slow() {
    let place = tempfile::tempdir().expect("a folder");
    let (_, said) = succeeds(place.path(), "doctor --device simulator");
    assert!(said.contains("simulator") && said.contains("slow"), "{said}");
}
