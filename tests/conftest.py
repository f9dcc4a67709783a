"""What every test may ask for. The environment is set before JAX starts."""

import os
import pathlib

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TDEPTH_COMPILATION_CACHE", "off")

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of real frames (never part of this repository); skips where it is absent."""
    folder = pathlib.Path(os.environ.get("TDEPTH_REAL_DATA", ROOT.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip(f"no real frames at {folder}: set TDEPTH_REAL_DATA to a folder that has them")
    return folder
