#!/usr/bin/env bash
# Measures Isobath on an NVIDIA GPU. Builds nothing, so that it runs where there is no toolchain.
#
#   cargo build --release && cargo test --release -p isobath-tests --test cuda --no-run      # elsewhere
#   cargo bench -p isobath-benches --bench gemm_gpu --no-run
#   benches/gpu.sh target/release/isobath target/release/deps/cuda-HASH target/release/deps/gemm_gpu-HASH
#
# Prints the GPU and its driver; parity of every row of the case table on it, where the tests' program is given; the rates of
# matrix products in f32, tf32 and bf16 beside cuBLAS's by PyTorch, where the program of that bench is given; the profile
# of STDDM's training at Pearl-River size (4443 nodes, 46 frames, width 32), one window and sixteen, in f32, tf32 and bf16; and,
# where python3 (or PYTHON) can import a torch that has the GPU, the same training step in PyTorch, eager and compiled.
set -euo pipefail
(($# >= 1 && $# <= 3)) || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
isobath=$(realpath "$1") tests=${2:+$(realpath "$2")} gemm=${3:+$(realpath "$3")} python=${PYTHON:-python3}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

section() {
    printf '\n## %s\n\n' "$*"
}

section "$(date -u +%F), $(nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader | head -n 1)"
"$isobath" doctor --device cuda

if [[ -n $tests ]]; then
    section 'Parity of the case table'
    for part in row:: launch:: training:: device::; do
        "$tests" "$part" 2>&1 | grep -v -e '\.\.\. ok' -e '^$' || true
    done
fi

"$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null && torch=yes || torch=
if [[ -n $gemm ]]; then
    sizes=${GEMM_SIZES:-4096 4096 4096  8192 8192 8192  204378 32 128  204378 128 32}
    for precision in f32 tf32 bf16; do
        section "Matrix products m k n, $precision"
        # shellcheck disable=SC2086 # a list of numbers
        { "$gemm" cuda "$precision" $sizes || echo "not on this GPU"; } | sed 's/^/Isobath  /'
        # shellcheck disable=SC2086
        [[ -z $torch ]] || "$python" benches/peers/gemm_torch.py cuda "$precision" $sizes | sed 's/^/PyTorch  /'
    done
fi

# step BATCH PRECISION: prints the profile, and keeps the time of the training step in `milliseconds`.
step() {
    section "STDDM, batch $1, $2"
    "$isobath" profile --device cuda --precision "$2" --nodes 4443 --frames 46 --batch "$1" --steps 10 | tee "$profile"
    milliseconds=$(sed -n 's/^training step: \([0-9.]*\) ms.*/\1/p' "$profile")
}
profile=$(mktemp)
trap 'rm -f "$profile"' EXIT

for batch in 1 16; do
    step "$batch" f32
    f32=$milliseconds
    for precision in tf32 bf16; do
        step "$batch" "$precision" || echo "not on this GPU"
    done
    [[ -n $torch ]] || continue
    section "PyTorch, batch $batch"
    for how in eager compiled; do
        line=$("$python" benches/peers/stddm_torch.py --device cuda --batch "$batch" --json \
            $([[ $how == compiled ]] && echo --compile)) || { echo "$how: PyTorch failed"; continue; }
        "$python" - "$how" "$f32" "$line" <<'PYTHON'
import json, sys

how, isobath, peer = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])
print(f"PyTorch {peer['torch']} {how}: step {peer['step_ms']} ms, Isobath in f32 {isobath} ms: "
      f"{peer['step_ms'] / isobath:.2f} times as fast; PyTorch's peak {peer['peak_device_bytes'] / 1e6:.0f} MB")
PYTHON
    done
done
[[ -n $torch ]] || printf '\nPyTorch with a GPU was not found: not compared.\n'
