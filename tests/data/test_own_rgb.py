"""`prepare own --rgb`: thermal frames find their colour frames, known points land, pictures need not be video."""

import itertools
import shutil

import cv2
import ms2_tree
import numpy as np
import pytest
from own_rgb_tree import COUNT, IDENTITY, H, W, filmed, lines, refused, run, two_folders, write
from rig_scene import landed

from tdepth_jax import prepare
from tdepth_jax.data import movement
from tdepth_jax.data.pipeline import eval_batches, train_iterator
from tdepth_jax.data.sources import open_split
from tdepth_jax.errors import UserError

KEYS = frozenset({"thermal/image", "thermal/K", "rgb/image", "rgb/K", "rgb_from_thermal"})


@pytest.fixture
def raw(tmp_path):
    return two_folders(tmp_path)


def first_batch(root, split="train", offsets=(-1, 0, 1)):
    more = {"batch_size": 2, "image_size": (48, 64), "seed": 0, "threads": 1}
    with train_iterator(open_split(root, split), keys=KEYS, offsets=offsets, **more) as batches:
        return next(batches)


# Which belong together.


def test_pairs_of_equal_names_as_they_are(raw, capsys):
    root = run(raw, IDENTITY, "--holdout=0.2")
    train, test = open_split(root, "train"), open_split(root, "test")
    assert (len(train), len(test)) == (16, 4)
    thermal, colour = filmed()
    for source, i, n in ((train, 0, 0), (train, 15, 15), (test, 2, 18)):
        np.testing.assert_array_equal(source[i]["thermal/image"], thermal[n])
        np.testing.assert_array_equal(source[i]["rgb/image"], colour[n])
    np.testing.assert_array_equal(train[3]["rgb/K"], train[3]["thermal/K"])
    np.testing.assert_array_equal(train[3]["rgb_from_thermal"], np.eye(4))
    assert train.metadata["rgb_paired_by"] == ["names"]
    assert train.metadata["registered"]
    assert train.metadata["checks"] == []
    assert "warning" not in capsys.readouterr().err
    batch = first_batch(root)
    assert batch["rgb/image"].shape == (2, 3, 48, 64, 3)
    assert batch["thermal/image"].shape == (2, 3, 48, 64, 1)
    assert batch["rgb_from_thermal"].shape == (2, 4, 4)


def test_jpegs_are_kept_as_they_are_and_spare_ones_are_not_missed(raw):
    write(raw / "jpeg", filmed(COUNT + 3)[1], suffix="jpg")
    train = open_split(run(raw, IDENTITY, "--holdout=0", rgb="jpeg"), "train")
    assert (raw / "jpeg" / "007.jpg").read_bytes() in train.raw(7)
    want = cv2.imread(str(raw / "jpeg" / "007.jpg"))[..., ::-1]
    np.testing.assert_array_equal(train[7]["rgb/image"], want)


def test_pairs_by_place_where_no_name_is_shared(raw):
    write(raw / "other", filmed()[1], names=[f"left{i}" for i in range(COUNT)])
    train = open_split(run(raw, IDENTITY, "--holdout=0", rgb="other"), "train")
    assert train.metadata["rgb_paired_by"] == ["order"]
    np.testing.assert_array_equal(train[11]["rgb/image"], filmed()[1][11])  # left2 before left10


def test_one_folder_of_both_and_sub_folders(tmp_path):
    for take in "ab":
        thermal, colour = filmed(seed=ord(take))
        names = [f"{i:03d}" for i in range(COUNT)]
        write(tmp_path / "raw" / take, thermal, names=[f"{name}_ir" for name in names])
        write(tmp_path / "raw" / take, colour, names=[f"{name}_vi" for name in names])
    root = run(tmp_path / "raw", IDENTITY, "--holdout=0", thermal="*_ir.png", rgb="*_vi.png")
    train = open_split(root, "train")
    assert train.metadata["rgb_paired_by"] == ["names"]
    assert train.table["sequence"].tolist() == ["a"] * COUNT + ["b"] * COUNT
    np.testing.assert_array_equal(train[COUNT + 4]["rgb/image"], filmed(seed=ord("b"))[1][4])


