"""ThermalWorld, MN of HeatNet: labels from thermal images, learnt by day from what MD says, for use by night.

python -m tdepth_jax.train --config=configs/world_heatnet_mn.py

Needs runs/world_heatnet_md.
"""

from ml_collections import ConfigDict

from configs import freiburg_heatnet_md, world_heatnet_rgbt


def get_config() -> ConfigDict:
    c = freiburg_heatnet_md.teacher(world_heatnet_rgbt.get_config(), "mn")
    c.train.init_from = "runs/world_heatnet_md"
    return c
