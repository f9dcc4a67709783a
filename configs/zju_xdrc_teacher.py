"""ZJU-4DRadarCam, XD-RCDepth's teacher: the settings of nuscenes_xdrc_teacher on the published rows.

  python -m tdepth_jax.prepare zju --raw=DIR
  python -m tdepth_jax.train --config=configs/zju_xdrc_teacher.py
  python -m tdepth_jax.evaluate --workdir=runs/zju_xdrc_teacher --split=test --protocol=radarcam80

The release gives radar as depth on the image alone: no RCS, no velocity. Input size: 288 x 864, RbFT-Net's.
"""

from ml_collections import ConfigDict

from configs import nuscenes_xdrc_teacher


def get_config() -> ConfigDict:
    c = nuscenes_xdrc_teacher.get_config()
    c.data.update({"dataset": "data/zju", "image_size": (288, 864)})
    c.system.radar_values = ("z",)
    c.train.steps = 60_000
    c.eval.update({"protocols": ("radarcam80",), "stride": 1})
    return c
