"""Writes tests/models/golden/*.npz with the reference PyTorch code: outputs of tiny networks with known weights.

Needs torch, transformers and checkouts of two public repositories (not needed by the tests themselves):

  python tests/parity/make_golden.py --dinov2 PATH/facebookresearch/dinov2 --depth_anything PATH/Depth-Anything-V2
"""

from __future__ import annotations

import argparse
import json
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


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(golden.center_padded(image)).permute(0, 3, 1, 2).contiguous()


def fill(model: torch.nn.Module) -> list[tuple[str, list[int]]]:
    """Gives the model the known weights; returns the names and shapes they were made from."""
    state = model.state_dict()
    spec = [(name, list(value.shape)) for name, value in state.items() if value.is_floating_point()]
    for name, value in golden.weights(spec).items():
        state[name].copy_(torch.from_numpy(value))
    model.eval()
    return spec


def write(name: str, spec: list, meta: dict, outputs: dict[str, np.ndarray]) -> None:
    text = {"spec": json.dumps(spec), "meta": json.dumps(meta)}
    path = golden.FOLDER / f"{name}.npz"
    np.savez_compressed(path, **outputs, **{k: np.frombuffer(v.encode(), np.uint8) for k, v in text.items()})
    print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


@torch.inference_mode()
def features(name: str, model: torch.nn.Module, taps: Callable, **meta) -> None:
    """`taps(images)` -> raw tokens of every block without registers, class token first, then the normed last."""
    spec = fill(model)
    outputs = {}
    for size in golden.SIZES:
        every = torch.stack(taps(tensor(golden.image(size))))[:, 0]
        outputs[f"tokens_{size[0]}_{size[1]}"] = every.numpy()
    write(name, spec, meta, outputs)


@torch.inference_mode()
def depths(name: str, model: torch.nn.Module, predict: Callable, **meta) -> None:
    """`predict(images)` -> [1 h w], what the published model returns for a padded image."""
    spec = fill(model)
    outputs = {}
    for size in golden.SIZES:
        depth = predict(tensor(golden.image(size)))[0]
        outputs[f"depth_{size[0]}_{size[1]}"] = depth[:: golden.PIXEL_STEP, :: golden.PIXEL_STEP].numpy()
    write(name, spec, meta, outputs)


def official(depth: int, **options) -> torch.nn.Module:
    from dinov2.models.vision_transformer import DinoVisionTransformer

    return DinoVisionTransformer(
        img_size=golden.PATCH * golden.POS_GRID, patch_size=golden.PATCH, embed_dim=golden.DIM, depth=depth,
        num_heads=golden.HEADS, mlp_ratio=4, init_values=1.0, **({"block_chunks": 0} | options),
    )  # fmt: skip


def official_taps(model: torch.nn.Module, depth: int) -> Callable:
    def taps(images: torch.Tensor) -> list[torch.Tensor]:
        raw = model.get_intermediate_layers(images, range(depth), return_class_token=True, norm=False)
        last = model.get_intermediate_layers(images, [depth - 1], return_class_token=True, norm=True)
        return [torch.cat([cls[:, None], patches], 1) for patches, cls in (*raw, *last)]

    return taps


def backbones() -> None:
    from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    cases = {
        "dinov2": {"interpolate_offset": 0.1},
        "dinov2_registers": {
            "num_register_tokens": 4,
            "interpolate_antialias": True,
            "interpolate_offset": 0.0,
        },
        "dinov2_swiglu": {"ffn_layer": "swiglufused", "interpolate_offset": 0.1},
        "dinov2_chunked": {"block_chunks": 2, "interpolate_offset": 0.1},
    }
    for name, options in cases.items():
        model = official(4, **options)
        features(name, model, official_taps(model, 4), depth=4)
    sizes = {
        "hidden_size": golden.DIM,
        "num_hidden_layers": 2,
        "num_attention_heads": golden.HEADS,
        "image_size": golden.PATCH * golden.POS_GRID,
        "patch_size": golden.PATCH,
        "attn_implementation": "eager",
    }
    for name, model in {
        "hf_dinov2": Dinov2Model(Dinov2Config(**sizes)),
        "hf_swiglu": Dinov2Model(Dinov2Config(use_swiglu_ffn=True, **sizes)),
        "hf_registers": Dinov2WithRegistersModel(Dinov2WithRegistersConfig(num_register_tokens=4, **sizes)),
    }.items():
        skip = 4 if "registers" in name else 0

        def taps(images: torch.Tensor, model=model, skip=skip) -> list[torch.Tensor]:
            out = model(images, output_hidden_states=True)
            every = [*out.hidden_states[1:], out.last_hidden_state]
            return [torch.cat([x[:, :1], x[:, 1 + skip :]], 1) for x in every]

        features(name, model, taps, depth=2)


