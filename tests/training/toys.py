"""Toy systems for the engine's tests: small enough to reason about, shaped like the five real ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from tdepth_jax.systems.base import System, Update


def make(*, teacher: bool = False, adversarial: bool = False, optimizer=None) -> System:
    """y = head(tanh(backbone(x))), with a frozen backbone; optionally a teacher, or a critic with its own update."""
    tx = optimizer or optax.adam(1e-2)

    def init(rng):
        a, b, c = jax.random.split(rng, 3)
        params = {
            "net": {
                "backbone": {"kernel": jax.random.normal(a, (4, 8))},
                "head": {"kernel": jax.random.normal(b, (8, 1)) * 0.1, "bias": jnp.zeros(1)},
            },
            "critic": {"kernel": jax.random.normal(c, (8, 1)) * 0.1},
        }
        return {"params": params, "batch_stats": {"count": jnp.zeros(())}}

    def features(params, x):
        return jnp.tanh(x @ params["net"]["backbone"]["kernel"])

    def predict(variables, batch):
        params = variables["params"]
        return {
            "y": features(params, batch["x"]) @ params["net"]["head"]["kernel"]
            + params["net"]["head"]["bias"]
        }

    def fit(params, mutable, batch, targets, rng):
        goal = targets if teacher else batch["y"]
        error = (predict({"params": params}, batch)["y"] - goal) ** 2
        terms = {"fit": (error.sum(), jnp.float32(error.size))}
        if adversarial:
            score = features(params, batch["x"]) @ params["critic"]["kernel"]
            terms["confuse"] = ((score - 0.5) ** 2).sum(), jnp.float32(score.size)
        return terms, {"batch_stats": {"count": mutable["batch_stats"]["count"] + 1}}

    def discern(params, mutable, batch, targets, rng):
        score = jax.lax.stop_gradient(features(params, batch["x"])) @ params["critic"]["kernel"]
        return {"domain": (((score - batch["y"]) ** 2).sum(), jnp.float32(score.size))}, mutable

    weights = {"fit": 1.0, "confuse": 0.1} if adversarial else {"fit": 1.0}
    updates = [Update(name="net", trainable=("net/head/.*",), loss=fit, weights=weights, tx=tx)]
    if adversarial:
        updates.append(
            Update(name="critic", trainable=("critic/.*",), loss=discern, weights={"domain": 1.0}, tx=tx)
        )
    return System(
        needs=frozenset({"x", "y"}),
        offsets=(0,),
        init=init,
        updates=tuple(updates),
        predict=predict,
        teacher=(lambda variables, batch: 2.0 * predict(variables, batch)["y"] + 1.0) if teacher else None,
    )


def batch(step: int, size: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.RandomState(step)
    x = rng.randn(size, 4).astype("f")
    return {"x": x, "y": np.sin(x.sum(1, keepdims=True)).astype("f")}


def batches(step: int = 0, size: int = 16):
    while True:
        yield batch(step, size)
        step += 1


def config(**train) -> ConfigDict:
    settings = {"steps": 12, "batch_size": 16, "accumulate": 1, "seed": 0, "log_every": 1, "save_every": 5}
    settings |= {
        "keep": 2,
        "panels_every": 0,
        "ema_decay": 0.0,
        "max_bad_steps": 3,
        "init_from": None,
        "init_only": (),
        "cache_targets": False,
    }
    return ConfigDict(
        {
            "train": {**settings, **train},
            "mesh": {"data": -1, "fsdp": 1, "fsdp_min_bytes": 1},
            "eval": {"every": 0},
            "system": {"name": "toy"},
        }
    )
