"""ThermalWorld: how far the teacher can be trusted, learnt with labels; after world_confidence_student.

python -m tdepth_jax.train --config=configs/world_confidence.py
"""

from ml_collections import ConfigDict

from configs import world_confidence_teacher


def get_config() -> ConfigDict:
    c = world_confidence_teacher.get_config()
    c.data.split = "train"
    c.system.update({"train_rgb": "nothing", "likelihood_weight": 0.1})
    c.optimizer.update({"learning_rate": 1e-3, "warmup_steps": 20})
    c.train.update({"steps": 150, "save_every": 150, "init_from": "runs/world_confidence_student"})
    return c
