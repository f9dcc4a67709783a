"""A prepared ThermalWorld for every test of a door."""

from __future__ import annotations

import pathlib

import pytest

from tdepth_jax import prepare


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("records")
    prepare.main(
        ["world", "--out", str(out), "--name", "tiny", "--sequences", "1", "--frames", "4", "--size", "32x40"]
    )
    return out / "tiny"
