"""ThermalWorld, HeatNet without its critic: what the confused network is compared with.

python -m tdepth_jax.train --config=configs/world_heatnet_noconf.py

Needs runs/world_heatnet_mn.
"""

from ml_collections import ConfigDict

from configs import world_heatnet_rgbt


def get_config() -> ConfigDict:
    c = world_heatnet_rgbt.get_config()
    c.system.confusion_weight = 0.0
    return c
