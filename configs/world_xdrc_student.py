"""ThermalWorld, XD-RCDepth's student: the light radar-camera network, taught by world_xdrc_teacher.

python -m tdepth_jax.train --config=configs/world_xdrc_student.py
"""

from ml_collections import ConfigDict

from configs import world_xdrc_teacher


def get_config() -> ConfigDict:
    c = world_xdrc_teacher.get_config()
    c.system.update({"trains": "student", "distribution_weight": 2.0, "saliency_weight": 0.1})
    c.train.update({"steps": 800, "save_every": 400})
    c.train.init_from = "runs/world_xdrc_teacher"
    return c
