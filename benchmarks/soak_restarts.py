"""A training job killed and stopped again and again at random moments, against one that nothing disturbed.

  python benchmarks/soak_restarts.py                      200 restarts
  python benchmarks/soak_restarts.py --restarts=5         as the tests run it
  python benchmarks/soak_restarts.py --processes=2        jobs of two processes; any of them is hit

Every restart ends with SIGKILL or SIGTERM, drawn by the seed together with the moment: while it starts, compiles,
trains, scores or saves. It must end with the same losses in metrics.jsonl, the same weights to the last bit, and the
same examples at every step as the undisturbed job; nothing lost, nothing doubled. The job is the train door's own
(`training.run.train`) on ThermalWorld with a tiny network that is told the depth, compiled in a hurry.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import pathlib
import random
import signal
import socket
import sys
import tempfile
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

TINY = {
    "data.image_size": "16,16", "model.backbone": "custom", "model.vit_dim": "8", "model.vit_depth": "4",
    "model.vit_heads": "1", "model.vit_patch": "8", "model.vit_pos_grid": "2", "model.dpt_channels": "4,4,4,4",
    "model.dpt_features": "4", "train.batch_size": "4", "train.log_every": "1", "train.panels_every": "0",
    "eval.stride": "4", "data.threads": "1",
}  # fmt: skip
SERVER = multiprocessing.get_context("forkserver")
PRELOAD = [
    "grain",
    "orbax.checkpoint",
    "tensorboardX",
    "tdepth_jax.training.run",
    "tdepth_jax.systems.selfsup",
]


def main(argv: list[str] | None = None) -> None:
    flags = parser().parse_args(argv)
    SERVER.set_forkserver_preload(PRELOAD)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["XLA_FLAGS"] = f"--xla_backend_optimization_level=0 {os.environ.get('XLA_FLAGS', '')}"
    dice = random.Random(flags.seed)
    with tempfile.TemporaryDirectory(dir=flags.scratch) as scratch:
        folder = pathlib.Path(scratch)
        os.environ["TDEPTH_COMPILATION_CACHE"] = str(folder / "compiled")
        (folder / "compiled").mkdir(mode=0o700)
        _records(folder)
        overrides = TINY | {
            "data.dataset": str(folder / "tiny"),
            "train.steps": str(flags.steps),
            "train.save_every": str(flags.save_every),
            "eval.every": str(2 * flags.save_every),
        }
        for name in ("first", "undisturbed"):  # the first one compiles, and takes much longer than any other
            began = time.monotonic()
            codes = _finish(_start(folder / name, overrides, flags.processes, name))
            assert codes == [0] * flags.processes, _said(folder, name)
        alone = time.monotonic() - began
        print(f"undisturbed: {flags.steps} steps in {alone:.1f} s", flush=True)
        began = time.monotonic()
        restarts, kinds = 0, {"SIGKILL": 0, "SIGTERM": 0, "finished": 0}
        hit = folder / "hit"
        while restarts < flags.restarts:
            processes = _start(hit, overrides, flags.processes, f"start {restarts}")
            # Every hit comes at another moment, from the first import to the last save.
            deadline = time.monotonic() + dice.uniform(0.0, 1.0) * alone
            while time.monotonic() < deadline and all(p.is_alive() for p in processes):
                time.sleep(0.005)
            chosen, kind = dice.choice(processes), dice.choice(("SIGKILL", "SIGKILL", "SIGTERM"))
            if chosen.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chosen.pid, getattr(signal, kind))
            codes = _finish(processes)
            assert all(code in (0, 143, 75, -9, -15, -6) for code in codes), (codes, _said(folder, "hit"))
            done = codes == [0] * flags.processes
            kinds["finished" if done else kind] += 1
            restarts += 1
            if done:  # begin again: the count is of restarts, and each ending must be the same
                _compare(folder, flags.steps)
                _empty(hit)
            if restarts % 10 == 0 or restarts == flags.restarts:
                print(f"{restarts} restarts, {time.monotonic() - began:.0f} s: {kinds}", flush=True)
        codes = _finish(_start(hit, overrides, flags.processes, "last"))
        assert codes == [0] * flags.processes, _said(folder, "hit")
        _compare(folder, flags.steps)
        print(
            f"{restarts} restarts survived ({kinds}): losses, weights and examples are those of the undisturbed job"
        )


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--restarts", type=int, default=200)
    p.add_argument("--processes", type=int, default=1)
    p.add_argument("--steps", type=int, default=60)
    p.add_argument("--save_every", type=int, default=7)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--scratch", type=pathlib.Path, help="a folder for the runs [the system's]")
    return p


def _records(folder: pathlib.Path) -> None:
    from tdepth_jax import prepare

    sizes = ["--sequences", "2", "--frames", "6", "--size", "16x16"]
    prepare.main(["world", "--out", str(folder), "--name", "tiny", *sizes])


def _start(workdir: pathlib.Path, overrides: dict[str, str], count: int, title: str) -> list[Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        SERVER.Process(target=_process, args=(workdir, overrides, i, count, port, title))
        for i in range(count)
    ]
    for process in processes:
        process.start()
    return processes


def _finish(processes: list[Any]) -> list[int]:
    for process in processes:
        process.join(900)
        assert process.exitcode is not None, "a job neither ends nor gets on"
    return [process.exitcode for process in processes]


def _process(
    workdir: pathlib.Path, overrides: dict[str, str], index: int, count: int, port: int, title: str
) -> None:
    said = os.open(
        workdir.parent / f"{workdir.name}-{index}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
    )
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1)
    print(f"--- {title}")
    if count > 1:
        os.environ |= {"TDEPTH_COORDINATOR": f"127.0.0.1:{port}", "TDEPTH_PROCESSES": str(count)}
        os.environ["TDEPTH_PROCESS_ID"] = str(index)
    from tdepth_jax import config, systems
    from tdepth_jax.training import run

    settings = config.load(str(ROOT / "configs" / "world_supervised.py"), overrides, systems.schema)
    _record_examples(workdir, index)
    outcome = run.train(settings, workdir)
    sys.exit(143 if outcome.stopped else 0)


def _record_examples(workdir: pathlib.Path, index: int) -> None:
    """Has the loop's batches write down which records they hold, step by step; a step taken again writes again."""
    from tdepth_jax.training import loop

    original = loop.train

    def train(system: Any, state: Any, frozen: Any, batches: Any, **rest: Any) -> Any:
        def recorded() -> Any:
            with (workdir / f"examples-{index}.jsonl").open("a", buffering=1) as file:
                for step, batch in enumerate(batches, start=int(state.step) + 1):
                    file.write(json.dumps([step, batch["example"].tolist()]) + "\n")
                    yield batch

        return original(system, state, frozen, recorded(), **rest)

    loop.train = train


