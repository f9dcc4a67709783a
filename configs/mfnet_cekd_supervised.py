"""MFNet, CEKD's student network on true labels instead of a teacher's: what the distilled one is compared with.

  python -m tdepth_jax.train --config=configs/mfnet_cekd_supervised.py

Published ("supervised" of the strategies compared): mAcc 60.6, mIoU 48.2.
"""

from ml_collections import ConfigDict

from configs import mfnet_cekd_student


def get_config() -> ConfigDict:
    return supervised(mfnet_cekd_student.get_config())


def supervised(c: ConfigDict) -> ConfigDict:
    """A student's config without its teacher."""
    off = {f"{loss}_weight": 0.0 for loss in ("soft", "similarity", "hint")}
    c.system.update({"labels": "truth", **off})
    c.train.init_from = None
    return c
