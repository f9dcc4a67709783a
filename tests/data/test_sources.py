"""Opening prepared records: both formats alike, from many threads and processes, and every damage told in one
sentence."""

import json
import pickle
import shutil
from concurrent import futures

import numpy as np
import pytest
from toy_records import SEQUENCES, Toy, assert_same_frame, expected, toy_frame, toy_frames

from tdepth_jax.data import index, records
from tdepth_jax.data.shards import FORMATS
from tdepth_jax.data.sources import open_split, snippet_centres
from tdepth_jax.errors import UserError

NO_RADAR = {"radar": np.zeros((0, 4), np.float32)}


@pytest.mark.parametrize("split", SEQUENCES)
def test_frames_and_table(any_toy, split):
    source, want = open_split(any_toy, split), expected(split)
    assert len(source) == len(want)
    for i, frame in enumerate(want):
        assert_same_frame(source[i], NO_RADAR | frame)
        assert source.table[i].tolist() == tuple(frame[key] for key in records.HEADER)
    assert source.features == frozenset(toy_frame()) | {
        "radar/valid",
        "radar/x",
        "radar/y",
        "radar/z",
        "radar/vx",
        "condition/day",
        "condition/night",
        "condition/fog",
    }
    assert source.metadata["depth_scale"] == 1 / 256
    assert source.image_size("thermal") == (12, 16)
    assert source.image_size("rgb") == (10, 14)
    for outside in (-1, len(want)):
        with pytest.raises(IndexError):
            source[outside]


def test_the_first_sequences_of_a_split(any_toy):
    want = expected("train")
    names = list(dict.fromkeys(frame["sequence"] for frame in want))
    assert len(names) > 1
    for count in range(1, len(names) + 2):
        source = open_split(any_toy, "train", sequences=count)
        kept = [frame for frame in want if frame["sequence"] in names[:count]]
        assert len(source) == len(kept)
        assert_same_frame(source[len(kept) - 1], NO_RADAR | kept[-1])
    whole = open_split(any_toy, "train").fingerprint
    assert source.fingerprint == whole
    assert open_split(any_toy, "train", sequences=1).fingerprint != whole


def test_the_frames_of_some_conditions(any_toy):
    want = [frame for frame in expected("train") if frame["condition"] in ("night", "day")]
    source = open_split(any_toy, "train:night+day")
    assert [row["condition"] for row in source.table] == [frame["condition"] for frame in want]
    assert_same_frame(source[len(want) - 1], NO_RADAR | want[-1])
    assert source.fingerprint != open_split(any_toy, "train").fingerprint
    assert len(open_split(any_toy, "train:day", sequences=1)) == 5
    with pytest.raises(UserError, match=r"no frame of train is of the condition 'nigth' .*'night'"):
        open_split(any_toy, "train:day+nigth")
    with pytest.raises(UserError, match="no split 'tran'"):
        open_split(any_toy, "tran:day")


def test_the_toys_have_several_shards(toys):
    """Else the tests of shards would test nothing."""
    for file_format, root in toys.items():
        assert len(list(root.glob(f"1.0.0/toy-train.{file_format}-*"))) > 3


def test_the_fingerprint_is_of_the_records_not_of_the_files(toys, tmp_path):
    fingerprints = {open_split(root, "train").fingerprint for root in toys.values()}
    Toy(data_dir=tmp_path, shard_bytes=10**9).prepare()
    fingerprints.add(open_split(tmp_path / "toy", "train").fingerprint)
    fingerprints.add(open_split(tmp_path / "toy", "train", skip_corrupt=True).fingerprint)
    (tmp_path / "toy/1.0.0/train.index.npz").unlink()
    fingerprints.add(open_split(tmp_path / "toy", "train").fingerprint)
    assert len(fingerprints) == 1
    assert open_split(tmp_path / "toy", "test").fingerprint not in fingerprints

    def one_pixel(spec):
        for frame in toy_frames(spec):
            frame["thermal/image"][0, 0] ^= frame["index"] == 8
            yield frame

    Toy(data_dir=tmp_path, name="other", make=one_pixel).prepare()
    assert open_split(tmp_path / "other", "train").fingerprint not in fingerprints