def test_pairs_by_time(raw, capsys):
    """RGB at 10 frames a second from 0.51 s on, thermal at 20: the one between has no partner, and is no gap."""
    colour = filmed(40)[1][::2]
    write(raw / "fast", filmed(40)[0])
    write(raw / "slow", colour)
    (raw / "fast" / "t.txt").write_text(lines(100 + i / 20 for i in range(40)))
    (raw / "slow" / "t.txt").write_text(lines(100.01 + i / 10 for i in range(5, 20)))
    for i in range(5):
        (raw / "slow" / f"{i:03d}.png").unlink()
    flags = (IDENTITY, "--timestamps=t.txt", "--rgb-timestamps=t.txt", "--rgb-tolerance=0.02", "--holdout=0")
    train = open_split(run(raw, *flags, thermal="fast", rgb="slow"), "train")
    assert len(train) == 15
    assert set(train.table["sequence"]) == {"fast"}
    for i in (0, 7, 14):
        np.testing.assert_array_equal(train[i]["thermal/image"], filmed(40)[0][10 + 2 * i])
        np.testing.assert_array_equal(train[i]["rgb/image"], colour[5 + i])
    assert train.metadata["rgb_paired_by"] == ["times"]
    assert train.metadata["rgb_tolerance_seconds"] == 0.02
    assert "25 of 40 frames have no colour frame within 0.02 s; they are left out" in capsys.readouterr().err


def test_a_hole_in_the_colour_frames_cuts_the_sequence(raw):
    for folder in ("thermal", "rgb"):
        (raw / folder / "t.txt").write_text(lines(i / 10 for i in range(COUNT)))
    kept = [i for i in range(COUNT) if not 8 <= i < 12]
    for i in range(8, 12):
        (raw / "rgb" / f"{i:03d}.png").unlink()
    (raw / "rgb" / "t.txt").write_text(lines(i / 10 for i in kept))
    flags = (IDENTITY, "--timestamps=t.txt", "--rgb-timestamps=t.txt", "--holdout=0")
    train = open_split(run(raw, *flags), "train")
    assert np.unique(train.table["sequence"], return_counts=True)[1].tolist() == [8, 8]
    np.testing.assert_array_equal(train[8]["rgb/image"], filmed()[1][12])


# Where the RGB camera stands.

RGB_FROM_THERMAL = np.linalg.inv(ms2_tree.RGB) @ ms2_tree.THERMAL
SIZES = {name: ms2_tree.RIG[name].size for name in ("thr", "rgb")}


def numbers(K):
    return f"[{K[0, 0]}, {K[1, 1]}, {K[0, 2]}, {K[1, 2]}]"


def camera_text(number, name, link=None):
    h, w = SIZES[name]
    text = f"cam{number}:\n"
    if link is not None:
        text += "  T_cn_cnm1:\n" + "".join(f"  - [{', '.join(map(repr, row.tolist()))}]\n" for row in link)
    return text + (
        f"  cam_overlaps: [1]\n  camera_model: pinhole\n  intrinsics: {numbers(ms2_tree.RIG[name].K)}\n"
        f"  resolution: [{w}, {h}]\n"
    )


def of_text(folder):
    np.savetxt(folder / "T.txt", RGB_FROM_THERMAL, header="rgb from thermal, metres")
    return [f"--rgb-from-thermal={folder / 'T.txt'}"]


def of_npy(folder):
    np.save(folder / "T.npy", RGB_FROM_THERMAL[:3])
    return [f"--rgb-from-thermal={folder / 'T.npy'}"]


def of_kalibr(folder):
    (folder / "c.yaml").write_text(camera_text(0, "thr") + camera_text(1, "rgb", RGB_FROM_THERMAL))
    return [f"--{flag}={folder / 'c.yaml'}" for flag in ("intrinsics", "rgb-intrinsics", "rgb-from-thermal")]


def of_kalibr_the_other_way_round(folder):
    link = np.linalg.inv(RGB_FROM_THERMAL)
    path = folder / "c.yaml"
    path.write_text(camera_text(0, "rgb") + camera_text(1, "thr", link))
    return [f"--intrinsics={path}:cam1", f"--rgb-intrinsics={path}", f"--rgb-from-thermal={path}"]


