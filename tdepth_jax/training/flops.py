"""How much work a step is, and how much the machine could do: the two halves of utilisation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

# Dense bf16 peak in FLOP/s by a word of the device's kind, from the vendors' data sheets.
PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "V6 LITE": 918e12,
    "V5 LITE": 197e12,
    "V5": 459e12,  # v5p, which calls itself "TPU v5"; after the v5e's "TPU v5 lite"
    "V4": 275e12,
}


def count(function: Callable[..., Any], *arguments: Any, platform: str | None = None) -> float:
    """FLOPs of one call: the matrix products and convolutions in its trace, a multiply-add as 2.

    Counted from the trace because a compiled program's own count takes the body of a scanned stack of layers
    once. Element-wise work is left out; rematerialised work is in it. `arguments` may be arrays or their shapes.
    What is written apart for each `platform` ("cpu", "tpu", …) is counted as that one runs it; None: the most.
    """
    return of_trace(jax.make_jaxpr(function)(*arguments), platform=platform)


def of_trace(trace: core.ClosedJaxpr, *, platform: str | None = None) -> float:
    """FLOPs of a function already traced; see `count`."""
    return _flops(trace.jaxpr, platform)


def device_peak() -> float:
    """Peak FLOP/s of one device: its data sheet's dense bf16, or on a CPU the fastest of a few matrix products."""
    device = jax.local_devices()[0]
    kind = device.device_kind.upper()
    for word, peak in PEAKS.items():
        if word in kind:
            return peak
    if device.platform != "cpu":
        return math.nan
    n = 1024
    a = jax.device_put(jnp.ones((n, n), jnp.float32), device)
    product = jax.jit(lambda x: x @ x)
    product(a).block_until_ready()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        product(a).block_until_ready()
        times.append(time.perf_counter() - start)
    # Forced host devices share the one CPU: each of them has its part of what the CPU can do.
    return 2 * n**3 / min(times) / jax.local_device_count()


def _flops(jaxpr: Any, platform: str | None) -> float:
    total = 0.0
    for eqn in jaxpr.eqns:
        name = eqn.primitive.name
        if name == "dot_general":
            (contract, _), _ = eqn.params["dimension_numbers"]
            inner = math.prod(eqn.invars[0].aval.shape[i] for i in contract)
            total += 2.0 * math.prod(eqn.outvars[0].aval.shape) * inner
        elif name == "conv_general_dilated":
            total += 2.0 * math.prod(eqn.outvars[0].aval.shape) * _taps(eqn)
        elif name == "cond":
            total += max(_flops(branch.jaxpr, platform) for branch in _branches(eqn.params, platform))
        else:
            times = eqn.params["length"] if name == "scan" else 1
            total += times * sum(_flops(inner, platform) for inner in _inner(eqn.params))
    return total


def _branches(params: dict[str, Any], platform: str | None) -> Sequence[Any]:
    """Those that can be taken on `platform`: of `jax.lax.platform_dependent` one, of a condition all."""
    branches, platforms = params["branches"], params.get("branches_platforms")
    if platform is None or not platforms:
        return branches
    named = [b for b, names in zip(branches, platforms, strict=True) if names and platform in names]
    return named or [b for b, names in zip(branches, platforms, strict=True) if names is None] or branches


def _taps(eqn: Any) -> float:
    """Multiply-adds per output value. A dilated input (transposed convolution) meets zeros in all but one of
    `lhs_dilation` positions, which no implementation multiplies."""
    kernel = eqn.invars[1].aval.shape
    spec = eqn.params["dimension_numbers"].rhs_spec  # (output features, input features, *space)
    taps = kernel[spec[1]] * math.prod(kernel[i] for i in spec[2:])
    return taps / math.prod(eqn.params["lhs_dilation"])


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    """The traces inside an operation's parameters."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item
