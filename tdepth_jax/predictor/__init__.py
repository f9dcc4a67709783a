"""Depth from a trained run: `tdepth_jax.load("runs/x").infer("frame.tiff").depth`."""

from tdepth_jax.predictor.model import Prediction, Predictor
from tdepth_jax.predictor.shots import Shot

__all__ = ["Prediction", "Predictor", "Shot"]
