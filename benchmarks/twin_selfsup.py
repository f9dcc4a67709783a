"""The train step of stages 1 and 2 in PyTorch, for timing: transformers' Depth Anything, the rest written out.

The losses are those of configs/vivid_stage1.py and vivid_stage2.py, in the form that their lineage gives them
(Monodepth2, SC-SfMLearner): grid_sample, SSIM by average pooling, OpenCV's CLAHE for temporally mapped images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

# Hidden size, heads, widths of the four taps, width of the fusion path.
SIZES = {"vits": (384, 6, [48, 96, 192, 384], 64), "vitb": (768, 12, [96, 192, 384, 768], 128)}
TAPS = (2, 5, 8, 11)
PAIRS = ((1, 0), (1, 2), (0, 1), (2, 1))  # target, source
FEWEST = 0.03  # share of an image's pixels below which a pair does not count
BINS = 30  # of temporal mapping's histogram


class DepthNet(nn.Module):
    """Standardised images [n 3 h w] to depth [n 1 h w]. The backbone is frozen; `rank` and `width` put LoRA on queries
    and values and a convolutional adapter behind every block, whose parameters are trained."""

    def __init__(self, backbone: str, rank: int, width: int):
        super().__init__()
        hidden, heads, neck, fusion = SIZES[backbone]
        vit = Dinov2Config(
            hidden_size=hidden, num_attention_heads=heads, image_size=518, patch_size=14, out_indices=[3, 6, 9, 12],
            reshape_hidden_states=False, apply_layernorm=True,
        )  # fmt: skip
        config = DepthAnythingConfig(
            backbone_config=vit, reassemble_hidden_size=hidden, patch_size=14, fusion_hidden_size=fusion,
            neck_hidden_sizes=neck, head_hidden_size=32, depth_estimation_type="metric", max_depth=1,
        )  # fmt: skip
        whole = DepthAnythingForDepthEstimation(config)
        self.vit, self.neck, self.head = whole.backbone, whole.neck, whole.head
        # The deepest level has nothing to add to, so this part of the library's layer is never run.
        self.neck.fusion_stage.layers[0].residual_layer1.requires_grad_(False)
        self.vit.requires_grad_(False)
        self.adapted = bool(rank)
        self.adapters = nn.ModuleList()
        for layer in self.vit.encoder.layer if self.adapted else ():
            attention = layer.attention
            attention.q_proj, attention.v_proj = (
                LoRA(old, rank) for old in (attention.q_proj, attention.v_proj)
            )
            self.adapters.append(ConvAdapter(hidden, width))

    def forward(self, images: Tensor) -> Tensor:
        grid = tuple(n // 14 for n in images.shape[2:])
        with torch.set_grad_enabled(self.adapted):
            taps = self.tokens(images, grid)
        share = self.head(self.neck(taps, *grid), *grid)  # a sigmoid
        return 1 / (0.01 + 10 * share[:, None])

    def tokens(self, images: Tensor, grid: tuple[int, ...]) -> list[Tensor]:
        x, taps = self.vit.embeddings(images), []
        for i, layer in enumerate(self.vit.encoder.layer):
            x = layer(x)
            if self.adapted:
                x = self.adapters[i](x, grid)
            if i in TAPS:
                taps.append(self.vit.layernorm(x))
        return taps


class LoRA(nn.Module):
    def __init__(self, frozen: nn.Linear, rank: int):
        super().__init__()
        self.frozen = frozen
        self.a = nn.Linear(frozen.in_features, rank, bias=False)
        self.b = nn.Linear(rank, frozen.out_features, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(x) + self.b(self.a(x))


class ConvAdapter(nn.Module):
    def __init__(self, hidden: int, width: int):
        super().__init__()
        self.down, self.up = nn.Conv2d(hidden, width, 3, 1, 1), nn.Conv2d(width, hidden, 3, 1, 1)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        image = x[:, 1:].transpose(1, 2).unflatten(2, grid)
        change = self.up(functional.gelu(self.down(image))).flatten(2).transpose(1, 2)
        return torch.cat([x[:, :1], x[:, 1:] + change], dim=1)


class Residual(nn.Module):
    """ResNet-18's block."""

    def __init__(self, of: int, to: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(of, to, 3, stride, 1, bias=False), nn.BatchNorm2d(to), nn.ReLU(True),
            nn.Conv2d(to, to, 3, 1, 1, bias=False), nn.BatchNorm2d(to),
        )  # fmt: skip
        self.shortcut = nn.Identity()
        if of != to:
            self.shortcut = nn.Sequential(nn.Conv2d(of, to, 1, stride, bias=False), nn.BatchNorm2d(to))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x), inplace=True)


