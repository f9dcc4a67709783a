"""Two programs timed in turns: what else the machine does meets both alike. Needs nothing but Python."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

WARM_UP = 3


def serve(run: Callable[[], None]) -> None:
    """Runs once for every line of input and prints the wall and the CPU milliseconds it took."""
    for _ in range(WARM_UP):
        run()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter(), time.process_time()
        run()
        wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
        print(f"{1e3 * wall} {1e3 * cpu}", flush=True)


def take(
    commands: Mapping[str, Sequence[str]], runs: int, *, uncounted: int = 0
) -> dict[str, list[tuple[float, float]]]:
    """name -> (wall, CPU) milliseconds of every run, of commands that `serve`.

    Of what usually runs without a pause so many runs begin every turn `uncounted`: memory that a program gave back, and
    caches, are another's meanwhile.
    """
    children = {
        name: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name, command in commands.items()
    }
    for child in children.values():
        while "ready" not in (line := child.stdout.readline()):
            if not line:
                raise SystemExit("a network did not start; see above")
            print(line.strip())
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in children}
    for _ in range(runs):
        for name, child in children.items():
            for _ in range(uncounted + 1):
                child.stdin.write("\n")
                child.stdin.flush()
                wall, cpu = map(float, child.stdout.readline().split())
            times[name].append((wall, cpu))
    for child in children.values():
        child.stdin.close()
        child.wait()
    return times


def report(ours: Sequence[tuple[float, float]], theirs: Sequence[tuple[float, float]], other: str) -> None:
    """Prints the medians, and median and quartiles of the ratio of neighbouring runs."""
    print(
        f"{len(os.sched_getaffinity(0))} cores, load average {os.getloadavg()[0]:.1f}, {len(ours)} runs each"
    )
    for kind, ours_ms, theirs_ms in zip(
        ("wall", "CPU"), zip(*ours, strict=True), zip(*theirs, strict=True), strict=True
    ):
        ratios = [a / b for a, b in zip(ours_ms, theirs_ms, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{kind}: tdepth_jax {statistics.median(ours_ms):.0f} ms, {other} {statistics.median(theirs_ms):.0f} ms, "
            f"ratio {middle:.2f} (quartiles {low:.2f} to {high:.2f})"
        )
