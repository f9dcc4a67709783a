"""Does the camera move in what would be trained on? Self-supervision from a standing camera teaches nothing.

`prepare own` refuses such recordings; records may come from elsewhere, and a longer interval, another split or a
filter may leave only stops. A look at some snippets of a split, spread over all of it, takes a second or two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tdepth_jax.data.sources import FrameSource
from tdepth_jax.errors import UserError
from tdepth_jax.thermal import faults, recording

LOOKED_AT = 48  # snippets of a split
MOSTLY, PARTLY = 0.8, 0.15  # shares of standing snippets: refused above the one, said above the other
PARKED = 3  # standing snippets, and no other, that call a sequence parked
IMAGE, VALID = "thermal/image", "thermal/valid"


@dataclasses.dataclass(frozen=True)
class Movement:
    """What a look at some snippets showed.

    Attributes:
      looked: snippets that tell whether the camera moves; where nothing stands out of the noise they do not.
      standing: those of them in which it stood.
      parked: names of the sequences in which it stood in all of them.
    """

    looked: int
    standing: int
    parked: tuple[str, ...]

    @property
    def share(self) -> float:
        return self.standing / self.looked if self.looked else 0.0


def look(source: FrameSource, offsets: Sequence[int], *, most: int = LOOKED_AT) -> Movement:
    """Compares the outermost frames of at most `most` snippets, evenly spread over the split.

    The outermost, because a snippet teaches if any of its pairs does. Images smaller than `faults.LEAST_SIDE` are not
    judged.
    """
    centres = source.snippet_centres(offsets)
    picked = centres[np.unique(np.linspace(0, len(centres) - 1, min(most, len(centres))).astype(int))]
    stood: dict[str, list[bool]] = {}
    for centre in picked:
        found = _stands(source, int(centre) + min(offsets), int(centre) + max(offsets))
        if found is not None:
            stood.setdefault(source.sequence(int(centre)), []).append(found)
    every = [one for several in stood.values() for one in several]
    parked = tuple(name for name, several in stood.items() if all(several) and len(several) >= PARKED)
    return Movement(len(every), sum(every), parked)


def check(source: FrameSource, offsets: Sequence[int]) -> str:
    """A sentence about a camera that stands in part of the split, or "".

    Raises:
      UserError: it stands nearly always: a parked camera, or a single picture again and again; or the split holds no
        video at all.
    """
    where = f"{source.name} ({source.split})"
    if not source.places.any():
        raise UserError(
            f"{where} holds stills, every sequence is a single frame, and this method learns from motion; prepare "
            "video (without --stills), or train a method that looks at single frames"
        )
    found = look(source, offsets)
    if found.share > MOSTLY:
        raise UserError(
            f"{where}: the camera does not move in {found.standing} of the {found.looked} snippets looked at, and a "
            "standing camera teaches neither depth nor motion; record while driving, leave stops out, or, where the "
            "camera is only slow, set --config.system.interval higher (or --config.data.check_movement=false)"
        )
    if found.share <= PARTLY:
        return ""
    names = f", in {', '.join(found.parked[:5])} always" if found.parked else ""
    names += f" and {len(found.parked) - 5} more sequences" if len(found.parked) > 5 else ""
    return (
        f"{where}: the camera does not move in {found.standing} of the {found.looked} snippets looked at{names}; these "
        "teach nothing (the auto-mask drops what does not move): leave stops out"
    )


def _stands(source: FrameSource, first: int, last: int) -> bool | None:
    """Whether the camera stood from one record to the other; None where there is nothing to tell it by."""
    keys = frozenset({IMAGE, VALID}) & source.features
    before, after = source.read(first, keys), source.read(last, keys)
    one, other = before[IMAGE], after[IMAGE]
    valid = before[VALID] > 0 if VALID in before else None
    if one.shape != other.shape or min(one.shape) < faults.LEAST_SIDE:
        return None
    if np.array_equal(one, other):
        return True
    detail, moving = recording.moved(one, other, valid=valid)
    if not detail.any():
        return None
    return bool(moving.sum() < recording.STILL * detail.sum())
