"""Errors of a camera's motion: on short snippets as the field publishes them, and over whole trajectories.

A trajectory is world_from_camera, Float[n 4 4], one pose per frame; its world is its own. Lengths are metres, angles
radians until a summary turns those of whole trajectories into degrees.

Snippets (Zhou et al., 2017, as in Shin et al., RA-L 2022, and Fan et al., ICRA 2024): every run of five frames, both
trajectories relative to its first frame, translations scaled by s = Σ g·p / Σ p·p. ATE = ||g - s p|| / 5, the norm
over all translations divided by the number of frames, which is no root mean square; RE = the mean of the five angles
of R_g R_p⁻¹, the first of which is always 0. The published program divides the sum over a sequence's snippets by its
number of frames, of which there are four more; here the mean is over snippets. As s may be negative, a camera said to
drive backwards has a small ATE on a straight road: "backwards" is the share of such snippets. RPE sees them.

Whole trajectories (Sturm et al., IROS 2012): ATE = root mean square distance after the alignment of Umeyama (1991),
by rotation and translation (SE3) or with one scale as well (Sim3); RPE = root mean square of the translation and of
the angle of (G_i⁻¹ G_i+1)⁻¹ (P_i⁻¹ P_i+1) over consecutive frames, with the scale of Sim3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

SNIPPET = 5  # frames
STILL, AHEAD = "standing still", "straight ahead"

Trajectory = Float[np.ndarray, "n 4 4"]


def accumulate(source_from_target: Float[np.ndarray, "n 4 4"]) -> Float[np.ndarray, "m 4 4"]:
    """Motions between consecutive frames (target = the earlier) to n + 1 poses, the first at the origin."""
    poses = [np.eye(4)]
    for motion in np.asarray(source_from_target, np.float64):
        poses.append(poses[-1] @ np.linalg.inv(motion))
    return np.stack(poses)


def snippet_errors(
    predicted: Trajectory, truth: Trajectory, length: int = SNIPPET
) -> tuple[Float[np.ndarray, " s"], Float[np.ndarray, " s"], Float[np.ndarray, " s"]]:
    """(ATE in metres, RE in radians, scale) of every run of `length` frames; none of a shorter trajectory."""
    at = np.arange(max(len(truth) - length + 1, 0))[:, None] + np.arange(length)
    p, g = (np.linalg.inv(poses[at[:, :1]]) @ poses[at] for poses in (predicted, truth))
    tp, tg = p[..., :3, 3], g[..., :3, 3]
    square = (tp * tp).sum((1, 2))
    scale = np.divide((tp * tg).sum((1, 2)), square, out=np.zeros(len(at)), where=square > 0)
    ate = np.sqrt(((tg - scale[:, None, None] * tp) ** 2).sum((1, 2))) / length
    return ate, angles(g[..., :3, :3] @ np.linalg.inv(p[..., :3, :3])).mean(1), scale


def angles(turns: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n"]:
    """The angle of each rotation, radians in [0, π]: stable where the arccosine of the trace is not."""
    skew = np.stack([turns[..., i, j] - turns[..., j, i] for i, j in ((0, 1), (1, 2), (0, 2))], axis=-1)
    return np.arctan2(np.linalg.norm(skew, axis=-1), np.trace(turns, axis1=-2, axis2=-1) - 1)


@dataclasses.dataclass(frozen=True)
class Alignment:
    """truth ≈ scale · rotation · predicted + translation."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]
    scale: float

    def apply(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        return self.scale * points @ self.rotation.T + self.translation


def umeyama(
    predicted: Float[np.ndarray, "n 3"], truth: Float[np.ndarray, "n 3"], *, with_scale: bool
) -> Alignment:
    """The least-squares alignment of points (Umeyama, 1991). Points that do not move keep their scale."""
    mean_p, mean_g = predicted.mean(0), truth.mean(0)
    p, g = predicted - mean_p, truth - mean_g
    U, D, Vt = np.linalg.svd(g.T @ p / len(p))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(U) * np.linalg.det(Vt)) or 1.0])  # no mirror
    rotation = (U * sign) @ Vt
    spread = float((p * p).sum() / len(p))
    scale = float((D * sign).sum()) / spread if with_scale and spread > 0 else 1.0
    return Alignment(rotation, mean_g - scale * rotation @ mean_p, scale)


