"""ViViD outdoor, stage 1 (Fan et al., ICRA 2024): depth head and pose network on a frozen DINOv2 ViT-B.

  python -m tdepth_jax.prepare vivid --raw=KAIST_VIVID
  python -m tdepth_jax.import_weights dinov2_vitb14_pretrain.pth -o weights/dinov2_vitb14
  python -m tdepth_jax.train --config=configs/vivid_stage1.py

Published after this stage, on the night sequences: Abs Rel 0.121, RMSE 4.407 (Table IV, "w/o stage two").
"""

from ml_collections import ConfigDict

STEPS = 400 * 2225 // 4  # 400 epochs of 2225 images; the batch size is not stated, the lineage's is 4


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.data = ConfigDict({"dataset": "data/vivid_outdoor", "image_size": (256, 320)})
    c.model = ConfigDict(
        {"backbone": "vitb", "backbone_weights": "weights/dinov2_vitb14", "output_gain": 0.15}
    )
    c.system = ConfigDict({"name": "selfsup", "interval": 5})  # in listed frames, as Shin et al. 2022
    c.optimizer = ConfigDict({"name": "adam", "learning_rate": 1e-4})
    c.train = ConfigDict({"steps": STEPS, "batch_size": 4, "save_every": 5000})
    c.eval = ConfigDict({"every": 20_000, "protocols": ("fan2024",)})
    return c
