"""The prepare door as a user meets it: what it writes and prints, and mistakes with exit code 2 and one sentence."""

import os
import signal
import subprocess
import sys

import pytest

from tdepth_jax import prepare
from tdepth_jax.data.shards import FORMATS
from tdepth_jax.data.sources import open_split
from tdepth_jax.errors import run_door

TINY = ["--size=16x24", "--sequences=1", "--frames=2", "--jobs=1"]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """{format: data root} of a tiny world, prepared through the door."""
    roots = {file_format: tmp_path_factory.mktemp(file_format) for file_format in FORMATS}
    for file_format, root in roots.items():
        prepare.main(["world", f"--out={root}", f"--format={file_format}", *TINY])
    return roots


def refused(argv, capsys):
    """The last line on standard error of a door that must end with code 2 and no traceback."""
    with pytest.raises(SystemExit) as caught:
        run_door(prepare.main, argv)
    assert caught.value.code == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_it_writes_every_split_and_says_so(tmp_path, capsys):
    prepare.main(["world", f"--out={tmp_path}", *TINY])
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["split", "sequences", "frames", "MB", "conditions"]
    splits = ("train", "test", "new_scene", "new_scene_train", "rgb_train")
    assert [line.split()[:3] for line in out[1:6]] == [[split, "1", "2"] for split in splits]
    assert "thermal/image" in out[6]
    assert out[-1].startswith(f"{tmp_path}/world: 10 frames in ")
    assert out[-1].endswith("checked")


def test_the_formats_hold_the_same_frames(worlds):
    for split in ("train", "test", "new_scene"):
        one, other = (open_split(root / "world", split) for root in worlds.values())
        assert one.fingerprint == other.fingerprint
        assert [one.raw(i) for i in range(2)] == [other.raw(i) for i in range(2)]
        assert one.image_size("thermal") == (16, 24)


def test_the_seed_is_the_world(worlds, tmp_path):
    prepare.main(["world", f"--out={tmp_path}", "--name=other", "--seed=1", *TINY])
    other = open_split(tmp_path / "other", "train")
    same = open_split(worlds["tfrecord"] / "world", "train")
    assert other.fingerprint != same.fingerprint
    assert other.metadata["world_seed"] == 1


def test_it_refuses_to_replace_without_overwrite(worlds, capsys):
    argv = ["world", f"--out={worlds['tfrecord']}", *TINY]
    before = sorted((path.name, path.stat().st_mtime_ns) for path in worlds["tfrecord"].rglob("*"))
    sentence = refused(argv, capsys)
    assert sentence == (
        f"error: {worlds['tfrecord']}/world/1.0.0 is prepared already; add --overwrite to replace it"
    )
    assert sorted((path.name, path.stat().st_mtime_ns) for path in worlds["tfrecord"].rglob("*")) == before


KILLED = """
import os, signal, sys
from tdepth_jax import prepare
write = prepare._Bar.__call__
def killing(self, split, frames):
    if (split, frames) == ("test", 1):
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, split, frames)
prepare._Bar.__call__ = killing
prepare.main(sys.argv[1:])
"""


def test_killed_half_way_it_says_so_and_a_rerun_mends_it(tmp_path):
    argv = ["world", f"--out={tmp_path}", *TINY]
    killed = subprocess.run([sys.executable, "-c", KILLED, *argv], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(
        Exception, match=r"half prepared .*; prepare it with `tdepth prepare world --out .*` again"
    ):
        open_split(tmp_path / "world", "train")
    prepare.main(argv)
    assert os.listdir(tmp_path / "world") == ["1.0.0"]
    assert len(open_split(tmp_path / "world", "new_scene")) == 2


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["wrold"], "invalid choice: 'wrold'"),
        ([], "DATASET"),
        (["world", "--size=128"], "'128' is no size; write HEIGHTxWIDTH, e.g. 128x160"),
        (["world", "--size=axb"], "'axb' is no size"),
        (["world", "--size=128,160"], "is no size"),
        (["world", "--size=0x0"], "cannot render 1 sequences of 2 frames of 0x0 pixels"),
        (["world", "--size=8x160"], "at least 1, 1 and 16x16"),
        (["world", "--frames=0"], "at least 1, 1 and 16x16"),
        (["world", "--sequences=0"], "at least 1, 1 and 16x16"),
        (["world", "--sequences=many"], "invalid int value: 'many'"),
        (["world", "--seed=-1"], "a seed is 0 or more"),
        (["world", "--format=hdf5"], "invalid choice: 'hdf5' (choose from"),
        (["world", "--fromat=tfrecord"], "unknown argument '--fromat=tfrecord'; did you mean '--format'?"),
        (["world", "--jobs=0"], "--jobs=0: at least one process"),
        (["world", "--name=../up"], "--name='../up'"),
        (["world", "--name="], "--name=''"),
        (["world", "--name=a b"], "--name='a b' becomes a folder"),
    ],
)
def test_mistakes(argv, says, tmp_path, capsys):
    tiny = [f"--out={tmp_path / 'data'}", *TINY] if argv else []
    sentence = refused([*argv[:1], *tiny, *argv[1:]], capsys)
    assert says in sentence
    assert not list(tmp_path.rglob("*.json")), "nothing is half written"
    assert not list(tmp_path.rglob("incomplete*"))


def test_out_is_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    sentence = refused(["world", f"--out={tmp_path / 'file'}", *TINY], capsys)
    assert f"{tmp_path}/file/world cannot be written" in sentence
    assert "choose another --out" in sentence
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not os.path.isdir("/proc/1"), reason="needs a folder that nobody can write")
def test_out_cannot_be_written(capsys):
    sentence = refused(["world", "--out=/proc/1", *TINY], capsys)
    assert "/proc/1/world cannot be written" in sentence


def test_unknown_data_sets_name_those_there_are(capsys):
    sentence = refused(["wrold"], capsys)
    assert "world" in sentence
    assert "own" in sentence


def test_help_lists_the_data_sets(capsys):
    with pytest.raises(SystemExit) as caught:
        prepare.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "world" in out
    assert "own" in out
