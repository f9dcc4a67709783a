"""ThermalWorld: RGB teacher, thermal student and confidence, with labels; world_confidence_adapt goes on without.

  python -m tdepth_jax.prepare world
  python -m tdepth_jax.train --config=configs/world_confidence.py

The networks are those of world_stage1, from random weights; so is how fast they learn.
"""

from ml_collections import ConfigDict

from configs import world_stage1


def get_config() -> ConfigDict:
    c = world_stage1.get_config()
    c.model = {k: v for k, v in c.model.items() if not k.startswith("pose_")}
    c.model.confidence_widths = (16, 32, 64, 64, 64)
    c.system = ConfigDict({"name": "confidence"})
    c.optimizer.name, c.optimizer.weight_decay = "adamw", 0.01
    c.train = ConfigDict({"steps": 1200, "batch_size": 8, "save_every": 500})
    c.eval = ConfigDict({"protocols": ("monother",)})
    return c
