"""Every config in configs/ describes a system that can be built, and says how it is launched."""

import importlib
import pathlib

import jax
import pytest

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.training.partition import flatten, split

FILES = sorted(p for p in pathlib.Path("configs").glob("*.py") if p.stem != "__init__")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_config_builds_its_system_and_gives_its_command(path):
    config = configs.load(str(path), {}, systems.schema)
    system = systems.make(config)
    shapes = flatten(jax.eval_shape(system.init, jax.random.key(0))["params"])
    for update in system.updates:
        for pattern in update.trainable:
            assert split(shapes, (pattern,))[0], f"{pattern} trains nothing"
    assert f"--config=configs/{path.name}" in importlib.import_module(f"configs.{path.stem}").__doc__


def test_stage_two_of_vivid_trains_what_the_paper_counts():
    config = configs.load("configs/vivid_stage2.py", {}, systems.schema)
    system = systems.make(config)
    shapes = flatten(jax.eval_shape(system.init, jax.random.key(0))["params"])
    trained, frozen = split(shapes, system.updates[0].trainable)
    adapters = sum(v.size for k, v in trained.items() if k.startswith("depth/vit/"))
    assert (
        adapters == 147_456 + 672_816
    )  # LoRA of rank 4 on q and v, and conv adapters of width 4, in 12 blocks
    assert all(k.startswith("depth/vit/") for k in frozen)
    assert config.train.init_from == "runs/vivid_stage1"
    assert config.system.loss_images == "temporal"
