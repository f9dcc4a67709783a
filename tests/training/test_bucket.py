"""A run directory at gs://: what is written beside the arrays, through a file system that maps buckets to a folder."""

from __future__ import annotations

import json

import fsspec
import pytest
from etils import epath
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.errors import UserError
from tdepth_jax.training import setup
from tdepth_jax.training.goodput import Goodput
from tdepth_jax.training.writers import Metrics


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """gs://bucket, in memory of a folder; objects there cannot be appended to, as in the real one."""

    class Buckets(DirFileSystem):
        protocol = "gs"

        def __init__(self, **_):
            super().__init__(
                path=str(tmp_path), fs=LocalFileSystem(auto_mkdir=True), skip_instance_cache=True
            )

        def open(self, path, mode="rb", *args, **kwargs):
            assert "a" not in mode, "an object cannot be appended to"
            return super().open(self._strip_protocol(path), mode, *args, **kwargs)

        @classmethod
        def _strip_protocol(cls, path):
            return path.removeprefix("gs://")

    fs = Buckets()
    monkeypatch.setattr(fsspec, "filesystem", lambda name, **_: fs if name == "gs" else LocalFileSystem())
    monkeypatch.setattr(epath.backend.fsspec_backend, "_get_filesystem", lambda name: fs, raising=False)
    return tmp_path / "bucket"


def test_metrics_in_a_bucket_read_as_on_disk(bucket):
    workdir = epath.Path("gs://bucket/runs/one")
    metrics = Metrics(workdir, 0)
    for step in (1, 2, 3):
        metrics.scalars(step, {"loss": float(step)})
    metrics.flush()
    metrics.scalars(4, {"loss": 4.0})  # never flushed: the process is gone
    again = Metrics(workdir, 2)
    again.scalars(3, {"loss": 3.5})
    again.close()
    lines = (bucket / "runs" / "one" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [1.0, 2.0, 3.5]
    assert any((bucket / "runs" / "one" / "tensorboard").iterdir())


def test_a_run_directory_in_a_bucket_is_claimed_once(bucket):
    config = configs.defaults("selfsup", systems.schema)
    assert setup.claim_workdir("gs://bucket/runs/two", config, accept_changes=False) == []
    assert json.loads((bucket / "runs" / "two" / "config.json").read_text())["system"]["name"] == "selfsup"
    config.train.steps = 77
    with pytest.raises(UserError, match=r"gs://bucket/runs/two was begun with another config \(train.steps"):
        setup.claim_workdir("gs://bucket/runs/two", config, accept_changes=False)


def test_goodput_in_a_bucket(bucket):
    account = Goodput("gs://bucket/runs/three", 0, clock=lambda: 5.0)
    account.add(1.0)
    account.saved(3)
    found = json.loads((bucket / "runs" / "three" / "goodput.json").read_text())
    assert found == {"began": 5.0, "productive": {"3": 1.0}}