def pose_net(kind: str) -> nn.Module:
    """Target and source, stacked [n 2 h w], to maps of the motion between them [n 6 u v]."""
    layers: list[nn.Module] = []
    if kind == "resnet18":
        layers += [nn.Conv2d(2, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(True)]
        layers += [nn.MaxPool2d(3, 2, 1)]
        for of, to in ((64, 64), (64, 128), (128, 256), (256, 512)):
            layers += [Residual(of, to, 1 if of == to else 2), Residual(to, to, 1)]
        for of, size in ((512, 1), (256, 3), (256, 3)):
            layers += [nn.Conv2d(of, 256, size, 1, size // 2), nn.ReLU(True)]
    else:
        widths = (2, 16, 32, 64, 128, 256, 256, 256)
        for i, size in enumerate((7, 5, 3, 3, 3, 3, 3)):
            layers += [nn.Conv2d(widths[i], widths[i + 1], size, 2, size // 2), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.Conv2d(256, 6, 1))


def motions(vector: Tensor) -> Tensor:
    """[n 6], translation and axis times angle, to [n 4 4], by Rodrigues' formula."""
    axis_angle = vector[:, 3:]
    angle = axis_angle.norm(dim=1, keepdim=True) + 1e-7
    x, y, z = (axis_angle / angle).unbind(1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).unflatten(1, (3, 3))
    sine, cosine = angle.sin()[..., None], angle.cos()[..., None]
    rotation = torch.eye(3) + sine * skew + (1 - cosine) * (skew @ skew)
    last = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(len(vector), 1, 4)
    return torch.cat([torch.cat([rotation, vector[:, :3, None]], dim=2), last], dim=1)


def inverse(motion: Tensor) -> Tensor:
    turned = motion[:, :3, :3].transpose(1, 2)
    top = torch.cat([turned, -turned @ motion[:, :3, 3:]], dim=2)
    return torch.cat([top, motion[:, 3:]], dim=1)


def standardised(unit: Tensor) -> Tensor:
    return (unit - 0.45) / 0.225


def normalised(counts: Tensor) -> Tensor:
    """Counts [b t h w] by the 1st and 99th percentile of each snippet, to [0, 1]."""
    x = counts.float()
    low, high = torch.quantile(x.flatten(1), torch.tensor([0.01, 0.99]), dim=1)[:, :, None, None, None]
    return ((x - low) / (high - low).clamp_min(1)).clamp(0, 1)


def temporally_mapped(counts: Tensor) -> Tensor:
    """Counts [b t h w] to [0, 1]: one range and one histogram for each snippet, then CLAHE."""
    import cv2

    clahe, mapped = cv2.createCLAHE(2.0, (8, 8)), []
    edges = np.linspace(0, 1, BINS + 1)
    for snippet in counts.numpy():
        low, high = (extreme(snippet, axis=(1, 2)).mean() for extreme in (np.min, np.max))
        unit = ((snippet.astype(np.float32) - low) / max(high - low, 1)).clip(0, 1)
        count, _ = np.histogram(unit, BINS, (0, 1))
        heights = np.concatenate([[0], np.cumsum(count) / count.sum()])
        grey = (255 * np.interp(unit, edges, heights)).astype(np.uint8)
        mapped.append([clahe.apply(image) for image in grey])
    return torch.from_numpy(np.array(mapped)).float() / 255


def photometric(a: Tensor, b: Tensor) -> Tensor:
    """0.15 |a - b| + 0.85 (1 - SSIM) / 2 of [n 1 h w]."""
    padded = functional.pad(torch.cat([a, b, a * a, b * b, a * b], dim=1), (1, 1, 1, 1), mode="reflect")
    mean_a, mean_b, aa, bb, ab = functional.avg_pool2d(padded, 3, 1).chunk(5, dim=1)
    c1, c2 = 0.01**2, 0.03**2
    above = (2 * mean_a * mean_b + c1) * (2 * (ab - mean_a * mean_b) + c2)
    below = (mean_a**2 + mean_b**2 + c1) * ((aa - mean_a**2) + (bb - mean_b**2) + c2)
    return 0.15 * (a - b).abs().clamp(0, 1) + 0.85 * ((1 - above / below) / 2).clamp(0, 1)


def smoothness(depth: Tensor, image: Tensor) -> Tensor:
    depth = depth / (depth.mean((2, 3), keepdim=True) + 1e-7)
    found = torch.zeros(())
    for axis in (2, 3):
        found = found + (depth.diff(dim=axis).abs() * torch.exp(-image.diff(dim=axis).abs())).mean()
    return found


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Of every pair [p n] its mean where `mask`, if that is enough; their sum."""
    count = mask.sum(1)
    mean = (values * mask).sum(1) / count.clamp_min(1)
    return torch.where(count > FEWEST * mask.shape[1], mean, torch.zeros(())).sum()


def losses(images: Tensor, depth: Tensor, motion: Tensor, K: Tensor) -> Tensor:
    """Of loss images and depth [b t h w] and source_from_target [p b 4 4] of the pairs."""
    h, w = images.shape[2:]
    targets, sources = ([pair[i] for pair in PAIRS] for i in (0, 1))

    def pick(x: Tensor, which: list[int]) -> Tensor:
        return x[:, which].transpose(0, 1).reshape(-1, 1, h, w)

    v, u = torch.meshgrid(torch.arange(float(h)), torch.arange(float(w)), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)]).flatten(1)
    K = K.repeat(len(PAIRS), 1, 1)
    motion = motion.flatten(0, 1)
    points = (torch.linalg.inv(K) @ pixels) * pick(depth, targets).flatten(2)
    x, y, z = (K @ (motion[:, :3, :3] @ points + motion[:, :3, 3:])).unbind(1)
    near = z.clamp_min(1e-3)
    grid = torch.stack([2 * x / near / (w - 1) - 1, 2 * y / near / (h - 1) - 1], dim=-1)
    seen = torch.cat([pick(images, sources), pick(depth, sources)], dim=1)
    seen = functional.grid_sample(seen, grid.unflatten(1, (h, w)), padding_mode="zeros", align_corners=True)
    inside = (grid.abs().amax(-1) <= 1) & (z > 1e-3)
    computed, sampled = near.unflatten(1, (1, h, w)), seen[:, 1:]
    apart = ((computed - sampled).abs() / (computed + sampled).clamp_min(1e-6)).clamp(0, 1)
    target = pick(images, targets)
    distance = photometric(target, seen[:, :1])
    with torch.no_grad():
        still = photometric(target, pick(images, sources))
        mask = inside.unflatten(1, (1, h, w)) & (distance < still)
    rows = [x.reshape(len(PAIRS), -1) for x in (distance * (1 - apart), apart, mask)]
    smooth = sum(smoothness(depth[:, [t]], images[:, [t]]) for t in range(3))
    return masked_mean(rows[0], rows[2]) + 0.5 * masked_mean(rows[1], rows[2]) + 0.1 * smooth


def step(
    stage: str, backbone: str, pose: str, size: tuple[int, int], batch: int, channels_last: bool
) -> tuple[Callable[[], None], int]:
    """(a train step, how many parameters it trains)."""
    adapter = 4 if stage == "stage2" else 0
    depth_net, motion_net = DepthNet(backbone, adapter, adapter), pose_net(pose)
    if channels_last:
        depth_net.neck, depth_net.head, motion_net = (
            net.to(memory_format=torch.channels_last) for net in (depth_net.neck, depth_net.head, motion_net)
        )
    trained = [p for net in (depth_net, motion_net) for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=True)
    h, w = size
    counts = torch.from_numpy(np.random.default_rng(0).integers(7000, 9000, (batch, 3, h, w), np.int32))
    K = torch.tensor([[w, 0, w / 2], [0, w, h / 2], [0, 0, 1.0]]).expand(batch, 3, 3)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        unit = standardised(normalised(counts))
        depth = depth_net(unit.flatten(0, 1)[:, None].expand(-1, 3, -1, -1)).reshape(unit.shape)
        vector = 0.01 * motion_net(torch.stack([unit[:, :2], unit[:, 1:]], dim=2).flatten(0, 1)).mean((2, 3))
        first, second = motions(vector).unflatten(0, (batch, 2)).unbind(1)
        motion = torch.stack([inverse(first), second, first, inverse(second)])
        images = standardised(temporally_mapped(counts)) if stage == "stage2" else unit
        losses(images, depth, motion, K).backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return run, sum(p.numel() for p in trained)
