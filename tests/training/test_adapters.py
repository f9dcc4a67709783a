"""Stage 2 as it is trained: adapters learn, and whatever is frozen stays what it was, to the last bit."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.models.depth import DepthConfig, DepthNet
from tdepth_jax.systems.base import System, Update
from tdepth_jax.training import flops, state, step

pytestmark = pytest.mark.usefixtures("quick")

TINY = DepthConfig(
    backbone="custom", vit_dim=32, vit_depth=4, vit_heads=2, vit_patch=8, vit_pos_grid=4, dpt_channels=(4, 4, 8, 8),
    dpt_features=8, dpt_stride=4, lora_rank=2, conv_adapter_width=3, dtype="float32",
)  # fmt: skip
ADAPTERS = r"depth/vit/blocks/(lora_|conv_adapter).*"
QUICK = {"xla_backend_optimization_level": 0}


@functools.cache
def system(trained: str = ADAPTERS, *, unroll: bool = False) -> System:
    """The depth network with both adapters, learning given depths; `trained` of it is trained, and the head."""
    net = DepthNet(dataclasses.replace(TINY, unroll=unroll))

    def init(rng):
        return {"params": {"depth": net.init(rng, jax.numpy.zeros((1, 32, 40, 1)))["params"]}}

    def predict(variables, batch):
        return {"depth": net.apply({"params": variables["params"]["depth"]}, batch["image"])}

    def loss(params, mutable, batch, targets, rng):
        error = jax.numpy.abs(jax.numpy.log(predict({"params": params}, batch)["depth"] / batch["depth"]))
        return {"log": (error.sum(), jax.numpy.float32(error.size))}, mutable

    update = Update(
        name="all", trainable=(r"depth/head/.*", trained), loss=loss, weights={"log": 1.0},
        tx=optax.adamw(1e-3, weight_decay=0.1),
    )  # fmt: skip
    return System(
        needs=frozenset({"image", "depth"}), offsets=(0,), init=init, updates=(update,), predict=predict
    )


def batch(seed: int = 0) -> dict[str, np.ndarray]:
    noise = np.random.RandomState(seed)
    image = noise.standard_normal((2, 32, 40, 1)).astype(np.float32)
    return {"image": image, "depth": np.exp(image / 3)}


@pytest.fixture(scope="module")
def trained():
    """(before, after) of three steps: flat parameters, and the last state."""
    trainable, frozen, mutable = state.divide(system(), system().init(jax.random.key(0)))
    before = {k: np.asarray(v) for k, v in (trainable | frozen).items()}
    now = state.create(system(), trainable, mutable, ema=True)
    take = jax.jit(step.make_step(system(), seed=0, ema_decay=0.9), donate_argnums=0, compiler_options=QUICK)
    for i in range(3):
        now, logs = take(now, frozen, batch(i))
        assert np.isfinite(logs["loss"])
        assert not logs["skipped_steps"]
    after = {k: np.asarray(v) for k, v in (now.trainable | frozen).items()}
    return before, after, now


def test_adapters_learn_and_what_is_frozen_stays_to_the_last_bit(trained):
    before, after, _ = trained
    assert before.keys() == after.keys()
    for path, value in before.items():
        adapter = "lora_" in path or "conv_adapter" in path
        if path.startswith("depth/vit/") and not adapter:
            assert value.tobytes() == after[path].tobytes(), path
        elif adapter:
            assert np.abs(value - after[path]).max() > 0, path


def test_nothing_is_kept_for_what_is_frozen(trained):
    """The optimiser has two moments for each trained value, and the moving average one: no array for another."""
    before, _, now = trained
    theirs = [k for k in before if not k.startswith("depth/vit/") or "lora_" in k or "conv_adapter" in k]
    assert set(now.trainable) == set(now.ema) == set(theirs)
    moments = [x for x in jax.tree.leaves(now.opt) if x.ndim]
    assert sum(x.size for x in moments) == 2 * sum(before[k].size for k in theirs)
    kept = {
        "/".join(str(getattr(k, "key", getattr(k, "name", ""))) for k in path)
        for path, x in jax.tree_util.tree_leaves_with_path(now.opt)
        if x.ndim
    }
    assert not any("/qkv/" in path or "/fc1/" in path or "pos_embed" in path for path in kept)


def test_a_step_of_adapters_is_less_work_than_full_fine_tuning():
    """By the count of the compiled programs themselves, blocks unrolled, and by that of the trace."""
    compiled, traced = [], []
    for patterns in (ADAPTERS, r"depth/vit/.*"):
        made = system(patterns, unroll=True)
        trainable, frozen, mutable = state.divide(made, jax.eval_shape(made.init, jax.random.key(0)))
        now = jax.eval_shape(functools.partial(state.create, made, ema=False), trainable, mutable)
        function = step.make_step(made, seed=0)
        program = jax.jit(function).lower(now, frozen, batch()).compile(compiler_options=QUICK)
        compiled.append(program.cost_analysis()["flops"])
        traced.append(flops.count(function, now, frozen, batch()))
    assert compiled[0] < 0.95 * compiled[1]
    assert traced[0] < 0.95 * traced[1]


def test_an_unrolled_stack_computes_the_same():
    params = system().init(jax.random.key(0))["params"]
    assert jax.tree.map(
        jax.numpy.shape, system(unroll=True).init(jax.random.key(0))["params"]
    ) == jax.tree.map(jax.numpy.shape, params)
    a, b = (
        jax.jit(system(unroll=unroll).predict, compiler_options=QUICK)({"params": params}, batch())["depth"]
        for unroll in (False, True)
    )
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_selfsup_trains_its_adapters_and_not_the_backbone():
    """The parameters that the real system would train, by their shapes alone."""
    config = configs.defaults("selfsup", systems.schema)
    for key, value in {"model.lora_rank": 4, "model.conv_adapter_width": 4, "model.backbone": "vitb"}.items():
        configs._set(config, key, value, where="test")
    made = systems.make(config)
    trainable, frozen, _ = state.divide(made, jax.eval_shape(made.init, jax.random.key(0)))
    adapters = [x for k, x in trainable.items() if k.startswith("depth/vit/")]
    assert sum(x.size for x in adapters) == 147_456 + 672_816
    assert not any("lora_" in k or "conv_adapter" in k for k in frozen)
