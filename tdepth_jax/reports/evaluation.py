"""One evaluation of one run, from its checkpoint to its tables and its page."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import itertools
import json
import math
import pathlib
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from tdepth_jax.data import pipeline, radar_faults, sources
from tdepth_jax.errors import UserError
from tdepth_jax.metrics import baselines as still
from tdepth_jax.metrics import segmentation as label_metrics
from tdepth_jax.metrics.protocols import ALIGNMENTS, PUBLISHED, Protocol, is_indoor, protocols
from tdepth_jax.reports import frames, html, labels, provenance, tables, uncertainty
from tdepth_jax.systems.base import System
from tdepth_jax.training import calibration, evaluator, trajectories
from tdepth_jax.training.restore import Run, load_run
from tdepth_jax.training.uncertainty import suited

NO_DEPTH: dict[str, Any] = {  # of a split with poses alone, what a result says of depth
    "without_depth": 0,
    "failures": {"count": 0, "named": []},
    "protocols": [],
    "frames": [],
    "stride": 1,
}
PROCEDURAL = (
    "ThermalWorld is a procedural test bed: figures on it compare methods and catch mistakes; "
    "they are no evidence about the real world."
)
RADAR = {
    "missing": "Radar is missing: the network is given no returns.",
    "wrong": "Radar is wrong: every return is at a random distance along its ray.",
}
RELATIVE = (
    "This run's depth is relative: its scale is unknown, so its figures without alignment say nothing about "
    "its quality."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What to score; None takes the run's own config.

    Attributes:
      dataset, split: prepared data set (a folder) and its split.
      step: checkpoint, the latest by default.
      names: protocols (`metrics.protocols`): alignments and published ones; None: what the data set's metadata
        name under "protocols", then every alignment.
      averagings: under which alignments are scored; published protocols have their own.
      lstsq_domain: where least squares fits scale and shift.
      min_depth, max_depth: metres, the range of scored ground truth under the alignments.
      max_images: at most this many frames, evenly spaced over the split.
      batch_size: frames per prediction.
      baselines: also score the best constant and row-wise depth.
      pictures: frames shown under each of worst, typical and best.
      poses: also score the camera's motion where the method gives one and the split has poses.
      radar: what a method that sees radar is given: the data's ("given"), none ("missing") or returns at random
        distances ("wrong"); the last two have folders of their own.
    """

    dataset: str | None = None
    split: str | None = None
    step: int | None = None
    names: Sequence[str] | None = None
    averagings: Sequence[str] = ("per_image", "pooled")
    lstsq_domain: str = "inverse_depth"
    min_depth: float | None = None
    max_depth: float | None = None
    max_images: int | None = None
    batch_size: int | None = None
    baselines: bool = True
    pictures: int = 4
    poses: bool = True
    radar: str = "given"

    def protocols(
        self, run: Run | None = None, metadata: Mapping[str, Any] = MappingProxyType({})
    ) -> tuple[Protocol, ...]:
        """What to score under; without a run, with the default range.

        A data set whose metadata say "max_depth" is not scored beyond it.

        Raises:
          UserError: a name that does not exist, or a range given for published protocols, which have their own.
        """
        ranged = self.min_depth is not None or self.max_depth is not None
        named = [name for name in self.names or () if name in PUBLISHED]
        if ranged and named:
            raise UserError(
                f"{named[0]} is scored in its published range; leave out --min_depth and --max_depth, or score "
                "another range with --protocol=none,median,lstsq"
            )
        names = self.names
        if names is None:
            names = (*(() if ranged else metadata.get("protocols", ())), *ALIGNMENTS)
        low, high = (run.config.eval.min_depth, run.config.eval.max_depth) if run else (1e-3, 80.0)
        high = min(high, float(metadata.get("max_depth", high)))
        return protocols(
            names,
            self.averagings,
            indoor=is_indoor(metadata),
            lstsq_domain=self.lstsq_domain,
            min_depth=low if self.min_depth is None else self.min_depth,
            max_depth=high if self.max_depth is None else self.max_depth,
        )


