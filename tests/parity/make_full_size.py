"""Full-size ViT-S and ViT-B networks by the reference PyTorch code, with random weights, as published files.

`python make_full_size.py CASE VARIANT FOLDER --dinov2 PATH --depth_anything PATH` (torch, transformers, and for .pth
cases checkouts of facebookresearch/dinov2 and DepthAnything/Depth-Anything-V2) writes FOLDER/weights.pth or
.safetensors and FOLDER/outputs.npz. test_full_size.py calls it.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import unittest.mock
import warnings
from collections.abc import Callable

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "models"))
import models_golden as golden

warnings.filterwarnings("ignore")

DIMS = {"vits": (384, 6), "vitb": (768, 12)}
DEPTH = 12
TAPS = (2, 5, 8, 11)
DEPTH_ANYTHING = {"vits": ((48, 96, 192, 384), 64), "vitb": ((96, 192, 384, 768), 128)}
SIZES = ((70, 98), (126, 84), (112, 112), (75, 110), (121, 93))  # the last two are no multiples of the patch
Predict = Callable[[torch.Tensor], torch.Tensor]


def tokens_of(model: torch.nn.Module) -> Predict:
    """Tokens of every block without registers, class token first, and the last block's normed."""

    def predict(images: torch.Tensor) -> torch.Tensor:
        raw = model.get_intermediate_layers(images, range(DEPTH), return_class_token=True, norm=False)
        last = model.get_intermediate_layers(images, [DEPTH - 1], return_class_token=True, norm=True)
        return torch.stack([torch.cat([cls[:, None], x], 1) for x, cls in (*raw, *last)])[:, 0]

    return predict


def official(dim: int, heads: int, **options) -> torch.nn.Module:
    from dinov2.models.vision_transformer import DinoVisionTransformer

    options = {"block_chunks": 0, "interpolate_offset": 0.1} | options
    return DinoVisionTransformer(
        img_size=518, patch_size=14, embed_dim=dim, depth=DEPTH, num_heads=heads, mlp_ratio=4, init_values=1.0,
        **options,
    )  # fmt: skip


def backbone(variant: str, **options) -> tuple[torch.nn.Module, Predict]:
    model = official(*DIMS[variant], **options)
    return model, tokens_of(model)


def hugging_face(variant: str, *, registers: bool = False) -> tuple[torch.nn.Module, Predict]:
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    dim, heads = DIMS[variant]
    sizes = {"hidden_size": dim, "num_attention_heads": heads, "image_size": 518, "patch_size": 14}
    if registers:
        model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(num_register_tokens=4, **sizes))
    else:
        model = Dinov2Model(Dinov2Config(**sizes))

    def predict(images: torch.Tensor) -> torch.Tensor:
        out = model(images, output_hidden_states=True)
        every = torch.stack([*out.hidden_states[1:], out.last_hidden_state])[:, 0]
        return torch.cat([every[:, :1], every[:, 5 if registers else 1 :]], 1)

    return model, predict


def hugging_face_backbone(variant: str, *, norm: bool):
    from transformers import Dinov2Config

    dim, heads = DIMS[variant]
    return Dinov2Config(
        hidden_size=dim, num_attention_heads=heads, image_size=518, patch_size=14, out_indices=[3, 6, 9, 12],
        reshape_hidden_states=False, apply_layernorm=norm,
    )  # fmt: skip


