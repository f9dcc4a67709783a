"""The students' updates of CEKD and XD-RCDepth in PyTorch, for timing: networks of twins.py, losses written out.

The targets are random and given, as the teacher's are. Left out on both sides: radar that fails (its shares are 0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import twins
from torch import Tensor, nn
from torch.nn import functional

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
FARTHEST = 100.0  # metres
Step = tuple[Callable[[], None], int]  # a train step, how many parameters it trains


def cekd(batch: Mapping[str, np.ndarray], channels_last: bool) -> Step:
    """EKNet by the teacher's labels, softened shares, similarities of pixels and the feature with edges; SGD."""
    counts = torch.from_numpy(batch["thermal/image"][:, 0].astype(np.float32)).permute(0, 3, 1, 2)
    b, _, h, w = counts.shape
    net = _placed(twins.eknet((h, w)).train(), channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    wanted = torch.randn(b, 9, h, w)
    deepest, feature = torch.rand(b, 2048, h // 32, w // 32), torch.rand(b, 256, h // 4, w // 4)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits, deep, hint = net((counts / 255).clamp(0, 1))
        shares = functional.softmax(wanted / 6, dim=1)
        loss = functional.cross_entropy(logits, wanted.argmax(1)) + functional.cross_entropy(
            logits / 6, shares
        )
        similar = functional.mse_loss(_cosines(deep), _cosines(deepest))
        (loss + similar + functional.mse_loss(hint, feature)).backward()
        optimizer.step()

    return run, _count(net)


def _cosines(x: Tensor) -> Tensor:
    """Between all pixels of a map; the lengths pass no gradient."""
    unit = (x / (x.norm(dim=1, keepdim=True).detach() + 1e-8)).flatten(2)
    return unit.transpose(1, 2) @ unit


def xdrc(batch: Mapping[str, np.ndarray], channels_last: bool) -> Step:
    """The light radar-camera network by measured depth, the teacher's depth as a distribution over bins, and its
    saliency, which is differentiated whole; AdamW."""
    given = {name: torch.from_numpy(x) for name, x in batch.items()}
    truth = given["rgb/depth"].permute(0, 3, 1, 2)
    b, _, h, w = truth.shape
    net = _placed(twins.radar_camera().train(), channels_last)
    groups = [
        {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 1e-4},
        {"params": [p for p in net.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=5e-5, fused=True)
    theirs, bright = 80 * torch.rand(b, 1, h, w), torch.rand(b, h // 8, w // 8)
    centres = torch.linspace(0, FARTHEST, 128)[:, None, None]
    mean, std = (torch.tensor(x)[:, None, None] for x in (MEAN, STD))

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        image = (given["rgb/image"][:, 0].permute(0, 3, 1, 2) / 255 - mean) / std
        radar = rasterised(given, (h, w))
        if channels_last:
            image, radar = (x.contiguous(memory_format=torch.channels_last) for x in (image, radar))
        feature, maps = net.front(image, radar)
        depth = net.back(feature, maps, (h, w))
        (slope,) = torch.autograd.grad(depth.mean((1, 2, 3)).sum(), feature, create_graph=True)
        saliency = ((feature * slope.mean((2, 3), keepdim=True)).sum(1)).relu()
        known = (truth > 1e-3) & (truth < 80)
        loss = (depth - truth).abs()[known].mean() + 0.001 * _smoothness(depth, image)
        shares = (functional.log_softmax(-(d - centres).abs() / 2, dim=1) for d in (depth, theirs))
        loss = loss + functional.kl_div(*shares, log_target=True, reduction="sum") / depth.numel()
        alike = functional.cosine_similarity(saliency.flatten(1), bright.flatten(1), eps=1e-12)
        (loss + (1 - alike).mean()).backward()
        optimizer.step()

    return run, _count(net)


def rasterised(given: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
    """Radar returns as a picture [b 4 h w]: of each pixel the nearest's depth, cross-section and velocity."""
    (h, w), K = size, given["rgb/K"]
    x, y, z, rcs, vx, vz = (given[f"radar/{name}"] for name in ("x", "y", "z", "rcs", "vx", "vz"))
    column = (K[:, 0, :1] * x / z + K[:, 0, 2:]).round()
    row = (K[:, 1, 1:2] * y / z + K[:, 1, 2:]).round()
    seen = (z > 0.5) & (column >= 0) & (column < w) & (row >= 0) & (row < h) & given["radar/valid"]
    pixel = torch.where(seen, row * w + column, h * w).long()
    far = torch.full((len(z), h * w + 1), torch.inf).scatter_reduce(1, pixel, z, "amin")
    drawn = seen & (z == far.gather(1, pixel))
    values = torch.stack([z / FARTHEST, rcs / 20, vx / 10, vz / 10], dim=1)
    pixel = torch.where(drawn, pixel, h * w)[:, None].expand(-1, 4, -1)
    return torch.zeros(len(z), 4, h * w + 1).scatter(2, pixel, values)[..., :-1].unflatten(2, (h, w))


def _smoothness(depth: Tensor, image: Tensor) -> Tensor:
    depth = depth / (depth.mean((2, 3), keepdim=True) + 1e-7)
    found = torch.zeros(())
    for axis in (2, 3):
        edge = image.diff(dim=axis).abs().mean(1, keepdim=True)
        found = found + (depth.diff(dim=axis).abs() * torch.exp(-edge)).mean()
    return found


def _placed(net: nn.Module, channels_last: bool) -> nn.Module:
    return net.to(memory_format=torch.channels_last) if channels_last else net


def _count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())
