"""ThermalWorld, HeatNet's student with a colour camera alone, taught by world_heatnet_rgbt by night.

python -m tdepth_jax.train --config=configs/world_heatnet_rgb.py

Needs runs/world_heatnet_rgbt.
"""

from ml_collections import ConfigDict

from configs import freiburg_heatnet_rgb, world_heatnet_rgbt


def get_config() -> ConfigDict:
    return freiburg_heatnet_rgb.student(world_heatnet_rgbt.get_config(), "runs/world_heatnet_rgbt")