def depth_anything() -> None:
    sys.modules["cv2"] = sys.modules["torchvision"] = sys.modules["torchvision.transforms"] = (
        unittest.mock.MagicMock()
    )
    from depth_anything_v2.dinov2 import DinoVisionTransformer
    from depth_anything_v2.dpt import DPTHead
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    class DepthAnything(torch.nn.Module):  # their class fixes the published sizes; the parts are theirs
        def __init__(self, depth: int):
            super().__init__()
            self.pretrained = DinoVisionTransformer(
                img_size=golden.PATCH * golden.POS_GRID, patch_size=golden.PATCH, embed_dim=golden.DIM,
                depth=depth, num_heads=golden.HEADS, init_values=1.0, block_chunks=0,
            )  # fmt: skip
            self.depth_head = DPTHead(golden.DIM, golden.FEATURES, out_channels=list(golden.CHANNELS))

    for name, taps, metric in (
        ("depth_anything_v1", (2, 3, 4, 5), False),
        ("depth_anything_v2", (0, 2, 3, 5), False),
        ("depth_anything_v2_metric", (0, 2, 3, 5), True),
    ):
        model = DepthAnything(6)
        if metric:
            model.depth_head.scratch.output_conv2[3] = torch.nn.Sigmoid()

        def predict(images: torch.Tensor, model=model, taps=taps, metric=metric) -> torch.Tensor:
            grid = [n // golden.PATCH for n in images.shape[2:]]
            out = model.depth_head(
                model.pretrained.get_intermediate_layers(images, taps, return_class_token=True), *grid
            )
            return (out * 20.0 if metric else torch.relu(out))[:, 0]

        depths(name, model, predict, depth=6)
    backbone = Dinov2Config(
        hidden_size=golden.DIM, num_hidden_layers=4, num_attention_heads=golden.HEADS, patch_size=golden.PATCH,
        image_size=golden.PATCH * golden.POS_GRID, out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
        apply_layernorm=True,
    )  # fmt: skip
    model = DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone,
            reassemble_hidden_size=golden.DIM,
            patch_size=golden.PATCH,
            neck_hidden_sizes=list(golden.CHANNELS),
            fusion_hidden_size=golden.FEATURES,
            head_hidden_size=32,
        )
    )
    depths("hf_depth_anything", model, lambda images: model(images).predicted_depth, depth=4)


def dinov2_heads() -> None:
    from dinov2.hub.depth import BNHead, DPTHead
    from torch.nn.functional import interpolate
    from transformers import Dinov2Config, DPTConfig, DPTForDepthEstimation

    class Depther(torch.nn.Module):
        def __init__(self, head: torch.nn.Module, taps: tuple[int, ...]):
            super().__init__()
            self.backbone = official(4, interpolate_offset=0.1)
            self.decode_head = head
            self.taps = taps

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = self.backbone.get_intermediate_layers(
                images, self.taps, reshape=True, return_class_token=True, norm=False
            )
            depth = torch.clamp(self.decode_head(list(maps), None), 0.001, 10.0)
            return interpolate(depth, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]

    dpt = DPTHead(
        in_channels=[golden.DIM] * 4, channels=golden.FEATURES, embed_dims=golden.DIM,
        post_process_channels=list(golden.CHANNELS), readout_type="project", min_depth=0.001, max_depth=10.0,
    )  # fmt: skip

    def linear(layers: int) -> torch.nn.Module:
        return BNHead(
            classify=True, n_bins=256, bins_strategy="UD", norm_strategy="linear", upsample=4,
            in_channels=[golden.DIM] * layers, in_index=list(range(layers)), input_transform="resize_concat",
            channels=golden.DIM * layers * 2, align_corners=False, min_depth=0.001, max_depth=10.0,
        )  # fmt: skip

    for name, head, taps in (
        ("dinov2_dpt", dpt, (0, 1, 2, 3)),
        ("dinov2_linear4", linear(4), (0, 1, 2, 3)),
        ("dinov2_linear", linear(1), (3,)),
    ):
        model = Depther(head, taps)
        depths(name, model, model, depth=4)
    backbone = Dinov2Config(
        hidden_size=golden.DIM, num_hidden_layers=4, num_attention_heads=golden.HEADS, patch_size=golden.PATCH,
        image_size=golden.PATCH * golden.POS_GRID, out_indices=[1, 2, 3, 4], reshape_hidden_states=False,
        apply_layernorm=False,
    )  # fmt: skip
    model = DPTForDepthEstimation(
        DPTConfig(
            backbone_config=backbone,
            hidden_size=golden.DIM,
            neck_hidden_sizes=list(golden.CHANNELS),
            fusion_hidden_size=golden.FEATURES,
            use_bias_in_fusion_residual=False,
            add_projection=True,
        )
    )
    model.head.projection = torch.nn.Conv2d(
        golden.FEATURES, golden.FEATURES, 3, padding=1
    )  # theirs: always 256

    def predict(images: torch.Tensor) -> torch.Tensor:
        depth = model(images).predicted_depth[:, None] + 0.001
        return interpolate(depth.clamp(0.001, 10.0), images.shape[2:], mode="bilinear")[:, 0]

    depths("hf_dpt_dinov2", model, predict, depth=4)


