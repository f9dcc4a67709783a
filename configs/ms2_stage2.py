"""MS2, left thermal camera, stage 2: adapters in the frozen backbone of ms2_stage1.

python -m tdepth_jax.train --config=configs/ms2_stage1.py
python -m tdepth_jax.train --config=configs/ms2_stage2.py
"""

from ml_collections import ConfigDict

from configs import ms2_stage1


def get_config() -> ConfigDict:
    c = ms2_stage1.get_config()
    c.model.update({"lora_rank": 4, "conv_adapter_width": 4})
    c.system.loss_images = "temporal"
    c.train.init_from = "runs/ms2_stage1"
    return c
