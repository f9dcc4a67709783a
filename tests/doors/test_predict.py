"""The predict door with a network whose depth is known: what it writes, and what it refuses with one sentence."""

import errno
import json
import pathlib

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
import tifffile
from fakes import SIZE, H, W, fake_run, frame, normalising_system
from PIL import Image

from tdepth_jax import errors, predict, prepare, systems
from tdepth_jax.predictor import model


@pytest.fixture(autouse=True)
def run(monkeypatch):
    monkeypatch.setattr(model, "load_run", lambda workdir, step=None: fake_run())


def folder(path, count=3):
    path.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        cv2.imwrite(str(path / f"f{i}.png"), frame(i))
    return path


def go(tmp_path, *words, out="out"):
    predict.main([*map(str, words), "--checkpoint=runs/fake", "-o", str(tmp_path / out)])
    return tmp_path / out


def names(out):
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())


def test_all_outputs_of_one_image(tmp_path, capsys):
    counts = frame()
    cv2.imwrite(str(tmp_path / "x.png"), counts)
    out = go(tmp_path, tmp_path / "x.png", "--save=vis,png16,npz,ply", "--intrinsics=50,52,31,23")
    assert names(out) == ["meta.json", "x.npz", "x.ply", "x_depth.png", "x_vis.png"]
    saved = np.load(out / "x.npz")
    assert saved["depth"].shape == (H, W)
    assert saved["depth"].dtype == np.float32
    assert saved["mask"].all()
    # The network halves the image by areas: in its middle the depth is 20000 / mean of the counts there.
    expected = 20000 / cv2.blur(counts.astype(np.float32), (3, 3))
    np.testing.assert_allclose(saved["depth"][4:-4, 4:-4], expected[4:-4, 4:-4], rtol=0.08)
    png = cv2.imread(str(out / "x_depth.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(png / 256, saved["depth"], atol=1 / 500)
    text = Image.open(out / "x_depth.png").text
    assert float(text["depth_scale"]) == 1 / 256
    assert text["scale_type"] == "relative"
    assert cv2.imread(str(out / "x_vis.png")).shape == (H, 2 * W, 3)
    meta = json.loads((out / "meta.json").read_text())
    assert meta["scale_type"] == "relative"
    assert meta["model"] == {
        "run": "runs/fake",
        "step": 7,
        "system": "fake",
        "dataset": "data/fake",
        "network_size": list(SIZE),
    }
    (row,) = meta["frames"]
    assert row["K"] == [[50, 0, 31], [0, 52, 23], [0, 0, 1]]
    low, high = row["normalizer"]["low_counts"], row["normalizer"]["high_counts"]
    assert counts.min() < low < high < counts.max()
    assert meta["warnings"] == row["warnings"] == []
    assert capsys.readouterr().err == ""


def test_points_are_where_the_pixels_look(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), frame())
    out = go(tmp_path, tmp_path / "x.png", "--save=ply,npz", "--intrinsics=50,52,31,23")
    head, _, body = (out / "x.ply").read_bytes().partition(b"end_header\n")
    assert head.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex 3072\n")
    points = np.frombuffer(body, np.dtype([("p", "<f4", 3), ("c", "u1", 3)]))
    assert len(points) == H * W
    depth = np.load(out / "x.npz")["depth"]
    u, v = 40, 10
    z = depth[v, u]
    np.testing.assert_allclose(points["p"][v * W + u], [(u - 31) / 50 * z, (v - 23) / 52 * z, z], rtol=1e-5)


def test_sixteen_bit_levels_reach_the_network(tmp_path):
    """Counts of 2995 levels that an 8-bit reader would make 13 of: two that differ by one are told apart."""
    cv2.imwrite(str(tmp_path / "x.png"), np.tile(np.arange(21500, 21500 + W, dtype=np.uint16), (H, 1)))
    depth = np.load(go(tmp_path, tmp_path / "x.png", "--save=npz") / "x.npz")["depth"]
    middle = depth[H // 2, 2:-2]
    assert (np.diff(middle) < 0).all()
    np.testing.assert_allclose(20000 / middle, np.arange(21502, 21500 + W - 2), atol=0.6)


def test_folders_keep_their_structure(tmp_path):
    folder(tmp_path / "in" / "day")
    folder(tmp_path / "in" / "night", 2)
    (tmp_path / "in" / "notes.txt").write_text("not an image")
    out = go(tmp_path, tmp_path / "in", "--save=png16", "--batch-size=2")
    days, nights = [f"day/f{i}_depth.png" for i in range(3)], [f"night/f{i}_depth.png" for i in range(2)]
    assert names(out) == [*days, "meta.json", *nights]


def test_batches_do_not_change_what_is_written(tmp_path):
    folder(tmp_path / "in", 5)
    one = go(tmp_path, tmp_path / "in", "--save=png16", "--batch-size=1", out="one")
    three = go(tmp_path, tmp_path / "in", "--save=png16", "--batch-size=3", out="three")
    for name in names(one)[:5]:
        assert (one / name).read_bytes() == (three / name).read_bytes()


def test_colours_are_fixed_over_a_sequence(tmp_path):
    folder(tmp_path / "in", 4)
    out = go(tmp_path, tmp_path / "in", "--save=vis")
    ranges = {tuple(row["colour_range"]) for row in json.loads((out / "meta.json").read_text())["frames"]}
    assert len(ranges) == 1
    out = go(
        tmp_path,
        tmp_path / "in",
        "--save=vis",
        "--min-depth=2",
        "--max-depth=9",
        "--colormap=turbo",
        out="o2",
    )
    assert json.loads((out / "meta.json").read_text())["frames"][0]["colour_range"] == [2, 9]


def test_stacks_and_globs(tmp_path):
    tifffile.imwrite(
        tmp_path / "stack.tiff", np.stack([frame(i) for i in range(3)]), photometric="minisblack"
    )
    out = go(tmp_path, tmp_path / "stack.tiff", "--save=png16")
    assert names(out)[1:] == ["stack_0000_depth.png", "stack_0001_depth.png", "stack_0002_depth.png"]
    folder(tmp_path / "in", 12)
    out = go(tmp_path, tmp_path / "in" / "f1*.png", "--save=png16", out="globbed")
    assert names(out) == ["f10_depth.png", "f11_depth.png", "f1_depth.png", "meta.json"]


def test_a_prepared_split_brings_its_own_camera_and_mask(tmp_path):
    folder(tmp_path / "raw" / "s", 12)
    where = [f"--raw={tmp_path / 'raw'}", f"--out={tmp_path / 'data'}"]
    prepare.main(
        ["own", *where, "--name=mine", "--fov-x=60", "--jobs=1", "--mask-bottom=0.25", "--holdout=0.3"]
    )
    out = go(tmp_path, f"{tmp_path / 'data' / 'mine'}:test", "--save=npz,png16")
    assert "s/000000.npz" in names(out)
    saved = np.load(out / "s" / "000000.npz")
    assert saved["mask"][:36].all()
    assert not saved["mask"][36:].any()
    assert (cv2.imread(str(out / "s" / "000000_depth.png"), -1)[36:] == 0).all()
    np.testing.assert_allclose(saved["K"][0, 0], 55.426, atol=1e-3)


def test_eight_bits_are_warned_of_and_strict_stops(tmp_path, capsys):
    for i in range(2):
        grey = cv2.normalize(frame(i), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
        (tmp_path / "in").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), grey)
    out = go(tmp_path, tmp_path / "in", "--save=png16")
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "it has 8 bits" in said[0]
    assert "2 such frames" in said[0]
    assert "8 bits" in json.loads((out / "meta.json").read_text())["frames"][1]["warnings"][0]
    refused(capsys, tmp_path, [tmp_path / "in", "--strict"], "it has 8 bits", out="strict")


def test_frozen_frames_are_flagged_one_by_one(tmp_path, capsys):
    raw = folder(tmp_path / "in", 12)
    for i in (10, 11):  # beyond the frames that a first look would take
        (raw / f"f{i}.png").write_bytes((raw / "f9.png").read_bytes())
    out = go(tmp_path, raw, "--save=png16")
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "f10.png: it repeats the frame before" in said
    assert "2 such frames" in said
    rows = json.loads((out / "meta.json").read_text())["frames"]
    assert [len(row["warnings"]) for row in rows] == [0] * 10 + [1, 1]


def test_what_a_run_cannot_tell_apart_is_warned_of(tmp_path, capsys, monkeypatch):
    """A 16-bit camera, and a run that divides by 2**14: everything above would be white."""
    cv2.imwrite(str(tmp_path / "x.png"), frame(low=20000))
    cv2.imwrite(str(tmp_path / "y.png"), frame())
    run = fake_run()
    run.config.system.normalization = "full_scale"
    monkeypatch.setattr(model, "load_run", lambda workdir, step=None: run)
    out = go(tmp_path, tmp_path / "x.png", tmp_path / "y.png", "--save=png16")
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "x.png: 100.0% of its pixels are above 14 bits" in said
    rows = json.loads((out / "meta.json").read_text())["frames"]
    assert [len(row["warnings"]) for row in rows] == [1, 0]


def test_tiny_frames_are_warned_of(tmp_path, capsys):
    for i, size in enumerate([(1, 1), (2, 2), (3, 200)]):
        np.save(
            tmp_path / f"{i}.npy", np.arange(3000, 3000 + size[0] * size[1], dtype=np.uint16).reshape(size)
        )
    go(tmp_path, tmp_path / "?.npy", "--save=vis,png16,npz,ply")
    said = capsys.readouterr().err.strip().splitlines()
    assert "0.npy: it has 1x1 pixels, too few to predict from" in said[0]
    assert "3 such frames" in said[0]


def refused(capsys, tmp_path, words, message, out="refused"):
    before = names(tmp_path)
    with pytest.raises(SystemExit) as caught:
        errors.run_door(lambda argv: go(tmp_path, *words, out=out))
    assert caught.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert message in lines[-1]
    assert sum(line.startswith("error: ") for line in lines) == 1
    assert names(tmp_path) == before  # nothing written, half or whole


def bad_inputs(tmp_path):
    """Files of every bad kind."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("I am a text")
    good = cv2.imencode(".png", frame())[1].tobytes()
    (tmp_path / "good.png").write_bytes(good)
    (tmp_path / "cut.png").write_bytes(good[:1000])
    (tmp_path / "zero.png").write_bytes(b"")
    hot = frame().astype(np.float32) / 100
    hot[3, 4] = np.nan
    tifffile.imwrite(tmp_path / "nan.tiff", hot)
    folder(tmp_path / "good_then_bad")
    (tmp_path / "good_then_bad" / "z.png").write_bytes(good[:900])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "good.tiff").write_bytes(good)
    (tmp_path / "prepared" / "1.0.0").mkdir(parents=True)
    (tmp_path / "prepared" / "1.0.0" / "dataset_info.json").write_text("{}")


BAD = {
    "missing": (["missing.png"], "there is no input"),
    "empty folder": (["empty"], "empty holds no images"),
    "text": (["text.png"], "text.png is no image that can be read"),
    "cut": (["cut.png"], "cut.png is cut short"),
    "zero bytes": (["zero.png"], "zero.png is empty"),
    "nan": (["nan.tiff"], "NaN or infinity in 1 pixels (first: frame 0, row 3, column 4)"),
    "one of many": (["good_then_bad"], "z.png is cut short"),
    "no match": (["*.exr"], "no file matches"),
    "same result": (["good.png", "a/good.tiff"], "would both be written as good"),
    "no split named": (["prepared"], "of prepared records name the split, as"),
    "save": (["good.png", "--save=vis,pony"], "--save: there is no output 'pony'; choose one of"),
    "save typo": (["good.png", "--save=pmg16"], "did you mean 'png16'?"),
    "save nothing": (["good.png", "--save="], "--save is empty"),
    "K": (["good.png", "--intrinsics=1,2,3"], "is not fx,fy,cx,cy"),
    "K of another size": (["good.png", "--intrinsics=500,500,320,256"], "lies outside the 64x48 image"),
    "fov": (["good.png", "--fov-x=0"], "is no horizontal field of view"),
    "range": (["good.png", "--min-depth=9", "--max-depth=2"], "are no range"),
    "range of nan": (["good.png", "--min-depth=nan"], "are no range"),
    "range without end": (["good.png", "--max-depth=inf"], "are no range"),
    "empty name": ([""], "an INPUT is empty"),
    "batch": (["good.png", "--batch-size=0"], "--batch-size=0: give 1 or more"),
    "flag typo": (["good.png", "--overwritte"], "did you mean '--overwrite'?"),
    "mask": (["good.png", "--mask=MASK"], "is 5x5, the frames are 64x48"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(tmp_path, capsys, name):
    words, message = BAD[name]
    bad_inputs(tmp_path)
    cv2.imwrite(str(tmp_path / "mask5.png"), np.full((5, 5), 255, np.uint8))
    words = [
        w.replace("MASK", str(tmp_path / "mask5.png")) if w.startswith("--") or not w else tmp_path / w
        for w in words
    ]
    refused(capsys, tmp_path, words, message)


def test_a_full_disk_leaves_whole_files_only(tmp_path, capsys, monkeypatch):
    raw = folder(tmp_path / "in", 3)
    write, written = pathlib.Path.write_bytes, []

    def until_full(path, data):
        written.append(path)
        if len(written) == 3:
            write(path, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(pathlib.Path, "write_bytes", until_full)
    with pytest.raises(SystemExit) as caught:
        errors.run_door(lambda argv: go(tmp_path, raw, "--save=png16"))
    assert caught.value.code == 2
    assert "cannot be written (No space left on device)" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["f0_depth.png", "f1_depth.png"]
    assert all(
        cv2.imread(str(tmp_path / "out" / name), -1).shape == (H, W) for name in names(tmp_path / "out")
    )


def test_depth_too_small_for_the_png_is_said(tmp_path, capsys, monkeypatch):
    """Relative depth around 0.05: its 16-bit PNG has a dozen levels."""
    cv2.imwrite(str(tmp_path / "x.png"), frame())
    run = fake_run()
    run.variables["params"]["scale"] = jnp.float32(0.01)
    monkeypatch.setattr(model, "load_run", lambda workdir, step=None: run)
    out = go(tmp_path, tmp_path / "x.png", "--save=png16,npz")
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "use the float32 depth of --save=npz" in said
    meta = json.loads((out / "meta.json").read_text())
    assert meta["warnings"] == [said.removeprefix("warning: ")]
    near = np.percentile(np.load(out / "x.npz")["depth"], 1)
    assert meta["frames"][0]["png16_step"] == pytest.approx(1 / 256 / near, rel=1e-3)
    assert f"{1 / 256 / near:.0%}" in said


def test_the_picture_shows_what_the_network_saw(tmp_path):
    """Thermal between the limits of the usable pixels: a hot bonnet does not wash out the road."""
    counts = frame()
    counts[36:] = 15000
    cv2.imwrite(str(tmp_path / "x.png"), counts)
    out = go(tmp_path, tmp_path / "x.png", "--save=vis", "--mask-bottom=0.25")
    grey = cv2.imread(str(out / "x_vis.png"))[:, :W, 0]
    low, high = np.percentile(counts[:36], [1, 99])
    np.testing.assert_allclose(grey[:36], 255 * np.clip((counts[:36] - low) / (high - low), 0, 1), atol=4)
    assert (grey[36:] == 255).all()


def test_results_are_not_overwritten_unless_told(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "x.png"), frame())
    out = go(tmp_path, tmp_path / "x.png", "--save=png16")
    (out / "x_depth.png").write_bytes(b"precious")
    refused(
        capsys,
        tmp_path,
        [tmp_path / "x.png", "--save=png16"],
        "is there already (2 such files); add --overwrite",
        out="out",
    )
    assert (out / "x_depth.png").read_bytes() == b"precious"
    go(tmp_path, tmp_path / "x.png", "--save=png16", "--overwrite")
    assert (out / "x_depth.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "file").write_text("x")
    refused(capsys, tmp_path, [tmp_path / "x.png"], "is a file; give a folder", out="file")
    refused(capsys, tmp_path, [tmp_path / "x.png"], "file is a file; give a folder", out="file/below")


def test_results_inside_the_input_are_no_input(tmp_path):
    folder(tmp_path / "in", 2)
    go(tmp_path, tmp_path / "in", "--save=png16", out="in/out")
    again = go(tmp_path, tmp_path / "in", "--save=png16", "--overwrite", out="in/out")
    assert len(json.loads((again / "meta.json").read_text())["frames"]) == 2


def test_a_folder_that_is_no_run(tmp_path, capsys, monkeypatch):
    from tdepth_jax.training import restore

    monkeypatch.setattr(model, "load_run", restore.load_run)
    cv2.imwrite(str(tmp_path / "x.png"), frame())
    refused(capsys, tmp_path, [tmp_path / "x.png"], "no run at runs/fake")
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(
        model, "load_run", lambda workdir, step=None: restore.load_run(tmp_path / "empty", step=step)
    )
    refused(capsys, tmp_path, [tmp_path / "x.png"], "is not a run: it has no config.json")


def test_limits_of_a_sequence_are_shared_by_its_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(systems, "make", normalising_system)
    run = fake_run()
    run.system = normalising_system(run.config)
    monkeypatch.setattr(model, "load_run", lambda workdir, step=None: run)
    folder(tmp_path / "in", 5)
    out = go(tmp_path, tmp_path / "in", "--limits=sequence", "--save=png16")
    rows = json.loads((out / "meta.json").read_text())["frames"]
    assert len({tuple(row["normalizer"].items()) for row in rows}) == 1
    assert rows[0]["normalizer"]["method"] == "sequence"


def test_a_run_without_limits_has_none_to_share(tmp_path, capsys, monkeypatch):
    cv2.imwrite(str(tmp_path / "x.png"), frame())
    run = fake_run()
    run.config.system.normalization = "full_scale"
    monkeypatch.setattr(model, "load_run", lambda workdir, step=None: run)
    words = [tmp_path / "x.png", "--limits=sequence"]
    refused(capsys, tmp_path, words, "this run has normalisation 'full_scale': it has no range to share")


@pytest.mark.real
def test_real_frames_of_every_kind(tmp_path, real_data, capsys):
    words = [real_data / "thermal_video" / "0000.png", real_data / "flir_radiometric" / "e60_moving_car.jpg"]
    words += [
        real_data / "ms2_sample" / "left_000011_thr.png",
        next((real_data / "msrs_pairs").glob("*_ir.png")),
    ]
    out = go(tmp_path, *words, "--save=png16,vis")
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "_ir.png: it has 8 bits" in said[0]
    assert cv2.imread(str(out / "0000_depth.png"), -1).shape == (512, 640)
    assert cv2.imread(str(out / "e60_moving_car_depth.png"), -1).shape == (240, 320)
