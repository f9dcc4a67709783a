"""Writes tests/parity/golden/kornia.npz: kornia's SSIM, smoothness, rotations, points and warps of known tensors.

Needs torch and kornia (Apache-2.0; the figures in the file are from 0.9.0), which the test itself does not:

  pip install torch kornia && python tests/parity/make_kornia.py

kornia's SSIM weighs its window by a Gaussian (sigma 1.5; of 3 pixels: 0.308, 0.384, 0.308), the lineage of Monodepth2
takes the plain mean. "ssim_box" is kornia's function with a plain window put in the Gaussian's place, all else its own;
"ssim_gaussian" is as it comes, so that the test can say how far the two windows are apart.
"""

from __future__ import annotations

import importlib
import unittest.mock

import kornia
import kornia_golden as golden
import numpy as np
import torch

ssim_module = importlib.import_module("kornia.metrics.ssim")


def channels_first(x: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def channels_last(x: torch.Tensor) -> np.ndarray:
    return np.moveaxis(x.detach().numpy(), 1, -1)


def box(size: int, sigma: float, **options: object) -> torch.Tensor:
    return torch.full((1, size), 1 / size, dtype=torch.float64)


def main() -> None:
    given = golden.given()
    image, other, depth = (channels_first(given[name]) for name in ("image", "other", "depth"))
    K, vector = torch.from_numpy(given["K"]), torch.from_numpy(given["vector"])
    out = {"ssim_gaussian": channels_last(kornia.metrics.ssim(image, other, 3))}
    with unittest.mock.patch.object(ssim_module, "get_gaussian_kernel1d", box):
        out["ssim_box"] = channels_last(kornia.metrics.ssim(image, other, 3))

    normalised = 1 / depth / (1 / depth).mean(dim=(2, 3), keepdim=True)
    out["smoothness"] = kornia.losses.inverse_depth_smoothness_loss(normalised, image).numpy()

    motion = torch.eye(4, dtype=torch.float64).repeat(golden.B, 1, 1)
    motion[:, :3, :3] = kornia.geometry.axis_angle_to_rotation_matrix(vector[:, 3:])
    motion[:, :3, 3] = vector[:, :3]
    out["source_from_target"] = motion.numpy()
    out["points"] = channels_last(kornia.geometry.depth.depth_to_3d(depth, K))

    # The gradient is that of the warped values' weighted sum by the depth, where zeros outside have none to give.
    leaf = depth.clone().requires_grad_()
    warped = kornia.geometry.depth.warp_frame_depth(image, leaf, motion, K)
    (warped * other).sum().backward()
    out["warped_zeros"], out["depth_gradient"] = channels_last(warped), channels_last(leaf.grad)

    def camera(extrinsics: torch.Tensor) -> kornia.geometry.PinholeCamera:
        K4 = torch.eye(4, dtype=torch.float64).repeat(golden.B, 1, 1)
        K4[:, :3, :3] = K
        sides = [torch.full((golden.B,), float(n), dtype=torch.float64) for n in (golden.H, golden.W)]
        return kornia.geometry.PinholeCamera(K4, extrinsics, *sides)

    warper = kornia.geometry.DepthWarper(camera(motion), golden.H, golden.W, padding_mode="border")
    warper.compute_projection_matrix(camera(torch.eye(4, dtype=torch.float64).repeat(golden.B, 1, 1)))
    out["warped_border"] = channels_last(warper(depth, image))

    golden.FILE.parent.mkdir(exist_ok=True)
    np.savez_compressed(golden.FILE, **{name: value.astype(np.float32) for name, value in out.items()})
    print(f"{golden.FILE.name}: {golden.FILE.stat().st_size / 1e3:.0f} kB, kornia {kornia.__version__}")


if __name__ == "__main__":
    main()
