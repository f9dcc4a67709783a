"""The order of batches is a function of (seed, step); what is in them is what the frames and the view say."""

import itertools
import multiprocessing

import numpy as np
import pytest
from toy_records import RADAR_COLUMNS, Toy, expected, toy_frame

from tdepth_jax.data import transforms
from tdepth_jax.data.examples import check_cameras
from tdepth_jax.data.pipeline import eval_batches, train_iterator
from tdepth_jax.data.sources import open_split, snippet_centres
from tdepth_jax.data.transforms import Augment
from tdepth_jax.errors import UserError

KEYS = frozenset(
    {
        "thermal/image", "thermal/K", "thermal/depth", "thermal/labels", "thermal/valid",
        "thermal/world_from_camera", "rgb/image", "rgb/K", "rgb_from_thermal", "radar",
    }
)  # fmt: skip
OFFSETS = (-1, 0, 1)


@pytest.fixture(scope="module")
def source(toys):
    return open_split(toys["array_record"], "train")


def take(source, count, **more):
    defaults = {
        "keys": KEYS, "offsets": OFFSETS, "image_size": (8, 10), "batch_size": 4, "seed": 3, "augment": Augment(),
        "threads": 2,
    }  # fmt: skip
    with train_iterator(source, **(defaults | more)) as batches:
        return list(itertools.islice(batches, count))


def assert_same(got, want):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert set(a) == set(b)
        for key in b:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


@pytest.fixture(scope="module")
def stream(source):
    """The first 12 global batches of 4: four epochs of the 12 snippets."""
    return take(source, 12)


def joined(batches, key="example"):
    return np.concatenate([batch[key] for batch in batches])


def test_shapes_and_types(stream):
    want = {
        "thermal/image": ((4, 3, 8, 10, 1), np.uint16),
        "thermal/K": ((4, 3, 3), np.float32),
        "thermal/depth": ((4, 8, 10, 1), np.float32),
        "thermal/labels": ((4, 8, 10), np.int32),
        "thermal/valid": ((4, 8, 10, 1), np.bool_),
        "thermal/world_from_camera": ((4, 3, 4, 4), np.float32),
        "rgb/image": ((4, 3, 8, 10, 3), np.uint8),
        "rgb/K": ((4, 3, 3), np.float32),
        "rgb_from_thermal": ((4, 4, 4), np.float32),
        "radar": ((4, 128, 4), np.float32),
        "radar/valid": ((4, 128), np.bool_),
        "example": ((4,), np.int64),
    }
    assert {key: (value.shape, value.dtype.type) for key, value in stream[0].items()} == want


def test_whether_a_frame_is_of_a_condition(source):
    keys = frozenset({"thermal/image", "condition/day", "condition/night"})
    (batch,) = take(source, 1, keys=keys, batch_size=8)
    single = next(eval_batches(source, keys=keys, image_size=(8, 10), batch_size=20))
    for found in (batch, single):
        truth = source.table["condition"][found["example"]]
        for name in ("day", "night"):
            assert found[f"condition/{name}"].dtype == np.bool_
            np.testing.assert_array_equal(found[f"condition/{name}"], truth == name)
        assert found["condition/day"].any()
    with pytest.raises(UserError, match="no condition/dusk"):
        take(source, 1, keys=frozenset({"thermal/image", "condition/dusk"}))


@pytest.mark.parametrize("threads", [0, 1, 7])
def test_threads_do_not_change_the_stream(source, stream, threads):
    assert_same(take(source, 12, threads=threads), stream)


def test_the_file_format_does_not_change_the_stream(toys, stream):
    assert_same(take(open_split(toys["tfrecord"], "train"), 12), stream)


@pytest.mark.skipif(multiprocessing.current_process().daemon, reason="a daemon has no children")
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_do_not_change_the_stream(source, stream, workers):
    assert_same(take(source, 5, workers=workers, threads=1), stream[:5])


def test_two_hosts_together_are_one(source, stream):
    """Global batch s is the two hosts' batches s, their examples taken in turn."""
    hosts = [take(source, 12, host=host, hosts=2) for host in range(2)]
    for both, one in zip(zip(*hosts, strict=True), stream, strict=True):
        for key, value in one.items():
            assert both[0][key].shape[0] == 2
            turns = np.stack([both[0][key], both[1][key]], 1).reshape(value.shape)
            np.testing.assert_array_equal(turns, value)


