"""ThermalWorld with its true depth as label: what the network of world_stage1 reaches when it is told.

  python -m tdepth_jax.prepare world
  python -m tdepth_jax.train --config=configs/world_supervised.py

As many images a step as world_stage1 sees (three a snippet), and as many steps.
"""

from ml_collections import ConfigDict

from configs import world_stage1


def get_config() -> ConfigDict:
    c = world_stage1.get_config()
    c.model = {k: v for k, v in c.model.items() if not k.startswith("pose_")}
    c.system = ConfigDict({"name": "supervised"})
    c.train.batch_size = 12
    return c
