"""Depth from a trained run: `Predictor.open("runs/x").infer("frame.tiff").depth`."""

from tdepth_jax.predictor.model import Prediction, Predictor, Shot

__all__ = ["Prediction", "Predictor", "Shot"]
