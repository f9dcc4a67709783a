"""ViViD outdoor: the thermal student of ms2_confidence in scenes without a label (MonoTher-Depth, label-free stage).

  python -m tdepth_jax.prepare vivid --raw=KAIST_VIVID
  python -m tdepth_jax.train --config=configs/ms2_confidence.py
  python -m tdepth_jax.train --config=configs/vivid_confidence.py

Trained by day, scored by night. Published: 22.88 % less Abs Rel in new scenes than without distillation.
"""

from ml_collections import ConfigDict

from configs import ms2_confidence

IMAGES = 2225  # of day 1 and 2, as Shin et al. keep them


def get_config() -> ConfigDict:
    c = ms2_confidence.get_config()
    c.data.update({"dataset": "data/vivid_outdoor", "image_size": (480, 640)})
    c.system.update({"stage": "label_free", "distill_weight": 2.0})
    c.train = ConfigDict(
        {"steps": 7 * IMAGES // 4, "batch_size": 4, "save_every": 1000, "init_from": "runs/ms2_confidence"}
    )
    c.eval = ConfigDict({"protocols": ("monother",)})
    return c