def _compare(folder: pathlib.Path, steps: int) -> None:
    """Raises AssertionError unless the disturbed job's end is the undisturbed one's."""
    one, other = folder / "undisturbed", folder / "hit"
    for wanted, found in itertools.zip_longest(_lines(one), _lines(other)):
        assert wanted == found, f"metrics.jsonl has {found} instead of {wanted}"
    assert _examples(one, steps) == _examples(other, steps), "the examples differ"
    a, b = ((path / "checkpoints" / str(steps) / "state") for path in (one, other))
    same = _arrays(a), _arrays(b)
    assert same[0].keys() == same[1].keys(), "the checkpoints hold different arrays"
    for name, value in same[0].items():
        assert value.tobytes() == same[1][name].tobytes(), f"{name} differs"


def _lines(workdir: pathlib.Path) -> list[dict[str, Any]]:
    timed = {"images_per_sec", "mfu", "data_wait", "goodput"}
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in timed} for row in rows]


def _examples(workdir: pathlib.Path, steps: int) -> dict[tuple[str, int], list[int]]:
    """(process, step) -> the records of its batch; a step that was taken again must have had the same."""
    found: dict[tuple[str, int], list[int]] = {}
    for path in sorted(workdir.glob("examples-*.jsonl")):
        for line in path.read_text().splitlines():
            with contextlib.suppress(
                json.JSONDecodeError
            ):  # the last line of a killed process may be half a line
                step, examples = json.loads(line)
                assert found.setdefault((path.stem, step), examples) == examples, (
                    f"step {step} saw other examples"
                )
    return {key: value for key, value in found.items() if key[1] <= steps}


def _arrays(state: pathlib.Path) -> dict[str, Any]:
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    tree = ocp.PyTreeCheckpointer().restore(state)
    return {jax.tree_util.keystr(p): np.asarray(v) for p, v in jax.tree_util.tree_leaves_with_path(tree)}


def _empty(workdir: pathlib.Path) -> None:
    import shutil

    shutil.rmtree(workdir)


def _said(folder: pathlib.Path, name: str) -> str:
    return "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob(f"{name}-*.txt")))


if __name__ == "__main__":
    main()
