"""ThermalWorld, stage 2: adapters in the frozen backbone of world_stage1, on temporally mapped images.

python -m tdepth_jax.train --config=configs/world_stage1.py
python -m tdepth_jax.train --config=configs/world_stage2.py
"""

from ml_collections import ConfigDict

from configs import world_stage1


def get_config() -> ConfigDict:
    c = world_stage1.get_config()
    c.model.update({"lora_rank": 4, "conv_adapter_width": 4})
    c.system.update({"train_backbone": False, "loss_images": "temporal"})
    c.train.update({"steps": 1000, "init_from": "runs/world_stage1"})
    return c
