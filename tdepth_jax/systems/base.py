"""What a method is: data and pure functions that the engine composes into jitted, sharded steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from tdepth_jax.systems.pretrained import Pretrained

Array = jax.Array
Params = Mapping[str, Any]  # nested dicts of arrays, as Flax returns them
Batch = Mapping[str, Array]  # "camera/field" -> array with a leading batch axis
Term = tuple[Array, Array]  # (sum, count): the engine divides, so masks and padding stay exact


@dataclasses.dataclass(frozen=True, kw_only=True)
class Update:
    """One optimisation of one set of parameters. Adversarial methods have two with opposite aims.

    Attributes:
      name: prefix of this update's metrics.
      trainable: regular expressions over "/"-joined parameter paths, matched in full. Gradients are taken
        with respect to these parameters only; the others are plain arguments of the loss.
      loss: (params, mutable, batch, targets, rng) -> (terms, mutable). `params` is the whole nested tree,
        `terms` maps a name to its (sum, count). A term "valid_share" says how much of the images teaches: a run in
        which it stays exactly 0 is stopped.
      weights: the weight of each term in the total. A term without a weight is logged and not minimised;
        a weight without a term is an error.
      tx: the optimiser of this update's parameters.
    """

    name: str
    trainable: tuple[str, ...]
    loss: Callable[[Params, Params, Batch, Any, Array], tuple[dict[str, Term], Params]]
    weights: Mapping[str, float]
    tx: optax.GradientTransformation


@dataclasses.dataclass(frozen=True, kw_only=True)
class System:
    """A method as the engine sees it.

    Attributes:
      needs: the batch keys the losses read; compared with the data set before anything is compiled.
      wants: further batch keys it reads where the data set has them, e.g. "thermal/valid".
      offsets: frame offsets of a training snippet, ascending, e.g. (-1, 0, 1); (0,) for single frames.
      init: rng -> {"params": nested dict, **mutable collections such as "batch_stats"}.
      updates: applied in order at every step.
      predict: (variables, batch) -> named outputs: {"depth": Float[b h w 1]} in metres, or {"labels": Int[b h w]} in
        `classes` and, where the method finds edges, "edges" Float[b u v 1] in [0, 1]. It reads the single-frame batch
        of evaluation and of the predict door: "thermal/image" UInt16[b h w 1].
        Beside depth it may give "spread" Float[b h w 1] > 0, the scale b of a Laplace distribution of ln(depth) around
        ln(predicted depth): P(|ln d - ln d_true| <= q) = 1 - exp(-q / b).
      camera: whose depth `predict` gives and evaluation scores: "thermal" or "rgb".
      sees: further batch keys that `predict` reads, of the same batch, depth and labels at their stored size.
      classes: names of the labels that a method learns; what data sets call otherwise is matched by name. None: the
        method gives depth.
      teacher: (variables, batch) -> targets, arrays with a leading batch axis; jitted on its own and run without
        gradient, its result handed to the losses.
      panels: (variables, batch) -> {name: UInt8[n h w 3]} pictures for the log; optional.
      remark: (what a step logs) -> one sentence of warning, or "". Every sentence is said once a run; optional.
      explain: (variables, batch of evaluation) -> {name: Float[b u v]} maps, 0 or more, that say what a prediction
        rests on; shown beside it in reports; optional.
      motion: (variables, batch) -> Float[b 4 4], source_from_target of pairs of consecutive frames, the earlier one
        being the target: "thermal/image" UInt16[b 2 h w 1], "thermal/K" [b 3 3], "thermal/valid" Bool[b h w 1] where
        the data set has it; optional. Unless `scale` is "metric", its translations have a scale of their own.
      intrinsics: (variables, K [b 3 3] of the records) -> K as learnt, at the same size; None = the records' are right.
      pretrained: parameter prefix -> imported weights that replace the random ones under it.
      inherits: regular expressions over parameter and statistics paths that must all come from `train.init_from`, e.g.
        a teacher's: left random they would teach noise.
      scale: what `predict`'s depth means: "metric", "relative" (one unknown scale) or "affine".
    """

    needs: frozenset[str]
    wants: frozenset[str] = frozenset()
    offsets: tuple[int, ...]
    init: Callable[[Array], dict[str, Any]]
    updates: tuple[Update, ...]
    predict: Callable[[dict[str, Any], Batch], dict[str, Array]]
    camera: str = "thermal"
    sees: frozenset[str] = frozenset()
    classes: tuple[str, ...] = ()
    teacher: Callable[[dict[str, Any], Batch], Any] | None = None
    panels: Callable[[dict[str, Any], Batch], dict[str, Array]] | None = None
    remark: Callable[[Mapping[str, float]], str] | None = None
    explain: Callable[[dict[str, Any], Batch], dict[str, Array]] | None = None
    motion: Callable[[dict[str, Any], Batch], Array] | None = None
    intrinsics: Callable[[dict[str, Any], Array], Array] | None = None
    pretrained: Mapping[str, Pretrained] = dataclasses.field(default_factory=dict)
    inherits: tuple[str, ...] = ()
    scale: str = "relative"


def single(stack: Array) -> Array:
    """[b 1 h w c] of training as [b h w c], which evaluation has."""
    return stack[:, 0] if stack.ndim == 5 else stack
