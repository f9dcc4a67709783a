"""ThermalWorld, stage 2 with a real backbone: adapters in the frozen ViT-S of world_vits_stage1.

python -m tdepth_jax.train --config=configs/world_vits_stage1.py
python -m tdepth_jax.train --config=configs/world_vits_stage2.py
"""

from ml_collections import ConfigDict

from configs import world_vits_stage1


def get_config() -> ConfigDict:
    c = world_vits_stage1.get_config()
    c.model.update({"lora_rank": 4, "conv_adapter_width": 4})
    c.system.loss_images = "temporal"
    c.train.update({"steps": 150, "init_from": "runs/world_vits_stage1"})
    return c
