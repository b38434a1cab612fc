"""Matrix products in PyTorch on a GPU, which are cuBLAS's there: what `benches/gemm_gpu.rs` is compared with.

gemm_torch.py DEVICE PRECISION M K N [M K N ..] prints the lines that the bench prints: x [m, k] times w [n, k] transposed.
"""

import sys
import time

import torch

ROWS, PRODUCTS = 15, 10


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def main():
    device, precision, *lengths = sys.argv[1:]
    lengths = [int(length) for length in lengths]
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    for m, k, n in zip(*[iter(lengths)] * 3):
        x = torch.full((m, k), 0.5, dtype=dtype, device=device)
        w = torch.full((n, k), 0.25, dtype=dtype, device=device)
        times = []
        for row in range(ROWS + 1):
            start = time.perf_counter()
            for _ in range(PRODUCTS):
                x @ w.T
            wait(device)
            if row > 0:
                times.append((time.perf_counter() - start) * 1e3 / PRODUCTS)
        times.sort()
        least, median = times[0], times[ROWS // 2]
        print(f"{m} {k} {n}  least {least:.4f} ms  median {median:.4f} ms  {2e-6 * m * k * n / least:.2f} GFLOP/s")


main()
