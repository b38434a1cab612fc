"""What the PyTorch peers of STIMP's networks share: graph, blocks, coast, timing and the command line.

Activations lie as [node, sample, time, channel]: one node's series is one attention sequence, and the neighbour sum is
one CSR product over rows, both without a copy. Inputs are made beforehand; only the step itself is timed.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings

import torch
import torch.nn.functional as F

PROTOTYPES, GROUPS = 8, 4
HEIGHT, BREADTH, NODES, FRAMES = 60, 96, 4443, 46
TUNED_MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "1073741824",
}


def adjacency(sea):
    """The 3x3 neighbourhood of every sea cell, itself included, as a CSR matrix [N, N] of ones."""
    node = torch.full(sea.shape, -1)
    node[sea] = torch.arange(int(sea.sum()))
    padded = F.pad(node, (1, 1, 1, 1), value=-1)
    neighbours = padded.unfold(0, 3, 1).unfold(1, 3, 1)[sea].flatten(1)
    present = neighbours >= 0
    row_starts = F.pad(present.sum(1).cumsum(0), (1, 0)).int()
    columns = neighbours[present].int()
    return torch.sparse_csr_tensor(row_starts, columns, torch.ones(len(columns)), (len(neighbours),) * 2)


class NeighbourSum(torch.autograd.Function):
    """G x for a symmetric G, whose backward pass is G again: no transposed copy of the matrix."""

    @staticmethod
    def forward(ctx, x, graph):
        ctx.graph = graph
        return graph @ x

    @staticmethod
    def backward(ctx, dy):
        return ctx.graph @ dy, None


class NodesLast(torch.autograd.Function):
    """[N, R, d] -> [R, d, N], contiguous both ways: strided gradients would slow everything below down."""

    @staticmethod
    def forward(ctx, x):
        return x.flatten(1).t().contiguous().view(*x.shape[1:], -1)

    @staticmethod
    def backward(ctx, dy):
        return dy.flatten(0, 1).t().contiguous().view(-1, *dy.shape[:2])


class Initial(dict):
    """Random parameters under the names of the published checkpoints."""

    def linear(self, name, outputs, inputs, bias=True, tail=(), std=None):
        bound = 1 / math.sqrt(inputs)
        weight = torch.empty(outputs, inputs, *tail)
        self[name + ".weight"] = weight.uniform_(-bound, bound) if std is None else weight.normal_(0, std)
        if bias:
            self[name + ".bias"] = torch.empty(outputs).uniform_(-bound, bound)

    def norm(self, name, d):
        self[name + ".weight"], self[name + ".bias"] = torch.ones(d), torch.zeros(d)

    def temporal_block(self, name, d):
        for part in ("to_q", "to_k", "to_v"):
            self.linear(f"{name}.0.fn.{part}", d, d, bias=False)
        self.linear(f"{name}.0.fn.to_out", d, d)
        self.linear(f"{name}.1.fn.fn.w1", 4 * d, d)
        self.linear(f"{name}.1.fn.fn.w2", d, 4 * d)
        self.norm(f"{name}.0.norm", d)
        self.norm(f"{name}.1.norm", d)

    def pool(self, name, d):
        self[name] = torch.randn(PROTOTYPES, d, d) * math.sqrt(2 / (d * d + PROTOTYPES * d))


def temporal_block(p, name, x):
    """Pre-norm linear attention and feed-forward over the time axis of x [N, B, T, d]."""
    attention, feed_forward = name + ".0", name + ".1"
    shape, d = x.shape, x.shape[-1]
    x = x.flatten(0, 1)
    u = F.layer_norm(x, (d,), p[attention + ".norm.weight"], p[attention + ".norm.bias"])
    q = F.linear(u, p[attention + ".fn.to_q.weight"]).softmax(-1)
    k = F.linear(u, p[attention + ".fn.to_k.weight"]).softmax(-2)
    v = F.linear(u, p[attention + ".fn.to_v.weight"])
    context = k.transpose(1, 2) @ v * d**-0.5
    x = x + F.linear(q @ context, p[attention + ".fn.to_out.weight"], p[attention + ".fn.to_out.bias"])
    u = F.layer_norm(x, (d,), p[feed_forward + ".norm.weight"], p[feed_forward + ".norm.bias"])
    u = F.gelu(F.linear(u, p[feed_forward + ".fn.fn.w1.weight"], p[feed_forward + ".fn.fn.w1.bias"]))
    return (x + F.linear(u, p[feed_forward + ".fn.fn.w2.weight"], p[feed_forward + ".fn.fn.w2.bias"])).view(shape)


def spatial_block(p, query, pool, x, graph, static):
    """Neighbour sum and a weight matrix per node for x [N, B, T, d]."""
    n, b, t, d = x.shape
    query = F.linear(static, p[query + ".weight"], p[query + ".bias"])
    weights = (NeighbourSum.apply(query, graph) @ p[pool].view(PROTOTYPES, d * d)).view(n, d, d)
    neighbours = NeighbourSum.apply(x.view(n, -1), graph).view(n, b * t, d)
    return torch.bmm(neighbours, weights).view(n, b, t, d)


def channel_mix(x, weight, bias):
    """A 1x1 convolution of x [R, d, N]."""
    rows = x.shape[0]
    return torch.baddbmm(bias.view(1, -1, 1).expand(rows, -1, -1), weight.squeeze(-1).expand(rows, -1, -1), x)


def masked_loss(prediction, values, target):
    """Mean square error over the target entries."""
    return ((values - prediction) ** 2 * target).sum() / target.sum().clamp(min=1)


def static_features(sea, mean, std):
    """Mean, standard deviation and relative row of every sea cell, [N, 3]."""
    row = torch.arange(sea.shape[0]).unsqueeze(1).expand(sea.shape) / sea.shape[0]
    return torch.stack([mean[sea], std[sea], row[sea]], 1)


def estuary():
    """A coast along the north with bays and islands: a sea mask of exactly NODES cells."""
    y = torch.arange(HEIGHT, dtype=torch.float64).unsqueeze(1)
    x = torch.arange(BREADTH, dtype=torch.float64).unsqueeze(0)
    relief = -y + 0.12 * x + 5 * torch.sin(x / 9) + 4 * torch.sin(x / 2.1 + 1) * torch.cos(y / 5)
    for i in range(36):
        centre_y, centre_x, radius = 18 + (i * 23) % 40, (i * 37) % BREADTH, 0.8 + (i % 5) / 4
        relief = relief + 60 * torch.exp(-((y - centre_y) ** 2 + (x - centre_x) ** 2) / radius**2)
    order = relief.flatten().argsort(stable=True)
    sea = torch.zeros(HEIGHT * BREADTH, dtype=torch.bool)
    sea[order[:NODES]] = True
    return sea.view(HEIGHT, BREADTH)


class Workload:
    """A network at the size of the estuary. Sets in a subclass: parameters, graph, values, target, adam and forward."""

    clip = None

    def inference(self):
        with torch.no_grad():
            return self.forward()

    def training_step(self):
        self.adam.zero_grad()
        masked_loss(self.forward(), self.values, self.target).backward()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.clip)
        self.adam.step()

    def saved_bytes(self):
        """Bytes of the distinct storages kept for the backward pass, parameters left out."""
        storages = {}

        def keep(tensor):
            if tensor.layout == torch.strided:
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor.detach()  # the tensor itself would hold its own graph for ever

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            loss = masked_loss(self.forward(), self.values, self.target)
        own = {v.untyped_storage().data_ptr() for v in self.parameters.values()}
        del loss
        return sum(s.nbytes() for pointer, s in storages.items() if pointer not in own)


def milliseconds(run, repeats, device, warm_up=3):
    """Median and minimum wall time of run() on a device."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        run()
        wait()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), min(times)


