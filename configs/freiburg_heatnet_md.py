"""Freiburg Thermal, MD of HeatNet: labels from RGB images by day, from the released labels of the authors' RGB teacher.

  python -m tdepth_jax.prepare freiburg --raw=DIR
  python -m tdepth_jax.train --config=configs/freiburg_heatnet_md.py

Published, of a network trained on Mapillary Vistas: mIoU 69.4 by day, 35.7 by night. No other run needs this one.
"""

from ml_collections import ConfigDict

from configs import freiburg_heatnet_rgbt


def get_config() -> ConfigDict:
    return teacher(freiburg_heatnet_rgbt.get_config(), "md")


def teacher(c: ConfigDict, name: str) -> ConfigDict:
    """A chain's config for one of its teachers, which learns by day alone and meets no critic."""
    c.data.split = "train:day"
    c.system.update({"trains": name, "night": "none", "confusion_weight": 0.0})
    c.train.init_from = None
    return c
