"""A process of a job that hangs, is slow, or has lost another: said in a sentence, and ended where nothing is to come.

A job of several processes waits in every step for the slowest of them, for ever if one is gone. What notices: the
connection (at once where the operating system closes it, after a missed heartbeat where a machine just stops), and,
for a process that is there and does nothing, the watchdog of its own.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType

import jax
import numpy as np
from jax.experimental import multihost_utils

from tdepth_jax.errors import UserError

AGAIN = 75  # exit code: nothing wrong with the command, start it again (EX_TEMPFAIL)
HANG = 900.0  # seconds; TDEPTH_HANG_SECONDS says otherwise, 0 = never
LONG = 8.0  # times as much for what is long: compiling, scoring, saving
# What a collective, the coordination service or a barrier says when a process is gone; their types differ.
LOST = re.compile(
    r"Connection (closed|reset)|Gloo .* failed|coordination|heartbeat|peer|barrier|UNAVAILABLE|DEADLINE_EXCEEDED",
    re.I,
)
SLOW = 0.1  # share of its time that a process may wait for its data before the others hear of it


class Watchdog:
    """As a context, ends the process when it does nothing for too long. `doing` is called whenever it begins something.

    Args:
      seconds: how long one thing may take; 0 = for ever.
      end: what to do with the sentence about a hang.
    """

    def __init__(self, seconds: float | None = None, *, end: Callable[[str], None] | None = None):
        self._limit = _limit() if seconds is None else seconds
        self._end = end or _end
        self._state = (time.monotonic(), 0, "starting", LONG)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Watchdog:
        if self._limit:
            self._thread.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()

    def doing(self, step: int, what: str, *, patience: float = 1.0) -> None:
        """Begins something that may take `patience` times the limit."""
        self._state = (time.monotonic(), step, what, patience)

    def _watch(self) -> None:
        while not self._closed.wait(min(self._limit / 4, 10.0)):
            since, step, what, patience = self._state
            if (idle := time.monotonic() - since) > self._limit * patience:
                self._end(
                    f"{whoami()} hangs: {what} at step {step} for {idle:.0f} s (TDEPTH_HANG_SECONDS={self._limit:g}); "
                    "it is ended, so that the job can be started again from its last checkpoint. Of several processes "
                    "the one that waits for data or saves is the cause, those in a step wait for it"
                )
                return


@contextlib.contextmanager
def or_end() -> Iterator[None]:
    """In a job of several processes, whatever ends one ends it at once.

    A process that left in the usual way would first wait for the others, which wait for it in a step. As it is, its
    connections close, and the others end here, too.
    """
    if jax.process_count() == 1:
        yield
        return
    try:
        yield
    except UserError as error:
        _leave(f"error: {error}", 2)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except SystemExit:
        raise
    except BaseException as error:
        if LOST.search(str(error)):
            _leave(
                f"error: {whoami()} lost another process of the job ({str(error).splitlines()[0][:200]}); the same "
                "command on all of them resumes from the last checkpoint",
                AGAIN,
            )
        traceback.print_exc()
        _leave(f"error: {whoami()} failed (above); the others will say that they lost it", 1)


def slowest(waited: float, elapsed: float) -> tuple[float, str]:
    """(share of its time that the slowest process waits for data, a sentence if it holds the others up).

    Args:
      waited, elapsed: seconds of this process. Every process must call this at the same step.
    """
    own = min(waited / max(elapsed, 1e-9), 1.0)
    if jax.process_count() == 1:
        return own, ""
    with jax.transfer_guard("allow"):
        shares = np.asarray(multihost_utils.process_allgather(np.float32(own))).reshape(-1)
    worst, usual = int(shares.argmax()), float(np.sort(shares)[(len(shares) - 1) // 2])
    if shares[worst] < SLOW or shares[worst] < 2 * usual:
        return float(shares.max()), ""
    return float(shares.max()), (
        f"warning: process {worst} waits {shares[worst]:.0%} of its time for data, the median process {usual:.0%}: all "
        "wait for it; look at its disk and CPU, or set data.workers or data.threads"
    )


def whoami() -> str:
    return f"process {jax.process_index()} of {jax.process_count()} ({socket.gethostname()})"


def _limit() -> float:
    said = os.environ.get("TDEPTH_HANG_SECONDS", "")
    try:
        limit = float(said or HANG)
    except ValueError:
        limit = -1.0
    if limit < 0:
        raise UserError(f"TDEPTH_HANG_SECONDS={said!r} must be a number of seconds, or 0 for no watchdog")
    return limit


def _end(sentence: str) -> None:
    faulthandler.dump_traceback(all_threads=True)
    _leave(f"error: {sentence}", AGAIN)


def _leave(sentence: str, code: int) -> None:
    """Without the usual farewell, which would wait for processes that are gone."""
    print(sentence, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)
