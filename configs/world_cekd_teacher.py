"""ThermalWorld, CEKD's teacher: RGB-thermal pairs to labels and edges, at a size for two CPU cores.

  python -m tdepth_jax.train --config=configs/world_cekd_baseline.py
  python -m tdepth_jax.train --config=configs/world_cekd_teacher.py

The two cameras of ThermalWorld do not share their pixels: RGB is brought to the thermal view by the true depth, which
only a teacher may look at.
"""

from ml_collections import ConfigDict

SIZE = (64, 96)
CLASSES = ("unlabeled", "road", "building", "vegetation", "sky", "car", "person", "pole", "bike")


def get_config() -> ConfigDict:
    c = ConfigDict()
    # As many labelled pairs as MFNet trains on: 784.
    c.data = ConfigDict({"dataset": "data/world", "sequences": 98, "image_size": SIZE, "scale_crop": 1.0})
    c.model = ConfigDict(
        {
            "encoder": "resnet18",
            "width": 16,
            "attention_heads": 2,
            "attention_width": 32,
            "position_size": SIZE,
            "edges": "D3D3",
        }
    )
    c.system = ConfigDict(
        {"name": "cekd_teacher", "classes": CLASSES, "normalization": "frame", "alignment": "depth"}
    )
    c.optimizer = ConfigDict(
        {
            "name": "adamw",
            "learning_rate": 6e-3,  # the best of 2e-3 and 6e-3 for world_cekd_supervised, on another world
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "warmup_steps": 50,
        }
    )
    c.train = ConfigDict({"steps": 600, "batch_size": 8, "save_every": 300})
    c.train.init_from = "runs/world_cekd_baseline"
    return c
