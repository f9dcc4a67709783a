"""Your own thermal video with a real backbone, stage 2: adapters in the frozen ViT-S of own_vits_stage1.

python -m tdepth_jax.train --config=configs/own_vits_stage1.py
python -m tdepth_jax.train --config=configs/own_vits_stage2.py
"""

from ml_collections import ConfigDict

from configs import own_vits_stage1


def get_config() -> ConfigDict:
    c = own_vits_stage1.get_config()
    c.model.update({"lora_rank": 4, "conv_adapter_width": 4})
    c.system.loss_images = "temporal"
    c.train.update({"steps": 200, "init_from": "runs/own_vits_stage1"})
    return c
