"""Reads .safetensors and PyTorch .pth files to numpy arrays by name, and executes nothing found in them."""

from __future__ import annotations

import collections
import io
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tdepth_jax.errors import UserError

State = dict[str, np.ndarray]
STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1",
    "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip
WRAPPERS = ("state_dict", "model", "teacher", "ema")  # keys under which training code puts the parameters
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a .pth that is no zip


def read(path: str | pathlib.Path) -> tuple[State, list[tuple[str, str]]]:
    """(arrays by name, (name, reason) of entries that are no arrays), told apart by content, not by name.

    bfloat16 becomes float32. Raises UserError for a file of another kind, a truncated one, or a pickle that
    asks for anything but tensors.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    with path.open("rb") as file:
        head = file.read(16)
    try:
        if head[:4] == b"PK\x03\x04":
            return _parameters(_read_zip(path), path)
        if len(head) >= 9 and head[8:9] == b"{":
            return _read_safetensors(path), []
        if head[:1] == b"\x80":
            return _parameters(_read_legacy(path), path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{path} is damaged or cut short: {error}") from error
    raise UserError(f"{path} is neither a .safetensors nor a PyTorch .pth file (it begins with {head[:8]!r})")


def _read_safetensors(path: pathlib.Path) -> State:
    from safetensors import safe_open

    with safe_open(path, framework="flax") as file:
        return {name: _plain(np.asarray(file.get_tensor(name))) for name in file.keys()}  # noqa: SIM118


def _plain(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _parameters(content: Any, path: pathlib.Path) -> tuple[State, list[tuple[str, str]]]:
    """The mapping of arrays in what was pickled, itself or one level down."""
    for key in (None, *WRAPPERS):
        found = content if key is None else content.get(key) if isinstance(content, Mapping) else None
        if isinstance(found, Mapping) and any(isinstance(value, np.ndarray) for value in found.values()):
            arrays = {str(name): value for name, value in found.items() if isinstance(value, np.ndarray)}
            others = [(str(name), "not an array") for name in found if str(name) not in arrays]
            return arrays, others
    raise UserError(f"{path} holds no mapping from names to arrays")


class _Unpickler(pickle.Unpickler):
    """Builds containers, numbers and tensors; any other class or function in the stream is refused by name."""

    def __init__(self, file: Any, storage: Callable[[str, str, int], np.ndarray], path: pathlib.Path):
        super().__init__(file, encoding="utf-8")
        self._storage, self._path = storage, path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        if (module, name) == ("torch", "Size"):
            return tuple
        if module in ("torch", "torch.storage") and name in STORAGES:
            return name  # only named, in the persistent ids below
        raise UserError(
            f"{self._path} is refused: it asks to run {module}.{name}, and weights need only tensors"
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, storage, key, _, count = pid[:5]
        if kind != "storage" or storage not in STORAGES:
            raise UserError(f"{self._path} is refused: it refers to a {kind} of type {storage!r}")
        return self._storage(storage, str(key), int(count))


def _tensor(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_: Any) -> np.ndarray:
    """A view of a storage, as PyTorch's; checked, since a wrong stride would read foreign memory."""
    size, stride, offset = tuple(map(int, size)), tuple(map(int, stride)), int(offset)
    if min((*size, *stride, offset), default=0) < 0 or len(size) != len(stride):
        raise ValueError(f"a tensor of size {size} and stride {stride}")
    if 0 in size:
        return np.zeros(size, storage.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if last >= len(storage):
        raise ValueError(f"a tensor reaches element {last} of a storage of {len(storage)}")
    steps = tuple(s * storage.itemsize for s in stride)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(storage[offset:], size, steps))


def _decode(raw: bytes, storage: str, count: int) -> np.ndarray:
    if STORAGES[storage] == "bfloat16":  # the upper half of a float32
        halves = np.frombuffer(raw, "<u2", count).astype(np.uint32)
        return (halves << 16).view(np.float32)
    return np.frombuffer(raw, STORAGES[storage], count)


def _read_zip(path: pathlib.Path) -> Any:
    """PyTorch 1.6 and later: <folder>/data.pkl and one file per storage in <folder>/data/."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("data.pkl") and name.count("/") <= 1]
        if len(names) != 1:
            raise UserError(f"{path} is a zip file, but not one that PyTorch wrote (no data.pkl in it)")
        folder = names[0].removesuffix("data.pkl")
        cache: dict[str, np.ndarray] = {}

        def storage(kind: str, key: str, count: int) -> np.ndarray:
            if key not in cache:
                cache[key] = _decode(archive.read(f"{folder}data/{key}"), kind, count)
            return cache[key]

        return _Unpickler(io.BytesIO(archive.read(names[0])), storage, path).load()


def _read_legacy(path: pathlib.Path) -> Any:
    """Before PyTorch 1.6: four pickles, then the storages one after another."""
    with path.open("rb") as file:
        # Storages follow the pickle that refers to them: the first pass notes them, the second has them.
        wanted: dict[str, tuple[str, int]] = {}

        def note(kind: str, key: str, count: int) -> np.ndarray:
            wanted[key] = (kind, count)
            return np.zeros(count, np.float32 if STORAGES[kind] == "bfloat16" else STORAGES[kind])

        if _Unpickler(file, note, path).load() != LEGACY_MAGIC:
            raise UserError(f"{path} is a pickle, but not a PyTorch one")
        _Unpickler(file, note, path).load()  # protocol version
        _Unpickler(file, note, path).load()  # byte order and sizes of C types
        start = file.tell()
        _Unpickler(file, note, path).load()
        storages = {}
        for key in _Unpickler(file, note, path).load():
            kind, count = wanted[key]
            (stored,) = struct.unpack("<q", file.read(8))
            width = 2 if STORAGES[kind] == "bfloat16" else np.dtype(STORAGES[kind]).itemsize
            if stored != count:
                raise ValueError(f"storage {key} has {stored} elements, not {count}")
            storages[key] = _decode(file.read(count * width), kind, count)
        file.seek(start)
        return _Unpickler(file, lambda kind, key, count: storages[key], path).load()
