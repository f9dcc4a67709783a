"""What any depth network must beat: the best constant depth and the best depth that only knows the row.

In a driving picture the row alone says much (the road recedes upwards), so a network that has merely
learned the camera's mounting scores well against nothing. These predictors are fitted on the training
split's ground truth and scored by the same code under the same protocol as the network.

For one row, the depth p that minimises the sum of |p-g|/g is the median of the row's depths g weighted by
1/g; each image weighs the same, as in per-image averaging. Two more things may help: fitting the plain mean,
and fitting depths divided by their image's median (then the profile is a shape that median alignment
scales). All four are fitted and the best on training images under the protocol in question is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Bool, Float

from tdepth_jax.errors import UserError
from tdepth_jax.metrics import depth as metrics
from tdepth_jax.metrics.protocols import Protocol

Truth = tuple[Float[np.ndarray, "H W"], "Bool[np.ndarray, 'H W'] | None"]

# Depths are held as histograms of ln(depth), so a split of any length fits in memory: 0.15 % resolution.
_LOW, _HIGH, _BINS = -12.0, 12.0, 8192
_CHOICE_PIXELS = 10_000  # an image is thinned to about this many pixels when candidates are compared


@dataclasses.dataclass(frozen=True)
class Profile:
    """A predictor that sees no image: one depth for each of its rows (a single row is a constant).

    Attributes:
      name: "constant" or "row-wise".
      fit: how the values were fitted, in words.
      rows: depth per row from top to bottom, metres (or, before median alignment, in image medians).
    """

    name: str
    fit: str
    rows: Float[np.ndarray, " rows"]

    def predict(self, size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
        """The same picture every time; the profile is stretched to the height asked for."""
        h, w = size
        at = (np.arange(h) + 0.5) * len(self.rows) / h - 0.5
        column = np.interp(at, np.arange(len(self.rows)), self.rows)
        return np.repeat(column[:, None], w, axis=1).astype(np.float32)


def fit(
    read: Callable[[int], Truth],
    count: int,
    protocols: Iterable[Protocol],
    *,
    max_images: int = 1000,
    choose_on: int = 200,
) -> dict[Protocol, tuple[Profile, Profile]]:
    """The best constant and the best row-wise profile for each protocol.

    Args:
      read: index -> ground truth depth [H, W] in metres and the pixels that may be scored (None: all).
      count: how many images `read` knows; evenly spaced ones are used where there are more than max_images.
      protocols: what the predictors will be scored under; averaging does not change the fit.
      choose_on: how many of those images the candidates are compared on.

    Raises:
      UserError: no image has a scored pixel.
    """
    keys = list(dict.fromkeys(p.sums_key for p in protocols))
    chosen = _spaced(count, max_images)
    candidates = _candidates(read, chosen, keys[0])
    scores = {key: np.zeros(len(candidates)) for key in keys}
    for i in _spaced(len(chosen), choose_on):
        truth, valid = read(int(chosen[i]))
        for key in keys:
            scores[key] += [_thin_error(c, truth, valid, key) for c in candidates]
    best = {}
    for key in keys:
        order = np.argsort(scores[key], kind="stable")
        ranked = [candidates[i] for i in order]
        best[key] = tuple(next(c for c in ranked if c.name == name) for name in ("constant", "row-wise"))
    return best


def _spaced(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _candidates(read: Callable[[int], Truth], chosen: np.ndarray, protocol: Protocol) -> list[Profile]:
    rows = 0
    raw = scaled = np.zeros((0, _BINS))
    for i in chosen:
        truth, valid = read(int(i))
        use = metrics.scored(truth, valid, protocol)
        if not use.any():
            continue
        if not rows:
            rows = len(truth)
            raw, scaled = np.zeros((2, rows, _BINS))
        row = np.nonzero(use)[0] * rows // len(truth)
        g = truth[use].astype(np.float64)
        _count(raw, row, g)
        _count(scaled, row, g / np.median(g))
    if not rows:
        raise UserError(
            f"the training split has no ground-truth depth between {protocol.min_depth:g} and "
            f"{protocol.max_depth:g} m, so baselines cannot be fitted; widen the range, or leave them out"
        )
    found = []
    for what, table in (("depth", raw), ("depth over its image's median", scaled)):
        for how, value in (("weighted median", _weighted_median), ("mean", _mean)):
            found.append(Profile("constant", f"{how} of {what}", value(table.sum(0)[None])))
            found.append(Profile("row-wise", f"{how} of {what}", value(table)))
    return found


def _count(table: Float[np.ndarray, "rows bins"], row: np.ndarray, g: np.ndarray) -> None:
    """Adds one image's depths; the image weighs one in all."""
    where = np.clip((np.log(g) - _LOW) * (_BINS / (_HIGH - _LOW)), 0, _BINS - 1).astype(int)
    np.add.at(table.reshape(-1), row * _BINS + where, 1.0 / len(g))


def _centres() -> np.ndarray:
    return np.exp(_LOW + (np.arange(_BINS) + 0.5) * (_HIGH - _LOW) / _BINS)


def _weighted_median(table: Float[np.ndarray, "rows bins"]) -> Float[np.ndarray, " rows"]:
    """Per row the p that minimises the sum of |p-g|/g."""
    centres = _centres()
    running = np.cumsum(table / centres, axis=1)
    return _fill(centres[(running >= running[:, -1:] / 2).argmax(1)], table)


def _mean(table: Float[np.ndarray, "rows bins"]) -> Float[np.ndarray, " rows"]:
    return _fill((table @ _centres()) / np.maximum(table.sum(1), 1e-300), table)


def _fill(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Rows that never had ground truth (the sky) take the nearest row's value."""
    seen = np.nonzero(table.sum(1) > 0)[0]
    nearest = np.abs(np.arange(len(values))[:, None] - seen[None]).argmin(1)
    return values[seen[nearest]]


def _thin_error(
    profile: Profile,
    truth: np.ndarray,
    valid: Bool[np.ndarray, "H W"] | None,
    protocol: Protocol,
) -> float:
    """The image's Abs Rel on a regular subset of its pixels; 0 where there is no ground truth."""
    step = max(1, round((truth.size / _CHOICE_PIXELS) ** 0.5))
    thin = (slice(None, None, step), slice(None, None, step))
    use = metrics.scored(truth, valid, protocol)  # before thinning: a crop counts pixels
    whole = dataclasses.replace(protocol, crop="none")
    sums = metrics.image_sums(profile.predict(truth.shape)[thin], truth[thin], whole, valid=use[thin]).sum(0)
    return float(sums[1] / max(sums[0], 1))
