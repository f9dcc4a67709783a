"""The door: folders and records in, a chain that `prepare own` takes out; drift; mistakes in one sentence."""

import json

import cv2
import numpy as np
import pytest
import two_cameras as scene

from tdepth_jax import calibrate, prepare
from tdepth_jax.calibration import chain, levels, pairs
from tdepth_jax.data import sources
from tdepth_jax.data.datasets.base import RecordsBuilder
from tdepth_jax.errors import UserError, run_door
from tdepth_jax.thermal import intrinsics

COUNT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve pairs with depth, and chains: the true one, and one 1.5 degrees and 5 cm off."""
    top = tmp_path_factory.mktemp("pairs")
    for name in ("ir", "vi", "depth"):
        (top / name).mkdir()
    for number, one in enumerate(scene.pairs(COUNT)):
        cv2.imwrite(str(top / f"ir/{number:03d}.png"), one.thermal)
        cv2.imwrite(str(top / f"vi/{number:03d}.png"), one.rgb[..., ::-1])
        np.save(top / f"depth/{number:03d}.npy", 1 / one.inverse_depth)
    (top / "true.yaml").write_text(chain.text(scene.rig()))
    (top / "wrong.yaml").write_text(chain.text(scene.rig(scene.wrong(1.5, 0.05))))
    return top


def flags(top, start="wrong.yaml", depth=True):
    given = [f"--raw={top / 'ir'}", f"--rgb={top / 'vi'}"]
    given += [f"--{name}={top / start}" for name in ("intrinsics", "rgb-intrinsics", "rgb-from-thermal")]
    return given + ([f"--rgb-depth={top / 'depth'}"] if depth else [])


def test_what_it_writes_is_the_truth_and_prepare_takes_it(folder, tmp_path, capsys):
    out = tmp_path / "calibration"
    calibrate.main([*flags(folder), f"--out={out}"])
    said = capsys.readouterr().out
    assert "12 pairs, depth measured" in said
    found = intrinsics.kalibr_motion(out / "camchain.yaml", to=1, of=0)
    degrees, centimetres = levels.apart(scene.rig(found), scene.rig())
    assert degrees < 0.1
    assert centimetres < 1.5
    kept = json.loads((out / "calibration.json").read_text())
    np.testing.assert_allclose(kept["rgb_from_thermal"], found, atol=1e-12)
    assert kept["held_out"]["after"] > kept["held_out"]["before"]
    assert kept["edge_distance_px"]["after"] < kept["edge_distance_px"]["before"]
    page = (out / "report.html").read_text()
    assert page.count("data:image/jpeg") == 3 * 4
    assert page.count("<svg") == 6
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")

    chained = [
        f"--{name}={out / 'camchain.yaml'}" for name in ("intrinsics", "rgb-intrinsics", "rgb-from-thermal")
    ]
    place = [
        f"--raw={folder / 'ir'}",
        f"--rgb={folder / 'vi'}",
        "--stills",
        f"--out={tmp_path}",
        "--name=mine",
    ]
    prepare.main(["own", *place, *chained, "--holdout=0", "--jobs=1"])
    frame = sources.open_split(tmp_path / "mine", "train")[0]
    np.testing.assert_allclose(frame["rgb_from_thermal"], found, atol=1e-6)
    np.testing.assert_allclose(frame["rgb/K"], scene.RGB_K, rtol=1e-6)

    # The same pictures under the new chain have not drifted; under the old one they have, and the exit code says so.
    chained = [flag.replace("wrong.yaml", "new.yaml") for flag in flags(folder)]
    (folder / "new.yaml").write_bytes((out / "camchain.yaml").read_bytes())
    calibrate.main([*chained, "--check"])
    assert "sigma" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        run_door(calibrate.main, [*flags(folder), "--watch=12"])
    assert caught.value.code == 1
    assert "the calibration has drifted by" in capsys.readouterr().err


class Records(RecordsBuilder):
    """The pairs as records, with the RGB camera's depth or (spec False) without."""

    name = "pairs"

    def __init__(self, *, data_dir, depth=True):
        self._depth = depth
        super().__init__(data_dir=data_dir)

    def sequences(self):
        return {"train": [self._depth]}

    def facts(self):
        return {"sensor": {"bit_depth": 16, "unit": "raw", "planck": None}, "conditions": ["day"]}

    def modalities(self):
        keys = {"thermal/image", "thermal/K", "rgb/image", "rgb/K", "rgb_from_thermal"}
        return frozenset(keys | ({"rgb/depth"} if self._depth else set()))

    @staticmethod
    def frames(spec):
        for number, one in enumerate(scene.pairs(COUNT)):
            yield {
                "sequence": "a", "index": number, "timestamp_ns": number * 10**8, "condition": "day",
                "thermal/image": one.thermal, "thermal/K": scene.K.astype(np.float32), "rgb/image": one.rgb,
                "rgb/K": scene.RGB_K.astype(np.float32), "rgb_from_thermal": scene.TRUE.astype(np.float32),
            } | ({"rgb/depth": 1 / one.inverse_depth} if spec else {})  # fmt: skip


