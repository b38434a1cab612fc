"""The forecaster of STIMP as one PyTorch program: the peer that Isobath's forward and training step are measured against.

    forecaster_torch.py [--threads 2] [--batch 1] [--steps 20] [--malloc both|default|tuned] [--json]
    forecaster_torch.py --check forecaster.safetensors

Times a forward pass without gradients and a training step (forward, backward, Adam) at the size of the Pearl River
Estuary: 60x96 cells, 4443 of them sea, 46 frames from 46, width 8, 8 prototypes.
"""

import math

import torch
import torch.nn.functional as F

import stimp_torch as stimp
from stimp_torch import FRAMES, GROUPS, NODES

WIDTH = 8
BLOCK = "temporal_encoder.layers.layers.0"


def fresh_parameters(seed=0):
    """Random parameters under the names of the published checkpoints."""
    torch.manual_seed(seed)
    p, d = stimp.Initial(), WIDTH
    p.linear("value_embedding.tokenConv", d, 1, bias=False, tail=(3,), std=math.sqrt(2 / 3))
    p.temporal_block(BLOCK, d)
    p.linear("position_embedding.projection1", stimp.PROTOTYPES, 3)
    p.pool("spatial_encoder.weights_pool", d)
    p.norm("gn", d)
    p.linear("projection2", 1, d)
    p.linear("projection1", FRAMES, FRAMES)
    return p


def network(p, x, graph, static):
    """Normalised windows x [B, T, N] -> normalised forecast [B, T', N]."""
    # The circular convolution as a product: three shifted copies of one channel beside each other.
    series = x.permute(2, 0, 1)
    tokens = torch.stack([series.roll(1, -1), series, series.roll(-1, -1)], -1)
    h = stimp.temporal_block(p, BLOCK, F.linear(tokens, p["value_embedding.tokenConv.weight"].squeeze(1)))
    h = stimp.spatial_block(p, "position_embedding.projection1", "spatial_encoder.weights_pool", h, graph, static)
    n, b, t, d = h.shape
    h = stimp.NodesLast.apply(h.view(n, b * t, d))
    h = F.group_norm(h, GROUPS, p["gn.weight"], p["gn.bias"], 1e-5)
    h = F.silu(stimp.channel_mix(h, p["projection2.weight"], p["projection2.bias"])).view(b, t, n)
    weight, bias = p["projection1.weight"], p["projection1.bias"]
    return torch.baddbmm(bias.view(1, -1, 1).expand(b, -1, -1), weight.expand(b, -1, -1), h)


def forecast(p, values, graph, static):
    """Windows [B, T, N] -> the frames that follow [B, T', N], normalised window by window and node by node."""
    mean = values.mean(1, keepdim=True)
    std = (values.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    return network(p, (values - mean) / std, graph, static) * std + mean


class Workload(stimp.Workload):
    """Made-up chlorophyll at the size of the estuary, half of the labels cloud."""

    def __init__(self, batch):
        torch.manual_seed(1)
        sea = stimp.estuary()
        shape = (batch, FRAMES, NODES)
        season = torch.sin(torch.arange(FRAMES) * 2 * math.pi / FRAMES).view(1, -1, 1)
        self.windows = 0.3 * season + 0.2 * torch.randn(shape)
        self.values = 0.3 * season + 0.2 * torch.randn(shape)
        self.target = (torch.rand(shape) < 0.5).float()
        self.graph = stimp.adjacency(sea)
        self.static = stimp.static_features(sea, torch.zeros(sea.shape), torch.full(sea.shape, 0.3))
        self.parameters = {name: v.requires_grad_() for name, v in fresh_parameters().items()}
        self.adam = torch.optim.Adam(self.parameters.values(), lr=1e-4, weight_decay=1e-6, fused=True)

    def forward(self):
        return forecast(self.parameters, self.windows, self.graph, self.static)


def check(path):
    """Compare prediction, loss and gradients with a parity fixture; true when all agree."""
    tensors, given, p, expected = stimp.read_fixture(path)
    sea = given["sea"] > 0
    row = torch.arange(sea.shape[0]).unsqueeze(1).expand(sea.shape)[sea] / sea.shape[0]
    static = torch.stack([given["mean"], given["std"], row], 1)
    values, labels, mask = (given[k].squeeze(2) for k in ("values", "labels", "label_mask"))
    prediction = forecast(p, values, stimp.adjacency(sea), static)
    loss = stimp.masked_loss(prediction, labels, mask)
    loss.backward()
    rows = [
        ("prediction", prediction.unsqueeze(2), tensors["out/prediction"], 1e-5),
        ("loss", loss, tensors["out/loss"].squeeze(), 1e-5),
    ]
    return stimp.compare(rows + [(f"gradient {k}", p[k].grad, v, 1e-4) for k, v in sorted(expected.items())])


if __name__ == "__main__":
    stimp.main(__doc__.splitlines()[0], Workload, check)
