"""Every fault that `prepare own` knows, one by one through the door: said, with its mend, or refused when grave."""

import pathlib

import cv2
import numpy as np
import pytest

from tdepth_jax import errors, prepare
from tdepth_jax.data.sources import open_split

H, W = 96, 128
CARD = pathlib.Path(__file__).resolve().parents[2] / "data" / "own.md"


def panorama(width, seed=0):
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.normal(0, 1, (H, width)).astype(np.float32), (0, 0), 4)
    image = 300 * image / image.std()
    for _ in range(width // 12):
        y, x = rng.integers(5, 70), rng.integers(0, width - 20)
        image[y : y + rng.integers(5, 25), x : x + rng.integers(5, 20)] += rng.normal(0, 300)
    return 8500 + cv2.GaussianBlur(image, (0, 0), 0.7)


def drive(count=24, seed=0, step=4):
    wide, rng = panorama(W + step * count, seed), np.random.default_rng(seed + 1)
    return np.stack(
        [np.rint(wide[:, i * step : i * step + W] + rng.normal(0, 4, (H, W))) for i in range(count)]
    )


def write(folder, frames, dtype=np.uint16):
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{i:03d}.png"), np.asarray(frame).astype(dtype))
    return folder


def stretched(frame, top=255):
    return (frame - frame.min()) / (frame.max() - frame.min()) * top


def equalised(frame):
    return np.argsort(np.argsort(frame.reshape(-1), kind="stable")).reshape(frame.shape) * (
        16000 / frame.size
    )


def changed(where, value):
    def spoil(frames):
        frames = frames.copy()
        frames[(slice(None), *where)] = value(frames) if callable(value) else value
        return frames

    return spoil


def noise(frames, count=1):
    return np.random.default_rng(3).integers(0, 2**16, (len(frames), count, W))


def dead(frames):
    frames = frames.copy()
    rng = np.random.default_rng(4)
    for y, x in zip(rng.integers(10, 86, 12), rng.integers(10, 118, 12), strict=True):
        frames[:, y, x] += 4000
    return frames


def frozen(frames):
    frames = frames.copy()
    frames[9] = frames[10] = frames[8]
    return frames


def standing(frames):
    grain = np.random.default_rng(5).normal(0, 4, frames.shape)
    return frames[:1] + grain


def stopping(frames):
    return np.concatenate([frames[:16], standing(frames[15:16].repeat(8, 0))])


def jumping(frames):
    return frames + np.where(np.arange(len(frames)) >= 12, 2500, 0)[:, None, None]


def bonnet(frames):
    frames = frames.copy()
    grain = np.random.default_rng(6).normal(0, 4, (len(frames), 24, W))
    frames[:, -24:] = panorama(W, 9)[-24:] + grain
    return frames


def parked_first_frame(frames):
    return frames[:1]


# name in the programs -> (what is done to sound frames, what is said, does it stop)
OF_FRAMES = {
    "eight_bit": (lambda x: np.stack([stretched(f) for f in x]), "it has 8 bits", False),
    "equalised": (lambda x: np.stack([equalised(f) for f in x]), "it was equalised", False),
    "stretched": (lambda x: np.stack([stretched(f, 65535) for f in x]), "each was stretched by itself", False),
    "constant": (lambda x: np.full_like(x, 512) + np.arange(len(x))[:, None, None], "every pixel is", True),
    "byte_swapped": (lambda x: x.astype(np.uint16).byteswap(), "the other byte order", True),
    "saturated": (lambda x: np.minimum(x, np.quantile(x, 0.9)), "of its pixels are at the top", False),
    "telemetry_rows": (changed((slice(0, 1),), noise), "look like telemetry", False),
    "low_contrast": (lambda x: 8000 + (x - 8500) * 0.01 + np.random.default_rng(1).normal(0, 9, x.shape),
                     "times its noise", False),
    "column_stripes": (lambda x: x + np.random.default_rng(2).normal(0, 15, W), "its columns differ", False),
    "dead_pixels": (dead, "pixels stand apart", False),
    "blank_border": (changed((slice(None), slice(0, 5)), 0), "5 at the left", False),
    "repeated": (frozen, "2 of 24 frames repeat the one before", False),
    "static": (standing, "nothing moves but noise; self-supervision needs a moving camera", True),
    "still": (parked_first_frame, "it is a single still picture", True),
    "stops": (stopping, "the camera stands for", False),
    "own_vehicle": (bonnet, "keep their place while the rest moves", False),
    "level_jumps": (jumping, "the whole picture jumps by", False),
    "unit": (lambda x: x * 0.5 + 25000, "in counts of 0.01 K (TLinear)", False),
    "tiny": (lambda x: x[:, :12], "too few to predict from", True),
    "mixed_sizes": (lambda x: [*x[:20], x[20][:80]], "frames of different sizes", True),
}  # fmt: skip


def forward(rng=None):
    poses = np.tile(np.eye(4), (24, 1, 1))
    poses[:, 2, 3] = 0.5 * np.arange(24)
    return poses


def lines(values):
    return "\n".join(" ".join(map(str, np.ravel(value))) for value in values)


# name -> (flags, files beside the frames, what is said, does it stop)
OF_TRACKS = {
    "intrinsics": (["--intrinsics=900,900,640,512"], {}, "lies outside the 128x96 image", True),
    "time_order": (["--timestamps=t"], {"t": lines(range(24, 0, -1))}, "the time does not advance", True),
    "time_gaps": (["--timestamps=t"], {"t": lines([i / 10 + 9 * (i > 11) for i in range(24)])}, "gaps in time", False),
    "frame_rate": (["--timestamps=t"], {"t": lines(30 * i for i in range(24))}, "a frame comes every 30 s", False),
    "short": (["--timestamps=t"], {"t": lines([i / 10 + 9 * (i > 21) for i in range(24)])},
              "2 of 24 frames stand in parts shorter than 3", False),
    "poses": (["--poses=p"], {"p": lines(p[:3] for p in np.linalg.inv(forward()))}, "drives backwards", False),
}  # fmt: skip


def run(tmp_path, folder, *flags):
    flags = flags if any("--intrinsics" in flag for flag in flags) else ("--fov-x=60", *flags)
    prepare.main(["own", f"--raw={folder}", f"--out={tmp_path / 'out'}", "--jobs=1", "--name=mine", *flags])
    return tmp_path / "out" / "mine"


def check(tmp_path, capsys, folder, flags, says, grave):
    if grave:
        with pytest.raises(SystemExit) as caught:
            errors.run_door(lambda argv: run(tmp_path, folder, *flags))
        assert caught.value.code == 2
        assert not list((tmp_path / "out").rglob("*.json"))
        assert says in capsys.readouterr().err.strip().splitlines()[-1]
        return
    root = run(tmp_path, folder, *flags)
    assert says in capsys.readouterr().err
    assert any(says in note for note in open_split(root, "train").metadata["checks"])


@pytest.mark.parametrize("name", OF_FRAMES)
def test_faults_of_frames(tmp_path, capsys, name):
    spoil, says, grave = OF_FRAMES[name]
    folder = write(tmp_path / "raw", spoil(drive()))
    check(tmp_path, capsys, folder, [], says, grave)


@pytest.mark.parametrize("name", OF_TRACKS)
def test_faults_of_what_comes_with_them(tmp_path, capsys, name):
    flags, files, says, grave = OF_TRACKS[name]
    folder = write(tmp_path / "raw", drive())
    for file, text in files.items():
        (folder / file).write_text(text)
    check(tmp_path, capsys, folder, flags, says, grave)


def test_recordings_that_share_frames(tmp_path, capsys):
    write(tmp_path / "raw" / "a", drive())
    write(tmp_path / "raw" / "b", drive()[8:])
    check(tmp_path, capsys, tmp_path / "raw", [], "16 of its frames are also in a", False)


def test_files_that_are_none(tmp_path, capsys):
    good = (write(tmp_path / "good", drive(1)) / "000.png").read_bytes()
    for number, (data, says) in enumerate({
        b"": "is empty (0 bytes)",
        good[:300]: "is cut short",
        good[:200] + bytes([good[200] ^ 1]) + good[201:]: "is damaged",
        b"hello": "is no image that can be read",
    }.items()):  # fmt: skip
        folder = write(tmp_path / f"raw{number}", drive())
        (folder / "005.png").write_bytes(data)
        check(tmp_path, capsys, folder, [], says, True)


def test_one_parked_recording_among_others_is_said_and_kept(tmp_path, capsys):
    write(tmp_path / "raw" / "a", drive())
    write(tmp_path / "raw" / "parked", standing(drive(seed=3)))
    check(tmp_path, capsys, tmp_path / "raw", [], "parked: in 100% of the recording nothing moves", False)


def test_a_car_that_starts_parked_is_not_refused(tmp_path, capsys):
    """Only the first two seconds stand: they are not the whole recording."""
    frames = drive(60)
    frames = np.concatenate([standing(frames[:1].repeat(24, 0)), frames])
    root = run(tmp_path, write(tmp_path / "raw", frames))
    assert "the camera stands for" in capsys.readouterr().err
    assert len(open_split(root, "train")) > 50


def test_sound_frames_have_none_of_them(tmp_path, capsys):
    root = run(tmp_path, write(tmp_path / "raw", drive()), "--mask-bottom=0.1")
    assert "warning" not in capsys.readouterr().err
    assert open_split(root, "train").metadata["checks"] == []


def test_there_are_twenty_and_the_card_names_each():
    known = {*OF_FRAMES, *OF_TRACKS, "double"}
    assert len(known) >= 20
    card = CARD.read_text()
    assert [name for name in sorted(known) if f"`{name}`" not in card] == []