def positions() -> None:
    """PyTorch's own resampling of a ramp and noise, in the three conventions, to many grids."""
    grid = torch.from_numpy(np.random.RandomState(0).standard_normal((1, 2, 37, 37)).astype(np.float32))
    outputs = {}
    for h, w in ((18, 23), (37, 36), (40, 52), (5, 61)):
        call = lambda **how: torch.nn.functional.interpolate(grid, mode="bicubic", **how)[0].numpy()  # noqa: E731
        outputs[f"offset_{h}_{w}"] = call(scale_factor=((h + 0.1) / 37, (w + 0.1) / 37))
        outputs[f"size_{h}_{w}"] = call(size=(h, w))
        outputs[f"antialias_{h}_{w}"] = call(size=(h, w), antialias=True)
    write("positions", [], {}, {k: v.astype(np.float32) for k, v in outputs.items()})


@torch.inference_mode()
def resnets() -> None:
    """torchvision's ResNets at full width; a few channels of the five maps."""
    import torchvision

    for name in ("resnet18", "resnet50"):
        model = getattr(torchvision.models, name)(weights=None)
        spec = fill(model)
        x = torch.from_numpy(golden.image((45, 67))).permute(0, 3, 1, 2)
        outputs = {}
        x = outputs["map_0"] = model.relu(model.bn1(model.conv1(x)))
        x = model.maxpool(x)
        for i in range(1, 5):
            x = outputs[f"map_{i}"] = getattr(model, f"layer{i}")(x)
        write(
            name, spec, {}, {k: v[0, :: v.shape[1] // 8].permute(1, 2, 0).numpy() for k, v in outputs.items()}
        )


@torch.inference_mode()
def mobilenet() -> None:
    """torchvision's MobileNetV2 at full width; a few channels of the five maps that LiRCDepth reads."""
    import torchvision

    model = torchvision.models.mobilenet_v2(weights=None)
    spec = fill(model)
    x = torch.from_numpy(golden.image((45, 67))).permute(0, 3, 1, 2)
    outputs = []
    for i, layer in enumerate(model.features):
        x = layer(x)
        if i in (1, 3, 6, 10, 18):
            outputs.append(x[0, :: x.shape[1] // 8].permute(1, 2, 0).numpy())
    write("mobilenet_v2", spec, {}, {f"map_{i}": x for i, x in enumerate(outputs)})


def files() -> None:
    """Small .pth files with what such files can hold: strides, shared storages, half precisions, parameters."""
    ramp = torch.arange(12.0)
    state = {
        "plain": ramp.reshape(3, 4),
        "transposed": ramp.reshape(3, 4).T,
        "slice": ramp[2:8:2],
        "parameter": torch.nn.Parameter(ramp[:2]),
        "bfloat16": (ramp / 8).bfloat16(),
        "half": (ramp / 8).half(),
        "counter": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }
    torch.save(state, golden.FOLDER / "tensors.pth")
    wrapped = {"epoch": 3, "state_dict": state, "note": "as training code saves it"}
    torch.save(wrapped, golden.FOLDER / "tensors_legacy.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dinov2", required=True)
    parser.add_argument("--depth_anything", required=True)
    flags = parser.parse_args()
    sys.path[:0] = [flags.dinov2, flags.depth_anything]
    golden.FOLDER.mkdir(exist_ok=True)
    files()
    positions()
    backbones()
    mobilenet()
    resnets()  # before Depth Anything's parts, whose image reading is mocked away with torchvision
    depth_anything()
    dinov2_heads()
