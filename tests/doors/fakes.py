"""A run whose depth can be read off its input, and frames to give it."""

import types

import cv2
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from tdepth_jax.thermal import normalize

H, W = 48, 64
SIZE = (24, 32)  # the network's


def fake_run(*, spread=None):
    """Depth = 20000 / counts: what the network says can be read off its input. `spread`: what it says of its error."""

    def outputs(variables, batch):
        depth = (
            variables["params"]["scale"] * 20000 / jnp.maximum(batch["thermal/image"].astype(jnp.float32), 1)
        )
        more = {} if spread is None else {"spread": jnp.full(depth.shape, spread)}
        return {"depth": depth, **more}

    system = _system(outputs)
    config = {
        "system": {"name": "fake", "normalization": "snippet"},
        "data": {"dataset": "data/fake", "image_size": SIZE},
    }
    return types.SimpleNamespace(
        config=ConfigDict(config), system=system, variables={"params": {"scale": jnp.float32(1)}}, step=7
    )


def frame(seed=0, low=3000):
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.normal(0, 1, (H, W)).astype(np.float32), (0, 0), 4)
    return (low + 400 * (smooth / smooth.std()) + rng.normal(0, 3, (H, W)) + 1600).astype(np.uint16)


def normalising_system(config):
    """Inverse depth = 0.1 + what the run's own normaliser makes of the counts."""

    def outputs(variables, batch):
        method = config.system.normalization
        unit = normalize.normalize(
            batch["thermal/image"][:, None], method=method, valid=batch["thermal/valid"][:, None]
        )
        return {"depth": 1 / (0.1 + unit[:, 0])}

    return _system(outputs)


def _system(outputs):
    return types.SimpleNamespace(
        predict=outputs,
        scale="relative",
        classes=(),
        wants=frozenset({"thermal/valid"}),
        intrinsics=None,
        camera="thermal",
        sees=frozenset(),
    )
