"""What is written is a stock TFDS data set, whoever reads it; and it is whole or not there at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2
from toy_records import SEQUENCES, Toy, expected, toy_frame, toy_frames

from tdepth_jax.data import records
from tdepth_jax.data.checks import check_split
from tdepth_jax.data.datasets.base import tfds_features
from tdepth_jax.data.datasets.world import World
from tdepth_jax.data.shards import FORMATS
from tdepth_jax.data.sources import open_split
from tdepth_jax.errors import UserError


def decoded(stock):
    """A frame from TFDS' own view of a record: bytes and arrays."""
    import cv2

    images = {"thermal/image", "thermal/labels", "thermal/valid", "rgb/image"}
    out = {key: stock[key] for key in ("index", "timestamp_ns", "thermal/K", "rgb_from_thermal")}
    for key in images:
        if stock[key]:
            image = cv2.imdecode(np.frombuffer(stock[key], np.uint8), cv2.IMREAD_UNCHANGED)
            out[key] = image[..., ::-1] if key == "rgb/image" else image
    return out | {"sequence": stock["sequence"].decode(), "condition": stock["condition"].decode()}


def test_stock_tfds_reads_array_record_without_tensorflow(toys):
    builder = tfds.builder_from_directory(toys["array_record"] / "1.0.0")
    assert builder.info.splits["train"].num_examples == 20
    assert builder.info.metadata["radar_columns"] == ["x", "y", "z", "vx"]
    assert set(builder.info.features) == set(toy_frame())
    for split in SEQUENCES:
        data, want = builder.as_data_source(split), expected(split)
        assert len(data) == len(want)
        for stock, frame in zip(data, want, strict=True):
            for key, value in decoded(stock).items():
                np.testing.assert_array_equal(value, frame[key], err_msg=key)
            radar = frame.get("radar", np.zeros((0, 4)))
            np.testing.assert_array_equal(stock["radar"], radar)


