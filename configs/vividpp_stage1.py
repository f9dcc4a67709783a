"""ViViD++ driving, stage 1: the settings of vivid_stage1 on drives of your choice, made `train` when they are prepared.

  python -m tdepth_jax.prepare vividpp --raw driving_full --train campus_day1,city_day1 \
      --thermal-from-lidar thermal_from_lidar.txt
  python -m tdepth_jax.import_weights dinov2_vitb14_pretrain.pth -o weights/dinov2_vitb14
  python -m tdepth_jax.train --config=configs/vividpp_stage1.py

The published use of ViViD++ is zero-shot, without training on it (Fan et al., Table II, 8 drives; stage 1: RMSE 10.499,
Abs Rel 0.273): python -m tdepth_jax.evaluate --workdir=runs/vivid_stage1 --dataset=data/vividpp --split=test
"""

from ml_collections import ConfigDict

from configs import vivid_stage1


def get_config() -> ConfigDict:
    c = vivid_stage1.get_config()
    c.data.dataset = "data/vividpp"
    c.system.interval = 1  # a car, not a hand: the view changes much faster
    c.eval.stride = 10
    return c