@pytest.mark.parametrize("step", [1, 5, 11])
def test_resuming_is_a_slice_of_the_stream(source, stream, step):
    assert_same(take(source, 12 - step, step=step), stream[step:])


def test_resuming_far_out_is_quick_and_in_range(source):
    (batch,) = take(source, 1, step=10_000_000)
    assert set(batch["example"]) <= set(snippet_centres(source.table, OFFSETS))


def test_an_epoch_has_every_snippet_once_and_the_next_is_shuffled_anew(source, stream):
    centres = snippet_centres(source.table, OFFSETS)
    order = joined(stream)
    epochs = [order[:12], order[12:24], order[24:36], order[36:48]]
    assert len(centres) == 12
    for epoch in epochs:
        assert sorted(epoch) == centres.tolist()
    assert len({tuple(epoch) for epoch in [*epochs, centres]}) == 5


def test_the_seed_changes_the_order_and_the_views(source, stream):
    other = take(source, 3, seed=4)
    assert joined(other).tolist() != joined(stream[:3]).tolist()


def test_augmentation_depends_on_seed_and_global_index_only(source, stream):
    """The same examples in batches of another size, and with fewer keys, get the same views."""
    assert_same_views(take(source, 8, batch_size=6), stream)
    assert_same_views(take(source, 24, batch_size=2, keys=frozenset({"thermal/image", "thermal/K"})), stream)


def assert_same_views(batches, stream):
    for key in ("example", "thermal/image", "thermal/K"):
        np.testing.assert_array_equal(joined(batches, key), joined(stream, key))


def test_views_differ_between_examples_and_between_epochs(source):
    batches = take(source, 12, augment=Augment(scale_crop=2.0), keys=frozenset({"thermal/K"}))
    order, K = joined(batches), joined(batches, "thermal/K")
    assert len(np.unique(K, axis=0)) > 40
    of_one = K[order == order[0]]
    assert len(np.unique(of_one, axis=0)) == len(of_one) == 4


def test_one_view_for_all_that_a_camera_sees(source):
    """Depth, labels and mask were made of the image, so that they must still fit it; poses are mirrored with it."""
    plain = {int(b["example"][0]): b for b in take(source, 12, batch_size=1, augment=None)}
    flips = 0
    for batch in take(source, 24, batch_size=1, augment=Augment(flip=True, scale_crop=1.0)):
        want = plain[int(batch["example"][0])]
        flipped = not np.array_equal(batch["thermal/K"], want["thermal/K"])
        flips += flipped
        for key in ("thermal/image", "rgb/image", "thermal/depth", "thermal/valid"):
            mirrored = want[key][..., ::-1, :] if flipped else want[key]
            np.testing.assert_array_equal(batch[key], mirrored, err_msg=key)
        np.testing.assert_array_equal(
            batch["thermal/labels"], want["thermal/labels"][..., ::-1] if flipped else want["thermal/labels"]
        )
        sign = np.diag([-1.0, 1, 1, 1]) if flipped else np.eye(4)
        for key in ("thermal/world_from_camera", "rgb_from_thermal"):
            np.testing.assert_allclose(batch[key], sign @ want[key] @ sign, atol=1e-6)
        np.testing.assert_array_equal(batch["radar"], want["radar"] * [sign[0, 0], 1, 1, sign[0, 0]])
        for camera in ("thermal", "rgb"):
            cx = batch[f"{camera}/K"][0, 0, 2], want[f"{camera}/K"][0, 0, 2]
            assert cx[0] == pytest.approx(9 - cx[1] if flipped else cx[1], abs=1e-5)
    assert 4 <= flips <= 20


def test_without_augmentation_the_frames_are_the_stored_ones(source):
    frames, wanted = expected(), {"thermal/image", "thermal/depth", "thermal/K", "thermal/world_from_camera"}
    for batch in take(
        source, 3, augment=None, image_size=(12, 16), keys=frozenset(wanted), offsets=(0, -2), batch_size=3
    ):
        for j, centre in enumerate(batch["example"]):
            for t, offset in enumerate((0, -2)):
                frame = frames[centre + offset]
                np.testing.assert_array_equal(batch["thermal/image"][j, t, ..., 0], frame["thermal/image"])
                motion = frame.get("thermal/world_from_camera", np.full((4, 4), np.nan))
                np.testing.assert_array_equal(batch["thermal/world_from_camera"][j, t], motion)
            depth = frames[centre].get("thermal/depth", np.zeros((12, 16)))
            np.testing.assert_allclose(batch["thermal/depth"][j, ..., 0], depth, atol=1 / 512 + 1e-5)
            np.testing.assert_array_equal(batch["thermal/K"][j], frames[centre]["thermal/K"])


