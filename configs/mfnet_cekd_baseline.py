"""MFNet, CEKD's teacher without its edges: the first of its two phases, and the row NED of the paper's Table I.

  python -m tdepth_jax.prepare mfnet --raw=DIR
  python -m tdepth_jax.import_weights resnet50.pth -o weights/resnet50
  python -m tdepth_jax.train --config=configs/mfnet_cekd_baseline.py

Published: mAcc 64.6, mIoU 54.0 (protocol rtfnet).
"""

from ml_collections import ConfigDict

from configs import mfnet_cekd_teacher


def get_config() -> ConfigDict:
    c = mfnet_cekd_teacher.get_config()
    c.model.edges = "none"
    c.train.init_from = None
    return c
