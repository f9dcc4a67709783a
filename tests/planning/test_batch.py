"""The batch that is planned with is the batch that the pipeline makes."""

from __future__ import annotations

import types

import jax
import numpy as np
import pytest

from tdepth_jax import prepare
from tdepth_jax.data import pipeline, sources
from tdepth_jax.errors import UserError
from tdepth_jax.planning import batch


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    out = tmp_path_factory.mktemp("records")
    prepare.main(
        ["world", "--out", str(out), "--name", "tiny", "--sequences", "1", "--frames", "4", "--size", "32x40"]
    )
    return sources.open_split(out / "tiny", "train")


@pytest.mark.parametrize("offsets", [(0,), (-1, 0, 1)])
def test_every_key_has_the_shape_and_type_of_a_real_batch(source, offsets):
    system = types.SimpleNamespace(
        needs=frozenset({
            "thermal/image", "thermal/K", "thermal/depth", "thermal/labels", "thermal/world_from_camera",
            "rgb/image", "rgb/K", "rgb_from_thermal", "radar/z", "condition/night",
        }),
        wants=frozenset({"thermal/valid"}),
        offsets=offsets,
    )  # fmt: skip
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    planned = batch.shapes(
        system, batch_size=3, image_size=(24, 30), sharding=place, wanted=frozenset({"thermal/valid"})
    )
    with pipeline.train_iterator(
        source, keys=system.needs | system.wants, offsets=offsets, image_size=(24, 30), batch_size=3, seed=0
    ) as batches:
        real = {key: jax.numpy.asarray(value) for key, value in next(batches).items()}
    assert planned.keys() == real.keys()
    for key, value in real.items():
        points = key.split("/")[0] == "radar"  # how many there may be is a fact of the data set
        assert (planned[key].shape[:1] if points else planned[key].shape) == (
            value.shape[:1] if points else value.shape
        )
        assert planned[key].dtype == np.dtype(value.dtype), key


def test_keys_that_no_batch_has_are_refused():
    system = types.SimpleNamespace(needs=frozenset({"sonar/image"}), wants=frozenset(), offsets=(0,))
    with pytest.raises(UserError, match="knows no shape of sonar/image"):
        batch.shapes(system, batch_size=1, image_size=(8, 8), sharding=None)
    with pytest.raises(UserError, match="--with=thermal/valid"):
        batch.shapes(
            system, batch_size=1, image_size=(8, 8), sharding=None, wanted=frozenset({"thermal/valid"})
        )