def test_only_the_keys_asked_for(source):
    (batch,) = take(source, 1, keys=frozenset({"thermal/image", "rgb/K"}))
    assert set(batch) == {"thermal/image", "rgb/K", "example"}


def test_cameras_that_examples_have_no_place_for_are_named():
    with pytest.raises(UserError, match="examples hold thermal and rgb only, not nir/image"):
        check_cameras(frozenset({"thermal/image", "radar", "nir/image", "rgb_from_thermal"}))


def test_radar_of_more_points_than_wanted_keeps_the_nearest(source):
    frames, z = expected(), RADAR_COLUMNS.index("z")
    for batch in take(source, 3, augment=None, max_points=2, keys=frozenset({"radar"})):
        for j, centre in enumerate(batch["example"]):
            points = frames[centre].get("radar", np.zeros((0, 4), np.float32))
            want = points[points[:, z].argsort()[:2]]
            assert batch["radar/valid"][j].sum() == len(want)
            got = batch["radar"][j][batch["radar/valid"][j]]
            np.testing.assert_array_equal(got[got[:, z].argsort()], want)
            assert (batch["radar"][j][~batch["radar/valid"][j]] == 0).all()


def test_closing_twice_is_harmless_and_ends_the_stream(source):
    batches = train_iterator(
        source, keys=frozenset({"thermal/image"}), offsets=(0,), image_size=(8, 8), batch_size=2, seed=0
    )
    next(batches)
    batches.close()
    batches.close()
    with pytest.raises(StopIteration):
        next(batches)


# Evaluation.

EVAL_KEYS = KEYS


def evaluated(source, **more):
    with eval_batches(
        source, **({"keys": EVAL_KEYS, "image_size": (6, 8), "batch_size": 4} | more)
    ) as batches:
        return list(batches)


@pytest.mark.parametrize("stride", [1, 3])
def test_every_frame_once_in_order_padded_with_mask_false(source, stride):
    batches = evaluated(source, stride=stride, batch_size=8)
    assert all(batch["mask"].shape == (8,) for batch in batches)
    mask = joined(batches, "mask")
    assert joined(batches)[mask].tolist() == list(range(0, 20, stride))
    assert not mask[len(range(0, 20, stride)) :].any()
    assert len(batches) == {1: 3, 3: 1}[stride]


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_have_as_many_batches_and_together_every_frame(source, hosts):
    want = evaluated(source, batch_size=12)
    parts = [evaluated(source, batch_size=12, host=host, hosts=hosts) for host in range(hosts)]
    assert {len(part) for part in parts} == {2}
    for i, one in enumerate(want):
        for key in one:
            together = np.concatenate([part[i][key] for part in parts])
            np.testing.assert_array_equal(together, one[key], err_msg=key)
    assert sum(joined(part, "mask").sum() for part in parts) == 20


def test_what_is_scored_against_keeps_its_size_and_the_images_do_not(source):
    frames = expected()
    for batch in evaluated(source):
        for j, record in enumerate(batch["example"]):
            frame = frames[record]
            depth = frame.get("thermal/depth", np.zeros((12, 16), np.float32))
            np.testing.assert_allclose(batch["thermal/depth"][j, ..., 0], depth, atol=1 / 512 + 1e-5)
            labels = frame.get("thermal/labels", np.full((12, 16), 255))
            np.testing.assert_array_equal(batch["thermal/labels"][j], labels)
            valid = frame.get("thermal/valid", np.ones((12, 16)))
            np.testing.assert_array_equal(batch["thermal/valid"][j, ..., 0], valid)
            means = frame["thermal/image"].reshape(6, 2, 8, 2).mean((1, 3))
            np.testing.assert_allclose(batch["thermal/image"][j, ..., 0], means, atol=0.51)
            want = transforms.resize_intrinsics(frame["thermal/K"], 0.5, 0.5)
            np.testing.assert_allclose(batch["thermal/K"][j], want, atol=1e-5)
    assert batch["thermal/image"].shape == (4, 6, 8, 1)
    assert batch["rgb/image"].shape == (4, 6, 8, 3)