def test_a_pickled_source_reads_the_same(any_toy):
    source = open_split(any_toy, "test")
    source[0]  # files are open
    copy = pickle.loads(pickle.dumps(source))
    assert copy.fingerprint == source.fingerprint
    for i in range(len(source)):
        assert copy.raw(i) == source.raw(i)


def test_many_threads_read_what_one_reads(any_toy):
    want = [open_split(any_toy, "train").raw(i) for i in range(20)]
    source = open_split(any_toy, "train")
    numbers = np.random.default_rng(0).integers(0, 20, 400).tolist()
    with futures.ThreadPoolExecutor(8) as pool:
        got = list(pool.map(source.raw, numbers))
    assert got == [want[i] for i in numbers]


@pytest.mark.parametrize("offsets", [(0,), (-1, 0, 1), (0, 1), (-3, 0), (-2, 0, 2), (0, 8), (0, 9)])
def test_snippets_never_cross_sequences(toys, offsets):
    table = open_split(toys["tfrecord"], "train").table
    want, start = [], 0
    for _, count, _ in SEQUENCES["train"]:
        want += [start + i for i in range(count) if all(0 <= i + o < count for o in offsets)]
        start += count
    assert snippet_centres(table, offsets).tolist() == want


def test_snippets_skip_gaps_left_by_dropped_records(toys):
    table = np.delete(open_split(toys["tfrecord"], "train").table, 10)  # frame 3 of c, which has 9
    assert snippet_centres(table, (-1, 0, 1)).tolist() == [1, 2, 3, 8, *range(11, 14), 16, 17]


def damage(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at, 2 if at < 0 else 0)
        file.write(data)


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 4]))


def cut(path, keep):
    with open(path, "r+b") as file:
        file.truncate(keep)


def read_all(root, split="train", **more):
    source = open_split(root, split, **more)
    for i in range(len(source)):
        source[i]
    return source


def shard_of(folder, number=1):
    (path,) = folder.glob(f"toy-train.*-{number:05d}-of-*")
    return path


# What is done to the second train shard, and what the sentence must hold besides the file and the mend.
DAMAGE = {
    ("tfrecord", "bit of data"): (lambda p: flip(p, 500), "record 0 (byte offset 0) is corrupt"),
    ("tfrecord", "bit of length"): (lambda p: flip(p, 1), "record 0 (byte offset 0) is corrupt"),
    ("tfrecord", "cut"): (lambda p: cut(p, p.stat().st_size - 9), "is cut short"),
    ("tfrecord", "a record gone"): (lambda p: cut(p, first_end(p)), "the rest from record 1 (byte offset"),
    ("tfrecord", "zero bytes"): (lambda p: cut(p, 0), "is an empty file (0 bytes)"),
    ("tfrecord", "missing"): (lambda p: p.unlink(), "the file is missing"),
    ("tfrecord", "other format"): (
        lambda p: p.write_bytes(b"PK\3\4" * 2000),
        "record 0 (byte offset 0) is corrupt",
    ),
    ("tfrecord", "other format, same size"): (
        lambda p: p.write_bytes((b"PK\3\4" * 9000)[: p.stat().st_size]),
        "record 0 (byte offset 0) is corrupt",
    ),
    ("array_record", "bit of data"): (lambda p: flip(p, 300), "record 0 (byte offset 64) is corrupt"),
    ("array_record", "cut"): (lambda p: cut(p, p.stat().st_size - 70000), "byte"),
    ("array_record", "zero bytes"): (lambda p: cut(p, 0), "is an empty file (0 bytes)"),
    ("array_record", "missing"): (lambda p: p.unlink(), "the file is missing"),
    ("array_record", "other format"): (
        lambda p: p.write_bytes(b"PK\3\4" * 2000),
        "no whole ArrayRecord file",
    ),
    ("array_record", "other format, same size"): (
        lambda p: p.write_bytes((b"PK\3\4" * 200000)[: p.stat().st_size]),
        "record 0",
    ),
}


def first_end(path):
    return 16 + int.from_bytes(path.read_bytes()[:8], "little")


