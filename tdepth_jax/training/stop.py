"""Being asked to stop: SIGTERM, as a preempted machine or a batch queue sends it."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """As a context, turns SIGTERM into a flag that the loop polls, so that the step under way can be saved.

    With several processes the flag is theirs together: JAX's own preemption service picks one step at which
    every process learns of it.
    """

    def __init__(self) -> None:
        self._asked = False

    def __enter__(self) -> StopRequest:
        # With several processes the distributed runtime listens for SIGTERM itself.
        self._previous = signal.signal(signal.SIGTERM, self._ask) if jax.process_count() == 1 else None
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def at(self, step: int) -> bool:
        """Whether to stop after `step`; every process must ask at every step."""
        if jax.process_count() > 1:
            return bool(multihost_utils.reached_preemption_sync_point(step))
        return self._asked
