"""ThermalWorld: the student of world_confidence in a new scene, from RGB and thermal video without a label.

  python -m tdepth_jax.train --config=configs/world_confidence_adapt.py

Scored on other sequences of the new scene.
"""

from ml_collections import ConfigDict

from configs import world_confidence_teacher


def get_config() -> ConfigDict:
    c = world_confidence_teacher.get_config()
    c.data.split = "new_scene_train"
    c.system.update({"stage": "label_free", "distill_weight": 2.0, "spread_weight": 0.1})
    c.optimizer.update({"learning_rate": 2e-4, "warmup_steps": 20})
    c.train.update({"steps": 300, "save_every": 300, "init_from": "runs/world_confidence"})
    c.eval.split = "new_scene"
    return c
