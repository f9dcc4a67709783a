"""ThermalWorld: an RGB teacher with labels, a DPT head on a frozen DINOv2 ViT-S; after world_confidence_student.

python -m tdepth_jax.train --config=configs/world_confidence_teacher.py
"""

from ml_collections import ConfigDict

from configs import world_confidence_student


def get_config() -> ConfigDict:
    c = world_confidence_student.get_config()
    c.system.update(
        {"train_rgb": "head", "thermal_weight": 0.0, "spread_weight": 0.0, "smoothness_weight": 0.01}
    )
    c.train.update({"steps": 300, "save_every": 300, "init_from": "runs/world_confidence_student"})
    return c
