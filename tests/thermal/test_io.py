"""Readers keep every 16-bit level, whatever the container; and what is no thermal image is refused in a sentence."""

import io as std_io
import struct

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from tdepth_jax.errors import UserError
from tdepth_jax.thermal import io

# The ranges on which general depth tools lose all but 1 to 17 levels: 16-bit, 14-bit and centikelvin 0-40 °C.
RANGES = [(21500, 24500), (7000, 9000), (27315, 31315)]


def scene(low, high, seed=0, size=(96, 128)):
    rng = np.random.default_rng(seed)
    noise = rng.normal((low + high) / 2, (high - low) / 6, size)
    return np.clip(noise, low, high).astype(np.uint16)


def write_png_pillow(path, image):
    Image.fromarray(image).save(path)


def write_big_tiff(path, image):
    tifffile.imwrite(path, image, bigtiff=True)


def write_big_endian_tiff(path, image):
    tifffile.imwrite(path, image, byteorder=">")


def write_lzw_tiff(path, image):
    cv2.imwrite(str(path), image, [cv2.IMWRITE_TIFF_COMPRESSION, 5])


def write_deflate_tiff(path, image):
    tifffile.imwrite(path, image, compression="zlib")


WRITERS = {
    "opencv.png": lambda path, image: cv2.imwrite(str(path), image),
    "pillow.png": write_png_pillow,
    "grey_as_colour.png": lambda path, image: cv2.imwrite(str(path), np.repeat(image[..., None], 3, 2)),
    "plain.tiff": tifffile.imwrite,
    "big.tif": write_big_tiff,
    "big_endian.tiff": write_big_endian_tiff,
    "lzw.tiff": write_lzw_tiff,
    "deflate.tiff": write_deflate_tiff,
    "float_counts.tiff": lambda path, image: tifffile.imwrite(path, image.astype(np.float32)),
    "array.npy": np.save,
    "int32.npy": lambda path, image: np.save(path, image.astype(np.int32)),
    "big_endian.npy": lambda path, image: np.save(path, image.astype(">u2")),
    "grey.pgm": lambda path, image: cv2.imwrite(str(path), image),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("span", RANGES)
def test_every_level_survives_every_reader(tmp_path, name, span):
    image = scene(*span)
    WRITERS[name](tmp_path / name, image)
    read = io.read(tmp_path / name)
    assert read.unit == "raw"
    assert read.pixels.dtype == np.uint16
    np.testing.assert_array_equal(read.pixels, image[None])
    np.testing.assert_array_equal(read.counts(), image[None])


def test_the_name_does_not_decide(tmp_path):
    image = scene(*RANGES[0])
    tifffile.imwrite(tmp_path / "really_a_tiff.png", image)
    np.testing.assert_array_equal(io.read(tmp_path / "really_a_tiff.png").pixels[0], image)


@pytest.mark.parametrize("suffix", ["tiff", "npy"])
def test_stacks_keep_their_frames_in_order(tmp_path, suffix):
    stack = np.stack([scene(7000, 9000, seed) for seed in range(5)])
    path = tmp_path / f"stack.{suffix}"
    (tifffile.imwrite if suffix == "tiff" else np.save)(path, stack)
    read = io.read(path)
    assert len(read) == 5
    np.testing.assert_array_equal(read.pixels, stack)


def test_pages_written_one_by_one_are_a_stack(tmp_path):
    stack = np.stack([scene(7000, 9000, seed) for seed in range(3)])
    with tifffile.TiffWriter(tmp_path / "pages.tiff") as writer:
        for page in stack:
            writer.write(page, contiguous=False)
    np.testing.assert_array_equal(io.read(tmp_path / "pages.tiff").pixels, stack)


@pytest.mark.parametrize(("shift", "word"), [(0.0, "celsius"), (273.15, "kelvin")])
def test_float_temperatures_become_celsius_and_counts(tmp_path, shift, word):
    celsius = np.linspace(-20, 60, 64 * 80, dtype=np.float32).reshape(64, 80)
    tifffile.imwrite(tmp_path / "t.tiff", celsius + np.float32(shift))
    read = io.read(tmp_path / "t.tiff")
    assert read.unit == "celsius"
    assert word in read.notes[0]
    np.testing.assert_allclose(read.celsius()[0], celsius, atol=1e-3)
    # The A65's own constants, written out: 20 °C is 2852.0 counts.
    at_20 = np.abs(celsius - 20).argmin()
    assert abs(int(read.counts().reshape(-1)[at_20]) - 2852) <= 2
    # 40 mK, a good camera's noise, is still more than two counts apart everywhere.
    assert len(np.unique(read.counts())) > 3500


def test_centikelvin_is_told_and_converted(tmp_path):
    np.save(tmp_path / "k.npy", np.full((8, 8), 29315, np.uint16))
    read = io.read(tmp_path / "k.npy", unit="centikelvin")
    np.testing.assert_allclose(read.celsius(), 20.0)
    assert read.counts().dtype == np.uint16


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_eight_bits_are_read_and_marked(tmp_path, suffix):
    grey = np.tile(np.arange(0, 200, 2, np.uint8), (64, 1))
    cv2.imwrite(str(tmp_path / f"x.{suffix}"), grey)
    read = io.read(tmp_path / f"x.{suffix}")
    assert read.unit == "agc8"
    assert abs(read.counts()[0].astype(int) - grey).max() <= (4 if suffix == "jpg" else 0)
    with pytest.raises(UserError, match="temperatures are lost"):
        read.celsius()


def test_a_false_colour_picture_is_said_to_be_one(tmp_path):
    grey = np.tile(np.arange(100, dtype=np.uint8), (64, 1))
    cv2.imwrite(str(tmp_path / "x.png"), cv2.applyColorMap(grey, cv2.COLORMAP_JET))
    assert "colour picture" in io.read(tmp_path / "x.png").notes[0]


def test_raw_counts_give_no_temperature_without_constants(tmp_path):
    np.save(tmp_path / "x.npy", scene(2000, 4000))
    with pytest.raises(UserError, match="Planck"):
        io.read(tmp_path / "x.npy").celsius()


def png_bytes(image):
    file = std_io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def test_a_png_cut_anywhere_is_refused(tmp_path):
    data = png_bytes(scene(7000, 9000))
    for keep in (12, 40, len(data) // 2, len(data) - 20, len(data) - 5):
        (tmp_path / "cut.png").write_bytes(data[:keep])
        with pytest.raises(UserError, match=r"cut\.png is cut short"):
            io.read(tmp_path / "cut.png")


def test_the_bytes_of_a_png_unchanged_or_refused(tmp_path):
    data = png_bytes(scene(7000, 9000))
    path = tmp_path / "x.png"
    path.write_bytes(data)
    assert io.png_bytes(path) == data
    for spoiled, says in ((data[:-30], "cut short"), (b"<html>404", "is no PNG"), (b"", "is empty")):
        path.write_bytes(spoiled)
        with pytest.raises(UserError, match=says):
            io.png_bytes(path)
    with pytest.raises(UserError, match="there is no file"):
        io.png_bytes(tmp_path / "none.png")


@pytest.mark.parametrize("write", [tifffile.imwrite, write_deflate_tiff, write_lzw_tiff])
def test_a_tiff_cut_anywhere_is_refused(tmp_path, write):
    write(tmp_path / "x.tiff", scene(7000, 9000))
    data = (tmp_path / "x.tiff").read_bytes()
    for keep in (len(data) // 3, len(data) - 9):
        (tmp_path / "cut.tiff").write_bytes(data[:keep])
        with pytest.raises(UserError, match="cannot be decoded as TIFF"):
            io.read(tmp_path / "cut.tiff")


def test_a_flipped_bit_is_found(tmp_path):
    data = bytearray(png_bytes(scene(7000, 9000)))
    data[len(data) // 2] ^= 4
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(UserError, match="fails its checksum"):
        io.read(tmp_path / "x.png")


BAD = {
    "text.png": (b"hello, I am a text file", "is no image that can be read"),
    "empty.tiff": (b"", "is empty"),
    "half.tiff": (b"II*\0\x08\0\0\0", "cannot be decoded as TIFF"),
    "half.npy": (b"\x93NUMPY\x01\x00", "cannot be read as .npy"),
    "half.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "cannot be decoded as JPEG"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_image_is_refused_by_name(tmp_path, name):
    data, message = BAD[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        io.read(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


ARRAYS = {
    "four axes": (np.zeros((2, 3, 8, 8), np.uint16), "shape"),
    "bool": (np.zeros((8, 8), bool), "bool"),
    "negative": (np.full((8, 8), -3, np.int16), "from -3"),
    "too large": (np.full((8, 8), 70000, np.int32), "70000"),
    "nan": (
        np.where(np.eye(8), np.nan, 20.0),
        r"NaN or infinity in 8 pixels \(first: frame 0, row 0, column 0\)",
    ),
    "neither": (np.full((8, 8), 1e6) + 0.5, "neither °C nor kelvin"),
    "no pixels": (np.zeros((0, 8), np.uint16), "shape"),
    "colours": (np.arange(16 * 16 * 3, dtype=np.uint16).reshape(16, 16, 3), "3 different channels"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_no_thermal_frame(tmp_path, name):
    array, message = ARRAYS[name]
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError, match=message):
        io.read(tmp_path / "x.npy")


def test_pickled_arrays_are_not_unpickled(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="npy"):
        io.read(tmp_path / "x.npy")


def test_a_missing_file():
    with pytest.raises(UserError, match=r"there is no file /nowhere/x\.png"):
        io.read("/nowhere/x.png")


def test_depth_png_is_metres_times_256_and_says_so(tmp_path):
    depth = np.array([[1.0, 2.5, 300.0], [np.nan, np.inf, 0.0], [1e-4, 255.99, 80.0]], np.float32)
    mask = np.ones((3, 3), bool)
    mask[2, 2] = False
    io.write_depth_png(tmp_path / "d.png", depth, mask=mask)
    raw = cv2.imread(str(tmp_path / "d.png"), cv2.IMREAD_UNCHANGED)  # another reader sees the same numbers
    np.testing.assert_array_equal(raw, [[256, 640, 0], [0, 0, 0], [1, 65533, 0]])
    assert float(Image.open(tmp_path / "d.png").text["depth_scale"]) == 1 / 256
    back, scale = io.read_depth_png(tmp_path / "d.png")
    assert scale == 1 / 256
    np.testing.assert_allclose(back[0, :2], [1.0, 2.5])


def test_a_depth_png_without_its_scale_is_not_guessed(tmp_path):
    cv2.imwrite(str(tmp_path / "d.png"), np.full((4, 4), 1500, np.uint16))
    with pytest.raises(UserError, match="does not say its scale"):
        io.read_depth_png(tmp_path / "d.png")
    depth, _ = io.read_depth_png(tmp_path / "d.png", scale=0.001)
    np.testing.assert_allclose(depth, 1.5)


def test_files_come_in_the_order_of_their_numbers(tmp_path):
    for name in ("f10.png", "f2.png", "f1.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in io.image_files(tmp_path)] == ["f1.png", "f2.png", "f10.png"]


@pytest.mark.real
def test_real_frames_are_those_another_reader_sees(real_data):
    for path in [
        *sorted((real_data / "thermal_video").glob("*.png"))[::23],
        *(real_data / "ms2_sample").glob("*thr*"),
    ]:
        read = io.read(path)
        assert read.unit == "raw"
        np.testing.assert_array_equal(read.pixels[0], np.asarray(Image.open(path)))
    assert io.read(next((real_data / "msrs_pairs").glob("*_ir.png"))).unit == "agc8"


REAL_FLIR = {  # as an independent reader gave them
    "e60_moving_car.jpg": ((240, 320), -10.3, 15.0),
    "sc640_200deg_neutral.jpg": ((120, 120), 31.7, 87.4),
    "b60_aqua_tower.jpg": ((180, 180), -68.1, -0.2),
}


@pytest.mark.real
@pytest.mark.parametrize("name", REAL_FLIR)
def test_real_radiometric_jpegs_in_celsius(real_data, name):
    shape, low, high = REAL_FLIR[name]
    read = io.read(real_data / "flir_radiometric" / name)
    assert read.unit == "raw"
    assert read.counts().shape == (1, *shape)
    celsius = read.celsius()
    assert abs(celsius.min() - low) < 0.2
    assert abs(celsius.max() - high) < 0.2


@pytest.mark.real
def test_a_radiometric_jpeg_cut_short_says_so(real_data, tmp_path):
    data = (real_data / "flir_radiometric" / "e60_moving_car.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[:70000])
    with pytest.raises(UserError, match=r"cut\.jpg: .*(missing|cut short)"):
        io.read(tmp_path / "cut.jpg")


def fff(counts, *, order="<", directory=">"):
    """A container as the cameras write it, from the format's description alone: little- or big-endian raw image."""
    height, width = counts.shape
    raw = (
        struct.pack(f"{order}HHH", 2, width, height).ljust(32, b"\0") + counts.astype(f"{order}u2").tobytes()
    )
    info = bytearray(0x460)
    struct.pack_into("<H", info, 0, 2)
    struct.pack_into("<8f", info, 0x20, 1.0, 0.0, 293.15, 293.15, 293.15, 1.0, 0.0, 0.5)
    struct.pack_into("<3f", info, 0x58, 16000.0, 1428.0, 1.0)
    struct.pack_into("<5f", info, 0x70, 0.006569, 0.01262, -0.002276, -0.00667, 1.9)
    struct.pack_into("<i", info, 0x308, -4000)
    struct.pack_into("<f", info, 0x30C, 0.0125)
    info[0xD4:0xDA] = b"TESTER"
    head = b"FFF\0" + bytes(16) + struct.pack(f"{directory}III", 101, 64, 2)
    entries = b""
    at = 64 + 64
    for kind, data in ((1, raw), (32, info)):
        entries += struct.pack(f"{directory}HHIIII", kind, 1, 100, 1, at, len(data)).ljust(32, b"\0")
        at += len(data)
    return head.ljust(64, b"\0") + entries + raw + bytes(info)


def radiometric_jpeg(container, pieces=3):
    jpeg = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes()
    size = -(-len(container) // pieces)
    segments = b""
    for i in range(pieces):
        part = b"FLIR\0\x01" + bytes([i, pieces - 1]) + container[i * size : (i + 1) * size]
        segments += b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part
    return jpeg[:2] + segments + jpeg[2:]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("directory", "<>")
def test_plain_raw_images_in_either_byte_order(tmp_path, order, directory):
    counts = scene(13000, 17000, size=(24, 32))
    (tmp_path / "x.jpg").write_bytes(radiometric_jpeg(fff(counts, order=order, directory=directory)))
    read = io.read(tmp_path / "x.jpg")
    np.testing.assert_array_equal(read.pixels[0], counts)
    assert read.facts["camera"] == "TESTER"
    # By hand: e = 1, no distance: T = B / ln(R1 / R2 / (counts + O) + F), O = -4000.
    expected = 1428 / np.log(16000 / 0.0125 / (counts.astype(float) - 4000) + 1) - 273.15
    np.testing.assert_allclose(read.celsius()[0], expected, atol=1e-3)


def test_a_container_with_a_segment_missing(tmp_path):
    data = radiometric_jpeg(fff(scene(13000, 17000, size=(24, 32))))
    second = data.index(b"FLIR\0\x01\x01")
    (tmp_path / "x.jpg").write_bytes(data.replace(data[second : second + 7], b"NOPE\0\x01\x01"))
    with pytest.raises(UserError, match="1 of the 3 segments"):
        io.read(tmp_path / "x.jpg")
