"""A plan as text."""

from __future__ import annotations

import collections
import importlib.metadata
from typing import Any

from tdepth_jax.planning import chips
from tdepth_jax.planning.job import Plan
from tdepth_jax.planning.program import Step

GIB, MIB = 2**30, 2**20


def text(plan: Plan) -> str:
    """Everything about one plan, a paragraph for each question."""
    on = plan.topology
    lines = [
        f"{plan.request.config} on {on.name}: {on.chips} chips, {plan.per_chip} on each, "
        f"global batch {plan.per_chip * on.chips}"
    ]
    if plan.step is None:
        lines.append(f"does not fit in a chip's memory: {plan.refused}")
    else:
        for part in (_memory, _work, _collectives, _time, _scaling):
            lines += ["", *part(plan, plan.step)]
    if plan.largest:
        batch, size = plan.largest
        more = " or more" if batch >= 4096 else ""
        lines += ["", f"largest batch that fits: {batch} on each chip{more} ({size:.2f} GiB)"]
    elif plan.request.search:
        lines += [
            "",
            "no batch fits: not even one example on a chip; split the model with mesh.fsdp, set model.remat",
        ]
    lines += ["", *(f"warning: {note}" for note in plan.notes)] if plan.notes else []
    said = versions()
    return "\n".join([*lines, "", "  ".join(f"{name} {value}" for name, value in said["versions"].items())])


def versions() -> dict[str, Any]:
    names = ("tdepth-jax", "jax", "jaxlib", "libtpu", "flax")
    return {"versions": {name: importlib.metadata.version(name) for name in names if _installed(name)}}


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _memory(plan: Plan, step: Step) -> list[str]:
    memory = step.memory
    rows = {
        "parameters, trained": memory.parameters,
        "parameters, frozen": memory.frozen,
        "optimizer": memory.optimizer,
        "moving average": memory.ema,
        "batch": memory.batch,
        "padding of these": memory.padding,
        "activations, temporaries": memory.working,
        "program": memory.code,
    }
    capacity = plan.topology.chip.hbm
    lines = ["memory of a chip (MiB)"]
    lines += [f"  {name:<26}{size / MIB:>10,.1f}" for name, size in rows.items() if size]
    lines.append(
        f"  {'total':<26}{memory.total / MIB:>10,.1f}  of {capacity / MIB:,.0f}: {memory.total / capacity:.0%}"
    )
    return lines


def _work(plan: Plan, step: Step) -> list[str]:
    work = step.work
    taught = f", of it the teacher {step.teacher_flops / step.flops:.0%}" if step.teacher_flops else ""
    padding = 1 - work.useful / work.bytes
    return [
        "work of a chip, a step",
        f"  matrix products and convolutions  {step.flops / 1e9:>12,.1f} GFLOP{taught}",
        f"  memory traffic                    {work.bytes / 1e9:>12,.2f} GB, {padding:.0%} padding",
        f"  arithmetic intensity              {step.flops / work.bytes:>12,.0f} FLOP/byte; the chip's balance is "
        f"{plan.topology.chip.peak / plan.topology.chip.bandwidth:,.0f}",
    ]


def _collectives(plan: Plan, step: Step) -> list[str]:
    found: dict[str, list[float]] = collections.defaultdict(lambda: [0, 0.0, 0.0])
    for c in step.work.collectives:
        row = found[c.kind]
        row[0] += c.times
        row[1] += c.bytes * c.times
        row[2] += c.elements * c.times
    lines = ["collectives of a chip, a step"]
    for kind, (count, size, elements) in sorted(found.items()):
        lines.append(f"  {kind:<20}{int(count):>6} x  {size / 1e6:>12,.3f} MB, {int(elements):,} values")
    lines.append(
        f"  {'(trained parameters':<20}{'':>6}    {4 * step.trained / 1e6:>12,.3f} MB, {step.trained:,} values)"
    )
    return lines


def _time(plan: Plan, step: Step) -> list[str]:
    times = plan.times
    rate = plan.per_chip * plan.topology.chips / times.apart
    lines = [
        "shortest time of a step (ms)",
        f"  compute       {times.compute * 1e3:>10,.3f}",
        f"  memory        {times.hbm * 1e3:>10,.3f}",
        f"  interconnect  {times.interconnect * 1e3:>10,.3f}",
        f"  step          {times.apart * 1e3:>10,.3f}, or {times.overlapped * 1e3:,.3f} with the network hidden; "
        f"limit: {times.limit}",
        f"at most {rate:,.0f} images/s, utilisation {times.compute / times.apart:.0%}",
        f"the schedule, {plan.config.train.steps:,} steps of {plan.config.train.batch_size}: at least "
        f"{plan.hours:,.2f} hours for as many images",
    ]
    if step.work.cycles and plan.topology.chip.clock:
        said = step.work.cycles / plan.topology.chip.clock
        lines.append(
            f"the compiler's own estimate, its operations one after the other: {said * 1e3:,.1f} ms a step, "
            f"utilisation {step.flops / plan.topology.chip.peak / said:.0%}"
        )
    return lines


def _scaling(plan: Plan, step: Step) -> list[str]:
    lines = [
        f"weak scaling, {plan.per_chip} on each chip",
        "  chips  topology       ms a step    images/s  efficiency",
    ]
    slices = chips.growing(plan.topology.kind)
    alone = plan.times_on(slices[0]).apart
    for on in slices:
        took = plan.times_on(on).apart
        lines.append(
            f"  {on.chips:>5}  {on.name:<13}{took * 1e3:>11,.3f}{plan.per_chip * on.chips / took:>12,.0f}"
            f"{alone / took:>11.1%}"
        )
    return lines
