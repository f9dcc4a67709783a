"""The process around a run: compilation cache, run directory and who holds it, what may change between two starts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from tdepth_jax import config as configs
from tdepth_jax import systems
from tdepth_jax.errors import UserError

# Keys that cannot change what is learnt, only where and how fast it runs or what is written down.
FREE_KEYS = (
    "mesh.",
    "eval.",
    "data.workers",
    "data.threads",
    "data.check_movement",
    "train.log_every",
    "train.save_every",
    "train.keep",
    "train.panels_every",
    "train.cache_targets",
)


def enable_compilation_cache() -> None:
    """Keeps compiled programs between runs, in a folder only this user can write: its entries are executed.

    TDEPTH_COMPILATION_CACHE names another folder, or is "off". What compiles within a second is not kept, unless JAX's
    own JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS says otherwise.
    """
    choice = os.environ.get("TDEPTH_COMPILATION_CACHE", "")
    if choice == "off":
        return
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    folder = pathlib.Path(choice) if choice else base / "tdepth_jax" / "xla"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o022:
        raise UserError(
            f"{folder} can be written by others, and compiled programs in it would be run: chmod 700 it, "
            "or name another folder in TDEPTH_COMPILATION_CACHE (or 'off')"
        )
    jax.config.update("jax_compilation_cache_dir", str(folder))


def claim_workdir(folder: Any, config: ConfigDict, *, accept_changes: bool) -> list[str]:
    """Makes the folder (local or gs://) this config's run directory, or checks that it already is; returns what
    changed. Of several processes the first one writes.

    Raises:
      UserError: the run was begun with another config and `accept_changes` is False.
    """
    workdir = epath.Path(folder)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file; name a folder")
    kept = workdir / "config.json"
    if kept.exists():
        changes = configs.difference(configs.from_json(kept, systems.schema), config)
        grave = [line for line in changes if not line.startswith(FREE_KEYS)]
        if grave and not accept_changes:
            raise UserError(
                f"{workdir} was begun with another config ({'; '.join(grave)}): give a new --workdir, "
                "or --accept_config_change to go on with the new one"
            )
    elif (workdir / "checkpoints").exists() and any((workdir / "checkpoints").iterdir()):
        raise UserError(f"{workdir} has checkpoints but no config.json; name another --workdir")
    else:
        changes = []
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        temporary = workdir / ".config.tmp"
        temporary.write_text(configs.to_json(config))
        temporary.replace(kept)
    return changes


@contextlib.contextmanager
def held(folder: Any) -> Iterator[None]:
    """Holds a run directory on a disk for this job, until the process ends in whatever way; of several the first does.

    Raises:
      UserError: another job trains there: both would write one checkpoint.
    """
    if jax.process_index() != 0 or "://" in str(folder):  # a bucket has no locks
        yield
        return
    with (pathlib.Path(folder) / ".lock").open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process alone, not of those it starts
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise UserError(
                f"{folder} is being trained by process {file.read().strip() or 'unknown'}: wait for it, stop it, or "
                "name another --workdir"
            ) from None
        except OSError:
            pass  # a file system without locks
        else:
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
        yield
