"""The STDDM imputer of STIMP as one PyTorch program: the peer that Isobath's training step is measured against.

    stddm_torch.py [--threads 2] [--batch 1] [--steps 20] [--malloc both|default|tuned] [--json]
    stddm_torch.py --check stddm.safetensors

Times a forward pass without gradients and a training step (forward, backward, clipping, Adam) at the size of the
Pearl River Estuary: 60x96 cells, 4443 of them sea, 46 frames, width 32, 8 prototypes.
"""

import math

import torch
import torch.nn.functional as F

import stimp_torch as stimp
from stimp_torch import FRAMES, GROUPS, NODES

WIDTH, STEP_WIDTH, STEPS = 32, 64, 50
BLOCK = "time_encoding.layers.layers.0"


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
    p, d = stimp.Initial(), WIDTH
    p.linear("input_projection", d, 2, tail=(1,), std=1.0)
    p.linear("diffusion_embedding.projection1", d, STEP_WIDTH)
    p.linear("diffusion_embedding.projection2", d, d)
    p.temporal_block(BLOCK, d)
    p.linear("projection1", stimp.PROTOTYPES, 3)
    p.pool("spatial_encoding.weights_pool", d)
    p.norm("gn", d)
    p.linear("mid_projection", 2 * d, d, tail=(1,), std=math.sqrt(2 / d))
    p.linear("output_projection", 1, d, tail=(1,), std=math.sqrt(2 / d))
    return p


def network(p, u, step, graph, static, low, high):
    """Network input u [N, B, T, 2], diffusion step [B] -> prediction [B, T, N], clamped to each node's record."""
    e = step_table()[step]
    for layer in ("projection1", "projection2"):
        name = "diffusion_embedding." + layer
        e = F.silu(F.linear(e, p[name + ".weight"], p[name + ".bias"]))
    x = F.linear(u, p["input_projection.weight"].squeeze(-1), p["input_projection.bias"]) + e.unsqueeze(1)
    x = stimp.temporal_block(p, BLOCK, x)
    x = x + stimp.spatial_block(p, "projection1", "spatial_encoding.weights_pool", x, graph, static)
    n, b, t, d = x.shape
    x = stimp.NodesLast.apply(x.view(n, b * t, d))
    x = F.group_norm(x, GROUPS, p["gn.weight"], p["gn.bias"], 1e-5)
    # Two products with half the weights each: no strided halves, and no concatenation in the backward pass.
    weights, biases = (p["mid_projection." + k].chunk(2) for k in ("weight", "bias"))
    gate, signal = (stimp.channel_mix(x, w, v) for w, v in zip(weights, biases))
    x = stimp.channel_mix(gate.sigmoid() * signal.tanh(), p["output_projection.weight"], p["output_projection.bias"])
    return x.view(b, t, n).clamp(low, high)


def network_input(values, visible, noise, step):
    """Series filled with their visible mean beside their noised hidden part, [N, B, T, 2]; arguments [B, T, N]."""
    mean = (values * visible).sum(1, keepdim=True) / (visible.sum(1, keepdim=True) + 1e-5)
    known = torch.where(visible > 0, values, mean)
    a = signal_fraction()[step].view(-1, 1, 1)
    noised = a.sqrt() * known + (1 - a).sqrt() * noise
    return torch.stack([known, (1 - visible) * noised], -1).permute(2, 0, 1, 3).contiguous()


class Workload(stimp.Workload):
    """Made-up chlorophyll at the size of the estuary, half of it cloud, half of the rest hidden."""

    clip = 1.0

    def __init__(self, batch):
        torch.manual_seed(1)
        sea = stimp.estuary()
        shape = (batch, FRAMES, NODES)
        season = torch.sin(torch.arange(FRAMES) * 2 * math.pi / FRAMES).view(1, -1, 1)
        self.values = 0.3 * season + 0.2 * torch.randn(shape)
        observed = (torch.rand(shape) < 0.5).float()
        visible = observed * (torch.rand(shape) < 0.5)
        self.target = observed - visible
        self.step = torch.randint(STEPS, (batch,))
        self.input = network_input(self.values, visible, torch.randn(shape), self.step)
        self.graph = stimp.adjacency(sea)
        self.static = stimp.static_features(sea, torch.zeros(sea.shape), torch.full(sea.shape, 0.3))
        self.bounds = (torch.full((NODES,), -3.0), torch.full((NODES,), 3.0))
        self.parameters = {name: v.requires_grad_() for name, v in fresh_parameters().items()}
        self.adam = torch.optim.Adam(self.parameters.values(), lr=1e-3, weight_decay=1e-4, fused=True)

    def forward(self):
        return network(self.parameters, self.input, self.step, self.graph, self.static, *self.bounds)


def check(path):
    """Compare prediction, loss and gradients with a parity fixture; true when all agree."""
    tensors, given, p, expected = stimp.read_fixture(path)
    values, visible, observed, noise = (
        given[k].squeeze(2) for k in ("values", "visible_mask", "observed_mask", "noise")
    )
    sea = given["sea"] > 0
    u = network_input(values, visible, noise, given["step"])
    static = stimp.static_features(sea, given["mean"], given["std"])
    prediction = network(p, u, given["step"], stimp.adjacency(sea), static, given["low"], given["high"])
    loss = stimp.masked_loss(prediction, values, observed - visible)
    loss.backward()

    rows = [
        ("network input", u.permute(1, 2, 3, 0).unsqueeze(2), tensors["out/network_input"], 1e-5),
        ("prediction", prediction.unsqueeze(2), tensors["out/prediction"], 1e-5),
        ("loss", loss, tensors["out/loss"].squeeze(), 1e-5),
    ]
    return stimp.compare(rows + [(f"gradient {k}", p[k].grad, v, 1e-4) for k, v in sorted(expected.items())])


if __name__ == "__main__":
    stimp.main(__doc__.splitlines()[0], Workload, check)
