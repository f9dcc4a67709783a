"""Depth and scene understanding from thermal (LWIR) cameras, in JAX/Flax."""

from __future__ import annotations

import os
import typing

from tdepth_jax.version import __version__

if typing.TYPE_CHECKING:
    from tdepth_jax.predictor import Predictor

__all__ = ["__version__", "load"]


def load(run: str | os.PathLike, *, step: int | None = None, batch_size: int = 1) -> Predictor:
    """A trained run, ready for frames of any size: `tdepth_jax.load("runs/x").infer("frame.tiff").depth`.

    Args:
      run: a run directory, as `train` writes it.
      step: of the checkpoint; None = the latest.
      batch_size: frames in one call of the network.

    Returns:
      `Predictor`: `infer` gives depth [h, w] of one frame (a file, or raw counts as uint16 [h, w]) with its mask,
      intrinsics and, where the method has one, confidence; `label` the class numbers of a run that labels pixels.

    Raises:
      errors.UserError: no such run or step, or weights that do not fit it.
    """
    from tdepth_jax.predictor import Predictor  # JAX starts here, not with the package

    return Predictor.open(run, step=step, batch_size=batch_size)
