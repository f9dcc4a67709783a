"""Times and poses against numbers written out by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tdepth_jax.data import tracks
from tdepth_jax.errors import UserError

NOW = 1_700_000_000_123_456_789  # nanoseconds, 2023


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("1700000000123456789", NOW),
        ("1700000000123456", NOW // 1000 * 1000),
        ("1700000000123", NOW // 10**6 * 10**6),
        ("1700000000.123456789", NOW),
        ("12.5", 12_500_000_000),
        ("0", 0),
        ("-0.5", -500_000_000),
        ("7 1700000000.123456789", NOW),  # a counter ahead of the time
    ],
)
def test_units_are_told_apart_and_digits_kept(tmp_path, word, expected):
    (tmp_path / "t.txt").write_text(f"# time\n\n{word}\n")
    assert tracks.times(tmp_path / "t.txt", 1).tolist() == [expected]


@pytest.mark.parametrize("word", ["noon", "nan", "inf", "1e40"])
def test_words_that_are_no_time(tmp_path, word):
    (tmp_path / "t.txt").write_text(f"0\n{word}\n")
    with pytest.raises(UserError, match=rf"t\.txt, line 2: '{word}' is no time"):
        tracks.times(tmp_path / "t.txt", 2)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
@settings(max_examples=50, deadline=None)
def test_quaternions_turn_as_the_sandwich_product_does(tmp_path_factory, q):
    path = tmp_path_factory.mktemp("poses") / "p.txt"
    path.write_text("0.1 4 5 6 " + " ".join(map(repr, np.divide(q, np.linalg.norm(q)).tolist())))
    pose = tracks.poses(path, 1)[0]
    x, y, z, w = (Fraction(one) for one in q)

    def times(a, b):
        return (
            a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
            a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
            a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
            a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
        )

    point = (1, -2, 3)
    turned = times(times((w, x, y, z), (0, *point)), (w, -x, -y, -z))[1:]
    expected = [float(one / (w * w + x * x + y * y + z * z)) for one in turned]
    np.testing.assert_allclose(pose[:3, :3] @ point, expected, atol=1e-9)
    np.testing.assert_array_equal(pose[:, 3], [4, 5, 6, 1])


def test_matrices_in_a_row(tmp_path):
    twelve = "0 -1 0 7 1 0 0 8 0 0 1 9"
    (tmp_path / "p.txt").write_text(f"{twelve}\n{twelve} 0 0 0 1\n".replace(" ", ", "))
    found = tracks.poses(tmp_path / "p.txt", 2)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0][:3], [[0, -1, 0, 7], [1, 0, 0, 8], [0, 0, 1, 9]])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 3", "3 numbers are no pose"),
        ("-1 0 0 0 0 1 0 0 0 0 1 0", "it is no rigid motion"),  # a mirror
        ("2 0 0 0 0 2 0 0 0 0 2 0", "it is no rigid motion"),
        ("1 0 0 nan 0 1 0 0 0 0 1 0", "it is no rigid motion"),
        ("0 0 0 0 0 0 0 0", "its quaternion has the norm 0;"),
        ("0.1 0 0 0 1 1 0 0", "its quaternion has the norm 1.41421;"),
        ("1 0 0 0 0 1 0 0 0 0 1 x", "could not convert"),
    ],
)
def test_lines_that_are_no_motion(tmp_path, line, message):
    (tmp_path / "p.txt").write_text(line)
    with pytest.raises(UserError, match=rf"p\.txt, line 1: {message}"):
        tracks.poses(tmp_path / "p.txt", 1)


def test_where_a_file_is_looked_for(tmp_path):
    (tmp_path / "seq").mkdir()
    (tmp_path / "alone.txt").write_text("0")
    (tmp_path / "seq" / "t.txt").write_text("0")
    look = {"folder": tmp_path / "seq", "only": True}
    assert tracks.find("--timestamps", "t.txt", **look) == tmp_path / "seq" / "t.txt"
    assert tracks.find("--timestamps", str(tmp_path / "alone.txt"), **look) == tmp_path / "alone.txt"
    with pytest.raises(UserError, match=r"--poses: there is no file .*seq/p\.txt$"):
        tracks.find("--poses", "p.txt", **look)
    with pytest.raises(UserError, match="with several sequences every folder has its own"):
        tracks.find("--poses", "p.txt", folder=tmp_path / "seq", only=False)


def test_what_is_written_as_tum_is_read_back(tmp_path):
    """Rotations of every kind of leading quaternion part, against SciPy."""
    vectors = np.array(
        [[0, 0, 0], [0.3, -0.2, 0.1], [3.1, 0, 0.1], [0.1, 3.1, 0], [0, -0.1, -3.1], [1, 1, 1]]
    )
    poses = np.tile(np.eye(4), (len(vectors), 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(vectors).as_matrix()
    poses[:, :3, 3] = np.arange(3 * len(vectors)).reshape(-1, 3) / 7
    seconds = 1_600_000_000 + np.arange(len(vectors)) / 8
    (tmp_path / "poses.txt").write_text("# a comment\n" + tracks.tum(seconds, poses))
    np.testing.assert_allclose(tracks.poses(tmp_path / "poses.txt", len(poses)), poses, atol=1e-7)
    times, again = tracks.table(tmp_path / "poses.txt")
    np.testing.assert_array_equal(times, 1_600_000_000 * 10**9 + np.arange(len(vectors)) * 125_000_000)
    np.testing.assert_allclose(again, poses, atol=1e-7)
    numbers = np.loadtxt(tmp_path / "poses.txt")
    written = Rotation.from_quat(numbers[:, 4:])
    assert (written.inv() * Rotation.from_rotvec(vectors)).magnitude().max() < 1e-7
    assert (numbers[:, 7] >= 0).all()
