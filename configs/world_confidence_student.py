"""ThermalWorld: a thermal student with labels; after world_confidence_teacher, which lends it nothing yet.

python -m tdepth_jax.train --config=configs/world_confidence_student.py
"""

from ml_collections import ConfigDict

from configs import world_confidence_teacher


def get_config() -> ConfigDict:
    c = world_confidence_teacher.get_config()
    c.data.split = "train"
    c.system.update({"train_rgb": "nothing", "thermal_weight": 1.0, "spread_weight": 0.1})
    c.train.update({"steps": 1200, "save_every": 600})
    c.train.update({"init_from": "runs/world_confidence_teacher", "init_only": (r"rgb/.*",)})
    return c
