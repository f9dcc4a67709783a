"""ThermalWorld, HeatNet: RGB and thermal images by day and night, no label by night, at a size for two CPU cores.

  python -m tdepth_jax.prepare world
  python -m tdepth_jax.train --config=configs/world_heatnet_md.py
  python -m tdepth_jax.train --config=configs/world_heatnet_mn.py
  python -m tdepth_jax.train --config=configs/world_heatnet_rgbt.py
  python -m tdepth_jax.evaluate --workdir=runs/world_heatnet_rgbt --protocol=heatnet

The two cameras of ThermalWorld do not share their pixels, those of HeatNet do: pairs are registered by the true depth,
in training and in evaluation.
"""

from ml_collections import ConfigDict

SIZE = (64, 96)
CLASSES = ("unlabeled", "road", "building", "vegetation", "sky", "car", "person", "pole", "bike")


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.data = ConfigDict(
        {"dataset": "data/world", "split": "train:day+night", "image_size": SIZE, "scale_crop": 1.0}
    )
    c.model = ConfigDict(
        {
            "encoder": "resnet18",
            "width": 16,
            "decoder": (64, 32, 32, 16),
            "pyramid_dropout": 0.1,
            "decoder_dropout": 0.0,
            "critic_width": 16,
        }
    )
    c.system = ConfigDict(
        {
            "name": "heatnet",
            "trains": "rgbt",
            "classes": CLASSES,
            "normalization": "frame",
            "alignment": "depth",
            "confusion_weight": 0.01,
        }
    )
    c.optimizer = ConfigDict(
        {
            "name": "adamw",
            "learning_rate": 3e-3,
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "warmup_steps": 30,
        }
    )
    c.train = ConfigDict({"steps": 400, "batch_size": 8, "save_every": 200})
    c.train.init_from = "runs/world_heatnet_mn"
    return c
