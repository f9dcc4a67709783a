"""Where a result comes from: the command that made it, and the code that ran."""

from __future__ import annotations

import pathlib
import shlex
import subprocess
import sys

import jax

from tdepth_jax.version import __version__


def command() -> str:
    """What was typed to start this process, to be typed again."""
    program = pathlib.Path(sys.argv[0])
    if program.parent.name == "tdepth_jax":
        return shlex.join(["python", "-m", f"tdepth_jax.{program.stem}", *sys.argv[1:]])
    return shlex.join([program.name, *sys.argv[1:]])


def code() -> str:
    """The package's version, and the commit where it runs from a checkout of this project."""
    root = pathlib.Path(__file__).resolve().parents[2]
    known = f"tdepth_jax {__version__}, jax {jax.__version__}"
    if not (root / ".git").exists():
        return known
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return known
    return f"{known}, commit {done.stdout.strip()}"