def of_kalibr_with_one_between(folder):
    path, half = folder / "c.yaml", np.eye(4)
    half[:3, 3] = 0.2, -0.1, 0.3
    middle = camera_text(1, "thr", half)
    path.write_text(
        camera_text(0, "thr") + middle + camera_text(2, "rgb", RGB_FROM_THERMAL @ np.linalg.inv(half))
    )
    return [f"--intrinsics={path}", f"--rgb-intrinsics={path}:cam2", f"--rgb-from-thermal={path}"]


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    """Frames of two cameras, turned and apart, that drive past known points."""
    raw = tmp_path_factory.mktemp("rig") / "raw"
    for name, folder in (("thr", "thermal"), ("rgb", "rgb")):
        write(raw / folder, [ms2_tree.picture(name, i)[0] for i in range(ms2_tree.FRAMES)])
    for path in (raw / "rgb").glob("*.png"):  # red is the points' grey: `picture` is as OpenCV writes it
        cv2.imwrite(str(path), cv2.imread(str(path))[..., ::-1])
    return raw


@pytest.mark.parametrize(
    "give", [of_text, of_npy, of_kalibr, of_kalibr_the_other_way_round, of_kalibr_with_one_between]
)
def test_known_points_land_in_the_colour_frame(rig, tmp_path, give):
    flags = give(tmp_path)
    if len(flags) == 1:
        K = {name: numbers(ms2_tree.RIG[name].K)[1:-1].replace(" ", "") for name in ("thr", "rgb")}
        flags += [f"--intrinsics={K['thr']}", f"--rgb-intrinsics={K['rgb']}"]
    root = run(rig, *flags, "--holdout=0", "--overwrite")
    frame = open_split(root, "train")[2]
    _, depth = ms2_tree.picture("thr", 2)
    counts = frame["thermal/image"].astype(float)
    grey = np.where(depth > 0, (counts - 3000) / 40 * 10 + 5, 0)
    to, target = frame["rgb_from_thermal"].astype(float), frame["rgb/image"][..., 0]
    assert landed(grey, depth, frame["thermal/K"], frame["rgb/K"], to, target) == 1
    back = np.linalg.inv(to)
    assert landed(grey, depth, frame["thermal/K"], frame["rgb/K"], back, target, least=3) < 0.5
    np.testing.assert_allclose(to, RGB_FROM_THERMAL, atol=1e-6)


def test_registered_frames_of_another_resolution_share_the_view(raw):
    large = [cv2.resize(frame, (3 * W, 3 * H), interpolation=cv2.INTER_LINEAR) for frame in filmed()[1]]
    train = open_split(run(raw, IDENTITY, rgb=write(raw / "large", large).name), "train")
    # 128 pixels over 60 degrees, and 384: by hand 64 / tan 30°, 192 / tan 30°.
    np.testing.assert_allclose(
        train[0]["rgb/K"], [[332.554, 0, 191.5], [0, 332.554, 143.5], [0, 0, 1]], atol=1e-3
    )
    assert not train.metadata["registered"]  # not the same pixels


# Pictures that are no video.


def pictures(folder, days, nights):
    for i in range(days + nights):
        thermal, colour = filmed(1, seed=i)
        name = f"{i:05d}{'D' if i < days else 'N'}"
        write(folder / "ir", thermal, names=[name])
        write(folder / "vi", colour, names=[name])
    return folder


STILLS = ("--stills", IDENTITY, "--conditions=D=day,N=night")


def test_stills_are_sequences_of_one(tmp_path, capsys):
    raw = pictures(tmp_path / "raw", 12, 8)
    root = run(raw, *STILLS, "--holdout=0.25", thermal="ir", rgb="vi")
    assert "warning" not in capsys.readouterr().err
    train, test = open_split(root, "train"), open_split(root, "test")
    assert sorted(test.table["condition"].tolist()) == ["day"] * 3 + ["night"] * 2
    assert len(train) == 15
    names = train.table["sequence"].tolist() + test.table["sequence"].tolist()
    assert sorted(names) == [f"{i:05d}{'D' if i < 12 else 'N'}" for i in range(20)]
    for source in (train, test):
        for frame in (source[i] for i in range(len(source))):
            number = int(frame["sequence"][:5])
            np.testing.assert_array_equal(frame["thermal/image"], filmed(1, seed=number)[0][0])
            np.testing.assert_array_equal(frame["rgb/image"], filmed(1, seed=number)[1][0])
            assert frame["condition"] == ("day" if number < 12 else "night")
            assert frame["index"] == 0
    assert train.metadata["timestamps"] == "none: stills"
    batch = first_batch(root, offsets=(0,))
    assert batch["rgb/image"].shape == (2, 1, 48, 64, 3)
    with pytest.raises(UserError, match=r"mine \(train\) holds stills, .* this method learns from motion"):
        movement.check(train, (-1, 0, 1))


