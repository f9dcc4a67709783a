"""Features that the reference code gives for known weights: what an import is verified with.

`golden/` beside this file holds one .npz for each backbone, named by the first 16 digits of its content hash, with
  name: what the weights are and where they come from;
  taps: the blocks (0-based) whose tokens are kept;
  tokens_<convention> [taps tokens c]: float32 tokens after these blocks, no final norm, class token first and of the
    patches every STEP-th, of `image()`, by facebookresearch/dinov2 ("offset", "antialias") or transformers
    ("size"). tests/parity/models_real_weights.py writes them.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Float

from tdepth_jax.errors import UserError
from tdepth_jax.models.convert import Converted
from tdepth_jax.models.vit import ViT, ViTConfig

FOLDER = pathlib.Path(__file__).parent / "golden"
STEP = 9
TOLERANCE = 1e-4  # of the largest difference, relative to the largest value of its tap


def image() -> Float[np.ndarray, "1 98 126 3"]:
    """Two octaves of noise, standardised; its 7 x 9 patches are neither square nor the grid of the embeddings."""
    noise = np.random.RandomState(0)
    coarse = np.kron(noise.standard_normal((7, 9, 3)), np.ones((14, 14, 1)))
    return (coarse + 0.5 * noise.standard_normal((98, 126, 3)))[None].astype(np.float32)


def verdict(converted: Converted, digests: Mapping[str, str]) -> str:
    """One sentence on what was compared; `digests` are the content hashes of the parts.

    Raises UserError for features beyond TOLERANCE of the shipped ones.
    """
    path = FOLDER / f"{digests.get('vit', 'none')[:16]}.npz"
    if not path.exists():
        shipped = "; ".join(str(np.load(p)["name"]) for p in sorted(FOLDER.glob("*.npz")))
        what = f"backbone {digests['vit'][:16]}" if "vit" in digests else "a file without a backbone"
        return f"not verified: no golden features are shipped for {what} (shipped for: {shipped})"
    stored, facts = np.load(path), converted.facts["vit"]
    key = f"tokens_{facts['interpolation']}"
    if key not in stored:
        return f"not verified: the features shipped for {stored['name']} are not of this convention"
    theirs = stored[key]
    error = float(np.max(relative_errors(tokens(converted, tuple(stored["taps"])), theirs)))
    if not error <= TOLERANCE:
        raise UserError(
            f"the imported features differ from the reference's by {error:.1e} of the largest value (at most "
            f"{TOLERANCE:.0e} was expected of {stored['name']}); nothing was written"
        )
    return (
        f"verified: {theirs.shape[0]} taps x {theirs.shape[1]} tokens equal the reference code's to {error:.1e} of the "
        f"largest value ({stored['name']})"
    )


def tokens(converted: Converted, after: tuple[int, ...]) -> Float[np.ndarray, "taps tokens c"]:
    """The imported backbone's tokens of `image()` after these blocks, in float32."""
    facts = converted.facts["vit"]
    said = {key: facts[key] for key in ("dim", "depth", "heads", "patch", "ffn", "registers", "pos_grid")}
    config = ViTConfig(interpolation=facts["interpolation"], **said)
    taps = jax.jit(ViT(config, after, norm_taps=False).apply)({"params": converted.params["vit"]}, image())
    return np.stack([thinned(np.concatenate([cls[:, None], patches], axis=1)[0]) for patches, cls in taps])


def thinned(x: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "m c"]:
    """The class token and every STEP-th patch token, of tokens without registers."""
    return np.concatenate([x[:1], x[1::STEP]])


def relative_errors(ours: np.ndarray, theirs: np.ndarray) -> Float[np.ndarray, " taps"]:
    """Per tap, the largest difference over the largest value."""
    return np.abs(ours - theirs).max(axis=(1, 2)) / np.abs(theirs).max(axis=(1, 2))
