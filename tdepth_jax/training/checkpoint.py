"""Checkpoints: the only file that knows Orbax.

A run keeps `checkpoints/<step>/` (state, and the position in the data) and `frozen/`, the parameters that never
change, written once. A save is a rename at its end, so a half-written one is never seen by a restore.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from tdepth_jax.errors import UserError
from tdepth_jax.training.partition import Flat
from tdepth_jax.training.state import State

MOST_MISMATCHES = 8  # listed in an error


class Checkpoints:
    """The checkpoints of one run directory (local or gs://). Use as a context: leaving it waits for the last save."""

    def __init__(self, workdir: str | pathlib.Path, *, keep: int = 2):
        self._root = epath.Path(workdir).resolve() if "://" not in str(workdir) else epath.Path(workdir)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
        handlers = {"state": ocp.StandardCheckpointHandler(), "data": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(
            self._root / "checkpoints", options=options, item_names=tuple(handlers), item_handlers=handlers
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is not None and jax.process_count() > 1:
            return  # closing waits for the save under way, and that for processes that may be gone
        self._manager.close()

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: State, data: Mapping[str, Any]) -> None:
        """Starts writing; device arrays are copied before this returns, so the caller may donate them."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_as_dict(state)), data=ocp.args.JsonSave(dict(data))
            ),
        )

    def wait(self) -> None:
        self._manager.wait_until_finished()

    def restore(self, step: int, like: State) -> tuple[State, dict[str, Any]]:
        """The state saved at `step`, placed as `like` (shapes with shardings), and the data position.

        Raises:
          UserError: names, shapes or types differ from `like`; every difference is named.
        """
        wanted = _as_dict(like)
        folder = f"{self._root}/checkpoints/{step}"
        try:
            found = self._manager.item_metadata(step)["state"]
            if found is None:
                raise ValueError("it holds no state")
            _compare(found.tree if hasattr(found, "tree") else found, wanted, folder)
            saved = self._manager.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(wanted), data=ocp.args.JsonRestore()),
            )
        except (ValueError, OSError, KeyError) as error:  # JSON, files and arrays that do not read
            reason = str(error).splitlines()[0][:200]
            raise UserError(
                f"{folder} is damaged ({reason}); delete that folder to use an older one"
            ) from error
        return _rematerialise(State(**saved["state"]), like), saved["data"]

    def save_frozen(self, frozen: Flat) -> None:
        """Written once, before the first step; nothing to do where it is already."""
        if frozen and not (self._root / "frozen").exists():
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(self._root / "frozen", frozen)

    def restore_frozen(self, like: Flat) -> Flat:
        return load_flat(self._root / "frozen", like) if like else {}


def has_checkpoint(workdir: str | pathlib.Path) -> bool:
    """Whether a run was saved there; makes no folder. An unfinished save has no plain number for a name."""
    folder = epath.Path(workdir) / "checkpoints"
    return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())


def load_flat(folder: epath.Path, like: Flat, *, leave: Sequence[str] = (), mend: str = "") -> Flat:
    """A flat dictionary of arrays saved in `folder`, placed as `like`; `mend` ends the sentence if they differ.

    Saved arrays whose path matches one of the patterns `leave` are neither compared nor returned.
    """
    if not folder.exists():
        raise UserError(f"there are no saved weights at {folder}; restore that folder, or name another")
    with ocp.StandardCheckpointer() as checkpointer:
        found = checkpointer.metadata(folder)
        found = found.item_metadata if hasattr(found, "item_metadata") else found
        found = found.tree if hasattr(found, "tree") else found
        left = {k for k in found if any(re.fullmatch(p, k) for p in leave)}
        _compare({k: v for k, v in found.items() if k not in left}, like, str(folder), mend)
        whole = {k: jax.ShapeDtypeStruct(found[k].shape, found[k].dtype) for k in left} | like
        restored = checkpointer.restore(folder, whole)
        return _rematerialise({k: restored[k] for k in like}, like)


def _as_dict(state: State) -> dict[str, Any]:
    """By field name, so that the layout on disk does not depend on the class. Empty trees stay: Orbax keeps them."""
    return {name: getattr(state, name) for name in state.__dataclass_fields__}


def _compare(found: Any, wanted: Any, where: str, mend: str = "") -> None:
    """Orbax casts a wrong dtype silently and blames the handler for a wrong shape, so we look first."""
    a, b = _described(found), _described(wanted)
    lines = [f"{k} is missing" for k in b.keys() - a.keys()]
    lines += [f"{k} is not in this model" for k in a.keys() - b.keys()]
    lines += [f"{k} is {a[k]}, this model has {b[k]}" for k in a.keys() & b.keys() if a[k] != b[k]]
    if lines:
        more = f" and {len(lines) - MOST_MISMATCHES} more" if len(lines) > MOST_MISMATCHES else ""
        raise UserError(
            f"{where} does not fit this config: {'; '.join(sorted(lines)[:MOST_MISMATCHES])}{more}; "
            f"{mend or 'use the config the run was made with'}"
        )


def _described(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        "/".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path): (
            f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
        )
        for path, leaf in leaves
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype")
    }


def _rematerialise(tree: Any, like: Any) -> Any:
    """Restored arrays may not be donatable (their buffers can be shared with the reader), and the first step would
    hold two copies; passing them once through a compiled identity makes them ordinary device arrays."""
    return jax.jit(lambda x: x, out_shardings=jax.tree.map(lambda x: x.sharding, like))(tree)