@dataclasses.dataclass(frozen=True)
class Errors:
    """What one or several trajectories give, before any mean is taken.

    Attributes:
      snippet_ate, snippet_re, snippet_scale: per snippet, metres, radians and the factor s.
      se3, sim3: per frame, distance in metres after either alignment.
      step, turn: per pair of consecutive frames, metres (under the scale of Sim3) and radians.
      metres: length of the true path.
      scales: of Sim3, one per trajectory.
    """

    snippet_ate: Float[np.ndarray, " s"]
    snippet_re: Float[np.ndarray, " s"]
    snippet_scale: Float[np.ndarray, " s"]
    se3: Float[np.ndarray, " n"]
    sim3: Float[np.ndarray, " n"]
    step: Float[np.ndarray, " m"]
    turn: Float[np.ndarray, " m"]
    metres: float
    scales: tuple[float, ...]


def errors(predicted: Trajectory, truth: Trajectory) -> Errors:
    """All errors of one trajectory of at least two frames."""
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    tp, tg = predicted[:, :3, 3], truth[:, :3, 3]
    rigid, similar = (umeyama(tp, tg, with_scale=s) for s in (False, True))
    moved_p, moved_g = (np.linalg.inv(x[:-1]) @ x[1:] for x in (predicted, truth))
    moved_p[:, :3, 3] *= similar.scale
    rest = np.linalg.inv(moved_g) @ moved_p
    return Errors(
        *snippet_errors(predicted, truth),
        se3=np.linalg.norm(tg - rigid.apply(tp), axis=1),
        sim3=np.linalg.norm(tg - similar.apply(tp), axis=1),
        step=np.linalg.norm(rest[:, :3, 3], axis=1),
        turn=angles(rest[:, :3, :3]),
        metres=float(np.linalg.norm(np.diff(tg, axis=0), axis=1).sum()),
        scales=(similar.scale,),
    )


def join(parts: Sequence[Errors]) -> Errors:
    """Those of several trajectories laid end to end; each was aligned by itself."""
    arrays = ("snippet_ate", "snippet_re", "snippet_scale", "se3", "sim3", "step", "turn")
    return Errors(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays},
        metres=sum(part.metres for part in parts),
        scales=tuple(s for part in parts for s in part.scales),
    )


def finish(found: Errors) -> dict[str, float]:
    """The figures of a table; NaN where no snippet was long enough.

    Returns:
      "frames", "metres"; of snippets "snippet_ate", "snippet_re" (metres, radians), their "_std", "backwards"; of whole
      trajectories "ate_se3", "ate_sim3", "rpe_step" (metres), "rpe_turn" (degrees), "scale" (mean of Sim3's).
    """
    known = len(found.snippet_ate) > 0
    table: dict[str, float] = {"frames": len(found.se3), "metres": found.metres}
    for name in ("snippet_ate", "snippet_re"):
        values = getattr(found, name)
        table[name] = float(values.mean()) if known else float("nan")
        table[f"{name}_std"] = float(values.std()) if known else float("nan")
    table["backwards"] = float((found.snippet_scale < 0).mean()) if known else float("nan")
    table |= {"ate_se3": _rms(found.se3), "ate_sim3": _rms(found.sim3), "rpe_step": _rms(found.step)}
    table |= {"rpe_turn": float(np.degrees(_rms(found.turn))), "scale": float(np.mean(found.scales))}
    return table


def _rms(values: Float[np.ndarray, " n"]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def baselines(truth: Trajectory) -> dict[str, Trajectory]:
    """What any pose network must beat: a camera that stands still, and one that drives straight along its optical
    axis at the true path's mean speed."""
    n = len(truth)
    still = np.tile(np.eye(4), (n, 1, 1))
    ahead = still.copy()
    ahead[:, 2, 3] = np.arange(n) * np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1).mean()
    return {STILL: still, AHEAD: ahead}
