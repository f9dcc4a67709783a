"""Writes tests/models/golden/metric_bins_*.npz with MonoTher-Depth's code: depth of both branches, and features.

Needs torch and checkouts of facebookresearch/dinov2 and ZuoJiaxing/monother_depth (not needed by the tests):

  python tests/parity/make_metric_bins.py --dinov2 PATH/dinov2 --monother PATH/monother_depth
"""

from __future__ import annotations

import argparse
import sys
import unittest.mock

import torch
from make_golden import fill, golden, official, tensor, write

SIZES = golden.SIZES[-2:]
BLOCKS = 5  # one more than the head taps
FEATURE_STEP = 17  # of the feature pixels stored


def network(centres: str, max_depth: float) -> torch.nn.Module:
    """Their network, small; what fixes published sizes (backbone, channels) is replaced part by part."""
    from zoedepth.models.base_models.depth_anything import DepthAnythingCore_Dual
    from zoedepth.models.base_models.dpt_dinov2.dpt import DPT_DINOv2_dual, DPTHead
    from zoedepth.models.zoedepth_rgbt.zoedepth_rgbt_v1 import ZoeDepthDual

    class Dual(DPT_DINOv2_dual):
        def __init__(self):
            torch.nn.Module.__init__(self)
            self.pretrained, self.pretrained_extra = (official(BLOCKS) for _ in range(2))
            self.depth_head, self.depth_head_extra = (
                DPTHead(golden.DIM, golden.FEATURES, out_channels=list(golden.CHANNELS)) for _ in range(2)
            )
            self.fusion_block = None

    core = DepthAnythingCore_Dual(Dual(), trainable=False, fetch_features=True)
    core.prep_dual = lambda x, y: (x, y)  # the images come standardised
    core.output_channels = [golden.FEATURES] * 5
    # The released settings, config_zoedepth_rgbt_ms2_teach_nofs.json; their dataset's range is 0.001 to 80 m.
    return ZoeDepthDual(
        core, n_bins=64, bin_embedding_dim=128, bin_centers_type=centres, n_attractors=[16, 8, 4, 1],
        attractor_alpha=1000, attractor_gamma=2, attractor_kind="mean", attractor_type="inv", min_temp=0.0212,
        max_temp=50.0, min_depth=1e-3, max_depth=max_depth, memory_efficient=True, inverse_midas=False,
    )  # fmt: skip


@torch.inference_mode()
def main() -> None:
    for centres, max_depth in (("normed", 80.0), ("softplus", 10.0)):
        model = network(centres, max_depth)
        spec = fill(model)
        for name, constant in model.named_buffers():  # which `fill` took for a parameter
            if name.endswith("K_minus_1"):
                constant.fill_(63)
        outputs = {}
        for size in SIZES:
            x = tensor(golden.image(size))
            rel, rel_extra, out, out_extra = model.core(x, -x, return_rel_depth=True)
            thermal = model.forward_last_part_x(rel, out, False, False, return_features=True)
            rgb = model.forward_last_part_y(rel_extra, out_extra, False, False, return_features=True)
            for branch, found in (("thermal", thermal), ("rgb", rgb)):
                depth = found["metric_depth"][0, 0, :: golden.PIXEL_STEP, :: golden.PIXEL_STEP].numpy()
                outputs[f"{branch}_{size[0]}_{size[1]}"] = depth
                print(centres, branch, size, depth.min(), depth.max(), depth.std())
            every = thermal["features"][0, :, ::FEATURE_STEP, ::FEATURE_STEP]
            outputs[f"features_{size[0]}_{size[1]}"] = every.permute(1, 2, 0).numpy()
        write(f"metric_bins_{centres}", spec, {"depth": BLOCKS, "max_depth": max_depth}, outputs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dinov2", required=True)
    parser.add_argument("--monother", required=True)
    flags = parser.parse_args()
    sys.path[:0] = [flags.dinov2, flags.monother]
    for name in ("torchvision", "torchvision.transforms", "matplotlib", "matplotlib.pyplot", "cv2"):
        sys.modules[name] = unittest.mock.MagicMock()
    main()
