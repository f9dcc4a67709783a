"""ViViD++ driving, stage 2: adapters in the frozen backbone of vividpp_stage1.

python -m tdepth_jax.train --config=configs/vividpp_stage1.py
python -m tdepth_jax.train --config=configs/vividpp_stage2.py
"""

from ml_collections import ConfigDict

from configs import vividpp_stage1


def get_config() -> ConfigDict:
    c = vividpp_stage1.get_config()
    c.model.update({"lora_rank": 4, "conv_adapter_width": 4})
    c.system.loss_images = "temporal"
    c.train.init_from = "runs/vividpp_stage1"
    return c
