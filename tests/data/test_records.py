"""The record schema: what goes in comes out, what breaks it is refused, and TFDS' protos hold it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow_datasets.proto import tf_example_pb2
from toy_records import assert_same_frame, expected, toy_frame

from tdepth_jax.data import records

FEATURES = frozenset(toy_frame())


def there_and_back(frame, **more):
    return records.decode(records.encode(frame, FEATURES, **more), radar_columns=4, **more)


def test_frames_come_back():
    none = {"radar": np.zeros((0, 4), np.float32)}  # no radar and no points are the same
    for frame in expected():
        assert_same_frame(there_and_back(frame), none | frame)


def test_every_16_bit_level_is_kept():
    levels = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    more = {
        key: np.zeros((256, 256), dtype)
        for key, dtype in (
            ("thermal/depth", np.float32),
            ("thermal/labels", np.uint8),
            ("thermal/valid", np.uint8),
        )
    }
    np.testing.assert_array_equal(
        there_and_back(toy_frame(**{"thermal/image": levels}, **more))["thermal/image"], levels
    )


@given(
    depth=hnp.arrays(np.float64, (4, 5), elements=st.floats(0, 300)), scale=st.sampled_from([1 / 256, 1e-3])
)
@settings(max_examples=50, deadline=None)
def test_depth_is_within_half_a_unit_or_none(depth, scale):
    small = {key: np.zeros((4, 5), np.uint8) for key in ("thermal/labels", "thermal/valid")}
    small |= {"thermal/image": np.zeros((4, 5), np.uint16), "thermal/depth": depth}
    got = there_and_back(toy_frame(**small), depth_scale=scale)["thermal/depth"]
    # 0 means none: both for what rounds to nothing and for what is beyond the last unit.
    kept = (depth / scale >= 0.5 + 1e-6) & (depth / scale < 65535.5 - 1e-6)
    surely_none = (depth / scale < 0.5 - 1e-6) | (depth / scale > 65535.5 + 1e-6)
    assert (got[surely_none] == 0).all()
    assert (np.abs(got - depth)[kept] <= scale / 2 * (1 + 1e-6) + 1e-5).all()


def test_depth_that_is_no_number_is_none():
    depth = np.full((12, 16), 5, np.float32)
    depth[0, :4] = np.nan, np.inf, -np.inf, -3
    got = there_and_back(toy_frame(**{"thermal/depth": depth}))["thermal/depth"]
    assert (got[0, :4] == 0).all()
    assert (got[1:] == 5).all()


def test_images_are_stored_as_files_that_others_open():
    """The Example's bytes are plain PNG files; RGB in RGB order, as an independent reader sees them."""
    import io

    from PIL import Image

    frame = toy_frame()
    example = tf_example_pb2.Example.FromString(records.encode(frame, FEATURES))
    stored = {key: one.bytes_list.value for key, one in example.features.feature.items()}
    rgb = np.array(Image.open(io.BytesIO(stored["rgb/image"][0])))
    np.testing.assert_array_equal(rgb, frame["rgb/image"])
    thermal = np.array(Image.open(io.BytesIO(stored["thermal/image"][0])))
    np.testing.assert_array_equal(thermal, frame["thermal/image"])
    depth = np.array(Image.open(io.BytesIO(stored["thermal/depth"][0])))
    np.testing.assert_array_equal(depth, np.round(frame["thermal/depth"] * 256))


def test_a_jpeg_is_taken_as_it_is():
    noise = toy_frame()["rgb/image"]
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    data = records.encode(toy_frame(**{"rgb/image": jpeg}), FEATURES)
    example = tf_example_pb2.Example.FromString(data)
    assert example.features.feature["rgb/image"].bytes_list.value[0] == jpeg
    assert records.decode(data, {"rgb/image"})["rgb/image"].shape == noise.shape
    assert records.image_size(data, "rgb/image") == noise.shape[:2]
    assert records.image_size(data, "thermal/image") == (12, 16)


@pytest.mark.parametrize("key", ["rgb/image", "thermal/image"])
def test_a_png_however_written_is_stored_as_its_array_is(key):
    """Compressed little or much, with any row filter: not deflated, for the shards do that better."""
    frame = toy_frame()
    image = frame[key][..., ::-1] if key == "rgb/image" else frame[key]
    for level, row_filter in ((1, cv2.IMWRITE_PNG_FILTER_PAETH), (9, cv2.IMWRITE_PNG_FILTER_NONE)):
        how = [cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_FILTER, row_filter]
        png = cv2.imencode(".png", image, how)[1].tobytes()
        assert records.encode(frame | {key: png}, FEATURES) == records.encode(frame, FEATURES)


def test_the_same_frame_gives_the_same_bytes():
    assert records.encode(toy_frame(), FEATURES) == records.encode(
        dict(reversed(toy_frame().items())), FEATURES
    )


def test_only_the_keys_asked_for_are_decoded():
    example = tf_example_pb2.Example.FromString(records.encode(toy_frame(), FEATURES))
    example.features.feature["rgb/image"].bytes_list.value[0] = b"no image"
    data = example.SerializeToString()
    assert set(records.decode(data, {"thermal/K", "index"})) == {"thermal/K", "index"}
    with pytest.raises(records.BadRecord, match="8 bytes of its rgb/image cannot be decoded"):
        records.decode(data, radar_columns=4)


