"""ViViD outdoor, stage 2 (Fan et al., ICRA 2024): LoRA and convolutional adapters in the backbone of stage 1.

  python -m tdepth_jax.train --config=configs/vivid_stage1.py
  python -m tdepth_jax.train --config=configs/vivid_stage2.py

It starts from runs/vivid_stage1 (another run: --config.train.init_from=DIR), whose backbone stays as it is; its loss
compares temporally mapped images. Published, on the night sequences: Abs Rel 0.099, RMSE 3.944 (Table I).
"""

from ml_collections import ConfigDict

from configs import vivid_stage1


def get_config() -> ConfigDict:
    c = vivid_stage1.get_config()
    c.model.update({"lora_rank": 4, "conv_adapter_width": 4})
    c.system.loss_images = "temporal"
    c.train.init_from = "runs/vivid_stage1"
    return c
