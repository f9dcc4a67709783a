"""`prepare own --rgb`: faults of the second camera are said, and mistakes are one sentence."""

import pathlib

import numpy as np
import pytest
from own_rgb_tree import COUNT, IDENTITY, filmed, lines, refused, run, two_folders, write
from refusals import sentence

from tdepth_jax import prepare
from tdepth_jax.data.sources import open_split

CARD = pathlib.Path(__file__).resolve().parents[2] / "data" / "own.md"


@pytest.fixture
def raw(tmp_path):
    return two_folders(tmp_path)


# Faults: name -> (what is done, flags, what is said, does it stop).


def colours(change):
    return lambda raw: write(raw / "rgb", change(filmed()[1]))


def transform(change):
    def spoil(raw):
        motion = np.eye(4)
        motion[0, 3] = 0.1
        np.savetxt(raw / "T.txt", change(motion))

    return spoil


def scaled(motion):
    return motion * np.array([2.0, 2, 2, 1])


def mirrored(motion):
    return motion * np.array([-1.0, 1, 1, 1])


def times(thermal, rgb):
    def spoil(raw):
        (raw / "thermal" / "t.txt").write_text(lines(thermal))
        (raw / "rgb" / "t.txt").write_text(lines(rgb))

    return spoil


WITH_FILE = ["--rgb-from-thermal=RAW/T.txt", "--rgb-fov-x=60"]
BY_TIME = [IDENTITY, "--timestamps=t.txt", "--rgb-timestamps=t.txt"]
TENTHS = [i / 10 for i in range(COUNT)]
FAULTS = {
    "rgb_grey": (colours(lambda x: [f[..., 0] for f in x]), [IDENTITY], "red, green and blue are equal", False),
    "rgb_constant": (colours(lambda x: [0 * f for f in x]), [IDENTITY], "have one value throughout", True),
    "rgb_scene": (colours(lambda x: filmed(seed=9)[1]), [IDENTITY], "agree no better", False),
    "rgb_repeated": (colours(lambda x: [*x[:4], *x[3:-1]]), [IDENTITY],
                     "1 colour frames repeat the one before", False),
    "rgb_baseline": (transform(lambda m: m + 99.9 * (m == 0.1)), WITH_FILE, "100 m apart; is its shift in milli", True),
    "rgb_unpaired": (times(TENTHS, [t + (t > 1.75) for t in TENTHS]), BY_TIME,
                     "2 of 20 frames have no colour frame within 0.03 s", False),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_the_second_camera(raw, capsys, name):
    spoil, flags, says, grave = FAULTS[name]
    spoil(raw)
    flags = [flag.replace("RAW", str(raw)) for flag in flags]
    if grave:
        assert says in refused(capsys, raw, *flags)
        return
    root = run(raw, *flags)
    assert says in capsys.readouterr().err
    assert any(says in note for note in open_split(root, "train").metadata["checks"])


def test_the_card_names_each():
    assert [name for name in FAULTS if f"`{name}`" not in CARD.read_text()] == []


def nothing(raw):
    return None


def renamed(raw):
    (raw / "rgb" / "004.png").rename(raw / "rgb" / "x.png")


def fewer(raw):
    renamed = [f"c{i}" for i in range(18)]
    write(raw / "few", filmed(18)[1], names=renamed)


def cut(raw):
    write(raw / "jpeg", filmed()[1], suffix="jpg")
    path = raw / "jpeg" / "003.jpg"
    path.write_bytes(path.read_bytes()[:900])


def several(raw):
    for name in "ab":
        write(raw / "takes" / name, filmed(seed=ord(name))[0])
    write(raw / "colours" / "a", filmed()[1])
    write(raw / "colours" / "c", filmed()[1])


MISTAKES = {
    "no extrinsics": (nothing, [], {}, "--rgb needs --rgb-from-thermal"),
    "no K": (transform(lambda m: m), WITH_FILE[:1], {}, "add --rgb-intrinsics or --rgb-fov-x"),
    "words": (nothing, ["--rgb-from-thermal=nowhere.txt"], {}, "there is no file nowhere.txt; give numbers"),
    "nine numbers": (transform(lambda m: m[:3, :3]), WITH_FILE, {}, "T.txt holds 9 numbers; wanted 16 (4x4) or 12"),
    "no rotation": (transform(scaled), WITH_FILE, {}, "is no rotation (R R^T is 3 from the identity)"),
    "mirrored": (transform(mirrored), WITH_FILE, {}, "the 3x3 part of"),
    "transposed": (transform(lambda m: m.T), WITH_FILE, {}, "it looks transposed; write x_rgb = T x_thermal"),
    "NaN": (transform(lambda m: m * np.nan), WITH_FILE, {}, "holds NaN"),
    "no cam1": (lambda r: (r / "c.yaml").write_text("cam0:\n  intrinsics: [1, 1, 1, 1]\n"),
                ["--rgb-from-thermal=RAW/c.yaml", "--rgb-fov-x=60"], {}, "c.yaml has no cam1; it has cam0"),
    "K of another size": (nothing, [IDENTITY, "--rgb-intrinsics=900,900,640,512"], {}, "lies outside the 128x96"),
    "identity of another shape": (colours(lambda x: [f[:50] for f in x]), [IDENTITY], {},
                                  "images of different shape are not co-registered"),
    "sizes": (colours(lambda x: [*x[:9], x[9][:50], *x[10:]]), [IDENTITY], {}, "RGB: frames of different sizes"),
    "swapped": (nothing, [IDENTITY], {"thermal": "rgb", "rgb": "thermal"}, "are --raw and --rgb swapped?"),
    "one other name": (renamed, [IDENTITY], {}, "1 of 20 thermal frames have no colour frame of the same name, the "
                                                "first is '004'"),
    "unequal counts": (fewer, [IDENTITY], {"rgb": "few"}, "20 thermal frames, but 18 colour frames"),
    "a cut JPEG": (cut, [IDENTITY], {"rgb": "jpeg"}, "003.jpg is cut short"),
    "a take without": (several, [IDENTITY], {"thermal": "takes", "rgb": "colours"},
                       "has no frames for 1 of 2 sequences, the first is 'b'"),
    "one for two": (several, [IDENTITY], {"thermal": "takes"}, "is one sequence, --raw holds 2"),
    "no such folder": (nothing, [IDENTITY], {"rgb": "colour"}, "is no folder"),
    "no such pattern": (nothing, [IDENTITY], {"rgb": "rgb/*_vi.png"}, "holds no frames like *_vi.png"),
    "another clock": (times(TENTHS, [1e9 + t for t in TENTHS]), BY_TIME, {}, "are both on one clock?"),
    "colour times back": (times(TENTHS, TENTHS[::-1]), BY_TIME, {}, "RGB: the time does not advance"),
    "only one clock": (nothing, [IDENTITY, "--rgb-timestamps=t.txt"], {}, "needs --timestamps"),
    "stills in time": (times(TENTHS, TENTHS), [*BY_TIME, "--stills"], {}, "--stills are no video"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_sentence(raw, capsys, name):
    spoil, flags, places, says = MISTAKES[name]
    spoil(raw)
    assert says in refused(capsys, raw, *[flag.replace("RAW", str(raw)) for flag in flags], **places)


def test_flags_of_colour_frames_that_are_not_given(raw, capsys):
    door = ["own", f"--raw={raw / 'thermal'}", "--fov-x=60", f"--out={raw / 'out'}", IDENTITY]
    assert "give them with --rgb DIR" in sentence(capsys, raw / "out", lambda: prepare.main(door))