PNG8 = cv2.imencode(".png", np.zeros((12, 16), np.uint8))[1].tobytes()
PNG16_SMALL = cv2.imencode(".png", np.zeros((6, 8), np.uint16))[1].tobytes()
TRANSPOSED = np.eye(4, dtype=np.float32)
TRANSPOSED[3, 0] = 2


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("thermal/image", np.zeros((12, 16), np.uint8), "thermal/image is uint8"),
        ("thermal/image", np.zeros((12, 16, 1), np.uint16), "thermal/image is uint16"),
        ("thermal/image", np.zeros((0, 16), np.uint16), "thermal/image"),
        ("thermal/image", PNG8, "its thermal/image is uint8"),
        ("thermal/image", b"", "0 bytes of its thermal/image"),
        ("thermal/image", b"GIF89a", "cannot be decoded"),
        ("thermal/image", None, "thermal/image"),
        ("thermal/image", PNG16_SMALL, "thermal/image is \\(6, 8\\)|other images of thermal"),
        ("rgb/image", np.zeros((10, 14), np.uint8), "rgb/image is uint8"),
        ("thermal/depth", np.zeros((12, 16), np.uint16), "wanted float metres"),
        ("thermal/depth", np.zeros((6, 8), np.float32), "other images of thermal"),
        ("thermal/K", np.eye(4), "thermal/K has shape"),
        ("thermal/K", np.full((3, 3), np.nan), "NaN or infinity"),
        ("thermal/K", np.eye(3) * 0, "no intrinsic matrix"),
        ("thermal/K", np.array([[20, 0, 0], [0, 20, 0], [8, 6, 1.0]]), "no intrinsic matrix"),
        ("thermal/K", None, "thermal/K"),
        ("rgb_from_thermal", np.diag([2.0, 2, 2, 1]), "no rigid motion"),
        ("thermal/world_from_camera", TRANSPOSED, "no rigid motion"),
        ("thermal/world_from_camera", np.diag([-1.0, 1, 1, 1]), "no rigid motion"),
        ("radar", np.zeros(4, np.float32), "wanted \\(points, columns\\)"),
        ("radar", np.full((1, 4), np.inf), "NaN or infinity"),
        ("nir/image", np.zeros((2, 2)), "does not declare"),
        ("index", "first", "index"),
    ],
)
def test_frames_that_break_the_schema_are_refused(key, value, says):
    with pytest.raises(records.BadRecord, match=says):
        records.encode(toy_frame(**{key: value}), FEATURES)


def test_every_camera_of_a_stereo_rig_comes_back():
    rng = np.random.default_rng(0)
    more = {
        "thermal_right/image": rng.integers(0, 2**16, (12, 16), np.uint16),
        "rgb_right/image": rng.integers(0, 256, (10, 14, 3), np.uint8),
        "nir/image": rng.integers(0, 256, (8, 9), np.uint8),
        "nir_right/image": rng.integers(0, 256, (8, 9), np.uint8),
        "nir/depth": rng.integers(0, 999, (8, 9)).astype(np.float32) / 256,
        **{
            f"{camera}/K": toy_frame()["thermal/K"]
            for camera in ("thermal_right", "rgb_right", "nir", "nir_right")
        },
        "nir_from_thermal": np.eye(4, dtype=np.float32),
        "thermal_right_from_thermal": toy_frame()["rgb_from_thermal"],
    }
    frame = toy_frame(**more)
    got = records.decode(records.encode(frame, frozenset(frame)), radar_columns=4)
    assert_same_frame(got, frame)


def test_a_frame_that_lacks_a_key_is_refused():
    frame = toy_frame()
    del frame["thermal/K"]
    with pytest.raises(records.BadRecord, match="lacks thermal/K"):
        records.encode(frame, FEATURES)


def _foreign(key, **value):
    example = tf_example_pb2.Example.FromString(records.encode(toy_frame(), FEATURES))
    del example.features.feature[key]
    for kind, values in value.items():
        getattr(example.features.feature[key], kind).value.extend(values)
    return example.SerializeToString()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff" * 20, "no serialized"),
        (b"", "holds no"),
        (_foreign("thermal/image", float_list=[1.0]), "thermal/image is not of the stored kind"),
        (_foreign("thermal/K", float_list=[1.0] * 8), "thermal/K is not of the stored kind"),
        (_foreign("condition", bytes_list=[b"\xff\xfe"]), "condition is not of the stored kind"),
        (_foreign("radar", float_list=[1.0] * 7), "radar is not of the stored kind"),
    ],
)
def test_foreign_records_are_refused(data, says):
    with pytest.raises(records.BadRecord, match=says):
        records.decode(data, FEATURES, radar_columns=4)


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ({"thermal/image", "thermal/K", "lidar"}, "no such modality: lidar"),
        ({"thermal/image"}, "has thermal/image and thermal/K"),
        ({"thermal/image", "thermal/K", "rgb/depth"}, "has rgb/image and rgb/K"),
        ({"thermal/image", "thermal/K", "nir_right/K"}, "has nir_right/image and nir_right/K"),
    ],
)
def test_feature_sets_that_cannot_be(features, says):
    with pytest.raises(records.BadRecord, match=says):
        records.check_features(features | set(records.HEADER))
