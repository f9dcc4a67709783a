"""ThermalWorld, stage 1 with a real backbone: head and pose net on a frozen DINOv2 ViT-S, for two CPU cores.

python -m tdepth_jax.prepare world
python -m tdepth_jax.import_weights dinov2_vits14_pretrain.pth -o weights/dinov2_vits14
python -m tdepth_jax.train --config=configs/world_vits_stage1.py
"""

from ml_collections import ConfigDict

from configs import world_stage1

# DINOv2's ViT-S/14
VITS = {"vit_dim": 384, "vit_depth": 12, "vit_heads": 6, "vit_patch": 14, "vit_pos_grid": 37}


def get_config() -> ConfigDict:
    c = world_stage1.get_config()
    c.data.image_size = (112, 140)  # 8 x 10 patches
    # The sizes one by one, so that the head stays world_stage1's: the one that "vits" brings costs half as much again.
    c.model.update(VITS | {"backbone_weights": "weights/dinov2_vits14", "output_gain": 0.15})
    c.system.train_backbone = False
    c.optimizer.warmup_steps = 50
    c.train.update({"steps": 300, "batch_size": 2, "save_every": 150, "keep": 1})
    c.eval = ConfigDict({"stride": 3, "protocols": ("fan2024",)})
    return c