def depth_anything(variant: str, taps: tuple[int, ...], metric: float = 0) -> tuple[torch.nn.Module, Predict]:
    for name in (
        "cv2",
        "torchvision",
        "torchvision.transforms",
    ):  # they read images there, which is not needed
        sys.modules[name] = unittest.mock.MagicMock()
    from depth_anything_v2.dinov2 import DINOv2
    from depth_anything_v2.dpt import DPTHead

    channels, features = DEPTH_ANYTHING[variant]
    model = torch.nn.Module()
    model.pretrained = DINOv2(variant)
    model.depth_head = DPTHead(DIMS[variant][0], features, out_channels=list(channels))
    if metric:
        model.depth_head.scratch.output_conv2[3] = torch.nn.Sigmoid()

    def predict(images: torch.Tensor) -> torch.Tensor:
        grid = [n // 14 for n in images.shape[2:]]
        read = model.pretrained.get_intermediate_layers(images, taps, return_class_token=True)
        out = model.depth_head(read, *grid)
        return (out * metric if metric else torch.relu(out))[0, 0]

    return model, predict


def hugging_face_depth_anything(variant: str) -> tuple[torch.nn.Module, Predict]:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    channels, features = DEPTH_ANYTHING[variant]
    config = DepthAnythingConfig(
        backbone_config=hugging_face_backbone(variant, norm=True), reassemble_hidden_size=DIMS[variant][0],
        patch_size=14, neck_hidden_sizes=list(channels), fusion_hidden_size=features, head_hidden_size=32,
    )  # fmt: skip
    model = DepthAnythingForDepthEstimation(config)
    return model, lambda images: model(images).predicted_depth[0]


def hugging_face_dpt(variant: str) -> tuple[torch.nn.Module, Predict]:
    from transformers import DPTConfig, DPTForDepthEstimation

    dim, _ = DIMS[variant]
    config = DPTConfig(
        backbone_config=hugging_face_backbone(variant, norm=False), hidden_size=dim,
        neck_hidden_sizes=[dim // 8, dim // 4, dim // 2, dim], fusion_hidden_size=256,
        use_bias_in_fusion_residual=False, add_projection=True,
    )  # fmt: skip
    model = DPTForDepthEstimation(config)
    return model, lambda images: to_image(model(images).predicted_depth[:, None] + 0.001, images)


def dinov2_head(variant: str, kind: str) -> tuple[torch.nn.Module, Predict]:
    from dinov2.hub.depth import BNHead, DPTHead

    dim, heads = DIMS[variant]
    taps = (DEPTH - 1,) if kind == "linear" else TAPS
    if kind == "dpt":
        head = DPTHead(
            in_channels=[dim] * 4, channels=256, embed_dims=dim, readout_type="project",
            post_process_channels=[dim // 2**i for i in (3, 2, 1, 0)], min_depth=0.001, max_depth=10.0,
        )  # fmt: skip
    else:
        head = BNHead(
            classify=True, n_bins=256, bins_strategy="UD", norm_strategy="linear", upsample=4,
            in_channels=[dim] * len(taps), in_index=list(range(len(taps))), input_transform="resize_concat",
            channels=dim * len(taps) * 2, align_corners=False, min_depth=0.001, max_depth=10.0,
        )  # fmt: skip
    model = torch.nn.Module()
    model.backbone, model.decode_head = official(dim, heads), head

    def predict(images: torch.Tensor) -> torch.Tensor:
        maps = model.backbone.get_intermediate_layers(
            images, taps, reshape=True, return_class_token=True, norm=False
        )
        return to_image(model.decode_head(list(maps), None), images)

    return model, predict


def to_image(depth: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    depth = torch.clamp(depth, 0.001, 10.0)
    return torch.nn.functional.interpolate(depth, images.shape[2:], mode="bilinear", align_corners=False)[
        0, 0
    ]


REGISTERS = {"num_register_tokens": 4, "interpolate_antialias": True, "interpolate_offset": 0.0}
CASES: dict[str, Callable[[str], tuple[torch.nn.Module, Predict]]] = {
    "dinov2.pth": backbone,
    "dinov2_registers.pth": lambda v: backbone(v, **REGISTERS),
    "dinov2_chunked.pth": lambda v: backbone(v, block_chunks=4),
    "dinov2.safetensors": hugging_face,
    "dinov2_registers.safetensors": lambda v: hugging_face(v, registers=True),
    "dinov2_linear.pth": lambda v: dinov2_head(v, "linear"),
    "dinov2_linear4.pth": lambda v: dinov2_head(v, "linear4"),
    "dinov2_dpt.pth": lambda v: dinov2_head(v, "dpt"),
    "dpt_dinov2.safetensors": hugging_face_dpt,
    "depth_anything_v1.pth": lambda v: depth_anything(v, (8, 9, 10, 11)),
    "depth_anything_v2.pth": lambda v: depth_anything(v, TAPS),
    "depth_anything_v2_metric.pth": lambda v: depth_anything(v, TAPS, 20.0),
    "depth_anything_v2.safetensors": hugging_face_depth_anything,
}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("variant", choices=DIMS)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dinov2", default="")
    parser.add_argument("--depth_anything", default="")
    flags = parser.parse_args()
    sys.path[:0] = [flags.dinov2, flags.depth_anything]
    model, predict = CASES[flags.case](flags.variant)
    model.eval()
    state = model.state_dict()
    spec = [(name, list(value.shape)) for name, value in state.items() if value.is_floating_point()]
    for name, value in golden.weights(spec).items():
        state[name].copy_(torch.from_numpy(value))
    if flags.case.endswith(".pth"):
        torch.save(state, flags.folder / "weights.pth")
    else:
        from safetensors.torch import save_file

        save_file(
            {name: value.contiguous() for name, value in state.items()}, flags.folder / "weights.safetensors"
        )
    outputs = {}
    for size in SIZES:
        x = torch.from_numpy(golden.center_padded(golden.image(size))).permute(0, 3, 1, 2).contiguous()
        outputs[f"{size[0]}_{size[1]}"] = predict(x).numpy()
    np.savez(flags.folder / "outputs.npz", **outputs)


if __name__ == "__main__":
    main()
