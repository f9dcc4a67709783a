"""Dictionaries of arrays that were pickled into a `.npy` file, read without executing anything in it.

`np.save(path, {"K": ...})` writes a pickle, and unpickling a stranger's file runs a stranger's code. Only what
rebuilds plain arrays and numbers is let through here; anything else is refused by name.
"""

from __future__ import annotations

import importlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tdepth_jax.errors import UserError

# Old and new NumPy write different module names for the same three rebuilders.
_CORES = ("numpy.core", "numpy._core")
_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")} | {
    (f"{core}.multiarray", name) for core in _CORES for name in ("_reconstruct", "scalar")
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return getattr(importlib.import_module(module.replace("numpy.core", "numpy._core")), name)


def read_dict(path: Path) -> dict[str, Any]:
    """The dictionary in a `.npy` file: names to arrays, numbers or text.

    Raises:
      UserError: missing, damaged, no dictionary, or a pickle that asks for more than arrays.
    """
    try:
        data = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})") from error
    try:
        version = np.lib.format.read_magic(data)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(data)
        if dtype != np.dtype(object) or shape != ():
            raise ValueError(f"it is an array {dtype} {shape}, not one dictionary")
        # latin1: what Python 2 wrote, in bytes, comes out as arrays too.
        found = _ArraysOnly(data, encoding="latin1").load()
        found = found.item() if isinstance(found, np.ndarray) else found
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}, not a dictionary")
    except Exception as error:  # a damaged pickle may fail in any way
        raise UserError(
            f"{path} cannot be read as a dictionary of arrays ({error}); copy it again"
        ) from error
    return found
