"""Published weights to this package's: DINOv2, its depth heads, Depth Anything V1/V2, ZoeDepth, torchvision's ResNets
and MobileNetV2.

  tdepth import_weights dinov2_vitb14_pretrain.pth -o weights/dinov2_vitb14 --verify
  python -m tdepth_jax.train --config=... --config.model.backbone_weights=weights/dinov2_vitb14
  tdepth import_weights mobilenet_v2.pth -o weights/mobilenet_v2
  python -m tdepth_jax.train --config=... --config.model.encoder_weights=weights/mobilenet_v2

A depth head published apart from its backbone is imported with it: name both files. The kind of a file is told by
its content. Nothing in it is executed, and PyTorch is not needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tdepth_jax.errors import UserError, run_door
from tdepth_jax.flags import parse


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="tdepth import_weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("file", nargs="+", help="a .pth or .safetensors file; several are taken as one")
    p.add_argument("-o", "--output", required=True, help="folder to write; must be new or empty")
    p.add_argument(
        "--head", choices=("depth_anything_v1", "depth_anything_v2", "dinov2_linear", "dinov2_linear4"),
        help="what the file may leave open: which taps a Depth Anything head was trained on (V1 and V2 files look "
        "alike; default V2), and how many a linear head without its backbone reads",
    )  # fmt: skip
    p.add_argument(
        "--metric", type=float, default=0.0, metavar="METRES",
        help="the range of a metric model, e.g. 80 outdoors, 20 indoors; relative and metric files look alike",
    )  # fmt: skip
    p.add_argument(
        "--branch", choices=("thermal", "rgb"),
        help="of MonoTher-Depth's file, which holds two networks, the one to take; default thermal",
    )  # fmt: skip
    p.add_argument(
        "--verify", action="store_true",
        help="run the imported backbone and compare its features with the reference code's, where this package ships "
        "them for these weights; weights that give others are not written",
    )  # fmt: skip
    return p


def main(argv: Sequence[str] | None = None) -> None:
    flags = parse(parser(), argv)
    report = import_weights(
        *flags.file,
        output=flags.output,
        head=flags.head,
        metric=flags.metric,
        branch=flags.branch,
        verify=flags.verify,
    )
    print(report)


def import_weights(
    *files: str | pathlib.Path,
    output: str | pathlib.Path,
    head: str | None = None,
    metric: float = 0.0,
    branch: str | None = None,
    verify: bool = False,
) -> str:
    """Writes `output`/vit, /head, /metric_bins, /resnet, /mobilenet and the statistics of the last two, whichever there
    are (Orbax, float32, flat), and /import.json.

    Returns a report.

    Raises UserError for files that are damaged, partial, unsafe or of an unknown kind, and for weights that `verify`
    finds to give other features than the reference code, before anything is written.
    """
    from tdepth_jax.models import convert, golden_features

    output = pathlib.Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is there already; name a new folder")
    state, others = _read(files)
    where = " + ".join(map(str, files))
    try:
        converted = convert.convert(state, branch=branch)
        settings = convert.model_settings(converted.facts, head=head, metric=metric)
        digests = {part: _digest({part: _flat(tree)}) for part, tree in converted.params.items()}
        verdict = golden_features.verdict(converted, digests) if verify else ""
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    flat = {part: _flat(tree) for part, tree in converted.params.items()}
    record = {
        "file": " + ".join(pathlib.Path(file).name for file in files),
        "content": _digest(flat),
        "parts": sorted(flat),
        "model": settings,
        "facts": converted.facts,
    }
    _save(output, flat, record)
    lines = [_report(record, converted.mapped, [*converted.ignored, *others], output), verdict]
    return "\n".join(filter(None, lines))


def _read(files: Sequence[str | pathlib.Path]) -> tuple[dict[str, np.ndarray], list[tuple[str, str]]]:
    """The arrays of all files, and the entries that are none."""
    from tdepth_jax.models import weight_files

    state: dict[str, np.ndarray] = {}
    others: list[tuple[str, str]] = []
    for file in files:
        more, rest = weight_files.read(file)
        if twice := sorted(state.keys() & more.keys()):
            raise UserError(f"{file}: {twice[0]} is in another of the files, too")
        state |= more
        others += rest
    return state, others


def _save(output: pathlib.Path, flat: dict[str, dict[str, np.ndarray]], record: dict[str, Any]) -> None:
    import orbax.checkpoint as ocp

    output.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        for part, arrays in flat.items():
            checkpointer.save(output.resolve() / part, arrays)
            checkpointer.wait_until_finished()
    (output / "import.json").write_text(json.dumps(record, indent=1) + "\n")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    flat: dict[str, np.ndarray] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _digest(flat: dict[str, dict[str, np.ndarray]]) -> str:
    """A hash of names, shapes and values: equal for the same weights in whatever format they came."""
    digest = hashlib.sha256()
    for part in sorted(flat):
        for path in sorted(flat[part]):
            array = np.ascontiguousarray(flat[part][path], np.float32)
            digest.update(f"{part}/{path}{array.shape}".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def _report(
    record: dict[str, Any],
    mapped: list[tuple[str, str, tuple[int, ...]]],
    ignored: list[tuple[str, str]],
    output: pathlib.Path,
) -> str:
    """The table of arrays, blocks of equal shapes on one line, and how to use the result."""
    rows: dict[tuple[str, str, str], int] = {}
    for name, path, shape in mapped:
        # One line per array of the stacked blocks, with * for the block's number.
        name, path = (
            re.sub(r"(blocks|layer)\.\d+(\.\d+)?", r"\1.*", name),
            re.sub(r"(blocks)/\d+", r"\1/*", path),
        )
        key = (name, path, "×".join(map(str, shape)))
        rows[key] = rows.get(key, 0) + 1
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = [
        f"{a:<{widths[0]}}  ->  {b:<{widths[1]}}  {c:>{widths[2]}}  x{n}" for (a, b, c), n in rows.items()
    ]
    lines += [f"{name}: ignored, {reason}" for name, reason in ignored]
    model = " ".join(f"--config.model.{key}={_as_flag(value)}" for key, value in record["model"].items())
    lines += [
        "",
        f"{len(mapped)} arrays used, {len(ignored)} ignored, none missing; content {record['content'][:16]}",
        f"written to {output}: {', '.join(record['parts'])}, import.json",
        f"model settings: {model}",
    ]
    if "vit" in record["facts"]:
        convention = record["facts"]["vit"]["interpolation"]
        lines.append(f"position embeddings are resized by the convention {convention!r}")
    return "\n".join(lines)


def _as_flag(value: Any) -> str:
    return str(tuple(value)).replace(" ", "") if isinstance(value, (tuple, list)) else str(value)


if __name__ == "__main__":
    run_door(main)