@pytest.mark.parametrize("with_index", [True, False], ids=["index", "no index"])
@pytest.mark.parametrize("case", DAMAGE, ids="-".join)
def test_damage_is_one_sentence_with_file_record_and_mend(case, with_index, copy_of):
    break_it, says = DAMAGE[case]
    folder = copy_of(case[0])
    path = shard_of(folder)
    break_it(path)
    if not with_index:
        (folder / "train.index.npz").unlink()
    with pytest.raises(UserError) as caught:
        read_all(folder.parent)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert says in sentence
    assert "copy the file again, or prepare the data set again with --overwrite" in sentence
    assert "record" in sentence
    assert "\n" not in sentence
    read_all(folder.parent, "test")  # the other split is none the worse


@pytest.mark.parametrize("case", DAMAGE, ids="-".join)
def test_skip_corrupt_leaves_out_and_lists(case, copy_of):
    folder = copy_of(case[0])
    whole = open_split(folder, "train")
    frames = {tuple(row.tolist()): whole.raw(i) for i, row in enumerate(whole.table)}
    DAMAGE[case][0](shard_of(folder))
    source = read_all(folder, skip_corrupt=True)
    assert len(source.skipped) >= 1
    assert all(str(shard_of_name(case[0])) in sentence for sentence in source.skipped)
    assert len(frames) - 5 < len(source) < len(frames)
    for i, row in enumerate(source.table):
        assert source.raw(i) == frames[tuple(row.tolist())]
    # The sidecar still speaks of the whole file: it was not replaced by one that hides the damage.
    with pytest.raises(UserError):
        read_all(folder)


def shard_of_name(file_format):
    return f"toy-train.{file_format}-00001-of-"


def test_skip_corrupt_counts_each_record(copy_of):
    folder = copy_of("tfrecord")
    for number in (0, 1, 2):
        flip(shard_of(folder, number), 700)
    source = read_all(folder, skip_corrupt=True)
    assert len(source) == 17
    assert len(source.skipped) == 3


@pytest.mark.parametrize("file_format", FORMATS)
def test_undecodable_image_bytes(file_format, tmp_path, monkeypatch):
    """A record whose checksum is right but whose image is none: it was written so."""
    encode = records._encode_image

    def broken(key, field, image, scale):
        data = encode(key, field, image, scale)
        return data[:60] if key == "thermal/image" and image[0, 0] == 7 else data

    def marked(spec):
        for frame in toy_frames(spec):
            frame["thermal/image"][0, 0] = 7 if frame["index"] == 3 else 8
            yield frame

    monkeypatch.setattr(records, "_encode_image", broken)
    Toy(data_dir=tmp_path, specs={"train": (("a", 5, "day"),)}, make=marked, shard_bytes=10**9).prepare(
        file_format=file_format
    )
    source = open_split(tmp_path / "toy", "train")
    source[2]
    source.read(3, {"thermal/K"})
    with pytest.raises(UserError) as caught:
        source[3]
    (path,) = tmp_path.glob("toy/*/toy-train*")
    assert f"{path}: record 3" in str(caught.value)
    assert "its thermal/image cannot be decoded" in str(caught.value)
    if file_format == "tfrecord":
        assert f"(byte offset {sum(len(source.raw(i)) + 16 for i in range(3))})" in str(caught.value)
    skipping = open_split(tmp_path / "toy", "train", skip_corrupt=True)
    assert len(skipping) == 4
    assert skipping.skipped == (str(caught.value),)


# The index sidecar is a cache.


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_sidecar_removed_or_cut_is_made_again(file_format, copy_of):
    folder = copy_of(file_format)
    sidecar = folder / "train.index.npz"
    before = index.load(sidecar, sorted(folder.glob("toy-train.*")))
    for break_it in (sidecar.unlink, lambda: cut(sidecar, 100), lambda: sidecar.write_bytes(b"")):
        break_it()
        source = open_split(folder, "train")
        again = index.load(sidecar, sorted(folder.glob("toy-train.*")))
        for name in ("table", "shard", "offset", "length", "crc", "number"):
            np.testing.assert_array_equal(getattr(again, name), getattr(before, name))
        assert again.fingerprint() == before.fingerprint() == source.fingerprint


