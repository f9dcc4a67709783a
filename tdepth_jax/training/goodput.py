"""Goodput: of all the time since a run was first started, the share that its steps took that are in the checkpoint.

What is not productive: starting, compiling, waiting for data, scoring, saving, steps that a kill undid, and the time in
which the job was not running at all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from etils import epath

FILE = "goodput.json"
KEPT = 20  # saved steps whose account is kept: as many checkpoints as one may want to go back to


class Goodput:
    """The account of one run. `saved` must be called before the checkpoint of that step commits.

    Args:
      workdir: where the account of earlier starts is; None keeps none, as every process but the first does.
      step: that the run goes on from.
      clock: seconds since the epoch.
    """

    def __init__(self, workdir: Any, step: int, *, clock: Callable[[], float] = time.time):
        self._clock, self._path = clock, None if workdir is None else epath.Path(workdir) / FILE
        found = self._read()
        self._began = found.get("began", clock())
        self._saved = {int(k): float(v) for k, v in found.get("productive", {}).items() if int(k) <= step}
        self._before = self._saved.get(step, 0.0)
        self._now = 0.0
        self._write()

    def add(self, seconds: float) -> None:
        """Productive time of this start."""
        self._now += max(seconds, 0.0)

    def saved(self, step: int) -> None:
        self._saved[step] = self._before + self._now
        self._saved = dict(sorted(self._saved.items())[-KEPT:])
        self._write()

    def share(self) -> float:
        """Productive time over all time, 0 to 1."""
        passed = max(self._clock() - self._began, 1e-9)
        return min((self._before + self._now) / passed, 1.0)

    def _read(self) -> dict[str, Any]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            found = json.loads(self._path.read_text())
        except ValueError:  # an account is not worth a run
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self) -> None:
        if self._path is None:
            return
        temporary = self._path.parent / f".{FILE}.tmp"
        temporary.write_text(json.dumps({"began": self._began, "productive": self._saved}))
        temporary.replace(self._path)
