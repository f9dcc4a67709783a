"""CPU inference of EKNet (CEKD's student), batch 1, float32: here and in PyTorch, the same network written out below.

  python benchmarks/cekd_inference.py --torch VENV/bin/python      # with tdepth_jax installed

VENV needs torch alone. Both networks have random weights and as many parameters as the published one; each is warmed
up, then they take turns, one image each, on the same cores (taskset) and threads. Prints the medians, and median and
quartiles of the ratio of neighbouring runs, in wall time and in CPU time.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable

import turns

SIZE = (480, 640)
PARAMETERS = 190_460_622  # of the published network, with 9 classes, at 480 x 640


def of_jax(size: tuple[int, int]) -> Callable[[], None]:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from tdepth_jax.models.segmentation import SegConfig, SegNet

    rng = np.random.default_rng(0)

    def draw(path, like):  # compiling `init` for so many parameters takes minutes
        if path[-1].key in ("scale", "var"):
            return jnp.ones(like.shape)
        if len(like.shape) < 2:
            return jnp.zeros(like.shape)
        fan_in = np.prod(like.shape[:-1])
        return jnp.asarray(rng.standard_normal(like.shape, np.float32) / np.sqrt(fan_in, dtype=np.float32))

    config = SegConfig(rgb=False, edges="none", enhancement=True, position_size=size, dtype="float32")
    net, image = SegNet(config, 9), jnp.full((1, *size, 1), 0.5)
    variables = jax.tree_util.tree_map_with_path(draw, jax.eval_shape(net.init, jax.random.key(0), image))
    _check(sum(x.size for x in jax.tree.leaves(variables["params"])), size)
    start = time.perf_counter()
    run = jax.jit(lambda v, x: net.apply(v, x)["logits"]).lower(variables, image).compile()
    print(f"compiled in {time.perf_counter() - start:.1f} s")
    return lambda: run(variables, image).block_until_ready()


def of_torch(size: tuple[int, int]) -> Callable[[], None]:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    net = eknet(size).eval()
    _check(sum(p.numel() for p in net.parameters()), size)
    image = torch.full((1, 1, *size), 0.5)
    if CHANNELS_LAST:
        net, image = (x.to(memory_format=torch.channels_last) for x in (net, image))

    def run() -> None:
        with torch.inference_mode():
            net(image)

    return run


def _check(parameters: int, size: tuple[int, int]) -> None:
    """The position tables of other sizes have other numbers of rows."""
    rows = sum(size) - sum(SIZE)
    expected = PARAMETERS + 512 * (rows // 16 + 2 * (rows // 32))
    if parameters != expected:
        raise SystemExit(f"{parameters} parameters instead of {expected}: not the published network")


def eknet(size: tuple[int, int], classes: int = 9):
    """EKNet in PyTorch: ResNet-50 with attention in its last stage, five decoder stages, thermal enhancement."""
    import torch
    from torch import nn
    from torch.nn import functional

    def conv(of: int, to: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
        return nn.Conv2d(of, to, kernel, stride, kernel // 2, bias=bias)

    def normed(layer: nn.Module, to: int, relu: bool = True) -> nn.Sequential:
        return nn.Sequential(layer, nn.BatchNorm2d(to), *([nn.ReLU(True)] if relu else []))

    class Residual(nn.Module):
        def __init__(self, body: nn.Module, shortcut: nn.Module):
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x):
            return functional.relu(self.body(x) + self.shortcut(x), inplace=True)

    def bottleneck(of: int, width: int, stride: int) -> nn.Module:
        to = 4 * width
        body = nn.Sequential(
            normed(conv(of, width, 1), width), normed(conv(width, width, 3, stride), width),
            normed(conv(width, to, 1), to, relu=False),
        )  # fmt: skip
        same = of == to and stride == 1
        return Residual(body, nn.Identity() if same else normed(conv(of, to, 1, stride), to, relu=False))

    def layer(of: int, width: int, count: int, stride: int) -> nn.Module:
        first = bottleneck(of, width, stride)
        return nn.Sequential(first, *(bottleneck(4 * width, width, 1) for _ in range(count - 1)))

    class Attention(nn.Module):
        def __init__(self, of: int, grid: tuple[int, int], heads: int = 4, width: int = 512):
            super().__init__()
            self.heads, self.width = heads, width
            self.qkv = conv(of, 3 * heads * width, 1)
            self.rows = nn.Parameter(torch.randn(grid[0], width) * width**-0.5)
            self.columns = nn.Parameter(torch.randn(grid[1], width) * width**-0.5)

        def forward(self, x):
            b, _, h, w = x.shape
            q, k, v = self.qkv(x).reshape(b, 3, self.heads, self.width, h * w).transpose(-1, -2).unbind(1)
            position = (self.rows[:, None] + self.columns[None]).reshape(h * w, self.width)
            found = functional.scaled_dot_product_attention(q, k + position, v)
            return found.transpose(-1, -2).reshape(b, self.heads * self.width, h, w)

    def attending(of: int, grid: tuple[int, int], halve: bool) -> nn.Module:
        to, width = 2048, 512
        halved = nn.AvgPool2d(2) if halve else nn.Identity()
        body = nn.Sequential(
            normed(conv(of, width, 1), width), Attention(width, grid), halved, nn.BatchNorm2d(to), nn.ReLU(True),
            normed(conv(to, to, 1), to, relu=False),
        )  # fmt: skip
        return Residual(body, normed(conv(of, to, 3, 2), to) if halve else nn.Identity())

    def stage(of: int, to: int) -> nn.Module:
        same = nn.Sequential(
            normed(conv(of, of, 1), of), normed(conv(of, of, 3), of), normed(conv(of, of, 3), of, relu=False)
        )
        up = (nn.ConvTranspose2d(a, to, 2, 2, bias=False) for a in (to, of))
        double = nn.Sequential(
            normed(conv(of, to, 1), to), normed(conv(to, to, 3), to), normed(next(up), to, relu=False)
        )
        return nn.Sequential(
            Residual(same, nn.Identity()), Residual(double, normed(next(up), to, relu=False))
        )

    class Enhancement(nn.Module):
        def __init__(self):
            super().__init__()
            self.convs = nn.ModuleList(normed(conv(1, 1, 3, 2, bias=True), 1) for _ in range(2))
            self.head = nn.Sequential(nn.Linear(80, 20), nn.BatchNorm1d(20), nn.ReLU(True), nn.Linear(20, 1))

        def forward(self, image):
            x = self.convs[0](functional.max_pool2d(image, 4))
            x = functional.max_pool2d(self.convs[1](functional.max_pool2d(x, 2)), 2, padding=(1, 0))
            x = functional.interpolate(x, (8, 10), mode="bilinear")
            exponent = (self.head(x.flatten(1)) + 2).clamp(1, 16)
            enhanced = image ** exponent[:, :, None, None]
            return [enhanced[..., ::s, ::s] for s in (2, 4, 8, 16, 32)]

    class EKNet(nn.Module):
        def __init__(self):
            super().__init__()
            grid, half = ((size[0] // n, size[1] // n) for n in (16, 32))
            self.stem = normed(conv(1, 64, 7, 2), 64)
            self.layers = nn.ModuleList([layer(64, 64, 3, 1), layer(256, 128, 4, 2), layer(512, 256, 6, 2)])
            self.last = nn.Sequential(
                attending(1024, grid, True), attending(2048, half, False), attending(2048, half, False)
            )
            self.enhancement, self.skip = Enhancement(), conv(64, 128, 3, bias=True)
            widths = (2048, 1024, 512, 256, 128, classes)
            self.stages = nn.ModuleList(stage(a, b) for a, b in itertools.pairwise(widths))

        def forward(self, image):
            maps = [self.stem(image)]
            x = functional.max_pool2d(maps[0], 3, 2, 1)
            for one in (*self.layers, self.last):
                x = one(x)
                maps.append(x)
            skips = [self.skip(maps[0]), *maps[1:4]]
            boosts = self.enhancement(image)
            x = x + boosts[4]
            for i in (3, 2, 1, 0):
                x = self.stages[3 - i](x) + skips[i] + boosts[i]
            return self.stages[4](x)

    return EKNet()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch", metavar="PYTHON", help="interpreter that has torch")
    parser.add_argument("--size", type=int, nargs=2, default=SIZE, metavar=("H", "W"), help="multiples of 32")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument(
        "--channels-last", action="store_true", help="PyTorch's maps too have their channels last"
    )
    parser.add_argument("--serve", choices=("jax", "torch"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    CHANNELS_LAST = flags.channels_last
    if flags.serve:
        turns.serve({"jax": of_jax, "torch": of_torch}[flags.serve](tuple(flags.size)))
        raise SystemExit
    if not flags.torch:
        parser.error("--torch=PYTHON is needed")
    said = ["--size", *map(str, flags.size), *(["--channels-last"] if flags.channels_last else [])]
    commands = {
        name: [python, __file__, *said, "--serve", name]
        for name, python in {"jax": sys.executable, "torch": flags.torch}.items()
    }
    times = turns.take(commands, flags.runs)
    turns.report(times["jax"], times["torch"], "PyTorch")
