"""The STDDM imputer of STIMP as one PyTorch program: the peer that Isobath's training step is measured against.

    stddm_torch.py [--threads 2] [--batch 1] [--steps 20] [--malloc both|default|tuned] [--json]
    stddm_torch.py --check stddm.safetensors

Times a forward pass without gradients and a training step (forward, backward, clipping, Adam) at the size of the
Pearl River Estuary: 60x96 cells, 4443 of them sea, 46 frames, width 32, 8 prototypes. Activations lie as
[node, sample, time, channel]: one node's series is one attention sequence, and the neighbour sum is one CSR product
over rows, both without a copy. Inputs are made beforehand; only the step itself is timed.
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

WIDTH, PROTOTYPES, STEP_WIDTH, STEPS, GROUPS = 32, 8, 64, 50, 4
HEIGHT, BREADTH, NODES, FRAMES = 60, 96, 4443, 46
TUNED_MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "1073741824",
}
ATTENTION = "time_encoding.layers.layers.0.0"
FEED_FORWARD = "time_encoding.layers.layers.0.1"


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


def step_table():
    """Sinusoidal embedding of the diffusion steps, [STEPS, STEP_WIDTH]."""
    half = STEP_WIDTH // 2
    frequency = 10.0 ** (torch.arange(half) / (half - 1) * 4.0)
    angle = torch.arange(STEPS).unsqueeze(1) * frequency.unsqueeze(0)
    return torch.cat([angle.sin(), angle.cos()], 1)


def signal_fraction():
    """The running product of 1 - beta of the quadratic noise schedule, [STEPS]."""
    beta = torch.linspace(math.sqrt(1e-4), math.sqrt(0.2), STEPS, dtype=torch.float64) ** 2
    return (1 - beta).cumprod(0).float()


def fresh_parameters(seed=0):
    """Random parameters under the names of the published checkpoints."""
    torch.manual_seed(seed)

    def linear(name, outputs, inputs, bias=True, tail=(), std=None):
        bound = 1 / math.sqrt(inputs)
        weight = torch.empty(outputs, inputs, *tail)
        p[name + ".weight"] = weight.uniform_(-bound, bound) if std is None else weight.normal_(0, std)
        if bias:
            p[name + ".bias"] = torch.empty(outputs).uniform_(-bound, bound)

    def norm(name):
        p[name + ".weight"], p[name + ".bias"] = torch.ones(WIDTH), torch.zeros(WIDTH)

    p, d = {}, WIDTH
    linear("input_projection", d, 2, tail=(1,), std=1.0)
    linear("diffusion_embedding.projection1", d, STEP_WIDTH)
    linear("diffusion_embedding.projection2", d, d)
    norm(ATTENTION + ".norm")
    for name in ("to_q", "to_k", "to_v"):
        linear(f"{ATTENTION}.fn.{name}", d, d, bias=False)
    linear(ATTENTION + ".fn.to_out", d, d)
    norm(FEED_FORWARD + ".norm")
    linear(FEED_FORWARD + ".fn.fn.w1", 4 * d, d)
    linear(FEED_FORWARD + ".fn.fn.w2", d, 4 * d)
    linear("projection1", PROTOTYPES, 3)
    p["spatial_encoding.weights_pool"] = torch.randn(PROTOTYPES, d, d) * math.sqrt(2 / (d * d + PROTOTYPES * d))
    norm("gn")
    linear("mid_projection", 2 * d, d, tail=(1,), std=math.sqrt(2 / d))
    linear("output_projection", 1, d, tail=(1,), std=math.sqrt(2 / d))
    return p


def temporal_block(p, x):
    """Pre-norm linear attention and feed-forward over the time axis of x [N, B, T, d]."""
    shape = x.shape
    x = x.flatten(0, 1)
    u = F.layer_norm(x, (WIDTH,), p[ATTENTION + ".norm.weight"], p[ATTENTION + ".norm.bias"])
    q = F.linear(u, p[ATTENTION + ".fn.to_q.weight"]).softmax(-1)
    k = F.linear(u, p[ATTENTION + ".fn.to_k.weight"]).softmax(-2)
    v = F.linear(u, p[ATTENTION + ".fn.to_v.weight"])
    context = k.transpose(1, 2) @ v * WIDTH**-0.5
    x = x + F.linear(q @ context, p[ATTENTION + ".fn.to_out.weight"], p[ATTENTION + ".fn.to_out.bias"])
    u = F.layer_norm(x, (WIDTH,), p[FEED_FORWARD + ".norm.weight"], p[FEED_FORWARD + ".norm.bias"])
    u = F.gelu(F.linear(u, p[FEED_FORWARD + ".fn.fn.w1.weight"], p[FEED_FORWARD + ".fn.fn.w1.bias"]))
    return (x + F.linear(u, p[FEED_FORWARD + ".fn.fn.w2.weight"], p[FEED_FORWARD + ".fn.fn.w2.bias"])).view(shape)


def spatial_block(p, x, graph, static):
    """Neighbour sum and a weight matrix per node for x [N, B, T, d]."""
    n, b, t, d = x.shape
    query = F.linear(static, p["projection1.weight"], p["projection1.bias"])
    pool = p["spatial_encoding.weights_pool"].view(PROTOTYPES, d * d)
    weights = (NeighbourSum.apply(query, graph) @ pool).view(n, d, d)
    neighbours = NeighbourSum.apply(x.view(n, -1), graph).view(n, b * t, d)
    return torch.bmm(neighbours, weights).view(n, b, t, d)


def channel_mix(x, weight, bias):
    """A 1x1 convolution of x [R, d, N]."""
    rows = x.shape[0]
    return torch.baddbmm(bias.view(1, -1, 1).expand(rows, -1, -1), weight.squeeze(-1).expand(rows, -1, -1), x)


def network(p, u, step, graph, static, low, high):
    """Network input u [N, B, T, 2], diffusion step [B] -> prediction [B, T, N], clamped to each node's record."""
    e = step_table()[step]
    for layer in ("projection1", "projection2"):
        name = "diffusion_embedding." + layer
        e = F.silu(F.linear(e, p[name + ".weight"], p[name + ".bias"]))
    x = F.linear(u, p["input_projection.weight"].squeeze(-1), p["input_projection.bias"]) + e.unsqueeze(1)
    x = temporal_block(p, x)
    x = x + spatial_block(p, x, graph, static)
    n, b, t, d = x.shape
    x = NodesLast.apply(x.view(n, b * t, d))
    x = F.group_norm(x, GROUPS, p["gn.weight"], p["gn.bias"], 1e-5)
    # Two products with half the weights each: no strided halves, and no concatenation in the backward pass.
    weights, biases = (p["mid_projection." + k].chunk(2) for k in ("weight", "bias"))
    gate, signal = (channel_mix(x, w, v) for w, v in zip(weights, biases))
    x = channel_mix(gate.sigmoid() * signal.tanh(), p["output_projection.weight"], p["output_projection.bias"])
    return x.view(b, t, n).clamp(low, high)