def evaluate_run(workdir: pathlib.Path, request: Request) -> tuple[dict[str, Any], pathlib.Path]:
    """Scores a run and writes `eval/<dataset>-<split>/{metrics.json,report.html}` in it.

    Of a run that predicts a spread, also its calibration (`training.uncertainty.FILE`).

    Returns the result and the page's path.

    Raises:
      UserError: no such run, step, data set, split or protocol; a split without ground truth, in which case
        the sentence gives the method's own losses on it.
    """
    if not set(request.names or ()) & set(label_metrics.PROTOCOLS):
        request.protocols()  # a misspelt protocol should not wait for a checkpoint
    run = load_run(workdir, step=request.step)
    dataset = request.dataset or run.config.eval.dataset or run.config.data.dataset
    split = request.split or run.config.eval.split
    source = sources.open_split(dataset, split)
    if run.system.classes:
        return _labels(run, workdir, source, dataset, split, request)
    predict = _given(run, run.system.predict, request)
    image_size = tuple(run.config.data.image_size)
    batch_size = request.batch_size or run.config.eval.batch_size
    poses = _poses(run, source, image_size, batch_size) if request.poses else None
    camera, sees = run.system.camera, run.system.sees
    if evaluator.truth_of(camera) not in source.features:
        if not poses:
            raise UserError(_without_truth(run, source, dataset, split, request))
        result = NO_DEPTH | {"images": len(source), "poses": poses}
        result |= _about(run, workdir, source, dataset, split, None)
        result["notes"].append("This split has no ground-truth depth: only the camera's motion is scored.")
        return result, pathlib.Path(html.report(workdir, result, history=_history(workdir)))
    asked = request.protocols(run, source.metadata)
    fitted = _baselines(run, asked) if request.baselines else None
    result = evaluator.evaluate(
        predict,
        source,
        image_size=image_size,
        batch_size=batch_size,
        protocols=asked,
        camera=camera,
        sees=sees,
        spread=suited(asked, run.system.scale),
        baselines=fitted,
        stride=_stride(len(source), request.max_images, run.config.eval.stride),
        progress=_bar,
    )
    result |= _about(run, workdir, source, dataset, split, result["images_per_sec"]) | {"poses": poses}
    result |= {"radar": request.radar}
    if request.radar != "given":
        result["notes"].append(RADAR[request.radar])
    if request.baselines and not fitted:
        result["notes"].append(
            "No baselines: the run's training split has no ground-truth depth to fit them on."
        )
    own = run.config.data
    kept, said = uncertainty.settle(
        result,
        run.system.scale,
        training=pathlib.PurePath(dataset) == pathlib.PurePath(own.dataset) and split == own.split,
    )
    result["notes"] += said
    lead = next(p for p in asked if p.name == html.leading(result)["name"])
    gallery = _gallery(run, result, predict, source, batch_size, lead, request)
    page = html.report(workdir, result, gallery=gallery, history=_history(workdir))
    if kept:
        kept.keep(workdir)
    return result, pathlib.Path(page)


def _labels(
    run: Run, workdir: pathlib.Path, source: Any, dataset: str, split: str, request: Request
) -> tuple[dict[str, Any], pathlib.Path]:
    """`evaluate_run` of a method that labels pixels."""
    result, source, predict = labels.evaluate(
        run,
        source,
        names=request.names,
        image_size=tuple(run.config.data.image_size),
        batch_size=request.batch_size or run.config.eval.batch_size,
        stride=_stride(len(source), request.max_images, run.config.eval.stride),
        progress=_bar,
    )
    about = _about(run, workdir, source, dataset, split, result["images_per_sec"])
    result = about | result  # whose notes are of labels
    gallery = labels.pictures(result, source, predict, run, request.pictures)
    page = labels.report(workdir, result, gallery=gallery, history=_history(workdir))
    return result, pathlib.Path(page)


