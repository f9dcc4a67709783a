"""Your own thermal video with a real backbone, stage 2: adapters in the frozen ViT-S of own_vits_stage1.

python -m tdepth_jax.train --config=configs/own_vits_stage1.py
python -m tdepth_jax.train --config=configs/own_vits_stage2.py
"""

from ml_collections import ConfigDict

from configs import world_vits_stage2


def get_config() -> ConfigDict:
    c = world_vits_stage2.get_config()
    c.data.dataset = "data/own"
    c.train.update({"steps": 200, "init_from": "runs/own_vits_stage1"})
    return c