def network_input(values, visible, noise, step):
    """Series filled with their visible mean beside their noised hidden part, [N, B, T, 2]; arguments [B, T, N]."""
    mean = (values * visible).sum(1, keepdim=True) / (visible.sum(1, keepdim=True) + 1e-5)
    known = torch.where(visible > 0, values, mean)
    a = signal_fraction()[step].view(-1, 1, 1)
    noised = a.sqrt() * known + (1 - a).sqrt() * noise
    return torch.stack([known, (1 - visible) * noised], -1).permute(2, 0, 1, 3).contiguous()


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
    """Made-up chlorophyll at the size of the estuary, half of it cloud, half of the rest hidden."""

    def __init__(self, batch):
        torch.manual_seed(1)
        sea = estuary()
        shape = (batch, FRAMES, NODES)
        season = torch.sin(torch.arange(FRAMES) * 2 * math.pi / FRAMES).view(1, -1, 1)
        self.values = 0.3 * season + 0.2 * torch.randn(shape)
        observed = (torch.rand(shape) < 0.5).float()
        visible = observed * (torch.rand(shape) < 0.5)
        self.target = observed - visible
        self.step = torch.randint(STEPS, (batch,))
        self.input = network_input(self.values, visible, torch.randn(shape), self.step)
        self.fixed = (adjacency(sea), static_features(sea, torch.zeros(sea.shape), torch.full(sea.shape, 0.3)))
        self.bounds = (torch.full((NODES,), -3.0), torch.full((NODES,), 3.0))
        self.parameters = {name: v.requires_grad_() for name, v in fresh_parameters().items()}
        self.adam = torch.optim.Adam(self.parameters.values(), lr=1e-3, weight_decay=1e-4, fused=True)

    def forward(self):
        return network(self.parameters, self.input, self.step, *self.fixed, *self.bounds)

    def inference(self):
        with torch.no_grad():
            return self.forward()

    def training_step(self):
        self.adam.zero_grad()
        masked_loss(self.forward(), self.values, self.target).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
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