def test_stills_left_out_and_stills_without_an_ending(tmp_path, capsys):
    raw = pictures(tmp_path / "raw", 6, 2)
    again = (raw / "ir" / "00003D.png").read_bytes()
    (raw / "ir" / "00004D.png").write_bytes(again)
    root = run(raw, *STILLS, "--holdout=0", thermal="ir", rgb="vi")
    assert "1 of 8 stills are the one before once more; they are left out" in capsys.readouterr().err
    assert "00004D" not in open_split(root, "train").table["sequence"]
    (raw / "ir" / "00007N.png").rename(raw / "ir" / "00007x.png")
    (raw / "vi" / "00007N.png").rename(raw / "vi" / "00007x.png")
    raw = raw.rename(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "out")
    says = "--conditions: '00007x' ends in none of D, N"
    assert says in refused(capsys, raw, *STILLS, thermal="ir", rgb="vi")
    flags = ("--stills", IDENTITY, "--conditions=day")
    assert "is not ENDING=CONDITION" in refused(capsys, raw, *flags, thermal="ir", rgb="vi")


def test_conditions_of_video_go_by_the_sequence(tmp_path):
    for name in ("drive_day", "drive_night"):
        write(tmp_path / "raw" / name, filmed(seed=len(name))[0])
    out = tmp_path / "out"
    door = ["own", f"--raw={tmp_path / 'raw'}", "--fov-x=60", f"--out={out}", "--name=mine", "--jobs=1"]
    prepare.main([*door, "--conditions=day=day,night=night"])
    table = open_split(out / "mine", "train").table
    assert set(zip(table["sequence"].tolist(), table["condition"].tolist(), strict=True)) == {
        ("drive_day", "day"),
        ("drive_night", "night"),
    }


@pytest.mark.real
def test_the_real_pairs(tmp_path, real_data, capsys):
    pairs = real_data / "msrs_pairs"
    out = tmp_path / "out"
    flags = [f"--out={out}", "--name=msrs", "--fov-x=60", "--jobs=1", *STILLS]
    prepare.main(["own", f"--raw={pairs / '*_ir.png'}", f"--rgb={pairs / '*_vi.png'}", *flags])
    said = capsys.readouterr().err
    assert "it has 8 bits" in said
    assert "agree no better" not in said
    train, test = open_split(out / "msrs", "train"), open_split(out / "msrs", "test")
    assert (len(train), len(test)) == (19, 4)
    assert train.metadata["sensor"]["unit"] == "agc"
    assert train.metadata["registered"]
    frame = next(train[i] for i in range(19) if train.table["sequence"][i] == "00881N")
    assert frame["condition"] == "night"
    want = cv2.imread(str(pairs / "00881N_vi.png"))[..., ::-1]
    np.testing.assert_array_equal(frame["rgb/image"], want)
    want = cv2.imread(str(pairs / "00881N_ir.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(frame["thermal/image"], want)
    batch = first_batch(out / "msrs", offsets=(0,))
    assert set(batch) == {*KEYS, "example"}
    with eval_batches(test, keys=KEYS, image_size=(120, 160), batch_size=4, threads=1) as batches:
        (one,) = itertools.islice(batches, 2)
    assert one["rgb/image"].shape == (4, 120, 160, 3)
    assert one["thermal/image"].max() <= 255
    np.testing.assert_array_equal(one["rgb_from_thermal"], np.tile(np.eye(4), (4, 1, 1)))
    np.testing.assert_allclose(one["rgb/K"], one["thermal/K"])