MISTAKES = {
    "nothing": ([], "give either --dataset, a prepared one, or --raw and --rgb"),
    "no depth": (lambda top: flags(top, depth=False), "there is no depth, which gives the calibration its scale"),
    "no K": (lambda top: [*flags(top)[:2], "--depth=infinity"], "the thermal camera's K is not given"),
    "two depths": (lambda top: [*flags(top), "--depth=infinity"], "give one of --rgb-depth, --rgb-right and --depth"),
    "right without baseline": (
        lambda top: [*flags(top, depth=False), f"--rgb-right={top / 'vi'}"], "--rgb-right needs --rgb-baseline"),
    "depth is a word": (lambda top: [*flags(top, depth=False), "--depth=far"], "--depth=far: give infinity, or metres"),
    "too few": (lambda top: [*flags(top), "--pairs=5"], "5 usable pairs, at least 8 are needed"),
    "no such chain": (lambda top: flags(top, "none.yaml"), "none.yaml cannot be read as a Kalibr file"),
    "a chain of one": (lambda top: flags(top, "one.yaml"), "one.yaml has no cam1; it has cam0"),
    "not a chain": (lambda top: flags(top, "words.yaml"), "words.yaml has no `intrinsics: [fx, fy, cx, cy]`"),
    "no rotation": (lambda top: flags(top, "scaled.yaml"), "is no rotation"),
    "another size": (lambda top: flags(top, "large.yaml"), "is the calibration of 640x512 images"),
    "uniform": (lambda top: [f"--raw={top / 'blank'}", *flags(top)[1:]], "12 more are of one value throughout"),
    "depth of another name": (
        lambda top: [*flags(top, depth=False), f"--rgb-depth={top / 'ir/..'}"], "name its files as the RGB pictures"),
    "a small window": (lambda top: [*flags(top), "--watch=3"], "8 pairs or more say whether"),
    "a large window": (lambda top: [*flags(top), "--watch=13"], "there are 12 pairs; give a smaller N"),
    "no such flag": (lambda top: [*flags(top), "--bogus=1"], "unknown argument '--bogus=1'"),
    "no such data": (["--dataset=/nowhere"], "there is no prepared data set at /nowhere"),
}  # fmt: skip


@pytest.fixture(scope="module")
def spoilt(folder):
    (folder / "one.yaml").write_text((folder / "true.yaml").read_text().split("cam1:")[0])
    (folder / "words.yaml").write_text("cam0: hello\ncam1: world\n")
    bad = scene.TRUE.copy()
    bad[:3, :3] *= 2
    (folder / "scaled.yaml").write_text(chain.text(scene.rig(bad)))
    (folder / "large.yaml").write_text((folder / "true.yaml").read_text().replace("[128, 96]", "[640, 512]"))
    (folder / "blank").mkdir()
    for number in range(COUNT):
        cv2.imwrite(str(folder / f"blank/{number:03d}.png"), np.full(scene.SIZE, 3000, np.uint16))
    return folder


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_sentence(spoilt, tmp_path, capsys, name):
    given, says = MISTAKES[name]
    given = given(spoilt) if callable(given) else given
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as caught:
        run_door(calibrate.main, [*given, f"--out={out}"])
    assert caught.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert says in line
    assert not out.exists()


def test_records_give_their_rig_and_depth(tmp_path, folder):
    Records(data_dir=tmp_path).prepare()
    source = sources.open_split(tmp_path / "pairs", "train")
    got = pairs.of_split(source, pairs.spread(COUNT, 10))
    assert [one.name for one in got.pairs] == [f"a {n}" for n in (0, 1, 3, 4, 5, 6, 7, 9, 10, 11)]
    assert levels.apart(got.rig, scene.rig()) == pytest.approx((0, 0), abs=1e-4)
    want = scene.pair(3).inverse_depth
    np.testing.assert_allclose(got.pairs[2].inverse_depth, want, rtol=2e-3)  # stored in steps of 1/256 m
    again = pairs.started(got, str(folder / "wrong.yaml"))
    np.testing.assert_allclose(again.rig.rgb_from_thermal, scene.wrong(1.5, 0.05), atol=1e-12)
    with pytest.raises(UserError, match="no frames of the condition 'night'; it has day"):
        pairs.of_condition(source, "night")


def test_records_without_depth_say_what_is_missing(tmp_path):
    Records(data_dir=tmp_path, depth=False).prepare()
    source = sources.open_split(tmp_path / "pairs", "train")
    with pytest.raises(
        UserError, match=r"has no depth of the RGB camera \(rgb/depth\) and no RGB stereo pair"
    ):
        pairs.of_split(source, np.arange(COUNT))
    assert not pairs.of_split(source, np.arange(COUNT), depth="infinity").pairs[0].inverse_depth.any()