def milliseconds(run, repeats, warm_up=3):
    """Median and minimum wall time of run()."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times), min(times)


def measure(arguments):
    torch.set_num_threads(arguments.threads)
    work = Workload(arguments.batch)
    step = milliseconds(work.training_step, arguments.steps)
    forward = milliseconds(work.inference, arguments.steps)  # second, on a heap that has grown already
    peak_resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    tuned = all(os.environ.get(k) == v for k, v in TUNED_MALLOC.items())
    return {
        "torch": torch.__version__,
        "threads": arguments.threads,
        "malloc": "tuned" if tuned else "default",
        "batch": arguments.batch,
        "nodes": NODES,
        "edges": work.fixed[0].values().numel(),
        "parameters": sum(v.numel() for v in work.parameters.values()),
        "forward_ms": round(forward[0], 1),
        "forward_min_ms": round(forward[1], 1),
        "step_ms": round(step[0], 1),
        "step_min_ms": round(step[1], 1),
        "saved_bytes": work.saved_bytes(),
        "peak_rss_bytes": peak_resident,
    }


def check(path):
    """Compare prediction, loss and gradients with a parity fixture; true when all agree."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    given = {k.removeprefix("in/"): v for k, v in tensors.items() if k.startswith("in/")}
    expected = {k.removeprefix("grad/"): v for k, v in tensors.items() if k.startswith("grad/")}
    p = {k.removeprefix("param/"): v.requires_grad_() for k, v in tensors.items() if k.startswith("param/")}
    values, visible, observed, noise = (
        given[k].squeeze(2) for k in ("values", "visible_mask", "observed_mask", "noise")
    )
    sea = given["sea"] > 0
    u = network_input(values, visible, noise, given["step"])
    static = static_features(sea, given["mean"], given["std"])
    prediction = network(p, u, given["step"], adjacency(sea), static, given["low"], given["high"])
    loss = masked_loss(prediction, values, observed - visible)
    loss.backward()

    def difference(found, wanted):
        return float((found.detach() - wanted).norm() / wanted.norm())

    rows = [
        ("network input", difference(u.permute(1, 2, 3, 0).unsqueeze(2), tensors["out/network_input"]), 1e-5),
        ("prediction", difference(prediction.unsqueeze(2), tensors["out/prediction"]), 1e-5),
        ("loss", difference(loss, tensors["out/loss"].squeeze()), 1e-5),
    ]
    rows += [(f"gradient {k}", difference(p[k].grad, v), 1e-4) for k, v in sorted(expected.items())]
    for name, error, limit in rows:
        print(f"{'ok  ' if error <= limit else 'FAIL'} {error:8.1e} <= {limit:.0e}  {name}")
    return all(error <= limit for _, error, limit in rows)


def main():
    warnings.filterwarnings("ignore", message="Sparse")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20, help="timed repetitions")
    parser.add_argument("--malloc", choices=("both", "default", "tuned", "inherit"), default="both")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--check", metavar="FILE", help="compare with a parity fixture (safetensors) and stop")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit(0 if check(arguments.check) else 1)
    if arguments.malloc != "inherit":
        # glibc reads these variables when a process starts, so each setting has its own process.
        plain = {k: v for k, v in os.environ.items() if k not in TUNED_MALLOC}
        settings = {"default": plain, "tuned": plain | TUNED_MALLOC}
        for name in settings if arguments.malloc == "both" else (arguments.malloc,):
            subprocess.run([sys.executable, *sys.argv, "--malloc", "inherit"], env=settings[name], check=True)
        return
    result = measure(arguments)
    if arguments.json:
        print(json.dumps(result), flush=True)
        return
    print(
        "malloc {malloc:8} forward {forward_ms:7.1f} ms   step {step_ms:7.1f} ms   (least {forward_min_ms:.1f}, "
        "{step_min_ms:.1f})".format(**result),
        f"  saved {result['saved_bytes'] / 1e6:.0f} MB   peak RSS {result['peak_rss_bytes'] / 1e6:.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