def _given(run: Run, function: Callable[..., Any], request: Request) -> evaluator.Predict:
    """A System's function of (variables, batch) as one of batches, their radar as the request says."""
    own = functools.partial(jax.jit(function), run.variables)
    if request.radar == "given":
        return own
    if "radar/valid" not in run.system.sees:
        raise UserError(f"--radar={request.radar}: {run.config.system.name} sees no radar; leave it out")
    return lambda batch: own(radar_faults.degrade(batch, request.radar))


def overview(result: dict[str, Any]) -> str:
    """What an evaluation prints."""
    if "classes" in result:
        return labels.overview(result)
    spread = [uncertainty.overview(result["uncertainty"])] if result.get("uncertainty") else []
    return "\n\n".join([tables.overview(result), *spread])


def _poses(run: Run, source: Any, image_size: tuple[int, int], batch_size: int) -> dict[str, Any] | None:
    if run.system.motion is None or trajectories.POSE not in source.features:
        return None
    motion = functools.partial(jax.jit(run.system.motion), run.variables)
    return trajectories.evaluate(
        motion,
        source,
        image_size=image_size,
        batch_size=batch_size,
        progress=functools.partial(_bar, desc="poses"),
    )


def _stride(count: int, most: int | None, default: int) -> int:
    if most is None:
        return default
    return max(1, math.ceil(count / most))


def _baselines(run: Run, asked: Sequence[Protocol]) -> evaluator.Baselines | None:
    """Fitted on what the run was trained on; None where that has no depth."""
    source = sources.open_split(run.config.data.dataset, run.config.data.split)
    depth = evaluator.truth_of(run.system.camera)
    if depth not in source.features:
        return None

    usable = {evaluator.VALID} if run.system.camera == "thermal" else set()
    keys = frozenset({depth} | usable) & source.features

    def read(i: int) -> still.Truth:
        frame = source.read(i, keys)
        truth, valid = frame.get(depth), frame.get(evaluator.VALID)
        if truth is None:  # this frame has none
            return np.zeros((1, 1), np.float32), None
        return truth, None if valid is None or valid.shape != truth.shape else valid > 0

    some = np.unique(np.linspace(0, len(source) - 1, 32).astype(int))
    if not any((read(int(i))[0] > 0).any() for i in some):  # a data set with depth, a split without
        return None
    return still.fit(read, len(source), asked)


def _gallery(
    run: Run,
    result: Mapping[str, Any],
    predict: evaluator.Predict,
    source: Any,
    batch_size: int,
    protocol: Protocol,
    request: Request,
) -> frames.Gallery | None:
    """Worst, typical and best frames, predicted once more, with what the method explains them by."""
    if request.pictures < 1:
        return None
    key = next(p["frames_key"] for p in result["protocols"] if p["name"] == protocol.name)
    picked = frames.pick(result["frames"], key, each=request.pictures)
    rows = [row for group in picked.values() for row in group]
    shown = evaluator.revisit(
        predict,
        source,
        [r["example"] for r in rows],
        image_size=tuple(run.config.data.image_size),
        batch_size=batch_size,
        camera=run.system.camera,
        sees=run.system.sees,
        explain=_given(run, run.system.explain, request) if run.system.explain else None,
    )
    looks = {
        row["example"]: frames.look(row, f.image, f.predicted, f.truth, protocol, f.valid, f.maps)
        for row, f in zip(rows, shown, strict=True)
    }
    return frames.gallery(
        {t: [looks[r["example"]] for r in some] for t, some in picked.items()}, protocol, key
    )


def _without_truth(run: Run, source: Any, dataset: str, split: str, request: Request) -> str:
    """The sentence for a split without depth: what can be said instead, if anything."""
    start = f"{dataset} ({split}) has no ground-truth depth, so there is nothing to score predictions against"
    missing = run.system.needs - source.features
    if missing:
        return f"{start}, and {run.config.system.name}'s own losses need {', '.join(sorted(missing))}"
    scores = _own_losses(run, source, request)
    if not scores:
        return f"{start}, and no sequence is long enough for {run.config.system.name}'s own losses"
    terms = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    text = f"{start}; {run.config.system.name}'s own losses on it at step {run.step} are {terms} (lower is better)"
    camera = _camera(run, source)
    return f"{text}; {calibration.describe(camera)}" if camera else text