@pytest.mark.skipif("tensorflow" in sys.modules, reason="TensorFlow was imported by another test")
def test_nothing_here_imports_tensorflow():
    script = (
        "import sys, tdepth_jax.prepare as p\n"
        "p.data_sets()\n"
        "import tdepth_jax.data.pipeline\n"
        "print('tensorflow' in sys.modules, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_grain_reads_tfrecord_shards(toys):
    grain = pytest.importorskip("grain")
    source = open_split(toys["tfrecord"], "train")
    shards = sorted(toys["tfrecord"].glob("1.0.0/toy-train.tfrecord-*"))
    records_there = [data for path in shards for data in grain.experimental.TFRecordIterDataset(str(path))]
    assert records_there == [source.raw(i) for i in range(len(source))]


def test_tensorflow_reads_tfrecord_through_tfds(toys):
    pytest.importorskip("tensorflow")
    data = tfds.builder_from_directory(toys["tfrecord"] / "1.0.0").as_dataset(split="train")
    for stock, frame in zip(tfds.as_numpy(data), expected(), strict=True):
        for key, value in decoded(stock).items():
            np.testing.assert_array_equal(value, frame[key], err_msg=key)


def test_both_formats_hold_the_same_bytes(toys):
    sources = [open_split(root, "train") for root in toys.values()]
    assert [sources[0].raw(i) for i in range(20)] == [sources[1].raw(i) for i in range(20)]


def test_array_record_files_are_compressed(tmp_path):
    """Smooth 12-bit counts with a little noise, whose differences fill 5 bits of 16, take two thirds of the room."""
    rng = np.random.default_rng(0)
    ramp = np.indices((128, 160)).sum(0) * 8
    sizes = {}

    def smooth(spec):
        for frame in toy_frames(spec, size=ramp.shape):
            counts = (ramp + rng.integers(0, 16, ramp.shape)).astype(np.uint16)
            noise = ("thermal/depth", "thermal/labels", "thermal/valid")
            yield {key: value for key, value in frame.items() if key not in noise} | {"thermal/image": counts}

    for file_format in FORMATS:
        builder = Toy(data_dir=tmp_path / file_format, make=smooth, shard_bytes=10**9)
        builder.prepare(file_format=file_format)
        sizes[file_format] = sum(p.stat().st_size for p in (tmp_path / file_format).rglob("*-of-00001"))
    assert sizes["array_record"] < 0.67 * sizes["tfrecord"]


def test_stock_download_and_prepare(tmp_path):
    """TFDS' own way to prepare ends in the same data set."""
    builder = Toy(data_dir=tmp_path)
    builder.download_and_prepare(file_format="array_record")
    ours = open_split(tmp_path / "toy", "train")
    assert len(builder.as_data_source("train")) == len(ours) == 20
    again = Toy(data_dir=tmp_path, name="my-toys.2")
    again.prepare()
    assert len(tfds.builder_from_directory(tmp_path / "my-toys.2/1.0.0").as_data_source("train")) == 20
    assert ours.fingerprint == open_split(tmp_path / "my-toys.2", "train").fingerprint


def test_a_prepared_builder_reads_what_it_wrote(tmp_path):
    builder = Toy(data_dir=tmp_path)
    summaries = builder.prepare()
    assert [(s.split, s.sequences, s.frames) for s in summaries] == [("train", 4, 20), ("test", 1, 7)]
    assert summaries[0].conditions == ("day", "night", "fog")
    assert builder.info.splits["train"].num_examples == 20
    assert builder.as_data_source("test")[6]["index"] == 6


def test_several_processes_write_the_same_files(tmp_path):
    """Spawning costs seconds: one format will do."""
    folders = []
    for jobs in (1, 2):
        World(data_dir=tmp_path / str(jobs), size=(16, 16), count=2, frames_each=1).prepare(
            file_format="tfrecord", jobs=jobs
        )
        folders.append(tmp_path / str(jobs) / "world/1.0.0")
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert names[0] == names[1]
    for name in (name for name in names[0] if "tfrecord" in name):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_shards_are_as_large_as_asked_and_keep_the_order(tmp_path):
    Toy(data_dir=tmp_path, shard_bytes=1).prepare(file_format="tfrecord")
    shards = sorted(tmp_path.glob("toy/1.0.0/toy-train.tfrecord-*"))
    assert [path.name for path in shards] == [f"toy-train.tfrecord-{i:05d}-of-00020" for i in range(20)]
    for path, frame in zip(shards, expected(), strict=True):
        example = tf_example_pb2.Example.FromString(path.read_bytes()[12:-4])
        assert example.features.feature["index"].int64_list.value[0] == frame["index"]


# Whole or not there.

KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from toy_records import Toy
def progress(split, frames):
    if split == "test" and frames == 3:
        os.kill(os.getpid(), signal.SIGKILL)
Toy(data_dir=sys.argv[1]).prepare(overwrite=sys.argv[3] == "over", progress=progress)
"""


def kill_half_way(folder, how):
    command = [sys.executable, "-c", KILLED, str(folder), str(Path(__file__).parent), how]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL


def test_killed_half_way_it_never_looks_finished_and_a_rerun_mends_it(tmp_path):
    kill_half_way(tmp_path, "fresh")
    (left,) = (tmp_path / "toy").iterdir()
    assert left.name.startswith("incomplete.")
    with pytest.raises(UserError, match="was only half prepared"):
        open_split(tmp_path / "toy", "train")
    with pytest.raises(Exception, match="Could not read dataset info"):
        tfds.builder_from_directory(tmp_path / "toy" / "1.0.0")
    Toy(data_dir=tmp_path).prepare()
    assert [path.name for path in (tmp_path / "toy").iterdir()] == ["1.0.0"]
    assert len(open_split(tmp_path / "toy", "test")) == 7
    # and again over the whole one, which stands while the new one is made
    kill_half_way(tmp_path, "over")
    assert len(open_split(tmp_path / "toy", "train")) == 20
    Toy(data_dir=tmp_path).prepare(overwrite=True)
    assert [path.name for path in (tmp_path / "toy").iterdir()] == ["1.0.0"]


def test_what_another_running_process_writes_is_left_alone(tmp_path):
    for pid in (os.getppid(), 1):  # process 1 is somebody else's, or ours when we are root
        (tmp_path / f"toy/incomplete.{pid}-x").mkdir(parents=True)
    Toy(data_dir=tmp_path).prepare()
    assert len(list((tmp_path / "toy").iterdir())) == 3


def test_another_users_process_is_alive_too(tmp_path, monkeypatch):
    def refuse(pid, number):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refuse)
    (tmp_path / "toy/incomplete.4242-x").mkdir(parents=True)
    Toy(data_dir=tmp_path).prepare()
    assert (tmp_path / "toy/incomplete.4242-x").is_dir()


def test_it_is_not_replaced_unless_asked(tmp_path):
    Toy(data_dir=tmp_path).prepare()
    before = open_split(tmp_path / "toy", "train").fingerprint
    fewer = {"train": (("z", 3, "day"),)}
    with pytest.raises(UserError, match="is prepared already; add --overwrite to replace it"):
        Toy(data_dir=tmp_path, specs=fewer).prepare()
    assert open_split(tmp_path / "toy", "train").fingerprint == before
    Toy(data_dir=tmp_path, specs=fewer).prepare(overwrite=True, file_format="tfrecord")
    assert len(open_split(tmp_path / "toy", "train")) == 3
    assert not list(tmp_path.glob("toy/1.0.0/*array_record*"))


def wrong(**changes):
    def frames(spec):
        for i, frame in enumerate(toy_frames(spec)):
            yield frame | changes if i == 2 else frame

    return frames


@pytest.mark.parametrize(
    ("specs", "make", "says"),
    [
        (
            SEQUENCES,
            wrong(**{"thermal/image": np.zeros((3, 3))}),
            "frame 2 of sequence a: thermal/image is float64",
        ),
        (SEQUENCES, wrong(index=7), r"frame \('a', 7\) came where \('a', 2\) belongs"),
        (SEQUENCES, wrong(sequence="z"), r"frame \('z', 2\) came where \('a', 2\) belongs"),
        ({"train": (("a", 2, "day"),) * 2}, toy_frames, "two sequences are called 'a'"),
        ({"train": ()}, toy_frames, "no frame came out of its 0 sequences"),
    ],
)
def test_frames_that_are_wrong_leave_nothing(tmp_path, specs, make, says):
    with pytest.raises(UserError, match=says):
        Toy(data_dir=tmp_path, specs=specs, make=make).prepare()
    assert not list((tmp_path / "toy").iterdir())


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    from tdepth_jax.data import tfrecord

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tfrecord.TFRecordWriter, "write", full)
    with pytest.raises(UserError, match=r"No space left on device; .*/toy/1\.0\.0 was not written"):
        Toy(data_dir=tmp_path).prepare(file_format="tfrecord")
    assert not list((tmp_path / "toy").iterdir())


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    from tdepth_jax.data.datasets import base

    mkdtemp = base.tempfile.mkdtemp

    def refuse(*args, prefix="", **more):
        if prefix.startswith("incomplete."):
            raise PermissionError(13, "Permission denied")
        return mkdtemp(*args, prefix=prefix, **more)

    monkeypatch.setattr(base.tempfile, "mkdtemp", refuse)
    with pytest.raises(
        UserError, match=r"/toy cannot be written \(Permission denied\); choose another --out"
    ):
        Toy(data_dir=tmp_path).prepare()


def test_an_unknown_format(tmp_path):
    with pytest.raises(UserError, match="no format 'riegeli'; choose one of array_record, tfrecord"):
        Toy(data_dir=tmp_path).prepare(file_format="riegeli")


# What is said of a data set just prepared.


def test_checks_find_what_a_user_should_know(tmp_path):
    def odd(spec):
        for i in range(2):
            flat = np.full((12, 16), 4000, np.uint16)
            agc = (np.arange(192).reshape(12, 16) * 256).astype(np.uint16)
            yield {
                **toy_frame(), "sequence": spec, "index": i, "timestamp_ns": 5,
                "thermal/image": flat if spec == "flat" else agc,
                "thermal/K": np.array([[9, 0, 40], [0, 9, 3], [0, 0, 1]], np.float32),
                "thermal/depth": np.zeros((12, 16), np.float32),
            }  # fmt: skip

    Toy(data_dir=tmp_path, specs={"train": ("flat", "agc")}, make=odd).prepare()
    said = "\n".join(check_split(open_split(tmp_path / "toy", "train")))
    for part in (
        "2 of 4 frames looked at are constant, e.g. record 0", "2 of 4 frames looked at use only 8 bits, e.g. record 2",
        "the principal point lies outside", "4 of 4 frames looked at have no depth", "between 2 pairs",
        "2 of 2 sequences have fewer than 3 frames",
    ):  # fmt: skip
        assert part in said


@pytest.mark.parametrize("file_format", FORMATS)
def test_checks_say_no_more_than_there_is(toys, file_format):
    """Frames 1 and 4 of the toys have no depth; nothing else is the matter."""
    said = check_split(open_split(toys[file_format], "test"))
    assert said == ["2 of 7 frames looked at have no depth at all"]


def test_every_field_of_the_schema_has_a_tfds_feature():
    features = tfds_features(set(records.FIELDS), 5)
    assert set(features) == set(records.FIELDS)
    assert all(features[key].doc.desc for key in features)
