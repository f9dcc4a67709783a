"""ThermalWorld, XD-RCDepth's teacher: a large radar-camera network on true depth, at a size for two CPU cores.

  python -m tdepth_jax.prepare world
  python -m tdepth_jax.train --config=configs/world_xdrc_teacher.py

The thermal camera sees; --config.system.camera=rgb takes the RGB one. Every eighth row of true depth is a label, as a
scanner's lines are of real depth.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.data = ConfigDict({"dataset": "data/world", "image_size": (64, 64)})
    c.model = ConfigDict(
        {"width": 0.5, "blocks": 1, "film": "spatial", "teacher_width": 0.25, "teacher_blocks": 2}
    )
    c.system = ConfigDict(
        {
            "name": "xdrc",
            "trains": "teacher",
            "camera": "thermal",
            "radar_values": ("z", "rcs_dbsm", "radial_velocity"),
            "confidence_patch": (20, 5),
            "label_lines": 8,
            "bins": 64,
        }
    )
    c.optimizer = ConfigDict(
        {
            "name": "adamw",
            "learning_rate": 0.032,  # of 1e-3 to 0.032 the best on another world (prepare world --seed=1)
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "warmup_steps": 50,
        }
    )
    c.train = ConfigDict({"steps": 2400, "batch_size": 8, "save_every": 400})
    c.eval = ConfigDict({"protocols": ("xdrc80",)})
    return c
