"""One frame and one record: the schema, and the bytes.

A *frame* is a flat dict of numpy arrays; a *record* is the same as a serialized `tf.train.Example`, images
as PNG (or JPEG for `rgb/image`) bytes, so that nothing but OpenCV is needed to read it. A modality that a
data set has not is an absent key; one that only some frames lack (`OPTIONAL`) is stored as nothing and comes
back as an absent key of that frame (radar: as no points).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import cv2
import numpy as np
from tensorflow_datasets.proto import tf_example_pb2, tf_feature_pb2

DEPTH_SCALE = 1 / 256
IGNORE = 255
HEADER = ("sequence", "index", "timestamp_ns", "condition")
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
# Not deflated, for the shards compress with what unpacks in a third of the time: only the differences to the row
# above, which compress better than the counts and are undone at once.
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 0, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP)

Frame = dict[str, Any]


class BadRecord(ValueError):
    """A record, or a frame on its way to one, breaks the schema. Whoever knows the file adds where."""


@dataclasses.dataclass(frozen=True)
class Field:
    """How one key is stored. `kind`: text, int, image, color, grey, depth, labels, mask, matrix, points."""

    kind: str
    doc: str
    shape: tuple[int, ...] = ()


def _camera(name: str, image: Field) -> dict[str, Field]:
    return {
        f"{name}/image": image,
        f"{name}/K": Field("matrix", "intrinsics, pixels of the stored image, centres at integers", (3, 3)),
        f"{name}/world_from_camera": Field(
            "matrix", "camera pose; x right, y down, z forward; metres", (4, 4)
        ),
        f"{name}/depth": Field("depth", "uint16 PNG; metres along z = value * depth_scale, 0 = none"),
        f"{name}/labels": Field("labels", "uint8 PNG of class numbers, 255 = ignore"),
    }


def _right(name: str, image: Field) -> dict[str, Field]:
    """The right camera of a rectified stereo pair; depth and labels belong to the left one."""
    return {
        f"{name}_right/image": image,
        f"{name}_right/K": Field(
            "matrix", "intrinsics, pixels of the stored image, centres at integers", (3, 3)
        ),
        f"{name}_right_from_{name}": Field(
            "matrix", "pose of the left camera in the right one; metres", (4, 4)
        ),
    }


_THERMAL = Field("image", "uint16 PNG of raw counts, one channel")
_RGB = Field("color", "uint8 PNG or JPEG, three channels")
_NIR = Field("grey", "uint8 PNG, one channel")

FIELDS: dict[str, Field] = {
    "sequence": Field("text", "name of the sequence"),
    "index": Field("int", "place within the sequence, from 0, without gaps"),
    "timestamp_ns": Field("int", "time of exposure in nanoseconds"),
    "condition": Field("text", "day, night, fog, rain, ..."),
    **_camera("thermal", _THERMAL),
    "thermal/valid": Field("mask", "uint8 PNG, 1 = usable pixel (no bonnet, vignette or dead pixel)"),
    **_camera("rgb", _RGB),
    "rgb_from_thermal": Field("matrix", "pose of the thermal camera in the RGB camera; metres", (4, 4)),
    "radar": Field(
        "points",
        "points in the thermal camera, or the RGB one where there is none; columns in the metadata's radar_columns",
    ),
    **_camera("nir", _NIR),
    "nir_from_thermal": Field("matrix", "pose of the thermal camera in the NIR camera; metres", (4, 4)),
    **_right("thermal", _THERMAL),
    **_right("rgb", _RGB),
    **_right("nir", _NIR),
}

OPTIONAL = frozenset(
    key
    for key in FIELDS
    if key.endswith(("/depth", "/labels", "/valid", "/world_from_camera"))
    or key in ("radar", "rgb/image", "rgb/K", "rgb_from_thermal")  # a second camera may miss a frame
)


def check_features(features: Collection[str]) -> None:
    """Raises `BadRecord` unless `features` is a set of modalities that a data set can have."""
    unknown = sorted(set(features) - set(FIELDS))
    if unknown:
        raise BadRecord(f"no such modality: {', '.join(unknown)}; there are {', '.join(FIELDS)}")
    lacking = sorted(set(HEADER) - set(features))
    if lacking:
        raise BadRecord(f"every data set has {', '.join(lacking)}")
    if not {"thermal/image", "rgb/image"} & set(features):
        raise BadRecord("every data set has thermal/image or rgb/image")
    for camera in sorted({key.split("/")[0] for key in features if "/" in key}):
        if not {f"{camera}/image", f"{camera}/K"} <= set(features):
            raise BadRecord(f"a data set with {camera}/... has {camera}/image and {camera}/K")


def stored(keys: Collection[str] | None) -> Collection[str] | None:
    """What must be decoded for `keys`: a radar column ("radar/z") comes with its points, and whether a frame is of a
    condition ("condition/night") with that."""
    if keys is None:
        return None
    return {whole if (whole := key.split("/")[0]) in ("radar", "condition") else key for key in keys}


def encode(frame: Mapping[str, Any], features: Collection[str], *, depth_scale: float = DEPTH_SCALE) -> bytes:
    """Serializes a frame. Images may be arrays or PNG or JPEG files; a JPEG is stored as it is.

    Args:
      frame: the schema's keys; those of `OPTIONAL` may be missing although they are in `features`.
      features: the keys that the data set has.
      depth_scale: metres per stored unit. What is not finite, not positive or beyond 65535 units is stored
        as 0, "none": a clipped depth would be a false measurement.

    Raises:
      BadRecord: a key missing or unknown, or a value of the wrong type or shape.
    """
    extra = sorted(set(frame) - set(features))
    if extra:
        raise BadRecord(f"the frame has {', '.join(extra)}, which the data set does not declare")
    missing = sorted(key for key in features if frame.get(key) is None and key not in OPTIONAL)
    if missing:
        raise BadRecord(f"the frame lacks {', '.join(missing)}")
    size: dict[str, tuple[int, ...]] = {}
    stored = {}
    for key in sorted(features):
        field, value = FIELDS[key], frame.get(key)
        stored[key] = _encode_value(key, field, value, depth_scale)
        if field.kind in ("image", "color", "grey", "depth", "labels", "mask") and value is not None:
            camera, shape = key.split("/")[0], _image_size(key, stored[key].bytes_list.value[0])
            if size.setdefault(camera, shape) != shape:
                raise BadRecord(f"{key} is {shape}, other images of {camera} {size[camera]}")
    example = tf_example_pb2.Example(features=tf_feature_pb2.Features(feature=stored))
    return example.SerializeToString(deterministic=True)


def _encode_value(key: str, field: Field, value: Any, depth_scale: float) -> tf_feature_pb2.Feature:
    if field.kind == "int":
        if not isinstance(value, (int, np.integer)):
            raise BadRecord(f"{key} is {value!r}, wanted an integer")
        return tf_feature_pb2.Feature(int64_list=tf_feature_pb2.Int64List(value=[int(value)]))
    if field.kind in ("matrix", "points"):
        return tf_feature_pb2.Feature(
            float_list=tf_feature_pb2.FloatList(value=_floats(key, field, value).reshape(-1))
        )
    if value is None:
        data = b""
    elif field.kind == "text":
        data = str(value).encode()
    elif isinstance(value, bytes):
        image = _decode_image(key, field, value)  # a broken file must not become a broken record
        data = _png(key, field, image) if value.startswith(PNG_HEAD) else value
    else:
        data = _encode_image(key, field, np.asarray(value), depth_scale)
    return tf_feature_pb2.Feature(bytes_list=tf_feature_pb2.BytesList(value=[data]))


def _floats(key: str, field: Field, value: Any) -> np.ndarray:
    if value is None:  # an unknown pose is NaN, for TFDS wants its 16 numbers; no radar is no points
        return np.full(field.shape, np.nan, np.float32) if field.shape else np.zeros(0, np.float32)
    array = np.asarray(value, np.float32)
    if field.shape and array.shape != field.shape:
        raise BadRecord(f"{key} has shape {array.shape}, wanted {field.shape}")
    if not field.shape and array.ndim != 2:
        raise BadRecord(f"{key} has shape {array.shape}, wanted (points, columns)")
    if not np.isfinite(array).all():
        raise BadRecord(f"{key} holds NaN or infinity")
    if key.endswith("/K") and not (array[0, 0] > 0 and array[1, 1] > 0 and np.allclose(array[2], (0, 0, 1))):
        raise BadRecord(
            f"{key} is no intrinsic matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]: {array.tolist()}"
        )
    if field.shape == (4, 4) and not _is_rigid(array):
        raise BadRecord(
            f"{key} is no rigid motion [R t; 0 0 0 1] (transposed, scaled or mirrored?): {array.tolist()}"
        )
    return array


def _is_rigid(motion: np.ndarray) -> bool:
    rotation = motion[:3, :3].astype(np.float64)
    return (
        np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2)
        and np.linalg.det(rotation) > 0
        and np.allclose(motion[3], (0, 0, 0, 1))
    )


def _encode_image(key: str, field: Field, image: np.ndarray, depth_scale: float) -> bytes:
    if field.kind == "depth":
        if image.ndim != 2 or not np.issubdtype(image.dtype, np.floating):
            raise BadRecord(f"{key} is {image.dtype} {image.shape}, wanted float metres [h, w]")
        with np.errstate(invalid="ignore"):
            units = np.round(np.asarray(image, np.float64) / depth_scale)
            image = np.where((units > 0) & (units <= 65535), units, 0).astype(np.uint16)
    dtype = np.uint16 if field.kind in ("image", "depth") else np.uint8
    wanted = "[h, w, 3]" if field.kind == "color" else "[h, w]"
    if field.kind == "mask" and image.dtype == np.bool_:
        image = image.astype(np.uint8)
    if image.dtype != dtype or image.ndim != len(wanted.split()) or 0 in image.shape:
        raise BadRecord(f"{key} is {image.dtype} {image.shape}, wanted {np.dtype(dtype)} {wanted}")
    return _png(key, field, image)


def _png(key: str, field: Field, image: np.ndarray) -> bytes:
    if field.kind == "color":
        image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".png", image, PNG)
    if not ok:
        raise BadRecord(f"{key} could not be encoded as PNG")
    return data.tobytes()


def decode(
    data: bytes,
    keys: Collection[str] | None = None,
    *,
    depth_scale: float = DEPTH_SCALE,
    radar_columns: int = 0,
) -> Frame:
    """The frame of a record. Only `keys` are decoded (all when None); see the module for absent ones.

    Images come as the schema's arrays: thermal uint16 [h, w], rgb uint8 [h, w, 3], depth float32 [h, w]
    metres, labels uint8 [h, w], valid uint8 [h, w]; radar float32 [n, radar_columns].

    Raises:
      BadRecord: not a serialized Example, or an image that cannot be decoded.
    """
    example = tf_example_pb2.Example()
    try:
        example.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError has moved between modules
        raise BadRecord("it is no serialized tf.train.Example") from error
    stored = example.features.feature
    frame: Frame = {}
    for key in stored if keys is None else keys:
        if key not in FIELDS:
            continue
        if key not in stored:
            raise BadRecord(f"it holds no {key}")
        value = _decode_value(key, FIELDS[key], stored[key], depth_scale, radar_columns)
        if value is not None:
            frame[key] = value
    return frame


def _decode_value(
    key: str, field: Field, stored: tf_feature_pb2.Feature, depth_scale: float, radar_columns: int
) -> Any:
    try:
        if field.kind == "int":
            return int(stored.int64_list.value[0])
        if field.kind in ("matrix", "points"):
            array = np.array(stored.float_list.value, np.float32)
            if field.kind == "points":
                return array.reshape(-1, radar_columns) if radar_columns else array.reshape(0, 0)
            return None if np.isnan(array).any() else array.reshape(field.shape)
        data = stored.bytes_list.value[0]
        if field.kind == "text":
            return data.decode()
    except (IndexError, ValueError) as error:
        raise BadRecord(f"its {key} is not of the stored kind ({field.kind})") from error
    if not data:
        return None
    image = _decode_image(key, field, data)
    return np.multiply(image, np.float32(depth_scale), dtype=np.float32) if field.kind == "depth" else image


def _decode_image(key: str, field: Field, data: bytes) -> np.ndarray:
    color = field.kind == "color"
    try:
        flags = cv2.IMREAD_COLOR if color else cv2.IMREAD_UNCHANGED
        image = cv2.imdecode(
            np.frombuffer(data, np.uint8), flags | (cv2.IMREAD_IGNORE_ORIENTATION if color else 0)
        )
    except cv2.error:
        image = None
    if image is None:
        raise BadRecord(f"the {len(data)} bytes of its {key} cannot be decoded as an image")
    dtype = np.uint16 if field.kind in ("image", "depth") else np.uint8
    if image.dtype != dtype or image.ndim != (3 if color else 2):
        raise BadRecord(f"its {key} is {image.dtype} {image.shape}, wanted {np.dtype(dtype)}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if color else image


def image_size(data: bytes, key: str) -> tuple[int, int]:
    """(height, width) of a record's image, from the PNG header where it is one."""
    example = tf_example_pb2.Example.FromString(data)
    return _image_size(key, example.features.feature[key].bytes_list.value[0])


def _image_size(key: str, data: bytes) -> tuple[int, int]:
    if data.startswith(PNG_HEAD):
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    return _decode_image(key, FIELDS[key], data).shape[:2]