def _own_losses(run: Run, source: Any, request: Request) -> dict[str, float]:
    """The loss terms of the run's first update over snippets of the split, without augmentation."""
    offsets, size = run.system.offsets, request.batch_size or run.config.eval.batch_size
    count = len(source.snippet_centres(offsets))
    size = min(size, count)
    if not count:
        return {}
    images = min(count, request.max_images or count)
    with pipeline.train_iterator(
        source,
        keys=run.system.needs | (run.system.wants & source.features),
        offsets=offsets,
        image_size=tuple(run.config.data.image_size),
        batch_size=size,
        seed=0,
        augment=pipeline.Augment(flip=False, scale_crop=1.0),
    ) as batches:
        some = itertools.islice(batches, math.ceil(images / size))
        return evaluator.self_scores(_loss(run.system, run.variables), some)


def _loss(system: System, variables: Mapping[str, Any]) -> Callable[[Any], Mapping[str, tuple]]:
    params = variables["params"]
    mutable = {name: tree for name, tree in variables.items() if name != "params"}

    @jax.jit
    def terms(params: Any, mutable: Any, batch: Any) -> Any:
        targets = system.teacher({"params": params, **mutable}, batch) if system.teacher else None
        return system.updates[0].loss(params, mutable, batch, targets, jax.random.key(0))[0]

    return functools.partial(terms, params, mutable)


def _about(
    run: Run, workdir: pathlib.Path, source: Any, dataset: str, split: str, rate: float | None
) -> dict[str, Any]:
    """What a reader needs to know, and to repeat it."""
    name = pathlib.PurePosixPath(str(dataset).rstrip("/")).name
    devices = jax.devices()
    config = json.dumps(run.config.to_dict(), sort_keys=True, default=str)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = [
        ("run", f"{workdir}, step {run.step}, method {run.config.system.name}"),
        ("command", provenance.command()),
        ("data", f"{dataset}, split {split}, fingerprint {source.fingerprint}"),
        ("network input", "{} x {} pixels (height x width)".format(*run.config.data.image_size)),
        ("config", "sha256 " + hashlib.sha256(config.encode()).hexdigest()[:16]),
        ("code", provenance.code()),
        ("device", f"{len(devices)} x {devices[0].device_kind} ({platform.node()})"),
        ("prediction", "–" if rate is None else f"{rate:.1f} images/s"),
        ("date", now),
    ]
    camera = _camera(run, source)
    notes = [] if run.system.scale == "metric" else [RELATIVE]
    notes += [calibration.describe(camera)] if camera else []
    return {
        "model": f"{pathlib.Path(workdir).name} at step {run.step} ({run.config.system.name})",
        "dataset": name,
        "split": split,
        "step": run.step,
        "fingerprint": source.fingerprint,
        "notice": PROCEDURAL if source.metadata.get("synthetic") else "",
        "camera": camera,
        "notes": notes,
        "about": [list(fact) for fact in facts],
    }


def _camera(run: Run, source: Any) -> dict[str, Any] | None:
    return calibration.found(run.system, run.variables, source, image_size=tuple(run.config.data.image_size))


def _history(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The run's log; half a line, left by a run that is being written or was killed, is left out."""
    path = pathlib.Path(workdir) / "metrics.jsonl"
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and "step" in line:
            lines.append(line)
    return lines


def _bar(batches: Iterable, total: int, desc: str = "evaluating") -> Iterable:
    quiet = not sys.stderr.isatty() or jax.process_index() != 0
    return tqdm(batches, total=total, unit="batch", desc=desc, disable=quiet, dynamic_ncols=True, leave=False)