def test_a_sidecar_with_flipped_bits_is_never_believed(copy_of):
    folder = copy_of("tfrecord")
    sidecar = folder / "train.index.npz"
    whole, want = sidecar.read_bytes(), open_split(folder, "train").fingerprint
    for at in range(0, len(whole), 37):
        sidecar.write_bytes(whole)
        flip(sidecar, at)
        assert open_split(folder, "train").fingerprint == want


def test_a_sidecar_of_another_data_set_of_equal_sizes(tmp_path):
    """Copied over by hand: names and sizes of the shards fit, the records do not."""

    def flat(level):
        def frames(spec):
            for i in range(4):
                image = np.full((12, 16), level + i, np.uint16)
                yield {**toy_frame(), "sequence": f"s{level}", "index": i, "thermal/image": image}

        return frames

    folders = []
    for level in (100, 200):
        Toy(data_dir=tmp_path / str(level), specs={"train": ((),)}, make=flat(level)).prepare(
            file_format="tfrecord"
        )
        folders.append(tmp_path / str(level) / "toy/1.0.0")
    assert [p.stat().st_size for p in sorted(folders[0].glob("toy-*"))] == [
        p.stat().st_size for p in sorted(folders[1].glob("toy-*"))
    ]
    shutil.copy(folders[0] / "train.index.npz", folders[1])
    with pytest.raises(UserError, match=r"record 0 .*is not the one .*delete .*train\.index\.npz"):
        read_all(folders[1])
    (folders[1] / "train.index.npz").unlink()
    assert read_all(folders[1]).table["sequence"][0] == "s200"


def test_a_folder_that_cannot_be_written_is_still_read(copy_of, monkeypatch):
    folder = copy_of("array_record")
    (folder / "train.index.npz").unlink()

    def refuse(*args, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(index.tempfile, "mkstemp", refuse)
    assert len(read_all(folder)) == 20


# What is not there.


def test_an_absent_split_names_those_there_are(any_toy):
    with pytest.raises(UserError, match="no split 'val'; it has train, test"):
        open_split(any_toy, "val")


def test_an_absent_data_set_names_those_there_are(any_toy):
    with pytest.raises(UserError, match=r"there is no data set at .*/toi; .* has toy; prepare it with"):
        open_split(any_toy.parent / "toi", "train")
    with pytest.raises(UserError, match=r"there is no prepared data set at .*/no/toy; prepare it with"):
        open_split(any_toy.parent / "no" / "toy", "train")


def test_a_bucket_is_refused():
    with pytest.raises(UserError, match="local folder"):
        open_split("gs://bucket/world", "train")


def test_an_absent_modality_names_those_there_are(any_toy):
    source = open_split(any_toy, "train")
    with pytest.raises(
        UserError, match=r"the data set toy has no rgb/depth; it has radar, rgb/K, rgb/image, .*thermal/valid"
    ):
        source.read(0, {"rgb/depth", "rgb/K"})


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "metadata.json"])
@pytest.mark.parametrize("content", [None, "", "{", "[]", '"x"'])
def test_broken_descriptions(copy_of, name, content):
    folder = copy_of("array_record")
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        open_split(folder, "train")
    assert str(folder) in str(caught.value)
    assert "--overwrite" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("dataset_info.json", {"fileFormat": "riegeli"}, "its records are riegeli; readable are"),
        (
            "features.json",
            {"featuresDict": {"features": {"image": {}}}},
            "not in this project's record schema",
        ),
        ("dataset_info.json", {"name": None}, "dataset_info.json"),
        ("dataset_info.json", {"splits": [{"name": "train", "shardLengths": ["many"]}]}, "dataset_info.json"),
    ],
)
def test_descriptions_of_something_else(copy_of, name, change, says):
    folder = copy_of("array_record")
    content = json.loads((folder / name).read_text()) | change
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=says):
        open_split(folder, "train")


def test_the_newest_version_is_taken(copy_of):
    folder = copy_of("tfrecord")
    for version in ("1.10.0", "1.9.0"):
        shutil.copytree(folder, folder.parent / version)
    assert open_split(folder.parent, "train").where(0).startswith(str(folder.parent / "1.10.0"))