# Mistakes.


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"keys": frozenset({"thermal/image", "rgb/labels"})}, "the data set toy has no rgb/labels; it has"),
        ({"offsets": (-1, 1)}, "must be different and hold 0"),
        ({"offsets": (0, 0)}, "must be different and hold 0"),
        ({"offsets": (-5, 0, 5)}, "toy/train has no snippet .* its longest sequence has 9 frames"),
        ({"batch_size": 5, "hosts": 2}, "the batch size 5 does not divide among 2 hosts"),
        ({"batch_size": 0}, "the batch size 0"),
        ({"host": 2, "hosts": 2}, "hosts are numbered from 0"),
        ({"image_size": (0, 10)}, "both positive"),
        ({"image_size": (10,)}, "both positive"),
    ],
)
def test_mistakes_are_named_before_anything_is_read(source, more, says):
    with pytest.raises(UserError, match=says):
        take(source, 1, **more)
    if "offsets" not in more:
        with pytest.raises(UserError, match=says):
            evaluated(source, **more)


def test_a_stride_of_nothing(source):
    with pytest.raises(UserError, match="the stride over evaluation frames is 0"):
        evaluated(source, stride=0)


def corrupt(folder):
    """Damages the first record of the second shard; what its sentence begins with."""
    (path,) = folder.glob("toy-train.tfrecord-00001-*")
    with open(path, "r+b") as file:
        file.seek(400)
        byte = file.read(1)[0]
        file.seek(400)
        file.write(bytes([byte ^ 1]))
    return f"{path}: record 0 (byte offset 0) is corrupt"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_record_is_the_users_sentence_from_any_thread_or_process(copy_of, workers):
    folder = copy_of("tfrecord")
    says = corrupt(folder)
    damaged = open_split(folder, "train")
    with pytest.raises(UserError) as caught:
        take(damaged, 5, workers=workers)
    assert str(caught.value).startswith(says)
    if not workers:
        with pytest.raises(UserError) as caught:
            evaluated(damaged)
        assert str(caught.value).startswith(says)


def test_sizes_that_do_not_batch_are_named(tmp_path):
    """Two cameras in one split: images are resized alike, but depth keeps its size in evaluation."""

    def frames(spec):
        name, size = spec
        for i in range(2):
            frame = {**toy_frame(), "sequence": name, "index": i}
            for key in list(frame):
                if key.startswith("thermal/") and frame[key].shape == (12, 16):
                    frame[key] = np.ones(size, frame[key].dtype)
            yield frame

    Toy(data_dir=tmp_path, specs={"train": (("a", (12, 16)), ("b", (6, 8)))}, make=frames).prepare()
    source = open_split(tmp_path / "toy", "train")
    with pytest.raises(UserError, match=r"toy/train: thermal/.* frames of different sizes, .*batch_size=1"):
        evaluated(source)
    assert len(evaluated(source, batch_size=1)) == 4
    assert take(source, 2, offsets=(0,))[0]["thermal/image"].shape == (4, 1, 8, 10, 1)

    def changing(spec):
        for i, size in enumerate(((12, 16), (6, 8))):
            yield {**next(frames(("a", size))), "index": i}

    Toy(data_dir=tmp_path, name="changing", specs={"train": ((),)}, make=changing).prepare()
    with pytest.raises(UserError, match="differ in size; a sequence must keep one size"):
        take(open_split(tmp_path / "changing", "train"), 1, offsets=(0, 1), batch_size=1)


def test_a_camera_that_missed_a_moment_is_black_and_has_no_numbers(tmp_path):
    def frames(spec):
        for i in range(4):
            frame = {**toy_frame(), "index": i}
            lost = {"rgb/image", "rgb/K", "rgb_from_thermal"} if i == 1 else set()
            yield {key: value for key, value in frame.items() if key not in lost}

    Toy(data_dir=tmp_path, specs={"train": ((),)}, make=frames).prepare()
    source = open_split(tmp_path / "toy", "train")
    (batch,) = take(source, 1, offsets=(0,), augment=None)
    singles = evaluated(source)[0]
    for found in (batch, singles):
        missed = found["example"] == 1
        assert missed.sum() == 1
        images = found["rgb/image"].reshape(4, -1)
        assert not images[missed].any()
        assert images[~missed].any(axis=1).all()
        for key in ("rgb/K", "rgb_from_thermal"):
            assert np.isnan(found[key][missed]).all()
            assert np.isfinite(found[key][~missed]).all()
        assert found["thermal/image"][missed].any()
    # Of a snippet all three moments count.
    (batch,) = take(source, 1, augment=None, batch_size=2)
    assert not batch["rgb/image"].any()
