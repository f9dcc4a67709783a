"""What every test may ask for. The environment is set before JAX starts."""

import atexit
import gc
import os
import pathlib
import shutil
import sys
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Many tests train runs that differ in nothing that a program knows of. What one of them has compiled serves the others,
# in every process of the tests: the first one makes the folder, those that it starts inherit its name.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="tdepth_jax_compiled_")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("TDEPTH_COMPILATION_CACHE", "off")  # the doors leave that folder as it is

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real frames (never part of this repository); skips where it is absent."""
    folder = pathlib.Path(os.environ.get("TDEPTH_REAL_DATA", ROOT.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip(f"no real frames at {folder}: set TDEPTH_REAL_DATA to a folder that has them")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _programs_of_a_module_are_let_go():
    """Else one process keeps every program that it ever compiled: gigabytes."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
        gc.collect()


def _configured(**settings):
    """Sets JAX's configuration until the generator goes on."""
    import jax

    before = {name: jax.config.values[name] for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="module")
def unoptimised():
    """Programs that compile sooner, and run slower."""
    yield from _configured(jax_disable_most_optimizations=True)


@pytest.fixture(scope="module")
def quick(unoptimised):
    """Programs that compile fastest: not optimised, the device's own random numbers (other draws)."""
    yield from _configured(jax_default_prng_impl="unsafe_rbg")


@pytest.fixture(scope="module")
def shallow(quick):
    """A ResNet-18 with one block a stage, in `quick` programs. As many kinds of layers; what they compute is tested in
    tests/models."""
    import dataclasses

    from tdepth_jax.models.resnet import VARIANTS

    small = dataclasses.replace(VARIANTS["resnet18"], blocks=(1, 1, 1, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "resnet18", small)
        yield
