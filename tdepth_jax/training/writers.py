"""Where a run's numbers go: metrics.jsonl always, TensorBoard events beside it."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from etils import epath

SCORES = "eval/"  # what names of scores begin with
UPLOAD = 60.0  # seconds between uploads of a log that lies in a bucket


class Metrics:
    """One JSON object per line in `metrics.jsonl`; a run resumed at `step` continues after that step's line.

    Lines of steps that the resumed run will take again are dropped first, and half a line left by a kill too,
    so the file reads as if the run had never stopped. In a bucket (gs://) both logs are written anew every minute and
    at every save, for objects cannot be appended to.
    """

    def __init__(self, workdir: Any, step: int):
        workdir = epath.Path(workdir)
        self._path = workdir / "metrics.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        self._scored = {
            row["step"] for row in map(json.loads, kept) if any(name.startswith(SCORES) for name in row)
        }
        text = "".join(line + "\n" for line in kept)
        remote = "://" in str(workdir)
        self._log: _Log = _Uploaded(self._path, text) if remote else _Appended(self._path, text)
        self._folder = workdir / "tensorboard"
        self._local = tempfile.TemporaryDirectory() if remote else None
        # Imported here: it is slow to load, and only training needs it.
        from tensorboardX import SummaryWriter

        folder = self._local.name if self._local else str(self._folder)
        self._events = SummaryWriter(folder, purge_step=step + 1, flush_secs=30)

    def _lines(self) -> list[str]:
        if not self._path.exists():
            return []
        lines = self._path.read_text().splitlines()
        while lines and not _is_object(lines[-1]):
            lines.pop()
        return lines

    def scored(self, step: int) -> bool:
        """Whether the log that the run went on with has scores of that step."""
        return step in self._scored

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        # JSON has no NaN; a reader in another language would stop at one.
        row = {"step": step} | {k: float(v) if np.isfinite(v) else None for k, v in values.items()}
        self._log.add(json.dumps(row) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name, float(value), step)

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, picture in images.items():
            self._events.add_image(name, picture, step, dataformats="HWC")

    def flush(self) -> None:
        """On disk when this returns. Called before a checkpoint commits: no saved step may lack its line."""
        self._log.flush()
        self._events.flush()
        if self._local:
            self._folder.mkdir(parents=True, exist_ok=True)
            for file in pathlib.Path(self._local.name).iterdir():
                (self._folder / file.name).write_bytes(file.read_bytes())

    def close(self) -> None:
        self.flush()
        self._log.close()
        self._events.close()
        if self._local:
            self._local.cleanup()


class _Log(Protocol):
    """A text that grows, on disk as far as it was flushed."""

    def add(self, line: str) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class _Appended:
    def __init__(self, path: epath.Path, kept: str):
        temporary = path.with_suffix(".jsonl.tmp")
        temporary.write_text(kept)
        temporary.replace(path)
        self._file = path.open("a")

    def add(self, line: str) -> None:
        self._file.write(line)
        self._file.flush()  # a run is watched through this file

    def flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class _Uploaded:
    def __init__(self, path: epath.Path, kept: str):
        self._path, self._text, self._written = path, [kept], 0.0
        self.flush()

    def add(self, line: str) -> None:
        self._text.append(line)
        if time.monotonic() - self._written > UPLOAD:
            self.flush()

    def flush(self) -> None:
        self._path.write_text("".join(self._text))
        self._written = time.monotonic()

    def close(self) -> None:
        self.flush()


class NoMetrics:
    """What every process but the first writes to."""

    def scored(self, step: int) -> bool:
        return True

    def scalars(self, step: int, values: Mapping[str, Any]) -> None: ...
    def images(self, step: int, images: Mapping[str, Any]) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False
