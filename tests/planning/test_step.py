"""The real steps compiled for eight devices of this CPU: what crosses between them; the FLOPs of a ViT-B by hand."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from tdepth_jax.models.vit import VARIANTS, ViT
from tdepth_jax.training import flops

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
TINY = {
    "selfsup": ("world_stage2", "data.image_size=32,40 model.vit_dim=16 model.vit_heads=2 model.vit_patch=8 "
                "model.vit_pos_grid=4 model.dpt_channels=4,8,8,8 model.dpt_features=8 model.pose_widths=8,8"),
    "supervised": ("world_supervised", "data.image_size=32,40 model.vit_dim=16 model.vit_heads=2 model.vit_patch=8 "
                   "model.vit_pos_grid=4 model.dpt_channels=4,8,8,8 model.dpt_features=8"),
}  # fmt: skip


@functools.cache
def compiled(name: str, *more: str) -> dict:
    config, said = TINY[name]
    quick = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    surroundings = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {quick}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "compiled.py"), f"configs/{config}.py", *said.split(), *more],
        cwd=ROOT, env=surroundings, text=True, capture_output=True, timeout=1000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", TINY)
def test_only_the_gradients_of_what_is_trained_cross_between_devices(name):
    found = compiled(name)
    reduced = [c for c in found["collectives"] if c[0] == "all-reduce"]
    others = [c for c in found["collectives"] if c[0] != "all-reduce"]
    elements = sum(elements * times for _, elements, _, times, _ in reduced)
    size = sum(size * times for _, _, size, times, _ in reduced)
    # Besides the gradients only sums of losses and counts, a few numbers each, and what scales a whole batch.
    assert found["trained"] <= elements <= found["trained"] + 300
    assert 4 * found["trained"] <= size <= 4 * (found["trained"] + 300)
    # Nothing that has the size of the batch: a merge of axes that puts another before the batch's would show here.
    assert all(size < 1024 for _, _, size, _, _ in others), others


def test_parameters_split_by_fsdp_are_gathered_and_their_gradients_scattered():
    whole, split = compiled("supervised"), compiled("supervised", "mesh.fsdp=8", "mesh.fsdp_min_bytes=256")
    assert split["parameters"] < 0.5 * whole["parameters"]
    kinds = {c[0] for c in split["collectives"]}
    assert "all-gather" in kinds


def test_the_flops_of_a_vit_b_are_those_of_a_hand_count():
    """16 x 23 patches of 14 x 14 pixels: forward, and a backward of twice that, but for the patch embedding's input."""
    rows, columns, images = 16, 23, 2
    vit, size = VARIANTS["vitb"], (14 * 16, 14 * 23)
    net = ViT(vit, taps=(11,), dtype=jnp.bfloat16)
    image = jax.ShapeDtypeStruct((images, *size, 3), jnp.float32)
    params = jax.eval_shape(net.init, jax.random.key(0), image)

    def loss(params, image):
        ((tokens, _),) = net.apply(params, image)
        return (tokens**2).mean()

    tokens, d = rows * columns + 1, 768
    embedding = 2 * rows * columns * (14 * 14 * 3) * d
    block = (
        2 * tokens * d * (3 * d + d + 8 * d) + 2 * 2 * tokens * tokens * d
    )  # projections; scores and values
    hand = images * (2 * embedding + 3 * 12 * block)
    assert flops.count(jax.grad(loss), params, image, platform="tpu") == pytest.approx(hand, rel=0.02)
    forward = images * (embedding + 12 * block)
    assert flops.count(loss, params, image, platform="tpu") == pytest.approx(forward, rel=0.02)
