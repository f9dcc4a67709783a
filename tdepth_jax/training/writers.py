"""Where a run's numbers go: metrics.jsonl always, TensorBoard events beside it."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np


class Metrics:
    """One JSON object per line in `metrics.jsonl`; a run resumed at `step` continues after that step's line.

    Lines of steps that the resumed run will take again are dropped first, and half a line left by a kill too,
    so the file reads as if the run had never stopped.
    """

    def __init__(self, workdir: pathlib.Path, step: int):
        self._path = workdir / "metrics.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        temporary = self._path.with_suffix(".jsonl.tmp")
        temporary.write_text("".join(line + "\n" for line in kept))
        os.replace(temporary, self._path)
        self._file = self._path.open("a")
        # Imported here: it is slow to load, and only training needs it.
        from tensorboardX import SummaryWriter

        self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1, flush_secs=30)

    def _lines(self) -> list[str]:
        if not self._path.exists():
            return []
        lines = self._path.read_text().splitlines()
        while lines and not _is_object(lines[-1]):
            lines.pop()
        return lines

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        # JSON has no NaN; a reader in another language would stop at one.
        row = {"step": step} | {k: float(v) if np.isfinite(v) else None for k, v in values.items()}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()  # a run is watched through this file
        for name, value in values.items():
            self._events.add_scalar(name, float(value), step)

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, picture in images.items():
            self._events.add_image(name, picture, step, dataformats="HWC")

    def flush(self) -> None:
        """On disk when this returns. Called before a checkpoint commits: no saved step may lack its line."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        self.flush()
        self._file.close()
        self._events.close()


class NoMetrics:
    """What every process but the first writes to."""

    def scalars(self, step: int, values: Mapping[str, Any]) -> None: ...
    def images(self, step: int, images: Mapping[str, Any]) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False
