"""The published networks in PyTorch, rebuilt for timing beside ours: CEKD's student and XD-RCDepth's.

They have as many parameters as the published ones, random, and are written as their authors' code is, from layers of
PyTorch alone. `STAGES` is read without torch, too, so that is imported where a network is made.
"""

from __future__ import annotations

import itertools

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def eknet(size: tuple[int, int], classes: int = 9):
    """EKNet: ResNet-50 with attention in its last stage, five decoder stages, thermal enhancement.

    Images [b 1 h w] to (logits [b n h w], the deepest map at 1/32, the decoder's map at 1/4, which CEKD teaches).
    """
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
            x, hint = x + boosts[4], None
            for i in (3, 2, 1, 0):
                x = self.stages[3 - i](x) + skips[i]
                hint = x if i == 1 else hint
                x = x + boosts[i]
            return self.stages[4](x), maps[4], hint

    return EKNet()


def radar_camera():
    """XD-RCDepth's student: (image [b 3 h w], radar [b 4 h w]) to depth [b 1 h w]."""
    import torch
    from torch import nn
    from torch.nn.functional import interpolate

    def unit(a, b, size=1, stride=1, groups=1, dilation=1, active=True):
        pad = dilation * (size // 2)
        layers = [nn.Conv2d(a, b, size, stride, pad, dilation, groups, bias=False), nn.BatchNorm2d(b)]
        return nn.Sequential(*layers, *([nn.ReLU6()] if active else []))

    class Block(nn.Module):
        def __init__(self, a: int, b: int, t: int, stride: int):
            super().__init__()
            wide = t * a
            layers = [unit(a, wide)] if t != 1 else []
            self.body = nn.Sequential(*layers, unit(wide, wide, 3, stride, wide), unit(wide, b, active=False))
            self.same = stride == 1 and a == b

        def forward(self, x):
            return x + self.body(x) if self.same else self.body(x)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, width, stages = unit(3, 32, 3, 2), 32, []
            for t, c, n, s in STAGES:
                stages.append(
                    nn.Sequential(
                        *(Block(width if i == 0 else c, c, t, s if i == 0 else 1) for i in range(n))
                    )
                )
                width = c
            self.stages, self.last = nn.ModuleList(stages), unit(320, 1280)

        def forward(self, x):
            x, maps = self.stem(x), []
            for i, stage in enumerate(self.stages):
                x = stage(x)
                if i < 4:
                    maps.append(x)
            return [*maps, self.last(x)]

    def separable(a: int, b: int):
        return nn.Sequential(unit(a, a, 3, groups=a), unit(a, b))

    def beside(x, skip):
        x = interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
        return torch.cat([x, skip], 1)

    class Student(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            taps, rates = (16, 24, 32, 64, 1280), (3, 6, 12, 18, 24)
            self.image, self.radar, self.radar_in = Encoder(), Encoder(), nn.Conv2d(4, 3, 3, 1, 1, bias=False)
            self.scale, self.shift = (nn.ModuleList(nn.Conv2d(c, c, 1) for c in taps) for _ in range(2))
            self.bottom, self.up3, self.up2 = unit(1280, 128), separable(192, 96), separable(128, 64)
            self.branches = nn.ModuleList(
                nn.Sequential(
                    unit(64 + 32 * i, 64),
                    unit(64, 64, 3, groups=64, dilation=rate),
                    nn.Conv2d(64, 32, 1, bias=False),
                )
                for i, rate in enumerate(rates)
            )
            self.joined, self.up1, self.up0 = unit(224, 64), separable(88, 48), separable(64, 32)
            self.head = nn.Conv2d(32, 1, 3, 1, 1)

        def forward(self, image, radar):
            return self.back(*self.front(image, radar), image.shape[2:])

        def front(self, image, radar):
            """(the feature at 1/8, which saliency explains, the maps at 1/4 and 1/2)."""
            ours, theirs = self.image(image), self.radar(self.radar_in(radar).relu())
            pooled = [x.mean((2, 3), keepdim=True) for x in theirs]
            fused = [
                (1 + s(r)) * x + b(r) for x, r, s, b in zip(ours, pooled, self.scale, self.shift, strict=True)
            ]
            x = self.up2(beside(self.up3(beside(self.bottom(fused[4]), fused[3])), fused[2]))
            seen = [x]
            for branch in self.branches:
                seen.append(branch(torch.cat(seen, 1)))
            return self.joined(torch.cat(seen, 1)), (fused[1], fused[0])

        def back(self, feature, maps, size):
            x = self.up0(beside(self.up1(beside(feature, maps[0])), maps[1]))
            logits = interpolate(self.head(x), size=size, mode="bilinear", align_corners=False)
            return (100 * logits.sigmoid()).clamp_min(1e-3)

    return Student()