def measure(workload, arguments):
    torch.set_num_threads(arguments.threads)
    torch.set_default_device(arguments.device)
    work = workload(arguments.batch)
    if arguments.compile:
        work.forward = torch.compile(work.forward)
    step = milliseconds(work.training_step, arguments.steps, arguments.device)
    forward = milliseconds(work.inference, arguments.steps, arguments.device)  # second, on a heap that has grown already
    peak_resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak_device = torch.cuda.max_memory_allocated() if arguments.device == "cuda" else None
    tuned = all(os.environ.get(k) == v for k, v in TUNED_MALLOC.items())
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "compiled": arguments.compile,
        "threads": arguments.threads,
        "malloc": "tuned" if tuned else "default",
        "batch": arguments.batch,
        "nodes": NODES,
        "edges": work.graph.values().numel(),
        "parameters": sum(v.numel() for v in work.parameters.values()),
        "forward_ms": round(forward[0], 1),
        "forward_min_ms": round(forward[1], 1),
        "step_ms": round(step[0], 1),
        "step_min_ms": round(step[1], 1),
        "saved_bytes": None if arguments.compile else work.saved_bytes(),
        "peak_rss_bytes": peak_resident,
        "peak_device_bytes": peak_device,
    }


def read_fixture(path):
    """All tensors, the inputs, the parameters and the expected gradients of a parity fixture."""
    from safetensors.torch import load_file

    tensors = load_file(path)

    def part(prefix):
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    p = {k: v.requires_grad_() for k, v in part("param/").items()}
    return tensors, part("in/"), p, part("grad/")


def compare(rows):
    """Print name, found, expected and limit of every row as a relative error; true when all agree."""
    agree = True
    for name, found, wanted, limit in rows:
        error = float((found.detach() - wanted).norm() / wanted.norm())
        print(f"{'ok  ' if error <= limit else 'FAIL'} {error:8.1e} <= {limit:.0e}  {name}")
        agree &= error <= limit
    return agree


def main(description, workload, check):
    """The command line of a peer."""
    warnings.filterwarnings("ignore", message="Sparse")
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20, help="timed repetitions")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="the forward pass by torch.compile")
    parser.add_argument("--malloc", choices=("both", "default", "tuned", "inherit"), default="both")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--check", metavar="FILE", help="compare with a parity fixture (safetensors) and stop")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit(0 if check(arguments.check) else 1)
    if arguments.device == "cpu" and arguments.malloc != "inherit":
        # glibc reads these variables when a process starts, so each setting has its own process.
        plain = {k: v for k, v in os.environ.items() if k not in TUNED_MALLOC}
        settings = {"default": plain, "tuned": plain | TUNED_MALLOC}
        for name in settings if arguments.malloc == "both" else (arguments.malloc,):
            subprocess.run([sys.executable, *sys.argv, "--malloc", "inherit"], env=settings[name], check=True)
        return
    result = measure(workload, arguments)
    if arguments.json:
        print(json.dumps(result), flush=True)
        return
    place = result["device"] if arguments.device == "cuda" else f"malloc {result['malloc']:8}"
    memory = [f"{what} {result[key] / 1e6:.0f} MB"
              for what, key in (("saved", "saved_bytes"), ("peak RSS", "peak_rss_bytes"), ("peak", "peak_device_bytes"))
              if result[key] is not None]
    print(
        place + (" compiled" if arguments.compile else ""),
        "forward {forward_ms:7.1f} ms   step {step_ms:7.1f} ms   (least {forward_min_ms:.1f}, {step_min_ms:.1f})  ".format(**result),
        "   ".join(memory),
        flush=True,
    )
