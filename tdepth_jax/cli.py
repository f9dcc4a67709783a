"""`tdepth VERB …` is `python -m tdepth_jax.VERB …`: the list of doors."""

from __future__ import annotations

import importlib
import sys

from tdepth_jax.errors import run_door

DOORS = {
    "prepare": "raw data set, or your own frames, to records",
    "train": "train, evaluate, checkpoint, resume",
    "evaluate": "score a run under named protocols; tables and an offline HTML report",
    "reproduce": "a published table, trained and scored beside its numbers",
    "predict": "depth maps of images, folders and 16-bit stacks",
    "plan": "what a train step needs and takes on a TPU slice, without one",
    "calibrate": "where the thermal camera stands beside the RGB one, without a target",
    "import_weights": "DINOv2, its depth heads and Depth Anything, from .pth and .safetensors",
}


def usage() -> str:
    width = max(map(len, DOORS))
    return "\n".join(
        ["usage: tdepth VERB [options]     (tdepth VERB --help for the options)", ""]
        + [f"  {verb:<{width}}  {what}" for verb, what in DOORS.items()]
    )


def main() -> None:
    argv = sys.argv[1:]
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return
    verb = argv[0].replace("-", "_")
    if verb not in DOORS:
        print(f"error: there is no verb {argv[0]!r}; choose one of {', '.join(DOORS)}", file=sys.stderr)
        sys.exit(2)
    run_door(importlib.import_module(f"tdepth_jax.{verb}").main, argv[1:])
