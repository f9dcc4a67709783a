"""Pickled dictionaries: what NumPy of any age writes is read; what would run code is not."""

import os
import pickle

import numpy as np
import pytest

from tdepth_jax.data import pickled
from tdepth_jax.errors import UserError


def test_what_numpy_saves(tmp_path):
    want = {
        "K": np.eye(3),
        "T": np.arange(3.0)[:, None],
        "n": np.float64(2.5),
        "fortran": np.asfortranarray(np.ones((2, 3))),
    }
    np.save(tmp_path / "calib.npy", want, allow_pickle=True)
    got = pickled.read_dict(tmp_path / "calib.npy")
    assert got.keys() == want.keys()
    for key, value in want.items():
        np.testing.assert_array_equal(got[key], value)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_old_protocols_and_old_module_names(tmp_path, protocol):
    body = pickle.dumps(np.array({"K": np.eye(3)}, dtype=object), protocol=protocol)
    old = body.replace(b"numpy._core", b"numpy.core") if protocol < 4 else body
    header = (tmp_path / "x.npy").open("wb")
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    header.write(old)
    header.close()
    np.testing.assert_array_equal(pickled.read_dict(tmp_path / "x.npy")["K"], np.eye(3))


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("bomb.npy", {"K": Bomb()}, allow_pickle=True)
    with pytest.raises(
        UserError,
        match=r"bomb\.npy cannot be read as a dictionary of arrays \(it asks for (posix|nt|os)\.system",
    ):
        pickled.read_dict(tmp_path / "bomb.npy")
    assert not (tmp_path / "exploded").exists()


def test_what_is_no_dictionary(tmp_path):
    np.save(tmp_path / "array.npy", np.eye(3))
    np.save(tmp_path / "list.npy", np.array([1, "a", None], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("K: 1 2 3")
    for name in ("array", "list", "text", "none"):
        with pytest.raises(UserError, match=rf"{name}\.npy"):
            pickled.read_dict(tmp_path / f"{name}.npy")
