"""ThermalWorld, MD of HeatNet: labels from RGB images, learnt from true labels by day, at a size for two CPU cores.

python -m tdepth_jax.prepare world
python -m tdepth_jax.train --config=configs/world_heatnet_md.py
"""

from ml_collections import ConfigDict

from configs import freiburg_heatnet_md, world_heatnet_rgbt


def get_config() -> ConfigDict:
    c = freiburg_heatnet_md.teacher(world_heatnet_rgbt.get_config(), "md")
    c.system.labels = "data"
    return c
