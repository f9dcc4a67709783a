"""MS2, left thermal camera, stage 1: the settings of vivid_stage1 at MS2's 256 x 640 pixels.

python -m tdepth_jax.prepare ms2 --raw=MS2
python -m tdepth_jax.import_weights dinov2_vitb14_pretrain.pth -o weights/dinov2_vitb14
python -m tdepth_jax.train --config=configs/ms2_stage1.py
python -m tdepth_jax.evaluate --workdir=runs/ms2_stage1 --dataset=data/ms2 --split=test_day
"""

from ml_collections import ConfigDict

from configs import vivid_stage1


def get_config() -> ConfigDict:
    c = vivid_stage1.get_config()
    c.data.update({"dataset": "data/ms2", "image_size": (256, 640)})
    c.system.interval = 1  # 15 frames a second, driving
    c.eval.update({"split": "val", "stride": 3, "protocols": ("sup4thermal",)})  # the benchmark's own step
    return c
