"""Weight files: everything PyTorch writes is read, nothing that a file says is executed."""

from __future__ import annotations

import os
import pickle
import zipfile

import ml_dtypes
import models_golden as golden
import numpy as np
import pytest
from safetensors.numpy import save_file

from tdepth_jax.errors import UserError
from tdepth_jax.models import weight_files

RAMP = np.arange(12, dtype=np.float32)
EXPECTED = {
    "plain": RAMP.reshape(3, 4),
    "transposed": RAMP.reshape(3, 4).T,
    "slice": RAMP[2:8:2],
    "parameter": RAMP[:2],
    "bfloat16": RAMP / 8,
    "half": RAMP / 8,
    "counter": np.array(7),
    "empty": np.zeros((0, 3)),
}


@pytest.mark.parametrize("name", ["tensors.pth", "tensors_legacy.pth"])
def test_files_that_pytorch_wrote(name):
    arrays, others = weight_files.read(golden.FOLDER / name)
    assert set(arrays) == set(EXPECTED)
    assert others == []
    for key, value in EXPECTED.items():
        np.testing.assert_array_equal(arrays[key], value, err_msg=key)


def test_safetensors_whatever_the_name(tmp_path):
    path = tmp_path / "weights.bin"
    save_file({"a": RAMP, "b": (RAMP / 8).astype(ml_dtypes.bfloat16)}, path)
    arrays, _ = weight_files.read(path)
    np.testing.assert_array_equal(arrays["a"], RAMP)
    np.testing.assert_array_equal(arrays["b"], RAMP / 8)
    assert arrays["b"].dtype == np.float32


class _Attack:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, zipped):
    proof, path = tmp_path / "proof", tmp_path / "weights.pth"
    payload = pickle.dumps({"state_dict": _Attack(proof)})
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", payload)
    else:
        path.write_bytes(payload)
    with pytest.raises(UserError, match=r"refused: it asks to run \w+\.system"):
        weight_files.read(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("module", "name"), [("builtins", "eval"), ("torch", "load"), ("numpy", "load"), ("torch.hub", "load")]
)
def test_no_other_callable_is_reachable(tmp_path, module, name):
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", f"c{module}\n{name}\n.".encode())
    with pytest.raises(UserError, match=f"asks to run {module}.{name}"):
        weight_files.read(path)


def test_a_tensor_cannot_reach_outside_its_storage(tmp_path):
    class Storage:
        pass

    class Tensor:
        def __reduce__(self):
            return _rebuild_tensor_v2, (Storage(), 0, (4, 4), (1000, 1), False, None)

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", "FloatStorage", "0", "cpu", 4) if isinstance(value, Storage) else None

    path = tmp_path / "weights.pth"
    with path.with_suffix(".pkl").open("wb") as file:
        Pickler(file, protocol=2).dump({"x": Tensor()})
    payload = path.with_suffix(".pkl").read_bytes().replace(__name__.encode() + b"\n", b"torch._utils\n")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/data/0", RAMP[:4].tobytes())
    with pytest.raises(UserError, match="reaches element 3003 of a storage of 4"):
        weight_files.read(path)


def _rebuild_tensor_v2(*_):
    """Only its name is pickled."""


@pytest.mark.parametrize("keep", [0, 5, 300, 1000])
def test_cut_files_end_in_one_sentence(tmp_path, keep):
    for name in ("tensors.pth", "tensors_legacy.pth"):
        path = tmp_path / name
        path.write_bytes((golden.FOLDER / name).read_bytes()[:keep])
        with pytest.raises(UserError, match=r"damaged|neither"):
            weight_files.read(path)


def test_other_files_are_named_as_such(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        weight_files.read(tmp_path / "absent.pth")
    (tmp_path / "notes.pth").write_text("these are notes, not weights")
    with pytest.raises(UserError, match="neither"):
        weight_files.read(tmp_path / "notes.pth")
