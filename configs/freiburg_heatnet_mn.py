"""Freiburg Thermal, MN of HeatNet: labels from thermal images, learnt by day, for use by night.

  python -m tdepth_jax.prepare freiburg --raw=DIR
  python -m tdepth_jax.train --config=configs/freiburg_heatnet_mn.py

Published: mIoU 57.0 by night.
"""

from ml_collections import ConfigDict

from configs import freiburg_heatnet_md, freiburg_heatnet_rgbt


def get_config() -> ConfigDict:
    return freiburg_heatnet_md.teacher(freiburg_heatnet_rgbt.get_config(), "mn")
