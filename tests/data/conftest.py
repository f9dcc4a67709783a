"""The toy data set in both formats, written once; a copy of it to damage."""

import shutil

import pytest
from toy_records import Toy

from tdepth_jax.data.shards import FORMATS


@pytest.fixture(scope="session")
def toys(tmp_path_factory):
    """{format: data/toy}, prepared; not to be changed."""
    out = {}
    for file_format in FORMATS:
        folder = tmp_path_factory.mktemp(file_format)
        Toy(data_dir=folder).prepare(file_format=file_format)
        out[file_format] = folder / "toy"
    return out


@pytest.fixture(params=FORMATS)
def any_toy(request, toys):
    return toys[request.param]


@pytest.fixture
def copy_of(toys, tmp_path):
    """A function: the version folder of a fresh copy of the toy data set in a format."""

    def copy(file_format):
        return shutil.copytree(toys[file_format], tmp_path / file_format / "toy") / "1.0.0"

    return copy
