"""Full-size networks imported from files as published, against the reference code (the group `parity`).

  TDEPTH_TORCH=VENV/bin/python TDEPTH_DINOV2=PATH TDEPTH_DEPTH_ANYTHING=PATH python -m pytest -m parity -s

TDEPTH_TORCH is an interpreter with torch 2.13.0 (CPU), transformers and safetensors; the paths are checkouts of
facebookresearch/dinov2 and DepthAnything/Depth-Anything-V2. Skipped where they are not given.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess

import jax
import jax.numpy as jnp
import models_golden as golden
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tdepth_jax.import_weights import import_weights
from tdepth_jax.models.depth import DepthConfig, DepthNet
from tdepth_jax.models.vit import VARIANTS, ViT
from tdepth_jax.training.partition import nest

pytestmark = pytest.mark.parity
NEEDED = ("TDEPTH_TORCH", "TDEPTH_DINOV2", "TDEPTH_DEPTH_ANYTHING")
BACKBONES = (
    "dinov2.pth", "dinov2_registers.pth", "dinov2_chunked.pth", "dinov2.safetensors", "dinov2_registers.safetensors",
)  # fmt: skip
HEADS = {  # what to tell the door about each; a relative model is asked for its disparity over any range
    "dinov2_linear.pth": {},
    "dinov2_linear4.pth": {},
    "dinov2_dpt.pth": {},
    "dpt_dinov2.safetensors": {},
    "depth_anything_v1.pth": {"head": "depth_anything_v1"},
    "depth_anything_v2.pth": {},
    "depth_anything_v2_metric.pth": {"metric": 20.0},
    "depth_anything_v2.safetensors": {},
}


@pytest.fixture
def imported(request, tmp_path):
    """(import.json, parameters, the reference's outputs) of (case, variant)."""
    if missing := [name for name in NEEDED if name not in os.environ]:
        pytest.skip(f"needs {', '.join(missing)}")
    case, variant = request.param
    torch, dinov2, depth_anything = (os.environ[name] for name in NEEDED)
    maker = pathlib.Path(__file__).with_name("make_full_size.py")
    flags = [f"--dinov2={dinov2}", f"--depth_anything={depth_anything}"]
    subprocess.run([torch, "-W", "ignore", str(maker), case, variant, str(tmp_path), *flags], check=True)
    (file,) = tmp_path.glob("weights.*")
    import_weights(file, output=tmp_path / "out", **HEADS.get(case, {}))
    record = json.loads((tmp_path / "out" / "import.json").read_text())
    params = {
        part: nest(ocp.StandardCheckpointer().restore(tmp_path / "out" / part)) for part in record["parts"]
    }
    file.unlink()
    yield record, params, dict(np.load(tmp_path / "outputs.npz"))
    jax.clear_caches()


def cases(names):
    return pytest.mark.parametrize("imported", [(n, v) for v in ("vits", "vitb") for n in names], indirect=True,
                                   ids=lambda case: "-".join(case))  # fmt: skip


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def size_of(key: str) -> tuple[int, int]:
    height, width = map(int, key.split("_"))
    return height, width


@cases(BACKBONES)
def test_every_tap_of_a_backbone(imported, request):
    record, params, outputs = imported
    settings = DepthConfig(**record["model"]).vit
    assert settings.dim == VARIANTS[record["model"]["backbone"]].dim
    every = tuple(range(settings.depth))

    @jax.jit
    def tokens(x):
        raw = ViT(settings, every, norm_taps=False).apply({"params": params["vit"]}, x)
        (last,) = ViT(settings, every[-1:], norm_taps=True).apply({"params": params["vit"]}, x)
        return jnp.stack([jnp.concatenate([cls[:, None], patches], 1)[0] for patches, cls in (*raw, last)])

    worst = 0.0
    for key, theirs in outputs.items():
        ours = np.asarray(tokens(golden.center_padded(golden.image(size_of(key)))))
        worst = max(worst, *(error(a, b) for a, b in zip(ours, theirs, strict=True)))
    print(f"\n{request.node.name}: {worst:.1e}")
    assert worst < 1e-5


@cases(HEADS)
def test_depth_of_a_head(imported, request):
    record, params, outputs = imported
    said = dict(record["model"])
    relative = said["output"] == "relu_disparity"
    wide = {"min_depth": 1e-6, "max_depth": 1e6} if relative else {"min_depth": 1e-6} | said
    config = DepthConfig(**{**said, **wide})
    run = jax.jit(DepthNet(config).apply)
    worst = 0.0
    for key, theirs in outputs.items():
        size = size_of(key)
        ours = np.asarray(run({"params": params}, golden.image(size)))[0, :, :, 0]
        top, left = (
            (-n % golden.PATCH) // 2 for n in size
        )  # the reference returns the padded picture's depth
        theirs = theirs[top : top + size[0], left : left + size[1]]
        assert theirs.std() > 1e-3 * theirs.mean()
        worst = max(worst, error(1 / ours if relative else ours, theirs))
    print(f"\n{request.node.name}: {worst:.1e}")
    assert worst < 1e-4
